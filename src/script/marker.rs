//! The marker that says that there may be work.

use std::time::Duration;

use redis::Value;

use super::{Call, Repeat};

/// Takes the marker, or waits for it; answers its score, or nothing when the time is over.
pub(crate) fn take_marker(marker: &str, block: Duration) -> Call<Option<f64>> {
    let call = Call::command("take_marker", "BZPOPMIN").text(marker).text(format!("{:.3}", block.as_secs_f64()));
    call.repeat(Repeat::Never).read(|value| match value {
        Value::Array(reply) => Some(Some(score(reply.get(2)).unwrap_or(0.0))),
        _ => Some(None),
    })
}

fn score(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Double(score) => Some(*score),
        Value::Int(score) => u32::try_from(*score).ok().map(f64::from),
        _ => None,
    }
}
