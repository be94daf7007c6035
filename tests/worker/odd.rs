//! Values that nobody should store or ask for: they may harm their own job, but no other one.

use std::collections::HashMap;
use std::time::Duration;

use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};

use crate::common::check::check;
use crate::common::fixture::{Fixture, Ledger, listen};

/// Stores a delayed job as Node does, with this score.
async fn delay_until(fixture: &Fixture, id: &str, score: &str) {
    let mut redis = fixture.redis.clone();
    let fields = ["name", "n", "data", "1", "opts", "{}", "timestamp", "-1000000", "delay", "5", "priority", "0"];
    let mut cmd = redis::cmd("HSET");
    let _: () = cmd.arg(fixture.key(id)).arg(&fields).query_async(&mut redis).await.unwrap();
    let mut cmd = redis::cmd("ZADD");
    let _: () = cmd.arg(fixture.key("delayed")).arg(score).arg(id).query_async(&mut redis).await.unwrap();
}

#[tokio::test]
async fn jobs_due_before_1970_or_never_do_not_spoil_a_reply() {
    let fixture = Fixture::new().await;
    for (id, score) in [
        ("past", "-4095979520"),
        ("before", "-4096"),
        ("never-past", "-inf"),
        ("late", "4.096e23"),
        ("later", "1.7e308"),
        ("never", "inf"),
    ] {
        delay_until(&fixture, id, score).await;
    }
    let ids = fixture.add_many(10).await;
    let worker = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(())).concurrency(4).start().unwrap();
    let heard = listen(&worker);
    // Those that were due long ago run, too.
    fixture.until(JobState::Completed, 13).await;
    assert_eq!(fixture.count(JobState::Delayed).await, 3);
    let more = fixture.add(json!(1)).await;
    fixture.until(JobState::Completed, 14).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost.len()), (14, 0), "{report:?}");
    assert_eq!(heard.errors(), Vec::<String>::new());
    for id in ids.iter().chain([&more]) {
        assert_eq!(fixture.number(id, "ats").await, 1);
    }
}

#[tokio::test]
async fn an_endless_delay_or_pause_affects_only_its_job() {
    let fixture = Fixture::new().await;
    let endless = fixture.queue.add("endless", json!(1)).await.unwrap().id().to_owned();
    let ran = Ledger::default();
    let ledger = ran.clone();
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.name());
            let name = job.name().to_owned();
            async move {
                match name.as_str() {
                    "endless" => Err(Halt::Delayed(Duration::MAX)),
                    "patience" => Err(Halt::RateLimited(Duration::MAX)),
                    _ => Ok(()),
                }
            }
        })
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Delayed, 1).await;
    fixture.add_many(5).await;
    fixture.until(JobState::Completed, 5).await;
    assert!(!fixture.is_active(&endless).await);
    fixture.queue.add("patience", json!(1)).await.unwrap();
    let mut redis = fixture.redis.clone();
    let limiter = fixture.key("limiter");
    crate::common::eventually::eventually("the pause", || {
        let (mut redis, limiter) = (redis.clone(), limiter.clone());
        async move {
            let left: i64 = redis::cmd("PTTL").arg(limiter).query_async(&mut redis).await.unwrap();
            left > 1_000_000_000
        }
    })
    .await;
    let _: () = redis::cmd("DEL").arg(&limiter).query_async(&mut redis).await.unwrap();
    worker.close().await;
    let tally: HashMap<String, usize> = ran.tally();
    assert_eq!(tally["endless"], 1);
    assert!(tally["patience"] <= 2, "{tally:?}");
    assert_eq!(heard.errors(), Vec::<String>::new());
}

#[tokio::test]
async fn text_in_the_limiter_and_the_metrics_stops_no_job() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    for (key, field) in [("metrics:completed", "count"), ("metrics:completed", "prevTS"), ("metrics:failed", "count")] {
        let _: () = redis::cmd("HSET").arg(fixture.key(key)).arg(field).arg("x").query_async(&mut redis).await.unwrap();
    }
    let _: () = redis::cmd("SET").arg(fixture.key("limiter")).arg("x").query_async(&mut redis).await.unwrap();
    let _: () = redis::cmd("SET").arg(fixture.key("pc")).arg("x").query_async(&mut redis).await.unwrap();
    let mut ids = fixture.add_many(10).await;
    ids.push(fixture.queue.add("n", json!(1)).priority(3).await.unwrap().id().to_owned());
    let worker = fixture
        .worker(async |_: Job<Value, ()>| Ok::<_, Halt>(()))
        .concurrency(4)
        .limiter(1_000, Duration::from_secs(60))
        .metrics(100)
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 11).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost.len()), (11, 0), "{report:?}");
    assert_eq!(heard.errors(), Vec::<String>::new());
    let counted: String =
        redis::cmd("HGET").arg(fixture.key("metrics:completed")).arg("count").query_async(&mut redis).await.unwrap();
    assert_eq!(counted, "11");
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_job_that_nobody_can_count_does_not_loop() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(6).await;
    let mut redis = fixture.redis.clone();
    for (id, (field, value)) in ids.iter().zip([
        ("timestamp", "-1e300"),
        ("timestamp", "-9223372036854775808"),
        ("ats", "1e300"),
        ("ats", "x"),
        ("atm", "x"),
        ("atm", "9223372036854775807"),
    ]) {
        let mut cmd = redis::cmd("HSET");
        let _: () = cmd.arg(fixture.key(id)).arg(field).arg(value).query_async(&mut redis).await.unwrap();
    }
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).start().unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 6).await;
    worker.close().await;
    assert_eq!(heard.errors(), Vec::<String>::new());
    assert!(ran.tally().values().all(|runs| *runs == 1), "{:?}", ran.tally());
}

/// Stores a job whose id is not UTF-8, and returns the key of its hash.
async fn store_bytes(fixture: &Fixture, id: &[u8]) -> Vec<u8> {
    let mut redis = fixture.redis.clone();
    let key = [fixture.key("").as_bytes(), id].concat();
    let fields = ["name", "n", "data", "1", "opts", "{}", "timestamp", "5", "delay", "0", "priority", "0"];
    let _: () = redis::cmd("HSET").arg(&key).arg(&fields).query_async(&mut redis).await.unwrap();
    key
}

#[tokio::test]
async fn a_job_whose_id_is_not_text_ends_under_its_own_bytes() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let odd = b"\xff7".as_slice();
    let key = store_bytes(&fixture, odd).await;
    let _: () = redis::cmd("LPUSH").arg(fixture.key("wait")).arg(odd).query_async(&mut redis).await.unwrap();
    let ids = fixture.add_many(10).await;
    let worker = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(())).concurrency(4).start().unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 10).await;
    fixture.until(JobState::Failed, 1).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.lost.len()), (10, 1, 0), "{report:?}");
    assert_eq!(heard.errors(), Vec::<String>::new());
    let failed: Vec<Vec<u8>> =
        redis::cmd("ZRANGE").arg(fixture.key("failed")).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
    assert_eq!(failed, [odd]);
    let held: (String, u32) =
        redis::cmd("HMGET").arg(&key).arg("failedReason").arg("ats").query_async(&mut redis).await.unwrap();
    assert_eq!(held, ("the job cannot be read: field id: it is not UTF-8".to_owned(), 1));
    // Nothing was written under the readable form of the id.
    let shown: bool = redis::cmd("EXISTS").arg(fixture.key("\u{fffd}7")).query_async(&mut redis).await.unwrap();
    assert!(!shown && fixture.locks().await == 0);
    for id in &ids {
        assert_eq!(fixture.number(id, "ats").await, 1);
    }
}

#[tokio::test]
async fn by_hand_a_job_whose_id_is_not_text_is_passed_by() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let odd = b"\xff7".as_slice();
    store_bytes(&fixture, odd).await;
    let _: () = redis::cmd("LPUSH").arg(fixture.key("wait")).arg(odd).query_async(&mut redis).await.unwrap();
    let id = fixture.add(json!(1)).await;
    let worker: oxmq::ManualWorker = fixture.client.manual_worker("q").open().unwrap();
    let job = worker.get_next_job("token").await.unwrap().unwrap();
    assert_eq!(job.id(), id);
    let failed: Vec<Vec<u8>> =
        redis::cmd("ZRANGE").arg(fixture.key("failed")).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
    assert_eq!(failed, [odd]);
}

#[tokio::test]
async fn a_stalled_job_whose_id_is_not_text_keeps_none_of_the_others_active() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let odd = b"\xfe\xff".as_slice();
    store_bytes(&fixture, odd).await;
    let ids = fixture.add_many(400).await;
    // A worker that is gone has left this behind.
    let mut pipe = redis::pipe();
    pipe.cmd("RENAME").arg(fixture.key("wait")).arg(fixture.key("active"));
    pipe.cmd("LPUSH").arg(fixture.key("active")).arg(odd);
    let _: () = pipe.query_async(&mut redis).await.unwrap();
    let worker = fixture
        .worker(async |_: Job<Value, ()>| Ok::<_, Halt>(()))
        .stalled_interval(Duration::from_millis(100))
        .concurrency(20)
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 400).await;
    fixture.until(JobState::Failed, 1).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed), (400, 1), "{report:?}");
    assert_eq!(heard.count(|event| matches!(event, WorkerEvent::Stalled { .. })), 401);
    assert_eq!(heard.errors(), Vec::<String>::new());
    for id in &ids {
        assert_eq!((fixture.number(id, "stc").await, fixture.number(id, "ats").await), (1, 1));
    }
}

#[tokio::test]
async fn a_hash_left_by_a_late_write_is_no_job() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let leave = async |id: &str| {
        let mut redis = fixture.redis.clone();
        let mut cmd = redis::cmd("HSET");
        let _: () = cmd.arg(fixture.key(id)).arg("failedReason").arg("x").query_async(&mut redis).await.unwrap();
    };
    for id in ["a", "b", "c", "d"] {
        leave(id).await;
    }
    let _: () = redis::cmd("ZADD").arg(fixture.key("failed")).arg(5).arg("b").query_async(&mut redis).await.unwrap();
    let _: () = redis::cmd("SET").arg(fixture.key("de:x")).arg("c").query_async(&mut redis).await.unwrap();
    let queue = &fixture.queue;
    assert!(queue.get_job("a").await.unwrap().is_none());
    let missing = |error: oxmq::Error| error.reason() == Some(oxmq::error::Reason::MissingJob);
    assert!(missing(queue.job("b").retry(JobState::Failed, oxmq::job::RetryOptions::default()).await.unwrap_err()));
    queue.add("n", json!(1)).job_id("a").await.unwrap();
    queue.add_bulk(["b", "e"].map(|id| oxmq::NewJob::new("n", json!(1)).job_id(id))).await.unwrap();
    let own = queue.add("n", json!(1)).deduplication(oxmq::Deduplication::new("x")).await.unwrap();
    assert_ne!(own.id(), "c");
    let error = queue
        .add("n", json!(1))
        .parent(oxmq::options::ParentRef::new("d", format!("{}:q", fixture.prefix)).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(oxmq::error::Reason::MissingParent));
    let worker = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(())).start().unwrap();
    fixture.until(JobState::Completed, 4).await;
    worker.close().await;
    assert_eq!(fixture.field("a", "failedReason").await, None);
    assert_eq!(fixture.count(JobState::Failed).await, 0);
}

#[tokio::test]
async fn unreadable_retention_or_backoff_options_do_not_stop_a_job() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(2).await;
    let mut redis = fixture.redis.clone();
    for (id, opts) in
        ids.iter().zip([r#"{"removeOnComplete":"{\"age\":10}"}"#, r#"{"removeOnComplete":[1],"backoff":true}"#])
    {
        let _: () =
            redis::cmd("HSET").arg(fixture.key(id)).arg("opts").arg(opts).query_async(&mut redis).await.unwrap();
    }
    let worker = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(())).remove_on_complete(true).start().unwrap();
    // They are kept, since no readable option says that they should be removed.
    fixture.until(JobState::Completed, 2).await;
    worker.close().await;
}
