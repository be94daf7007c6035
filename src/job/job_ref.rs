//! A job by its id, for everything that can be done without reading it first.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{JobCore, JobIdentity};
use crate::engine::Engine;
use crate::engine::events::Finished;
use crate::error::Result;
use crate::events::Awaited;
use crate::queue::QueueCore;
use crate::state::{JobState, Order};
use crate::wire::job::RawJob;
use crate::wire::json;

/// A handle of a job by its id: [`Queue::job`](crate::Queue::job) creates one without a round trip, even for an id that
/// no job has.
///
/// It has everything that can be done to a job by its id. A [`Job`](crate::Job) dereferences to it, so that
/// `job.promote()` and `queue.job("7").promote()` are the same call. The job's data need not be readable as `D` for any
/// of them.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, u64>) -> oxmq::Result<()> {
/// use std::time::Duration;
///
/// let report = queue.job("report-7");
/// report.change_priority(1).await?;
/// println!("{} bytes", report.wait_until_finished(Duration::from_secs(60)).await?);
/// # Ok(()) }
/// ```
pub struct JobRef<D = Value, R = Value> {
    /// If created from an id alone, only the id of the raw job is set.
    pub(super) core: Arc<JobCore>,
    types: PhantomData<fn(D) -> R>,
}

/// Whether a job has finished, and its outcome.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, u64>) -> oxmq::Result<()> {
/// use oxmq::job::JobOutcome;
///
/// match queue.job("report-7").get_outcome().await? {
///     JobOutcome::Completed(bytes) => println!("{bytes} bytes"),
///     JobOutcome::Failed(reason) => println!("failed: {reason}"),
///     other => println!("not yet, or gone: {other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobOutcome<R> {
    /// There is no such job: it was never added, or it was removed.
    Missing,
    /// It has not finished.
    Pending,
    /// It completed, with this result.
    Completed(R),
    /// It failed for good, for this reason.
    Failed(String),
}

impl<R: serde::Serialize> serde::Serialize for JobOutcome<R> {
    /// Writes `state` in BullMQ's words, with `unknown` for a missing job and `pending` for one that has not finished;
    /// and `returnvalue` or `failedReason`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Missing => map.serialize_entry("state", "unknown")?,
            Self::Pending => map.serialize_entry("state", "pending")?,
            Self::Completed(value) => {
                map.serialize_entry("state", "completed")?;
                map.serialize_entry("returnvalue", value)?;
            }
            Self::Failed(reason) => {
                map.serialize_entry("state", "failed")?;
                map.serialize_entry("failedReason", reason)?;
            }
        }
        map.end()
    }
}

/// The log of a job, or part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobLogs {
    /// The lines asked for.
    pub logs: Vec<String>,
    /// How many lines the log has.
    pub count: u64,
}

impl<D, R> JobRef<D, R> {
    pub(crate) fn to(queue: Arc<QueueCore>, id: String) -> Self {
        let raw = RawJob::of_id(id);
        Self::of(Arc::new(JobCore { queue, raw, attempt: None, host: None, seen: JobIdentity::default() }))
    }

    pub(super) fn of(core: Arc<JobCore>) -> Self {
        Self { core, types: PhantomData }
    }

    pub(crate) fn queue_core(&self) -> &QueueCore {
        &self.core.queue
    }

    pub(super) fn engine(&self) -> &Engine {
        self.core.queue.engine()
    }

    /// Returns the id, unique in its queue.
    #[must_use]
    pub fn id(&self) -> &str {
        self.core.raw.id()
    }

    /// Returns the name of the queue.
    #[must_use]
    #[doc(alias = "queueName")]
    pub fn queue_name(&self) -> &str {
        self.engine().keys.queue()
    }

    /// Returns the prefix of the queue's keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.engine().keys.prefix()
    }

    /// Returns the state of the job. One round trip.
    ///
    /// A job that is in none of the sets is searched for in the lists of active and of waiting jobs, as in BullMQ: Redis
    /// looks at some 200 ids in a microsecond, so that with a million waiting jobs it serves nobody else for 5 ms.
    /// [`waits_for`](Self::waits_for) tells the state of any job too, and looks only at the waiting jobs that run next: one
    /// that it finds in no other place counts as waiting behind them.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Job.getState`, `Queue.getJobState`.
    #[doc(alias = "getState")]
    #[doc(alias = "getJobState")]
    #[doc(alias = "isActive")]
    #[doc(alias = "isDelayed")]
    #[doc(alias = "isWaiting")]
    #[doc(alias = "isWaitingChildren")]
    pub async fn get_state(&self) -> Result<JobState> {
        self.engine().get_state(self.id()).await
    }

    /// Reads the job's hash field by field, as it is stored, even if the job cannot be decoded. Empty if there is no
    /// such job; bytes that are not UTF-8 are replaced. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    pub async fn get_fields(&self) -> Result<Vec<(String, String)>> {
        self.engine().get_fields(self.id()).await
    }

    /// Returns whether the job has finished, and its outcome; both of the same moment. One round trip.
    ///
    /// To be told when it finishes, use [`wait_until_finished`](Self::wait_until_finished).
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) if its result is not an `R`.
    ///
    /// BullMQ: `Job.isCompleted` and `Job.isFailed`; also what `Job.waitUntilFinished` first checks.
    #[doc(alias = "isFinished")]
    #[doc(alias = "isCompleted")]
    #[doc(alias = "isFailed")]
    #[doc(alias = "get_job_outcome")]
    pub async fn get_outcome(&self) -> Result<JobOutcome<R>>
    where
        R: DeserializeOwned,
    {
        Ok(match self.engine().is_finished(self.id()).await? {
            Finished::Refused(_) => JobOutcome::Missing,
            Finished::NotYet => JobOutcome::Pending,
            Finished::Completed(json) => {
                let json = if json.is_empty() { "null" } else { &json };
                JobOutcome::Completed(json::read("returnvalue", json).map_err(|error| error.of_job(self.core.place()))?)
            }
            Finished::Failed(reason) => JobOutcome::Failed(reason),
        })
    }

    /// Waits until the job has completed or failed for good, and returns its result.
    ///
    /// All waits on one queue share one reader of its events. In addition the jobs are read every few seconds, so that
    /// a lost event or a removed job cannot make a wait endless. The result of a job that was removed when it completed
    /// is found as long as its event is among the newest 10,000 of the queue. Waiting only reads: while the server is
    /// away it is repeated until `limit` has passed.
    ///
    /// For a [`Job`](crate::Job), a later job with the same id is never taken for this one. For a handle from an id, it
    /// means the job that has the id when the wait begins, or the last one that had it.
    ///
    /// One round trip if the job has finished already; for a removed job, one more for every 500 events that are
    /// searched.
    ///
    /// # Errors
    ///
    /// [`Error::JobFailed`](crate::Error::JobFailed) with the reason, [`Error::Timeout`](crate::Error::Timeout) after `limit`, [`Error::Refused`](crate::Error::Refused) with
    /// [`Reason::MissingJob`](crate::error::Reason::MissingJob) if the job is gone and no event tells its result,
    /// [`Error::Json`](crate::Error::Json) if its result is not an `R`.
    ///
    /// BullMQ: `Job.waitUntilFinished`.
    #[doc(alias = "waitUntilFinished")]
    pub async fn wait_until_finished(&self, limit: Duration) -> Result<R>
    where
        R: DeserializeOwned,
    {
        Engine::check_id("wait_until_finished", self.id())?;
        let JobIdentity { born, at: seen } = self.core.seen;
        let job = Awaited { id: self.id(), born, seen };
        let json = self.core.queue.finished().wait_until_finished(job, Some(limit)).await?;
        json::read("returnvalue", &json).map_err(|error| error.of_job(self.core.place()))
    }

    /// Reads lines of the job's log. Position 0 is the oldest line, or in descending order the newest; both ends are
    /// inclusive, and negative positions count from the end. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getJobLogs`.
    #[doc(alias = "getJobLogs")]
    pub async fn get_logs(&self, start: i64, end: i64, order: Order) -> Result<JobLogs> {
        let (logs, count) = self.engine().get_job_logs(self.id(), start, end, order.is_ascending()).await?;
        Ok(JobLogs { logs, count })
    }
}

impl<D, R> Clone for JobRef<D, R> {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.core))
    }
}

impl<D, R> std::fmt::Debug for JobRef<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobRef").field("queue", &self.queue_name()).field("id", &self.id()).finish_non_exhaustive()
    }
}
