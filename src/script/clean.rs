//! Removes old jobs of a state: `lua/clean.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("clean", Consumes, uses: ["queue", "settings", "wake", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "job_key", "release", "delete", "erase", "cut"]);

/// The outcome of one step of a clean.
pub(crate) struct Cleaned {
    pub(crate) done: bool,
    /// How many jobs at the beginning have been looked at and kept.
    pub(crate) kept: u64,
    pub(crate) ids: Vec<String>,
}

/// Makes one step through the list or set `suffix`, removing jobs of up to `until`, in ms; `limit` is how many may
/// still be removed. Earlier steps have kept `kept` jobs and removed `gone`.
pub(crate) fn clean(suffix: &str, until: i128, limit: u64, kept: u64, gone: u64) -> Call<Cleaned> {
    let call = Call::to(&SCRIPT).text(suffix).text(until.to_string()).number(limit).number(kept).number(gone);
    call.resend(Resend::Safe).read(cleaned)
}

fn cleaned(value: Value) -> Option<Cleaned> {
    let [done, kept, ids] = reply::tuple(value)?;
    Some(Cleaned { done: done == Value::Int(1), kept: reply::unsigned(&kept)?, ids: reply::texts(ids)? })
}
