//! Changes when a delayed job is due: `lua/change_delay.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script =
    script!("change_delay", Consumes, uses: ["codes", "queue", "settings", "wake", "delay"]);

pub(crate) fn change_delay(id: &str, delay_ms: u64, now: u64) -> Call<Result<(), Reason>> {
    Call::to(&SCRIPT).text(id).number(delay_ms).number(now).resend(Resend::Safe).read(reply::done)
}
