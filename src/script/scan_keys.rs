//! Scans the keys of the server.

use redis::Value;

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;

/// Scans some keys of the server. Returns where to go on, and the keys of one queue. `op` is the operation that asks.
pub(crate) fn scan_keys(op: &'static str, keys: &QueueKeys, cursor: &str, count: u32) -> Call<(String, Vec<String>)> {
    scan(op, cursor, &(literal(keys.base()) + "*"), count)
}

/// Scans some keys of the server. Returns where to go on, and the keys `meta` of queues.
pub(crate) fn scan_metas(prefix: &str, cursor: &str, count: u32) -> Call<(String, Vec<String>)> {
    scan("find_queues", cursor, &(literal(prefix) + ":*:meta"), count)
}

/// Scans some keys of the server. Returns where to go on, and the keys of all queues of a prefix. `op` is the operation
/// that asks.
#[cfg(any(test, feature = "doctor", feature = "testing"))]
pub(crate) fn scan_prefix(op: &'static str, prefix: &str, cursor: &str, count: u32) -> Call<(String, Vec<String>)> {
    scan(op, cursor, &(literal(prefix) + ":*"), count)
}

/// Deletes keys of one slot, or of a server without slots.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn unlink(op: &'static str, keys: &[String]) -> Call<()> {
    Call::command(op, "UNLINK").texts(keys).resend(Resend::Safe).read(|_| Some(()))
}

fn scan(op: &'static str, cursor: &str, pattern: &str, count: u32) -> Call<(String, Vec<String>)> {
    let call = Call::command(op, "SCAN").text(cursor).text("MATCH").text(pattern);
    call.text("COUNT").number(count).resend(Resend::Reads).read(scanned)
}

/// Writes a text as a pattern that matches nothing else.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// Reads the reply. Keys that are not UTF-8 are not ours.
fn scanned(value: Value) -> Option<(String, Vec<String>)> {
    let [cursor, keys] = reply::tuple(value)?;
    let keys = reply::array(keys)?.into_iter().filter_map(reply::string).collect();
    Some((reply::string(cursor)?, keys))
}
