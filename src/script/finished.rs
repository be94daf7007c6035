//! Whether jobs have finished: `lua/read_finished.lua`.

use redis::Value;

use super::{Args, Script, script, string};
use crate::error::Reason;
use crate::wire::EventId;

pub(crate) static SCRIPT: Script = script!("read_finished", Produces, uses: ["codes", "queue"]);

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

pub(crate) fn args(ids: &[impl AsRef<str>]) -> Args {
    let mut args = Args::with_capacity(ids.len(), ids.iter().map(|id| id.as_ref().len()).sum());
    for id in ids {
        args.text(id.as_ref());
    }
    args
}

/// The newest event at the time of the answers, and one answer for each of `count` jobs.
pub(crate) fn reply(value: Value, count: usize) -> Option<(EventId, Vec<Finished>)> {
    let Value::Array(items) = value else { return None };
    if items.len() != 1 + 2 * count {
        return None;
    }
    let mut items = items.into_iter();
    let newest = EventId::decode(string(items.next()?)?.as_bytes())?;
    let mut answers = Vec::with_capacity(count);
    while let (Some(status), Some(value)) = (items.next(), items.next()) {
        let Value::Int(status) = status else { return None };
        answers.push(match status {
            0 => Finished::NotYet,
            1 => Finished::Completed(text(value)?),
            2 => Finished::Failed(text(value)?),
            code => Finished::Refused(Reason::from_code(code).err()?),
        });
    }
    Some((newest, answers))
}

/// Other peers may have stored what is no UTF-8; the job has finished all the same.
fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => string(other),
    }
}
