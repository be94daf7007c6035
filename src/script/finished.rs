//! Whether jobs have finished: `lua/read_finished.lua`, and `lua/find_finish.lua` for those that are gone.

use redis::Value;

use super::reply::{string, text};
use super::{Args, Call, Repeat, Script, script};
use crate::error::Reason;
use crate::wire::EventId;
use crate::wire::job::stored_number;

pub(crate) static SCRIPT: Script = script!("read_finished", Produces, uses: ["codes", "queue", "is_job"]);
pub(crate) static FIND: Script = script!("find_finish", Produces, uses: ["queue"]);

/// A job as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) finished: Finished,
    /// Its timestamp, by which it is told from another job that was given the same id later.
    pub(crate) born: Option<i64>,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finished {
    NotYet,
    /// With its return value as stored, JSON; empty if nothing is stored.
    Completed(String),
    /// With its reason as stored; empty if nothing is stored.
    Failed(String),
    /// There is no such job, or its key holds something else.
    Refused(Reason),
}

/// The newest event at the time of the answers, and one answer for each job.
pub(crate) fn read_finished(ids: &[impl AsRef<str>]) -> Call<(EventId, Vec<Found>)> {
    let mut args = Args::with_capacity(ids.len(), ids.iter().map(|id| id.as_ref().len()).sum());
    for id in ids {
        args.text(id.as_ref());
    }
    Call::with(&SCRIPT, args).repeat(Repeat::Reads).read_each(ids.len(), found)
}

fn found(value: Value, count: usize) -> Option<(EventId, Vec<Found>)> {
    let Value::Array(items) = value else { return None };
    if items.len() != 1 + 3 * count {
        return None;
    }
    let mut items = items.into_iter();
    let newest = EventId::decode(string(items.next()?)?.as_bytes())?;
    let mut answers = Vec::with_capacity(count);
    while let (Some(status), Some(value), Some(born)) = (items.next(), items.next(), items.next()) {
        let Value::Int(status) = status else { return None };
        let finished = match status {
            0 => Finished::NotYet,
            1 => Finished::Completed(text(value)?),
            2 => Finished::Failed(text(value)?),
            code => Finished::Refused(Reason::from_code(code).err()?),
        };
        let born = if let Value::BulkString(born) = born { stored_number(&born) } else { None };
        answers.push(Found { finished, born });
    }
    Some((newest, answers))
}

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
    Call::with(&FIND, args).repeat(Repeat::Reads).read_each(ids.len(), page)
}

fn page(value: Value, jobs: usize) -> Option<Page> {
    let Value::Array(items) = value else { return None };
    let mut items = items.into_iter();
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
