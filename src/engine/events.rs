//! Reads the event stream of a queue without gaps, writes custom events, and tells whether jobs have finished.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::stream_waits::{Own, Told};
use super::{Engine, Until};
use crate::connection::{BlockingLink, CallFailure, Listener, Pauses, without_secrets};
use crate::error::{BoxError, Error, Result};
use crate::script::Call;
pub(crate) use crate::script::event_stream::StreamEntry;
use crate::script::event_stream::{
    event_before, event_up_to, find_event, has_lost_entries, newest_event, oldest_event, read_events,
};
use crate::script::find_finish::find_finish;
pub(crate) use crate::script::find_finish::{EventEffect, EventPage, FinishTrace};
use crate::script::marker::count_keys;
use crate::script::publish_event::publish_event;
use crate::script::read_finished::read_finished;
pub(crate) use crate::script::read_finished::{Finished, FoundJob};
use crate::script::{load_cursor, remove_cursor, save_cursor, server_info};
use crate::wire::EventId;

/// How many entries one read takes at most: a reader that is far behind must not ask for the whole stream at once.
/// After a lost reply it is halved, since the server may have dropped a connection whose replies were too large.
pub(crate) const BATCH: usize = 256;

/// Names that would do harm in Node, which emits an event under its name.
const FORBIDDEN: [&str; 4] = ["error", "ioredis:close", "closing", "closed"];

/// How many fields a custom event may have; Lua's `unpack` has a limit.
const MAX_FIELDS: usize = 500;

impl Engine {
    /// Returns how each of these jobs stands, and the newest event at that moment. At most 1,000 ids. Repeated until
    /// the server answers: the caller has a limit of its own.
    pub(crate) async fn read_finished(&self, ids: &[impl AsRef<str>]) -> Result<(EventId, Vec<FoundJob>)> {
        self.call_until(Until::Decided, read_finished(ids)).await
    }

    /// Searches `count` events before `from`, or the newest ones, for the state changes of these jobs. At most 500
    /// events and 1,000 ids. Repeated until the server answers.
    pub(crate) async fn find_finish(&self, from: Option<EventId>, count: usize, ids: &[&str]) -> Result<EventPage> {
        self.call_until(Until::Decided, find_finish(from, count, ids)).await
    }

    /// Finds out how much the server still has of what it had when `seen` was the newest event. One round trip if it
    /// has everything, at most four otherwise.
    pub(crate) async fn find_rollback(&self, seen: EventId) -> Result<Kept> {
        let events = self.keys.events();
        if self.call(find_event(&events, seen)).await?.is_some() {
            return Ok(Kept::All);
        }
        // If `seen` was trimmed away, there are no older events.
        if let Some(kept) = self.call(event_before(&events, seen)).await? {
            return Ok(Kept::UpTo(kept));
        }
        if self.call(count_keys([events])).await? > 0 {
            return Ok(Kept::All);
        }
        // An obliterated queue looks the same, so the server is asked whether it is the one that had the event. If it
        // does not answer that, it counts as another one.
        let info = self.call(server_info()).await.unwrap_or_default();
        Ok(if has_served_since(&info, seen) { Kept::All } else { Kept::Nothing })
    }

    /// Returns the cursor that is stored under this name.
    pub(crate) async fn load_cursor(&self, name: &str) -> Result<Option<EventId>> {
        self.call(load_cursor(&self.keys, name)).await
    }

    /// Stores a cursor, unless it is there or further already; returns whether it was stored.
    pub(crate) async fn save_cursor(&self, name: &str, id: EventId) -> Result<bool> {
        self.call(save_cursor(name, id)).await
    }

    /// Deletes a cursor; returns whether there was one.
    pub(crate) async fn remove_cursor(&self, name: &str) -> Result<bool> {
        self.call(remove_cursor(&self.keys, name)).await
    }

    /// Writes a custom event into the queue's stream; the values are text.
    ///
    /// The stream is trimmed to the queue's own cap. A lost reply is [`Error::OutcomeUnknown`]: the event may be there.
    pub(crate) async fn publish_event(&self, name: &str, fields: &[(&str, &str)]) -> Result<EventId> {
        check_event(name, fields)?;
        let (id, lacked_settings) = self.call(publish_event(name, fields)).await?;
        if lacked_settings {
            self.note_settings(false);
        }
        Ok(id)
    }
}

/// Returns whether a server with this `INFO` has run since the time of an event and was never promoted. Then a command
/// has removed what is missing.
fn has_served_since(info: &str, event: EventId) -> bool {
    let number = |field: &str| info.lines().find_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok());
    let former = info.lines().find_map(|line| line.strip_prefix("master_replid2:"));
    let (Some(now), Some(uptime), Some(former)) = (number("server_time_usec:"), number("uptime_in_seconds:"), former)
    else {
        return false;
    };
    // The server gives both times in whole seconds.
    let began = (now / 1_000 + 1_000).saturating_sub(uptime.saturating_mul(1_000));
    began <= event.ms() && former.trim().bytes().all(|digit| digit == b'0')
}

fn check_event(name: &str, fields: &[(&str, &str)]) -> Result<()> {
    const NAME: &str = "event name";
    const FIELDS: &str = "event fields";
    if name.is_empty() {
        return Err(Error::invalid(NAME, "it must not be empty"));
    }
    if FORBIDDEN.contains(&name) {
        return Err(Error::invalid(NAME, format!("'{name}' has a special meaning in Node")));
    }
    if fields.len() > MAX_FIELDS {
        return Err(Error::invalid(FIELDS, format!("there must be no more than {MAX_FIELDS}")));
    }
    if fields.iter().any(|(field, _)| *field == "event") {
        return Err(Error::invalid(FIELDS, "the field 'event' holds the name"));
    }
    // Node parses these fields as JSON, and its consumers stop for good if that fails.
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

/// What the server still has of what it was known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Everything, as far as can be seen.
    All,
    /// Everything up to this event; what was written later is lost.
    UpTo(EventId),
    /// Nothing: the event stream does not exist.
    Nothing,
}

/// What one read returned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// The entry after which entries may be missing, if there may be a gap before the first entry: they may have been
    /// trimmed before they were read.
    pub(crate) gap_after: Option<EventId>,
    /// Whether entries are certain to be missing, since the server has lost its latest data.
    pub(crate) is_rollback: bool,
    /// The entries, in order; never empty.
    pub(crate) entries: Vec<StreamEntry>,
}

/// Reads a queue's event stream on a connection of its own, or, where the client has many readers, over the shared
/// connection; goes on after failures.
///
/// It always asks for what comes after a known id: with Redis' `$`, an event between two reads would be lost. Dropping
/// it, or the future of a call, closes its own connection at once.
pub(crate) struct EventReader {
    engine: Engine,
    way: Way,
    /// Is told whenever a connection to the server breaks, the shared one too.
    breaks: Arc<Breaks>,
    /// How many breaks there were when the stream was last checked.
    seen_breaks: u64,
    events: String,
    block: Duration,
    deadline: Duration,
    backoff: Pauses,
    /// Where to begin; `None` for after the newest entry.
    start: Option<EventId>,
    /// Whether `start` is the beginning of the stream, wherever that is by now; else [`EventId::ZERO`] says that the stream was
    /// seen empty, and all that has come since is wanted.
    is_from_beginning: bool,
    /// Whether entries may have come and gone since the stream was seen empty.
    may_have_lost: bool,
    /// The next read takes what comes after this entry. Written by `settle` at first, later by every read.
    last: EventId,
    /// How many entries the next read takes at most.
    count: usize,
    doubt: Doubt,
    /// The entry after which some may be missing, until there is an entry to report the gap with.
    lost: Option<EventId>,
    /// Whether the server is known to have lost its data after some earlier entry.
    is_rollback: bool,
    /// Whether `last` was an entry of the stream, and not only a position that the user has named.
    was_read: bool,
    /// Whether the stream was seen empty since the last entry.
    emptied: bool,
    /// Whether the last read was refused, and no pause was made since.
    was_refused: bool,
}

/// How a reader learns that there is something to read.
enum Way {
    /// A blocking read on a connection of its own.
    Own(Box<BlockingLink>, #[expect(dead_code, reason = "held until the connection is closed")] Own),
    /// It waits with others, or looks now and then.
    Shared {
        /// When the last entry was read.
        heard: Option<Instant>,
        /// Whether the wait has ended because of an entry that was not read yet.
        is_news: bool,
    },
}

/// Counts the breaks of the connections to a server.
#[derive(Default)]
struct Breaks(AtomicU64);

impl Listener for Breaks {
    fn away(&self, _: &str) {}
    fn back(&self, _: Duration) {}
    fn broke(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What may have happened to the stream since it was last checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// No entry came for a while: the stream may have been replaced by an earlier state of itself.
    Quiet,
    /// The connection was lost, so anything may have happened.
    Away,
}

/// The connection broke, or the reply could not be read; nothing has changed since before the call. Holds the server's
/// error if asking again will not help.
struct Broken(Option<BoxError>);

/// The server does not let us read the stream, or the key is no stream. Whoever reads again is told again, after a
/// pause; or reads on, if the cause was mended meanwhile.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) BoxError);

impl EventReader {
    /// Creates a reader of what comes after `start`, or after the newest entry at the time of the first call.
    pub(crate) fn new(engine: &Engine, block: Duration, start: Option<EventId>) -> Self {
        let breaks: Arc<Breaks> = Arc::default();
        let listener: Weak<Breaks> = Arc::downgrade(&breaks);
        engine.link.outages().tell(listener);
        Self {
            engine: engine.clone(),
            way: own(engine).unwrap_or(Way::Shared { heard: None, is_news: false }),
            breaks,
            seen_breaks: 0,
            events: engine.keys.events(),
            block,
            deadline: engine.link.options().command_timeout,
            backoff: Pauses::default(),
            start,
            is_from_beginning: start == Some(EventId::ZERO),
            may_have_lost: false,
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

    /// Goes on where an earlier reader has found an empty stream.
    pub(crate) fn after_empty(engine: &Engine, block: Duration) -> Self {
        Self { is_from_beginning: false, ..Self::new(engine, block, Some(EventId::ZERO)) }
    }

    /// Finds out where to begin, if that is not known yet; the answer stays the same.
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

    /// Waits before the next attempt, unless the caller has to be told first.
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

    /// Returns the entry that was read last, or the start.
    pub(crate) fn position(&self) -> EventId {
        self.last
    }

    /// Waits for the next entries, for as long as it takes.
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
        self.change_way();
        let is_checked = self.doubt == Doubt::Away;
        self.survey().await?;
        let asked = self.count;
        let (read, reach) = match self.fetch(asked).await {
            Ok(both) => both,
            Err(failure) => {
                self.count = asked.div_ceil(2);
                return Err(self.broken(&failure));
            }
        };
        let Some(entries) = read else { return self.found_nothing().await };
        if let Way::Shared { heard, is_news } = &mut self.way {
            (*heard, *is_news) = (Some(Instant::now()), false);
            // The shared connection may have been replaced unseen, so both ends are checked before these are taken.
            if !is_checked && !self.emptied && self.was_read && reach != Some(self.last) {
                self.doubt = Doubt::Away;
                return Ok(None);
            }
        }
        let (Some(first), Some(newest)) = (entries.first(), entries.last()) else {
            // The entry that woke the reader was trimmed away as it was written.
            self.lost.get_or_insert(self.last);
            return Ok(None);
        };
        debug_assert!(first.id > self.last);
        let is_full = entries.len() == asked;
        if self.last == EventId::ZERO && !self.is_from_beginning && (self.may_have_lost || is_full) {
            if self.has_lost_entries().await? {
                self.lost = Some(EventId::ZERO);
            }
            self.may_have_lost = false;
        }
        if is_full {
            self.count = (asked + (asked / 16).max(1)).min(BATCH);
        }
        match reach {
            // The stream was emptied and filled again, as on a replica that is synchronised: it may be an earlier
            // state.
            Some(_) if self.emptied => self.fell_back(),
            Some(_) => {}
            // Entries up to here were trimmed, at least. A stream that was seen empty had no entry that was not read.
            None if self.last != EventId::ZERO && !self.emptied => _ = self.lost.get_or_insert(self.last),
            None => {}
        }
        self.emptied = false;
        self.was_read = true;
        self.last = newest.id;
        Ok(Some(Batch { gap_after: self.lost.take(), is_rollback: std::mem::take(&mut self.is_rollback), entries }))
    }

    /// Takes a connection of its own as soon as there may be one, and sees whether a shared one broke.
    fn change_way(&mut self) {
        if matches!(self.way, Way::Own(..)) {
            return;
        }
        let breaks = self.breaks.0.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.seen_breaks, breaks) != breaks {
            self.doubt = Doubt::Away;
        }
        if let Some(way) = own(&self.engine) {
            self.way = way;
            self.doubt = Doubt::Away;
        }
    }

    /// Reads the next entries, and then whether the stream still reaches back to the last one.
    async fn fetch(&mut self, count: usize) -> Result<(Option<Vec<StreamEntry>>, Option<EventId>), CallFailure> {
        let reach = event_up_to(&self.events, self.last);
        match &mut self.way {
            Way::Own(link, _) => {
                let read = read_events(&self.events, self.last, count, Some(self.block));
                read.block_with(&reach, link, self.block).await
            }
            Way::Shared { .. } => {
                let Engine { link, keys, .. } = &self.engine;
                let read = read_events(&self.events, self.last, count, None).send(link, keys).await?;
                let reach = match &read {
                    Some(_) => reach.send(link, keys).await?,
                    None => None,
                };
                Ok((read, reach))
            }
        }
    }

    async fn found_nothing(&mut self) -> Result<Option<Batch>, Broken> {
        if let Way::Shared { heard, is_news } = &mut self.way {
            if std::mem::take(is_news) {
                // The entry was trimmed away before it was read.
                self.lost.get_or_insert(self.last);
            }
            match self.engine.streams.wait(&self.engine, self.last, self.block, *heard).await {
                Told::News => {
                    *is_news = true;
                    return Ok(None);
                }
                Told::TimeOver => {}
                Told::Broken => return Err(Broken(None)),
            }
        }
        self.doubt = Doubt::Quiet;
        Ok(None)
    }

    fn fell_back(&mut self) {
        self.lost.get_or_insert(self.last);
        self.is_rollback = true;
    }

    /// Checks both ends of the stream, when it may have changed.
    async fn survey(&mut self) -> Result<(), Broken> {
        if self.doubt == Doubt::None {
            return Ok(());
        }
        let away = self.doubt == Doubt::Away;
        match self.newest().await? {
            // The stream was deleted or emptied. New entries have later ids, unless an earlier state of it comes back.
            None if self.last != EventId::ZERO => {
                // Nothing tells a reader that looks whether its server was another one in between.
                let looks = matches!(self.way, Way::Shared { .. }) && self.engine.streams.are_looks();
                if away || looks && !self.emptied {
                    self.lost.get_or_insert(self.last);
                }
                self.emptied = true;
            }
            // The server has an earlier state, as after a failover: what it has now was read before. A stream that was
            // deleted under a clock that was set back looks the same; then some entries are not delivered, and a gap is
            // reported.
            Some(newest) if newest < self.last => {
                self.fell_back();
                self.last = newest;
                self.was_read = true;
                self.emptied = false;
            }
            // Entries up to here were trimmed; or the server had an earlier state, and new entries have been written
            // since.
            Some(newest) if away && newest > self.last && self.last != EventId::ZERO && !self.has_last().await? => {
                match self.was_read && self.oldest().await?.is_some_and(|oldest| oldest < self.last) {
                    true => self.fell_back(),
                    false => _ = self.lost.get_or_insert(self.last),
                }
            }
            // What came since it was seen empty may be gone in part.
            Some(_) if away && self.last == EventId::ZERO => self.may_have_lost = true,
            _ => {}
        }
        self.doubt = Doubt::None;
        Ok(())
    }

    async fn has_lost_entries(&mut self) -> Result<bool, Broken> {
        let call = has_lost_entries(&self.events);
        match self.ask(&call, self.deadline).await {
            // Whoever may read the stream may not be permitted to ask about it.
            Err(Broken(Some(_))) => Ok(true),
            asked => asked,
        }
    }

    async fn newest(&mut self) -> Result<Option<EventId>, Broken> {
        let call = newest_event(&self.events);
        self.ask(&call, self.deadline).await
    }

    async fn oldest(&mut self) -> Result<Option<EventId>, Broken> {
        let call = oldest_event(&self.events);
        self.ask(&call, self.deadline).await
    }

    /// Returns whether the stream still reaches back to `last`, and has that entry.
    async fn has_last(&mut self) -> Result<bool, Broken> {
        if !self.was_read {
            return Ok(self.oldest().await?.is_some_and(|oldest| oldest <= self.last));
        }
        let call = find_event(&self.events, self.last);
        Ok(self.ask(&call, self.deadline).await?.is_some())
    }

    async fn ask<T>(&mut self, call: &Call<T>, block: Duration) -> Result<T, Broken> {
        let asked = match &mut self.way {
            Way::Own(link, _) => call.block(link, block).await,
            Way::Shared { .. } => call.send(&self.engine.link, &self.engine.keys).await,
        };
        asked.map_err(|failure| self.broken(&failure))
    }

    fn broken(&self, failure: &CallFailure) -> Broken {
        let Some(error) = failure.cause().map(without_secrets) else {
            tracing::warn!("the reply to a read of the event stream has an unexpected shape");
            return Broken(None);
        };
        tracing::debug!(%error, stream = %self.events, "reading events was interrupted");
        Broken((failure.is_not_permitted() || failure.is_wrong_type()).then_some(error))
    }
}

/// Returns a connection of a reader's own, if the client may have one more.
fn own(engine: &Engine) -> Option<Way> {
    let own = engine.streams.own()?;
    let link = BlockingLink::new(engine.link.dialer(), Some(engine.keys.reader_client_name()));
    Some(Way::Own(Box::new(link), own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_again_by_how_long_it_has_run_and_that_it_was_no_replica() {
        let info = |uptime: u64, former: &str| {
            format!(
                "# Server\r\nserver_time_usec:10000000\r\nuptime_in_seconds:{uptime}\r\nmaster_replid2:{former}\r\n"
            )
        };
        let at = |ms| EventId::new(ms, 0);
        assert!(has_served_since(&info(4, "0000"), at(7_000)) && !has_served_since(&info(4, "0000"), at(6_999)));
        assert!(!has_served_since(&info(4, "00a0"), at(9_000)));
        assert!(!has_served_since("", at(9_000)) && !has_served_since("uptime_in_seconds:x\r\n", at(9_000)));
    }

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
