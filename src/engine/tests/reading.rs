//! What the reading operations return, against a real server.

use std::time::Duration;

use redis::Cmd;

use crate::engine::events::Finished;
use crate::engine::testing::{NOW, named, queue};
use crate::engine::*;
use crate::engine::{ChildCounts, ChildKind, ChildPage};
use crate::state::JobState;
use crate::wire::job::RawJob;

const REAL: [JobState; 8] = JobState::ALL;

fn ids(jobs: Vec<Result<RawJob, crate::wire::job::Undecodable>>) -> Vec<String> {
    jobs.into_iter().map(|job| job.unwrap().id().to_owned()).collect()
}

#[tokio::test]
async fn one_job_is_read_or_missing_or_undecodable() {
    let queue = queue().await;
    queue.store("1", &[("atm", "2"), ("own", "kept")]).await;
    let job = queue.get_job("1").await.unwrap().unwrap();
    assert_eq!((job.name(), job.attempts_made, job.unknown().len()), ("n", 2, 1));
    assert_eq!(queue.get_job("2").await.unwrap(), None);
    assert_eq!(queue.get_job("").await.unwrap(), None);
    queue.redis("HSET @ghost progress 5").await;
    assert_eq!(queue.get_job("ghost").await.unwrap(), None);
    queue.store("bad", &[("opts", "{")]).await;
    assert!(matches!(queue.get_job("bad").await, Err(Error::Undecodable { field: "opts", .. })));
}

#[tokio::test]
async fn lists_and_sorted_sets_are_paged_by_one_rule() {
    let queue = queue().await;
    for n in 1..=5 {
        queue.store(&format!("w{n}"), &[]).await;
        queue.store(&format!("f{n}"), &[]).await;
        queue.redis(&format!("LPUSH @wait w{n}")).await;
        queue.redis(&format!("ZADD @failed {n} f{n}")).await;
    }
    let cases: [(i64, i64, &[u8], &[u8]); 8] = [
        (0, -1, &[1, 2, 3, 4, 5], &[5, 4, 3, 2, 1]),
        (0, 1, &[1, 2], &[5, 4]),
        (1, 3, &[2, 3, 4], &[4, 3, 2]),
        (3, 10, &[4, 5], &[2, 1]),
        (-3, -1, &[3, 4, 5], &[3, 2, 1]),
        (0, -2, &[1, 2, 3, 4], &[5, 4, 3, 2]),
        (-1, -1, &[5], &[1]),
        (2, 1, &[], &[]),
    ];
    for (start, end, up, down) in cases {
        for (ascending, expected) in [(true, up), (false, down)] {
            for (state, letter) in [(JobState::Waiting, 'w'), (JobState::Failed, 'f')] {
                let expected: Vec<String> = expected.iter().map(|n| format!("{letter}{n}")).collect();
                let jobs = ids(queue.get_jobs(&[state], start, end, ascending).await.unwrap());
                assert_eq!(jobs, expected, "{state} {start} {end} {ascending}");
                let found = queue.get_ranges(&[state], start, end, ascending).await.unwrap();
                assert_eq!(found, expected, "{state} {start} {end} {ascending}");
            }
        }
    }
    let both = queue.get_jobs(&[JobState::Failed, JobState::Waiting, JobState::Failed], 0, 0, true).await.unwrap();
    assert_eq!(ids(both), ["f1", "w1"]);
}

#[tokio::test]
async fn missing_jobs_are_made_up_for() {
    let queue = queue().await;
    for n in 1..=8 {
        queue.redis(&format!("LPUSH @wait {n}")).await;
        if n > 3 {
            queue.store(&n.to_string(), &[]).await;
        }
    }
    assert_eq!(ids(queue.get_jobs(&[JobState::Waiting], 0, 2, true).await.unwrap()), ["4", "5", "6"]);
    assert_eq!(ids(queue.get_jobs(&[JobState::Waiting], 0, -1, true).await.unwrap()), ["4", "5", "6", "7", "8"]);
    assert_eq!(ids(queue.get_jobs(&[JobState::Waiting], -7, -5, true).await.unwrap()), ["4"]);
    assert_eq!(queue.get_ranges(&[JobState::Waiting], 0, 2, true).await.unwrap(), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_large_queue_is_read_in_steps() {
    let queue = queue().await;
    let script = "for i = 1, 2500 do redis.call('LPUSH', KEYS[1] .. 'wait', i) \
                  redis.call('HSET', KEYS[1] .. i, 'name', 'n', 'data', '{}') end";
    queue.redis_words(&["EVAL", script, "1", queue.keys.base()]).await;
    queue.store("f", &[]).await;
    queue.redis("ZADD @failed 1 f").await;
    let states = [JobState::Waiting, JobState::Failed];
    for (start, end) in [(0, -1), (0, 9_999), (-9_999, -1)] {
        let jobs = ids(queue.get_jobs(&states, start, end, true).await.unwrap());
        assert_eq!((jobs.len(), jobs[0].as_str(), jobs[2499].as_str(), jobs[2500].as_str()), (2501, "1", "2500", "f"));
    }
    let jobs = ids(queue.get_jobs(&states, 100, 1_399, false).await.unwrap());
    assert_eq!((jobs.len(), jobs[0].as_str(), jobs[1299].as_str()), (1300, "2400", "1101"));
}

#[tokio::test]
async fn counts_leave_old_wake_up_marks_out() {
    let queue = queue().await;
    queue.redis("RPUSH @wait a b 0:17").await;
    queue.redis("RPUSH @paused 0:0").await;
    queue.redis("RPUSH @active c").await;
    queue.redis("ZADD @delayed 1 d 2 e").await;
    let counts = queue.get_job_counts(&REAL).await.unwrap();
    assert_eq!((counts.waiting, counts.paused, counts.active, counts.delayed), (2, 0, 1, 2));
    assert_eq!((queue.int("LLEN @wait").await, queue.int("LLEN @paused").await), (2, 1));
    let some = queue.get_job_counts(&[JobState::Delayed]).await.unwrap();
    assert_eq!((some.total(), some.delayed), (2, 2));
    assert_eq!(queue.get_jobs(&[JobState::Paused], 0, -1, true).await.unwrap().len(), 0);
}

#[tokio::test]
async fn priorities_and_due_times_are_counted() {
    let queue = queue().await;
    queue.redis("RPUSH @wait a b").await;
    for score in [4_294_967_297_u64, 8_589_934_591, 8_589_934_592] {
        queue.redis(&format!("ZADD @prioritized {score} {score}")).await;
    }
    let counts = queue.get_counts_per_priority(&[0, 1, 2, 1, 3]).await.unwrap();
    assert_eq!(counts, [(0, 2), (1, 2), (2, 1), (3, 0)]);
    queue.redis(&format!("ZADD @delayed {} a {} b", NOW * 4096, (NOW + 1) * 4096)).await;
    assert_eq!(queue.get_delayed_count(NOW).await.unwrap(), 0);
    assert_eq!(queue.get_delayed_count(NOW + 1).await.unwrap(), 1);
}

#[tokio::test]
async fn every_state_is_found() {
    let queue = queue().await;
    for state in REAL {
        let (verb, place) = if state.is_list() { ("RPUSH", "") } else { ("ZADD", " 1") };
        queue.redis(&format!("{verb} @{}{place} {state}", state.suffix().unwrap())).await;
    }
    for state in REAL {
        let reported = if state == JobState::Paused { JobState::Waiting } else { state };
        assert_eq!(queue.get_state(state.as_str()).await.unwrap(), reported);
    }
    assert_eq!(queue.get_state("nowhere").await.unwrap(), JobState::Unknown);
}

#[tokio::test]
async fn the_end_of_a_job_comes_with_its_result() {
    let queue = queue().await;
    assert_eq!(queue.is_finished("1").await.unwrap(), Finished::Refused(Reason::MissingJob));
    queue.store("1", &[("returnvalue", "42"), ("failedReason", "no")]).await;
    assert_eq!(queue.is_finished("1").await.unwrap(), Finished::NotYet);
    queue.redis("ZADD @failed 1 1").await;
    assert_eq!(queue.is_finished("1").await.unwrap(), Finished::Failed("no".into()));
    queue.redis("ZADD @completed 1 1").await;
    assert_eq!(queue.is_finished("1").await.unwrap(), Finished::Completed("42".into()));
    queue.redis("HDEL @1 returnvalue").await;
    assert_eq!(queue.is_finished("1").await.unwrap(), Finished::Completed(String::new()));
}

#[tokio::test]
async fn logs_are_paged_from_both_ends() {
    let queue = queue().await;
    queue.redis("RPUSH @1:logs a b c d").await;
    let logs = async |start, end, ascending| {
        let (lines, count) = queue.get_job_logs("1", start, end, ascending).await.unwrap();
        assert_eq!(count, 4);
        lines.join("")
    };
    assert_eq!(logs(0, -1, true).await, "abcd");
    assert_eq!(logs(0, -1, false).await, "dcba");
    assert_eq!(logs(1, 2, true).await, "bc");
    assert_eq!(logs(0, 1, false).await, "dc");
    assert_eq!(logs(9, 12, true).await, "");
    queue.clear_logs("1", 2).await.unwrap();
    assert_eq!(queue.says("LRANGE @1:logs 0 -1").await, "c d");
    queue.clear_logs("1", 0).await.unwrap();
    assert_eq!(queue.get_job_logs("1", 0, -1, true).await.unwrap(), (vec![], 0));
}

#[tokio::test]
async fn settings_are_read_and_written() {
    let queue = queue().await;
    queue.open_queue(None).await.unwrap();
    assert_eq!(queue.get_meta().await.unwrap().max_len_events, Some(10_000));
    assert!(queue.get_version().await.unwrap().unwrap().starts_with("bullmq:oxmq-"));
    queue.open_queue(Some(500)).await.unwrap();
    queue.open_queue(None).await.unwrap();
    queue.redis("HSET @meta other x").await;
    queue.set_global_concurrency(2).await.unwrap();
    queue.set_global_rate_limit(7, Duration::from_secs(60)).await.unwrap();
    queue.pause().await.unwrap();
    let meta = queue.get_meta().await.unwrap();
    assert_eq!((meta.max_len_events, meta.concurrency, meta.paused), (Some(500), Some(2), true));
    assert_eq!(meta.others, [("other".to_owned(), "x".to_owned())]);
    assert_eq!(queue.get_global_concurrency().await.unwrap(), Some(2));
    assert_eq!(queue.get_global_rate_limit().await.unwrap(), Some((7, 60_000)));
    assert!(queue.remove_global_rate_limit().await.unwrap() && !queue.remove_global_rate_limit().await.unwrap());
    assert_eq!(queue.get_global_rate_limit().await.unwrap(), None);
    assert!(queue.remove_global_concurrency().await.unwrap());
    assert_eq!(queue.get_global_concurrency().await.unwrap(), None);
    assert!(queue.set_global_concurrency(0).await.is_err());
}

#[tokio::test]
async fn a_new_limit_wakes_an_idle_worker() {
    let queue = queue().await;
    queue.redis("RPUSH @wait a").await;
    queue.redis("RPUSH @active b").await;
    queue.set_global_concurrency(1).await.unwrap();
    assert!(queue.is_maxed().await.unwrap());
    assert_eq!(queue.int("EXISTS @marker").await, 0);
    queue.set_global_concurrency(2).await.unwrap();
    assert!(!queue.is_maxed().await.unwrap());
    assert_eq!(queue.says("ZRANGE @marker 0 -1 WITHSCORES").await, "0 0");
}

#[tokio::test]
async fn the_rate_limit_says_how_long_it_lasts() {
    let queue = queue().await;
    assert_eq!(queue.get_rate_limit_ttl(None).await.unwrap(), -2);
    assert_eq!(queue.get_rate_limit_ttl(Some(1)).await.unwrap(), 0);
    queue.rate_limit(Duration::from_secs(60)).await.unwrap();
    assert_eq!(queue.says("GET @limiter").await, "9007199254740991");
    for max in [None, Some(1)] {
        let ttl = queue.get_rate_limit_ttl(max).await.unwrap();
        assert!((59_000..=60_000).contains(&ttl), "{ttl}");
    }
    assert!(queue.remove_rate_limit_key().await.unwrap() && !queue.remove_rate_limit_key().await.unwrap());
    queue.set_global_rate_limit(5, Duration::from_secs(1)).await.unwrap();
    assert_eq!(queue.get_rate_limit_ttl(None).await.unwrap(), 0);
    assert!(queue.rate_limit(Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn figures_and_their_prometheus_text() {
    let queue = named("t-prom", "a \"q\"\\").await;
    assert_eq!(queue.get_metrics(JobState::Failed, 0, -1).await.unwrap().data, [0; 0]);
    queue.redis_words(&["HSET", &queue.keys.key("metrics:completed"), "count", "9", "prevTS", "5"]).await;
    queue.redis_words(&["RPUSH", &queue.keys.key("metrics:completed:data"), "3", "2", "1"]).await;
    let minutes = queue.get_metrics(JobState::Completed, 0, 1).await.unwrap();
    assert_eq!((minutes.count, minutes.previous_count, minutes.points), (9, 0, 3));
    assert_eq!(minutes.previous_at, Some(crate::clock::from_epoch_ms(5)));
    assert_eq!(minutes.data, [3, 2]);
    assert!(queue.get_metrics(JobState::Active, 0, 1).await.is_err());
    queue.redis_words(&["RPUSH", &queue.keys.key("wait"), "1", "2"]).await;
    let text = queue.export_prometheus_metrics(&[("env", "a\nb")]).await.unwrap();
    let expected = r#"# HELP bullmq_job_count Number of jobs in the queue by state
# TYPE bullmq_job_count gauge
bullmq_job_count{queue="a \"q\"\\", state="active", env="a\nb"} 0
bullmq_job_count{queue="a \"q\"\\", state="completed", env="a\nb"} 0
bullmq_job_count{queue="a \"q\"\\", state="delayed", env="a\nb"} 0
bullmq_job_count{queue="a \"q\"\\", state="failed", env="a\nb"} 0
bullmq_job_count{queue="a \"q\"\\", state="prioritized", env="a\nb"} 0
bullmq_job_count{queue="a \"q\"\\", state="waiting", env="a\nb"} 2
bullmq_job_count{queue="a \"q\"\\", state="waiting-children", env="a\nb"} 0
# HELP bullmq_job_completed_total Total number of completed jobs
# TYPE bullmq_job_completed_total counter
bullmq_job_completed_total{queue="a \"q\"\\", env="a\nb"} 9
# HELP bullmq_job_failed_total Total number of failed jobs
# TYPE bullmq_job_failed_total counter
bullmq_job_failed_total{queue="a \"q\"\\", env="a\nb"} 0"#;
    assert_eq!(text, expected);
}

#[tokio::test]
async fn workers_and_event_readers_are_told_apart() {
    let queue = queue().await;
    let name = format!("{}:cQ==", queue.keys.prefix());
    let others: Vec<_> = [name.clone(), format!("{name}:w:alpha"), format!("{name}:qe"), format!("{name}x")]
        .into_iter()
        .map(|name| (name, queue.link.another()))
        .collect();
    for (name, link) in &others {
        let mut cmd = Cmd::new();
        cmd.arg("CLIENT").arg("SETNAME").arg(name);
        link.send(&cmd).await.unwrap();
    }
    let mut workers = queue.get_workers().await.unwrap();
    workers.sort_by_key(|worker| worker.get("rawname").map(str::to_owned));
    let names: Vec<_> = workers.iter().map(|worker| worker.get("rawname").unwrap()).collect();
    assert_eq!(names, [name.as_str(), &format!("{name}:w:alpha")]);
    assert!(workers.iter().all(|worker| worker.get("name") == Some("q") && worker.get("id").is_some()));
    assert_eq!(queue.get_queue_events().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_without_the_right_gets_an_error_of_its_own() {
    let queue = queue().await;
    queue.redis_words(&["ACL", "SETUSER", "plain", "on", ">pw", "~*", "+@all", "-client"]).await;
    let options = queue.link.options().clone().username("plain").password("pw");
    let link = Link::connect(std::sync::Arc::new(options)).await.unwrap();
    let restricted = Engine::new(link, queue.keys.clone(), queue.clock.clone());
    let error = restricted.get_workers().await.unwrap_err();
    assert!(matches!(error, Error::NotPermitted { op: "get_workers", command: "CLIENT LIST" }), "{error}");
}

#[tokio::test]
async fn children_are_read_by_what_became_of_them() {
    let queue = queue().await;
    queue.redis("HSET @p:processed a 1 b 2").await;
    queue.redis("SADD @p:dependencies c").await;
    queue.redis("HSET @p:failed d no").await;
    queue.redis("ZADD @p:unsuccessful 1 e").await;
    let counts = queue.get_dependencies_count("p").await.unwrap();
    assert_eq!(counts, ChildCounts { processed: 2, unprocessed: 1, ignored: 1, failed: 1 });
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(queue.get_children_values("p").await.unwrap(), [pair("a", "1"), pair("b", "2")]);
    assert_eq!(queue.get_ignored_children_failures("p").await.unwrap(), [pair("d", "no")]);
    assert_eq!(queue.get_unprocessed_children("p").await.unwrap(), ["c"]);
    assert_eq!(queue.get_failed_children("p").await.unwrap(), ["e"]);
    queue.redis("ZADD @p:unsuccessful 2 f 3 g").await;
    let page = async |kind, cursor| queue.get_children_page("p", kind, cursor, 2).await.unwrap();
    let of = |next, children: &[(&str, Option<&str>)]| ChildPage {
        next,
        children: children.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect(),
    };
    assert_eq!(page(ChildKind::Processed, 0).await, of(0, &[("a", Some("1")), ("b", Some("2"))]));
    assert_eq!(page(ChildKind::Ignored, 0).await, of(0, &[("d", Some("no"))]));
    assert_eq!(page(ChildKind::Unprocessed, 0).await, of(0, &[("c", None)]));
    assert_eq!(page(ChildKind::Failed, 0).await, of(2, &[("e", None), ("f", None)]));
    assert_eq!(page(ChildKind::Failed, 2).await, of(0, &[("g", None)]));
}

#[tokio::test]
async fn deduplication_ids_lead_to_their_jobs_and_can_be_freed() {
    let queue = queue().await;
    queue.redis("SET @de:x 1").await;
    assert_eq!(queue.get_deduplication_job_id("x").await.unwrap().as_deref(), Some("1"));
    assert!(!queue.remove_deduplication_key_of("2", "x").await.unwrap());
    assert!(queue.remove_deduplication_key_of("1", "x").await.unwrap());
    assert_eq!(queue.get_deduplication_job_id("x").await.unwrap(), None);
    assert!(!queue.remove_deduplication_key("x").await.unwrap());
}

#[tokio::test]
async fn large_jobs_come_in_several_calls() {
    let queue = queue().await;
    let fill = "local data = '\"' .. string.rep('x', 400000) .. '\"' \
                for i = 1, 10 do \
                  redis.call('HSET', KEYS[1] .. i, 'name', 'n', 'data', data, 'timestamp', '1') \
                  redis.call('LPUSH', KEYS[1] .. 'wait', i) \
                end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    let jobs = queue.get_jobs(&[JobState::Waiting], 1, 8, true).await.unwrap();
    assert_eq!(ids(jobs), ["2", "3", "4", "5", "6", "7", "8", "9"]);
}
