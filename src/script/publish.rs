//! Writes a custom event: `lua/publish_event.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::wire::EventId;

pub(crate) static SCRIPT: Script = script!("publish_event", Produces, uses: ["codes", "queue", "settings"]);

/// Writes the event, and returns its id.
pub(crate) fn publish_event(name: &str, fields: &[(&str, &str)]) -> Call<EventId> {
    let call = fields.iter().fold(Call::to(&SCRIPT).text(name), |call, (field, value)| call.text(field).text(value));
    call.resend(Resend::Never).read(|value| EventId::decode(reply::string(value)?.as_bytes()))
}
