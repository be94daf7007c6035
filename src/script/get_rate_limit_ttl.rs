//! For how long no job may be fetched: `lua/get_rate_limit_ttl.lua`.

use super::{Call, Repeat, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("get_rate_limit_ttl", Produces, uses: ["queue"]);

/// In ms, if up to `max` jobs may be fetched in a window; without `max` the queue's own number counts, and without that the
/// answer is what `PTTL` says.
pub(crate) fn get_rate_limit_ttl(max: Option<u64>) -> Call<i64> {
    Call::to(&SCRIPT).number(max.unwrap_or(0)).repeat(Repeat::Reads).read(reply::int)
}
