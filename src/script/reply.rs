//! Reading the items of replies, as RESP2 and RESP3 write them. `None` is a shape that is not documented.

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

/// An array of exactly so many items.
pub(crate) fn tuple<const N: usize>(value: Value) -> Option<[Value; N]> {
    array(value)?.try_into().ok()
}

/// A text as its bytes, which need not be UTF-8.
pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        other => string(other).map(String::into_bytes),
    }
}

/// A text of ours.
pub(crate) fn string(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Int(number) => Some(number.to_string()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

/// A text that is told to people and never sent back: other bytes than UTF-8 become `�`, so that one such item does not
/// make the others unreadable.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(lossy(bytes)),
        other => string(other),
    }
}

/// Bytes as a text that is told to people.
pub(crate) fn lossy(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Texts that are told to people.
pub(crate) fn texts(value: Value) -> Option<Vec<String>> {
    array(value)?.into_iter().map(text).collect()
}

/// The text of what may not be there.
pub(crate) fn maybe_text(value: Value) -> Option<Option<String>> {
    match value {
        Value::Nil => Some(None),
        other => text(other).map(Some),
    }
}

/// Ids, byte for byte.
pub(crate) fn ids(value: Value) -> Option<Vec<Vec<u8>>> {
    array(value)?.into_iter().map(bytes).collect()
}

/// The fields and values of a hash.
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

/// The fields and values of a hash, to be told to people.
pub(crate) fn text_pairs(value: Value) -> Option<Vec<(String, String)>> {
    Some(pairs(value)?.into_iter().map(|(field, value)| (lossy(field), lossy(value))).collect())
}

/// A count or a number of ms, as somebody may have stored it: what is below 0 is 0, a fraction is cut off, and what is too
/// large is the largest. One odd number must not make a whole reply unreadable.
pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => Some(u64::try_from(*number).unwrap_or(0)),
        Value::BulkString(text) => stored(text),
        _ => None,
    }
}

/// A number as [`unsigned`] reads it.
pub(crate) fn stored(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| Some(u64::try_from(json::integer(text.parse().ok()?)).unwrap_or(0)))
}

/// A reply that is one count.
pub(crate) fn count(value: Value) -> Option<u64> {
    unsigned(&value)
}

/// Counts, in order.
pub(crate) fn counts(value: Value) -> Option<Vec<u64>> {
    array(value)?.iter().map(unsigned).collect()
}

/// A reply that is two counts.
pub(crate) fn two_counts(value: Value) -> Option<(u64, u64)> {
    let [first, second] = tuple(value)?;
    Some((unsigned(&first)?, unsigned(&second)?))
}

/// A number of the server's own.
pub(crate) fn int(value: Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        _ => None,
    }
}

/// Whether the answer is 1, the only other one being a smaller number or nothing.
pub(crate) fn is_one(value: Value) -> Option<bool> {
    int(value).map(|number| number == 1)
}

/// Whether it was done, or the refusal.
pub(crate) fn done(value: Value) -> Option<Result<(), Reason>> {
    code(value).map(|code| code.map(drop))
}

/// A number, or the refusal that a negative one stands for.
pub(crate) fn code(value: Value) -> Option<Result<i64, Reason>> {
    int(value).map(|code| Reason::from_code(code).map(|()| code))
}

/// The answer about one item of a batch of one.
pub(crate) fn only_done(value: Value) -> Option<Result<(), Reason>> {
    let [code] = tuple(value)?;
    done(code)
}
