//! How a listener is made.

use std::time::Duration;

use super::QueueEvents;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::options::{HOUR, SHORTEST, check_span};
use crate::wire::EventId;

/// Where a listener begins.
///
/// ```no_run
/// use oxmq::Client;
/// use oxmq::events::EventsFrom;
///
/// // A browser that comes back says which event it saw last: its `Last-Event-ID`.
/// async fn go_on(client: &Client, last_event_id: &str) -> oxmq::Result<oxmq::QueueEvents> {
///     let from = last_event_id.parse().map_or(EventsFrom::Now, EventsFrom::After);
///     client.queue_events("mails").from(from).start()
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EventsFrom {
    /// With the first event written after the listener is ready. The place is found out once, so that nothing between
    /// two reads is lost, as it may be in BullMQ.
    #[default]
    Now,
    /// With the oldest event that the stream still holds.
    Beginning,
    /// With the event after this one, usually the last that an earlier listener saw.
    After(EventId),
}

/// What the builder of a listener sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventsOptions {
    pub(super) from: EventsFrom,
    pub(super) block: Duration,
    pub(super) buffer: usize,
}

/// [`QueueEvents`] to be: where to begin, how much to hold for a slow reader. [`start`](Self::start) makes it listen.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use oxmq::events::EventsFrom;
///
/// let events = client.queue_events("photos").from(EventsFrom::Beginning).buffer(100_000).start()?;
/// # let _ = events;
/// # Ok(()) }
/// ```
#[must_use]
pub struct QueueEventsBuilder {
    engine: Result<Engine>,
    options: EventsOptions,
}

impl QueueEventsBuilder {
    pub(crate) fn new(engine: Result<Engine>) -> Self {
        let options = EventsOptions { from: EventsFrom::Now, block: Duration::from_secs(10), buffer: 10_000 };
        Self { engine, options }
    }

    /// Says where to begin. Default: [`EventsFrom::Now`]. BullMQ: `lastEventId`.
    #[doc(alias = "lastEventId")]
    pub fn from(mut self, from: EventsFrom) -> Self {
        self.options.from = from;
        self
    }

    /// Sets how long one read waits at the server; a connection that is silent for a second more is replaced. Default: 10 s;
    /// from 1 ms to one hour. BullMQ: `blockingTimeout`.
    #[doc(alias = "blockingTimeout")]
    pub fn block(mut self, block: Duration) -> Self {
        self.options.block = block;
        self
    }

    /// Sets how many events are held for a slow reader, before the oldest of them are dropped; also no more than 64 MiB of
    /// them are held. Default: 10,000; at least 1.
    pub fn buffer(mut self, events: usize) -> Self {
        self.options.buffer = events;
        self
    }

    /// Begins to listen, in the background: await [`QueueEvents::ready`] before adding a job whose events matter.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the queue's name or an option breaks a rule.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<QueueEvents> {
        let Self { engine, options } = self;
        check_span("block", options.block, SHORTEST..=HOUR)?;
        if options.buffer == 0 {
            return Err(Error::invalid("buffer", "it must be at least 1"));
        }
        Ok(QueueEvents::open(engine?, options))
    }
}

impl std::fmt::Debug for QueueEventsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueEventsBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}
