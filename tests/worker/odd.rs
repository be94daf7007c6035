//! Values that nobody should have stored, or asked for: they cost themselves something at most, never their neighbours.

use std::collections::HashMap;
use std::time::Duration;

use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};

use crate::common::check::check;
use crate::common::fixture::{Fixture, Ledger, listen};

/// A delayed job as Node stores it, due at this score.
async fn delay_until(fixture: &Fixture, id: &str, score: &str) {
    let mut redis = fixture.redis.clone();
    let fields = ["name", "n", "data", "1", "opts", "{}", "timestamp", "-1000000", "delay", "5", "priority", "0"];
    let mut cmd = redis::cmd("HSET");
    let _: () = cmd.arg(fixture.key(id)).arg(&fields).query_async(&mut redis).await.unwrap();
    let mut cmd = redis::cmd("ZADD");
    let _: () = cmd.arg(fixture.key("delayed")).arg(score).arg(id).query_async(&mut redis).await.unwrap();
}

#[tokio::test]
async fn jobs_due_before_time_began_or_after_its_end_void_no_reply() {
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
    // Those that are due in the past run too.
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
async fn an_endless_delay_or_pause_concerns_only_who_asked_for_it() {
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
            left > 1_000_000_000_000
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
    let ledger = ran.clone();
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.id());
            async { Ok::<_, Halt>(()) }
        })
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 6).await;
    worker.close().await;
    assert_eq!(heard.errors(), Vec::<String>::new());
    assert!(ran.tally().values().all(|runs| *runs == 1), "{:?}", ran.tally());
}
