//! Ends the current window of the rate limit: `lua/remove_rate_limit_key.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("remove_rate_limit_key", Consumes, uses: ["queue", "settings", "wake"]);

/// Ends the window; returns whether one was open.
pub(crate) fn remove_rate_limit_key() -> Call<bool> {
    Call::to(&SCRIPT).resend(Resend::Safe).read(reply::is_one)
}
