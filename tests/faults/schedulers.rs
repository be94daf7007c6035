//! Job schedulers whose workers are killed again and again, and whose runs vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxmq::{Client, ConnectOptions, Halt, Job, JobOptions, KeepJobs, Queue, Repeat};
use redis::AsyncCommands;
use serde_json::{Value, json};

use super::kill::works_for;
use crate::common::fixture::Fixture;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::RedisServer;

const LOCK: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(1);

/// How long a scheduler may stand still beyond its interval. A worker may be killed between taking a run and making the
/// next one: its lock has to expire, the check for stalled jobs has to see it twice, and a worker has to fetch it. Or
/// its run vanished, and a worker has to notice that. The rest is for a machine that is busy with other tests.
const MOST: Duration = Duration::from_secs(1 + 2 + 1 + 26);

/// Returns that many schedulers with their intervals in ms.
fn schedulers(n: u64) -> impl Iterator<Item = (String, u64)> {
    (0..n).map(|n| (format!("s{n}"), 80 + n * 20))
}

async fn upsert(queue: &Queue<Value, Value>, n: u64) {
    for (id, every) in schedulers(n) {
        // No finished run is kept, so none prevents a second one for its slot.
        let options = JobOptions::default().remove_on_complete(KeepJobs::new().count(0)).attempts(3);
        let repeat = Repeat::every(Duration::from_millis(every));
        queue.upsert_job_scheduler(id, repeat).data(json!({})).options(options).await.unwrap();
    }
}

#[test]
#[ignore = "not a test: the process that `schedulers_go_on_while_workers_are_killed` kills"]
fn the_worker_process() {
    let Some((url, prefix)) = works_for() else { return };
    let n = std::env::var("OXMQ_SCHEDULERS").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ConnectOptions::from_url(&url).unwrap();
        let client = Client::builder(options).prefix(prefix).connect().await.unwrap();
        // Upserts them, as a starting program does.
        upsert(&client.queue("q").max_len_events(1_000_000).open().unwrap(), n).await;
        let worker = client
            .worker("q", |_: Job<Value, Value>| async {
                tokio::time::sleep(Duration::from_millis(10)).await; // the work itself
                Ok::<_, Halt>(json!(1))
            })
            .concurrency(20)
            .lock_duration(LOCK)
            .stalled_interval(Duration::from_secs(1))
            .scheduler_check_interval(LOOK)
            .drain_delay(Duration::from_secs(1))
            .start()
            .unwrap();
        println!("at work");
        std::future::pending::<()>().await;
        drop(worker);
    });
}

async fn start_oxmq(url: &str, prefix: &str, n: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "faults::schedulers::the_worker_process", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("OXMQ_URL", url).env("OXMQ_PREFIX", prefix).env("OXMQ_SCHEDULERS", n.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let start = move || {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().contains("at work")),
            "the worker process has ended: {:?}",
            child.wait()
        );
        child
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

async fn start_node(version: BullMq, url: &str, prefix: &str) -> NodeDriver {
    let node = NodeDriver::start(version, url, prefix).await;
    let opts = json!({
        "concurrency": 20, "lockDuration": 1_000, "stalledInterval": 1_000, "maxStalledCount": 1_000, "drainDelay": 1,
    });
    // A `Queue` of Node would trim the event stream, which this test needs whole.
    let worker = json!({ "queue": "q", "behaviour": { "kind": "sleep", "ms": 10 }, "opts": opts, "alone": true });
    node.call("startWorker", worker).await.unwrap();
    node
}

/// Deletes the waiting run of a scheduler, as an eviction would; returns whether there was one.
async fn vanish(fixture: &Fixture, scheduler: &str) -> bool {
    let mut redis = fixture.redis.clone();
    let slot: Option<f64> = redis.zscore(fixture.key("repeat"), scheduler).await.unwrap();
    let Some(slot) = slot else { return false };
    let id = format!("repeat:{scheduler}:{slot}");
    let gone: u32 = redis.zrem(fixture.key("delayed"), &id).await.unwrap();
    if gone == 1 {
        let _: () = redis.del(fixture.key(&id)).await.unwrap();
    }
    gone == 1
}

/// Reads from the event stream how often each slot of each scheduler completed.
async fn slots(fixture: &Fixture) -> BTreeMap<String, BTreeMap<u64, u32>> {
    let mut redis = fixture.redis.clone();
    let mut slots: BTreeMap<String, BTreeMap<u64, u32>> = BTreeMap::new();
    let mut from = "-".to_owned();
    loop {
        let page: Vec<(String, BTreeMap<String, String>)> = redis::cmd("XRANGE")
            .arg(fixture.key("events"))
            .arg(&from)
            .arg("+")
            .arg("COUNT")
            .arg(5_000)
            .query_async(&mut redis)
            .await
            .unwrap();
        let Some((last, _)) = page.last() else { return slots };
        from = format!("({last}");
        for (_, fields) in page {
            if fields["event"] == "completed" {
                let id = &fields["jobId"];
                let (scheduler, slot) = id.strip_prefix("repeat:").and_then(|rest| rest.rsplit_once(':')).unwrap();
                *slots.entry(scheduler.to_owned()).or_default().entry(slot.parse().unwrap()).or_default() += 1;
            }
        }
    }
}

/// Lets several workers run `n` schedulers until that many slots are done, and kills them meanwhile.
async fn kill_while(n: u64, most: usize, pace: Duration, limit: Duration) {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let (url, prefix) = (server.url(), fixture.prefix.clone());
    upsert(&fixture.queue, n).await;
    let begun = Instant::now();
    let mut nodes = vec![start_node(BullMq::V6, &url, &prefix).await, start_node(BullMq::V5, &url, &prefix).await];
    let mut ours = start_oxmq(&url, &prefix, n).await;
    let (mut round, mut vanished, mut done) = (0_u64, 0, 0);
    let (mut kills_of_node, mut kills_of_oxmq) = (0_u32, 0_u32);
    // Each kind of worker is killed at least once.
    while done < most || round < 3 {
        assert!(begun.elapsed() < limit, "{done} slots in {limit:?}");
        tokio::time::sleep(pace.mul_f64(0.2 + f64::from(u32::try_from(round * 37 % 100).unwrap()) / 60.0)).await; // its pace
        if vanish(&fixture, &format!("s{}", round % n)).await {
            vanished += 1;
        }
        match round % 3 {
            0 => {
                ours.kill().unwrap();
                ours.wait().unwrap();
                ours = start_oxmq(&url, &prefix, n).await;
                kills_of_oxmq += 1;
            }
            turn => {
                let version = if turn == 1 { BullMq::V6 } else { BullMq::V5 };
                // Dropping it kills the process.
                nodes[usize::try_from(turn - 1).unwrap()] = start_node(version, &url, &prefix).await;
                kills_of_node += 1;
            }
        }
        round += 1;
        done = slots(&fixture).await.values().map(BTreeMap::len).sum();
    }
    let took = begun.elapsed();
    drop(nodes);
    ours.kill().unwrap();
    ours.wait().unwrap();

    let slots = slots(&fixture).await;
    let mut longest = Duration::ZERO;
    let mut passed = 0;
    for (id, every) in schedulers(n) {
        let of = &slots[&id];
        let twice: BTreeSet<_> = of.iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "{id}: completed more than once: {twice:?}");
        let times: Vec<u64> = of.keys().copied().collect();
        for two in times.windows(2) {
            passed += (two[1] - two[0]) / every - 1;
            longest = longest.max(Duration::from_millis((two[1] - two[0]).saturating_sub(every)));
        }
    }
    println!(
        "kill -9: {kills_of_oxmq} of oxmq, {kills_of_node} of Node, {vanished} runs deleted, {done} slots of {n} schedulers \
         in {took:?}; none ran twice, {passed} passed unrun, none stood still for longer than its interval and {longest:?}"
    );
    assert!(longest <= MOST, "a scheduler stood still for {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedulers_go_on_while_workers_are_killed() {
    kill_while(6, 300, Duration::from_millis(500), Duration::from_secs(300)).await;
}

/// `OXMQ_SLOTS` says how many slots there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: run it with --ignored, as `make soak` does"]
async fn schedulers_of_a_mixed_fleet_go_on_while_it_is_killed() {
    let slots = std::env::var("OXMQ_SLOTS").map_or(20_000, |slots| slots.parse().unwrap());
    kill_while(20, slots, Duration::from_secs(2), Duration::from_secs(1_500)).await;
}
