//! Reads for how long the rate limit allows no fetch: `lua/get_rate_limit_ttl.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("get_rate_limit_ttl", Produces, uses: ["queue"]);

/// Returns the time in ms, for a limit of `max` jobs per window. Without `max` the queue's global limit applies, and
/// without that the reply is the `PTTL` of the limiter.
pub(crate) fn get_rate_limit_ttl(max: Option<u64>) -> Call<i64> {
    Call::to(&SCRIPT).number(max.unwrap_or(0)).resend(Resend::Reads).read(reply::int)
}
