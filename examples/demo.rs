//! Jobs between Node and Rust, in both directions, with real input: how many words are in each file of this repository.
//!
//!     make demo
//!
//! First BullMQ in Node adds a job per file, with delays, priorities and retries; oxmq processes them, and Node reports
//! what its events and getters say. Then oxmq adds, Node processes, and oxmq waits for each result. The demo ends with
//! an error if any number is wrong.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::join_all;
use oxmq::{Backoff, Client, Error, Halt, Job, JobState, NewJob, Queue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

#[derive(Serialize, Deserialize)]
struct File {
    file: PathBuf,
    /// Its first attempt fails on purpose.
    flaky: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Words {
    words: usize,
}

/// A file that does not exist: its job fails for good after all of its attempts.
const MISSING: &str = "no/such/file.rs";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|dir| dir.join("lua").is_dir());
    let root = root.context("this is not run in a checkout of the repository")?;
    let mut files = Vec::new();
    for dir in ["src", "lua", "tests", "examples"] {
        collect(root, Path::new(dir), &mut files)?;
    }
    files.sort();
    let words: Vec<usize> = files
        .iter()
        .map(|file| Ok(count(&std::fs::read_to_string(root.join(file))?)))
        .collect::<anyhow::Result<_>>()?;
    files.push(MISSING.into());
    println!("{} files, {} words, and one file that is not there", words.len(), words.iter().sum::<usize>());

    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let run = [JobState::Completed, JobState::Failed, JobState::Waiting, JobState::Active, JobState::Delayed];
    for name in ["to-rust", "to-node"] {
        let left = client.queue::<Value, Value>(name).open()?.get_job_counts(&run).await?;
        ensure!(left.total() == 0, "the queue {name} is not empty: use another server or database");
    }
    let began = Instant::now();
    node_to_rust(&client, &redis.url, root, &files, &words).await.context("from Node to Rust")?;
    rust_to_node(&client, &redis.url, root, &files, &words).await.context("from Rust to Node")?;
    println!("all numbers are as they should be, after {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

async fn node_to_rust(
    client: &Client,
    url: &str,
    root: &Path,
    files: &[PathBuf],
    words: &[usize],
) -> anyhow::Result<()> {
    println!("Node adds, Rust processes");
    let home = root.to_owned();
    let process = move |job: Job<File, Words>| {
        let path = home.join(&job.data().file);
        async move {
            if job.data().flaky && job.attempts_made() == 0 {
                return Err(Halt::failed("a hiccup, on purpose"));
            }
            let text = tokio::fs::read_to_string(path).await?;
            job.update_progress(&json!({ "bytes": text.len() })).await?;
            Ok(Words { words: count(&text) })
        }
    };
    let worker = client.worker("to-rust", process).name("rust").concurrency(8).start()?;
    let mut node = node("produce", url, root).args(files).stdout(Stdio::piped()).spawn().context("node")?;
    let mut lines = BufReader::new(node.stdout.take().context("stdout")?).lines();
    let mut seen = Value::Null;
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(report) => seen = report,
            Err(_) => println!("{line}"),
        }
    }
    ensure!(node.wait().await?.success(), "node failed");
    let report = worker.close().await;
    println!(
        "  rust   {} completed, {} attempts failed and were tried again",
        report.counts.completed, report.counts.retried
    );

    let flaky = (0..words.len()).filter(|i| i % 6 == 1).count();
    // Three attempts at the missing file; if it is among the flaky ones, the first failed on purpose.
    let retries = flaky + 2;
    expect("completed events", &seen["completed"], words.len())?;
    expect("failed events", &seen["failed"], 1)?;
    expect("progress events", &seen["progress"], words.len())?;
    expect("words", &seen["words"], words.iter().sum())?;
    expect("jobs that took two attempts", &seen["retried"], flaky)?;
    expect("completed jobs", &seen["counts"]["completed"], words.len())?;
    expect("failed jobs", &seen["counts"]["failed"], 1)?;
    expect("retries", &json!(report.counts.retried), retries)
}

async fn rust_to_node(
    client: &Client,
    url: &str,
    root: &Path,
    files: &[PathBuf],
    words: &[usize],
) -> anyhow::Result<()> {
    println!("Rust adds, Node processes");
    let mut node = ready(node("process", url, root).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?).await?;
    let queue: Queue<File, Words> = client.queue("to-node").open()?;
    let jobs = files.iter().enumerate().map(|(i, file)| {
        let job = NewJob::new("count", File { file: file.clone(), flaky: i % 6 == 1 })
            .attempts(3)
            .backoff(Backoff::exponential(Duration::from_millis(40)));
        match i {
            i if i % 7 == 3 => job.delay(Duration::from_millis(300)),
            i if i % 5 == 2 => job.priority(1 + u32::from(i % 2 == 0)),
            _ => job,
        }
    });
    let added = queue.add_bulk(jobs).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("  rust   added {} jobs, waits for each", added.len());
    let results = join_all(added.iter().map(|job| job.wait_until_finished(Duration::from_secs(30)))).await;
    for ((file, result), words) in files.iter().zip(&results).zip(words) {
        ensure!(matches!(result, Ok(counted) if counted.words == *words), "{}: {result:?}", file.display());
    }
    let last = results.last().context("results")?;
    ensure!(matches!(last, Err(Error::JobFailed { reason, .. }) if reason.contains("ENOENT")), "{MISSING}: {last:?}");
    let counts = queue.get_job_counts(&[JobState::Completed, JobState::Failed]).await?;
    println!("  rust   {} completed, {} failed: ENOENT of {MISSING}", counts.completed, counts.failed);
    expect("completed jobs", &json!(counts.completed), words.len())?;
    expect("failed jobs", &json!(counts.failed), 1)?;
    drop(node.stdin.take());
    ensure!(node.wait().await?.success(), "node failed");
    Ok(())
}

fn node(role: &str, url: &str, root: &Path) -> Command {
    let mut node = Command::new("node");
    node.arg(root.join("examples/demo/node.mjs")).args([role, url]).arg(root).kill_on_drop(true);
    node
}

/// Waits until the Node worker says that it is ready.
async fn ready(mut node: Child) -> anyhow::Result<Child> {
    let stdout = node.stdout.take().context("stdout")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    ensure!(line.as_deref() == Some("ready"), "node said {line:?}");
    Ok(node)
}

fn expect(what: &str, found: &Value, wanted: usize) -> anyhow::Result<()> {
    ensure!(*found == json!(wanted), "{what}: {found} instead of {wanted}");
    Ok(())
}

fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Collects the Rust and Lua files below a directory, relative to the root.
fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(root.join(dir))? {
        let path = dir.join(entry?.file_name());
        if root.join(&path).is_dir() {
            if !path.ends_with("node_modules") {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "lua") {
            files.push(path);
        }
    }
    Ok(())
}
