//! Jobs whose worker vanished, and jobs that were started too often.

use std::time::Duration;

use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState, ManualWorker};
use serde_json::{Value, json};

use crate::common::check::check;
use crate::common::fixture::{Fixture, Ledger, listen};

const SHORT: Duration = Duration::from_millis(100);

/// Takes a job and drops its worker, as a crash would.
async fn take_and_vanish(fixture: &Fixture) -> String {
    let gone: ManualWorker<Value, Value> = fixture.client.manual_worker("q").lock_duration(SHORT).open().unwrap();
    gone.get_next_job("gone").await.unwrap().expect("a job").id().to_owned()
}

#[tokio::test]
async fn a_job_whose_worker_vanished_runs_again() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(2).await;
    assert_eq!(take_and_vanish(&fixture).await, ids[0]);
    let worker = fixture
        .worker(|job: Job<Value, u32>| async move { Ok::<_, Halt>(job.stalled_counter()) })
        .stalled_interval(SHORT)
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 2).await;
    assert_eq!(fixture.field(&ids[0], "returnvalue").await.as_deref(), Some("1"));
    heard.until("stalled", |event| matches!(event, WorkerEvent::Stalled { job_id } if *job_id == ids[0])).await;
    worker.close().await;
    assert_eq!(check(&fixture, &ids).await.stalled, 1);
}

#[tokio::test]
async fn a_job_that_stalls_too_often_fails_without_running() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!(1)).await;
    take_and_vanish(&fixture).await;
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).stalled_interval(SHORT).max_stalled_count(0).start().unwrap();
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(fixture.field(&id, "failedReason").await.as_deref(), Some("job stalled more than allowable limit"));
    assert_eq!(ran.len(), 0);
    worker.close().await;
    check(&fixture, &[id]).await;
}

#[tokio::test]
async fn a_deferred_failure_fails_without_running() {
    let fixture = Fixture::new().await;
    let id = fixture.queue.add("job", json!(1)).attempts(5).await.unwrap().id().to_owned();
    let mut redis = fixture.redis.clone();
    let () = redis::cmd("HSET")
        .arg(fixture.key(&id))
        .arg("defa")
        .arg("a child failed")
        .query_async(&mut redis)
        .await
        .unwrap();
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(fixture.field(&id, "failedReason").await.as_deref(), Some("a child failed"));
    assert_eq!(fixture.field(&id, "defa").await, None);
    assert_eq!(worker.close().await.counts.completed, 0);
}

#[tokio::test]
async fn a_job_is_started_only_so_often() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!(1)).await;
    let ran = Ledger::default();
    let ledger = ran.clone();
    let worker = fixture
        .worker(move |_: Job<Value, ()>| {
            ledger.note("ran");
            async { Err::<(), _>(Halt::Waiting) }
        })
        .max_started_attempts(3)
        .start()
        .unwrap();
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(fixture.field(&id, "failedReason").await.as_deref(), Some("job started more than allowable limit"));
    assert_eq!((ran.len(), fixture.number(&id, "ats").await), (3, 4));
    worker.close().await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lock_writes_nothing() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!(1)).await;
    let cancelled = Ledger::default();
    let ledger = cancelled.clone();
    let mut redis = fixture.redis.clone();
    let lock = fixture.key(&format!("{id}:lock"));
    let worker = fixture
        .worker(move |job: Job<Value, u32>| {
            let ledger = ledger.clone();
            async move {
                job.cancellation().cancelled().await;
                ledger.note(format!("{:?}", job.cancel_reason()));
                Ok::<_, Halt>(1)
            }
        })
        .lock_duration(Duration::from_millis(400))
        .skip_stalled_check(true)
        .start()
        .unwrap();
    let heard = listen(&worker);
    heard.until("a start", |event| matches!(event, WorkerEvent::Active { .. })).await;
    let () = redis::cmd("SET").arg(&lock).arg("another").query_async(&mut redis).await.unwrap();
    heard.until("lost", |event| matches!(event, WorkerEvent::LockLost { .. })).await;
    cancelled.until(1).await;
    assert_eq!(cancelled.lines(), ["Some(LockLost)"]);
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost), (0, vec![id.clone()]));
    assert_eq!(fixture.field(&id, "returnvalue").await, None);
    assert!(fixture.is_active(&id).await);
    assert_eq!(heard.count(|event| matches!(event, WorkerEvent::LockLost { .. })), 1);
}
