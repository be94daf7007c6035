//! Reads.

use super::*;

pub(super) async fn read(q: &Queue, prefix: &str, queue: &str, op: &Op) -> Answer {
    Ok(match op {
        Op::GetJob { job } => q.get_job(job).await?.as_ref().map_or(Json::Null, view),
        Op::GetState { job } => json!(q.job(job).get_state().await?.as_str()),
        Op::GetJobCounts { states: names } => {
            let counts = q.get_job_counts(&states(names)?).await?;
            let reported = ["active", "completed", "delayed", "failed", "prioritized", "waiting", "waiting-children"];
            let all: Vec<String> = reported.map(str::to_owned).to_vec();
            let mut found = Map::new();
            for name in if names.is_empty() { &all } else { names } {
                found.insert(name.clone(), json!(counts.get(state(name)?)));
            }
            Json::Object(found)
        }
        Op::GetCountsPerPriority { priorities } => {
            let counts = q.get_counts_per_priority(priorities).await?;
            counts
                .into_iter()
                .map(|(priority, count)| (priority.to_string(), json!(count)))
                .collect::<Map<_, _>>()
                .into()
        }
        Op::Count => json!(q.count().await?),
        Op::GetJobs { states: names, start, end, asc } => {
            let jobs = q.get_jobs(&states(names)?, *start, *end, order(*asc)).await?;
            let ids = jobs.into_iter().map(|job| match job {
                Ok(job) => json!(job.id()),
                Err(unreadable) => json!(unreadable.to_string()),
            });
            ids.collect()
        }
        Op::GetRanges { states: names, start, end, asc } => {
            json!(q.get_ranges(&states(names)?, *start, *end, order(*asc)).await?)
        }
        Op::GetJobLogs { job, start, end, asc } => {
            let found = q.job(job).get_logs(*start, *end, order(*asc)).await?;
            json!({ "logs": found.logs, "count": found.count })
        }
        Op::GetDeduplicationJobId { deduplication } => json!(q.get_deduplication_job_id(deduplication).await?),
        Op::IsPaused => json!(q.is_paused().await?),
        Op::IsMaxed => json!(q.is_maxed().await?),
        Op::GetGlobalConcurrency => json!(q.get_global_concurrency().await?),
        Op::GetGlobalRateLimit => {
            let limit = q.get_global_rate_limit().await?;
            limit.map_or(Json::Null, |(max, duration)| json!({ "max": max, "duration": whole(duration) }))
        }
        Op::GetRateLimitTtl { max } => json!(i32::from(q.get_rate_limit_ttl(*max).await?.is_some())),
        Op::GetMetrics { state: of } => {
            let found = q.get_metrics(state(of)?, 0, -1).await?;
            json!({
                "meta": { "count": found.count, "prevTS": found.previous_at.map_or(0, ms), "prevCount": found.previous_count },
                "data": found.data,
                "count": found.points,
            })
        }
        Op::ExportPrometheusMetrics { globals } => {
            let labels: Vec<(&str, &str)> = globals.iter().map(|(name, value)| (&**name, &**value)).collect();
            json!(q.export_prometheus_metrics(&labels).await?)
        }
        Op::GetMeta => {
            let meta = q.get_meta().await?;
            let mut found = Map::new();
            let numbers = [
                ("concurrency", meta.concurrency),
                ("max", meta.max),
                ("duration", meta.duration.map(whole)),
                ("maxLenEvents", meta.max_len_events),
            ];
            for (name, number) in numbers {
                if let Some(number) = number {
                    found.insert(name.into(), json!(number));
                }
            }
            found.insert("paused".into(), json!(meta.paused));
            found.extend(meta.others.into_iter().map(|(name, value)| (name, json!(value))));
            found.into()
        }
        Op::IsFinished { job } => match q.job(job).get_outcome().await? {
            JobOutcome::Pending => json!({ "status": 0, "value": null }),
            JobOutcome::Completed(value) => json!({ "status": 1, "value": value.to_string() }),
            JobOutcome::Failed(reason) => json!({ "status": 2, "value": reason }),
            // Node has a text instead of a value.
            JobOutcome::Missing => {
                json!({ "status": -1, "value": format!("Missing key for job {prefix}:{queue}:{job}. isFinished") })
            }
            other => unreachable!("{other:?}"),
        },
        Op::GetChildrenValues { job } => {
            let values: Vec<(String, Json)> = q.job(job).get_children_values().await?;
            values.into_iter().collect::<Map<_, _>>().into()
        }
        Op::GetIgnoredChildrenFailures { job } => {
            let failures = q.job(job).get_ignored_children_failures().await?;
            failures.into_iter().map(|(child, reason)| (child, json!(reason))).collect::<Map<_, _>>().into()
        }
        Op::GetDependenciesCount { job } => {
            let n = q.job(job).get_dependencies_count().await?;
            json!({ "processed": n.processed, "unprocessed": n.unprocessed, "ignored": n.ignored, "failed": n.failed })
        }
        Op::GetDependencies { job } => {
            let mut found = q.job(job).get_dependencies::<Json>().await?;
            found.unprocessed.sort();
            found.failed.sort();
            json!(found)
        }
        other => unreachable!("{other:?} is not read"),
    })
}
