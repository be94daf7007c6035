//! Reads the event stream of a queue.

use std::time::Duration;

use redis::Value;

use super::scan_jobs::pairwise;
use super::{Call, Resend, reply};
use crate::clock::{MOST_MS, millis};
use crate::wire::EventId;

/// One entry of the stream, as the server sent it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StreamEntry {
    pub(crate) id: EventId,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl StreamEntry {
    /// Returns the last field of this name; Node's reader too lets a later field win.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().rfind(|(field, _)| field == name.as_bytes()).map(|(_, value)| &**value)
    }

    pub(crate) fn size(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Reads at most `count` entries after `after`, as soon as there are some; `None` when `block` has passed, or at once
/// without it.
pub(crate) fn read_events(
    events: &str,
    after: EventId,
    count: usize,
    block: Option<Duration>,
) -> Call<Option<Vec<StreamEntry>>> {
    let call = xread(block).text("COUNT").number(count).text("STREAMS").text(events).text(after.to_string());
    call.resend(Resend::Reads).read(entries)
}

/// Finds out which of these streams have an entry after the one that is named with each, as soon as one has; none when
/// `block` has passed, or at once without it. Returns the first of those entries, if it is still there.
pub(crate) fn streams_with_news(
    streams: &[(String, EventId)],
    block: Option<Duration>,
) -> Call<Vec<(String, Option<EventId>)>> {
    let call = xread(block).text("COUNT").text("1").text("STREAMS").texts(streams.iter().map(|(events, _)| events));
    let call = call.texts(streams.iter().map(|(_, after)| after.to_string()));
    call.resend(Resend::Reads).read(|value| {
        let streams: Vec<(Value, Value)> = match value {
            Value::Nil => return Some(Vec::new()),
            Value::Map(streams) => streams,
            other => {
                let pair = |value| reply::tuple(value).map(|[events, entries]| (events, entries));
                reply::array(other)?.into_iter().map(pair).collect::<Option<_>>()?
            }
        };
        let news = |(name, entries)| {
            let first = reply::array(entries)?.into_iter().next();
            Some((reply::string(name)?, first.and_then(entry).map(|entry| entry.id)))
        };
        streams.into_iter().map(news).collect()
    })
}

fn xread(block: Option<Duration>) -> Call<()> {
    let call = Call::command("read_events", "XREAD");
    match block {
        Some(block) => call.text("BLOCK").number(millis(block).clamp(1, MOST_MS)),
        None => call,
    }
}

/// Reads the oldest `count` entries from the moment `ms` on.
#[cfg(feature = "dashboard")]
pub(crate) fn events_from(events: &str, ms: u64, count: u32) -> Call<Vec<StreamEntry>> {
    let call = Call::command("read_events", "XRANGE").text(events).number(ms).text("+").text("COUNT").number(count);
    call.resend(Resend::Reads).read(listed)
}

pub(crate) fn newest_event(events: &str) -> Call<Option<EventId>> {
    first("XREVRANGE", events, "+", "-")
}

pub(crate) fn oldest_event(events: &str) -> Call<Option<EventId>> {
    first("XRANGE", events, "-", "+")
}

/// Reads the id of this event, if it exists.
pub(crate) fn find_event(events: &str, id: EventId) -> Call<Option<EventId>> {
    let id = id.to_string();
    first("XRANGE", events, &id, &id)
}

/// Reads the id of the newest event before this one.
pub(crate) fn event_before(events: &str, id: EventId) -> Call<Option<EventId>> {
    first("XREVRANGE", events, &format!("({id}"), "-")
}

/// Reads the id of this event, or of the newest one before it.
pub(crate) fn event_up_to(events: &str, id: EventId) -> Call<Option<EventId>> {
    first("XREVRANGE", events, &id.to_string(), "-")
}

/// Returns whether entries of the stream were ever trimmed away or deleted: also true where the server does not tell,
/// before Redis 7.
pub(crate) fn has_lost_entries(events: &str) -> Call<bool> {
    let call = Call::command("read_events", "XINFO").text("STREAM").text(events);
    call.resend(Resend::Reads).read(|value| {
        let number = |name: &str, fields: &[(Value, Value)]| {
            let is_it = |field: &Value| {
                matches!(field, Value::BulkString(bytes) if bytes == name.as_bytes())
                    || matches!(field, Value::SimpleString(text) if text == name)
            };
            fields.iter().find(|(field, _)| is_it(field)).and_then(|(_, value)| reply::unsigned(value))
        };
        let fields = match value {
            Value::Map(fields) => fields,
            other => pairwise(reply::array(other)?).collect::<Option<Vec<_>>>()?,
        };
        Some(match (number("entries-added", &fields), number("length", &fields)) {
            (Some(added), Some(length)) => added > length,
            _ => true,
        })
    })
}

fn first(verb: &'static str, events: &str, from: &str, to: &str) -> Call<Option<EventId>> {
    let call = Call::command("read_events", verb).text(events).text(from).text(to).text("COUNT").text("1");
    call.resend(Resend::Reads).read(|value| match reply::array(value)?.into_iter().next() {
        None => Some(None),
        Some(item) => entry(item).map(|entry| Some(entry.id)),
    })
}

/// Reads the reply of `XREAD` for one stream.
fn entries(value: Value) -> Option<Option<Vec<StreamEntry>>> {
    let stream = match value {
        Value::Nil => return Some(None),
        Value::Array(mut streams) => match streams.pop() {
            Some(Value::Array(pair)) => pair.into_iter().nth(1),
            _ => None,
        },
        Value::Map(mut streams) => streams.pop().map(|(_, entries)| entries),
        _ => None,
    };
    reply::array(stream?)?.into_iter().map(entry).collect::<Option<_>>().map(Some)
}

#[cfg(feature = "dashboard")]
fn listed(value: Value) -> Option<Vec<StreamEntry>> {
    reply::array(value)?.into_iter().map(entry).collect()
}

fn entry(item: Value) -> Option<StreamEntry> {
    let mut pair = reply::array(item)?.into_iter();
    let (Value::BulkString(id), fields) = (pair.next()?, pair.next()) else { return None };
    let mut flat = match fields {
        Some(Value::Array(flat)) => flat,
        // An entry that was deleted while it was read.
        _ => Vec::new(),
    }
    .into_iter();
    let mut fields = Vec::with_capacity(flat.len() / 2);
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (flat.next(), flat.next()) {
        fields.push((name, value));
    }
    Some(StreamEntry { id: EventId::decode(&id)?, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_both_protocols_are_read() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let list = || Value::Array(vec![Value::Array(vec![bulk("1-2"), Value::Array(vec![bulk("event"), bulk("x")])])]);
        let old = entries(Value::Array(vec![Value::Array(vec![bulk("q:events"), list()])]));
        let new = entries(Value::Map(vec![(bulk("q:events"), list())]));
        for read in [old, new] {
            let Some(Some(read)) = read else { panic!() };
            assert_eq!((read[0].id, read[0].field("event")), (EventId::new(1, 2), Some(&b"x"[..])));
        }
        assert!(matches!(entries(Value::Nil), Some(None)));
        assert!(entries(Value::Array(vec![])).is_none() && entries(Value::Okay).is_none());
    }
}
