//! Job schedulers.

use super::*;

/// Converts when a scheduler runs. What the types of oxmq cannot express is a refusal.
pub(super) fn repeat(said: &ops::Repeat) -> Result<Repeat, Refusal> {
    let mut repeat = match (said.every, &said.pattern) {
        (Some(every), None) => Repeat::every(Duration::from_millis(every)),
        (None, Some(pattern)) => Repeat::cron(pattern),
        _ => return refuse("an interval or a pattern"),
    };
    if let Some(tz) = &said.tz {
        repeat = repeat.tz(tz);
    }
    if let Some(limit) = said.limit {
        repeat = repeat.limit(limit);
    }
    if let Some(at) = said.start_date {
        repeat = repeat.start_date(moment(at)?);
    }
    if let Some(at) = said.end_date {
        repeat = repeat.end_date(moment(at)?);
    }
    if let Some(offset) = said.offset {
        repeat = repeat.offset(Duration::from_millis(offset));
    }
    if let Some(immediately) = said.immediately {
        repeat = repeat.immediately(immediately);
    }
    Ok(repeat)
}

pub(super) async fn scheduler(q: &Queue, op: &Op) -> Answer {
    Ok(match op {
        Op::UpsertJobScheduler { scheduler, repeat: said, template } => {
            let mut upsert = q.upsert_job_scheduler(scheduler, repeat(said)?);
            if let Some(name) = &template.name {
                upsert = upsert.name(name);
            }
            if let Some(data) = &template.data {
                upsert = upsert.data(data.clone());
            }
            if let Some(opts) = &template.opts {
                upsert = upsert.options(job_options(opts)?);
            }
            match upsert.await {
                Ok(job) => json!({ "id": job.id() }),
                // Node returns nothing.
                Err(Error::InvalidOption { problem, .. }) if problem.contains("no run") => json!({ "id": null }),
                Err(error) => return Err(error.into()),
            }
        }
        Op::RemoveJobScheduler { scheduler } => json!(q.remove_job_scheduler(scheduler).await?),
        Op::GetJobScheduler { scheduler } => {
            q.get_job_scheduler(scheduler).await?.as_ref().map_or(Json::Null, |found| json!(found))
        }
        Op::GetJobSchedulers => {
            q.get_job_schedulers(0, -1, Order::Ascending).await?.iter().map(|found| json!(found)).collect()
        }
        Op::GetJobSchedulersCount => json!(q.get_job_schedulers_count().await?),
        other => unreachable!("{other:?} is not about schedulers"),
    })
}
