//! What partitions cost the server, beside one queue.

use std::collections::BTreeMap;
use std::time::Duration;

use oxmq::{Client, ConnectOptions, Halt, Job, NewJob};
use serde_json::{Value, json};

use crate::common::cluster::Cluster;
use crate::common::eventually::eventually_within;
use crate::common::fixture::PATIENCE;
use crate::common::server::RedisServer;

const JOBS: usize = 40_000;
const PARTITIONS: usize = 16;
const ROUNDS: usize = 3;

/// What some servers have done so far, summed.
#[derive(Default)]
struct Done {
    /// Processor time, in µs.
    cpu: f64,
    /// Calls of scripts.
    scripts: u64,
    /// Other commands that clients sent, by name.
    others: BTreeMap<String, u64>,
}

/// The commands that a worker sends beside its scripts; what scripts call is not told apart from what clients send.
const OTHERS: [&str; 4] = ["bzpopmin", "exists", "ping", "client|unblock"];

async fn done(urls: &[String]) -> Done {
    let mut done = Done::default();
    for url in urls {
        let mut connection = crate::common::server::connect(url).await;
        let info: String = redis::cmd("INFO").arg("all").query_async(&mut connection).await.unwrap();
        let seconds = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        done.cpu += (seconds("used_cpu_user:") + seconds("used_cpu_sys:")) * 1e6;
        let calls = |name: &str| -> u64 {
            let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
        };
        done.scripts += calls("evalsha");
        for name in OTHERS {
            *done.others.entry(name.to_owned()).or_default() += calls(name);
        }
    }
    done
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
    let scripts = end.scripts - filled.scripts;
    let jobs_per_call = JOBS as f64 / scripts as f64;
    print!("{what:24}{:7.1}{:9.1}{jobs_per_call:11.1}", per_job(began, filled), per_job(filled, end));
    for name in OTHERS {
        print!("{:>15}", format!("{name} {}", end.others[name] - filled.others[name]));
    }
}

async fn one_queue(what: &str, client: &Client, urls: &[String], name: &str) {
    let queue = client.queue::<Value, Value>(name).open().unwrap();
    let began = done(urls).await;
    queue.add_bulk(jobs()).await.unwrap();
    let filled = done(urls).await;
    let worker = client.worker(name, nothing).concurrency(100).start().unwrap();
    eventually_within(PATIENCE, "all are done", || async { worker.counts().completed == JOBS as u64 }).await;
    let end = done(urls).await;
    worker.close().await;
    show(what, [&began, &filled, &end]);
    println!();
}

/// The same of a partitioned one, and how many jobs of each partition were done when half of all were: the least and the most.
async fn partitions(what: &str, client: &Client, urls: &[String], name: &str) {
    let queue = client.partitioned::<Value, Value>(name, PARTITIONS).open().await.unwrap();
    let began = done(urls).await;
    queue.add_bulk(jobs()).await.unwrap();
    let filled = done(urls).await;
    let worker = queue.worker(nothing).concurrency(100).start().unwrap();
    let completed = |least: usize| {
        let worker = &worker;
        move || async move {
            let counts = worker.counts_by_partition();
            counts.iter().map(|counts| counts.completed).sum::<u64>() >= least as u64
        }
    };
    while !completed(JOBS / 2)().await {
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
#[ignore = "prints figures; nothing depends on them"]
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
    tokio::time::sleep(idle).await;
    let after = [done(&single).await.cpu, done(&masters).await.cpu];
    let per_second = |n: usize| (after[n] - before[n]) / 1e3 / idle.as_secs_f64();
    println!("Idle, Redis ms per second: one server {:.1}, three masters {:.1}", per_second(0), per_second(1));
    println!(
        "Redis µs per job           add  process   jobs/call   other commands and, of a partition, done at half-time"
    );
    for round in 0..ROUNDS {
        one_queue("one queue", &on_one, &single, &format!("one-{round}")).await;
        one_queue("one queue of a cluster", &on_three, &masters, &format!("{{one-{round}}}")).await;
        partitions("16, one server", &on_one, &single, &format!("many-{round}")).await;
        partitions("16, three masters", &on_three, &masters, &format!("many-{round}")).await;
    }
}
