//! Writes a custom event: `lua/publish_event.lua`.

use redis::Value;

use super::reply::{string, tuple};
use super::{Call, Resend, Script, script};
use crate::wire::EventId;

pub(crate) static SCRIPT: Script = script!("publish_event", Produces, uses: ["codes", "queue", "settings"]);

/// Writes the event. Returns its id, and whether the queue's settings were not complete.
pub(crate) fn publish_event(name: &str, fields: &[(&str, &str)]) -> Call<(EventId, bool)> {
    let call = fields.iter().fold(Call::to(&SCRIPT).text(name), |call, (field, value)| call.text(field).text(value));
    call.resend(Resend::Never).read(|value| {
        let [id, new] = tuple(value)?;
        Some((EventId::decode(string(id)?.as_bytes())?, new == Value::Int(1)))
    })
}
