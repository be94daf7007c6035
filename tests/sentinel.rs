//! Sentinels make another server the master while jobs run: in a planned failover, and because the old one is dead or
//! silent.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq::events::Delivery;
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Error, Halt, Job, Queue};
use serde_json::{Value, json};

#[cfg(feature = "tls")]
use crate::common::certificates::Certificates;
use crate::common::eventually::{eventually, eventually_within};
use crate::common::failovers::{HEAD, Row, failovers, given_twice, is_wanted};
use crate::common::fixture::{PATIENCE, listen};
use crate::common::proxy::Proxy;
use crate::common::sentinel::{MASTER, Sentinel, Sentinels};
use crate::common::server::{RedisServer, connect, fresh_prefix};
use crate::common::witness::Witness;

fn options(sentinels: &Sentinels) -> ConnectOptions {
    ConnectOptions::sentinel(sentinels.hosts(), MASTER).unwrap()
}

/// What happens to the master.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The sentinels are asked for a failover. The old master is healthy and still takes writes.
    Planned,
    Killed,
    /// Its connections stay open, and no answer comes.
    Paused,
}

/// Producers that keep adding jobs with ids of their own, each until it is acknowledged, and a worker that runs them.
struct Traffic {
    prefix: String,
    queue: Queue<Value, Value>,
    acked: Arc<Mutex<Vec<(String, Instant)>>>,
    completed: Arc<Mutex<Vec<(String, Instant)>>>,
    stop: Arc<AtomicBool>,
    producers: Vec<tokio::task::JoinHandle<usize>>,
    worker: oxmq::Worker,
    /// A client that asks the sentinels for the master.
    _client: Client,
}

/// Who chooses the ids of the jobs.
#[derive(Clone, Copy, PartialEq)]
enum Ids {
    Own,
    /// The server, so that an add whose reply is lost may have been for a job of another id.
    Servers,
}

impl Traffic {
    async fn start(options: ConnectOptions) -> Self {
        Self::with(options, Ids::Own).await
    }

    async fn with(options: ConnectOptions, ids: Ids) -> Self {
        let prefix = fresh_prefix();
        let client = Client::builder(options).prefix(&prefix).connect().await.unwrap();
        let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
        let processor = async |_: Job<Value, ()>| {
            tokio::time::sleep(Duration::from_millis(5)).await; // the work itself
            Ok::<_, Halt>(())
        };
        let worker = client.worker("q", processor).concurrency(10).start().unwrap();
        let completed = Arc::new(Mutex::new(Vec::new()));
        let (mut events, into) = (worker.events(), Arc::clone(&completed));
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let WorkerEvent::Completed { job_id, .. } = event {
                    into.lock().unwrap().push((job_id, Instant::now()));
                }
            }
        });
        let (acked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let producers = (0..2)
            .map(|number| tokio::spawn(produce(queue.clone(), number, ids, Arc::clone(&acked), Arc::clone(&stop))));
        let producers = producers.collect();
        Self { prefix, queue, acked, completed, stop, producers, worker, _client: client }
    }

    fn acked(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    /// Waits until that many more jobs have been added and run.
    async fn more(&self, jobs: usize) {
        let (acked, completed) = (self.acked(), self.completed.lock().unwrap().len());
        eventually_within(PATIENCE * 2, "more jobs", || async {
            self.acked() >= acked + jobs && self.completed.lock().unwrap().len() >= completed + jobs
        })
        .await;
    }

    /// Returns when the first job after this moment was completed.
    async fn resumed(&self, after: Instant) -> Instant {
        eventually_within(PATIENCE * 2, "a job is completed", || async {
            self.completed.lock().unwrap().iter().map(|(_, at)| *at).find(|at| *at >= after)
        })
        .await
    }

    /// Stops the producers, and lets the worker run all jobs.
    async fn end(mut self, server: &RedisServer) -> Ended {
        self.stop.store(true, Ordering::SeqCst);
        let mut failed = 0;
        for producer in self.producers.drain(..) {
            failed += producer.await.unwrap();
        }
        eventually_within(PATIENCE * 3, "all jobs have run", || async {
            let counts = self.queue.get_job_counts(&[]).await.ok()?;
            (counts.waiting + counts.active + counts.delayed == 0).then_some(())
        })
        .await;
        let mut redis = connect(&server.url()).await;
        let mut lost = Vec::new();
        let acked = self.acked.lock().unwrap().clone();
        for (id, at) in &acked {
            let key = format!("{}:q:{id}", self.prefix);
            let found: bool = redis::cmd("EXISTS").arg(key).query_async(&mut redis).await.unwrap();
            if !found {
                lost.push((id.clone(), *at));
            }
        }
        self.worker.close().await;
        let mut runs: HashMap<String, usize> = HashMap::new();
        for (id, _) in self.completed.lock().unwrap().iter() {
            *runs.entry(id.clone()).or_default() += 1;
        }
        let ids_twice = given_twice(acked.iter().map(|(id, _)| id.as_str()));
        let ran_twice = runs.values().filter(|runs| **runs > 1).count();
        Ended { acked: acked.len(), lost, failed_adds: failed, ids_twice, ran_twice }
    }
}

/// What is left when the traffic has ended.
#[derive(Debug)]
struct Ended {
    acked: usize,
    /// Acknowledged jobs that the server does not have, and when they were acknowledged.
    lost: Vec<(String, Instant)>,
    failed_adds: usize,
    /// Acknowledged ids that had been acknowledged for another job before.
    ids_twice: usize,
    /// Ids under which more than one run was completed.
    ran_twice: usize,
}

async fn produce(
    queue: Queue<Value, Value>,
    number: u32,
    ids: Ids,
    acked: Arc<Mutex<Vec<(String, Instant)>>>,
    stop: Arc<AtomicBool>,
) -> usize {
    let mut failed = 0;
    let mut next = 0;
    while !stop.load(Ordering::SeqCst) {
        let add = queue.add("job", json!(next));
        let add = if ids == Ids::Own { add.job_id(format!("p{number}-{next}")) } else { add };
        match add.await {
            Ok(job) => {
                acked.lock().unwrap().push((job.id().to_owned(), Instant::now()));
                next += 1;
                tokio::time::sleep(Duration::from_millis(8)).await; // its pace
            }
            Err(_) => failed += 1,
        }
    }
    failed
}

/// What one failover has cost.
#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
struct Figures {
    fault: Fault,
    /// From the fault to the first answer of the new server that it is a master.
    election: Duration,
    /// From there to the first job that is completed on it.
    resumed: Duration,
    ended: Ended,
}

/// Runs one failover under load, and what follows when the old master is back.
async fn fail_over(fault: Fault, ids: Ids) -> Figures {
    let mut sentinels = Sentinels::start().await;
    let traffic = Traffic::with(options(&sentinels), ids).await;
    traffic.more(100).await;
    let [old, heir] = [&sentinels.servers[0], &sentinels.servers[1]];
    let witness = (fault == Fault::Planned).then(|| Witness::start(old, heir, &sentinels.hosts()));
    let began = Instant::now();
    match fault {
        Fault::Planned => sentinels.fail_over().await,
        Fault::Killed => sentinels.servers[0].kill(),
        Fault::Paused => sentinels.servers[0].pause(),
    }
    sentinels.until_master(1).await;
    let elected = Instant::now();
    let resumed = traffic.resumed(elected).await;
    traffic.more(100).await;
    let seen = tokio::task::spawn_blocking(|| witness.map(Witness::end)).await.unwrap();
    // For some seconds it still answers that it is the master.
    match fault {
        Fault::Planned => {}
        Fault::Killed => sentinels.servers[0].restart(),
        Fault::Paused => sentinels.servers[0].resume(),
    }
    traffic.more(100).await;
    let ended = traffic.end(&sentinels.servers[1]).await;
    for (id, at) in &ended.lost {
        println!("lost: {}", seen.as_ref().map_or_else(|| id.clone(), |seen| seen.explain(id, *at)));
    }
    Figures { fault, election: elected - began, resumed: resumed - elected, ended }
}

/// If the old master went on for these ten seconds, two producers would add more than a thousand jobs to it.
const FEW: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_follows_a_planned_failover_before_the_old_master_is_demoted() {
    let figures = fail_over(Fault::Planned, Ids::Own).await;
    println!("{figures:?}");
    assert!(figures.ended.lost.len() < FEW, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_is_followed_by_its_replica_for_good() {
    let figures = fail_over(Fault::Killed, Ids::Own).await;
    println!("{figures:?}");
    assert!(figures.ended.lost.len() < FEW, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_master_is_left_when_the_sentinels_have_another_one() {
    let figures = fail_over(Fault::Paused, Ids::Own).await;
    println!("{figures:?}");
    assert!(figures.ended.lost.len() < FEW, "{figures:?}");
}

/// Adds jobs one after the other, each until it has run, and returns their ids.
async fn add_and_run(queue: &Queue<Value, Value>, jobs: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..jobs {
        let job = queue.add("job", json!(n)).await.unwrap();
        job.wait_until_finished(PATIENCE).await.unwrap();
        ids.push(job.id().to_owned());
    }
    ids
}

/// Counts those of these jobs that a server does not have.
async fn lost(server: &RedisServer, prefix: &str, ids: &[String]) -> usize {
    let mut redis = server.connection().await;
    let mut lost = 0;
    for id in ids {
        let found: bool = redis::cmd("EXISTS").arg(format!("{prefix}:q:{id}")).query_async(&mut redis).await.unwrap();
        lost += usize::from(!found);
    }
    lost
}

/// The replica hears no more of its master. What that acknowledges is lost, and its ids are given once more: a loss that
/// must be in the figures, and that workers and listeners must tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_loses_is_told_and_counted() {
    const LOST: usize = 20;
    let (sentinels, prefix) = (Sentinels::start().await, fresh_prefix());
    let client = Client::builder(options(&sentinels)).prefix(&prefix).connect().await.unwrap();
    let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
    let worker = client.worker("q", async |_: Job<Value, Value>| Ok::<_, Halt>(Value::Null)).start().unwrap();
    let heard = listen(&worker);
    let mut events = client.queue_events("q").start().unwrap();
    events.ready().await.unwrap();
    let [old, heir] = [&sentinels.servers[0], &sentinels.servers[1]];
    let kept = add_and_run(&queue, 5).await;
    eventually("the replica has them", || async { lost(heir, &prefix, &kept).await == 0 }).await;

    let mut admin = old.connection().await;
    redis::cmd("ACL").arg(&["SETUSER", "default", "-psync", "-sync"]).exec_async(&mut admin).await.unwrap();
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]).exec_async(&mut admin).await.unwrap();
    let mut acked = add_and_run(&queue, LOST).await;
    sentinels.fail_over().await;
    sentinels.until_master(1).await;

    heard.until("the rollback", |event| matches!(event, WorkerEvent::RolledBack { kept: Some(_), .. })).await;
    assert_eq!((lost(heir, &prefix, &kept).await, lost(heir, &prefix, &acked).await), (0, LOST));
    assert_eq!(given_twice(acked.iter().map(String::as_str)), 0);
    acked.extend(add_and_run(&queue, LOST).await);
    assert_eq!(given_twice(acked.iter().map(String::as_str)), LOST, "{acked:?}");
    loop {
        match tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            Delivery::Gap { is_rollback, .. } => break assert!(is_rollback),
            Delivery::Event { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    worker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes: prints how long failovers take and what they cost, as `make failovers` does"]
async fn figures_of_many_failovers() {
    println!("{HEAD}");
    let kinds = [
        ("planned, jobs with ids of their own", Fault::Planned, Ids::Own),
        ("planned, ids by the server", Fault::Planned, Ids::Servers),
        ("the master is killed", Fault::Killed, Ids::Own),
        ("the master is silent", Fault::Paused, Ids::Own),
    ];
    for (what, fault, ids) in kinds.into_iter().filter(|(what, ..)| is_wanted(what)) {
        let mut row = Row::new(format!("Sentinel: {what}"));
        for _ in 0..failovers() {
            let Figures { election, resumed, ended, .. } = fail_over(fault, ids).await;
            row.elected.push(election);
            row.resumed.push(resumed);
            row.acknowledged += ended.acked;
            row.lost += ended.lost.len();
            row.ids_twice += ended.ids_twice;
            row.ran_twice += ended.ran_twice;
            row.failed_adds += ended.failed_adds;
        }
        row.print();
    }
}

#[tokio::test]
async fn sentinels_have_a_login_of_their_own_and_one_of_them_is_enough() {
    let mut sentinels = Sentinels::start_with(Some("s%cret")).await;
    let hosts = sentinels.hosts();
    // An unreachable address, a server that is no sentinel, and a sentinel.
    let mixed = ["127.0.0.1:1".to_owned(), format!("127.0.0.1:{}", sentinels.servers[0].port()), hosts[2].clone()];
    let options = ConnectOptions::sentinel(mixed, MASTER).unwrap().sentinel_password("s%cret");
    let client = Client::builder(options).prefix(fresh_prefix()).connect().await.unwrap();
    client.queue::<Value, ()>("q").open().unwrap().add("job", json!(1)).await.unwrap();

    let url = format!("redis+sentinel://{}/{MASTER}/2?sentinel_password=s%25cret", hosts.join(","));
    let client = Client::connect(&url).await.unwrap();
    client.ping().await.unwrap();
    let mut redis = connect(&sentinels.servers[0].url()).await;
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut redis).await.unwrap();
    assert!(clients.contains(" db=2 "), "{clients}");

    // It listens to each sentinel, on one connection; the first client knows only the last one.
    for (host, listeners) in hosts.iter().zip([1, 1, 2]) {
        let sentinel = connect(&format!("redis://:s%25cret@{host}")).await;
        eventually("it listens", || {
            let mut sentinel = sentinel.clone();
            async move {
                let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut sentinel).await.unwrap();
                clients.lines().filter(|line| line.contains(" sub=8 ")).count() == listeners
            }
        })
        .await;
    }
    // An open connection needs no sentinel.
    for sentinel in &mut sentinels.sentinels {
        sentinel.kill();
    }
    client.ping().await.unwrap();
}

#[tokio::test]
async fn errors_say_what_is_wrong_with_sentinels() {
    let mut sentinels = Sentinels::start_with(Some("s3cret")).await;
    let connect_to = async |options: ConnectOptions| {
        let options = options.connect_timeout(Duration::from_secs(20)).wait_for_server(false);
        let error = Client::builder(options).connect().await.unwrap_err();
        assert!(matches!(error, Error::Redis { .. }), "{error:?}");
        let text = error.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        text
    };
    let error = connect_to(options(&sentinels)).await;
    let names_one = |error: &str, hosts: &[String]| {
        hosts.iter().any(|host| error.starts_with(&format!("connect: no connection to the sentinel redis://{host}: ")))
    };
    let hosts = sentinels.hosts();
    assert!(names_one(&error, &hosts) && error.contains("NOAUTH"), "{error}");
    let wrong = ConnectOptions::sentinel(&hosts, MASTER).unwrap().sentinel_password("wr0ng");
    let error = connect_to(wrong).await;
    assert!(names_one(&error, &hosts) && error.contains("WRONGPASS") && !error.contains("wr0ng"), "{error}");
    let other = ConnectOptions::sentinel(sentinels.hosts(), "other").unwrap().sentinel_password("s3cret");
    let error = connect_to(other).await;
    assert!(names_one(&error, &hosts) && error.ends_with("it knows no master of this name: other"), "{error}");
    let server = format!("127.0.0.1:{}", sentinels.servers[0].port());
    let error = connect_to(ConnectOptions::sentinel([&server], MASTER).unwrap()).await;
    assert!(names_one(&error, &[server]) && error.contains("this is no sentinel"), "{error}");
    let url = format!("redis://:s3cret@{}", sentinels.hosts()[0]);
    let error = connect_to(ConnectOptions::from_url(&url).unwrap()).await;
    assert!(error.contains("redis+sentinel://"), "{error}");
    sentinels.sentinels.iter_mut().for_each(Sentinel::kill);
    let error = connect_to(ConnectOptions::sentinel(&hosts, MASTER).unwrap()).await;
    assert!(names_one(&error, &hosts) && error.ends_with("connection refused"), "{error}");
}

/// The sentinels are down while the master changes; when they are back, the new master is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_return_are_asked_again() {
    let mut sentinels = Sentinels::start().await;
    let traffic = Traffic::start(options(&sentinels)).await;
    traffic.more(20).await;
    sentinels.sentinels.iter_mut().for_each(Sentinel::kill);
    sentinels.servers[0].kill();
    // No sentinel has made it the master yet.
    let acked = traffic.acked.lock().unwrap().iter().map(|(id, _)| id.clone()).collect::<HashSet<_>>();
    sentinels.sentinels.iter_mut().for_each(Sentinel::restart);
    sentinels.until_master(1).await;
    traffic.more(50).await;
    assert!(traffic.acked() >= acked.len() + 50);
    let ended = traffic.end(&sentinels.servers[1]).await;
    assert!(ended.lost.len() < FEW, "{ended:?}");
}

/// The servers that sentinels announce are reached through a proxy each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_behind_other_addresses_are_reached_by_a_map() {
    let sentinels = Sentinels::start().await;
    let mut proxies = Vec::new();
    for server in &sentinels.servers {
        proxies.push((server.port(), Proxy::start(server.addr()).await));
    }
    let reached: Vec<(u16, u16)> = proxies.iter().map(|(port, proxy)| (*port, proxy.addr().port())).collect();
    let map = move |host: &str, port| {
        let (_, proxy) = reached.iter().find(|(known, _)| *known == port)?;
        Some((host.to_owned(), *proxy))
    };
    let traffic = Traffic::start(options(&sentinels).node_addresses(map)).await;
    traffic.more(20).await;
    assert!(proxies[0].1.open_connections() > 0);
    sentinels.fail_over().await;
    sentinels.until_master(1).await;
    traffic.more(20).await;
    eventually_within(PATIENCE, "all is at the new one", || async {
        proxies[0].1.open_connections() == 0 && proxies[1].1.open_connections() > 0
    })
    .await;
    let ended = traffic.end(&sentinels.servers[1]).await;
    assert!(ended.lost.len() < FEW, "{ended:?}");
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_over_tls_lead_to_servers_over_tls() {
    let certificates = Certificates::new();
    let sentinels = Sentinels::over_tls(&certificates).await;
    let to = |hosts: Vec<String>| {
        let options = ConnectOptions::sentinel(hosts, MASTER).unwrap().tls(true).tls_root(certificates.pem("ca.crt"));
        options.tls_server_name("redis.internal")
    };
    // The sentinels without TLS, the servers with it.
    let client = Client::builder(to(sentinels.hosts()).sentinel_tls(false)).connect().await.unwrap();
    client.ping().await.unwrap();
    // The sentinels with TLS, the server that they name without it, at its other port.
    let plain = sentinels.servers[0].port();
    let reverse = to(sentinels.tls_hosts()).tls(false).sentinel_tls(true);
    let reverse = reverse.node_addresses(move |host, _| Some((host.to_owned(), plain)));
    Client::builder(reverse).connect().await.unwrap().ping().await.unwrap();
    // Neither trusts the sentinels of another authority.
    let strange = ConnectOptions::sentinel(sentinels.tls_hosts(), MASTER).unwrap().tls(true).wait_for_server(true);
    let strange = strange.tls_root(certificates.pem("other.crt")).tls_server_name("redis.internal");
    let said = Client::builder(strange).connect().await.unwrap_err().to_string();
    assert!(said.starts_with("connect: no connection to the sentinel rediss://127.0.0.1:"), "{said}");
    assert!(said.contains("UnknownIssuer"), "{said}");
    let traffic = Traffic::start(to(sentinels.tls_hosts())).await;
    traffic.more(20).await;
    sentinels.fail_over().await;
    sentinels.until_master(1).await;
    traffic.more(20).await;
    let ended = traffic.end(&sentinels.servers[1]).await;
    assert!(ended.lost.len() < FEW, "{ended:?}");
}
