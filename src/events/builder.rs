//! Builds listeners to a queue's events.

#[cfg(feature = "dashboard")]
use std::sync::Arc;
use std::time::Duration;

use super::QueueEvents;
use crate::engine::Engine;
#[cfg(feature = "dashboard")]
use crate::engine::stream_waits::StreamWaits;
use crate::error::{Error, Result};
use crate::options::{HOUR, SHORTEST, check_span};
use crate::wire::EventId;

/// Where a listener begins to read.
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
    /// With the first event written after the listener is ready. The position is determined once, so that no event
    /// between two reads is lost, as may happen in BullMQ.
    #[default]
    Now,
    /// With the oldest event that the stream still holds.
    Beginning,
    /// With the event after this one, usually the last that an earlier listener saw.
    After(EventId),
}

/// The options that the builder of a listener sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventsOptions {
    pub(super) from: EventsFrom,
    pub(super) block: Duration,
    pub(super) buffer: usize,
}

/// Builds [`QueueEvents`]: where to begin, and how much to hold for a slow listener. [`start`](Self::start) starts it.
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

    /// Sets where to begin. Default: [`EventsFrom::Now`]. BullMQ: `lastEventId`.
    #[doc(alias = "lastEventId")]
    pub fn from(mut self, from: EventsFrom) -> Self {
        self.options.from = from;
        self
    }

    /// Sets how long one read waits at the server; if nothing comes for a second longer, the connection is replaced.
    /// Default: 10 s; 1 ms to an hour. BullMQ: `blockingTimeout`.
    #[doc(alias = "blockingTimeout")]
    pub fn block(mut self, block: Duration) -> Self {
        self.options.block = block;
        self
    }

    /// Sets how many events are held for a slow listener before the oldest are dropped. In addition at most 64 MiB are
    /// held. Default: 10,000; at least 1.
    pub fn buffer(mut self, events: usize) -> Self {
        self.options.buffer = events;
        self
    }

    /// Waits for events together with these others.
    #[cfg(feature = "dashboard")]
    pub(crate) fn together(mut self, others: &Arc<StreamWaits>) -> Self {
        if let Ok(engine) = &mut self.engine {
            engine.streams = Arc::clone(others);
        }
        self
    }

    /// Starts to listen in the background: await [`QueueEvents::ready`] before you add a job whose events matter.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the queue's name or an option breaks a rule.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[doc(alias = "autorun")]
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
