//! Writes the marker again: `lua/wake_workers.lua`.

use super::{Call, Resend, Script, script};

pub(crate) static SCRIPT: Script = script!("wake_workers", Consumes, uses: ["codes", "queue", "settings", "wake"]);

/// Writes the marker, which a closing worker may have popped without fetching a job.
pub(crate) fn wake_workers() -> Call<()> {
    Call::to(&SCRIPT).resend(Resend::Safe)
}
