//! Mends what is wrong with a job: `lua/mend_job.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("mend_job", Consumes, uses: ["queue", "settings", "wake", "number", "prioritize", "delay", "announce", "ready", "states", "whereabouts", "delete", "is_job"]);

/// The answer for a parent that waits for further children: the next call looks at them.
#[cfg(feature = "doctor")]
pub(crate) const MORE_CHILDREN: u64 = 2;

/// Mends what is wrong with a job, if it still is; returns how many jobs or keys were mended, or [`MORE_CHILDREN`].
pub(crate) fn mend_job(what: &str, id: &str, state: &str, now: u64) -> Call<u64> {
    Call::to(&SCRIPT).text(what).text(id).text(state).number(now).resend(Resend::Safe).read(reply::count)
}
