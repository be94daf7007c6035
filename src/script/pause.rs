//! Pauses a queue: `lua/pause.lua`.

use super::{Call, Resend, Script, script};

pub(crate) static SCRIPT: Script = script!("pause", Consumes, uses: ["queue", "settings"]);

pub(crate) fn pause() -> Call<()> {
    Call::to(&SCRIPT).resend(Resend::Safe)
}
