//! Closing: when it returns, what it leaves in Redis, and what it hands on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oxmq::job::CancelReason;
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Halt, Job, JobState};
use serde_json::{Value, json};

use crate::common::check::check;
use crate::common::eventually::{eventually, eventually_within};
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};
use crate::common::gate::Gate;
use crate::common::server::RedisServer;

/// Counts clients that wait in a blocking command.
async fn blocked(redis: &redis::aio::MultiplexedConnection) -> usize {
    let text: String = redis::cmd("INFO").arg("clients").query_async(&mut redis.clone()).await.unwrap();
    text.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap().trim().parse().unwrap()
}

async fn clients(redis: &redis::aio::MultiplexedConnection, name: &str) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut redis.clone()).await.unwrap();
    list.lines().filter(|line| line.contains(&format!("name={name}"))).count()
}

#[tokio::test]
async fn an_idle_worker_closes_at_once_and_its_connection_is_gone() {
    let fixture = Fixture::new().await;
    let worker = fixture
        .client
        .worker("q", |_: Job<Value, ()>| async { Ok::<_, Halt>(()) })
        .drain_delay(Duration::from_secs(3_600))
        .start()
        .unwrap();
    let name = format!("{}:cQ==", fixture.prefix);
    eventually("it is listed", || async { clients(&fixture.redis, &name).await == 1 }).await;
    // It would have waited an hour.
    let report = tokio::time::timeout(PATIENCE, worker.close()).await.expect("it closes");
    assert_eq!(report.counts.completed, 0);
    eventually("it is listed no more", || async { clients(&fixture.redis, &name).await == 0 }).await;
}

#[tokio::test]
async fn a_busy_worker_waits_for_its_jobs_and_takes_no_more() {
    let fixture = Fixture::new().await;
    let gate = Gate::new();
    let worker = fixture.worker(gate.processor()).concurrency(3).start().unwrap();
    let heard = listen(&worker);
    let ids = fixture.add_many(10).await;
    gate.begun.until(3).await;
    let (report, ()) = tokio::join!(worker.close(), async {
        heard.until("closing", |event| matches!(event, WorkerEvent::Closing)).await;
        gate.let_through(100);
    });
    assert_eq!((report.counts.completed, report.handed_back.len(), report.abandoned.len()), (3, 0, 0));
    assert_eq!(fixture.count(JobState::Waiting).await, 7);
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn jobs_at_the_shutdown_deadline_are_cancelled_and_handed_back() {
    let fixture = Fixture::new().await;
    let told = Ledger::default();
    let ledger = told.clone();
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            let ledger = ledger.clone();
            async move {
                ledger.note("begun");
                job.cancellation().cancelled().await;
                ledger.note(format!("{:?}", job.cancel_reason().cloned() == Some(CancelReason::Shutdown)));
                if job.data()["n"] == json!(0) {
                    return Ok::<_, Halt>(());
                }
                std::future::pending().await
            }
        })
        .concurrency(3)
        // Enough for the job that reacts; the others use up the time.
        .cancel_grace(Duration::from_secs(1))
        .start()
        .unwrap();
    let heard = listen(&worker);
    let ids = fixture.add_many(4).await;
    told.until(3).await;
    let mut report = worker.close_within(Duration::from_millis(50)).await;
    report.handed_back.sort();
    assert_eq!((report.counts.completed, report.handed_back, report.abandoned), (1, ids[1..3].to_vec(), vec![]));
    assert_eq!(told.tally()["true"], 3);
    assert_eq!(heard.errors(), Vec::<String>::new());
    for id in &ids[1..3] {
        assert_eq!((fixture.number(id, "atm").await, fixture.number(id, "stc").await), (0, 0));
    }
    assert_eq!(fixture.count(JobState::Waiting).await, 3);
    // It was handed back to the front, and the next worker runs it as usual.
    let next = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    fixture.until(JobState::Completed, 4).await;
    next.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_processor_that_obeys_a_shutdown_has_its_job_handed_back() {
    let fixture = Fixture::new().await;
    let begun = Ledger::default();
    let ledger = begun.clone();
    let worker = fixture
        .worker(move |job: Job<Value, u32>| {
            ledger.note("begun");
            async move {
                job.cancellation().cancelled().await;
                match job.name() {
                    "stopped" => Err(Halt::failed("stopped")),
                    "front" => Err(Halt::Waiting),
                    "soon" => Err(Halt::retry_after(Duration::from_secs(60), "stopped")),
                    "own" => {
                        job.move_to_failed("stopped", job.token().unwrap()).await?;
                        Ok(1)
                    }
                    "never" => Err(Halt::unrecoverable("poison")),
                    "later" => Err(Halt::Delayed(Duration::from_secs(3600))),
                    _ => Ok(1),
                }
            }
        })
        .concurrency(7)
        .cancel_grace(Duration::from_secs(20))
        .start()
        .unwrap();
    let back = ["front", "own", "soon", "stopped"];
    for name in back.into_iter().chain(["never", "later", "done"]) {
        fixture.queue.add(name, json!(1)).job_id(name).await.unwrap();
    }
    begun.until(7).await;
    let mut report = worker.close_within(Duration::ZERO).await;
    report.handed_back.sort();
    assert_eq!(report.handed_back, back);
    assert_eq!((report.counts.completed, report.counts.failed, report.moved), (1, 1, 1));
    for name in back {
        assert_eq!((fixture.number(name, "atm").await, fixture.number(name, "stc").await), (0, 0), "{name}");
        assert_eq!(fixture.field(name, "failedReason").await, None, "{name}");
    }
    let states = [JobState::Waiting, JobState::Failed, JobState::Delayed, JobState::Completed];
    for (state, jobs) in states.into_iter().zip([4, 1, 1, 1]) {
        assert_eq!(fixture.count(state).await, jobs, "{state:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_processor_is_abandoned_and_reported() {
    let fixture = Fixture::new().await;
    let release = Arc::new(std::sync::Barrier::new(2));
    let held = Arc::clone(&release);
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&runs);
    let worker = fixture
        .worker(move |_: Job<Value, ()>| {
            let (held, counter) = (Arc::clone(&held), Arc::clone(&counter));
            async move {
                counter.store(1, Ordering::SeqCst);
                held.wait();
                Ok::<_, Halt>(())
            }
        })
        .cancel_grace(Duration::from_millis(50))
        .start()
        .unwrap();
    let id = fixture.add(json!(1)).await;
    eventually("it runs", || async { runs.load(Ordering::SeqCst) == 1 }).await;
    let report = worker.close_within(Duration::from_millis(50)).await;
    // Read before the thread is released: if it also blocked the loop, the loop may still settle the job afterwards.
    let is_active = fixture.is_active(&id).await;
    // Before any assertion: a thread that waits for ever would keep the test from ending.
    release.wait();
    assert_eq!((report.abandoned, report.counts.completed, is_active), (vec![id], 0, true));
}

#[tokio::test]
async fn closing_returns_while_the_server_is_down() {
    let mut server = RedisServer::start();
    let options = ConnectOptions::from_url(&server.url()).unwrap().command_timeout(Duration::from_secs(1));
    let fixture = Fixture::with(options, &server).await;
    let grace = Duration::from_millis(200);
    let gate = Gate::new();
    let busy = fixture.client.worker("q", gate.processor()).cancel_grace(grace).concurrency(2).start().unwrap();
    let idle = fixture
        .client
        .worker("idle", |_: Job<Value, ()>| async { Ok::<_, Halt>(()) })
        .cancel_grace(grace)
        .start()
        .unwrap();
    let id = fixture.add(json!(1)).await;
    gate.begun.until(1).await;
    server.kill();
    // The job ends in time, but the server cannot be told.
    gate.let_through(100);
    let deadline = Duration::from_millis(500);
    let closing = futures::future::join(busy.close_within(deadline), idle.close_within(deadline));
    let (busy, idle) = tokio::time::timeout(PATIENCE, closing).await.expect("they close");
    assert_eq!((busy.abandoned, busy.counts.completed, idle.counts.completed), (vec![id], 0, 0));
}

#[tokio::test]
async fn a_dropped_worker_ends_its_jobs_and_takes_no_more() {
    let fixture = Fixture::new().await;
    let gate = Gate::new();
    let worker = fixture.worker(gate.processor()).start().unwrap();
    let heard = listen(&worker);
    let ids = fixture.add_many(3).await;
    gate.begun.until(1).await;
    drop(worker);
    heard.until("closing", |event| matches!(event, WorkerEvent::Closing)).await;
    gate.let_through(100);
    heard.until("closed", |event| matches!(event, WorkerEvent::Closed)).await;
    assert_eq!((fixture.count(JobState::Completed).await, fixture.count(JobState::Waiting).await), (1, 2));
    check(&fixture, &ids).await;
}

#[test]
fn a_worker_ends_with_its_runtime() {
    let outer = tokio::runtime::Runtime::new().unwrap();
    let fixture = outer.block_on(Fixture::new());
    let ids = outer.block_on(fixture.add_many(2));
    let inner = tokio::runtime::Runtime::new().unwrap();
    let worker = inner.block_on(async {
        let client = Client::builder(ConnectOptions::from_url(&crate::common::server::shared_server().url()).unwrap());
        let client = client.prefix(&fixture.prefix).connect().await.unwrap();
        let worker = client.worker("q", |_: Job<Value, ()>| std::future::pending::<Result<(), Halt>>());
        let short = Duration::from_secs(1);
        worker.lock_duration(short).stalled_interval(short).start().unwrap()
    });
    outer.block_on(fixture.until(JobState::Active, 1));
    inner.shutdown_timeout(Duration::from_secs(20));
    drop(worker);
    let next = outer.block_on(async {
        fixture
            .worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) })
            .stalled_interval(Duration::from_millis(300))
            .start()
            .unwrap()
    });
    outer.block_on(fixture.until(JobState::Completed, 2));
    outer.block_on(next.close());
    outer.block_on(check(&fixture, &ids));
}

#[test]
fn a_worker_whose_runtime_has_ended_releases_and_reports_its_jobs() {
    let outer = tokio::runtime::Runtime::new().unwrap();
    let fixture = outer.block_on(Fixture::new());
    let ids = outer.block_on(fixture.add_many(1));
    let (short, gate) = (Duration::from_secs(1), Gate::new());
    let inner = tokio::runtime::Runtime::new().unwrap();
    let worker = inner.block_on(async {
        fixture.worker(gate.processor()).lock_duration(short).stalled_interval(short).start().unwrap()
    });
    outer.block_on(gate.begun.until(1));
    inner.shutdown_timeout(Duration::from_secs(20));
    // The test keeps the handle, so the thread that renews locks still knows the worker.
    let next = outer.block_on(async {
        let next = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) });
        next.stalled_interval(short).start().unwrap()
    });
    outer.block_on(fixture.until(JobState::Completed, 1));
    let report = outer.block_on(worker.close());
    assert_eq!((report.abandoned, report.counts.completed), (ids, 0));
    outer.block_on(next.close());
}

#[tokio::test]
async fn jobs_go_back_in_the_order_of_their_start() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(7).await;
    let gate = Gate::new();
    let worker = fixture.worker(gate.processor()).concurrency(5).cancel_grace(Duration::ZERO).start().unwrap();
    gate.begun.until(5).await;
    let mut report = worker.close_within(Duration::ZERO).await;
    report.handed_back.sort();
    assert_eq!(report.handed_back, ids[..5]);
    let mut redis = fixture.redis.clone();
    let mut waiting: Vec<String> =
        redis::cmd("LRANGE").arg(fixture.key("wait")).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
    // Jobs are taken from the end of the list.
    waiting.reverse();
    assert_eq!(waiting, ids);
}

#[test]
fn closing_returns_while_every_thread_of_the_worker_is_blocked() {
    let outer = tokio::runtime::Runtime::new().unwrap();
    let fixture = outer.block_on(Fixture::new());
    let id = outer.block_on(fixture.add(json!(1)));
    let begun = Ledger::default();
    let ledger = begun.clone();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let inner = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let worker = inner.block_on(async {
        let worker = fixture.worker(move |job: Job<Value, ()>| {
            let held = Arc::clone(&held);
            ledger.note(job.id());
            async move {
                let _ = held.lock().unwrap().recv();
                Ok::<_, Halt>(())
            }
        });
        worker.cancel_grace(Duration::from_millis(50)).start().unwrap()
    });
    outer.block_on(begun.until(1));
    let (done, closed) = std::sync::mpsc::channel();
    outer.spawn(async move { done.send(worker.close_within(Duration::from_millis(50)).await) });
    let report = closed.recv_timeout(PATIENCE);
    // Before anything else: a thread that waits for ever would keep the test from ending.
    drop(release);
    assert_eq!(report.unwrap().abandoned, [id]);
}

/// After this time a waiting worker checks for jobs without a marker.
const LOOK: Duration = Duration::from_secs(20);

/// How often a job waited for that check. If the machine stands still while a worker closes its connection, one marker
/// may be lost; the check exists for that.
#[derive(Default)]
struct Late(usize);

impl Late {
    fn count(&mut self, began: Instant) {
        self.0 += usize::from(began.elapsed() >= LOOK);
        assert!(self.0 <= 1, "markers get lost");
    }
}

#[tokio::test]
async fn a_marker_taken_by_a_worker_that_closes_is_passed_on() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let processor = move |_: Job<Value, ()>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Halt>(()) }
    };
    let mut late = Late::default();
    let idle = LOOK;
    let stays = fixture.client.worker("q", processor.clone()).drain_delay(idle).start().unwrap();
    let mut ids = Vec::new();
    for round in 1..=200_usize {
        let closes =
            fixture.client.worker("q", processor.clone()).drain_delay(idle).concurrency(1 + round % 2).start().unwrap();
        eventually("both wait", || async { blocked(&fixture.redis).await == 2 }).await;
        // Each add hits the close a little earlier or later.
        let began = Instant::now();
        let add = async {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            fixture.add(json!(round)).await
        };
        let (id, _) = tokio::join!(add, closes.close());
        ids.push(id);
        eventually_within(PATIENCE, &format!("round {round} runs"), || async { ran.load(Ordering::SeqCst) == round })
            .await;
        late.count(began);
    }
    fixture.until(JobState::Completed, 200).await;
    stays.close().await;
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn a_busy_worker_that_closes_passes_its_marker_on_too() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let mut late = Late::default();
    let idle = LOOK;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    let processor = move |job: Job<Value, ()>| {
        let gate = Arc::clone(&held);
        async move {
            if job.name() == "long" {
                gate.acquire().await?.forget();
            }
            Ok::<_, Halt>(())
        }
    };
    for round in 0..40 {
        let closes = fixture.client.worker("q", processor.clone()).drain_delay(idle).concurrency(2).start().unwrap();
        fixture.queue.add("long", json!(0)).await.unwrap();
        eventually("one runs, and the worker waits", || async {
            fixture.count(JobState::Active).await == 1 && blocked(&fixture.redis).await == 1
        })
        .await;
        let stays = fixture.client.worker("q", processor.clone()).drain_delay(idle).start().unwrap();
        eventually("both wait", || async { blocked(&fixture.redis).await == 2 }).await;
        let before = fixture.count(JobState::Completed).await;
        let began = Instant::now();
        let add = async {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            fixture.add(json!(round)).await;
            // It runs while the long one is still running.
            fixture.until(JobState::Completed, before + 1).await;
            gate.add_permits(1);
        };
        let (_, report) = tokio::join!(add, closes.close());
        assert!(report.counts.completed >= 1, "{report:?}");
        late.count(began);
        stays.close().await;
    }
    assert_eq!(fixture.count(JobState::Completed).await, 80);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_start_and_stop_all_the_time() {
    let fixture = Arc::new(Fixture::new().await);
    let ids = fixture.add_many(400).await;
    let ran = Ledger::default();
    let cycles = (0..10).map(|task| {
        let (fixture, ran) = (Arc::clone(&fixture), ran.clone());
        tokio::spawn(async move {
            for cycle in 0..20_u64 {
                let ledger = ran.clone();
                let worker = fixture
                    .worker(move |job: Job<Value, ()>| {
                        ledger.note(job.id());
                        async move {
                            // Each job takes a different time, so that closes hit jobs in all stages.
                            tokio::time::sleep(Duration::from_micros(job.data()["n"].as_u64().unwrap() % 7 * 300))
                                .await;
                            Ok::<_, Halt>(())
                        }
                    })
                    .concurrency(3)
                    .start()
                    .unwrap();
                tokio::time::sleep(Duration::from_millis((task * 7 + cycle * 3) % 11)).await; // a moment of its own, too
                let report = tokio::time::timeout(PATIENCE, worker.close()).await.expect("it closes");
                assert_eq!((report.abandoned, report.lost), (vec![], vec![]));
            }
        })
    });
    for cycle in cycles.collect::<Vec<_>>() {
        cycle.await.unwrap();
    }
    let rest = fixture.noting_worker(&ran);
    let rest = rest.concurrency(10).start().unwrap();
    fixture.until(JobState::Completed, 400).await;
    rest.close().await;
    // A job that is handed out to a closing worker goes back without a run, so more are handed out than run.
    assert!(ran.len() == 400 && ran.tally().values().all(|runs| *runs == 1));
    let figures = check(&fixture, &ids).await;
    assert_eq!((figures.completed, figures.stalled), (400, 0));
}
