//! Lets a job repeat three times, asks for the schedule, and removes it.
//!
//!     cargo run --example schedule
//!
//! prints
//!
//!     2026-03-29: at 3:15 in summer time
//!     run 1 of backup
//!     run 2 of backup
//!     run 3 of backup
//!     3 runs were made
//!     removed: true

mod support;

use std::time::{Duration, SystemTime};

use oxmq::{Client, Halt, Job, Queue, Repeat};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A schedule can be tested without Redis. On that night Berlin skips the hour from two to three.
    let nightly = Repeat::cron("0 15 2 * * *").tz("Europe/Berlin");
    let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(1_774_738_800);
    let quarter_past_three = midnight + Duration::from_secs(2 * 3600 + 15 * 60);
    assert_eq!(nightly.next_runs(1, midnight)?, [quarter_past_three]);
    println!("2026-03-29: at 3:15 in summer time");

    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let queue: Queue<String, ()> = client.queue("schedule").open()?;

    // Safe at each start of the program: a scheduler that exists keeps its next run.
    let often = Repeat::every(Duration::from_millis(100)).limit(3);
    queue.upsert_job_scheduler("often", often).name("save").data("backup".into()).await?;

    let (done, mut runs) = mpsc::unbounded_channel();
    let save = move |job: Job<String, ()>| {
        let done = done.clone();
        async move {
            done.send(job.data().clone())?;
            Ok::<(), Halt>(())
        }
    };
    let worker = client.worker("schedule", save).start()?;
    for n in 1..=3 {
        let what = runs.recv().await.expect("the worker runs");
        println!("run {n} of {what}");
    }
    worker.close().await;

    let scheduler = queue.get_job_scheduler("often").await?.expect("it stays when its runs are over");
    println!("{} runs were made", scheduler.iteration_count.unwrap_or(0));
    println!("removed: {}", queue.remove_job_scheduler("often").await?);
    Ok(())
}
