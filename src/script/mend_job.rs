//! Mends what is wrong with a job: `lua/mend_job.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("mend_job", Consumes, uses: ["queue", "settings", "wake", "number", "prioritize", "delay", "announce", "ready", "states", "whereabouts", "delete", "is_job"]);

/// Mends what is wrong with a job, if it still is; returns how many jobs or keys were mended.
pub(crate) fn mend_job(what: &str, id: &str, state: &str, now: u64) -> Call<u64> {
    Call::to(&SCRIPT).text(what).text(id).text(state).number(now).resend(Resend::Safe).read(reply::count)
}
