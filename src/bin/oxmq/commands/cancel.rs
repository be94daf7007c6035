//! `oxmq cancel`

use oxmq::JobState;
use oxmq::job::Cancellation;
use serde_json::{Value, json};

use super::bulk::{self, consent, state_of};
use crate::args::{Bulk, Cancel, Global};
use crate::connect::{self, AnyQueue};
use crate::failure::{Failure, IN_PART, Outcome, USAGE};
use crate::say;

pub(crate) async fn run(global: &Global, args: Cancel) -> Outcome {
    let mut args = args.bulk;
    // A job that can be cancelled has not failed, so this is no part of the filter.
    let reason = args.pick.reason.take().unwrap_or_default();
    if args.ids.is_empty() {
        return bulk::cancel(global, args, &reason).await;
    }
    if args.all || args.pick.is_narrow() {
        return Err(Failure::new(USAGE, "give ids or a filter, not both"));
    }
    by_ids(global, args, &reason).await
}

/// Cancels jobs one by one, and says of each what has become of it.
async fn by_ids(global: &Global, args: Bulk, reason: &str) -> Outcome {
    let (_client, queue) = connect::queue(global, &args.queue).await?;
    let mut running = 0;
    for id in &args.ids {
        match state_of(&queue, id).await? {
            JobState::Unknown => return Err(Failure::no_such("job", id)),
            JobState::Active => running += 1,
            _ => {}
        }
    }
    let jobs = say::jobs(args.ids.len() as u64);
    let run = if running == 1 { "runs" } else { "run" };
    let what = format!("{jobs} of {}, of which {running} {run}, would be cancelled", args.queue);
    if !consent(global, &args.consent, &what).await? {
        return Ok(());
    }
    let mut told = Vec::with_capacity(args.ids.len());
    let mut is_away = false;
    for id in &args.ids {
        // Each further one would wait for the server anew.
        let outcome = if is_away { Ok(NOT_ASKED) } else { one(&queue, id, reason).await };
        is_away |= matches!(&outcome, Err(error) if error.is_retryable());
        let (word, problem) = match outcome {
            Ok(word) => (word, None),
            Err(error) => ("unknown", Some(Failure::from(error).text)),
        };
        if !global.json {
            let more = problem.as_ref().map_or_else(String::new, |problem| format!(" ({})", say::clean(problem)));
            say::line(format!("{}: {word}{more}", say::short(id, 60)));
        }
        told.push((id, word, problem));
    }
    if global.json {
        let one = |(id, word, problem): &(&String, &str, Option<String>)| json!({ "id": id, "outcome": word, "problem": problem });
        say::json(&told.iter().map(one).collect::<Vec<Value>>());
    }
    let is_done = |(_, word, _): &(&String, &str, Option<String>)| matches!(*word, ASKED | CANCELLED);
    if told.iter().all(is_done) { Ok(()) } else { Err(Failure::new(IN_PART, String::new())) }
}

const ASKED: &str = "its worker is asked to stop it";
const CANCELLED: &str = "it fails without a run as soon as a worker fetches it";
const NOT_ASKED: &str = "not cancelled, since the server is away";

async fn one(queue: &AnyQueue, id: &str, reason: &str) -> oxmq::Result<&'static str> {
    Ok(match queue.job(id).cancel(reason).await? {
        Cancellation::Requested => ASKED,
        Cancellation::Cancelled => CANCELLED,
        Cancellation::AlreadyFinished => "it had finished before",
        _ => "it is gone",
    })
}
