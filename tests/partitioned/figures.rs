//! What partitions cost the server, compared with one queue.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use oxmq::events::{Delivery, QueueEvent};
use oxmq::{Client, ConnectOptions, Halt, Job, NewJob};
use serde_json::{Value, json};

use crate::common::cluster::Cluster;
use crate::common::eventually::eventually_within;
use crate::common::fixture::PATIENCE;
use crate::common::server::RedisServer;

const JOBS: usize = 40_000;
const PARTITIONS: usize = 16;
/// How many jobs run at once, but where a row says otherwise.
const SLOTS: usize = 100;
const ROUNDS: usize = 3;

/// What some servers have done so far, summed up.
#[derive(Default)]
struct Done {
    /// Processor time, in µs.
    cpu: f64,
    /// That of this process, which is the client.
    client: f64,
    /// Calls of scripts, and the time within them, in µs.
    scripts: u64,
    in_scripts: u64,
    /// All commands, those inside scripts too.
    commands: u64,
    /// How often they read from a socket that had something, and wrote to one.
    reads: f64,
    writes: f64,
    /// Other commands that clients sent, by name.
    others: BTreeMap<String, u64>,
}

/// The commands that a worker sends besides its scripts. The server counts the commands inside scripts together with
/// those of clients.
const OTHERS: [&str; 4] = ["bzpopmin", "exists", "ping", "client|unblock"];

async fn done(urls: &[String]) -> Done {
    let mut done = Done { client: own_cpu(), ..Done::default() };
    for url in urls {
        let mut connection = crate::common::server::connect(url).await;
        let info: String = redis::cmd("INFO").arg("all").query_async(&mut connection).await.unwrap();
        let number = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        done.cpu += (number("used_cpu_user:") + number("used_cpu_sys:")) * 1e6;
        let calls = |name: &str| -> u64 {
            let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
        };
        done.scripts += calls("evalsha");
        let script = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).unwrap_or_default();
        let spent = script.split(',').find_map(|field| field.strip_prefix("usec="));
        done.in_scripts += spent.map_or(0, |spent| spent.parse::<u64>().unwrap());
        let all =
            info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls=")?.1.split_once(','));
        done.commands += all.map(|(calls, _)| calls.parse::<u64>().unwrap()).sum::<u64>();
        done.reads += number("total_reads_processed:");
        done.writes += number("total_writes_processed:");
        for name in OTHERS {
            *done.others.entry(name.to_owned()).or_default() += calls(name);
        }
    }
    done
}

/// Processor time of this process, in µs.
fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |text: &str| text.parse::<f64>().unwrap_or_default();
    // Behind the name, which may hold spaces, stand 11 other fields; a tick is a hundredth of a second.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields.get(11..13).map_or(0.0, |both| both.iter().map(|text| ticks(text)).sum::<f64>() * 1e4)
}

fn jobs() -> impl Iterator<Item = NewJob<Value>> {
    (0..JOBS).map(|n| NewJob::new("job", json!({ "n": n })))
}

async fn nothing(_: Job<Value, Value>) -> Result<Value, Halt> {
    Ok(json!(null))
}

/// Prints what an add and a processed job cost between these moments.
fn show(what: &str, [began, filled, end]: [&Done; 3]) {
    let per_job = |from: &Done, to: &Done| (to.cpu - from.cpu) / JOBS as f64;
    let client = |from: &Done, to: &Done| (to.client - from.client) / JOBS as f64;
    let scripts = end.scripts - filled.scripts;
    let jobs_per_call = JOBS as f64 / scripts as f64;
    let (add, process) = (per_job(began, filled), per_job(filled, end));
    print!("{what:24}{add:7.1}{process:9.1}{:13.0}", 1e6 / (add + process));
    print!("{:10.1}{:9.1}{jobs_per_call:11.1}", client(began, filled), client(filled, end));
    print!("{:14.2}", (end.commands - filled.commands) as f64 / JOBS as f64);
    let per_call = |count: f64| count / scripts as f64;
    print!("{:9.1}", (end.in_scripts - filled.in_scripts) as f64 / JOBS as f64);
    print!("{:11.2}{:13.2}", per_call(end.reads - filled.reads), per_call(end.writes - filled.writes));
    for name in OTHERS {
        print!("{:>15}", format!("{name} {}", end.others[name] - filled.others[name]));
    }
}

async fn one_queue(what: &str, client: &Client, urls: &[String], name: &str) {
    let queue = client.queue::<Value, Value>(name).open().unwrap();
    let began = done(urls).await;
    queue.add_bulk(jobs()).await.unwrap();
    let filled = done(urls).await;
    let worker = client.worker(name, nothing).concurrency(SLOTS).start().unwrap();
    eventually_within(PATIENCE, "all are done", || async { worker.counts().completed == JOBS as u64 }).await;
    let end = done(urls).await;
    worker.close().await;
    show(what, [&began, &filled, &end]);
    println!();
}

/// Measures the same for a partitioned queue, and how many jobs of each partition were done when half of all were: the
/// fewest and the most.
async fn partitions(what: &str, client: &Client, urls: &[String], name: &str, slots: usize) {
    let queue = client.partitioned::<Value, Value>(name, PARTITIONS).open().await.unwrap();
    let began = done(urls).await;
    queue.add_bulk(jobs()).await.unwrap();
    let filled = done(urls).await;
    let worker = queue.worker(nothing).concurrency(slots).start().unwrap();
    let completed = |least: usize| {
        let worker = &worker;
        move || async move {
            let counts = worker.counts_by_partition();
            counts.iter().map(|counts| counts.completed).sum::<u64>() >= least as u64
        }
    };
    let started = Instant::now();
    // More often than `eventually` looks: what is counted is the moment when half are done.
    while !completed(JOBS / 2)().await {
        assert!(started.elapsed() < PATIENCE, "half are not done within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await; // looks again
    }
    let half: Vec<u64> = worker.counts_by_partition().iter().map(|counts| counts.completed).collect();
    eventually_within(PATIENCE, "all are done", completed(JOBS)).await;
    let end = done(urls).await;
    worker.close().await;
    show(what, [&began, &filled, &end]);
    println!("   {}–{}", half.iter().min().unwrap(), half.iter().max().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, as `make bench-cluster` does; nothing depends on them"]
async fn what_a_job_costs_in_partitions() {
    let server = RedisServer::start();
    let cluster = Cluster::start();
    let single = [server.url()];
    let masters: Vec<String> = (0..3).map(|node| format!("redis://127.0.0.1:{}", cluster.port(node))).collect();
    let connect = async |options: ConnectOptions| Client::builder(options).prefix("p").connect().await.unwrap();
    let on_one = connect(ConnectOptions::from_url(&server.url()).unwrap()).await;
    let on_three = connect(ConnectOptions::cluster(&cluster.hosts()[..1]).unwrap()).await;
    let idle = Duration::from_secs(3);
    let before = [done(&single).await.cpu, done(&masters).await.cpu];
    tokio::time::sleep(idle).await; // time itself: what it costs to wait
    let after = [done(&single).await.cpu, done(&masters).await.cpu];
    let per_second = |n: usize| (after[n] - before[n]) / 1e3 / idle.as_secs_f64();
    println!("Idle, Redis ms per second: one server {:.1}, three masters {:.1}", per_second(0), per_second(1));
    println!(
        "                     Redis µs per job    jobs per s  client µs per job\n\
         {:24}    add  process    of Redis       add  process  jobs/call  scripts  commands/job reads/call  writes/call   other commands and, of a partition, done at half-time",
        ""
    );
    for round in 0..ROUNDS {
        one_queue("one queue", &on_one, &single, &format!("one-{round}")).await;
        one_queue("one queue of a cluster", &on_three, &masters, &format!("{{one-{round}}}")).await;
        let (many, more) = (format!("many-{round}"), format!("more-{round}"));
        partitions("16, one server", &on_one, &single, &many, SLOTS).await;
        partitions("16, three masters", &on_three, &masters, &many, SLOTS).await;
        // As many slots for each master as the one server has above; and beside it one server with the same number.
        partitions("16, 300 slots, one", &on_one, &single, &more, 3 * SLOTS).await;
        partitions("16, 300 slots, three", &on_three, &masters, &more, 3 * SLOTS).await;
    }
}

/// How many connections clients have open, but for the one that asks.
async fn connections(urls: &[String]) -> u64 {
    let mut connections = 0;
    for url in urls {
        let mut connection = crate::common::server::connect(url).await;
        let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await.unwrap();
        connections += list.lines().filter(|line| line.contains("lib-name=oxmq") || !line.contains("lib-name=")).count()
            as u64
            - 1;
    }
    connections
}

/// What clients have sent, scripts' own commands and blocking reads that ended included.
async fn commands(urls: &[String]) -> u64 {
    let mut commands = 0;
    for url in urls {
        let mut connection = crate::common::server::connect(url).await;
        let info: String = redis::cmd("INFO").arg("stats").query_async(&mut connection).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
        commands += line.trim().parse::<u64>().unwrap();
    }
    commands
}

/// Prints what it costs that nothing happens, and the connections beyond those `before`.
async fn show_idle(what: &str, urls: &[String], before: u64) {
    let idle = Duration::from_secs(10);
    // Busy workers give their connections up first.
    tokio::time::sleep(idle).await; // time itself: this measures what is idle
    let (sent, from) = (commands(urls).await, done(urls).await);
    tokio::time::sleep(idle).await; // time itself: what it costs to wait
    let to = done(urls).await;
    let per_second = |count: f64| count / idle.as_secs_f64();
    println!(
        "{what}: {} connections; {:.0} commands in {:.0} reads, {:.1} ms of Redis and {:.1} ms of the client per second",
        connections(urls).await - before,
        per_second((commands(urls).await - sent) as f64),
        per_second(to.reads - from.reads),
        per_second(to.cpu - from.cpu) / 1e3,
        per_second(to.client - from.client) / 1e3,
    );
}

/// A queue in a thousand partitions: whether everything works, how long it takes, and how many connections it costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, as `make bench-cluster` does; nothing depends on them"]
async fn what_a_thousand_partitions_cost() {
    const MANY: usize = 1_024;
    const JOBS: usize = 10_240;
    let server = RedisServer::start();
    let cluster = Cluster::start();
    let single = vec![server.url()];
    let masters: Vec<String> = (0..3).map(|node| format!("redis://127.0.0.1:{}", cluster.port(node))).collect();
    let one = ConnectOptions::from_url(&server.url()).unwrap();
    let three = ConnectOptions::cluster(&cluster.hosts()[..1]).unwrap();
    for (what, options, urls) in [("one server", one, single), ("three masters", three, masters)] {
        let before = connections(&urls).await;
        let client = Client::builder(options).prefix("p").connect().await.unwrap();
        let timed = |step: &str, since: Instant| println!("{what}: {step} {:?}", since.elapsed());
        let at = Instant::now();
        let queue = client.partitioned::<Value, Value>("many", MANY).open().await.unwrap();
        timed("opened in", at);
        let at = Instant::now();
        let mut events = queue.events().unwrap();
        events.ready().await.unwrap();
        timed("events are heard after", at);
        let heard = tokio::spawn(async move {
            let mut completed = 0;
            while completed < JOBS {
                match events.recv().await {
                    Some(heard) => {
                        let is_end = matches!(heard.item, Delivery::Event { event: QueueEvent::Completed { .. }, .. });
                        completed += usize::from(is_end);
                    }
                    None => break,
                }
            }
            (completed, events)
        });
        let listening = connections(&urls).await - before;
        let at = Instant::now();
        let jobs = (0..JOBS).map(|n| NewJob::new("job", json!({ "n": n })));
        queue.add_bulk(jobs).await.unwrap();
        timed("10,240 jobs added in", at);
        let at = Instant::now();
        assert_eq!(queue.get_job_counts(&[]).await.unwrap().waiting, JOBS as u64);
        timed("counted in", at);
        let at = Instant::now();
        let worker = queue.worker(nothing).concurrency(100).start().unwrap();
        let all_done = || async {
            let counts = worker.counts_by_partition();
            counts.iter().map(|counts| counts.completed).sum::<u64>() == JOBS as u64
        };
        eventually_within(PATIENCE * 3, "all are done", all_done).await;
        timed("all processed in", at);
        let heard = tokio::time::timeout(PATIENCE * 3, heard).await.expect("all completions are heard").unwrap();
        let (completed, events) = heard;
        assert_eq!(completed, JOBS);
        timed("all heard of after", at);
        let all = connections(&urls).await - before;
        println!("{what}: {listening} connections of a listener, {all} with a worker");
        show_idle(&format!("{what}, an idle worker and a listener"), &urls, before).await;
        drop(events);
        show_idle(&format!("{what}, an idle worker"), &urls, before).await;
        let at = Instant::now();
        worker.close().await;
        timed("closed in", at);
    }
}
