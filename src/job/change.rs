//! Changing a job, by its id.

use std::time::Duration;

use serde::Serialize;

use super::JobRef;
use crate::error::{Error, Result};
use crate::script::cancel_job::Cancellation;
use crate::state::JobState;

/// What a retried job begins anew.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// use oxmq::JobState;
/// use oxmq::job::RetryOptions;
///
/// // With all its attempts once more.
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
    /// Counts the attempts from 0 again. Default: false, so that a job that had used them up gets one more.
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
    /// Cancels the job, wherever it is: in this process, in another one, or not yet with a worker. One round trip.
    ///
    /// - A job that **runs** under a worker of this crate is told within a second: [`Job::cancellation`](crate::Job::cancellation)
    ///   fires, with [`CancelReason::Cancelled`](crate::job::CancelReason::Cancelled). What it returns as a value counts, and
    ///   it has completed; any other end fails it for this reason, without another attempt. If it goes on for longer than
    ///   the worker's `cancel_grace`, it is dropped at its next `.await`.
    /// - One that was **fetched by hand** is told by the same [`Job::cancellation`](crate::Job::cancellation) within a second, and by
    ///   the next [`Job::extend_lock`](crate::Job::extend_lock) at the latest; nothing is dropped.
    /// - One that runs under a worker of BullMQ is told if that program listens; see `docs/cancellation.md`. If it does
    ///   not, the attempt runs to its end; there is no further one in either case.
    /// - One that **waits**, for its turn, its time or its children, fails unrun for this reason: one that is delayed or a
    ///   parent comes to the front for it, and in a paused queue it takes until that is resumed. Its children go on.
    ///
    /// Whoever waits for the job, and its parent, learn that it failed. An empty reason is `cancelled`.
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

    /// Lets a delayed job run now, by its priority. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::NotInState`](crate::error::Reason::NotInState) if it is not delayed.
    ///
    /// BullMQ: `Job.promote`.
    pub async fn promote(&self) -> Result<()> {
        self.engine().promote(self.id()).await
    }

    /// Lets a delayed job become due after this time from now. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob) or
    /// [`Reason::NotInState`](crate::error::Reason::NotInState); [`Error::InvalidOption`] above 2^52 ms.
    ///
    /// BullMQ: `Job.changeDelay`.
    #[doc(alias = "changeDelay")]
    pub async fn change_delay(&self, delay: Duration) -> Result<()> {
        self.engine().change_delay(self.id(), delay).await
    }

    /// Gives the job another priority and puts it behind the others of that priority. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob); [`Error::InvalidOption`] above 2,097,151.
    ///
    /// BullMQ: `Job.changePriority`.
    #[doc(alias = "changePriority")]
    pub async fn change_priority(&self, priority: u32) -> Result<()> {
        self.engine().change_priority(self.id(), priority, false).await
    }

    /// Gives the job another priority and puts it before the others of that priority. One round trip.
    ///
    /// # Errors
    ///
    /// As [`change_priority`](Self::change_priority).
    ///
    /// BullMQ: `Job.changePriority` with `lifo: true`.
    pub async fn change_priority_lifo(&self, priority: u32) -> Result<()> {
        self.engine().change_priority(self.id(), priority, true).await
    }

    /// Lets a failed or completed job run again, by its priority. One round trip.
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

    /// Removes the job and its pending children, and returns false if a worker holds one of them. One that does not exist
    /// counts as removed. One round trip and atomic up to 150 jobs; a larger family goes in steps, children first.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::BelongsToScheduler`](crate::error::Reason::BelongsToScheduler) for the current run of
    /// a job scheduler.
    ///
    /// BullMQ: `Job.remove`, `Queue.remove`.
    pub async fn remove(&self) -> Result<bool> {
        self.engine().remove(self.id(), true).await
    }

    /// Removes the job and leaves its children; otherwise as [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    ///
    /// BullMQ: `Job.remove` with `removeChildren: false`.
    pub async fn remove_without_children(&self) -> Result<bool> {
        self.engine().remove(self.id(), false).await
    }

    /// Removes the pending children of the job and theirs, except those that run or have failed.
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
    /// Any JSON value will do, a percentage or an object; listeners receive it as written. The last write wins, also
    /// across processes. One round trip; stored and announced together or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`](crate::error::Reason::MissingJob) if the job was removed meanwhile; the
    /// processor may go on.
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
        let json = serde_json::to_string(progress).map_err(Error::json("progress"))?;
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
        let json = serde_json::to_string(data).map_err(Error::json("data"))?;
        self.engine().update_data(self.id(), &json).await
    }

    /// Appends a line to the job's log, keeping the newest `keep` (0 keeps all), and returns how many are kept.
    /// [`Job::log`](crate::Job::log) keeps as many as the job's options say.
    ///
    /// One round trip; never repeated after a lost reply, so that no line stands twice.
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

    /// Keeps the newest `keep` lines of the job's log, or none. One round trip.
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
