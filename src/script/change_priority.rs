//! Changes the priority of a job: `lua/change_priority.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script =
    script!("change_priority", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "prioritize", "ready"]);

pub(crate) fn change_priority(id: &str, priority: u32, lifo: bool) -> Call<Result<(), Reason>> {
    Call::to(&SCRIPT).text(id).number(priority).flag(lifo).resend(Resend::Safe).read(reply::done)
}
