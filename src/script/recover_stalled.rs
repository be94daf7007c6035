//! Puts jobs back whose worker is gone: `lua/recover_stalled.lua`.

use redis::Value;

use super::{Args, Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("recover_stalled", Consumes, uses: ["codes", "queue", "settings", "wake", "prioritize", "ready", "leave_active"]);

/// The outcome of one step of a check for stalled jobs.
pub(crate) struct Recovered {
    /// Where the next step begins; empty when the check is complete.
    pub(crate) next: String,
    /// The jobs that were put back.
    pub(crate) ids: Vec<String>,
}

/// Makes one step; `from` is empty for a new check, else [`Recovered::next`] of the step before.
pub(crate) fn recover_stalled(now: u64, interval_ms: u64, limit: u32, from: &str) -> Call<Recovered> {
    let mut args = Args::default();
    args.number(now).millis(interval_ms.max(1)).number(limit).text(from);
    Call::with(&SCRIPT, args).resend(Resend::Safe).read(recovered)
}

fn recovered(value: Value) -> Option<Recovered> {
    let mut ids = reply::texts(value)?.into_iter();
    Some(Recovered { next: ids.next()?, ids: ids.collect() })
}
