//! Counts the delayed jobs that are due before a moment.

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;

/// Counts the delayed jobs that are due before `timestamp`, in ms.
pub(crate) fn get_delayed_count(keys: &QueueKeys, timestamp: u64) -> Call<u64> {
    // Scores above 2^53 have no room for the place within a millisecond; with an integer the bound is exact.
    let below = i128::from(timestamp) * 4096 - 1;
    let call = Call::command("get_delayed_count", "ZCOUNT").text(keys.key("delayed")).text("-inf");
    call.text(below.to_string()).resend(Resend::Reads).read(reply::count)
}
