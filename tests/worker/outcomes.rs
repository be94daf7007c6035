//! How attempts end: completed, failed, retried, moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::join_all;
use oxmq::options::{Decided, Decides, ParentRef, Retry};
use oxmq::queue::Order;
use oxmq::worker::WorkerEvent;
use oxmq::{Backoff, Client, ConnectOptions, Halt, Job, JobOptions, JobState, ManualWorker, NewJob, Router};
use serde_json::{Value, json};

use crate::common::check::check;
use crate::common::fixture::{Fixture, Ledger, listen};
use crate::common::server::shared_server;

const FAST: Duration = Duration::from_millis(5);

#[tokio::test]
async fn a_result_is_stored_and_announced() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .client
        .worker("q", |job: Job<Value, Value>| async move {
            Ok::<_, Halt>(json!({ "twice": job.data()["n"].as_i64().unwrap() * 2 }))
        })
        .name("ada")
        .start()
        .unwrap();
    let heard = listen(&worker);
    let job = fixture.queue.add("job", json!({ "n": 21 })).await.unwrap();
    assert_eq!(job.wait_until_finished(Duration::from_secs(10)).await.unwrap(), json!({ "twice": 42 }));
    let seen = fixture.queue.get_job(job.id()).await.unwrap().unwrap();
    assert_eq!((seen.attempts_made(), seen.attempts_started(), seen.processed_by()), (1, 1, Some("ada")));
    heard
        .until(
            "completed",
            |event| matches!(event, WorkerEvent::Completed { return_value, .. } if return_value.as_str() == r#"{"twice":42}"#),
        )
        .await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed), (1, 0));
    check(&fixture, &[job.id().to_owned()]).await;
}

#[tokio::test]
async fn a_worker_without_a_name_leaves_that_of_an_earlier_one() {
    let fixture = Fixture::new().await;
    for state in [JobState::Waiting, JobState::Prioritized] {
        let priority = u32::from(state == JobState::Prioritized);
        let add = fixture.queue.add("job", json!(1)).attempts(3).priority(priority);
        let id = add.await.unwrap().id().to_owned();
        let named: ManualWorker = fixture.client.manual_worker("q").name("ada").open().unwrap();
        let job = named.get_next_job("first").await.unwrap().unwrap();
        assert_eq!((job.id(), job.processed_by()), (id.as_str(), Some("ada")));
        job.move_to_failed("again", "first").await.unwrap();
        fixture.until(state, 1).await;
        let unnamed: ManualWorker = fixture.client.manual_worker("q").open().unwrap();
        let job = unnamed.get_next_job("second").await.unwrap().unwrap();
        assert_eq!((job.id(), job.processed_by()), (id.as_str(), Some("ada")));
        job.move_to_failed("again", "second").await.unwrap();
        let worker = fixture
            .client
            .worker("q", |job: Job<Value, Value>| async move { Ok::<_, Halt>(json!(job.processed_by())) })
            .start()
            .unwrap();
        let job = fixture.queue.get_job(&id).await.unwrap().unwrap();
        assert_eq!(job.wait_until_finished(Duration::from_secs(10)).await.unwrap(), json!("ada"));
        worker.close().await;
    }
}

#[tokio::test]
async fn a_job_runs_at_its_run_at() {
    let fixture = Fixture::new().await;
    let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
    let options = JobOptions::default().delay(Duration::from_secs(1));
    let mut added = Vec::new();
    for add in [
        fixture.queue.add("later", json!(1)).run_at(at(4_000_000_000_000)),
        fixture.queue.add("from then", json!(1)).timestamp(at(1_000_000)).run_at(at(4_000_000_000_000)),
        fixture.queue.add("instead", json!(1)).options(options).run_at(at(4_000_000_000_000)),
        fixture.queue.add("before", json!(1)).timestamp(at(2_000_000)).run_at(at(1_000_000)),
    ] {
        added.push(add.await.unwrap().id().to_owned());
    }
    for id in &added[..3] {
        let job = fixture.queue.get_job(id).await.unwrap().unwrap();
        assert_eq!(job.timestamp().unwrap() + job.delay(), at(4_000_000_000_000), "{}", job.name());
        let opts: Value = serde_json::from_str(job.opts_json()).unwrap();
        assert_eq!(opts["delay"].as_u64().map(Duration::from_millis), Some(job.delay()));
    }
    assert_eq!((fixture.count(JobState::Delayed).await, fixture.count(JobState::Waiting).await), (3, 1));
    let worker: ManualWorker = fixture.client.manual_worker("q").open().unwrap();
    let fetched = worker.fetch("t").await.unwrap();
    assert_eq!(fetched.job.unwrap().name(), "before");
    assert_eq!(worker.fetch("t").await.unwrap().next_due, Some(at(4_000_000_000_000)));
}

#[tokio::test]
async fn jobs_that_are_retried_by_priority_run_in_that_order() {
    let fixture = Fixture::new().await;
    let worker: ManualWorker = fixture.client.manual_worker("q").open().unwrap();
    for (name, priority) in [("low", 9), ("none", 0), ("high", 2)] {
        fixture.queue.add(name, json!(1)).priority(priority).await.unwrap();
    }
    while let Some(job) = worker.get_next_job("t").await.unwrap() {
        job.move_to_failed(Halt::unrecoverable("no"), "t").await.unwrap();
    }
    fixture.queue.add("between", json!(1)).priority(5).await.unwrap();
    assert_eq!(fixture.queue.retry_jobs_by_priority(JobState::Failed, None).await.unwrap(), 3);
    let mut names = Vec::new();
    while let Some(job) = worker.get_next_job("t").await.unwrap() {
        names.push(job.name().to_owned());
        job.move_to_delayed(UNIX_EPOCH + Duration::from_secs(4_000_000_000), "t").await.unwrap();
    }
    assert_eq!(names, ["none", "high", "between", "low"]);
    assert_eq!(fixture.queue.promote_jobs_by_priority().await.unwrap(), 4);
    while let Some(job) = worker.get_next_job("t").await.unwrap() {
        names.push(job.name().to_owned());
        job.move_to_completed(&json!(1), "t").await.unwrap();
    }
    assert_eq!(names[4..], ["none", "high", "between", "low"]);
}

#[tokio::test]
async fn attempts_are_spent_one_by_one_and_the_last_one_is_final() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move { Err::<(), _>(Halt::failed(format!("no {}", job.attempts_made()))) })
        .start()
        .unwrap();
    let heard = listen(&worker);
    let id = fixture.queue.add("job", json!(1)).attempts(3).await.unwrap().id().to_owned();
    fixture.until(JobState::Failed, 1).await;
    let job = fixture.queue.get_job(&id).await.unwrap().unwrap();
    assert_eq!((job.attempts_made(), job.attempts_started(), job.failed_reason()), (3, 3, Some("no 2")));
    assert_eq!(job.stacktrace().len(), 3);
    let failed =
        |again| heard.count(|event| matches!(event, WorkerEvent::Failed { will_retry, .. } if *will_retry == again));
    heard.until("the last failure", |event| matches!(event, WorkerEvent::Failed { will_retry: false, .. })).await;
    assert_eq!((failed(true), failed(false)), (2, 1));
    worker.close().await;
    check(&fixture, &[id]).await;
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
struct Told(Retry);

impl Decides for Told {
    fn decide(&self) -> Retry {
        self.0
    }
}

#[tokio::test]
async fn an_error_or_the_policy_of_the_worker_decides_on_the_next_attempt() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            // Returns a result by name until the job has started three times.
            match (job.name(), job.attempts_started()) {
                (_, 3) => Ok(()),
                ("later", _) => Err(Told(Retry::After(Duration::from_millis(3))))?,
                ("never", _) => Err(Told(Retry::Never))?,
                ("halted", _) => Err(Decided::<Told>::from(Halt::retry_after(Duration::from_millis(3), "halted"))),
                _ => Err(Told(Retry::ByBackoff))?,
            }
        })
        .on_error(|failed| match failed.downcast_ref::<Told>() {
            Some(_) if failed.job_name == "policy" => Retry::Never,
            _ => Retry::Now,
        })
        .start()
        .unwrap();
    let hour = Backoff::fixed(Duration::from_secs(3600));
    for name in ["later", "never", "halted", "policy", "usual"] {
        fixture.queue.add(name, json!(1)).job_id(name).attempts(5).backoff(hour.clone()).await.unwrap();
    }
    fixture.until(JobState::Completed, 3).await;
    fixture.until(JobState::Failed, 2).await;
    for (name, made, reason) in [
        ("later", 3, "After(3ms)"),
        ("never", 1, "Never"),
        ("halted", 3, "halted"),
        ("policy", 1, "ByBackoff"),
        ("usual", 3, "ByBackoff"),
    ] {
        let job = fixture.queue.get_job(name).await.unwrap().unwrap();
        assert_eq!((job.attempts_made(), job.failed_reason()), (made, Some(reason)), "{name}");
    }
    worker.close().await;
}

/// Returns the delays of a job with this backoff, one after the other.
async fn delays(backoff: Backoff, attempts: u32) -> Vec<u64> {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|_: Job<Value, ()>| async { Err::<(), _>(Halt::failed("no")) })
        .backoff_strategy(|attempt| match attempt.strategy {
            "mine" => Retry::After(Duration::from_millis(u64::from(attempt.attempts_made) * 3)),
            "now" => Retry::Now,
            _ => Retry::Never,
        })
        .start()
        .unwrap();
    fixture.queue.add("job", json!(1)).attempts(attempts).backoff(backoff).await.unwrap();
    fixture.until(JobState::Failed, 1).await;
    worker.close().await;
    let mut redis = fixture.redis.clone();
    let events: Vec<(String, std::collections::HashMap<String, String>)> =
        redis::cmd("XRANGE").arg(fixture.key("events")).arg("-").arg("+").query_async(&mut redis).await.unwrap();
    events
        .iter()
        .filter(|(_, fields)| fields["event"] == "delayed")
        .map(|(id, fields)| {
            let written: u64 = id.split('-').next().unwrap().parse().unwrap();
            fields["delay"].parse::<u64>().unwrap().saturating_sub(written)
        })
        .collect()
}

#[tokio::test]
async fn retries_wait_for_their_backoff() {
    // A due time counts from the worker's clock, the event's id from the server's. Both are the same machine, so they
    // differ by a few ms.
    let fits = |seen: Vec<u64>, meant: &[u64]| {
        assert_eq!(seen.len(), meant.len(), "{seen:?}");
        for (seen, meant) in seen.iter().zip(meant) {
            assert!(seen <= meant && seen + 2_000 > *meant, "{seen} in place of {meant}");
        }
    };
    fits(delays(Backoff::fixed(Duration::from_millis(20)), 3).await, &[20, 20]);
    fits(delays(Backoff::exponential(Duration::from_millis(20)), 4).await, &[20, 40, 80]);
    fits(delays(Backoff::custom("mine"), 3).await, &[3, 6]);
    fits(delays(Backoff::custom("now"), 3).await, &[]);
    fits(delays(Backoff::custom("other"), 3).await, &[]);
}

#[tokio::test]
async fn every_halt_moves_its_job_to_the_right_state() {
    let fixture = Fixture::new().await;
    let starts = Ledger::default();
    let ledger = starts.clone();
    let worker = fixture
        .worker(move |job: Job<Value, Value>| {
            ledger.note(job.name());
            async move {
                let first = job.attempts_started() == 1;
                match job.name() {
                    "delayed" if first => Err(Halt::Delayed(FAST)),
                    "waiting" if first => Err(Halt::Waiting),
                    "children" if first => Err(Halt::WaitingChildren),
                    "limited" if first => Err(Halt::RateLimited(Duration::from_millis(30))),
                    "unrecoverable" => Err(Halt::unrecoverable("never")),
                    "failed" => Err(Halt::failed("no")),
                    _ => Ok(json!(job.attempts_made())),
                }
            }
        })
        .start()
        .unwrap();
    let mut ids = Vec::new();
    for name in ["delayed", "waiting", "children", "limited", "unrecoverable", "failed", "plain"] {
        ids.push(fixture.queue.add(name, json!(1)).attempts(2).await.unwrap().id().to_owned());
    }
    fixture.until(JobState::Completed, 5).await;
    fixture.until(JobState::Failed, 2).await;
    let tally = starts.tally();
    for name in ["delayed", "waiting", "children", "limited", "failed"] {
        assert_eq!(tally[name], 2, "{name}");
    }
    assert_eq!((tally["unrecoverable"], tally["plain"]), (1, 1));
    for (id, made) in ids.iter().zip([1, 1, 1, 1, 1, 2, 1]) {
        assert_eq!(fixture.number(id, "atm").await, made, "job {id}");
    }
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.counts.retried, report.moved), (5, 2, 1, 4));
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_processor_may_end_its_attempt_by_a_call_and_return_the_same_halt() {
    let fixture = Fixture::new().await;
    let queue = fixture.queue.clone();
    let qualified = format!("{}:q", fixture.prefix);
    let worker = fixture
        .worker(move |job: Job<Value, Value>| {
            let (queue, qualified) = (queue.clone(), qualified.clone());
            async move {
                if job.attempts_started() > 1 || job.name() == "child" {
                    return Ok(json!(job.attempts_made()));
                }
                let token = job.token().unwrap_or_default();
                match job.name() {
                    "delayed" => {
                        job.move_to_delayed(UNIX_EPOCH, token).await?;
                        Err(Halt::Delayed(Duration::from_secs(60)))
                    }
                    "waiting" => {
                        job.move_to_wait(token).await?;
                        Err(Halt::Waiting)
                    }
                    "children" => {
                        let child = queue.add("child", json!(1)).parent(ParentRef::new(job.id(), qualified)?).await?;
                        assert!(job.move_to_waiting_children(token).await?, "{} is pending", child.id());
                        Err(Halt::WaitingChildren)
                    }
                    "certain" => {
                        let parent = ParentRef::new(job.id(), qualified.clone())?;
                        let child = queue.add("child", json!(1)).parent(parent).delay(FAST).await?;
                        assert!(!job.move_to_waiting_child("a:stranger:1", token).await?);
                        Err(Halt::WaitingChild(format!("{qualified}:{}", child.id())))
                    }
                    "retried" => {
                        job.move_to_failed("no", token).await?;
                        Err(Halt::failed("no"))
                    }
                    "failed" => {
                        job.move_to_failed(Halt::unrecoverable("no"), token).await?;
                        Ok(json!("dropped"))
                    }
                    "completed" => {
                        job.move_to_completed(&json!("by itself"), token).await?;
                        Ok(json!("dropped"))
                    }
                    // An end that is refused is no end: the job still belongs to this attempt.
                    _ => {
                        let refused = job.move_to_wait("another token").await.unwrap_err();
                        Ok(json!(refused.to_string()))
                    }
                }
            }
        })
        .remove_on_fail(false)
        .start()
        .unwrap();
    let heard = listen(&worker);
    let mut ids = Vec::new();
    for name in ["delayed", "waiting", "children", "certain", "retried", "failed", "completed", "refused"] {
        ids.push(fixture.queue.add(name, json!(1)).attempts(2).await.unwrap().id().to_owned());
    }
    fixture.until(JobState::Completed, 9).await;
    fixture.until(JobState::Failed, 1).await;
    let completed = ids[6].clone();
    assert_eq!(fixture.field(&completed, "returnvalue").await.as_deref(), Some(r#""by itself""#));
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.counts.retried, report.moved), (9, 1, 1, 4));
    assert!(report.lost.is_empty() && report.handed_back.is_empty() && report.abandoned.is_empty(), "{report:?}");
    assert_eq!(heard.errors(), Vec::<String>::new());
    assert_eq!(heard.count(|event| matches!(event, WorkerEvent::LockLost { .. })), 0);
    assert_eq!(fixture.locks().await, 0);
}

#[tokio::test]
async fn a_processor_that_ends_its_attempt_itself_does_so_by_its_workers_options() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            job.move_to_failed("no", job.token().unwrap_or_default()).await?;
            Ok::<_, Halt>(())
        })
        .remove_on_fail(true)
        .backoff_strategy(|_| Retry::Never)
        .start()
        .unwrap();
    let heard = listen(&worker);
    let id =
        fixture.queue.add("job", json!(1)).attempts(9).backoff(Backoff::custom("mine")).await.unwrap().id().to_owned();
    heard.until("a failure", |event| matches!(event, WorkerEvent::Failed { will_retry: false, .. })).await;
    assert_eq!(fixture.field(&id, "name").await, None);
    worker.close().await;
}

#[tokio::test]
async fn a_failed_child_fails_a_parent_that_wants_to_wait() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            job.move_to_waiting_children(job.token().unwrap_or_default()).await?;
            Ok::<_, Halt>(())
        })
        .start()
        .unwrap();
    let mut redis = fixture.redis.clone();
    redis::cmd("ZADD").arg(fixture.key("p:unsuccessful")).arg(1).arg("c").exec_async(&mut redis).await.unwrap();
    fixture.queue.add("job", json!(1)).job_id("p").attempts(5).await.unwrap();
    fixture.until(JobState::Failed, 1).await;
    let text = "Cannot complete job p because it has at least one failed child. moveToWaitingChildren";
    assert_eq!(fixture.field("p", "failedReason").await.as_deref(), Some(text));
    assert_eq!((fixture.number("p", "ats").await, fixture.number("p", "atm").await), (1, 1));
    worker.close().await;
}

#[tokio::test]
async fn a_job_put_back_to_wait_does_not_pause_a_worker_below_its_rate_limit() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(
            |job: Job<Value, ()>| async move { if job.attempts_started() == 1 { Err(Halt::Waiting) } else { Ok(()) } },
        )
        .limiter(1_000, Duration::from_secs(600))
        .start()
        .unwrap();
    let ids = fixture.add_many(3).await;
    fixture.until(JobState::Completed, 3).await;
    worker.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn finished_jobs_are_kept_as_job_and_worker_say() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            if job.data()["fail"] == json!(true) { Err(Halt::failed("no")) } else { Ok(()) }
        })
        .remove_on_complete(2)
        .remove_on_fail(true)
        .start()
        .unwrap();
    let heard = listen(&worker);
    for _ in 0..5 {
        fixture.add(json!({})).await;
        fixture.add(json!({ "fail": true })).await;
    }
    let kept = fixture.queue.add("job", json!({ "fail": true })).remove_on_fail(false).await.unwrap();
    let gone = fixture.queue.add("job", json!({})).remove_on_complete(true).await.unwrap();
    heard
        .until("the last", |event| matches!(event, WorkerEvent::Completed { job_id, .. } if job_id == gone.id()))
        .await;
    assert_eq!(fixture.count(JobState::Completed).await, 2);
    assert_eq!(fixture.count(JobState::Failed).await, 1);
    assert_eq!(fixture.field(kept.id(), "failedReason").await.as_deref(), Some("no"));
    assert!(fixture.queue.get_job(gone.id()).await.unwrap().is_none());
    worker.close().await;
    assert_eq!(fixture.locks().await, 0);
}

#[tokio::test]
async fn a_processor_writes_progress_logs_and_data() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|mut job: Job<Value, u64>| async move {
            job.update_progress(&json!({ "percent": 40 })).await?;
            job.update_data(json!({ "step": 2 })).await?;
            job.log("one").await?;
            Ok::<_, Halt>(job.log("two").await?)
        })
        .start()
        .unwrap();
    let job = fixture.queue.add("job", json!({ "step": 1 })).await.unwrap();
    assert_eq!(job.wait_until_finished(Duration::from_secs(10)).await.unwrap(), json!(2));
    let seen = fixture.queue.get_job(job.id()).await.unwrap().unwrap();
    assert_eq!(seen.progress::<Value>().unwrap(), Some(json!({ "percent": 40 })));
    assert_eq!(seen.data(), &json!({ "step": 2 }));
    assert_eq!(fixture.queue.job(job.id()).get_logs(0, -1, Order::Ascending).await.unwrap().logs, ["one", "two"]);
    worker.close().await;
}

#[tokio::test]
async fn a_router_sends_jobs_by_name() {
    async fn text(job: Job<String, usize>) -> Result<usize, Halt> {
        Ok(job.data().len())
    }
    async fn sum(job: Job<Vec<i64>, i64>) -> Result<i64, Halt> {
        Ok(job.data().iter().sum())
    }
    let fixture = Fixture::new().await;
    let worker = fixture.worker(Router::new().on("text", text).on("sum", sum)).concurrency(3).start().unwrap();
    let limit = Duration::from_secs(10);
    let text = fixture.queue.add("text", json!("four")).await.unwrap();
    let sum = fixture.queue.add("sum", json!([1, 2])).await.unwrap();
    let other = fixture.queue.add("other", json!(null)).await.unwrap();
    assert_eq!(text.wait_until_finished(limit).await.unwrap(), json!(4));
    assert_eq!(sum.wait_until_finished(limit).await.unwrap(), json!(3));
    let error = other.wait_until_finished(limit).await.unwrap_err().to_string();
    assert!(error.contains("no processor for jobs named 'other', but for 'sum', 'text'"), "{error}");
    worker.close().await;
}

#[tokio::test]
async fn a_slow_listener_learns_how_much_it_missed() {
    let fixture = Fixture::new().await;
    let done = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&done);
    let worker = fixture
        .worker(move |_: Job<Value, ()>| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, Halt>(()) }
        })
        .event_buffer(8)
        .start()
        .unwrap();
    let mut events = worker.events();
    fixture.queue.add_bulk((0..50).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
    fixture.until(JobState::Completed, 50).await;
    worker.close().await;
    let mut heard = 0;
    let mut last = None;
    let mut told = 0;
    while let Some(event) = events.recv().await {
        if let WorkerEvent::Lagged { missed } = event {
            told += missed;
            continue;
        }
        heard += 1;
        last = Some(event);
    }
    assert_eq!(told, events.missed());
    assert!(matches!(last, Some(WorkerEvent::Closed)), "{last:?}");
    assert!(heard <= 8 && events.missed() >= 80, "{heard} heard, {} missed", events.missed());
    assert_eq!(done.load(Ordering::SeqCst), 50);
}

#[tokio::test]
async fn a_parent_that_completes_too_early_is_tried_again_by_its_own_rules() {
    let fixture = Fixture::new().await;
    let queue = fixture.queue.clone();
    let router = Router::new()
        .on("parent", move |job: Job<Value, ()>| {
            let queue = queue.clone();
            async move {
                if job.attempts_made() == 0 {
                    queue.add("child", json!(1)).parent(ParentRef::of(&job)).job_id("child").await?;
                }
                Ok::<_, Halt>(())
            }
        })
        .on("child", async |_: Job<Value, ()>| Ok::<_, Halt>(()));
    let worker = fixture.client.worker("q", router).start().unwrap();
    let heard = listen(&worker);
    let parent = fixture.queue.add("parent", json!(1)).attempts(5).backoff(Backoff::fixed(FAST)).await.unwrap();
    fixture.until(JobState::Completed, 2).await;
    let text = format!("Job {} has pending dependencies. moveToFinished", parent.id());
    heard
        .until(
            "a retry",
            |event| matches!(event, WorkerEvent::Failed { failed_reason: reason, will_retry: true, .. } if *reason == text),
        )
        .await;
    worker.close().await;
    check(&fixture, &[parent.id().to_owned(), "child".to_owned()]).await;
}

#[tokio::test]
async fn results_of_jobs_that_remove_themselves_are_never_lost() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|job: Job<Value, Value>| async move { Ok::<_, Halt>(job.data().clone()) })
        .concurrency(16)
        .start()
        .unwrap();
    let limit = Duration::from_secs(30);
    let add = async |n: usize| fixture.queue.add("job", json!(n)).remove_on_complete(true).await.unwrap();
    for n in 0..300 {
        // Either way of waiting may start too late to see the job.
        let job = add(n).await;
        let result = match n % 2 {
            0 => job.wait_until_finished(limit).await,
            _ => fixture.queue.job(job.id()).wait_until_finished(limit).await,
        };
        assert_eq!(result.unwrap(), json!(n));
    }
    // With a new reader each time, when all jobs are gone already.
    let jobs = join_all((0..60).map(add)).await;
    fixture.until(JobState::Waiting, 0).await;
    fixture.until(JobState::Active, 0).await;
    for (n, job) in jobs.iter().enumerate() {
        let fresh = Client::builder(ConnectOptions::from_url(&shared_server().url()).unwrap()).prefix(&fixture.prefix);
        let fresh = fresh.connect().await.unwrap().queue::<Value, Value>("q").open().unwrap();
        assert_eq!(fresh.job(job.id()).wait_until_finished(limit).await.unwrap(), json!(n));
    }
    worker.close().await;
}

#[tokio::test]
async fn a_builder_subscribes_to_events_from_the_start() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!(1)).await;
    let builder = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) });
    let mut events = builder.events();
    // The buffer is set on the worker, and the largest size costs nothing.
    let worker = builder.event_buffer(1 << 20).start().unwrap();
    loop {
        let event = events.next().await.expect("the worker is at work");
        if let WorkerEvent::Active { job_id, .. } = event {
            assert_eq!(job_id, id);
            break;
        }
    }
    worker.close().await;
    let rest: Vec<WorkerEvent> = events.collect().await;
    assert!(matches!(rest.last(), Some(WorkerEvent::Closed)), "{rest:?}");
}
