//! Changes a job, by its id.

use std::time::Duration;

use serde::Serialize;

use super::JobRef;
use crate::error::{Error, Result};
use crate::script::cancel_job::Cancellation;
use crate::state::JobState;
use crate::wire::nesting;

/// What is reset when a job is retried.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// use oxmq::JobState;
/// use oxmq::job::RetryOptions;
///
/// // With all its attempts again.
/// queue.job("report-7").retry(JobState::Failed, RetryOptions::default().reset_attempts_made(true)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    pub(crate) reset_attempts_made: bool,
    pub(crate) reset_attempts_started: bool,
}

impl RetryOptions {
    /// Counts the attempts from 0 again. Default: false, so that a job that has used up its attempts gets one more.
    #[must_use]
    #[doc(alias = "resetAttemptsMade")]
    pub fn reset_attempts_made(mut self, reset: bool) -> Self {
        self.reset_attempts_made = reset;
        self
    }

    /// Counts the starts from 0 again. Default: false.
    #[must_use]
    #[doc(alias = "resetAttemptsStarted")]
    pub fn reset_attempts_started(mut self, reset: bool) -> Self {
        self.reset_attempts_started = reset;
        self
    }
}

impl<D, R> JobRef<D, R> {
    /// Cancels the job, whether it runs in this process, in another one, or does not run yet. One round trip.
    ///
    /// - A job that **runs** in a worker of this crate is told within a second:
    ///   [`Job::cancellation`](crate::Job::cancellation) fires, with
    ///   [`CancelReason::Cancelled`](crate::job::CancelReason::Cancelled). If it returns a value, the job has
    ///   completed; any other end fails it with this reason, without another attempt. If it goes on for longer than the
    ///   worker's `cancel_grace`, it is dropped at its next `.await`.
    /// - A job that was **fetched by hand** is told by the same [`Job::cancellation`](crate::Job::cancellation) within
    ///   a second, and at the latest by the next [`Job::extend_lock`](crate::Job::extend_lock); nothing is dropped.
    /// - A job that runs in a worker of BullMQ is told if that program listens; see `docs/cancellation.md`. If not, the
    ///   attempt runs to its end. In either case there is no further attempt.
    /// - A job that is **waiting**, delayed, or waiting for children fails with this reason without being run: for this
    ///   a delayed job or a parent is moved to the front of the queue. In a paused queue this happens when it is
    ///   resumed. Its children go on.
    ///
    /// Callers that wait for the job, and its parent, see it fail. An empty reason becomes `cancelled`.
    ///
    /// # Errors
    ///
    /// Errors of the connection. The call is repeated after a lost reply, which changes nothing.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue<String, ()>) -> oxmq::Result<()> {
    /// use oxmq::job::Cancellation;
    ///
    /// match queue.job("report-7").cancel("nobody wants it any more").await? {
    ///     Cancellation::Requested => println!("its worker was asked to stop"),
    ///     Cancellation::Cancelled => println!("it will never run"),
    ///     gone => println!("too late: {gone:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// BullMQ: `Worker.cancelJob`, which knows the jobs of its own process only.
    #[doc(alias = "cancelJob")]
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<Cancellation> {
        let reason = reason.into();
        self.engine().cancel(self.id(), if reason.is_empty() { "cancelled" } else { &reason }).await
    }

    /// Makes a delayed job ready now, placed by its priority. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::NotInState`](crate::error::Reason::NotInState) if it is not delayed.
    ///
    /// BullMQ: `Job.promote`.
    pub async fn promote(&self) -> Result<()> {
        self.engine().promote(self.id()).await
    }

    /// Changes the delay of a delayed job to `delay` from now. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob) or
    /// [`Reason::NotInState`](crate::error::Reason::NotInState); [`Error::InvalidOption`] for more than 2^52 ms.
    ///
    /// BullMQ: `Job.changeDelay`.
    #[doc(alias = "changeDelay")]
    pub async fn change_delay(&self, delay: Duration) -> Result<()> {
        self.engine().change_delay(self.id(), delay).await
    }

    /// Changes the priority of the job, and puts it behind the others of that priority. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob); [`Error::InvalidOption`] for
    /// more than 2,097,151.
    ///
    /// BullMQ: `Job.changePriority`.
    #[doc(alias = "changePriority")]
    pub async fn change_priority(&self, priority: u32) -> Result<()> {
        self.engine().change_priority(self.id(), priority, false).await
    }

    /// Changes the priority of the job, and puts it before the others of that priority. One round trip.
    ///
    /// # Errors
    ///
    /// As [`change_priority`](Self::change_priority).
    ///
    /// BullMQ: `Job.changePriority` with `lifo: true`.
    pub async fn change_priority_lifo(&self, priority: u32) -> Result<()> {
        self.engine().change_priority(self.id(), priority, true).await
    }

    /// Makes a failed or completed job ready again, placed by its priority. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob), or
    /// [`Reason::NotInState`](crate::error::Reason::NotInState) if it is not in `state`; [`Error::InvalidOption`] for a state that is
    /// not finished.
    ///
    /// BullMQ: `Job.retry`.
    pub async fn retry(&self, state: JobState, options: RetryOptions) -> Result<()> {
        let RetryOptions { reset_attempts_made, reset_attempts_started } = options;
        self.engine().retry_job(self.id(), state, reset_attempts_made, reset_attempts_started).await
    }

    /// Removes the job and all its descendants, and returns false if a worker runs the job or one of its pending
    /// children. A job that does not exist counts as removed. One round trip and atomic for up to 150 jobs; a larger
    /// family is removed in steps, children first.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::BelongsToScheduler`](crate::error::Reason::BelongsToScheduler) for the next
    /// run of a job scheduler.
    ///
    /// BullMQ: `Job.remove`, `Queue.remove`.
    pub async fn remove(&self) -> Result<bool> {
        self.engine().remove(self.id(), true).await
    }

    /// Removes the job and leaves its children; everything else is as with [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    ///
    /// BullMQ: `Job.remove` with `removeChildren: false`.
    pub async fn remove_without_children(&self) -> Result<bool> {
        self.engine().remove(self.id(), false).await
    }

    /// Removes the pending descendants of the job, except those that run or have failed.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Job.removeUnprocessedChildren`.
    #[doc(alias = "removeUnprocessedChildren")]
    pub async fn remove_unprocessed_children(&self) -> Result<()> {
        self.engine().remove_unprocessed_children(self.id()).await
    }

    /// Stores the progress of the job and announces it as a `progress` event.
    ///
    /// Any JSON value is possible, such as a percentage or an object; listeners receive it as written. The last write
    /// wins, across processes too. One round trip; stored and announced together or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob) if the job was removed
    /// meanwhile; the processor may go on.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn demo(job: oxmq::Job<u32>) -> oxmq::Result<()> {
    /// job.update_progress(&40).await?; // percent, by our own convention
    /// # Ok(()) }
    /// ```
    ///
    /// BullMQ: `Job.updateProgress`, `Queue.updateJobProgress`.
    #[doc(alias = "updateProgress")]
    #[doc(alias = "updateJobProgress")]
    pub async fn update_progress<T: Serialize + ?Sized>(&self, progress: &T) -> Result<()> {
        let json = nesting::text(progress).map_err(Error::json("progress"))?;
        self.engine().save_progress(self.id(), &json).await
    }

    /// Replaces the data of the job. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob) if the job was removed meanwhile.
    ///
    /// BullMQ: `Job.updateData`.
    #[doc(alias = "updateData")]
    pub async fn update_data(&self, data: &D) -> Result<()>
    where
        D: Serialize,
    {
        let json = nesting::text(data).map_err(Error::json("data"))?;
        self.engine().update_data(self.id(), &json).await
    }

    /// Appends a line to the job's log, keeping the newest `keep` (0 keeps all), and returns how many lines the log
    /// has. [`Job::log`](crate::Job::log) keeps as many as the job's options say.
    ///
    /// One round trip; never repeated after a lost reply, so that no line is written twice.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob).
    ///
    /// BullMQ: `Queue.addJobLog`.
    #[doc(alias = "addJobLog")]
    pub async fn add_log(&self, line: &str, keep: u32) -> Result<u64> {
        self.engine().add_log(self.id(), &[line], keep).await
    }

    /// Trims the job's log to the newest `keep` lines; 0 deletes it. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Job.clearLogs`.
    #[doc(alias = "clearLogs")]
    pub async fn clear_logs(&self, keep: u64) -> Result<()> {
        self.engine().clear_logs(self.id(), keep).await
    }
}
