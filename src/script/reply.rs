//! Reads the items of replies in RESP2 and RESP3. All functions return `None` for an unexpected shape.

use redis::Value;

use crate::error::Reason;
use crate::wire::job::Pair;
use crate::wire::json;

pub(crate) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        _ => None,
    }
}

/// Reads an array of exactly `N` items.
pub(crate) fn tuple<const N: usize>(value: Value) -> Option<[Value; N]> {
    array(value)?.try_into().ok()
}

/// Reads a string as bytes, which need not be UTF-8.
pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        other => string(other).map(String::into_bytes),
    }
}

/// Reads a string that must be UTF-8.
pub(crate) fn string(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Int(number) => Some(number.to_string()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

/// Reads a string to be shown to people and never sent back. Bytes that are not UTF-8 become `�`, so that one such item
/// does not make the whole reply unreadable.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(lossy(bytes)),
        other => string(other),
    }
}

/// Turns bytes into a string to be shown to people.
pub(crate) fn lossy(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Reads strings to be shown to people.
pub(crate) fn texts(value: Value) -> Option<Vec<String>> {
    array(value)?.into_iter().map(text).collect()
}

/// Reads a string that may be missing.
pub(crate) fn maybe_text(value: Value) -> Option<Option<String>> {
    match value {
        Value::Nil => Some(None),
        other => text(other).map(Some),
    }
}

/// Reads ids as bytes, unchanged.
pub(crate) fn ids(value: Value) -> Option<Vec<Vec<u8>>> {
    array(value)?.into_iter().map(bytes).collect()
}

/// Reads the fields and values of a hash.
pub(crate) fn pairs(value: Value) -> Option<Vec<Pair>> {
    if let Value::Map(fields) = value {
        return fields.into_iter().map(|(field, value)| Some((bytes(field)?, bytes(value)?))).collect();
    }
    let mut items = array(value)?.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let Some(field) = items.next() {
        pairs.push((bytes(field)?, bytes(items.next()?)?));
    }
    Some(pairs)
}

/// Reads the fields and values of a hash, to be shown to people.
pub(crate) fn text_pairs(value: Value) -> Option<Vec<(String, String)>> {
    Some(pairs(value)?.into_iter().map(|(field, value)| (lossy(field), lossy(value))).collect())
}

/// Reads a count or a number of ms that others may have stored: a number below 0 becomes 0, a fraction is cut off, and
/// a number that is too large becomes the largest. One odd number must not make a whole reply unreadable.
pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => Some(u64::try_from(*number).unwrap_or(0)),
        Value::BulkString(text) => stored(text),
        _ => None,
    }
}

/// Reads a number as [`unsigned`] does.
pub(crate) fn stored(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| Some(u64::try_from(json::integer(text.parse().ok()?)).unwrap_or(0)))
}

/// Reads a reply that is one count.
pub(crate) fn count(value: Value) -> Option<u64> {
    unsigned(&value)
}

/// Reads counts, in order.
pub(crate) fn counts(value: Value) -> Option<Vec<u64>> {
    array(value)?.iter().map(unsigned).collect()
}

/// Reads a reply that is two counts.
pub(crate) fn two_counts(value: Value) -> Option<(u64, u64)> {
    let [first, second] = tuple(value)?;
    Some((unsigned(&first)?, unsigned(&second)?))
}

/// Reads an integer reply.
pub(crate) fn int(value: Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        _ => None,
    }
}

/// Reads an integer reply, and returns whether it is 1.
pub(crate) fn is_one(value: Value) -> Option<bool> {
    int(value).map(|number| number == 1)
}

/// Reads the result of an operation: done, or the refusal.
pub(crate) fn done(value: Value) -> Option<Result<(), Reason>> {
    code(value).map(|code| code.map(drop))
}

/// Reads a number, or the refusal that a negative number stands for.
pub(crate) fn code(value: Value) -> Option<Result<i64, Reason>> {
    int(value).map(|code| Reason::from_code(code).map(|()| code))
}

/// Reads the only result of a batch of one.
pub(crate) fn only_done(value: Value) -> Option<Result<(), Reason>> {
    let [code] = tuple(value)?;
    done(code)
}
