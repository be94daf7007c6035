//! Stores the progress of a job: `lua/save_progress.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("save_progress", Produces, uses: ["codes", "queue", "settings", "is_job"]);

/// Stores and announces the progress; `json` is written unchanged.
pub(crate) fn save_progress(id: &str, json: &str) -> Call<Result<(), Reason>> {
    Call::to(&SCRIPT).text(id).text(json).resend(Resend::Safe).read(reply::only_done)
}
