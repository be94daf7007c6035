//! Pauses a queue: `lua/pause.lua`.

use super::{Call, Repeat, Script, script};

pub(crate) static SCRIPT: Script = script!("pause", Consumes, uses: ["queue", "settings"]);

pub(crate) fn pause() -> Call<()> {
    Call::to(&SCRIPT).repeat(Repeat::Safe)
}
