//! `oxmq pause`, `resume`, `drain` and `obliterate`: what concerns a whole queue.

use oxmq::JobState;
use serde_json::json;

use super::bulk::consent;
use crate::args::{Drain, Global, Obliterate, Steer};
use crate::connect;
use crate::failure::Outcome;
use crate::say;

pub(crate) async fn pause(global: &Global, args: Steer) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    if consent(global, &args.consent, &format!("no worker would take jobs of {}", args.queue)).await? {
        queue.pause().await?;
        told(global, "paused", json!({ "paused": true }));
    }
    Ok(())
}

pub(crate) async fn resume(global: &Global, args: Steer) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
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
    let what = format!("{} that wait in {} would be removed", say::jobs(count), args.queue);
    if consent(global, &args.consent, &what).await? {
        let gone = if args.delayed { queue.drain_with_delayed().await? } else { queue.drain().await? };
        told(global, &format!("{} removed", say::jobs(gone)), json!({ "done": gone }));
    }
    Ok(())
}

pub(crate) async fn obliterate(global: &Global, args: Obliterate) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let count = queue.get_job_counts(&JobState::ALL).await?.total();
    let what = format!("{} would be deleted with all its {}", args.queue, say::jobs(count));
    if consent(global, &args.consent, &what).await? {
        if args.force {
            queue.obliterate_by_force().await?;
        } else {
            queue.obliterate().await?;
        }
        told(global, &format!("{} is deleted", args.queue), json!({ "deleted": true }));
    }
    Ok(())
}

fn told(global: &Global, text: &str, value: serde_json::Value) {
    if global.json { say::json(&value) } else { say::line(text) }
}
