//! Reads when delayed jobs are due.

use std::time::SystemTime;

use redis::Value;

use super::{Call, Resend, reply};
use crate::clock::from_epoch_ms;
use crate::keys::QueueKeys;

/// Returns when each of these jobs is due; `None` for one that is not delayed.
pub(crate) fn get_due(keys: &QueueKeys, ids: &[&str]) -> Call<Vec<Option<SystemTime>>> {
    let call = Call::command("get_due", "ZMSCORE").text(keys.key("delayed")).texts(ids).resend(Resend::Reads);
    call.read(|value| Some(reply::array(value)?.iter().map(due).collect()))
}

/// Reads a score of `delayed`: the due time in ms times 4096, plus the place within that millisecond.
fn due(score: &Value) -> Option<SystemTime> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    let score = match score {
        Value::Double(score) => *score as u64,
        other => reply::unsigned(other)?,
    };
    Some(from_epoch_ms(score / 4096))
}
