//! Finds the outcomes of removed jobs in the event stream: `lua/find_finish.lua`.

use redis::Value;

use super::reply::{array, string, text};
use super::{Args, Call, Resend, Script, script};
use crate::wire::EventId;

pub(crate) static SCRIPT: Script = script!("find_finish", Produces, uses: ["queue"]);

/// What was found in one part of the event stream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct EventPage {
    /// The server's time in ms, if the user may read it.
    pub(crate) now: Option<u64>,
    /// The oldest event that was looked at; `None` if the stream has no older one.
    pub(crate) oldest: Option<EventId>,
    /// The events found, newest first.
    pub(crate) traces: Vec<FinishTrace>,
}

/// An event that changed the state of a job.
#[derive(Debug, PartialEq)]
pub(crate) struct FinishTrace {
    pub(crate) id: EventId,
    /// The position of the job among those asked for.
    pub(crate) job: usize,
    pub(crate) effect: EventEffect,
}

/// What the event did to the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventEffect {
    Added,
    Completed(String),
    Failed(String),
    /// It moved the job to another state, or removed it.
    Elsewhere,
}

/// Looks at `count` events before `from`, or at the newest ones.
pub(crate) fn find_finish(from: Option<EventId>, count: usize, ids: &[&str]) -> Call<EventPage> {
    let mut args = Args::with_capacity(2 + ids.len(), 64 + ids.iter().map(|id| id.len()).sum::<usize>());
    match from {
        Some(from) => args.text(from.to_string()),
        None => args.text("+"),
    };
    args.number(count);
    for id in ids {
        args.text(id);
    }
    Call::with(&SCRIPT, args).resend(Resend::Reads).read_each(ids.len(), page)
}

fn page(value: Value, jobs: usize) -> Option<EventPage> {
    let mut items = array(value)?.into_iter();
    let now = string(items.next()?)?.parse().ok();
    let oldest = EventId::decode(string(items.next()?)?.as_bytes());
    let mut traces = Vec::with_capacity(items.len() / 4);
    while let Some(id) = items.next() {
        let id = EventId::decode(string(id)?.as_bytes())?;
        let (name, job, value) = (string(items.next()?)?, items.next()?, text(items.next()?)?);
        let Value::Int(job) = job else { return None };
        let job = usize::try_from(job).ok()?.checked_sub(1).filter(|job| *job < jobs)?;
        let effect = match name.as_str() {
            "added" => EventEffect::Added,
            "completed" => EventEffect::Completed(value),
            "failed" => EventEffect::Failed(value),
            _ => EventEffect::Elsewhere,
        };
        traces.push(FinishTrace { id, job, effect });
    }
    Some(EventPage { now, oldest, traces })
}
