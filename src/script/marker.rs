//! The marker, by which idle workers learn that there may be a job to fetch.

use std::time::Duration;

use redis::Value;

use super::{Call, Resend};

/// Pops the marker, waiting for it at most `block`; returns its score, or `None` when the time is over.
pub(crate) fn take_marker(marker: &str, block: Duration) -> Call<Option<f64>> {
    let call = Call::command("take_marker", "BZPOPMIN").text(marker).text(format!("{:.3}", block.as_secs_f64()));
    call.resend(Resend::Never).read(|value| match value {
        Value::Array(reply) => Some(Some(score(reply.get(2)).unwrap_or(0.0))),
        _ => Some(None),
    })
}

/// Pops the first of these markers, waiting at most `block`; returns which one, and its score.
pub(crate) fn take_any_marker(markers: &[String], block: Duration) -> Call<Option<(String, f64)>> {
    let call = Call::command("take_marker", "BZPOPMIN").texts(markers).text(format!("{:.3}", block.as_secs_f64()));
    call.resend(Resend::Never).read(|value| match value {
        Value::Array(mut reply) if reply.len() == 3 => {
            let score = score(reply.get(2)).unwrap_or(0.0);
            Some(Some((super::reply::string(reply.swap_remove(0))?, score)))
        }
        _ => Some(None),
    })
}

/// Pops the marker if there is one, without waiting; returns its score.
pub(crate) fn pop_marker(marker: &str) -> Call<Option<f64>> {
    let call = Call::command("take_marker", "ZPOPMIN").text(marker);
    call.resend(Resend::Never).read(|value| match value {
        Value::Array(reply) if reply.len() == 2 => Some(Some(score(reply.get(1)).unwrap_or(0.0))),
        _ => Some(None),
    })
}

/// Ends the blocking command of a connection; returns whether one was running.
pub(crate) fn unblock_client(id: i64) -> Call<bool> {
    Call::command("unblock", "CLIENT").text("UNBLOCK").number(id).resend(Resend::Never).read(|value| match value {
        Value::Int(ended) => Some(ended == 1),
        _ => None,
    })
}

/// Counts how many of these keys exist.
pub(crate) fn count_keys(keys: impl IntoIterator<Item = String>) -> Call<u64> {
    Call::command("look", "EXISTS").texts(keys).resend(Resend::Reads).read(|value| match value {
        Value::Int(count) => u64::try_from(count).ok(),
        _ => None,
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
