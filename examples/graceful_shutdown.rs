//! Closes a worker while it has jobs: those that can end do so, and the others are handed back for another worker.
//!
//!     cargo run --example graceful_shutdown
//!
//! prints (the signal comes by itself after half a second; Ctrl-C and SIGTERM work too)
//!
//!     patient: told to stop (Shutdown)
//!     completed: 2
//!     handed back: 1
//!     still waiting in the queue: 2

mod support;

use std::time::Duration;

use oxmq::{Client, Halt, Job, JobState, NewJob, Queue};
use tokio::signal::unix::SignalKind;

async fn work(job: Job<u64, ()>) -> Result<(), Halt> {
    let work = tokio::time::sleep(Duration::from_millis(*job.data()));
    tokio::select! {
        () = work => Ok(()),
        () = job.cancelled() => {
            let why = job.cancel_reason().map(|reason| format!("{reason:?}")).unwrap_or_default();
            println!("{}: told to stop ({why})", job.name());
            // Right for every reason: here the job is handed back, and no attempt is spent; a timeout is a failed one.
            Err(Halt::failed("stopped"))
        }
    }
}

/// Containers and systemd stop a process by SIGTERM, a terminal by SIGINT.
async fn signal() {
    let mut term = tokio::signal::unix::signal(SignalKind::terminate()).expect("a handler can be set");
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = tokio::time::sleep(Duration::from_millis(500)) => {}
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let queue: Queue<u64, ()> = client.queue("graceful").open()?;
    // How long each job takes, in ms: one ends before the signal, one soon after it, one never.
    let jobs = [("quick", 100), ("patient", 3_600_000), ("slow", 800), ("late", 100)];
    queue.add_bulk(jobs.map(|(name, ms)| NewJob::new(name, ms))).await?;

    let worker = client.worker("graceful", work).concurrency(2).shutdown_timeout(Duration::from_secs(2)).start()?;
    let report = worker.run_until(signal()).await;

    println!("completed: {}", report.counts.completed);
    println!("handed back: {}", report.handed_back.len());
    println!("still waiting in the queue: {}", queue.get_job_counts(&[JobState::Waiting]).await?.waiting);
    Ok(())
}
