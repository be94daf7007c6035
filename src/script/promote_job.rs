//! Makes a delayed job ready now: `lua/promote_job.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script =
    script!("promote_job", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "prioritize", "ready"]);

pub(crate) fn promote_job(id: &str, now: u64) -> Call<Result<(), Reason>> {
    Call::to(&SCRIPT).text(id).number(now).resend(Resend::Never).read(reply::done)
}
