//! Removes the waiting jobs: `lua/drain.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("drain", Consumes, uses: ["queue", "settings", "wake", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "job_key", "release", "delete", "erase", "cut"]);

/// The outcome of one step of a drain.
pub(crate) struct Drained {
    /// How many of the lists and sets are done.
    pub(crate) done: usize,
    /// How many jobs at the beginning of the next list or set were kept.
    pub(crate) kept: u64,
    pub(crate) removed: u64,
}

/// Makes one step through these lists and sets. Earlier steps have kept `kept` jobs at the beginning of the first.
pub(crate) fn drain(kept: u64, structures: &[&str]) -> Call<Drained> {
    let call = Call::to(&SCRIPT).number(kept).texts(structures).resend(Resend::Safe);
    call.read_each(structures.len(), drained)
}

fn drained(value: Value, structures: usize) -> Option<Drained> {
    let [done, kept, removed] = reply::tuple(value)?;
    let done = usize::try_from(reply::unsigned(&done)?).ok().filter(|done| *done <= structures)?;
    Some(Drained { done, kept: reply::unsigned(&kept)?, removed: reply::unsigned(&removed)? })
}
