//! Deleting jobs that are nowhere: `lua/remove_orphans.lua`.

use super::{Call, Repeat, Script, reply, script};

pub(crate) static SCRIPT: Script =
    script!("remove_orphans", Consumes, uses: ["queue", "states", "whereabouts", "delete"]);

/// Answers how many of these jobs were looked at, and how many were deleted.
pub(crate) fn remove_orphans(ids: &[String]) -> Call<(u64, u64)> {
    Call::to(&SCRIPT).texts(ids).repeat(Repeat::Safe).read_each(ids.len(), |value, most| {
        reply::two_counts(value).filter(|(seen, _)| (1..=most as u64).contains(seen))
    })
}
