//! The typed job that processors receive and queues return.
//!
//! [`Job`] is a job that was read, with its data; [`JobRef`] is one by its id, to act on it without reading it first. Both
//! pages have the methods by what you want to do. A processor that is told to stop learns why by [`CancelReason`];
//! [`JobState`] says where a job is, [`JobStatus`] that together with the job, [`JobOutcome`] how it ended.

mod attempt;
pub(crate) mod cancel_watch;
mod host;

// The docs show the methods of a job in the order of these modules.
mod fetching;
mod fields;

mod opts;

mod job_ref;
mod status;

mod change;
mod children;

pub(crate) mod manual;
mod to_json;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use crate::script::cancel_job::Cancellation;
pub use attempt::CancelReason;
pub(crate) use attempt::{Attempt, OwnEnd};
pub use change::RetryOptions;
pub use children::Dependencies;
pub use fetching::Fetched;
pub(crate) use fetching::Fetching;
pub(crate) use host::Host;
pub use job_ref::{JobLogs, JobOutcome, JobRef};
pub use opts::JobOpts;
pub use status::JobStatus;
#[doc(no_inline)]
pub use tokio_util::sync::CancellationToken;

use crate::clock::from_epoch_ms;
pub use crate::engine::{ChildCounts, ChildKind, ChildPage};
use crate::error::{JobPlace, Result};
use crate::options::ParentRef;
use crate::queue::QueueCore;
pub use crate::state::{JobState, UnknownState};
use crate::wire::job::RawJob;
use crate::wire::json;

/// A job of a queue, with its data as `D` and its result as `R`.
///
/// It is a snapshot: later changes in Redis do not change it. Both types default to JSON values.
///
/// Local accessors (`id`, `name`, `data` …) cost nothing; everything else is a round trip. The methods that need only
/// the id are those of [`JobRef`], to which a job dereferences; to keep a job for later, a clone of its `JobRef` is
/// enough.
///
/// # Example
///
/// ```no_run
/// use oxmq::{Halt, Job};
///
/// async fn resize(job: Job<String, u64>) -> Result<u64, Halt> {
///     println!("{} of {}, attempt {} of {}", job.id(), job.queue_name(), job.attempts_made() + 1, job.attempts().max(1));
///     job.update_progress(&50).await?;
///     job.log("half-way").await?;
///     if job.cancellation().is_cancelled() {
///         return Err(Halt::failed("stopped"));
///     }
///     Ok(job.data().len() as u64)
/// }
/// ```
///
/// # Where to find what
///
/// - **What it is**: [`id`](JobRef::id), [`name`](Self::name), [`data`](Self::data), [`opts`](Self::opts), [`timestamp`](Self::timestamp).
/// - **How it stands**, as of when it was read: [`attempts_made`](Self::attempts_made), [`progress`](Self::progress),
///   [`return_value`](Self::return_value), [`failed_reason`](Self::failed_reason), [`stacktrace`](Self::stacktrace),
///   [`finished_on`](Self::finished_on); as of now: [`get_status`](JobRef::get_status), [`get_state`](JobRef::get_state).
/// - **While it runs**: [`update_progress`](JobRef::update_progress), [`log`](Self::log), [`update_data`](Self::update_data),
///   [`cancellation`](Self::cancellation), [`add_children`](Self::add_children), [`get_children_values`](JobRef::get_children_values).
/// - **To wait for it**: [`wait_until_finished`](JobRef::wait_until_finished), [`get_outcome`](JobRef::get_outcome).
/// - **To change it**: [`cancel`](JobRef::cancel), [`retry`](JobRef::retry), [`promote`](JobRef::promote),
///   [`change_delay`](JobRef::change_delay), [`change_priority`](JobRef::change_priority), [`remove`](JobRef::remove).
/// - **To end it by hand** ([`ManualWorker`](crate::ManualWorker)): [`move_to_completed`](Self::move_to_completed),
///   [`move_to_failed`](Self::move_to_failed), [`extend_lock`](Self::extend_lock) and the like.
///
/// BullMQ: `Job`.
pub struct Job<D = Value, R = Value> {
    by_id: JobRef<D, R>,
    data: D,
}

/// A job without its types, as layers and extractors see it. Its data is in [`data_json`](Job::data_json).
pub type AnyJob = Job<(), ()>;

impl<D, R> Deref for Job<D, R> {
    type Target = JobRef<D, R>;

    fn deref(&self) -> &JobRef<D, R> {
        &self.by_id
    }
}

/// The part of a job without its types.
pub(crate) struct JobCore {
    pub(crate) queue: Arc<QueueCore>,
    pub(crate) raw: RawJob,
    /// The attempt that this job was handed out for, in a processor or by hand.
    pub(crate) attempt: Option<Arc<Attempt>>,
    /// The worker that fetched it, if one did.
    pub(crate) host: Option<Arc<Host>>,
    pub(crate) seen: JobIdentity,
}

impl JobCore {
    /// Returns what an error says of which job it is about.
    pub(crate) fn place(&self) -> JobPlace {
        JobPlace::new(self.raw.id(), self.queue.engine().keys.queue())
    }
}

/// Identifies this job among those with its id, for callers that wait for it: the id may be given to another job later.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct JobIdentity {
    /// The timestamp that it has in Redis, if that is known.
    pub(crate) born: Option<i64>,
    /// When it was known to exist; `None` if nobody will wait for it.
    pub(crate) at: Option<Instant>,
}

impl JobIdentity {
    /// Identifies a job that existed a moment ago, with its timestamp if it is known.
    pub(crate) fn now(born: Option<i64>) -> Self {
        Self { born, at: Some(Instant::now()) }
    }
}

impl<D, R> Job<D, R> {
    pub(crate) fn new(core: Arc<JobCore>, data: D) -> Self {
        Self { by_id: JobRef::of(core), data }
    }

    pub(crate) fn read(core: Arc<JobCore>) -> Result<Self>
    where
        D: DeserializeOwned,
    {
        let data = json::read("data", core.raw.data()).map_err(|error| error.of_job(core.place()))?;
        Ok(Self::new(core, data))
    }

    /// Returns a job of a queue that was read a moment ago.
    pub(crate) fn read_now(queue: &Arc<QueueCore>, raw: RawJob) -> Result<Self>
    where
        D: DeserializeOwned,
    {
        let (queue, seen) = (Arc::clone(queue), JobIdentity::now(raw.timestamp));
        Self::read(Arc::new(JobCore { queue, raw, attempt: None, host: None, seen }))
    }

    pub(crate) fn into_core(self) -> Arc<JobCore> {
        self.by_id.core
    }

    /// Cancels the attempt, if this is one.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn cancel(&self, reason: CancelReason) {
        if let Some(attempt) = &self.core.attempt {
            attempt.cancel(reason);
        }
    }

    /// Returns the attempt that this job was handed out for.
    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        self.core.attempt.as_deref()
    }

    /// Waits until the worker that runs the attempt begins to close.
    pub(crate) async fn worker_closes(&self) {
        match &self.core.host {
            Some(host) => host.closing.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Returns how long the attempt may take to end by itself once it is cancelled.
    pub(crate) fn cancel_grace(&self) -> Duration {
        self.core.host.as_ref().map_or(Duration::ZERO, |host| host.options.cancel_grace)
    }
}

/// A clone copies only the data, and belongs to the same attempt: its cancellation and its lock are the same.
impl<D: Clone, R> Clone for Job<D, R> {
    fn clone(&self) -> Self {
        Self { by_id: self.by_id.clone(), data: self.data.clone() }
    }
}

impl ParentRef {
    /// Names a job as the parent of another one, which may be in any queue. Takes a [`Job`] or its [`JobRef`].
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue<u32>, parent: oxmq::Job<u32>) -> oxmq::Result<()> {
    /// use oxmq::options::ParentRef;
    ///
    /// queue.add("part", 1).parent(ParentRef::of(&parent)).await?;
    /// queue.add("part", 2).parent(ParentRef::of(&queue.job("7"))).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn of<D, R>(job: &JobRef<D, R>) -> Self {
        Self::stored(job.id(), job.queue_core().engine().keys.qualified())
    }
}

impl<D, R> std::fmt::Debug for Job<D, R> {
    /// Shows id, name and queue; never the data, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("queue", &self.queue_name())
            .field("id", &self.id())
            .field("name", &self.name())
            .field("attempts_made", &self.attempts_made())
            .finish_non_exhaustive()
    }
}

fn moment(ms: Option<i64>) -> Option<SystemTime> {
    ms.and_then(|ms| u64::try_from(ms).ok()).map(from_epoch_ms)
}
