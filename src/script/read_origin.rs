//! Reads when a job was added and who its parent is.

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;

/// When a job was added, and the key of its parent; `None` for what is not stored.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(crate) timestamp: Option<Vec<u8>>,
    pub(crate) parent: Option<Vec<u8>>,
}

pub(crate) fn read_origin(home: &QueueKeys, id: &str) -> Call<Origin> {
    let call = Call::command("add_flow", "HMGET").text(home.job(id)).text("timestamp").text("parentKey");
    call.resend(Resend::Safe).read(|value| {
        let [timestamp, parent] = reply::tuple(value)?;
        Some(Origin { timestamp: reply::bytes(timestamp), parent: reply::bytes(parent) })
    })
}
