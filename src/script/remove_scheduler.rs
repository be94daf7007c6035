//! Removes a scheduler: `lua/remove_scheduler.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script =
    script!("remove_scheduler", Consumes, uses: ["queue", "settings", "homes", "states", "check_queue", "delete"]);

/// Removes a scheduler; returns whether there was one.
pub(crate) fn remove_scheduler(scheduler: &str) -> Call<bool> {
    Call::to(&SCRIPT).text(scheduler).resend(Resend::Safe).read(reply::is_one)
}
