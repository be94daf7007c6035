//! Lines for the log of a job: `lua/add_log.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("add_log", Produces, uses: ["codes", "queue", "is_job"]);

/// Appends lines, and returns how many lines the log has. Never repeated: a line written twice is worse than an unknown
/// outcome.
pub(crate) fn add_log(id: &str, keep: u32, lines: &[&str]) -> Call<Result<i64, Reason>> {
    Call::to(&SCRIPT).text(id).number(keep).texts(lines).resend(Resend::Never).read(reply::code)
}
