//! Writing to a job that exists: `lua/save_progress.lua`, `lua/update_data.lua`, `lua/add_log.lua`.

use super::{Call, Repeat, Script, reply, script};
use crate::error::Reason;

pub(crate) static PROGRESS: Script = script!("save_progress", Produces, uses: ["codes", "queue", "settings", "is_job"]);
pub(crate) static DATA: Script = script!("update_data", Produces, uses: ["codes", "queue", "is_job"]);
pub(crate) static LOG: Script = script!("add_log", Produces, uses: ["codes", "queue", "is_job"]);

/// Stores and announces a progress; `json` as written.
pub(crate) fn save_progress(id: &str, json: &str) -> Call<Result<(), Reason>> {
    Call::to(&PROGRESS).text(id).text(json).repeat(Repeat::Safe).read(reply::only_done)
}

pub(crate) fn update_data(id: &str, json: &str) -> Call<Result<(), Reason>> {
    Call::to(&DATA).text(id).text(json).repeat(Repeat::Safe).read(reply::only_done)
}

/// Answers how many lines the log has. A line written twice is worse than an unknown outcome.
pub(crate) fn add_log(id: &str, keep: u32, lines: &[&str]) -> Call<Result<i64, Reason>> {
    Call::to(&LOG).text(id).number(keep).texts(lines).repeat(Repeat::Never).read(reply::code)
}
