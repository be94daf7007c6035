//! Worker processes that are killed, again and again.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxmq::{Client, ConnectOptions, Halt, Job, JobState};
use serde_json::Value;

use crate::common::check::check;
use crate::common::fixture::Fixture;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::RedisServer;

const JOBS: usize = 2_000;

/// Runs this test binary again, as a worker.
fn spawn(url: &str, prefix: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "faults::kill::the_worker_process", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("OXMQ_URL", url).env("OXMQ_PREFIX", prefix);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Reads until the worker says that it is running.
fn wait_for(child: &mut Child) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        if line.unwrap().contains("at work") {
            return;
        }
    }
    panic!("the worker process has ended: {:?}", child.wait());
}

/// Returns the server and prefix for which this process should work, if a test started it as a worker; otherwise
/// `None`. The process ends with its parent, however that ends.
pub(super) fn works_for() -> Option<(String, String)> {
    let (Ok(url), Ok(prefix)) = (std::env::var("OXMQ_URL"), std::env::var("OXMQ_PREFIX")) else { return None };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    Some((url, prefix))
}

#[test]
#[ignore = "not a test: the process that `workers_killed_at_any_moment_lose_nothing` kills"]
fn the_worker_process() {
    let Some((url, prefix)) = works_for() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ConnectOptions::from_url(&url).unwrap();
        let client = Client::builder(options).prefix(prefix).connect().await.unwrap();
        let worker = client
            .worker("q", |job: Job<Value, u64>| async move {
                let n = job.data()["n"].as_u64().unwrap();
                tokio::time::sleep(Duration::from_millis(20 + n % 30)).await; // the work itself
                // Some attempts fail, so that kills hit retries as well.
                if n.is_multiple_of(10) && job.attempts_made() == 0 { Err(Halt::failed("once")) } else { Ok(n) }
            })
            .concurrency(10)
            // A kill takes these with it too.
            .prefetch(10)
            .lock_duration(Duration::from_secs(1))
            .stalled_interval(Duration::from_secs(1))
            .max_stalled_count(1_000)
            .drain_delay(Duration::from_secs(1))
            .start()
            .unwrap();
        println!("at work");
        std::future::pending::<()>().await;
        drop(worker);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_killed_at_any_moment_lose_nothing() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let jobs = (0..JOBS).map(|n| oxmq::NewJob::new("job", serde_json::json!({ "n": n })).attempts(3));
    let ids: Vec<String> =
        fixture.queue.add_bulk(jobs).await.unwrap().into_iter().map(|job| job.unwrap().id().to_owned()).collect();
    let mut kills = 0;
    let begun = Instant::now();
    while fixture.count(JobState::Completed).await < JOBS {
        assert!(begun.elapsed() < Duration::from_secs(300), "{} done", fixture.count(JobState::Completed).await);
        let (url, prefix) = (server.url(), fixture.prefix.clone());
        let mut child = tokio::task::spawn_blocking(move || {
            let mut child = spawn(&url, &prefix);
            wait_for(&mut child);
            child
        })
        .await
        .unwrap();
        // In the end the last jobs wait until their locks expire; the last worker stays until they are done.
        let life = if fixture.count(JobState::Waiting).await > 0 { 60 + kills * 37 % 240 } else { 2_500 };
        let ends = Instant::now() + Duration::from_millis(life);
        while Instant::now() < ends && fixture.count(JobState::Completed).await < JOBS {
            tokio::time::sleep(Duration::from_millis(10)).await; // looks again
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let figures = check(&fixture, &ids).await;
    println!("kill -9: {kills} kills in {:?}, {figures:?}", begun.elapsed());
    assert_eq!((figures.completed, figures.failed, figures.unexpected), (JOBS, 0, 0));
    assert!(kills >= 5, "{kills} kills");
    // Each restart beyond the planned retries comes from a kill, and each kill costs at most a worker's slots.
    assert!(figures.restarts <= JOBS / 10 + usize::try_from(kills).unwrap() * 20, "{figures:?}");
}

/// Starts a Node worker process of the same pace on the same queue.
pub(crate) async fn spawn_node(version: BullMq, url: &str, prefix: &str) -> NodeDriver {
    let node = NodeDriver::start(version, url, prefix).await;
    let opts = serde_json::json!({
        "name": format!("node-{version:?}"), "concurrency": 20, "lockDuration": 1_000, "stalledInterval": 1_000, "maxStalledCount": 1_000, "drainDelay": 1,
    });
    let behaviour = serde_json::json!({ "kind": "sleep", "ms": 20 });
    // A `Queue` of Node would trim the event stream, which this test needs whole.
    let worker = serde_json::json!({ "queue": "q", "behaviour": behaviour, "opts": opts, "alone": true });
    node.call("startWorker", worker).await.unwrap();
    node
}

/// Node of both versions and oxmq work on one queue, and all are killed again and again. `OXMQ_KILL_JOBS` says how many
/// jobs there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: run it with --ignored, as `make soak` does"]
async fn a_mixed_fleet_killed_at_any_moment_loses_nothing() {
    let jobs = std::env::var("OXMQ_KILL_JOBS").map_or(20_000, |jobs| jobs.parse().unwrap());
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let many = (0..jobs).map(|n| oxmq::NewJob::new("job", serde_json::json!({ "n": n })).attempts(3));
    let ids: Vec<String> =
        fixture.queue.add_bulk(many).await.unwrap().into_iter().map(|job| job.unwrap().id().to_owned()).collect();
    let (url, prefix) = (server.url(), fixture.prefix.clone());
    let begun = Instant::now();
    let (mut kills_of_node, mut kills_of_oxmq) = (0_u32, 0_u32);
    // One worker of each kind is alive at any time; each round kills one of them and starts another.
    let mut nodes = vec![spawn_node(BullMq::V6, &url, &prefix).await, spawn_node(BullMq::V5, &url, &prefix).await];
    let mut ours = start_oxmq(&url, &prefix).await;
    let mut round = 0_u64;
    while fixture.count(JobState::Completed).await < jobs {
        assert!(begun.elapsed() < Duration::from_secs(540), "{} done", fixture.count(JobState::Completed).await);
        // Each kill comes at another moment; in the end the last jobs wait until their locks expire.
        let life = if fixture.count(JobState::Waiting).await > 0 { 150 + round * 97 % 600 } else { 2_500 };
        tokio::time::sleep(Duration::from_millis(life)).await; // time itself
        if fixture.count(JobState::Waiting).await == 0 {
            continue;
        }
        match round % 3 {
            0 => {
                ours.kill().unwrap();
                ours.wait().unwrap();
                ours = start_oxmq(&url, &prefix).await;
                kills_of_oxmq += 1;
            }
            turn => {
                let version = if turn == 1 { BullMq::V6 } else { BullMq::V5 };
                let at = usize::try_from(turn - 1).unwrap();
                // Dropping it kills the process.
                nodes[at] = spawn_node(version, &url, &prefix).await;
                kills_of_node += 1;
            }
        }
        round += 1;
    }
    let took = begun.elapsed();
    drop(nodes);
    ours.kill().unwrap();
    ours.wait().unwrap();
    let figures = check(&fixture, &ids).await;
    println!("kill -9: {kills_of_oxmq} of oxmq, {kills_of_node} of Node in {took:?}, {figures:?}");
    assert_eq!((figures.completed, figures.failed, figures.unexpected), (jobs, 0, 0));
    // Each restart beyond the planned retries comes from a kill, and each kill costs at most a worker's slots.
    let kills = usize::try_from(kills_of_node + kills_of_oxmq).unwrap();
    assert!(figures.restarts <= jobs / 10 + kills * 20, "{figures:?}");
}

/// Starts a worker process and waits until it runs.
pub(crate) async fn start_oxmq(url: &str, prefix: &str) -> Child {
    let (url, prefix) = (url.to_owned(), prefix.to_owned());
    let start = move || {
        let mut child = spawn(&url, &prefix);
        wait_for(&mut child);
        child
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}
