//! Sets the global limits of a queue: `lua/tune_queue.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("tune_queue", Consumes, uses: ["queue", "settings", "wake"]);

/// Sets how many jobs may be active at once; `None` removes the limit. Returns how many settings are new or were
/// removed.
pub(crate) fn set_concurrency(limit: Option<u32>) -> Call<i64> {
    Call::to(&SCRIPT).text("concurrency").maybe(limit).resend(Resend::Safe).read(reply::int)
}

/// Sets how many jobs may be fetched in how many ms; `None` removes the limit. Returns how many settings are new or
/// were removed.
pub(crate) fn set_rate_limit(limit: Option<(u64, u64)>) -> Call<i64> {
    let (max, duration) = limit.unzip();
    Call::to(&SCRIPT).text("max").maybe(max).text("duration").maybe(duration).resend(Resend::Safe).read(reply::int)
}
