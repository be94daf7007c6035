//! Servers that restart, fill up, change their role, forget their scripts or cut their clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oxmq::events::{Delivery, QueueEvent};
use oxmq::worker::WorkerEvent;
use oxmq::{Client, Error, Halt, Job, JobState, Queue, Repeat};
use serde_json::{Value, json};

use super::warm_up;
use crate::common::check::check;
use crate::common::eventually::{eventually, eventually_within};
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};
use crate::common::proxy::Proxy;
use crate::common::server::{AOF, RedisServer, server_version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_killed_connections_loses_and_repeats_nothing() {
    let server = RedisServer::start();
    let fixture = Arc::new(Fixture::on(&server).await);
    warm_up(&fixture).await;
    let ran = Ledger::default();
    let told = Told::listen(&fixture).await;
    let worker = fixture.slow_worker(&ran, 2).concurrency(10).prefetch(10).start().unwrap();
    let heard = listen(&worker);
    let stop = Arc::new(AtomicBool::new(false));
    let storm = tokio::spawn({
        let (stop, mut redis) = (Arc::clone(&stop), fixture.redis.clone());
        async move {
            let mut kills = 0;
            while !stop.load(Ordering::SeqCst) {
                let kill =
                    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").to_owned();
                let asked = Instant::now();
                let _: usize = kill.query_async(&mut redis).await.unwrap();
                kills += 1;
                // On a slow machine the workers, too, need more time between two kills.
                let pause = Duration::from_millis(20 + kills % 5 * 15).max(asked.elapsed() * 20);
                tokio::time::sleep(pause).await; // its pace
            }
            kills
        }
    });
    let producers = (0..4).map(|producer| tokio::spawn(add_in_the_storm(Arc::clone(&fixture), producer)));
    let (mut ids, mut unknown) = (Vec::new(), 0);
    for producer in producers.collect::<Vec<_>>() {
        let (added, lost) = producer.await.unwrap();
        ids.extend(added);
        unknown += lost;
    }
    let is_done = || async { fixture.count(JobState::Waiting).await + fixture.count(JobState::Active).await == 0 };
    eventually_within(PATIENCE * 2, "all jobs have run", is_done).await;
    stop.store(true, Ordering::SeqCst);
    let kills = storm.await.unwrap();
    let report = worker.close().await;
    let figures = check(&fixture, &ids).await;
    println!("storm: {kills} kills, {unknown} unknown adds, {figures:?}");
    // Lost replies with jobs may be reported; that is what these kills cause.
    let errors: Vec<_> = heard.errors().into_iter().filter(|error| !error.contains("one by one")).collect();
    assert_eq!((report.lost, errors), (vec![], vec![]));
    assert_eq!(report.counts.completed, figures.completed as u64);
    assert_eq!((ids.len() + unknown, figures.restarts), (1_000, 0));
    assert_eq!(figures.completed, ids.len() + figures.unexpected);
    assert!(figures.unexpected <= unknown, "{figures:?}");
    assert!(ran.tally().values().all(|runs| *runs == 1));
    told.each_once(figures.completed).await;
}

/// Adds 250 jobs, half of them with ids of their own. Returns the ids of those that were acknowledged, and of how many
/// others nobody knows whether they were added: their ids are the server's.
async fn add_in_the_storm(fixture: Arc<Fixture>, producer: u32) -> (Vec<String>, usize) {
    let (mut ids, mut unknown) = (Vec::new(), 0);
    for n in 0..250 {
        let add = fixture.queue.add("job", json!(n));
        let has_id = n % 2 == 0;
        match if has_id { add.job_id(format!("p{producer}-{n}")).await } else { add.await } {
            Ok(job) => ids.push(job.id().to_owned()),
            Err(Error::OutcomeUnknown { .. }) if !has_id => unknown += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (ids, unknown)
}

/// The jobs of which a listener on another connection has heard that they completed.
struct Told {
    ledger: Ledger,
    gaps: Ledger,
}

impl Told {
    async fn listen(fixture: &Fixture) -> Self {
        let mut events = fixture.client.queue_events(fixture.queue.name()).start().unwrap();
        events.ready().await.unwrap();
        let told = Self { ledger: Ledger::default(), gaps: Ledger::default() };
        let (ledger, gaps) = (told.ledger.clone(), told.gaps.clone());
        tokio::spawn(async move {
            while let Some(next) = events.recv().await {
                match next {
                    Delivery::Event { event: QueueEvent::Completed { job_id, .. }, .. } => {
                        ledger.note(job_id.to_string())
                    }
                    Delivery::Gap { .. } => gaps.note("a gap"),
                    _ => {}
                }
            }
        });
        told
    }

    /// Waits until it has heard of so many jobs, and checks that it has heard of each once and has missed nothing.
    async fn each_once(&self, jobs: usize) {
        self.ledger.until(jobs).await;
        let tally = self.ledger.tally();
        // Before Redis 7 a server does not say how many events there were, so some that were read look like missed ones.
        assert!(self.gaps.tally().is_empty() || server_version() < 7);
        assert!(tally.len() == jobs && tally.values().all(|times| *times == 1), "{tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_workers_reconnect_to_a_restarted_server() {
    let mut server = RedisServer::start_with(AOF);
    let fixture = Fixture::on(&server).await;
    warm_up(&fixture).await;
    let ran = Ledger::default();
    let worker = fixture.slow_worker(&ran, 10).concurrency(5).start().unwrap();
    let heard = listen(&worker);
    let mut ids = fixture.add_many(600).await;
    let mut resumed = Vec::new();
    for round in 1..=3 {
        ran.until(round * 60).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(600)).await; // time itself: it is away
        server.restart();
        let back = Instant::now();
        let seen = ran.len();
        ran.until(seen + 10).await;
        resumed.push(back.elapsed());
    }
    // These connections broke while idle; the first add works.
    ids.push(fixture.add(json!({ "n": 600 })).await);
    let redis = crate::common::server::connect(&server.url()).await;
    let fixture = Fixture { redis, ..fixture };
    fixture.until(JobState::Completed, 601).await;
    let report = worker.close().await;
    let figures = check(&fixture, &ids).await;
    println!("restarts: resumed after {resumed:?}, {figures:?}");
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (601, vec![], vec![]));
    assert_eq!(figures.restarts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_still_loading_is_waited_for() {
    let mut server = RedisServer::start_with(&[AOF, &["--aof-use-rdb-preamble", "no"][..]].concat());
    let fixture = Fixture::on(&server).await;
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    fixture.add_many(20).await;
    fixture.until(JobState::Completed, 20).await;
    // If the server is full, it matters whether it knows that scripts can free memory (script flags).
    let mut redis = fixture.redis.clone();
    let filler: Vec<String> = (0..1_500).map(|n| format!("filler:{n}")).collect();
    for name in filler {
        let () = redis::cmd("SET").arg(name).arg("x").query_async(&mut redis).await.unwrap();
    }
    server.set_args(&[AOF, &["--aof-use-rdb-preamble", "no", "--key-load-delay", "1000"][..]].concat());
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    })
    .await
    .unwrap();
    let redis = server.connection().await;
    let fixture = Fixture { redis, ..fixture };
    let mut redis = fixture.redis.clone();
    fixture.add(json!(1)).await;
    fixture.until(JobState::Completed, 21).await;
    // The connection that was made during the load must know the server's version, too: a full server is drained.
    fixture.queue.pause().await.unwrap();
    fixture.add_many(20).await;
    fill(&mut redis).await;
    fixture.queue.resume().await.unwrap();
    fixture.until(JobState::Completed, 41).await;
    worker.close().await;
}

/// Sets the memory limit just above the memory in use, and fills the server until it refuses writes.
async fn fill(redis: &mut redis::aio::MultiplexedConnection) {
    let info: String = redis::cmd("INFO").arg("memory").query_async(redis).await.unwrap();
    let used: u64 = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap();
    let set = |bytes: u64| redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).to_owned();
    let () = set(used + 100_000).query_async(redis).await.unwrap();
    for n in 0..100 {
        let push = redis::cmd("SET").arg(format!("ballast:{n}")).arg("x".repeat(20_000)).to_owned();
        if push.query_async::<()>(redis).await.is_err() {
            // Large requests take memory themselves; small ones must be refused as well.
            let () = set(used + 20_000).query_async(redis).await.unwrap();
            return;
        }
    }
    panic!("the server does not fill up");
}

#[tokio::test]
async fn a_full_server_refuses_adds_and_is_drained() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    warm_up(&fixture).await;
    let ids = fixture.add_many(2_000).await;
    let mut redis = fixture.redis.clone();
    fill(&mut redis).await;
    for own in [false, true] {
        let add = fixture.queue.add("job", json!(1));
        let error = if own { add.job_id("own").await } else { add.await }.unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
    }
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            // The jobs cover every kind of outcome.
            match (job.data()["n"].as_u64().unwrap() % 10, job.attempts_started()) {
                (0, _) => Err(Halt::failed("no")),
                (1, 1) => Err(Halt::Waiting),
                (2, 1) => Err(Halt::Delayed(Duration::from_millis(1))),
                _ => Ok(()),
            }
        })
        .concurrency(50)
        .remove_on_complete(true)
        .remove_on_fail(true)
        .start()
        .unwrap();
    let heard = listen(&worker);
    eventually("it is drained", || async {
        fixture.count(JobState::Waiting).await
            + fixture.count(JobState::Active).await
            + fixture.count(JobState::Delayed).await
            == 0
    })
    .await;
    let report = worker.close().await;
    assert_eq!(
        (report.counts.completed, report.counts.failed, report.lost, heard.errors()),
        (1_800, 200, vec![], vec![])
    );
    assert!(fixture.queue.get_job("own").await.unwrap().is_none());
    let () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0).query_async(&mut redis).await.unwrap();
    fixture.add(json!(1)).await;
    drop(ids);
}

/// What a full server refuses to workers before version 7 is told once, as an outage, until it is over. Meanwhile jobs are
/// taken and ended, and locks are renewed.
#[tokio::test]
async fn a_full_server_that_refuses_what_workers_need_is_an_outage() {
    if server_version() >= 7 {
        return;
    }
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    warm_up(&fixture).await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let waits = {
        let gate = Arc::clone(&gate);
        move |job: Job<Value, ()>| {
            let gate = (job.name() == "long").then(|| Arc::clone(&gate));
            async move {
                if let Some(gate) = gate {
                    let _pass = gate.acquire().await;
                }
                Ok::<_, Halt>(())
            }
        }
    };
    let long = fixture.queue.add("long", json!(1)).await.unwrap();
    let worker = fixture.worker(waits).concurrency(1).lock_duration(Duration::from_millis(1_500)).start().unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Active, 1).await;
    let hourly = Repeat::every(Duration::from_secs(3_600));
    fixture.queue.upsert_job_scheduler("s", hourly).data(json!(1)).await.unwrap();
    let ids = fixture.add_many(20).await;
    let mut redis = fixture.redis.clone();
    let () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).query_async(&mut redis).await.unwrap();
    worker.set_concurrency(3).await.unwrap();
    // The worker cannot make the next run of the scheduler, and waits with this one.
    heard
        .until(
            "the worker says that the server is full",
            |event| matches!(event, WorkerEvent::Disconnected { reason } if reason.contains("is full")),
        )
        .await;
    assert!(!worker.health().connected);
    fixture.until(JobState::Completed, 20).await;
    let () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0).query_async(&mut redis).await.unwrap();
    heard.until("it is over", |event| matches!(event, WorkerEvent::Reconnected { .. })).await;
    gate.add_permits(1);
    fixture.until(JobState::Completed, 22).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (22, vec![], vec![]));
    assert_eq!((fixture.number(long.id(), "ats").await, ids.len()), (1, 20));
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left_for_the_new_one() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::start(old.addr()).await;
    let fixture = Fixture::through(&proxy, &old).await;
    warm_up(&fixture).await;
    let (mut to_old, mut to_new) = (old.connection().await, new.connection().await);
    let follow = |port: u16| redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).to_owned();
    let () = follow(old.port()).query_async(&mut to_new).await.unwrap();
    eventually("in sync", || async {
        let info: String = redis::cmd("INFO").arg("replication").query_async(&mut to_new.clone()).await.unwrap();
        info.contains("master_link_status:up")
    })
    .await;
    let ran = Ledger::default();
    let worker = fixture.slow_worker(&ran, 10).concurrency(3).start().unwrap();
    let heard = listen(&worker);
    let mut ids = fixture.add_many(200).await;
    ran.until(30).await;
    // As in a planned failover, all writes stop and arrive before the roles change.
    let pause = redis::cmd("CLIENT").arg("PAUSE").arg(5_000).arg("WRITE").to_owned();
    let () = pause.query_async(&mut to_old).await.unwrap();
    eventually("all has arrived", || async {
        let of = |mut redis: redis::aio::MultiplexedConnection, field: &'static str| async move {
            let info: String = redis::cmd("INFO").arg("replication").query_async(&mut redis).await.unwrap();
            info.lines().find_map(|line| line.strip_prefix(field).map(str::to_owned)).unwrap()
        };
        of(to_old.clone(), "master_repl_offset:").await == of(to_new.clone(), "slave_repl_offset:").await
    })
    .await;
    let () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut to_new).await.unwrap();
    let () = follow(new.port()).query_async(&mut to_old).await.unwrap();
    proxy.retarget(new.addr());
    let () = redis::cmd("CLIENT").arg("UNPAUSE").query_async(&mut to_old).await.unwrap();
    let swapped = Instant::now();
    let seen = ran.len();
    ran.until(seen + 5).await;
    println!("roles changed: resumed after {:?}", swapped.elapsed());
    ids.push(fixture.queue.add("job", json!({ "n": 200 })).job_id("after").await.unwrap().id().to_owned());
    let fixture = Fixture { redis: to_new, ..fixture };
    fixture.until(JobState::Completed, 201).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (201, vec![], vec![]));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_are_sent_again_to_a_server_that_keeps_forgetting_them() {
    let server = RedisServer::start();
    let fixture = Arc::new(Fixture::on(&server).await);
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            job.update_progress(&1).await?;
            Ok::<_, Halt>(())
        })
        .concurrency(20)
        .prefetch(20)
        .start()
        .unwrap();
    let heard = listen(&worker);
    let told = Told::listen(&fixture).await;
    let stop = Arc::new(AtomicBool::new(false));
    let flushing = tokio::spawn({
        let (stop, mut redis) = (Arc::clone(&stop), fixture.redis.clone());
        async move {
            let mut flushes = 0;
            while !stop.load(Ordering::SeqCst) {
                let () = redis::cmd("SCRIPT").arg("FLUSH").arg("SYNC").query_async(&mut redis).await.unwrap();
                flushes += 1;
                tokio::time::sleep(Duration::from_millis(5)).await; // its pace
            }
            flushes
        }
    });
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.extend(fixture.add_many(50).await);
        for n in 0..50 {
            ids.push(fixture.add(json!(n)).await);
        }
    }
    fixture.until(JobState::Completed, 1_000).await;
    stop.store(true, Ordering::SeqCst);
    println!("{} flushes", flushing.await.unwrap());
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, heard.errors()), (1_000, 0, vec![]));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
    told.each_once(1_000).await;
}

#[tokio::test]
async fn a_server_that_pauses_its_clients_is_waited_for() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let worker = fixture
        .worker(|_: Job<Value, ()>| async {
            tokio::time::sleep(Duration::from_millis(5)).await; // the work itself
            Ok::<_, Halt>(())
        })
        .concurrency(4)
        .start()
        .unwrap();
    let heard = listen(&worker);
    let ids = fixture.add_many(300).await;
    let mut redis = fixture.redis.clone();
    for kind in ["ALL", "WRITE"] {
        let () = redis::cmd("CLIENT").arg("PAUSE").arg(1_500).arg(kind).query_async(&mut redis).await.unwrap();
        let waiting = Instant::now();
        // The pause holds this add, too.
        fixture.add(json!({ "n": 0 })).await;
        assert!(waiting.elapsed() < PATIENCE);
    }
    fixture.until(JobState::Completed, 302).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (302, vec![], vec![]));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test]
async fn a_worker_without_a_blocking_connection_polls_for_jobs() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let worker = fixture
        .worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) })
        .drain_delay(Duration::from_millis(100))
        .start()
        .unwrap();
    fixture.add(json!(0)).await;
    fixture.until(JobState::Completed, 1).await;
    let admin = |words: &str| {
        let mut redis = fixture.redis.clone();
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        async move { command.query_async::<redis::Value>(&mut redis).await.unwrap() }
    };
    let waiting = || async {
        let redis::Value::BulkString(text) = admin("CLIENT LIST").await else { panic!() };
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find(|line| line.contains("cmd=bzpopmin"))?;
        line.split(' ').find_map(|word| word.strip_prefix("id=").map(str::to_owned))
    };
    let id = eventually("the worker waits", waiting).await;
    admin("CONFIG SET maxclients 1").await;
    admin(&format!("CLIENT KILL ID {id}")).await;
    for n in 2..5 {
        fixture.add(json!(n)).await;
        fixture.until(JobState::Completed, n).await;
        assert_eq!(waiting().await, None);
    }
    admin("CONFIG SET maxclients 1000").await;
    eventually("the worker waits again", waiting).await;
    worker.close().await;
}

/// A server of the `PATH`, which may have another version than those of the other tests; it ends by itself if it is not
/// killed.
struct OtherServer {
    process: std::process::Child,
    addr: std::net::SocketAddr,
}

impl OtherServer {
    async fn start() -> Self {
        let port = oxmq::testing::free_port();
        let options = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"];
        let mut command = std::process::Command::new("timeout");
        let process =
            command.args(["120", "redis-server"]).args(options).stdout(std::process::Stdio::null()).spawn().unwrap();
        let other = Self { process, addr: ([127, 0, 0, 1], port).into() };
        eventually("it answers", || async { tokio::net::TcpStream::connect(other.addr).await.is_ok() }).await;
        other
    }
}

impl Drop for OtherServer {
    fn drop(&mut self) {
        // `timeout` passes this signal on.
        let _ = std::process::Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// From 7 on, scripts carry a line that an older server cannot read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_version_may_take_over() {
    if server_version() >= 7 {
        println!("not checked: only where OXMQ_TEST_SERVER names a server older than 7");
        return;
    }
    let (old, new) = (RedisServer::start(), OtherServer::start().await);
    let proxy = Proxy::start(new.addr).await;
    let client = Client::connect(&proxy.url()).await.unwrap();
    let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
    let worker = client.worker("q", async |_: Job<Value, Value>| Ok::<_, Halt>(json!(1))).start().unwrap();
    let heard = listen(&worker);
    for (round, to) in [new.addr, old.addr(), new.addr, old.addr()].into_iter().enumerate() {
        proxy.retarget(to);
        proxy.cut_now();
        for n in 0..5 {
            queue.add("job", json!(n)).job_id(format!("{round}-{n}")).await.unwrap();
        }
        eventually("the jobs have run", || async { worker.counts().completed >= 5 * (round as u64 + 1) }).await;
    }
    assert_eq!(heard.errors(), Vec::<String>::new());
    worker.close().await;
}
