//! Trims the event stream.

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;
use crate::options::MAX_SAFE;

/// Trims the stream to about `keep` entries; returns how many were removed.
pub(crate) fn trim_events(keys: &QueueKeys, keep: u64) -> Call<u64> {
    let call = Call::command("trim_events", "XTRIM").text(keys.events()).text("MAXLEN").text("~");
    call.number(keep.min(MAX_SAFE)).resend(Resend::Safe).read(reply::count)
}
