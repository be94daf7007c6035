//! Stores how far a consumer has read the events: `lua/save_cursor.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::keys::QueueKeys;
use crate::wire::EventId;

pub(crate) static SCRIPT: Script = script!("save_cursor", Consumes, uses: ["queue"]);

/// Stores the cursor; returns `false` if it is there or further already, as another consumer with this name may have
/// moved it.
pub(crate) fn save_cursor(name: &str, id: EventId) -> Call<bool> {
    Call::to(&SCRIPT).text(name).number(id.ms()).number(id.number()).resend(Resend::Safe).read(reply::is_one)
}

/// Returns the stored id, if there is one.
pub(crate) fn load_cursor(keys: &QueueKeys, name: &str) -> Call<Option<EventId>> {
    let call = Call::command("load_cursor", "HGET").text(keys.key("oxmq:cursors")).text(format!("cursor:{name}"));
    call.resend(Resend::Reads).read(|value| match value {
        Value::Nil => Some(None),
        Value::BulkString(id) => EventId::decode(&id).map(Some),
        _ => None,
    })
}

/// Deletes the cursor; returns whether there was one.
pub(crate) fn remove_cursor(keys: &QueueKeys, name: &str) -> Call<bool> {
    let call = Call::command("remove_cursor", "HDEL").text(keys.key("oxmq:cursors")).text(format!("cursor:{name}"));
    call.resend(Resend::Safe).read(reply::is_one)
}
