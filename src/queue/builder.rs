//! Builds the handle of a queue.

use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;

use super::{Queue, QueueCore};
use crate::error::Result;
use crate::options::{JobOptions, MAX_SAFE};

/// Builds a [`Queue`]: its default options, and the cap of its event stream. [`open`](Self::open) creates it.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use oxmq::{JobOptions, Queue};
///
/// let mails: Queue<String, ()> =
///     client.queue("mails").default_job_options(JobOptions::default().attempts(3)).open()?;
/// # let _ = mails;
/// # Ok(()) }
/// ```
#[must_use]
pub struct QueueBuilder<D = Value, R = Value> {
    core: Result<Arc<QueueCore>>,
    defaults: JobOptions,
    max_events: Option<u64>,
    types: PhantomData<fn(D) -> R>,
}

impl<D, R> QueueBuilder<D, R> {
    pub(crate) fn new(core: Result<Arc<QueueCore>>) -> Self {
        Self { core, defaults: JobOptions::default(), max_events: None, types: PhantomData }
    }

    /// Sets the default options of jobs added through this handle and its clones; what the job itself sets takes
    /// precedence. A job id is never taken from here. Default: none. BullMQ: `defaultJobOptions`.
    #[doc(alias = "defaultJobOptions")]
    pub fn default_job_options(mut self, options: JobOptions) -> Self {
        self.defaults = options;
        self
    }

    /// Sets about how many events the queue keeps, for all who use it. Default, and with 0: the present setting of the
    /// queue, which is 10,000 for a new one. At most 2^53 − 1; more counts as that.
    ///
    /// It is written with the queue's settings, once per client; see [`Queue::write_meta`]. If several handles have set
    /// it by then, the last one applies. A call that creates jobs or events and finds the settings gone, as after a loss
    /// of all data, writes them again; so does a worker that creates the next run of a scheduler. BullMQ: `streams.events.maxLen`.
    #[doc(alias = "maxLen")]
    #[doc(alias = "streams")]
    pub fn max_len_events(mut self, events: u64) -> Self {
        self.max_events = Some(events.min(MAX_SAFE));
        self
    }

    /// Creates the handle. No round trip: a queue does not have to be created in Redis.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a name that is empty, too long, or has a colon or
    /// control characters.
    pub fn open(self) -> Result<Queue<D, R>> {
        let core = self.core?;
        if let Some(events) = self.max_events {
            core.limit_events(events);
        }
        Ok(Queue { core, defaults: Arc::new(self.defaults), types: PhantomData })
    }
}

impl<D, R> std::fmt::Debug for QueueBuilder<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueBuilder").field("defaults", &self.defaults).finish_non_exhaustive()
    }
}
