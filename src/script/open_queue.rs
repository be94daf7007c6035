//! What a queue says of itself when it is opened: `lua/open_queue.lua`.

use super::{Call, Repeat, Script, script};

pub(crate) static SCRIPT: Script = script!("open_queue", Produces, uses: ["queue"]);

/// Without `max_events` a length of the event stream that is there stays.
pub(crate) fn open_queue(version: &str, max_events: Option<u64>) -> Call<()> {
    Call::to(&SCRIPT).text(version).maybe(max_events).repeat(Repeat::Safe)
}
