//! Many idle workers of one client wait on a few connections, and each learns of its jobs as if it had its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use oxmq::{Client, ConnectOptions, Halt, Job, JobState, Queue, Worker};

use crate::common::eventually::eventually;
use crate::common::fixture::PATIENCE;
use crate::common::server::{RedisServer, fresh_prefix};

/// Much longer than a test waits: only a marker can wake a worker in time.
const LONG: Duration = Duration::from_secs(600);

async fn client(server: &RedisServer, prefix: &str) -> Client {
    let options = ConnectOptions::from_url(&server.url()).unwrap();
    Client::builder(options).prefix(prefix).own_connections(0).connect().await.unwrap()
}

/// Starts a worker that returns the data; it checks for jobs by itself after `drain_delay`.
fn worker(client: &Client, queue: &str, drain_delay: Duration) -> Worker {
    let echo = |job: Job<u64, u64>| async move { Ok::<_, Halt>(*job.data()) };
    client.worker(queue, echo).drain_delay(drain_delay).start().unwrap()
}

fn queue(client: &Client, name: &str) -> Queue<u64, u64> {
    client.queue(name).open().unwrap()
}

/// Counts the waiting connections by name.
async fn waiting(server: &RedisServer) -> HashMap<String, usize> {
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut server.connection().await).await.unwrap();
    let mut names = HashMap::new();
    for line in list.lines().filter(|line| line.contains("cmd=bzpopmin")) {
        let name = line.split(' ').find_map(|word| word.strip_prefix("name=")).unwrap_or_default();
        *names.entry(name.to_owned()).or_default() += 1;
    }
    names
}

async fn until_shared(server: &RedisServer, connections: usize) {
    eventually("they wait together", || async {
        let names = waiting(server).await;
        names.len() == 1 && names.get("oxmq-shared-waits") == Some(&connections)
    })
    .await;
}

#[tokio::test]
async fn hundreds_of_idle_workers_share_two_connections_and_run_every_job() {
    const WORKERS: usize = 300;
    let server = RedisServer::start();
    let client = client(&server, &fresh_prefix()).await;
    let names: Vec<String> = (0..WORKERS).map(|n| format!("q{n}")).collect();
    let workers: Vec<Worker> = names.iter().map(|name| worker(&client, name, LONG)).collect();
    until_shared(&server, 2).await;
    let queues: Vec<_> = names.iter().map(|name| queue(&client, name)).collect();
    for round in 0..3 {
        let jobs = join_all(queues.iter().map(|queue| async { queue.add("job", round).await.unwrap() })).await;
        let wait = jobs.iter().map(|job| job.wait_until_finished(PATIENCE));
        assert!(join_all(wait).await.into_iter().all(|value| value.unwrap() == round));
    }
    let sleeper = queues[7].add("later", 1).delay(Duration::from_millis(300)).await.unwrap();
    assert_eq!(sleeper.wait_until_finished(PATIENCE).await.unwrap(), 1);
    let closing = join_all(workers.into_iter().map(Worker::close));
    tokio::time::timeout(PATIENCE, closing).await.expect("they close long before their waits are over");
    eventually("nobody waits", || async { waiting(&server).await.is_empty() }).await;
}

#[tokio::test]
async fn a_worker_that_closes_or_pauses_leaves_jobs_to_the_others() {
    let server = RedisServer::start();
    let prefix = fresh_prefix();
    let (one, other) = (client(&server, &prefix).await, client(&server, &prefix).await);
    let stays = worker(&other, "q", LONG);
    let _neighbour = worker(&one, "neighbour", LONG);
    let queue = queue(&other, "q");
    for round in 0..8 {
        let leaves = worker(&one, "q", LONG);
        until_shared(&server, 2).await;
        let (job, paused) = tokio::join!(async { queue.add("job", round).await.unwrap() }, async {
            if round % 2 == 0 {
                leaves.close().await;
                return None;
            }
            leaves.pause().await.unwrap();
            Some(leaves)
        });
        assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), round);
        if let Some(paused) = paused {
            paused.close().await;
        }
    }
    stays.close().await;
}

#[tokio::test]
async fn jobs_are_found_without_a_marker_by_a_periodic_check() {
    let server = RedisServer::start();
    let prefix = fresh_prefix();
    let client = client(&server, &prefix).await;
    let short = Duration::from_millis(200);
    let workers: Vec<Worker> = ["a", "b", "c"].into_iter().map(|name| worker(&client, name, short)).collect();
    until_shared(&server, 1).await;
    let queue = queue(&client, "b");
    queue.pause().await.unwrap();
    let job = queue.add("job", 5).await.unwrap();
    // As if a worker had taken the marker and died: the queue has jobs, and nobody is told.
    let meta = format!("{prefix}:b:meta");
    let mut redis = server.connection().await;
    redis::cmd("HDEL").arg(meta).arg("paused").exec_async(&mut redis).await.unwrap();
    assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), 5);
    for worker in workers {
        // Nobody else has asked for jobs, and all know that there are none.
        assert!(worker.health().last_fetch.unwrap() < PATIENCE);
        worker.close().await;
    }
}

#[tokio::test]
async fn a_shared_connection_that_breaks_costs_no_job() {
    let server = RedisServer::start();
    let client = client(&server, &fresh_prefix()).await;
    let names = ["a", "b", "c", "d", "e"];
    let workers: Vec<Worker> = names.iter().map(|name| worker(&client, name, LONG)).collect();
    let mut redis = server.connection().await;
    for round in 0..4 {
        until_shared(&server, 1).await;
        let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).to_owned();
        let mut killer = redis.clone();
        let (jobs, ()) = tokio::join!(
            join_all(names.iter().enumerate().map(|(at, name)| {
                let queue = queue(&client, name);
                async move { queue.add("job", round).job_id(format!("{round}-{at}")).await.unwrap() }
            })),
            async { kill.exec_async(&mut killer).await.unwrap() }
        );
        for job in jobs {
            assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), round);
        }
    }
    redis::cmd("PING").exec_async(&mut redis).await.unwrap();
    join_all(workers.into_iter().map(Worker::close)).await;
}

#[tokio::test]
async fn without_the_right_to_end_a_wait_each_has_a_connection_of_its_own() {
    let server = RedisServer::start();
    let mut redis = server.connection().await;
    let user = ["SETUSER", "plain", "on", ">pass", "~*", "&*", "+@all", "-client"];
    redis::cmd("ACL").arg(&user).exec_async(&mut redis).await.unwrap();
    let options = ConnectOptions::from_url(&server.url()).unwrap().username("plain").password("pass");
    let client = Client::builder(options).prefix(fresh_prefix()).own_connections(0).connect().await.unwrap();
    // Workers that start at the same moment wait together until another one comes or goes; that shows that the
    // permission is missing.
    let mut workers = vec![worker(&client, "a", LONG)];
    eventually("the first one waits", || async { waiting(&server).await.values().sum::<usize>() == 1 }).await;
    workers.extend(["b", "c"].map(|name| worker(&client, name, LONG)));
    eventually("each waits alone", || async { waiting(&server).await.values().sum::<usize>() == 3 }).await;
    for name in ["a", "b", "c"] {
        let job = queue(&client, name).add("job", 1).await.unwrap();
        assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), 1);
    }
    join_all(workers.into_iter().map(Worker::close)).await;
}

#[tokio::test]
async fn every_worker_is_seen_with_and_without_a_connection_of_its_own() {
    let server = RedisServer::start();
    let options = ConnectOptions::from_url(&server.url()).unwrap();
    let client = Client::builder(options).prefix(fresh_prefix()).own_connections(2).connect().await.unwrap();
    let mut workers: Vec<Worker> = (0..5).map(|_| worker(&client, "q", Duration::from_millis(200))).collect();
    let queue = queue(&client, "q");
    eventually("all are seen", || async { queue.get_workers().await.unwrap().len() == 5 }).await;
    eventually("two wait alone", || async { waiting(&server).await.values().sum::<usize>() == 3 }).await;
    workers.remove(0).close().await;
    queue.add_bulk((0..50).map(|n| oxmq::NewJob::new("job", n))).await.unwrap();
    let done = [JobState::Completed];
    eventually("all is done", || async { queue.get_job_counts(&done).await.unwrap().completed == 50 }).await;
    // A worker that runs jobs takes the place of the closed one, and those that wait in vain go back to the others.
    eventually("four are seen", || async { queue.get_workers().await.unwrap().len() == 4 }).await;
    let all = client.get_all_workers().await.unwrap();
    assert!(all["q"].iter().all(|worker| worker.get("rawname").unwrap().contains(":w:")), "{all:?}");
    join_all(workers.into_iter().map(Worker::close)).await;
    eventually("nobody is seen", || async { client.get_all_workers().await.unwrap().is_empty() }).await;
}

/// Counts the workers that are listed for each of these queues.
async fn seen(client: &Client, queues: &[&str]) -> Vec<usize> {
    let all = client.get_all_workers().await.unwrap();
    queues.iter().map(|queue| all.get(*queue).map_or(0, Vec::len)).collect()
}

#[tokio::test]
async fn a_worker_that_waits_for_no_marker_is_seen() {
    let server = RedisServer::start();
    for own in [0, 32] {
        let options = ConnectOptions::from_url(&server.url()).unwrap();
        let client = Client::builder(options).prefix(fresh_prefix()).own_connections(own).connect().await.unwrap();
        let names = ["limited", "paused", "busy"];
        let queues = names.map(|name| queue(&client, name));
        for queue in &queues {
            queue.add_bulk((0..3).map(|n| oxmq::NewJob::new("job", n))).await.unwrap();
        }
        let echo = |job: Job<u64, u64>| async move { Ok::<_, Halt>(*job.data()) };
        let limited =
            client.worker("limited", echo).limiter(1, Duration::from_secs(3600)).name("a,b*2%").start().unwrap();
        let paused = worker(&client, "paused", LONG);
        paused.pause().await.unwrap();
        let busy =
            client.worker("busy", |_: Job<u64, u64>| std::future::pending::<Result<u64, Halt>>()).start().unwrap();
        let done = [JobState::Completed];
        eventually("one is done", || async { queues[0].get_job_counts(&done).await.unwrap().completed == 1 }).await;
        eventually("each is seen", || async { seen(&client, &names).await == [1, 1, 1] }).await;
        // So nobody takes the queue for abandoned, however long its jobs wait.
        let old = queues[0].add("job", 4).timestamp(std::time::UNIX_EPOCH + Duration::from_secs(1)).lifo(true);
        old.await.unwrap();
        #[cfg(feature = "doctor")]
        {
            let report = client.doctor().queue("limited").keys(0).pause(Duration::ZERO).examine().await.unwrap();
            let is_abandoned = |found: &oxmq::doctor::Finding| found.kind == oxmq::doctor::FindingKind::NoWorker;
            assert!(!report.findings.iter().any(is_abandoned), "{:?}", report.findings);
        }
        let limited_one = queues[0].get_workers().await.unwrap().remove(0);
        assert!(limited_one.get("rawname").unwrap().ends_with(":w:a,b*2%"), "{limited_one:?}");

        let mut redis = server.connection().await;
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec_async(&mut redis).await.unwrap();
        eventually("each is seen again", || async { seen(&client, &names).await == [1, 1, 1] }).await;
        limited.close().await;
        paused.close().await;
        eventually("they are gone", || async { seen(&client, &names).await == [0, 0, 1] }).await;
        busy.close_within(Duration::ZERO).await;
    }
}

/// Returns how often the server ran each command, inside scripts too.
async fn commands(server: &RedisServer) -> HashMap<String, u64> {
    let mut redis = server.connection().await;
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
    let counts = info.lines().filter_map(|line| {
        let (name, counts) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), counts.split(',').next()?.parse().ok()?))
    });
    counts.collect()
}

#[tokio::test]
async fn idle_workers_look_together_for_what_has_stalled() {
    const WORKERS: u64 = 100;
    let server = RedisServer::start();
    let client = client(&server, &fresh_prefix()).await;
    let echo = |job: Job<u64, u64>| async move { Ok::<_, Halt>(*job.data()) };
    let interval = Duration::from_millis(200);
    let start = |n: u64| {
        let worker = client.worker(format!("q{n}"), echo).drain_delay(LONG).stalled_interval(interval);
        worker.scheduler_check_interval(interval).start().unwrap()
    };
    let workers: Vec<Worker> = (0..WORKERS).map(start).collect();
    // Each asks for jobs and checks for stalled jobs itself, once.
    eventually("all have begun", || async { commands(&server).await.get("evalsha") >= Some(&(2 * WORKERS)) }).await;
    until_shared(&server, 1).await;
    let redis = server.connection().await;
    let missing = || async {
        let info: String = redis::cmd("INFO").arg("stats").query_async(&mut redis.clone()).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("keyspace_misses:")).unwrap();
        line.parse::<u64>().unwrap()
    };
    // Once the last of them has started, all queues are checked several times without a script.
    let (sent, missing) = eventually("nobody looks for himself", || async {
        redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis.clone()).await.unwrap();
        // Three keys for each queue: the active jobs, those of the last check, and the schedulers.
        eventually("all are looked after", || async { missing().await >= 5 * 3 * WORKERS }).await;
        let sent = commands(&server).await;
        let is_quiet = ["evalsha", "eval"].iter().all(|script| !sent.contains_key(*script));
        is_quiet.then_some((sent, missing().await))
    })
    .await;
    assert!(sent["exists"] <= missing / 20, "{sent:?} for {missing} keys");

    // A stalled job in one of them is still found.
    let (queue, worker) = (queue(&client, "q17"), &workers[17]);
    worker.pause().await.unwrap();
    let job = queue.add("job", 5).await.unwrap();
    let gone = client.manual_worker::<u64, u64>("q17").lock_duration(Duration::from_millis(100)).open().unwrap();
    assert_eq!(gone.get_next_job("gone").await.unwrap().unwrap().id(), job.id());
    worker.resume().await.unwrap();
    assert_eq!(job.wait_until_finished(Duration::from_secs(30)).await.unwrap(), 5);
    join_all(workers.into_iter().map(Worker::close)).await;
}

/// Prints how long a job waits for its worker, which is one of many idle ones.
#[tokio::test]
#[ignore = "prints figures; nothing depends on them"]
async fn how_long_a_job_waits_for_one_of_many_workers() {
    for (count, own) in [(1_usize, 0), (100, 0), (1_000, 0), (1_000, 32)] {
        let server = RedisServer::start();
        let options = ConnectOptions::from_url(&server.url()).unwrap();
        let client = Client::builder(options).prefix(fresh_prefix()).own_connections(own).connect().await.unwrap();
        let heard = Arc::new(Mutex::new(HashMap::new()));
        let workers: Vec<Worker> = (0..count)
            .map(|n| {
                let heard = Arc::clone(&heard);
                let note = move |job: Job<u64, u64>| {
                    heard.lock().unwrap().insert(job.id().to_owned(), Instant::now());
                    async { Ok::<_, Halt>(1) }
                };
                client.worker(format!("q{n}"), note).start().unwrap()
            })
            .collect();
        let connections = own + (count - own).div_ceil(256);
        eventually("all wait", || async { waiting(&server).await.values().sum::<usize>() == connections }).await;
        // Each asks for jobs and checks for stalled jobs once.
        let begun = 2 * u64::try_from(count).unwrap();
        eventually("all have begun", || async { commands(&server).await.get("evalsha") >= Some(&begun) }).await;
        // The last workers have started only now, and schedulers are checked after a second.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let before: u64 = commands(&server).await.values().sum();
        tokio::time::sleep(Duration::from_secs(60)).await; // time itself
        let idle = commands(&server).await.values().sum::<u64>() - before;
        let mut waits = Vec::new();
        for n in 0..200 {
            let (queue, id) = (queue(&client, &format!("q{}", n * 37 % count)), format!("j{n}"));
            let began = Instant::now();
            let job = queue.add("job", 1).job_id(&id).await.unwrap();
            job.wait_until_finished(PATIENCE).await.unwrap();
            waits.push(heard.lock().unwrap()[&id] - began);
        }
        waits.sort_unstable();
        println!(
            "{count} queues, {own} with a connection: {:.1} commands/s while idle, inside scripts too; from add to processor p50 {:?}, p99 {:?}",
            idle as f64 / 60.0,
            waits[100],
            waits[198]
        );
        join_all(workers.into_iter().map(Worker::close)).await;
    }
}

/// Prints how evenly queues are served that all have more jobs than their workers can run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; nothing depends on them"]
async fn how_evenly_many_queues_are_served() {
    const JOBS: usize = 40_000;
    for count in [1_usize, 100, 1_000] {
        let server = RedisServer::start();
        let options = ConnectOptions::from_url(&server.url()).unwrap();
        let client = Client::builder(options).prefix(fresh_prefix()).connect().await.unwrap();
        let each = JOBS / count;
        for n in 0..count {
            let jobs = (0..each).map(|n| oxmq::NewJob::new("job", n as u64));
            queue(&client, &format!("q{n}")).add_bulk(jobs).await.unwrap();
        }
        // Done jobs of each queue, of all, and those of each when half of all were done.
        let done: Arc<Vec<AtomicUsize>> = Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect());
        let (all, half) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        // Nobody begins before all workers have jobs.
        let gate = tokio::sync::watch::Sender::new(false);
        let concurrency = 10.min(each / 4);
        let workers: Vec<Worker> = (0..count)
            .map(|n| {
                let (done, all, half, gate) =
                    (Arc::clone(&done), Arc::clone(&all), Arc::clone(&half), gate.subscribe());
                let count = move |_: Job<u64, u64>| {
                    let (done, all, half) = (Arc::clone(&done), Arc::clone(&all), Arc::clone(&half));
                    let mut gate = gate.clone();
                    async move {
                        gate.wait_for(|open| *open).await.expect("the test holds it");
                        done[n].fetch_add(1, Ordering::Relaxed);
                        if all.fetch_add(1, Ordering::Relaxed) + 1 == JOBS / 2 {
                            *half.lock().unwrap() = done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
                        }
                        Ok::<_, Halt>(1)
                    }
                };
                client.worker(format!("q{n}"), count).concurrency(concurrency).start().unwrap()
            })
            .collect();
        eventually("all have jobs", || async { workers.iter().all(|worker| worker.health().running > 0) }).await;
        let began = Instant::now();
        gate.send_replace(true);
        eventually("all are done", || async { all.load(Ordering::Relaxed) == JOBS }).await;
        let took = began.elapsed();
        let mut half: Vec<usize> = std::mem::take(&mut *half.lock().unwrap());
        half.sort_unstable();
        let at = |part: usize| half[(count * part / 100).min(count - 1)];
        println!(
            "{count} queues with {each} jobs each, concurrency {concurrency}, all done in {took:?}; done of a queue at half-time: least {}, p10 {}, p50 {}, p90 {}, most {}",
            at(0),
            at(10),
            at(50),
            at(90),
            at(100)
        );
        join_all(workers.into_iter().map(Worker::close)).await;
    }
}
