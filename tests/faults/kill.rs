//! Worker processes that are killed, again and again.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxmq::{Client, ConnectOptions, Halt, Job, JobState};
use serde_json::Value;

use crate::common::check::check;
use crate::common::fixture::Fixture;
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

/// Reads until the worker says that it works.
fn wait_for(child: &mut Child) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        if line.unwrap().contains("at work") {
            return;
        }
    }
    panic!("the worker process has ended: {:?}", child.wait());
}

#[test]
#[ignore = "not a test: the process that `workers_killed_at_any_moment_lose_nothing` kills"]
fn the_worker_process() {
    let (Ok(url), Ok(prefix)) = (std::env::var("OXMQ_URL"), std::env::var("OXMQ_PREFIX")) else {
        return;
    };
    // Ends with its parent, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ConnectOptions::from_url(&url).unwrap();
        let client = Client::builder(options).prefix(prefix).connect().await.unwrap();
        let worker = client
            .worker("q", |job: Job<Value, u64>| async move {
                let n = job.data()["n"].as_u64().unwrap();
                tokio::time::sleep(Duration::from_millis(20 + n % 30)).await;
                // Some attempts fail, so that retries are cut as well.
                if n.is_multiple_of(10) && job.attempts_made() == 0 { Err(Halt::failed("once")) } else { Ok(n) }
            })
            .concurrency(20)
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
        assert!(begun.elapsed() < Duration::from_secs(90), "{} done", fixture.count(JobState::Completed).await);
        let (url, prefix) = (server.url(), fixture.prefix.clone());
        let mut child = tokio::task::spawn_blocking(move || {
            let mut child = spawn(&url, &prefix);
            wait_for(&mut child);
            child
        })
        .await
        .unwrap();
        // Towards the end the last jobs wait for their locks to run out; the last worker stays until they are done.
        let life = if fixture.count(JobState::Waiting).await > 0 { 60 + kills * 37 % 240 } else { 2_500 };
        let ends = Instant::now() + Duration::from_millis(life);
        while Instant::now() < ends && fixture.count(JobState::Completed).await < JOBS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let figures = check(&fixture, &ids).await;
    println!("kill -9: {kills} kills in {:?}, {figures:?}", begun.elapsed());
    assert_eq!((figures.completed, figures.failed, figures.unexpected), (JOBS, 0, 0));
    assert!(kills >= 5, "{kills} kills");
    // Each restart beyond the planned retries is owed to a kill, and each kill costs at most a worker's slots.
    assert!(figures.restarts <= JOBS / 10 + usize::try_from(kills).unwrap() * 20, "{figures:?}");
}
