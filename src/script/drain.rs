//! Removing the jobs that wait: `lua/drain.lua`.

use redis::Value;

use super::{Call, Repeat, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("drain", Consumes, uses: ["queue", "settings", "wake", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "release", "delete", "erase", "cut"]);

/// What one step of a drain has done.
pub(crate) struct Drained {
    /// How many of the structures asked for are done.
    pub(crate) done: usize,
    /// How many jobs at the beginning of the next structure were kept.
    pub(crate) kept: u64,
    pub(crate) removed: u64,
}

/// One step through these structures, the first of which begins with so many jobs that an earlier step has kept.
pub(crate) fn drain(kept: u64, structures: &[&str]) -> Call<Drained> {
    let call = Call::to(&SCRIPT).number(kept).texts(structures).repeat(Repeat::Safe);
    call.read_each(structures.len(), drained)
}

fn drained(value: Value, structures: usize) -> Option<Drained> {
    let [done, kept, removed] = reply::tuple(value)?;
    let done = usize::try_from(reply::unsigned(&done)?).ok().filter(|done| *done <= structures)?;
    Some(Drained { done, kept: reply::unsigned(&kept)?, removed: reply::unsigned(&removed)? })
}
