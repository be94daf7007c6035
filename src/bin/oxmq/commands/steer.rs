//! `oxmq pause`, `resume`, `drain` and `obliterate`: commands for a whole queue.

use std::cell::Cell;
use std::time::Duration;

use indicatif::ProgressBar;
use oxmq::JobState;
use serde_json::json;

use super::bulk::consent;
use crate::args::{Drain, Global, Obliterate, Steer};
use crate::connect::{self, AnyQueue, SameServer};
use crate::failure::{ERROR, Failure, IN_PART, Outcome, STOPPED};
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
    let (client, queue) = connect::queue(global, &args.queue).await?;
    let mut states = vec![JobState::Waiting, JobState::Paused, JobState::Prioritized];
    if args.delayed {
        states.push(JobState::Delayed);
    }
    let count = queue.get_job_counts(&states).await?.total();
    let wait = if count == 1 { "waits" } else { "wait" };
    let what = format!("{} that {wait} in {} would be removed", say::jobs(count), args.queue);
    if consent(global, &args.consent, &what).await? {
        let server = SameServer::now(&client).await;
        let gone = match args.delayed {
            true => watched(global, &queue, &states, count, queue.drain_with_delayed()).await?,
            false => watched(global, &queue, &states, count, queue.drain()).await?,
        };
        told(global, &format!("{} removed", say::jobs(gone)), json!({ "done": gone }));
        server.still("what was removed may be there again").await?;
    }
    Ok(())
}

pub(crate) async fn obliterate(global: &Global, args: Obliterate) -> Outcome {
    let (client, queue) = connect::queue(global, &args.queue).await?;
    let count = queue.get_job_counts(&JobState::ALL).await?.total();
    let what = format!("{} would be deleted with all its {}", args.queue, say::jobs(count));
    if consent(global, &args.consent, &what).await? {
        let server = SameServer::now(&client).await;
        match args.force {
            true => watched(global, &queue, &JobState::ALL, count, queue.obliterate_by_force()).await?,
            false => watched(global, &queue, &JobState::ALL, count, queue.obliterate()).await?,
        }
        told(global, &format!("{} is deleted", args.queue), json!({ "deleted": true }));
        server.still("what was deleted may be there again").await?;
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
    let left = Cell::new(jobs);
    let count = async || {
        // If it cannot be read, the removal goes on.
        if let Ok(counts) = queue.get_job_counts(states).await {
            left.set(counts.total());
            bar.set_position(jobs.saturating_sub(left.get()));
        }
    };
    let counting = async {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            count().await;
        }
    };
    let mut stop = say::Stop::listen();
    let done = tokio::select! {
        done = work.into_future() => Some(done),
        () = stop.asked() => None,
        () = counting => None,
    };
    if done.is_none() {
        // A server that does not answer is not waited for.
        _ = tokio::time::timeout(LAST_COUNT, count()).await;
    }
    bar.finish_and_clear();
    match done {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => Err(broken_off(error, jobs, left.get())),
        None => {
            let text = format!("stopped; {} are left; the same call continues", say::jobs(left.get()));
            Err(Failure::new(STOPPED, text))
        }
    }
}

/// How often it is counted what is left.
const TICK: Duration = Duration::from_millis(500);

/// How long the last count may take.
const LAST_COUNT: Duration = Duration::from_secs(5);

/// Tells of a removal that has failed how far it had come.
fn broken_off(error: oxmq::Error, jobs: u64, left: u64) -> Failure {
    let is_refused = !error.is_retryable() && !matches!(error, oxmq::Error::OutcomeUnknown { .. });
    let failure = Failure::from(error);
    if is_refused {
        return failure;
    }
    let (code, how_far) = match left < jobs {
        true => {
            (IN_PART, format!("it failed half-way: {}; when last counted, {} were left", failure.text, say::jobs(left)))
        }
        false => (ERROR, failure.text),
    };
    Failure::new(code, format!("{how_far}; the same call continues"))
}

fn told(global: &Global, text: &str, value: serde_json::Value) {
    if global.json { say::json(&value) } else { say::line(text) }
}
