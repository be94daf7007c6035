//! Resumes a queue: `lua/resume.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("resume", Consumes, uses: ["queue", "settings", "wake"]);

/// Moves jobs that BullMQ 5 keeps in `paused` back to `wait`, and resumes the queue when none is left there. Returns
/// how many are left, for further calls.
pub(crate) fn resume() -> Call<i64> {
    Call::to(&SCRIPT).resend(Resend::Safe).read(reply::int)
}
