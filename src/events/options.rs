//! How to listen to a queue.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::wire::EventId;

/// Where a listener begins.
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

/// How to listen to a queue: where to begin, how much to hold for a slow reader.
///
/// ```
/// use oxmq::{EventsFrom, EventsOptions};
///
/// let options = EventsOptions::new().from(EventsFrom::Beginning).buffer(100_000);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct EventsOptions {
    pub(crate) from: EventsFrom,
    pub(crate) block: Duration,
    pub(crate) buffer: usize,
}

impl EventsOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self { from: EventsFrom::Now, block: Duration::from_secs(10), buffer: 10_000 }
    }

    /// Where to begin. Default: [`EventsFrom::Now`]. BullMQ: `lastEventId`.
    #[doc(alias = "lastEventId")]
    pub fn from(mut self, from: EventsFrom) -> Self {
        self.from = from;
        self
    }

    /// How long one read waits at the server; a connection that is silent for a second more is replaced. Default: 10 s;
    /// from 1 ms to one hour. BullMQ: `blockingTimeout`.
    #[doc(alias = "blockingTimeout")]
    pub fn block(mut self, block: Duration) -> Self {
        self.block = block;
        self
    }

    /// How many events are held for a slow reader, before the oldest of them are dropped; also no more than 64 MiB of
    /// them are held. Default: 10,000; at least 1.
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events;
        self
    }

    /// Tests the ranges.
    pub(crate) fn check(&self) -> Result<()> {
        if self.block < Duration::from_millis(1) || self.block > Duration::from_secs(3600) {
            return Err(Error::invalid("block", "it must be from 1 ms to one hour"));
        }
        if self.buffer == 0 {
            return Err(Error::invalid("buffer", "it must be at least 1"));
        }
        Ok(())
    }
}

impl Default for EventsOptions {
    fn default() -> Self {
        Self::new()
    }
}
