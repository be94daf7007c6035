//! Writes the library's version to a queue's settings: `lua/open_queue.lua`.

use super::{Call, Resend, Script, script};

pub(crate) static SCRIPT: Script = script!("open_queue", Produces, uses: ["queue"]);

/// Writes `meta`. Without `max_events` the present cap of the event stream stays.
pub(crate) fn open_queue(version: &str, max_events: Option<u64>) -> Call<()> {
    Call::to(&SCRIPT).text(version).maybe(max_events).resend(Resend::Safe)
}
