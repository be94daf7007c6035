//! The queue: the handle of producers and tools.
//!
//! Begin with [`Queue`], whose page has its methods by what you want to do. The other types are what these methods take and
//! return:
//!
//! - **Adding**: [`Add`] and [`AddBulk`] are adds to be awaited; [`NewJob`] is a job of a bulk add, and [`Added`] tells what
//!   became of it. [`UpsertJobScheduler`] makes jobs that repeat, which [`JobScheduler`] describes.
//! - **Reading**: [`JobCounts`], [`Order`], [`QueueMeta`], [`Metrics`], [`ClientInfo`] for a worker that is connected.
//! - **Many jobs by a filter**: [`Jobs`], read in pages ([`JobsPage`]), or changed step by step ([`BulkRun`], [`BulkReport`]).

mod builder;
mod directory;

// The docs show the methods of a queue in the order of these modules.
mod add;

mod read;

mod jobs;
mod schedulers;
mod settings;
mod unsent;

mod admin;

use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;

pub use add::{Add, AddBulk, Added, NewJob};
pub(crate) use add::{added, sent_when_awaited};
pub use builder::QueueBuilder;
pub(crate) use directory::{Directory, QueueCore};
pub use jobs::{BulkAction, BulkOutcome, BulkReport, BulkRun, BulkStep, Jobs, JobsPage};
pub use schedulers::{JobScheduler, UpsertJobScheduler};
#[doc(hidden)]
pub use unsent::Sent;

pub use crate::engine::{BadCursor, ClientInfo, JobsCursor, Metrics, QueueMeta};
use crate::error::Result;
use crate::options::JobOptions;
pub use crate::state::{JobCounts, Order};

/// A queue of jobs with data `D` and results `R`. Cheap to clone.
///
/// Both types default to JSON values: the untyped view, for tools.
///
/// # Example
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::{Backoff, JobState, Queue};
///
/// let queue: Queue<String, usize> = client.queue("texts").open()?;
/// // Add …
/// let job = queue.add("count", "how long?".into()).attempts(3).backoff(Backoff::fixed(Duration::from_secs(1))).await?;
/// // … wait, look …
/// println!("{} bytes", job.wait_until_finished(Duration::from_secs(60)).await?);
/// println!("{} have failed", queue.get_job_counts(&[JobState::Failed]).await?.failed);
/// // … and administer.
/// queue.clean(Duration::from_secs(3_600), 1_000, JobState::Completed).await?;
/// # Ok(()) }
/// ```
///
/// # Where to find what
///
/// - To **add**: [`add`](Self::add), [`add_bulk`](Self::add_bulk), [`add_stream`](Self::add_stream), [`push`](Self::push) for a
///   [`JobKind`](crate::JobKind), [`upsert_job_scheduler`](Self::upsert_job_scheduler) for jobs that repeat.
/// - To **read**: [`get_job`](Self::get_job), [`get_job_status`](Self::get_job_status), [`get_jobs`](Self::get_jobs),
///   [`get_job_counts`](Self::get_job_counts), [`count`](Self::count); [`jobs`](Self::jobs) finds them by a filter.
/// - To do something to **one job**: [`job`](Self::job), which names it without a round trip.
/// - To do something to **many**: [`jobs`](Self::jobs) and a filter, [`retry_jobs`](Self::retry_jobs),
///   [`promote_jobs`](Self::promote_jobs), [`clean`](Self::clean), [`drain`](Self::drain), [`obliterate`](Self::obliterate).
/// - To **steer**: [`pause`](Self::pause), [`resume`](Self::resume), [`set_global_concurrency`](Self::set_global_concurrency),
///   [`set_global_rate_limit`](Self::set_global_rate_limit), [`rate_limit`](Self::rate_limit).
/// - To **watch**: [`get_workers`](Self::get_workers), [`get_metrics`](Self::get_metrics),
///   [`record_job_counts_metric`](Self::record_job_counts_metric), and [`Client::queue_events`](crate::Client::queue_events).
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

    pub(crate) fn with_defaults(core: Arc<QueueCore>, defaults: Arc<JobOptions>) -> Self {
        Self { core, defaults, types: PhantomData }
    }

    /// Returns the same queue with other types.
    fn of_types<E, T>(&self) -> Queue<E, T> {
        Queue { core: Arc::clone(&self.core), defaults: Arc::clone(&self.defaults), types: PhantomData }
    }

    /// Returns its operations on raw jobs.
    #[cfg(feature = "dashboard")]
    pub(crate) fn engine(&self) -> &crate::engine::Engine {
        self.core.engine()
    }

    /// Returns the queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core.engine().keys.queue()
    }

    /// Returns the prefix of its keys.
    #[must_use]
    #[doc(alias = "qualifiedName")]
    pub fn prefix(&self) -> &str {
        self.core.engine().keys.prefix()
    }

    /// Writes the queue's settings to Redis; dashboards find the queue by them. One round trip. The first add of a client
    /// does the same, and so does the first one after [`obliterate`](Self::obliterate), or after a worker of the client
    /// has told of [`RolledBack`](crate::worker::WorkerEvent::RolledBack). If the server was emptied in another way, as by
    /// `FLUSHALL`, call this.
    ///
    /// # Errors
    ///
    /// Errors of the connection, and [`Error::Redis`](crate::Error::Redis) if the user may not write the settings. An
    /// add does not fail for that reason, and tries again the next time.
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
