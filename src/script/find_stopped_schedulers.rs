//! Finds schedulers that have stopped: `lua/find_stopped_schedulers.lua`.

use super::list_schedulers::{StoredScheduler, schedulers};
use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!(
    "find_stopped_schedulers", Consumes,
    uses: ["queue", "is_job"],
    on_demand: ["settings", "wake", "number", "prioritize", "announce", "ready", "states", "whereabouts"],
    giving: [elements_of_lists, is_in_a_set, is_in_a_list, put_ready, note_ready, number_of, announce],
);

/// Returns the schedulers whose current run is over without a next one, and, with an empty hash, those whose run was in
/// no list or set and was put back. Returns none if another call has looked within the interval.
pub(crate) fn find_stopped_schedulers(now: u64, interval_ms: u64, random: u32) -> Call<Vec<StoredScheduler>> {
    let call = Call::to(&SCRIPT).number(now).number(interval_ms).number(random);
    call.resend(Resend::Safe).read(|value| schedulers(reply::array(value)?.into_iter()))
}
