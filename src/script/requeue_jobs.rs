//! Jobs of a state that are to run now: `lua/requeue_jobs.lua`.

use super::{Call, Repeat, Script, reply, script};
use crate::state::JobState;

pub(crate) static SCRIPT: Script = script!("requeue_jobs", Consumes, uses: ["queue", "settings", "wake", "number", "announce", "prioritize", "restore"]);

/// Looks at `most` jobs, the first ones up to a time in ms; answers at how many it has looked and how many have moved. Each
/// takes the place that its priority gives it, or all come before those that have one.
pub(crate) fn requeue_jobs(state: JobState, until: &str, most: u32, by_priority: bool) -> Call<(u64, u64)> {
    let call = Call::to(&SCRIPT).text(state.as_str()).text(until).number(most).flag(by_priority);
    call.repeat(Repeat::Safe).read(reply::two_counts)
}
