//! Removes or moves the jobs that match a filter: `lua/remove_jobs.lua`.

use redis::Value;

use super::scan_jobs::{Scanned, Search, pairwise, scanned};
use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("remove_jobs", Consumes, uses: ["codes", "queue", "settings", "wake", "announce", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "job_key", "release", "delete", "erase", "cut", "is_job", "is_taken", "past_taken", "search"]);

/// A job that was found: removed (`None`), moved (its id in the other queue), or why it stays.
pub(crate) type Gone = (Vec<u8>, Result<Option<String>, Reason>);

/// Removes the jobs found at the next places. May be repeated after a lost reply: a removed job is not found again.
pub(crate) fn remove_jobs(search: &Search<'_>) -> Call<Scanned<Gone>> {
    ask("", search)
}

/// Moves the jobs found at the next places to the queue with this base key.
pub(crate) fn move_jobs(target: &str, search: &Search<'_>) -> Call<Scanned<Gone>> {
    ask(target, search)
}

fn ask(target: &str, search: &Search<'_>) -> Call<Scanned<Gone>> {
    search.put(Call::to(&SCRIPT).text(target)).resend(Resend::Safe).read(|value| {
        scanned(value, |items| pairwise(items).map(|pair| pair.and_then(|(id, answer)| gone(id, answer))).collect())
    })
}

fn gone(id: Value, answer: Value) -> Option<Gone> {
    let answer = match answer {
        Value::Int(code) => Reason::from_code(code).map(|()| None),
        moved => Ok(Some(reply::text(moved)?)),
    };
    Some((reply::bytes(id)?, answer))
}
