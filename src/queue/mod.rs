//! A queue: what producers and tools hold.

mod add;
mod admin;
mod builder;
mod core;
mod directory;
mod jobs;
mod read;
mod schedulers;

use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use add::added;
pub use add::{Add, AddBulk, Added, NewJob};
pub use builder::QueueBuilder;
pub(crate) use core::QueueCore;
pub(crate) use directory::Directory;
pub use jobs::{BulkAction, BulkOutcome, BulkReport, BulkRun, BulkStep, Jobs, JobsPage};
pub use schedulers::{JobScheduler, UpsertJobScheduler};

pub use crate::engine::{BadCursor, ClientInfo, JobsCursor, Metrics, QueueMeta};
use crate::error::Result;
use crate::options::JobOptions;
pub use crate::state::{JobCounts, Order};

/// A queue of jobs with data `D` and results `R`. Cheap to clone.
///
/// Both types default to JSON values: the untyped view, for tools.
///
/// BullMQ: `Queue`.
pub struct Queue<D = Value, R = Value> {
    core: Arc<QueueCore>,
    defaults: Arc<JobOptions>,
    types: PhantomData<fn(D) -> R>,
}

impl<D, R> Queue<D, R> {
    pub(crate) fn new(core: Arc<QueueCore>) -> Self {
        Self { core, defaults: Arc::default(), types: PhantomData }
    }

    /// The same queue with other types.
    fn of_types<E, T>(&self) -> Queue<E, T> {
        Queue { core: Arc::clone(&self.core), defaults: Arc::clone(&self.defaults), types: PhantomData }
    }

    /// Its operations on raw jobs.
    #[cfg(feature = "dashboard")]
    pub(crate) fn engine(&self) -> &crate::engine::Engine {
        self.core.engine()
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core.engine().keys.queue()
    }

    /// The prefix of its keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.core.engine().keys.prefix()
    }

    /// Writes the queue's settings to Redis, where they are missing: they make it visible to dashboards. One round trip
    /// the first time, none after that. The first add through a client does the same.
    ///
    /// # Errors
    ///
    /// Those of the connection, and [`Error::Redis`](crate::Error::Redis) where the settings may not be written. An add
    /// does not fail for that reason: it only tries again the next time.
    ///
    /// BullMQ: what `Queue.waitUntilReady` waits for.
    #[doc(alias = "metaValues")]
    pub async fn write_meta(&self) -> Result<()> {
        self.core.open().await
    }
}

impl<D, R> Clone for Queue<D, R> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), defaults: Arc::clone(&self.defaults), types: PhantomData }
    }
}

impl<D, R> std::fmt::Debug for Queue<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("prefix", &self.prefix()).field("name", &self.name()).finish_non_exhaustive()
    }
}
