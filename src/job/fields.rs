//! The fields of a job, and what it does while it runs.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{CancelReason, Job, moment};
use crate::error::Result;
use crate::options::{OnChildFailure, ParentRef};
use crate::wire::json;

impl<D, R> Job<D, R> {
    /// Returns the name, by which processors tell kinds of jobs apart.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core.raw.name()
    }

    /// Returns the job's data.
    #[must_use]
    pub fn data(&self) -> &D {
        &self.data
    }

    /// Takes the data out of the job.
    #[must_use]
    pub fn into_data(self) -> D {
        self.data
    }

    /// Returns the data as stored: JSON, byte for byte.
    #[must_use]
    pub fn data_json(&self) -> &str {
        self.core.raw.data()
    }

    /// Returns the options as stored: JSON, byte for byte, with BullMQ's short names; `{}` if none are stored.
    #[must_use]
    pub fn opts_json(&self) -> &str {
        Some(self.core.raw.opts_text()).filter(|text| !text.is_empty()).unwrap_or("{}")
    }

    /// Returns when the job was added.
    #[must_use]
    pub fn timestamp(&self) -> Option<SystemTime> {
        moment(self.core.raw.timestamp)
    }

    /// Returns the delay, counted from the timestamp; zero once the job was promoted.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.core.raw.delay).unwrap_or(0))
    }

    /// Returns the priority; 0 for none, 1 for the most urgent.
    #[must_use]
    pub fn priority(&self) -> u32 {
        // Other writers may store other numbers: a negative one runs first, like 0, and one that is too large runs
        // last.
        u32::try_from(self.core.raw.priority.max(0)).unwrap_or(u32::MAX)
    }

    /// Returns how many attempts the job has; 0 and 1 both mean one.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.core.raw.options.attempts
    }

    /// Returns how many attempts are used up: failed ones that count, and the one that completed the job.
    #[must_use]
    #[doc(alias = "attemptsMade")]
    pub fn attempts_made(&self) -> u32 {
        self.core.raw.attempts_made
    }

    /// Returns how often a worker has started the job, for whatever reason. The number only grows, so it can be used as
    /// a fencing token for external side effects: a write with a lower number comes too late.
    #[must_use]
    #[doc(alias = "attemptsStarted")]
    pub fn attempts_started(&self) -> u32 {
        self.core.raw.attempts_started
    }

    /// Returns how often the job was found active without a lock.
    #[must_use]
    #[doc(alias = "stalledCounter")]
    pub fn stalled_counter(&self) -> u32 {
        self.core.raw.stalled_counter()
    }

    /// Reads the progress as of when the job was read; `None` before the first was reported.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) if it is not a `T`.
    pub fn progress<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.core
            .raw
            .progress()
            .map(|text| json::read("progress", text))
            .transpose()
            .map_err(|error| error.of_job(self.core.place()))
    }

    /// Returns the result of a completed job.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) if it is not an `R`.
    #[doc(alias = "returnvalue")]
    pub fn return_value(&self) -> Result<Option<R>>
    where
        R: DeserializeOwned,
    {
        let json = self.core.raw.return_value();
        json.map(|json| json::read("returnvalue", json)).transpose().map_err(|error| error.of_job(self.core.place()))
    }

    /// Returns why the last failed attempt failed. It stays when a later attempt completes the job.
    #[must_use]
    #[doc(alias = "failedReason")]
    pub fn failed_reason(&self) -> Option<&str> {
        self.core.raw.failed_reason()
    }

    /// Returns one entry per failed attempt, oldest first; at most the job's `stack_trace_limit`.
    #[must_use]
    pub fn stacktrace(&self) -> Vec<String> {
        self.core.raw.stacktrace()
    }

    /// Returns when the current or last attempt began; if it was [prefetched](crate::worker::WorkerBuilder::prefetch), when it
    /// was fetched.
    #[must_use]
    #[doc(alias = "processedOn")]
    pub fn processed_on(&self) -> Option<SystemTime> {
        moment(self.core.raw.processed_on)
    }

    /// Returns when the job completed or failed for good.
    #[must_use]
    #[doc(alias = "finishedOn")]
    pub fn finished_on(&self) -> Option<SystemTime> {
        moment(self.core.raw.finished_on())
    }

    /// Returns the name of the worker that last took the job, if it has one.
    #[must_use]
    #[doc(alias = "processedBy")]
    pub fn processed_by(&self) -> Option<&str> {
        self.core.raw.processed_by()
    }

    /// Returns the full key of the parent job, if this is a child of a flow.
    #[must_use]
    #[doc(alias = "parentKey")]
    pub fn parent_key(&self) -> Option<&str> {
        self.core.raw.parent_key()
    }

    /// Returns the parent job, if this is a child of a flow.
    #[must_use]
    pub fn parent(&self) -> Option<ParentRef> {
        self.core.raw.parent().map(|parent| ParentRef::stored(&*parent.id, &*parent.queue_key))
    }

    /// Returns what the final failure of this job does to its parent; `None` without a parent or policy.
    ///
    /// This is a property of the link to the parent, which a later add of the same id may have replaced: the job's
    /// options may say something else, and do not apply.
    #[must_use]
    pub fn on_child_failure(&self) -> Option<OnChildFailure> {
        self.core.raw.parent().and_then(|parent| parent.policy)
    }

    /// Returns why this job has to fail without being run: it stalled too often, a child failed, or it was cancelled.
    /// Workers fail it by themselves, and so does a fetch by hand unless
    /// [`hand_out_deferred_failures`](crate::worker::ManualWorkerBuilder::hand_out_deferred_failures) is set.
    #[must_use]
    #[doc(alias = "deferredFailure")]
    pub fn deferred_failure(&self) -> Option<&str> {
        self.core.raw.deferred_failure()
    }

    /// Returns the id under which the job was deduplicated.
    #[must_use]
    #[doc(alias = "deduplicationId")]
    pub fn deduplication_id(&self) -> Option<&str> {
        self.core.raw.deduplication_id()
    }

    /// Returns the scheduler that created the job.
    #[must_use]
    #[doc(alias = "repeatJobKey")]
    pub fn repeat_job_key(&self) -> Option<&str> {
        self.core.raw.repeat_job_key()
    }

    /// Returns the lock token of the attempt that this job was handed out for.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.core.attempt.as_ref().map(|attempt| attempt.token().as_ref())
    }

    /// Returns a token that fires when the attempt should stop: the lock was lost, a time limit has passed, the worker
    /// is closing, or the job was cancelled by [`Worker::cancel_job`](crate::Worker::cancel_job) or, in any process, by
    /// [`JobRef::cancel`](crate::JobRef::cancel). [`cancel_reason`](Self::cancel_reason) tells why.
    ///
    /// For a job that was fetched by hand with [`ManualWorker`](crate::ManualWorker) it fires only for
    /// [`JobRef::cancel`](crate::JobRef::cancel). Outside a processor the token of any other job never fires.
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.core.attempt.as_ref().map_or_else(CancellationToken::new, |attempt| attempt.cancellation().clone())
    }

    /// Resolves when the attempt should stop, as [`cancellation`](Self::cancellation) says. It does not borrow the job.
    ///
    /// ```no_run
    /// # async fn work() {}
    /// # async fn demo(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> {
    /// tokio::select! {
    ///     () = work() => Ok(()),
    ///     () = job.cancelled() => Err(oxmq::Halt::failed("stopped")),
    /// }
    /// # }
    /// ```
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<D, R> {
        self.cancellation().cancelled_owned()
    }

    /// Returns why [`cancellation`](Self::cancellation) fired.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<&CancelReason> {
        self.core.attempt.as_ref().and_then(|attempt| attempt.cancel_reason())
    }

    /// Replaces the data of this job, in Redis and in this snapshot. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) with [`Reason::MissingJob`](crate::error::Reason::MissingJob) if the job was removed meanwhile.
    ///
    /// BullMQ: `Job.updateData`.
    #[doc(alias = "updateData")]
    pub async fn update_data(&mut self, data: D) -> Result<()>
    where
        D: Serialize,
    {
        self.by_id.update_data(&data).await?;
        self.data = data;
        Ok(())
    }

    /// Appends a line to the job's log, and returns how many lines the log has, at most the job's `keep_logs`.
    ///
    /// One round trip; never repeated after a lost reply, so that no line is written twice.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) with [`Reason::MissingJob`](crate::error::Reason::MissingJob) if the job was removed meanwhile.
    ///
    /// BullMQ: `Job.log`.
    pub async fn log(&self, line: &str) -> Result<u64> {
        self.add_log(line, self.core.raw.options.keep_logs.unwrap_or(0)).await
    }

    /// Separates this job from its parent, and returns whether the parent waited for it. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) with [`Reason::MissingJob`](crate::error::Reason::MissingJob) or
    /// [`Reason::MissingParent`](crate::error::Reason::MissingParent).
    ///
    /// BullMQ: `Job.removeChildDependency`.
    #[doc(alias = "removeChildDependency")]
    pub async fn remove_child_dependency(&self) -> Result<bool> {
        let parent = self.parent_key().unwrap_or_default();
        self.engine().remove_child_dependency(self.id(), parent).await
    }

    /// Ends the deduplication that this job stands for; returns false if another job stands for it, or none. One round
    /// trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Job.removeDeduplicationKey`.
    #[doc(alias = "removeDeduplicationKey")]
    pub async fn remove_deduplication_key(&self) -> Result<bool> {
        match self.deduplication_id() {
            Some(id) => self.engine().remove_deduplication_key_of(self.id(), id).await,
            None => Ok(false),
        }
    }
}
