//! Jobs that are cancelled from elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use oxmq::error::FailureKind;
use oxmq::job::{CancelReason, Cancellation};
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Error, FlowNode, Halt, Job, JobState, Queue, Worker};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, PATIENCE};
use crate::common::server::shared_server;

/// Opens the queue as another program does: with connections of its own.
async fn elsewhere(fixture: &Fixture) -> Queue<Value, Value> {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    client.queue("q").open().unwrap()
}

/// Waits until a job has failed, and returns the reason.
async fn failed(fixture: &Fixture, id: &str) -> String {
    eventually("the job has failed", || async {
        let reason = fixture.field(id, "failedReason").await;
        reason.filter(|_| true)
    })
    .await
}

#[tokio::test]
async fn a_running_job_is_cancelled_from_another_process() {
    let fixture = Fixture::new().await;
    let patient = |job: Job<Value, Value>| async move {
        job.cancellation().cancelled().await;
        assert_eq!(job.cancel_reason(), Some(&CancelReason::Cancelled("not needed".to_owned())));
        Err::<Value, _>(Halt::failed("stopped half-way"))
    };
    let worker = fixture.worker(patient).start().unwrap();
    let mut events = worker.events();
    let job = fixture.queue.add("job", json!(1)).attempts(5).await.unwrap();
    eventually("it runs", || async { fixture.is_active(job.id()).await }).await;
    let other = elsewhere(&fixture).await;
    assert_eq!(other.job(job.id()).cancel("not needed").await.unwrap(), Cancellation::Requested);
    // A caller that waits for the job gets the reason, and the job is not retried.
    match job.wait_until_finished(PATIENCE).await {
        Err(Error::JobFailed { reason, .. }) => assert_eq!(reason, "not needed"),
        other => panic!("{other:?}"),
    }
    fixture.until(JobState::Failed, 1).await;
    let told = async {
        loop {
            if let Some(WorkerEvent::Failed { kind, will_retry, .. }) = events.recv().await {
                break (kind, will_retry);
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, told).await.unwrap(), (FailureKind::Cancelled, false));
    assert_eq!(other.job(job.id()).cancel("again").await.unwrap(), Cancellation::AlreadyFinished);
    assert_eq!(other.job("no such").cancel("why").await.unwrap(), Cancellation::NotFound);
    assert_eq!(other.job("meta").cancel("why").await.unwrap(), Cancellation::NotFound);
    assert_eq!(fixture.field(job.id(), "defa").await, None);
    // Nothing is left of the request.
    let mut redis = fixture.redis.clone();
    eventually("the request is gone", || async {
        let left: u32 =
            redis::cmd("EXISTS").arg(fixture.key("oxmq:cancels")).query_async(&mut redis.clone()).await.unwrap();
        left == 0
    })
    .await;
    let _: () = redis::cmd("PING").query_async(&mut redis).await.unwrap();
    worker.close().await;
}

/// Returns how many requests the queue holds and for how long, in ms; -2 for none.
async fn requests(fixture: &Fixture) -> (usize, i64) {
    let mut redis = fixture.redis.clone();
    let key = fixture.key("oxmq:cancels");
    redis::pipe().cmd("HLEN").arg(&key).cmd("PTTL").arg(&key).query_async(&mut redis).await.unwrap()
}

#[tokio::test]
async fn thousands_of_requests_are_all_honoured() {
    const JOBS: usize = 3_000;
    let fixture = Fixture::new().await;
    let patient = |job: Job<Value, Value>| async move {
        job.cancellation().cancelled().await;
        Err::<Value, _>(Halt::failed("stopped"))
    };
    let worker = fixture.worker(patient).concurrency(JOBS).start().unwrap();
    let ids = fixture.add_many(JOBS).await;
    fixture.until(JobState::Active, JOBS).await;
    let other = elsewhere(&fixture).await;
    let cancelling = ids.iter().map(|id| {
        let job = other.job(id);
        async move { job.cancel(format!("no {id}")).await }
    });
    for answer in futures::future::join_all(cancelling).await {
        assert_eq!(answer.unwrap(), Cancellation::Requested);
    }
    fixture.until(JobState::Failed, JOBS).await;
    let mut reasons = redis::pipe();
    for id in &ids {
        reasons.cmd("HGET").arg(fixture.key(id)).arg("failedReason");
    }
    let reasons: Vec<String> = reasons.query_async(&mut fixture.redis.clone()).await.unwrap();
    for (id, reason) in ids.iter().zip(reasons) {
        assert_eq!(reason, format!("no {id}"));
    }
    assert_eq!(requests(&fixture).await, (0, -2), "each goes with the end of its attempt");
    worker.close().await;
}

/// The jobs end as they are told, so they may end before they hear of the cancellation. Only a value counts then; any
/// other end makes the job fail.
#[tokio::test]
async fn a_cancelled_attempt_that_ends_before_it_is_told_is_the_last() {
    const JOBS: usize = 40;
    let fixture = Fixture::new().await;
    let (go, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (gate, counter) = (Arc::clone(&go), Arc::clone(&runs));
    let ends = move |job: Job<Value, Value>| {
        let gate = Arc::clone(&gate);
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            gate.notified().await;
            match job.data()["n"].as_u64().unwrap() % 4 {
                0 => Err(Halt::failed("own reason")),
                1 => Err(Halt::Delayed(Duration::from_secs(3_600))),
                _ => Ok(json!(1)),
            }
        }
    };
    let worker = fixture.worker(ends).concurrency(JOBS).start().unwrap();
    let hour = Duration::from_secs(3_600);
    let new = |n| oxmq::NewJob::new("job", json!({ "n": n })).attempts(5).backoff(hour);
    let added = fixture.queue.add_bulk((0..JOBS).map(new)).await.unwrap();
    fixture.until(JobState::Active, JOBS).await;
    for job in &added {
        assert_eq!(job.as_ref().unwrap().cancel("why").await.unwrap(), Cancellation::Requested);
    }
    go.notify_waiters();
    fixture.until(JobState::Completed, JOBS / 2).await;
    fixture.until(JobState::Failed, JOBS / 2).await;
    for (n, job) in added.iter().enumerate() {
        let id = job.as_ref().unwrap().id();
        assert_eq!(fixture.field(id, "defa").await, None, "a retry by hand of {n} is to run");
        if n % 4 < 2 {
            assert_eq!(fixture.field(id, "failedReason").await.as_deref(), Some("why"), "{n}");
        }
    }
    assert_eq!((runs.load(Ordering::SeqCst), requests(&fixture).await), (JOBS, (0, -2)));
    worker.close().await;
}

/// Requests for attempts that have ended on another program's worker are removed. Those for running attempts stay,
/// however many there are.
#[tokio::test]
async fn only_cancellations_of_ended_attempts_are_dropped() {
    const CROWDED: usize = 1_024;
    let fixture = Fixture::new().await;
    let long = Duration::from_secs(600);
    let worker = fixture.client.manual_worker::<Value, Value>("q").lock_duration(long).open().unwrap();
    fixture.add_many(3).await;
    let first = worker.get_next_job("a").await.unwrap().unwrap();
    let second = worker.get_next_job("b").await.unwrap().unwrap();
    let third = worker.get_next_job("c").await.unwrap().unwrap();
    let mut stale = redis::cmd("HSET");
    stale.arg(fixture.key("oxmq:cancels")).arg(second.id()).arg("another\nwhy");
    for n in 2..CROWDED {
        stale.arg(format!("gone-{n}")).arg("t\nwhy");
    }
    let _: () = stale.query_async(&mut fixture.redis.clone()).await.unwrap();
    first.cancel("why").await.unwrap();
    let (kept, life) = requests(&fixture).await;
    assert_eq!(kept, CROWDED);
    assert!(life > 600_000, "a request outlives the lock: {life}");
    third.cancel("why").await.unwrap();
    assert_eq!(requests(&fixture).await.0, 2);
    let running = [(first.id(), "a"), (second.id(), "b"), (third.id(), "c")];
    let cancelled = worker.get_cancellations(&running).await.unwrap();
    assert_eq!(cancelled, [(first.id().to_owned(), "why".to_owned()), (third.id().to_owned(), "why".to_owned())]);
}

#[tokio::test]
async fn a_job_that_was_fetched_by_hand_hears_of_it() {
    let fixture = Fixture::new().await;
    let other = elsewhere(&fixture).await;
    let worker = fixture.client.manual_worker::<Value, Value>("q").open().unwrap();
    let hour = Duration::from_secs(3_600);
    let next = |token: &'static str| {
        let (queue, worker) = (&fixture.queue, &worker);
        async move {
            queue.add("job", json!(1)).attempts(5).backoff(hour).await.unwrap();
            worker.get_next_job(token).await.unwrap().unwrap()
        }
    };
    // This one waits for the cancellation, as in a worker. A failure is then final, and has the given reason.
    let waits = next("waits").await;
    // This one hears of it by renewing the lock. A value counts all the same.
    let renews = next("renews").await;
    // This one never hears of it. It is the last attempt all the same.
    let deaf = next("deaf").await;
    for job in [&waits, &renews, &deaf] {
        assert_eq!(other.job(job.id()).cancel("not needed").await.unwrap(), Cancellation::Requested);
    }
    let reason = CancelReason::Cancelled("not needed".to_owned());
    assert!(renews.extend_lock("another", hour).await.is_ok_and(|held| !held));
    assert!(renews.extend_lock("renews", hour).await.unwrap());
    assert_eq!(renews.cancel_reason(), Some(&reason));
    renews.move_to_completed(&json!(1), "renews").await.unwrap();
    deaf.move_to_delayed(UNIX_EPOCH + 1_000_000 * hour, "deaf").await.unwrap();
    assert!(worker.get_next_job("later").await.unwrap().is_none());
    assert_eq!(failed(&fixture, deaf.id()).await, "not needed");
    tokio::time::timeout(PATIENCE, waits.cancellation().cancelled()).await.unwrap();
    assert_eq!(waits.cancel_reason(), Some(&reason));
    waits.move_to_failed("half-way", "waits").await.unwrap();
    assert_eq!(failed(&fixture, waits.id()).await, "not needed");
    assert_eq!((fixture.count(JobState::Completed).await, requests(&fixture).await), (1, (0, -2)));
    // The next attempt is watched as well.
    let again = next("again").await;
    other.job(again.id()).cancel("").await.unwrap();
    tokio::time::timeout(PATIENCE, again.cancellation().cancelled()).await.unwrap();
    again.move_to_failed("half-way", "again").await.unwrap();
    assert_eq!(failed(&fixture, again.id()).await, "cancelled");
}

#[tokio::test]
async fn a_value_that_a_cancelled_job_returns_counts() {
    let fixture = Fixture::new().await;
    let finishes = |job: Job<Value, Value>| async move {
        job.cancellation().cancelled().await;
        Ok::<_, Halt>(json!("half"))
    };
    let worker = fixture.worker(finishes).start().unwrap();
    let job = fixture.queue.add("job", json!(1)).await.unwrap();
    eventually("it runs", || async { fixture.is_active(job.id()).await }).await;
    assert_eq!(job.cancel("").await.unwrap(), Cancellation::Requested);
    assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!("half"));
    worker.close().await;
    assert_eq!(fixture.field(job.id(), "defa").await, None);
}

/// A job that does not listen is dropped at its next await. It fails without a run when it is fetched again.
#[tokio::test]
async fn a_job_that_does_not_listen_is_dropped() {
    let fixture = Fixture::new().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&runs);
    let deaf = move |_: Job<Value, Value>| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<Value, Halt>>()
    };
    let worker = fixture.worker(deaf).cancel_grace(Duration::from_millis(10)).start().unwrap();
    let job = fixture.queue.add("job", json!(1)).attempts(3).await.unwrap();
    eventually("it runs", || async { fixture.is_active(job.id()).await }).await;
    assert_eq!(job.cancel("").await.unwrap(), Cancellation::Requested);
    assert_eq!(failed(&fixture, job.id()).await, "cancelled");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    worker.close().await;
}

/// A request is for one attempt. A later job with the same id is not affected.
#[tokio::test]
async fn a_request_stops_no_other_attempt() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let worker = fixture
        .worker(|job: Job<Value, Value>| async move {
            let cancelled = job.cancellation();
            tokio::select! {
                () = cancelled.cancelled() => Err(Halt::failed("stopped")),
                () = tokio::time::sleep(Duration::from_secs(2)) => Ok(json!(1)), // what is not cancelled
            }
        })
        .start()
        .unwrap();
    let _: () = redis::cmd("HSET")
        .arg(fixture.key("oxmq:cancels"))
        .arg("a")
        .arg("some other token\nwhy")
        .query_async(&mut redis)
        .await
        .unwrap();
    fixture.queue.add("job", json!(1)).job_id("a").await.unwrap();
    fixture.until(JobState::Completed, 1).await;
    worker.close().await;
}

/// Starts a worker that counts how often it runs a job.
fn counting_worker(fixture: &Fixture, runs: &Arc<AtomicUsize>) -> Worker {
    let runs = Arc::clone(runs);
    let counts = move |_: Job<Value, Value>| {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Halt>(json!(1)) }
    };
    fixture.worker(counts).start().unwrap()
}

#[tokio::test]
async fn a_job_that_waits_is_cancelled_unrun() {
    let fixture = Fixture::new().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let hour = Duration::from_secs(3_600);
    let waits = fixture.queue.add("job", json!(1)).await.unwrap();
    let urgent = fixture.queue.add("job", json!(1)).priority(3).await.unwrap();
    let delayed = fixture.queue.add("job", json!(1)).delay(hour).await.unwrap();
    let child = FlowNode::new("other", "child", 1);
    let flow = fixture.client.flow_producer().add(FlowNode::new("q", "parent", 1).child(child)).await.unwrap();
    let ids = [waits.id(), urgent.id(), delayed.id(), flow.id()];
    for id in ids {
        assert_eq!(fixture.queue.job(id).cancel("why").await.unwrap(), Cancellation::Cancelled, "{id}");
    }
    let worker = counting_worker(&fixture, &runs);
    fixture.until(JobState::Failed, 4).await;
    for id in ids {
        assert_eq!(failed(&fixture, id).await, "why");
    }
    worker.close().await;
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}
