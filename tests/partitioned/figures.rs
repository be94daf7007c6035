//! What partitions cost the server, beside one queue.

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

/// The processor time of these servers, in µs.
async fn cpu(urls: &[String]) -> f64 {
    let mut sum = 0.0;
    for url in urls {
        let mut connection = crate::common::server::connect(url).await;
        let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut connection).await.unwrap();
        let seconds = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        sum += seconds("used_cpu_user:") + seconds("used_cpu_sys:");
    }
    sum * 1e6
}

fn jobs() -> impl Iterator<Item = NewJob<Value>> {
    (0..JOBS).map(|n| NewJob::new("job", json!({ "n": n })))
}

async fn nothing(_: Job<Value, Value>) -> Result<Value, Halt> {
    Ok(json!(null))
}

/// µs of one queue for an add and for a job that is processed.
async fn one_queue(client: &Client, urls: &[String], round: usize) -> [f64; 2] {
    let name = format!("one-{round}");
    let queue = client.queue::<Value, Value>(name.as_str()).open().unwrap();
    let began = cpu(urls).await;
    queue.add_bulk(jobs()).await.unwrap();
    let filled = cpu(urls).await;
    let worker = client.worker(name.as_str(), nothing).concurrency(100).start().unwrap();
    eventually_within(PATIENCE, "all are done", || async { worker.counts().completed == JOBS as u64 }).await;
    let done = cpu(urls).await;
    worker.close().await;
    [filled - began, done - filled].map(|us| us / JOBS as f64)
}

/// The same of a partitioned one, and how many jobs of each partition were done when half of all were: the least and the most.
async fn partitions(client: &Client, urls: &[String], round: usize) -> ([f64; 2], [u64; 2]) {
    let queue = client.partitioned::<Value, Value>(format!("many-{round}"), PARTITIONS).open().await.unwrap();
    let began = cpu(urls).await;
    queue.add_bulk(jobs()).await.unwrap();
    let filled = cpu(urls).await;
    let worker = queue.worker(nothing).concurrency(100).start().unwrap();
    let done = |least: usize| {
        let worker = &worker;
        move || async move {
            let counts = worker.counts_by_partition();
            counts.iter().map(|counts| counts.completed).sum::<u64>() >= least as u64
        }
    };
    while !done(JOBS / 2)().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let half: Vec<u64> = worker.counts_by_partition().iter().map(|counts| counts.completed).collect();
    eventually_within(PATIENCE, "all are done", done(JOBS)).await;
    let end = cpu(urls).await;
    worker.close().await;
    let spread = [*half.iter().min().unwrap(), *half.iter().max().unwrap()];
    ([filled - began, end - filled].map(|us| us / JOBS as f64), spread)
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
    println!("Redis µs per job        add  process   least and most of a partition at half-time");
    for round in 0..ROUNDS {
        let show = |what: &str, [add, process]: [f64; 2]| print!("{what:20} {add:6.1} {process:8.1}");
        show("one queue", one_queue(&on_one, &single, round).await);
        println!();
        let (costs, [least, most]) = partitions(&on_one, &single, round).await;
        show("16, one server", costs);
        println!("   {least} {most}");
        let (costs, [least, most]) = partitions(&on_three, &masters, round).await;
        show("16, three masters", costs);
        println!("   {least} {most}");
    }
}
