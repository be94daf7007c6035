//! `oxmq pause`, `resume`, `drain` and `obliterate`: commands for a whole queue.

use std::time::Duration;

use indicatif::ProgressBar;
use oxmq::JobState;
use serde_json::json;

use super::bulk::consent;
use crate::args::{Drain, Global, Obliterate, Steer};
use crate::connect::{self, AnyQueue};
use crate::failure::{Failure, Outcome, STOPPED};
use crate::say;

pub(crate) async fn pause(global: &Global, args: Steer) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    if queue.is_paused().await? {
        told(global, &format!("{} is paused already", args.queue), json!({ "paused": true }));
        return Ok(());
    }
    if consent(global, &args.consent, &format!("no worker would take jobs of {}", args.queue)).await? {
        queue.pause().await?;
        told(global, "paused", json!({ "paused": true }));
    }
    Ok(())
}

pub(crate) async fn resume(global: &Global, args: Steer) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    if !queue.is_paused().await? {
        told(global, &format!("{} is not paused", args.queue), json!({ "paused": false }));
        return Ok(());
    }
    if consent(global, &args.consent, &format!("workers would take jobs of {} again", args.queue)).await? {
        queue.resume().await?;
        told(global, "resumed", json!({ "paused": false }));
    }
    Ok(())
}

pub(crate) async fn drain(global: &Global, args: Drain) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let mut states = vec![JobState::Waiting, JobState::Paused, JobState::Prioritized];
    if args.delayed {
        states.push(JobState::Delayed);
    }
    let count = queue.get_job_counts(&states).await?.total();
    let wait = if count == 1 { "waits" } else { "wait" };
    let what = format!("{} that {wait} in {} would be removed", say::jobs(count), args.queue);
    if consent(global, &args.consent, &what).await? {
        let gone = match args.delayed {
            true => watched(global, &queue, &states, count, queue.drain_with_delayed()).await?,
            false => watched(global, &queue, &states, count, queue.drain()).await?,
        };
        told(global, &format!("{} removed", say::jobs(gone)), json!({ "done": gone }));
    }
    Ok(())
}

pub(crate) async fn obliterate(global: &Global, args: Obliterate) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let count = queue.get_job_counts(&JobState::ALL).await?.total();
    let what = format!("{} would be deleted with all its {}", args.queue, say::jobs(count));
    if consent(global, &args.consent, &what).await? {
        match args.force {
            true => watched(global, &queue, &JobState::ALL, count, queue.obliterate_by_force()).await?,
            false => watched(global, &queue, &JobState::ALL, count, queue.obliterate()).await?,
        }
        told(global, &format!("{} is deleted", args.queue), json!({ "deleted": true }));
    }
    Ok(())
}

/// Waits for a removal in many calls, and shows how many jobs are left; Ctrl-C ends it between two calls.
async fn watched<T>(
    global: &Global,
    queue: &AnyQueue,
    states: &[JobState],
    jobs: u64,
    work: impl IntoFuture<Output = oxmq::Result<T>>,
) -> Outcome<T> {
    let bar = if global.json { ProgressBar::hidden() } else { ProgressBar::new(jobs) };
    let mut work = std::pin::pin!(work.into_future());
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            done = &mut work => {
                bar.finish_and_clear();
                return Ok(done?);
            }
            Ok(()) = &mut stop => {
                bar.finish_and_clear();
                let left = queue.get_job_counts(states).await.map(|counts| format!("{} are left; ", say::jobs(counts.total())));
                return Err(Failure::new(STOPPED, format!("stopped; {}the same call continues", left.unwrap_or_default())));
            }
            _ = ticks.tick() => {
                // If the progress cannot be read, the removal goes on.
                if let Ok(counts) = queue.get_job_counts(states).await {
                    bar.set_position(jobs.saturating_sub(counts.total()));
                }
            }
        }
    }
}

fn told(global: &Global, text: &str, value: serde_json::Value) {
    if global.json { say::json(&value) } else { say::line(text) }
}
