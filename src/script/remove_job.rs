//! Removes a job, with or without its children: `lua/remove_job.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("remove_job", Consumes, uses: ["codes", "queue", "settings", "wake", "announce", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "job_key", "release", "detach", "delete", "erase", "cut"]);

/// Which jobs are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The job and all its descendants.
    Tree,
    /// The job without its children.
    Alone,
    /// Its pending descendants, except those that run or have failed; the job stays.
    Unprocessed,
}

/// The outcome of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Nothing was removed: one of the jobs runs.
    Locked,
    Removed,
    /// Some jobs of a large family were removed: call again.
    InPart,
    /// Nothing was removed: one of the jobs is in the queue of this base key, in which none may be removed.
    Forbidden(String),
}

/// Removes jobs; `step` counts the calls of one removal, from 1 on. Only jobs in the queues of the `permitted` base keys are
/// removed, or all if there are none.
pub(crate) fn remove_job(id: &str, family: Family, step: u64, permitted: &[String]) -> Call<Result<Removal, Reason>> {
    let family = match family {
        Family::Tree => "tree",
        Family::Alone => "alone",
        Family::Unprocessed => "unprocessed",
    };
    Call::to(&SCRIPT).text(id).text(family).number(step).texts(permitted).resend(Resend::Safe).read(removal)
}

fn removal(value: Value) -> Option<Result<Removal, Reason>> {
    if let Value::Array(_) = value {
        let [base] = reply::tuple(value)?;
        return Some(Ok(Removal::Forbidden(reply::string(base)?)));
    }
    Some(match reply::code(value)? {
        Ok(0) => Ok(Removal::Locked),
        Ok(1) => Ok(Removal::Removed),
        Ok(2) => Ok(Removal::InPart),
        Ok(_) => return None,
        Err(reason) => Err(reason),
    })
}
