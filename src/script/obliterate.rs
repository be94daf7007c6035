//! Deletes a queue with everything in it: `lua/obliterate.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("obliterate", Consumes, uses: ["queue", "settings", "wake", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "job_key", "release", "delete", "erase"]);

/// The outcome of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obliterated {
    Wholly,
    /// There is more to delete: call again.
    InPart,
    IsNotPaused,
    HasActive,
}

/// Deletes at most `most` jobs and schedulers; `force` deletes active jobs too.
pub(crate) fn obliterate(most: u32, force: bool) -> Call<Obliterated> {
    Call::to(&SCRIPT).number(most).flag(force).resend(Resend::Safe).read(obliterated)
}

fn obliterated(value: Value) -> Option<Obliterated> {
    match reply::int(value)? {
        0 => Some(Obliterated::Wholly),
        1 => Some(Obliterated::InPart),
        -1 => Some(Obliterated::IsNotPaused),
        -2 => Some(Obliterated::HasActive),
        _ => None,
    }
}
