//! Broken jobs and processors: none may harm the worker or another job.

use std::sync::Arc;
use std::time::Duration;

use oxmq::options::Retry;
use oxmq::worker::WorkerEvent;
use oxmq::{Backoff, Halt, Job, JobState};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::common::check::check;
use crate::common::fixture::{Fixture, Ledger, listen};

/// Panics when dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        // A second panic while the first unwinds would end the process.
        if !std::thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

/// An error whose text cannot be written.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("unspeakable")
    }
}

impl std::error::Error for Unspeakable {}

/// A result that cannot be serialized.
struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("unwritable"))
    }
}

fn explode(job: Job<Value, Value>) -> impl Future<Output = Result<Value, Halt>> + Send {
    if job.name() == "sync" {
        panic!("in the sync part");
    }
    let name = job.name().to_owned();
    async move {
        match name.as_str() {
            "str" => panic!("a text"),
            "string" => panic!("a {} text", "formatted"),
            "custom" => std::panic::panic_any(7_u8),
            "payload" => std::panic::panic_any(Bomb("the payload")),
            "drop" => {
                let _bomb = Bomb("in a drop");
                tokio::task::yield_now().await;
                Ok(json!(1))
            }
            "timeout" => {
                let _bomb = Bomb("dropped after its time");
                std::future::pending().await
            }
            "display" => Err(Halt::failed(Unspeakable)),
            "spawned" => {
                let child = tokio::spawn(async { panic!("in a child") });
                child.await?;
                Ok(json!(1))
            }
            _ => Ok(json!("fine")),
        }
    }
}

#[tokio::test]
async fn a_panic_anywhere_is_a_failed_attempt() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(explode).concurrency(4).cancel_grace(Duration::from_millis(20)).start().unwrap();
    let cases = [
        ("sync", "in the sync part"),
        ("str", "a text"),
        ("string", "a formatted text"),
        ("custom", "panicked"),
        ("payload", "panicked"),
        ("drop", "in a drop"),
        ("timeout", "dropped after its time"),
        ("display", "panicked"),
        ("spawned", "panic"),
    ];
    let mut ids = Vec::new();
    for (name, _) in cases {
        let job = fixture.queue.add(name, json!(1)).attempts(2);
        // Only one of them should be stopped by its time limit, however slow the machine is.
        let job = if name == "timeout" { job.timeout(Duration::from_millis(50)) } else { job };
        ids.push(job.await.unwrap().id().to_owned());
        ids.push(fixture.queue.add("fine", json!(1)).await.unwrap().id().to_owned());
    }
    fixture.until(JobState::Completed, cases.len()).await;
    fixture.until(JobState::Failed, cases.len()).await;
    for (id, (name, text)) in ids.iter().step_by(2).zip(cases) {
        let reason = fixture.field(id, "failedReason").await.unwrap();
        assert!(reason.contains(text), "{name}: {reason}");
        assert_eq!(fixture.number(id, "atm").await, 2, "{name}");
    }
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.counts.retried), (9, 9, 9), "{report:?}");
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_backoff_strategy_that_panics_costs_no_retry() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|_: Job<Value, ()>| async { Err::<(), _>(Halt::failed("no")) })
        .backoff_strategy(|attempt| if attempt.attempts_made == 1 { panic!("strategy") } else { Retry::Now })
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.queue.add("job", json!(1)).attempts(3).backoff(Backoff::custom("mine")).await.unwrap();
    fixture.until(JobState::Failed, 1).await;
    assert!(heard.errors().iter().any(|error| error.contains("panicked")), "{:?}", heard.errors());
    assert_eq!(worker.close().await.counts.retried, 2);
}

#[tokio::test]
async fn an_unwritable_result_is_a_failed_attempt() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(|_: Job<Value, Unwritable>| async { Ok::<_, Halt>(Unwritable) }).start().unwrap();
    let id = fixture.add(json!(1)).await;
    fixture.until(JobState::Failed, 1).await;
    let reason = fixture.field(&id, "failedReason").await.unwrap();
    assert!(reason.contains("the result cannot be written") && reason.contains("unwritable"), "{reason}");
    worker.close().await;
}

#[tokio::test]
async fn a_job_that_cannot_be_read_fails_with_the_field_named() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(5).await;
    let mut redis = fixture.redis.clone();
    for (id, field, value) in [
        (&ids[0], "data", &b"{\"n\":"[..]),
        (&ids[1], "opts", b"[1"),
        (&ids[2], "data", b"\xff\xfe"),
        (&ids[3], "data", b"{\"n\":\"a text\"}"),
    ] {
        let () = redis::cmd("HSET").arg(fixture.key(id)).arg(field).arg(value).query_async(&mut redis).await.unwrap();
    }
    #[derive(serde::Deserialize)]
    struct Data {
        n: u32,
    }
    let ran = Ledger::default();
    let ledger = ran.clone();
    let worker = fixture
        .worker(move |job: Job<Data, u32>| {
            ledger.note(job.id());
            async move { Ok::<_, Halt>(job.data().n) }
        })
        .start()
        .unwrap();
    fixture.until(JobState::Failed, 4).await;
    fixture.until(JobState::Completed, 1).await;
    for (id, field) in ids.iter().zip([
        "is not JSON at `n`: EOF",
        "field opts",
        "field data",
        "does not fit its type at `n`: expected",
    ]) {
        let reason = fixture.field(id, "failedReason").await.unwrap();
        assert!(reason.contains(field), "{reason}");
    }
    assert_eq!(ran.lines(), [ids[4].as_str()]);
    worker.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn ids_without_a_job_are_dropped_and_reported() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(4).await;
    let mut redis = fixture.redis.clone();
    let () = redis::cmd("DEL").arg(fixture.key(&ids[0])).query_async(&mut redis).await.unwrap();
    let () = redis::cmd("DEL").arg(fixture.key(&ids[1])).query_async(&mut redis).await.unwrap();
    let () = redis::cmd("HSET").arg(fixture.key(&ids[1])).arg("delay").arg(0).query_async(&mut redis).await.unwrap();
    let () = redis::cmd("DEL").arg(fixture.key(&ids[2])).query_async(&mut redis).await.unwrap();
    let () = redis::cmd("SET").arg(fixture.key(&ids[2])).arg("no hash").query_async(&mut redis).await.unwrap();
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).start().unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 1).await;
    for id in &ids[..3] {
        heard.until("a ghost", |event| matches!(event, WorkerEvent::Ghost { job_id } if job_id == id)).await;
    }
    assert_eq!(ran.lines(), [ids[3].as_str()]);
    assert_eq!((fixture.count(JobState::Waiting).await, fixture.count(JobState::Active).await), (0, 0));
    worker.close().await;
}

#[tokio::test]
async fn a_job_whose_key_is_lost_while_it_runs_harms_nobody() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(3).await;
    let redis = fixture.redis.clone();
    let (removed, replaced) = (fixture.key(&ids[0]), fixture.key(&ids[1]));
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            let (mut redis, removed, replaced) = (redis.clone(), removed.clone(), replaced.clone());
            async move {
                match job.data()["n"].as_u64() {
                    Some(0) => redis::cmd("DEL").arg(removed).query_async::<()>(&mut redis).await?,
                    Some(1) => redis::cmd("SET").arg(replaced).arg("no hash").query_async::<()>(&mut redis).await?,
                    _ => {}
                }
                Ok::<_, Halt>(())
            }
        })
        .concurrency(3)
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 1).await;
    crate::common::eventually::eventually("both told", || async { heard.errors().len() >= 2 }).await;
    let report = worker.close().await;
    assert_eq!(report.counts.completed, 1);
    let mut lost = report.lost;
    lost.sort();
    assert_eq!(lost, ids[..2]);
}

#[tokio::test]
async fn a_queue_that_refuses_every_call_is_retried_with_pauses_and_recovers() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let (started, gate) = (Ledger::default(), Arc::new(Semaphore::new(0)));
    let (ledger, held) = (started.clone(), Arc::clone(&gate));
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.id());
            let gate = Arc::clone(&held);
            async move {
                gate.acquire().await?.forget();
                Ok::<_, Halt>(())
            }
        })
        .start()
        .unwrap();
    let heard = listen(&worker);
    let ids = fixture.add_many(2).await;
    started.until(1).await;
    // The key is no set of stalled jobs: `settle` checks that before it writes anything.
    let () = redis::cmd("SET").arg(fixture.key("stalled")).arg("x").query_async(&mut redis).await.unwrap();
    gate.add_permits(100);
    heard.until("a refusal", |event| matches!(event, WorkerEvent::Error(_))).await;
    let () = redis::cmd("DEL").arg(fixture.key("stalled")).query_async(&mut redis).await.unwrap();
    fixture.until(JobState::Completed, 2).await;
    assert!(heard.errors().len() < 5, "{:?}", heard.errors());
    worker.close().await;
    check(&fixture, &ids).await;
}
