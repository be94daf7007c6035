//! Looking through the keys of the server.

use redis::Value;

use super::{Call, Repeat, reply};
use crate::keys::QueueKeys;

/// Looks at some keys of the server, and answers where to go on and those of one queue. `op` is the operation that asks.
pub(crate) fn scan_keys(op: &'static str, keys: &QueueKeys, cursor: &str, count: u32) -> Call<(String, Vec<String>)> {
    scan(op, cursor, &(literal(keys.base()) + "*"), count)
}

/// Looks at some keys of the server, and answers where to go on and those that hold the settings of queues.
pub(crate) fn scan_metas(prefix: &str, cursor: &str, count: u32) -> Call<(String, Vec<String>)> {
    scan("find_queues", cursor, &(literal(prefix) + ":*:meta"), count)
}

/// Looks at some keys of the server, and answers where to go on and those of all queues of a prefix.
/// `op` is the operation that asks.
#[cfg(any(test, feature = "doctor", feature = "testing"))]
pub(crate) fn scan_prefix(op: &'static str, prefix: &str, cursor: &str, count: u32) -> Call<(String, Vec<String>)> {
    scan(op, cursor, &(literal(prefix) + ":*"), count)
}

/// Removes keys of one slot, or of a server without slots.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn unlink(op: &'static str, keys: &[String]) -> Call<()> {
    Call::command(op, "UNLINK").texts(keys).repeat(Repeat::Safe).read(|_| Some(()))
}

fn scan(op: &'static str, cursor: &str, pattern: &str, count: u32) -> Call<(String, Vec<String>)> {
    let call = Call::command(op, "SCAN").text(cursor).text("MATCH").text(pattern);
    call.text("COUNT").number(count).repeat(Repeat::Reads).read(scanned)
}

/// A text as a pattern that fits nothing else.
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

/// Keys that are not UTF-8 are none of ours.
fn scanned(value: Value) -> Option<(String, Vec<String>)> {
    let [cursor, keys] = reply::tuple(value)?;
    let keys = reply::array(keys)?.into_iter().filter_map(reply::string).collect();
    Some((reply::string(cursor)?, keys))
}
