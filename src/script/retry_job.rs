//! Makes a finished job ready again: `lua/retry_job.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;
use crate::state::JobState;

pub(crate) static SCRIPT: Script = script!("retry_job", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "announce", "prioritize", "ready", "restore", "is_job"]);

pub(crate) fn retry_job(
    id: &str,
    state: JobState,
    reset_attempts_made: bool,
    reset_attempts_started: bool,
    now: u64,
) -> Call<Result<(), Reason>> {
    let call = Call::to(&SCRIPT).text(id).text(state.as_str()).flag(reset_attempts_made).flag(reset_attempts_started);
    call.number(now).resend(Resend::Never).read(reply::done)
}
