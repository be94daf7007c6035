//! Removing a job, and its children: `lua/remove_job.lua`.

use redis::Value;

use super::{Call, Repeat, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("remove_job", Consumes, uses: ["codes", "queue", "settings", "wake", "announce", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "release", "detach", "delete", "erase", "cut"]);

/// Who goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The job and all its children, theirs included.
    Tree,
    /// The job without its children.
    Alone,
    /// Its pending children and theirs, except those that run or have failed; the job stays.
    Unprocessed,
}

/// What one call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Nothing: one of them runs.
    Locked,
    Removed,
    /// Some of a large family; the next call goes on.
    InPart,
}

/// `step` counts the calls of one removal, from 1 on.
pub(crate) fn remove_job(id: &str, family: Family, step: u64) -> Call<Result<Removal, Reason>> {
    let family = match family {
        Family::Tree => "tree",
        Family::Alone => "alone",
        Family::Unprocessed => "unprocessed",
    };
    Call::to(&SCRIPT).text(id).text(family).number(step).repeat(Repeat::Safe).read(removal)
}

fn removal(value: Value) -> Option<Result<Removal, Reason>> {
    Some(match reply::code(value)? {
        Ok(0) => Ok(Removal::Locked),
        Ok(1) => Ok(Removal::Removed),
        Ok(2) => Ok(Removal::InPart),
        Ok(_) => return None,
        Err(reason) => Err(reason),
    })
}
