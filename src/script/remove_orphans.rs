//! Deletes jobs that are in no list or set: `lua/remove_orphans.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script =
    script!("remove_orphans", Consumes, uses: ["queue", "states", "whereabouts", "delete"]);

/// Returns how many of these ids were looked at, and how many jobs were deleted.
pub(crate) fn remove_orphans(ids: &[String]) -> Call<(u64, u64)> {
    Call::to(&SCRIPT).texts(ids).resend(Resend::Safe).read_each(ids.len(), |value, most| {
        reply::two_counts(value).filter(|(seen, _)| (1..=most as u64).contains(seen))
    })
}
