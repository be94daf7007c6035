//! Limits of time, number and rate, and stopping running jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oxmq::error::FailureKind;
use oxmq::job::CancelReason;
use oxmq::options::Retry;
use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::common::check::check;
use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};

/// Counts how many jobs run at once, and the most that ever did.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    async fn until(&self, n: usize) {
        eventually(&format!("{n} at once"), || async { self.now.load(Ordering::SeqCst) == n }).await;
    }
}

/// Returns a processor that runs until the gate releases it.
fn gated(gauge: &Arc<Gauge>, gate: &Arc<Semaphore>) -> impl Fn(Job<Value, ()>) -> Held + Clone + use<> {
    let (gauge, gate) = (Arc::clone(gauge), Arc::clone(gate));
    move |_| {
        let (gauge, gate) = (Arc::clone(&gauge), Arc::clone(&gate));
        Box::pin(async move {
            gauge.enter();
            gate.acquire().await?.forget();
            gauge.leave();
            Ok(())
        })
    }
}

type Held = std::pin::Pin<Box<dyn Future<Output = Result<(), Halt>> + Send>>;

#[tokio::test]
async fn concurrency_is_kept_to_and_changes_while_all_slots_are_busy() {
    let fixture = Fixture::new().await;
    let (gauge, gate) = (Arc::new(Gauge::default()), Arc::new(Semaphore::new(0)));
    let worker = fixture.worker(gated(&gauge, &gate)).concurrency(3).start().unwrap();
    let ids = fixture.add_many(20).await;
    gauge.until(3).await;
    // More: at once, though no job has ended.
    worker.set_concurrency(8).await.unwrap();
    gauge.until(8).await;
    // Fewer: as jobs end.
    worker.set_concurrency(2).await.unwrap();
    gate.add_permits(6);
    gauge.until(2).await;
    gate.add_permits(2);
    fixture.until(JobState::Completed, 8).await;
    gauge.until(2).await;
    assert_eq!(gauge.most.load(Ordering::SeqCst), 8);
    gate.add_permits(100);
    fixture.until(JobState::Completed, 20).await;
    assert!(worker.set_concurrency(0).await.is_err());
    worker.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn the_concurrency_of_the_whole_queue_is_kept_to() {
    let fixture = Fixture::new().await;
    fixture.queue.set_global_concurrency(3).await.unwrap();
    let (gauge, gate) = (Arc::new(Gauge::default()), Arc::new(Semaphore::new(1_000)));
    let one = fixture.worker(gated(&gauge, &gate)).concurrency(5).start().unwrap();
    let two = fixture.worker(gated(&gauge, &gate)).concurrency(5).start().unwrap();
    let ids = fixture.add_many(60).await;
    fixture.until(JobState::Completed, 60).await;
    assert!(gauge.most.load(Ordering::SeqCst) <= 3);
    tokio::join!(one.close(), two.close());
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_paused_worker_takes_nothing_and_a_resumed_one_goes_on() {
    let fixture = Fixture::new().await;
    let (gauge, gate) = (Arc::new(Gauge::default()), Arc::new(Semaphore::new(0)));
    let worker = Arc::new(fixture.worker(gated(&gauge, &gate)).concurrency(2).start().unwrap());
    let mut ids = fixture.add_many(2).await;
    gauge.until(2).await;
    let pausing = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { worker.pause().await }
    });
    ids.extend(fixture.add_many(3).await);
    gate.add_permits(100);
    pausing.await.unwrap().unwrap();
    assert_eq!((fixture.count(JobState::Completed).await, fixture.count(JobState::Waiting).await), (2, 3));
    worker.resume().await.unwrap();
    fixture.until(JobState::Completed, 5).await;
    // Idle, then paused: a job that is added meanwhile waits for the resume, however late the marker was taken.
    for round in 0..20 {
        worker.pause().await.unwrap();
        ids.push(fixture.add(json!(round)).await);
        worker.resume().await.unwrap();
    }
    fixture.until(JobState::Completed, 25).await;
    Arc::into_inner(worker).unwrap().close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_pause_returns_when_the_worker_is_resumed() {
    let fixture = Fixture::new().await;
    let (gauge, gate) = (Arc::new(Gauge::default()), Arc::new(Semaphore::new(0)));
    let worker = Arc::new(fixture.worker(gated(&gauge, &gate)).concurrency(2).start().unwrap());
    let heard = listen(&worker);
    fixture.add_many(5).await;
    gauge.until(2).await;
    let pausing = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { worker.pause().await }
    });
    heard.until("paused", |event| matches!(event, WorkerEvent::Paused)).await;
    assert!(worker.is_paused() && worker.is_running());
    worker.resume().await.unwrap();
    heard.until("resumed", |event| matches!(event, WorkerEvent::Resumed)).await;
    assert!(!worker.is_paused() && worker.is_running());
    tokio::time::timeout(PATIENCE, pausing).await.expect("it returns").unwrap().unwrap();
    gate.add_permits(100);
    fixture.until(JobState::Completed, 5).await;
}

#[tokio::test]
async fn a_paused_queue_hands_out_nothing() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    let heard = listen(&worker);
    fixture.queue.pause().await.unwrap();
    heard.until("drained", |event| matches!(event, WorkerEvent::Drained)).await;
    let ids = fixture.add_many(3).await;
    assert_eq!(fixture.count(JobState::Completed).await, 0);
    fixture.queue.resume().await.unwrap();
    fixture.until(JobState::Completed, 3).await;
    worker.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_told_and_failed() {
    let fixture = Fixture::new().await;
    let reasons = Ledger::default();
    let ledger = reasons.clone();
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            let ledger = ledger.clone();
            async move {
                job.cancellation().cancelled().await;
                ledger.note(format!("{:?}", job.cancel_reason()));
                match job.name() {
                    "polite" => Err(Halt::unrecoverable("cleaned up")),
                    "late" => Ok(()),
                    _ => std::future::pending().await,
                }
            }
        })
        .concurrency(3)
        .timeout(Duration::from_millis(50))
        // Enough for the jobs that listen; the one that does not uses up the time.
        .cancel_grace(Duration::from_secs(1))
        .start()
        .unwrap();
    let mut ids = Vec::new();
    for name in ["polite", "late", "deaf"] {
        let job =
            fixture.queue.add(name, json!(1)).timeout(Duration::from_millis(if name == "late" { 60 } else { 50 }));
        ids.push(job.await.unwrap().id().to_owned());
    }
    fixture.until(JobState::Failed, 3).await;
    for (id, text) in ids.iter().zip(["timed out after 50 ms", "timed out after 60 ms", "timed out after 50 ms"]) {
        assert_eq!(fixture.field(id, "failedReason").await.as_deref(), Some(text));
    }
    assert_eq!(reasons.tally()["Some(Timeout)"], 3);
    worker.close().await;
    check(&fixture, &ids).await;
}

/// An error of the processor's own.
#[derive(Debug, thiserror::Error)]
#[error("cleaned up")]
struct CleanedUp;

#[tokio::test]
async fn a_processor_told_of_its_timeout_has_timed_out_whatever_it_returns() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            job.cancellation().cancelled().await;
            Err::<(), _>(match job.name() {
                "error" => Halt::failed(CleanedUp),
                "later" => Halt::retry_after(Duration::from_millis(1), CleanedUp),
                "never" => Halt::unrecoverable(CleanedUp),
                "front" => Halt::Waiting,
                "children" => Halt::WaitingChildren,
                _ => Halt::Delayed(Duration::ZERO),
            })
        })
        .concurrency(6)
        .timeout(Duration::from_millis(40))
        .cancel_grace(Duration::from_secs(20))
        .on_error(|failed| {
            let is_late = failed.kind == FailureKind::Timeout;
            assert_eq!(failed.downcast_ref::<CleanedUp>().is_some(), failed.job_name == "error");
            if is_late { Retry::Now } else { Retry::Never }
        })
        .start()
        .unwrap();
    let heard = listen(&worker);
    let names = ["error", "later", "never", "front", "children", "postponed"];
    for name in names {
        fixture.queue.add(name, json!(1)).job_id(name).attempts(2).await.unwrap();
    }
    fixture.until(JobState::Failed, names.len()).await;
    for name in names {
        let job = fixture.queue.get_job(name).await.unwrap().unwrap();
        assert_eq!(job.failed_reason(), Some("timed out after 40 ms"), "{name}");
        let made = if name == "never" { 1 } else { 2 };
        assert_eq!((job.attempts_made(), job.attempts_started()), (made, made), "{name}");
        let own = if ["error", "later", "never"].contains(&name) { "\n    caused by: cleaned up" } else { "" };
        assert_eq!(job.stacktrace().last().unwrap(), &format!("Timeout: timed out after 40 ms{own}"));
    }
    let is_late = |event: &WorkerEvent| matches!(event, WorkerEvent::Failed { kind: FailureKind::Timeout, .. });
    heard.until("a timeout", is_late).await;
    assert_eq!(heard.errors(), Vec::<String>::new(), "the policy does not panic");
    let report = worker.close().await;
    assert_eq!((report.moved, report.handed_back), (0, vec![]));
}

#[tokio::test]
async fn running_jobs_are_cancelled_by_id_and_all_together() {
    let fixture = Fixture::new().await;
    let started = Ledger::default();
    let ledger = started.clone();
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.id());
            async move {
                job.cancellation().cancelled().await;
                match job.cancel_reason() {
                    Some(CancelReason::Requested(why)) => Err::<(), _>(Halt::unrecoverable(why.clone())),
                    other => Err(Halt::unrecoverable(format!("{other:?}"))),
                }
            }
        })
        .concurrency(3)
        .start()
        .unwrap();
    let ids = fixture.add_many(3).await;
    started.until(3).await;
    assert!(worker.cancel_job(&ids[1], "not wanted"));
    assert!(!worker.cancel_job("no such job", "x"));
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(fixture.field(&ids[1], "failedReason").await.as_deref(), Some("not wanted"));
    assert_eq!(worker.cancel_all_jobs("enough"), 2);
    fixture.until(JobState::Failed, 3).await;
    assert_eq!(fixture.field(&ids[0], "failedReason").await.as_deref(), Some("enough"));
    worker.close().await;
    check(&fixture, &ids).await;
}

/// Returns the largest number of starts within any `window` of server time.
async fn most_starts_within(fixture: &Fixture, window: u64) -> usize {
    let mut redis = fixture.redis.clone();
    let events: Vec<(String, std::collections::HashMap<String, String>)> =
        redis::cmd("XRANGE").arg(fixture.key("events")).arg("-").arg("+").query_async(&mut redis).await.unwrap();
    let starts: Vec<u64> = events
        .iter()
        .filter(|(_, fields)| fields["event"] == "active")
        .map(|(id, _)| id.split('-').next().unwrap().parse().unwrap())
        .collect();
    let within = |from: &u64| starts.iter().filter(|at| *at >= from && **at < from + window).count();
    starts.iter().map(within).max().unwrap_or(0)
}

#[tokio::test]
async fn a_rate_limit_is_kept_by_all_workers_together() {
    let fixture = Fixture::new().await;
    let worker = |_| {
        let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) });
        worker.concurrency(4).limiter(5, Duration::from_millis(200)).start().unwrap()
    };
    let workers = [(); 2].map(worker);
    let ids = fixture.add_many(25).await;
    fixture.until(JobState::Completed, 25).await;
    // The window is fixed: around its end the jobs of two windows may run, but never of three.
    let most = most_starts_within(&fixture, 190).await;
    assert!(most <= 10, "{most} starts within one window");
    for worker in workers {
        worker.close().await;
    }
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn the_rate_limit_of_the_queue_comes_before_the_workers_own() {
    let fixture = Fixture::new().await;
    fixture.queue.set_global_rate_limit(2, Duration::from_millis(150)).await.unwrap();
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).concurrency(10).start().unwrap();
    let ids = fixture.add_many(10).await;
    fixture.until(JobState::Completed, 10).await;
    let most = most_starts_within(&fixture, 140).await;
    assert!(most <= 4, "{most} starts within one window");
    worker.close().await;
    check(&fixture, &ids).await;
}

/// The workers that a limit has put to sleep do not wait for the marker, so they look again.
#[tokio::test]
async fn a_limit_that_is_taken_back_or_raised_lets_limited_workers_go_on() {
    let (long, short) = (Duration::from_secs(600), Duration::from_millis(100));
    for way in ["removed", "raised", "a new window", "by hand"] {
        let fixture = Fixture::new().await;
        let queue = &fixture.queue;
        queue.set_global_rate_limit(1, long).await.unwrap();
        let ids = fixture.add_many(2).await;
        let by_hand = fixture.client.manual_worker::<Value, ()>(queue.name()).drain_delay(short).open().unwrap();
        let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) });
        let worker = worker.drain_delay(short).maximum_rate_limit_delay(long);
        let worker = if way == "by hand" { None } else { Some(worker.start().unwrap()) };
        if worker.is_some() {
            fixture.until(JobState::Completed, 1).await;
        } else {
            by_hand.get_next_job("t").await.unwrap().unwrap().move_to_completed(&(), "t").await.unwrap();
        }
        let end = async {
            match way {
                "raised" => queue.set_global_rate_limit(100, long).await.unwrap(),
                "a new window" => assert!(queue.remove_rate_limit_key().await.unwrap()),
                _ => assert!(queue.remove_global_rate_limit().await.unwrap()),
            }
        };
        if let Some(worker) = worker {
            end.await;
            fixture.until(JobState::Completed, 2).await;
            worker.close().await;
        } else {
            let next = by_hand.get_next_job_within("t", long);
            let (next, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(next, end) }).await.expect(way);
            next.unwrap().expect(way).move_to_completed(&(), "t").await.unwrap();
        }
        check(&fixture, &ids).await;
    }
}

/// Only the worker keeps a pause that a job asked for, where there is no limit.
#[tokio::test]
async fn a_pause_that_is_taken_back_lets_a_worker_without_a_limit_go_on() {
    let (long, short) = (Duration::from_secs(600), Duration::from_millis(100));
    let fixture = Fixture::new().await;
    let worker = fixture.worker(move |job: Job<Value, ()>| async move {
        if job.attempts_started() == 1 { Err(Halt::RateLimited(long)) } else { Ok(()) }
    });
    let worker = worker.drain_delay(short).maximum_rate_limit_delay(long).start().unwrap();
    let ids = fixture.add_many(1).await;
    let queue = &fixture.queue;
    eventually("the queue is held", || async { queue.get_rate_limit_ttl(None).await.unwrap() }).await;
    assert!(queue.remove_rate_limit_key().await.unwrap());
    fixture.until(JobState::Completed, 1).await;
    worker.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_rate_limited_job_pauses_the_queue_and_runs_again() {
    let fixture = Fixture::new().await;
    let runs = Ledger::default();
    let ledger = runs.clone();
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.id());
            async move {
                if job.attempts_started() == 1 && job.data()["n"] == json!(0) {
                    return Err(Halt::RateLimited(Duration::from_secs(1)));
                }
                Ok(())
            }
        })
        .limiter(100, Duration::from_secs(1))
        .start()
        .unwrap();
    let ids = fixture.add_many(4).await;
    eventually("the queue is held", || async { fixture.queue.get_rate_limit_ttl(None).await.unwrap() }).await;
    fixture.until(JobState::Completed, 4).await;
    // It moved back to the front.
    assert_eq!(runs.lines()[..2], [ids[0].clone(), ids[0].clone()]);
    assert_eq!(fixture.number(&ids[0], "atm").await, 1);
    worker.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_rate_limited_job_starts_once_in_each_pause() {
    let fixture = Fixture::new().await;
    let pause = Duration::from_millis(300);
    let ledger = Ledger::default();
    let worker = fixture.worker({
        let ledger = ledger.clone();
        move |job: Job<Value, ()>| {
            ledger.note(job.id());
            // The job asks for a pause three times.
            let asks = job.attempts_started() <= 3;
            async move { if asks { Err(Halt::RateLimited(pause)) } else { Ok(()) } }
        }
    });
    let worker = worker.start().unwrap();
    let id = fixture.add(json!(1)).await;
    fixture.until(JobState::Completed, 1).await;
    // A worker without a limit is held back only by the pause that it asks for.
    assert_eq!(ledger.len(), 4);
    let life = fixture.number(&id, "finishedOn").await - fixture.number(&id, "timestamp").await;
    assert!(life >= 890, "three pauses took {life} ms");
    worker.close().await;
    check(&fixture, &[id]).await;
}

#[tokio::test]
async fn a_processor_that_never_yields_past_its_timeout_has_timed_out() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|_: Job<Value, ()>| async {
            std::thread::sleep(Duration::from_millis(120)); // time itself
            Ok::<_, Halt>(())
        })
        .timeout(Duration::from_millis(50))
        .start()
        .unwrap();
    let id = fixture.add(json!(1)).await;
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(fixture.field(&id, "failedReason").await.unwrap(), "timed out after 50 ms");
    worker.close().await;
}
