//! Makes many jobs of a state ready again: `lua/requeue_jobs.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::state::JobState;

pub(crate) static SCRIPT: Script = script!("requeue_jobs", Consumes, uses: ["queue", "settings", "wake", "number", "announce", "prioritize", "ready", "restore"]);

/// Looks at the first `most` jobs with a score of up to `until`, in ms; returns how many it has looked at, and how many
/// were moved. With `by_priority` each job is placed by its priority; otherwise all come before the prioritized jobs.
pub(crate) fn requeue_jobs(state: JobState, until: &str, most: u32, by_priority: bool, now: u64) -> Call<(u64, u64)> {
    let call = Call::to(&SCRIPT).text(state.as_str()).text(until).number(most).flag(by_priority).number(now);
    call.resend(Resend::Safe).read(reply::two_counts)
}
