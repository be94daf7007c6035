//! Stops all workers that have a rate limit for a while.

use super::{Call, Resend};
use crate::keys::QueueKeys;
use crate::options::MAX_SAFE;

/// Sets the counter of the window to the largest number that Node can count to, which exhausts every limit.
pub(crate) fn rate_limit(keys: &QueueKeys, pause_ms: u64) -> Call<()> {
    let call = Call::command("rate_limit", "SET").text(keys.key("limiter")).number(MAX_SAFE);
    call.text("PX").number(pause_ms).resend(Resend::Safe)
}
