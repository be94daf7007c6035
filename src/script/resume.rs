//! Resuming a queue: `lua/resume.lua`.

use super::{Call, Repeat, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("resume", Consumes, uses: ["queue", "settings", "wake"]);

/// Answers how many of the jobs that a BullMQ 5 set aside are still to be put back, by further calls.
pub(crate) fn resume() -> Call<i64> {
    Call::to(&SCRIPT).repeat(Repeat::Safe).read(reply::int)
}
