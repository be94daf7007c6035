//! Ends the deduplication that a job stands for: `lua/free_deduplication.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script = script!("free_deduplication", Consumes, uses: ["queue"]);

/// Ends it if this job stands for it; returns whether it did.
pub(crate) fn free_deduplication(id: &str, deduplication_id: &str) -> Call<bool> {
    Call::to(&SCRIPT).text(id).text(deduplication_id).resend(Resend::Safe).read(reply::is_one)
}

/// Ends a deduplication, whichever job stands for it; returns whether there was one.
pub(crate) fn remove_deduplication_key(keys: &QueueKeys, deduplication_id: &str) -> Call<bool> {
    let key = keys.key(&format!("de:{deduplication_id}"));
    Call::command("remove_deduplication_key", "DEL").text(key).resend(Resend::Safe).read(reply::is_one)
}
