//! Layers around attempts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxmq::error::FailureKind;
use oxmq::events::JsonText;
use oxmq::job::AnyJob;
use oxmq::options::Retry;
use oxmq::queue::Order;
use oxmq::worker::WorkerEvent;
use oxmq::worker::layer::{Concurrency, Layer, Next, Retries, Timeouts};
use oxmq::{Backoff, Halt, Job, JobState, Router};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};
use crate::common::gate::Gate;

/// Returns a layer that notes when an attempt goes in and out.
fn noting(ledger: &Arc<Mutex<Vec<String>>>, name: &'static str) -> impl Layer {
    let ledger = Arc::clone(ledger);
    move |_: AnyJob, next: Next| {
        let ledger = Arc::clone(&ledger);
        async move {
            ledger.lock().unwrap().push(format!("{name} in"));
            let ended = next.run().await;
            ledger.lock().unwrap().push(format!("{name} out"));
            ended
        }
    }
}

async fn echo(job: Job) -> Result<Value, Halt> {
    Ok(job.data().clone())
}

#[tokio::test]
async fn the_last_layer_is_the_outermost_and_a_workers_are_around_the_routers() {
    let fixture = Fixture::new().await;
    let notes = Arc::new(Mutex::new(Vec::new()));
    let router =
        Router::new().on("echo", echo).layer(noting(&notes, "first")).layer(noting(&notes, "second")).on("bare", echo);
    let worker = fixture.worker(router).layer(noting(&notes, "worker")).start().unwrap();
    let echoed = fixture.queue.add("echo", json!(7)).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
    assert_eq!(echoed, json!(7));
    let expected = ["worker in", "second in", "first in", "first out", "second out", "worker out"];
    assert_eq!(std::mem::take(&mut *notes.lock().unwrap()), expected);
    // A route that was added after the layers has none of them.
    fixture.queue.add("bare", json!(7)).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
    assert_eq!(*notes.lock().unwrap(), ["worker in", "worker out"]);
    worker.close().await;
}

#[tokio::test]
async fn a_layer_answers_in_place_of_the_processor_or_changes_what_it_answered() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(echo)
        .layer(|job: AnyJob, next: Next| async move {
            match job.name() {
                "cached" => JsonText::of(&"from the cache").map_err(Halt::failed),
                "refused" => Err(Halt::unrecoverable("refused by a layer")),
                "panics" => panic!("in a layer"),
                _ => next.run().await,
            }
        })
        .start()
        .unwrap();
    let heard = listen(&worker);
    let result = async |name: &str| {
        let job = fixture.queue.add(name, json!(1)).await.unwrap();
        job.wait_until_finished(PATIENCE).await
    };
    assert_eq!(result("cached").await.unwrap(), json!("from the cache"));
    assert!(result("refused").await.unwrap_err().to_string().ends_with("refused by a layer"));
    assert!(result("panics").await.unwrap_err().to_string().ends_with("panicked: in a layer"));
    assert_eq!(result("plain").await.unwrap(), json!(1));
    heard.until("a panic", |event| matches!(event, WorkerEvent::Failed { kind: FailureKind::Panic, .. })).await;
    worker.close().await;
}

#[tokio::test]
async fn timeouts_are_limited_by_job_name() {
    let fixture = Fixture::new().await;
    let told = Ledger::default();
    let ledger = told.clone();
    let limits = Timeouts::new().on("stuck", Duration::from_millis(30)).on("polite", Duration::from_millis(30));
    let worker = fixture
        .worker(move |job: Job<Value, u32>| {
            let ledger = ledger.clone();
            async move {
                match job.name() {
                    "stuck" => std::future::pending().await,
                    "polite" => {
                        job.cancellation().cancelled().await;
                        ledger.note("told");
                        Err(Halt::Delayed(Duration::from_secs(3600)))
                    }
                    _ => Ok(1),
                }
            }
        })
        .layer(limits)
        .cancel_grace(Duration::from_millis(200))
        .concurrency(3)
        .start()
        .unwrap();
    let heard = listen(&worker);
    for name in ["stuck", "polite", "quick"] {
        fixture.queue.add(name, json!(1)).job_id(name).await.unwrap();
    }
    fixture.until(JobState::Completed, 1).await;
    fixture.until(JobState::Failed, 2).await;
    heard.until("a timeout", |event| matches!(event, WorkerEvent::Failed { kind: FailureKind::Timeout, .. })).await;
    for name in ["stuck", "polite"] {
        let late = fixture.queue.get_job(name).await.unwrap().unwrap();
        assert_eq!(late.failed_reason(), Some("timed out after 30 ms"));
    }
    worker.close().await;
}

#[tokio::test]
async fn concurrency_is_limited_by_name() {
    let fixture = Fixture::new().await;
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (r, m) = (Arc::clone(&running), Arc::clone(&most));
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            let (running, most) = (Arc::clone(&r), Arc::clone(&m));
            async move {
                if job.name() == "free" {
                    return Ok::<_, Halt>(());
                }
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await; // the work itself
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        })
        .layer(Concurrency::new().on("job", 2))
        .concurrency(8)
        .start()
        .unwrap();
    fixture.add_many(12).await;
    fixture.queue.add("free", json!(1)).await.unwrap();
    fixture.until(JobState::Completed, 13).await;
    assert_eq!(most.load(Ordering::SeqCst), 2);
    worker.close().await;
}

/// A worker with this layer and two slots runs one job, which goes on until it is let through; the second waits for it
/// in the layer. It is cancelled, and must fail unrun while the first still runs.
async fn assert_cancelled_while_it_waits(layer: impl Layer) {
    let fixture = Fixture::new().await;
    let gate = Gate::new();
    let worker = fixture
        .worker(gate.processor())
        .layer(layer)
        // Whoever does not hear of it stays for a minute.
        .cancel_grace(Duration::from_secs(60))
        .concurrency(2)
        .start()
        .unwrap();
    let first = fixture.queue.add("job", json!(1)).await.unwrap();
    gate.begun.until(1).await;
    let second = fixture.queue.add("job", json!(2)).await.unwrap();
    eventually("the second waits", || async { fixture.is_active(second.id()).await }).await;
    second.cancel("not needed").await.unwrap();
    let error = second.wait_until_finished(PATIENCE).await.unwrap_err().to_string();
    assert!(error.ends_with("not needed"), "{error}");
    assert_eq!(first.get_state().await.unwrap(), JobState::Active);
    gate.let_through(1);
    fixture.until(JobState::Completed, 1).await;
    assert_eq!(gate.begun.lines(), [first.id()]);
    // The place is free for others.
    let third = fixture.queue.add("job", json!(3)).await.unwrap();
    gate.let_through(1);
    third.wait_until_finished(PATIENCE).await.unwrap();
    worker.close().await;
}

#[tokio::test]
async fn a_job_that_waits_for_its_turn_is_cancelled_unrun() {
    assert_cancelled_while_it_waits(Concurrency::new().on("job", 1)).await;
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn a_job_that_waits_for_a_service_of_tower_is_cancelled_unrun() {
    use oxmq::worker::layer::Tower;
    assert_cancelled_while_it_waits(Tower::new(tower::limit::ConcurrencyLimitLayer::new(1))).await;
}

/// A worker with this layer and room for all runs one of five jobs; the others wait for it in the layer. When the worker
/// closes, they must be put back at once, while the first still runs, and must never run here.
async fn assert_handed_back_while_they_wait(layer: impl Layer) {
    let fixture = Fixture::new().await;
    let gate = Gate::new();
    let worker = fixture.worker(gate.processor()).layer(layer).concurrency(5).start().unwrap();
    let mut jobs = Vec::new();
    for n in 1..=5 {
        jobs.push(fixture.queue.add("job", json!(n)).await.unwrap());
    }
    fixture.until(JobState::Active, 5).await;
    gate.begun.until(1).await;
    let closing = tokio::spawn(worker.close_within(PATIENCE));
    fixture.until(JobState::Waiting, 4).await;
    fixture.until(JobState::Active, 1).await;
    let ran = gate.begun.lines();
    gate.let_through(1);
    let report = closing.await.unwrap();
    assert_eq!((report.counts.completed, report.counts.failed, report.counts.retried), (1, 0, 0));
    assert_eq!(gate.begun.lines(), ran);
    jobs.retain(|job| job.id() != ran[0]);
    let ids: Vec<_> = jobs.iter().map(|job| job.id().to_owned()).collect();
    let mut handed_back = report.handed_back;
    handed_back.sort_unstable();
    assert_eq!(handed_back, ids);
    // They keep their order. No attempt is used up; starts stay counted, since they fence off earlier ones.
    let waiting = fixture.queue.get_jobs(&[JobState::Waiting], 0, -1, Order::Ascending).await.unwrap();
    let counted = |job: oxmq::Result<Job>| {
        let job = job.unwrap();
        (job.id().to_owned(), job.attempts_made(), job.attempts_started())
    };
    let waiting: Vec<_> = waiting.into_iter().map(counted).collect();
    assert_eq!(waiting, ids.into_iter().map(|id| (id, 0, 1)).collect::<Vec<_>>());
}

#[tokio::test]
async fn jobs_that_wait_for_their_turn_are_handed_back_when_the_worker_begins_to_close() {
    assert_handed_back_while_they_wait(Concurrency::new().on("job", 1)).await;
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn jobs_that_wait_for_a_service_of_tower_are_handed_back_when_the_worker_begins_to_close() {
    use oxmq::worker::layer::Tower;
    assert_handed_back_while_they_wait(Tower::new(tower::limit::ConcurrencyLimitLayer::new(1))).await;
}

#[tokio::test]
async fn retries_are_decided_by_the_type_of_the_error() {
    let fixture = Fixture::new().await;
    let rules = Retries::new()
        .on_error(|_: &std::num::ParseIntError| Retry::Never)
        .on_error(|_: &std::io::Error| Retry::After(Duration::from_millis(3)));
    let worker = fixture
        .worker(|job: Job<Value, u32>| async move {
            match job.name() {
                "parse" => Ok("x".parse::<u32>()?),
                "io" if job.attempts_started() < 3 => Err(Halt::failed(std::io::Error::other("no"))),
                _ => Ok(1),
            }
        })
        .layer(rules)
        .start()
        .unwrap();
    for name in ["parse", "io"] {
        let backoff = Backoff::fixed(Duration::from_secs(3600));
        fixture.queue.add(name, json!(1)).attempts(5).backoff(backoff).await.unwrap();
    }
    fixture.until(JobState::Completed, 1).await;
    fixture.until(JobState::Failed, 1).await;
    let report = worker.close().await;
    assert_eq!((report.counts.retried, report.counts.failed), (2, 1));
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn layers_of_tower_are_layers() {
    use oxmq::worker::layer::Tower;

    let fixture = Fixture::new().await;
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (r, m) = (Arc::clone(&running), Arc::clone(&most));
    let worker = fixture
        .worker(move |job: Job| {
            let (running, most) = (Arc::clone(&r), Arc::clone(&m));
            async move {
                match job.name() {
                    "stuck" => std::future::pending::<()>().await,
                    "later" => return Err(Halt::Delayed(Duration::from_secs(3600))),
                    _ => {}
                }
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(job.data().clone())
            }
        })
        .layer(Tower::new(tower::timeout::TimeoutLayer::new(Duration::from_secs(1))))
        .layer(Tower::new(tower::limit::ConcurrencyLimitLayer::new(1)))
        .concurrency(4)
        .start()
        .unwrap();
    let ids = fixture.add_many(6).await;
    for name in ["stuck", "later"] {
        fixture.queue.add(name, json!(1)).job_id(name).await.unwrap();
    }
    fixture.until(JobState::Completed, 6).await;
    fixture.until(JobState::Delayed, 1).await;
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let first = fixture.queue.get_job(&ids[0]).await.unwrap().unwrap();
    assert_eq!(first.return_value().unwrap(), Some(json!({ "n": 0 })));
    let stuck = fixture.queue.get_job("stuck").await.unwrap().unwrap();
    assert_eq!(stuck.failed_reason(), Some("request timed out"));
    worker.close().await;
}
