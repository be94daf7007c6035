//! The event stream of a queue: reading it without a hole, events of the user's own, and whether jobs have finished.

use std::time::Duration;

use super::{Engine, Until};
use crate::connection::{BlockingLink, Failure, Pauses, without_secrets};
use crate::error::{BoxError, Error, Result};
use crate::script::Call;
pub(crate) use crate::script::event_stream::Entry;
use crate::script::event_stream::{event_before, event_up_to, find_event, newest_event, oldest_event, read_events};
use crate::script::find_finish::find_finish;
pub(crate) use crate::script::find_finish::{Page, Step, Trace};
use crate::script::marker::count_keys;
use crate::script::publish::publish_event;
use crate::script::read_finished::read_finished;
pub(crate) use crate::script::read_finished::{Finished, Found};
use crate::script::{load_cursor, remove_cursor, save_cursor};
use crate::wire::EventId;

/// How many entries one read takes at most: a reader that is far behind must not ask for the whole stream at once. After
/// a lost reply it is half as many, since the server may have dropped a connection that had too much to carry.
pub(crate) const BATCH: usize = 256;

/// Names that would do harm in Node, where an event is emitted under its own name.
const FORBIDDEN: [&str; 4] = ["error", "ioredis:close", "closing", "closed"];

/// Fields of one custom event; Lua's `unpack` has a limit.
const MAX_FIELDS: usize = 500;

impl Engine {
    /// How each of these jobs stands, and the newest event at that moment. At most 1,000 ids. Tries for as long as it
    /// takes: whoever waits has a limit of his own.
    pub(crate) async fn read_finished(&self, ids: &[impl AsRef<str>]) -> Result<(EventId, Vec<Found>)> {
        self.call_until(Until::Decided, read_finished(ids)).await
    }

    /// Looks through `count` events before `from`, or from the newest on, for where these jobs went. At most 500 events
    /// and 1,000 ids. Tries for as long as it takes.
    pub(crate) async fn find_finish(&self, from: Option<EventId>, count: usize, ids: &[&str]) -> Result<Page> {
        self.call_until(Until::Decided, find_finish(from, count, ids)).await
    }

    /// How much the server has of what it had told us of when this event was the newest one that we knew. One round trip if
    /// it has all, three at most.
    pub(crate) async fn find_rollback(&self, seen: EventId) -> Result<Kept> {
        let events = self.keys.events();
        if self.call(find_event(&events, seen)).await?.is_some() {
            return Ok(Kept::All);
        }
        // One that was trimmed away has no older ones.
        if let Some(kept) = self.call(event_before(&events, seen)).await? {
            return Ok(Kept::UpTo(kept));
        }
        Ok(if self.call(count_keys([events])).await? == 0 { Kept::Nothing } else { Kept::All })
    }

    /// How far the readers under this name have come.
    pub(crate) async fn load_cursor(&self, name: &str) -> Result<Option<EventId>> {
        self.call(load_cursor(&self.keys, name)).await
    }

    /// Remembers that they have come as far as this; answers whether they had not before.
    pub(crate) async fn save_cursor(&self, name: &str, id: EventId) -> Result<bool> {
        self.call(save_cursor(name, id)).await
    }

    /// Forgets how far they have come; answers whether it was known.
    pub(crate) async fn remove_cursor(&self, name: &str) -> Result<bool> {
        self.call(remove_cursor(&self.keys, name)).await
    }

    /// Writes an event of the user's own into the queue's stream; the values are text.
    ///
    /// The stream is trimmed to the queue's own cap. A lost reply is [`Error::OutcomeUnknown`]: the event may be there.
    pub(crate) async fn publish_event(&self, name: &str, fields: &[(&str, &str)]) -> Result<EventId> {
        check_event(name, fields)?;
        self.call(publish_event(name, fields)).await
    }
}

fn check_event(name: &str, fields: &[(&str, &str)]) -> Result<()> {
    const NAME: &str = "event_name";
    const FIELDS: &str = "event_fields";
    if name.is_empty() {
        return Err(Error::invalid(NAME, "it must not be empty"));
    }
    if FORBIDDEN.contains(&name) {
        return Err(Error::invalid(NAME, format!("'{name}' has a meaning of its own in Node")));
    }
    if fields.len() > MAX_FIELDS {
        return Err(Error::invalid(FIELDS, format!("there must be no more than {MAX_FIELDS}")));
    }
    if fields.iter().any(|(field, _)| *field == "event") {
        return Err(Error::invalid(FIELDS, "the field 'event' holds the name"));
    }
    // Node reads these as JSON, and its consumers stop for good when they cannot.
    let json = match name {
        "progress" => "data",
        "completed" => "returnvalue",
        _ => return Ok(()),
    };
    let last = fields.iter().rfind(|(field, _)| *field == json);
    if last.is_some_and(|(_, value)| serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok()) {
        return Ok(());
    }
    Err(Error::invalid(FIELDS, format!("'{name}' needs a field '{json}' that holds JSON")))
}

/// What is left of what was known of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All of it, as far as can be seen.
    All,
    /// What came up to this event; what came then is lost.
    UpTo(EventId),
    /// Not even a stream of events.
    Nothing,
}

/// What one read found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// Where the hole begins, if there may be one before the first entry: entries after this one may have been trimmed
    /// away before they were read.
    pub(crate) gap_after: Option<EventId>,
    /// Whether that is certain, since the server has lost its latest data.
    pub(crate) is_rollback: bool,
    /// In order; never empty.
    pub(crate) entries: Vec<Entry>,
}

/// Reads a queue's event stream on a connection of its own, again and again after failures.
///
/// It always asks for what comes after a concrete id: with Redis' `$`, an event between two reads would be lost.
/// Dropping it, or the future of a call, closes the connection at once.
pub(crate) struct EventReader {
    link: BlockingLink,
    events: String,
    block: Duration,
    deadline: Duration,
    backoff: Pauses,
    /// Where to begin: after the newest entry if none is given.
    start: Option<EventId>,
    /// The next read takes what comes after this entry. Written by `settle` at first, then by whoever read something.
    last: EventId,
    /// How many entries the next read takes at most.
    count: usize,
    doubt: Doubt,
    /// The entry after which some may be missing, until there is one to report it with.
    lost: Option<EventId>,
    /// Whether the server is known to have lost what it had after some earlier entry.
    is_rollback: bool,
    /// Whether `last` was an entry of the stream, and not only a place that the user has named.
    was_read: bool,
    /// The stream was seen empty since the last entry.
    emptied: bool,
    /// The last read was refused, and nobody has waited since.
    was_refused: bool,
}

/// What may have happened to the stream since the last look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// Nothing came for a while: the stream may be another one by now, whose ids go on from an earlier one.
    Quiet,
    /// We were away, and do not know what happened.
    Away,
}

/// The connection broke, or the reply made no sense; everything is as before the call. With the server's words, if it refused
/// what will not be served by asking again.
struct Broken(Option<BoxError>);

/// The server does not let us read the stream, or it is none. Who asks again is told again, after a pause, or reads on if that
/// was mended meanwhile.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) BoxError);

impl EventReader {
    /// A reader of what comes after `start`, or after the newest entry at the time of the first call.
    pub(crate) fn new(engine: &Engine, block: Duration, start: Option<EventId>) -> Self {
        Self {
            link: BlockingLink::new(engine.link.dialer(), Some(engine.keys.reader_client_name())),
            events: engine.keys.events(),
            block,
            deadline: engine.link.options().command_timeout,
            backoff: Pauses::default(),
            start,
            last: start.unwrap_or(EventId::ZERO),
            count: BATCH,
            doubt: Doubt::Away,
            lost: None,
            is_rollback: false,
            was_read: false,
            emptied: false,
            was_refused: false,
        }
    }

    /// Finds out where to begin, if that is not known yet; the answer never changes.
    pub(crate) async fn start(&mut self) -> Result<EventId, Refused> {
        loop {
            if let Some(start) = self.start {
                return Ok(start);
            }
            self.pause_after_refusal().await;
            match self.newest().await {
                Ok(newest) => {
                    self.last = newest.unwrap_or(EventId::ZERO);
                    self.was_read = newest.is_some();
                    self.start = Some(self.last);
                }
                Err(broken) => self.recover(broken).await?,
            }
        }
    }

    async fn pause_after_refusal(&mut self) {
        if self.was_refused {
            self.backoff.pause().await;
            self.was_refused = false;
        }
    }

    /// Waits before the next attempt, unless somebody is to be told first.
    async fn recover(&mut self, broken: Broken) -> Result<(), Refused> {
        self.doubt = Doubt::Away;
        match broken.0 {
            Some(refusal) => {
                self.was_refused = true;
                Err(Refused(refusal))
            }
            None => {
                self.backoff.pause().await;
                Ok(())
            }
        }
    }

    /// The entry that was read last, or the start.
    pub(crate) fn position(&self) -> EventId {
        self.last
    }

    /// Waits for the next entries, however long that takes.
    pub(crate) async fn next(&mut self) -> Result<Batch, Refused> {
        self.start().await?;
        loop {
            self.pause_after_refusal().await;
            match self.read().await {
                Ok(read) => {
                    self.backoff = Pauses::default();
                    if let Some(batch) = read {
                        return Ok(batch);
                    }
                }
                Err(broken) => self.recover(broken).await?,
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Batch>, Broken> {
        self.survey().await?;
        let asked = self.count;
        let call = read_events(&self.events, self.last, asked, self.block);
        let reach = event_up_to(&self.events, self.last);
        let (read, reach) = match call.block_with(&reach, &mut self.link, self.block).await {
            Ok(both) => both,
            Err(failure) => {
                self.count = asked.div_ceil(2);
                return Err(self.broken(&failure));
            }
        };
        let Some(entries) = read else {
            self.doubt = Doubt::Quiet;
            return Ok(None);
        };
        let (Some(first), Some(newest)) = (entries.first(), entries.last()) else {
            // An entry that was trimmed away as it was written; it woke us all the same.
            self.lost.get_or_insert(self.last);
            return Ok(None);
        };
        debug_assert!(first.id > self.last);
        if entries.len() == asked {
            self.count = (asked + (asked / 16).max(1)).min(BATCH);
        }
        match reach {
            // Emptied and filled again, as a replica is that takes over what another server has: that may be an earlier state.
            Some(_) if self.emptied => self.fell_back(),
            Some(_) => {}
            // Trimmed as far as here at least. What was seen empty had nothing that was not read.
            None if self.last != EventId::ZERO && !self.emptied => _ = self.lost.get_or_insert(self.last),
            None => {}
        }
        self.emptied = false;
        self.was_read = true;
        self.last = newest.id;
        Ok(Some(Batch { gap_after: self.lost.take(), is_rollback: std::mem::take(&mut self.is_rollback), entries }))
    }

    fn fell_back(&mut self) {
        self.lost.get_or_insert(self.last);
        self.is_rollback = true;
    }

    /// Looks at both ends of the stream where it may not be what it was.
    async fn survey(&mut self) -> Result<(), Broken> {
        if self.doubt == Doubt::None {
            return Ok(());
        }
        let away = self.doubt == Doubt::Away;
        match self.newest().await? {
            // Deleted or emptied. What comes has later ids, unless an earlier state of the stream comes back.
            None if self.last != EventId::ZERO => {
                if away {
                    self.lost.get_or_insert(self.last);
                }
                self.emptied = true;
            }
            // The server fell back to an earlier time, as after a failover: what it has now was read before. A stream that
            // was deleted under a clock set back looks the same; then some of it is not told, and this is.
            Some(newest) if newest < self.last => {
                self.fell_back();
                self.last = newest;
                self.was_read = true;
                self.emptied = false;
            }
            // Trimmed as far as here; or it fell back, and has gone on from there already.
            Some(newest) if away && newest > self.last && self.last != EventId::ZERO && !self.has_last().await? => {
                match self.was_read && self.oldest().await?.is_some_and(|oldest| oldest < self.last) {
                    true => self.fell_back(),
                    false => _ = self.lost.get_or_insert(self.last),
                }
            }
            _ => {}
        }
        self.doubt = Doubt::None;
        Ok(())
    }

    async fn newest(&mut self) -> Result<Option<EventId>, Broken> {
        let call = newest_event(&self.events);
        self.ask(&call, self.deadline).await
    }

    async fn oldest(&mut self) -> Result<Option<EventId>, Broken> {
        let call = oldest_event(&self.events);
        self.ask(&call, self.deadline).await
    }

    /// Whether the stream still reaches back to where we are, and that entry is in it.
    async fn has_last(&mut self) -> Result<bool, Broken> {
        if !self.was_read {
            return Ok(self.oldest().await?.is_some_and(|oldest| oldest <= self.last));
        }
        let call = find_event(&self.events, self.last);
        Ok(self.ask(&call, self.deadline).await?.is_some())
    }

    async fn ask<T>(&mut self, call: &Call<T>, block: Duration) -> Result<T, Broken> {
        let asked = call.block(&mut self.link, block).await;
        asked.map_err(|failure| self.broken(&failure))
    }

    fn broken(&self, failure: &Failure) -> Broken {
        let Some(error) = failure.cause().map(without_secrets) else {
            tracing::warn!("an event stream was answered in a shape that is not documented");
            return Broken(None);
        };
        tracing::debug!(%error, stream = %self.events, "reading events was interrupted");
        Broken((failure.is_not_permitted() || failure.is_wrong_type()).then_some(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_events_cannot_harm_node() {
        for bad in ["", "error", "closing", "closed", "ioredis:close"] {
            assert!(check_event(bad, &[]).is_err(), "{bad}");
        }
        assert!(check_event("mine", &[("a", ""), ("b", "x")]).is_ok());
        assert!(check_event("mine", &[("event", "other")]).is_err());
        assert!(check_event("progress", &[("data", "")]).is_err() && check_event("progress", &[]).is_err());
        assert!(check_event("completed", &[("returnvalue", "null")]).is_ok());
    }
}
