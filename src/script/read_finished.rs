//! Reads whether jobs have finished: `lua/read_finished.lua`.

use redis::Value;

use super::reply::{array, string, text};
use super::{Args, Call, Resend, Script, script};
use crate::error::Reason;
use crate::wire::EventId;
use crate::wire::job::stored_number;

pub(crate) static SCRIPT: Script = script!("read_finished", Produces, uses: ["codes", "queue", "is_job"]);

/// What was found of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundJob {
    pub(crate) finished: Finished,
    /// Its timestamp, which tells it from a later job with the same id.
    pub(crate) born: Option<i64>,
}

/// Whether and how a job has finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finished {
    NotYet,
    /// Completed, with the stored return value (JSON); empty if none is stored.
    Completed(String),
    /// Failed, with the stored reason; empty if none is stored.
    Failed(String),
    /// There is no such job, or its key holds something else.
    Refused(Reason),
}

/// Returns the newest event at that moment, and one answer for each job.
pub(crate) fn read_finished(ids: &[impl AsRef<str>]) -> Call<(EventId, Vec<FoundJob>)> {
    let mut args = Args::with_capacity(ids.len(), ids.iter().map(|id| id.as_ref().len()).sum());
    for id in ids {
        args.text(id.as_ref());
    }
    Call::with(&SCRIPT, args).resend(Resend::Reads).read_each(ids.len(), found)
}

fn found(value: Value, count: usize) -> Option<(EventId, Vec<FoundJob>)> {
    let items = array(value)?;
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
        answers.push(FoundJob { finished, born });
    }
    Some((newest, answers))
}
