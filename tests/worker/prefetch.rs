//! Jobs that are fetched ahead: they wait in the worker, and whatever keeps them from beginning ends the waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oxmq::worker::{WorkerBuilder, WorkerEvent};
use oxmq::{Halt, Job, JobState, Worker};
use serde_json::{Value, json};

use crate::common::check::check;
use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};
use crate::common::gate::Gate;

impl Gate {
    /// A worker that runs one job at a time, and fetches so many ahead.
    fn worker(&self, fixture: &Fixture, prefetch: usize) -> WorkerBuilder {
        fixture.worker(self.processor()).prefetch(prefetch)
    }
}

async fn until_held(worker: &Worker, prefetched: usize) {
    let held = || async { (worker.health().running, worker.health().prefetched) == (1, prefetched) };
    eventually(&format!("one job runs, {prefetched} wait"), held).await;
}

async fn assert_never_run(fixture: &Fixture, ids: &[String]) {
    for id in ids {
        assert_eq!((fixture.number(id, "atm").await, fixture.number(id, "stc").await), (0, 0), "{id}");
    }
}

/// The jobs that wait in Redis, the next one first.
async fn waiting(fixture: &Fixture) -> Vec<String> {
    let mut redis = fixture.redis.clone();
    let list = redis::cmd("LRANGE").arg(fixture.key("wait")).arg(0).arg(-1).to_owned();
    let mut ids: Vec<String> = list.query_async(&mut redis).await.unwrap();
    ids.reverse();
    ids
}

#[tokio::test]
async fn jobs_fetched_ahead_are_active_and_begin_in_order_one_at_a_time() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(12).await;
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 4).start().unwrap();
    until_held(&worker, 4).await;
    // For the server they have begun: one runs, and four wait in here.
    assert_eq!((fixture.count(JobState::Active).await, fixture.locks().await), (5, 5));
    for id in &ids[..5] {
        assert_eq!(fixture.number(id, "ats").await, 1);
        assert!(fixture.number(id, "processedOn").await > 0);
    }
    assert_eq!(gate.begun.lines(), ids[..1]);
    // Each that ends makes room for one more, which comes with the call that stores its outcome.
    gate.let_through(1);
    gate.begun.until(2).await;
    until_held(&worker, 4).await;
    assert_eq!(gate.begun.lines(), ids[..2]);
    gate.let_through(100);
    fixture.until(JobState::Completed, 12).await;
    assert_eq!(gate.begun.lines(), ids);
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.times_handed_back), (12, 0));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test]
async fn closing_puts_back_what_has_not_begun_and_waits_for_what_has() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(9).await;
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 5).start().unwrap();
    until_held(&worker, 5).await;
    let (mut report, ()) = tokio::join!(worker.close(), async {
        // They are back while the job before them still runs.
        fixture.until(JobState::Active, 1).await;
        assert_eq!(waiting(&fixture).await, ids[1..]);
        gate.let_through(1);
    });
    report.handed_back.sort();
    assert_eq!((report.counts.completed, report.handed_back, report.times_handed_back), (1, ids[1..6].to_vec(), 5));
    assert_eq!((report.abandoned, report.lost, fixture.locks().await), (vec![], vec![], 0));
    assert_never_run(&fixture, &ids[1..]).await;
    let ran = Ledger::default();
    let next = fixture.noting_worker(&ran).start().unwrap();
    fixture.until(JobState::Completed, 9).await;
    next.close().await;
    assert_eq!(ran.lines(), ids[1..]);
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn dropping_a_worker_and_closing_it_at_once_puts_back_all() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(6).await;
    let gate = Gate::new();
    let dropped = gate.worker(&fixture, 5).start().unwrap();
    until_held(&dropped, 5).await;
    drop(dropped);
    fixture.until(JobState::Active, 1).await;
    gate.let_through(1);
    fixture.until(JobState::Completed, 1).await;
    assert_eq!(waiting(&fixture).await, ids[1..]);

    let closed = gate.worker(&fixture, 5).cancel_grace(Duration::from_millis(10)).start().unwrap();
    until_held(&closed, 4).await;
    let report = closed.close_within(Duration::ZERO).await;
    assert_eq!((report.times_handed_back, report.abandoned), (5, vec![]));
    assert_eq!((waiting(&fixture).await, fixture.locks().await), (ids[1..].to_vec(), 0));
    assert_never_run(&fixture, &ids[2..]).await;
}

#[tokio::test]
async fn a_paused_worker_leaves_what_has_not_begun_to_others() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(6).await;
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 5).start().unwrap();
    until_held(&worker, 5).await;
    let ran = Ledger::default();
    let (paused, other) = tokio::join!(worker.pause(), async {
        let other = fixture.noting_worker(&ran).start().unwrap();
        fixture.until(JobState::Completed, 5).await;
        gate.let_through(1);
        other
    });
    paused.unwrap();
    assert_eq!((worker.health().running, worker.health().prefetched), (0, 0));
    assert_eq!((ran.lines(), gate.begun.lines()), (ids[1..].to_vec(), ids[..1].to_vec()));
    other.close().await;
    worker.resume().await.unwrap();
    let more = fixture.add_many(2).await;
    gate.let_through(2);
    fixture.until(JobState::Completed, 8).await;
    assert_eq!(worker.close().await.counts.completed, 3);
    check(&fixture, &[ids, more].concat()).await;
}

#[tokio::test]
async fn a_job_cancelled_before_it_begins_is_not_run() {
    let fixture = Fixture::new().await;
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 5).start().unwrap();
    let heard = listen(&worker);
    let first = fixture.add(json!(0)).await;
    gate.begun.until(1).await;
    let here = fixture.add(json!(1)).await;
    let again = fixture.queue.add("job", json!(2)).attempts(2).await.unwrap().id().to_owned();
    let anywhere = fixture.queue.add("job", json!(3)).attempts(5).await.unwrap().id().to_owned();
    let last = fixture.add(json!(4)).await;
    // A worker without a free slot fetches when it stores an outcome.
    gate.let_through(1);
    until_held(&worker, 3).await;
    assert_eq!(gate.begun.lines(), [&*first, &*here]);
    assert!(worker.cancel_job(&again, "not now") && !worker.cancel_job(&again, "twice"));
    fixture.queue.job(&anywhere).cancel("not at all").await.unwrap();
    // They end although no slot is free. One of them has another attempt, which is fetched in its turn.
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(fixture.field(&anywhere, "failedReason").await.as_deref(), Some("not at all"));
    eventually("the attempt has failed", || async { fixture.number(&again, "atm").await == 1 }).await;
    gate.let_through(10);
    fixture.until(JobState::Completed, 4).await;
    assert_eq!(gate.begun.lines(), [first, here, last, again.clone()]);
    let retried = |event: &WorkerEvent| {
        matches!(event, WorkerEvent::Failed { job_id, failed_reason, will_retry: true, .. }
            if *job_id == again && failed_reason == "cancelled before it began: not now")
    };
    heard.until("a failed attempt", retried).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.counts.retried), (4, 1, 1));
}

#[tokio::test]
async fn a_job_whose_lock_is_lost_before_it_begins_is_not_run() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(4).await;
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 5).lock_duration(Duration::from_millis(400)).skip_stalled_check(true).start();
    let worker = worker.unwrap();
    let heard = listen(&worker);
    until_held(&worker, 3).await;
    let mut redis = fixture.redis.clone();
    let take = redis::cmd("SET").arg(fixture.key(&format!("{}:lock", ids[2]))).arg("another").to_owned();
    let () = take.query_async(&mut redis).await.unwrap();
    heard.until("it is lost", |event| matches!(event, WorkerEvent::LockLost { job_id } if *job_id == ids[2])).await;
    gate.let_through(10);
    fixture.until(JobState::Completed, 3).await;
    assert_eq!(gate.begun.lines(), [&*ids[0], &*ids[1], &*ids[3]]);
    let report = worker.close().await;
    assert_eq!((report.lost, report.handed_back, report.abandoned), (vec![ids[2].clone()], vec![], vec![]));
    assert!(fixture.is_active(&ids[2]).await, "it is the other's");
}

/// Locks are not renewed here, so a job that has waited for the life of its lock may be another worker's.
#[tokio::test]
async fn a_job_that_has_waited_for_longer_than_its_lock_lives_is_not_begun_with_it() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(3).await;
    let gate = Gate::new();
    let life = Duration::from_millis(300);
    let worker = gate.worker(&fixture, 2).lock_duration(life).skip_lock_renewal(true).skip_stalled_check(true);
    let worker = worker.start().unwrap();
    until_held(&worker, 2).await;
    eventually("the locks are gone", || async { fixture.locks().await == 0 }).await;
    gate.let_through(10);
    let over = || async { worker.health().running == 0 && worker.health().prefetched == 0 };
    eventually("nothing is left here", over).await;
    assert_eq!(gate.begun.lines(), ids[..1]);
    drop(worker.close().await);
}

#[tokio::test]
async fn spans_end_and_limits_begin_when_a_job_begins() {
    let fixture = Fixture::new().await;
    let hold = Duration::from_millis(600);
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 5).start().unwrap();
    let first = fixture.add(json!(0)).await;
    gate.begun.until(1).await;
    let second = fixture.add(json!(1)).await;
    let late = fixture.queue.add("job", json!(2)).expires_in(hold).await.unwrap().id().to_owned();
    let limited = fixture.queue.add("job", json!(3)).timeout(hold).await.unwrap().id().to_owned();
    gate.let_through(1);
    until_held(&worker, 2).await;
    let held = Instant::now();
    eventually("the span is over", || async { held.elapsed() > hold + Duration::from_millis(20) }).await;
    gate.let_through(10);
    fixture.until(JobState::Completed, 3).await;
    fixture.until(JobState::Failed, 1).await;
    assert_eq!(gate.begun.lines(), [first, second, limited.clone()]);
    let reason = fixture.field(&late, "failedReason").await;
    assert_eq!(reason.as_deref(), Some("the job expired: no worker had begun it in time"));
    // What the server says of when it became active is what the processor sees.
    assert!(fixture.number(&limited, "finishedOn").await >= fixture.number(&limited, "processedOn").await + 600);
    worker.close().await;
}

#[tokio::test]
async fn a_rate_limit_counts_jobs_as_they_are_fetched() {
    let fixture = Fixture::new().await;
    fixture.add_many(10).await;
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 8).limiter(3, Duration::from_secs(3_600)).start().unwrap();
    until_held(&worker, 2).await;
    gate.let_through(10);
    fixture.until(JobState::Completed, 3).await;
    assert_eq!((gate.begun.len(), fixture.count(JobState::Waiting).await), (3, 7));
    worker.close().await;
}

#[tokio::test]
async fn a_job_that_asks_for_a_pause_holds_back_what_has_not_begun() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(5).await;
    let (ran, refuses) = (Ledger::default(), Arc::new(AtomicBool::new(true)));
    let (noted, asks) = (ran.clone(), Arc::clone(&refuses));
    let process = move |job: Job<Value, ()>| {
        noted.note(job.id());
        let asks = asks.load(Ordering::SeqCst);
        async move { if asks { Err(Halt::RateLimited(Duration::from_secs(3_600))) } else { Ok(()) } }
    };
    let worker = fixture.worker(process).limiter(100, Duration::from_secs(1)).prefetch(10).start().unwrap();
    // All are back in Redis, though only one has asked.
    ran.until(1).await;
    fixture.until(JobState::Waiting, 5).await;
    assert_eq!((ran.lines(), worker.health().prefetched, fixture.locks().await), (ids[..1].to_vec(), 0, 0));
    refuses.store(false, Ordering::SeqCst);
    fixture.queue.remove_rate_limit_key().await.unwrap();
    fixture.until_within(PATIENCE, JobState::Completed, 5).await;
    worker.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_global_concurrency_counts_jobs_that_wait_in_a_worker() {
    let fixture = Fixture::new().await;
    fixture.queue.set_global_concurrency(3).await.unwrap();
    let ids = fixture.add_many(20).await;
    let gate = Gate::new();
    let worker = gate.worker(&fixture, 10).start().unwrap();
    until_held(&worker, 2).await;
    for n in 1..10 {
        gate.let_through(1);
        gate.begun.until(n).await;
        assert!(fixture.count(JobState::Active).await <= 3);
    }
    gate.let_through(20);
    fixture.until(JobState::Completed, 20).await;
    assert_eq!(gate.begun.lines(), ids);
    worker.close().await;
}

#[tokio::test]
async fn a_worker_without_a_free_slot_leaves_new_jobs_to_idle_ones() {
    let fixture = Fixture::new().await;
    let gate = Gate::new();
    let busy = gate.worker(&fixture, 10).start().unwrap();
    let first = fixture.add(json!(0)).await;
    gate.begun.until(1).await;
    let ran = Ledger::default();
    let idle = fixture.noting_worker(&ran).start().unwrap();
    for n in 1..20 {
        fixture.add(json!(n)).await;
        ran.until(n).await;
    }
    assert_eq!((gate.begun.lines(), busy.health().prefetched), (vec![first], 0));
    gate.let_through(1);
    fixture.until(JobState::Completed, 20).await;
    busy.close().await;
    idle.close().await;
}

#[tokio::test]
async fn jobs_that_end_at_once_all_run_once_while_slots_and_pauses_change() {
    let fixture = Fixture::new().await;
    let ran = Ledger::default();
    let worker = fixture.slow_worker(&ran, 1).concurrency(3).prefetch(7).start().unwrap();
    let other = fixture.noting_worker(&ran).prefetch(1).start().unwrap();
    let ids = fixture.add_many(400).await;
    for round in 0..8 {
        ran.until(round * 45).await;
        worker.pause().await.unwrap();
        worker.set_concurrency(1 + round % 4).await.unwrap();
        worker.resume().await.unwrap();
    }
    fixture.until(JobState::Completed, 400).await;
    let (one, two) = (worker.close().await, other.close().await);
    assert_eq!(one.counts.completed + two.counts.completed, 400);
    assert!(ran.tally().values().all(|runs| *runs == 1));
    let figures = check(&fixture, &ids).await;
    assert_eq!((figures.stalled, figures.unexpected), (0, 0));
}
