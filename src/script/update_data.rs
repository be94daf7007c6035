//! Replaces the data of a job: `lua/update_data.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("update_data", Produces, uses: ["codes", "queue", "is_job"]);

/// Replaces the data; `json` is written unchanged.
pub(crate) fn update_data(id: &str, json: &str) -> Call<Result<(), Reason>> {
    Call::to(&SCRIPT).text(id).text(json).resend(Resend::Safe).read(reply::only_done)
}
