//! How many delayed jobs are due before a moment.

use super::{Call, Repeat, reply};
use crate::keys::QueueKeys;

/// `timestamp` is in ms.
pub(crate) fn get_delayed_count(keys: &QueueKeys, timestamp: u64) -> Call<u64> {
    // Later than 2^53 / 4096 a score has no room left for the order within a millisecond; the bound is exact.
    let below = i128::from(timestamp) * 4096 - 1;
    let call = Call::command("get_delayed_count", "ZCOUNT").text(keys.key("delayed")).text("-inf");
    call.text(below.to_string()).repeat(Repeat::Reads).read(reply::count)
}
