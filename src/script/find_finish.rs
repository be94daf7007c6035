//! How jobs that are gone have ended, by their events: `lua/find_finish.lua`.

use redis::Value;

use super::reply::{array, string, text};
use super::{Args, Call, Repeat, Script, script};
use crate::wire::EventId;

pub(crate) static SCRIPT: Script = script!("find_finish", Produces, uses: ["queue"]);

/// What was found in one part of the event stream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// The server's time in milliseconds, if the user may know it.
    pub(crate) now: Option<u64>,
    /// The oldest event that was looked at; none if it was the first of the stream.
    pub(crate) oldest: Option<EventId>,
    /// The newest first.
    pub(crate) traces: Vec<Trace>,
}

/// An event that says where a job went.
#[derive(Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) id: EventId,
    /// Which of the jobs that were asked for.
    pub(crate) job: usize,
    pub(crate) step: Step,
}

/// Where a job went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Added,
    Completed(String),
    Failed(String),
    /// Anywhere else, or out of the queue.
    Elsewhere,
}

/// `from` is the event before which to look; the newest if none is given.
pub(crate) fn find_finish(from: Option<EventId>, count: usize, ids: &[&str]) -> Call<Page> {
    let mut args = Args::with_capacity(2 + ids.len(), 64 + ids.iter().map(|id| id.len()).sum::<usize>());
    match from {
        Some(from) => args.text(from.to_string()),
        None => args.text("+"),
    };
    args.number(count);
    for id in ids {
        args.text(id);
    }
    Call::with(&SCRIPT, args).repeat(Repeat::Reads).read_each(ids.len(), page)
}

fn page(value: Value, jobs: usize) -> Option<Page> {
    let mut items = array(value)?.into_iter();
    let now = string(items.next()?)?.parse().ok();
    let oldest = EventId::decode(string(items.next()?)?.as_bytes());
    let mut traces = Vec::with_capacity(items.len() / 4);
    while let Some(id) = items.next() {
        let id = EventId::decode(string(id)?.as_bytes())?;
        let (name, job, value) = (string(items.next()?)?, items.next()?, text(items.next()?)?);
        let Value::Int(job) = job else { return None };
        let job = usize::try_from(job).ok()?.checked_sub(1).filter(|job| *job < jobs)?;
        let step = match name.as_str() {
            "added" => Step::Added,
            "completed" => Step::Completed(value),
            "failed" => Step::Failed(value),
            _ => Step::Elsewhere,
        };
        traces.push(Trace { id, job, step });
    }
    Some(Page { now, oldest, traces })
}
