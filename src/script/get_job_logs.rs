//! Reads lines of a job's log: `lua/get_job_logs.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("get_job_logs", Produces, uses: ["queue"]);

/// Returns the lines at these positions, and how many lines the log has.
pub(crate) fn get_job_logs(id: &str, first: i64, last: i64) -> Call<(Vec<String>, u64)> {
    Call::to(&SCRIPT).text(id).number(first).number(last).resend(Resend::Reads).read(logs)
}

fn logs(value: Value) -> Option<(Vec<String>, u64)> {
    let [stored, lines] = reply::tuple(value)?;
    Some((reply::texts(lines)?, reply::unsigned(&stored)?))
}
