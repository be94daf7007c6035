//! What can be done to a job whose id is all that is known: the job is not read, its data need not be readable.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Queue, RetryOptions};
use crate::engine::{ChildCounts, Engine, Finished};
use crate::error::{Error, Result};
use crate::job::{Dependencies, typed_records};
use crate::state::JobState;

/// Whether a job has run to its end, and what came out.
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

impl<D, R> Queue<D, R> {
    /// Whether a job has finished, and what came out; both of the same moment. One round trip.
    ///
    /// To be told when it finishes, use [`wait_until_finished`](Self::wait_until_finished).
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if its result is not an `R`.
    ///
    /// Since 0.1. BullMQ: the question that `Job.waitUntilFinished` begins with.
    #[doc(alias = "isFinished")]
    pub async fn get_job_outcome(&self, id: &str) -> Result<JobOutcome<R>>
    where
        R: DeserializeOwned,
    {
        Ok(match self.core.engine().is_finished(id).await? {
            Finished::Missing => JobOutcome::Missing,
            Finished::NotYet => JobOutcome::Pending,
            Finished::Completed(json) => {
                let json = json.as_deref().filter(|json| !json.is_empty()).unwrap_or("null");
                JobOutcome::Completed(serde_json::from_str(json).map_err(Error::json("returnvalue"))?)
            }
            Finished::Failed(reason) => JobOutcome::Failed(reason.unwrap_or_default()),
        })
    }

    /// Waits until the job with this id has completed or failed for good, and returns its result. The job is not read
    /// first, so this is for who holds an id alone, a web handler for instance.
    ///
    /// As [`Job::wait_until_finished`](crate::Job::wait_until_finished), but for the question which job is meant: the one
    /// that has the id when the wait begins, or the last that had it.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue<String, u64>) -> oxmq::Result<()> {
    /// use std::time::Duration;
    /// let size = queue.wait_until_finished("report-7", Duration::from_secs(60)).await?;
    /// # let _ = size;
    /// # Ok(()) }
    /// ```
    ///
    /// Since 0.1. BullMQ: `Job.waitUntilFinished`.
    #[doc(alias = "waitUntilFinished")]
    pub async fn wait_until_finished(&self, id: &str, limit: Duration) -> Result<R>
    where
        R: DeserializeOwned,
    {
        Engine::check_id("wait_until_finished", id)?;
        let json = self.core.finished().wait_until_finished(id, Some(limit)).await?;
        serde_json::from_str(&json).map_err(Error::json("returnvalue"))
    }

    /// As [`Job::promote`](crate::Job::promote).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn promote_job(&self, id: &str) -> Result<()> {
        self.core.engine().promote(id).await
    }

    /// As [`Job::change_delay`](crate::Job::change_delay).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn change_job_delay(&self, id: &str, delay: Duration) -> Result<()> {
        self.core.engine().change_delay(id, delay).await
    }

    /// As [`Job::change_priority`](crate::Job::change_priority).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn change_job_priority(&self, id: &str, priority: u32) -> Result<()> {
        self.core.engine().change_priority(id, priority, false).await
    }

    /// As [`Job::change_priority_lifo`](crate::Job::change_priority_lifo).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn change_job_priority_lifo(&self, id: &str, priority: u32) -> Result<()> {
        self.core.engine().change_priority(id, priority, true).await
    }

    /// As [`Job::retry`](crate::Job::retry).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn retry_job(&self, id: &str, state: JobState, options: RetryOptions) -> Result<()> {
        let RetryOptions { reset_attempts_made, reset_attempts_started } = options;
        self.core.engine().retry_job(id, state, reset_attempts_made, reset_attempts_started).await
    }

    /// As [`Job::update_progress`](crate::Job::update_progress).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// Since 0.1. BullMQ: `Queue.updateJobProgress`.
    #[doc(alias = "updateJobProgress")]
    pub async fn update_job_progress<T: Serialize + ?Sized>(&self, id: &str, progress: &T) -> Result<()> {
        let json = serde_json::to_string(progress).map_err(Error::json("progress"))?;
        self.core.engine().save_progress(id, &json).await
    }

    /// As [`Job::update_data`](crate::Job::update_data).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn update_job_data(&self, id: &str, data: &D) -> Result<()>
    where
        D: Serialize,
    {
        let json = serde_json::to_string(data).map_err(Error::json("data"))?;
        self.core.engine().update_data(id, &json).await
    }

    /// As [`Job::clear_logs`](crate::Job::clear_logs).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn clear_job_logs(&self, id: &str, keep: u64) -> Result<()> {
        self.core.engine().clear_logs(id, keep).await
    }

    /// As [`Job::remove_unprocessed_children`](crate::Job::remove_unprocessed_children).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn remove_unprocessed_children(&self, id: &str) -> Result<()> {
        self.core.engine().remove_unprocessed_children(id).await
    }

    /// As [`Job::get_dependencies`](crate::Job::get_dependencies).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_dependencies<T: DeserializeOwned>(&self, id: &str) -> Result<Dependencies<T>> {
        Dependencies::read(self.core.engine(), id).await
    }

    /// As [`Job::get_dependencies_count`](crate::Job::get_dependencies_count).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_dependencies_count(&self, id: &str) -> Result<ChildCounts> {
        self.core.engine().get_dependencies_count(id).await
    }

    /// As [`Job::get_children_values`](crate::Job::get_children_values).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_children_values<T: DeserializeOwned>(&self, id: &str) -> Result<Vec<(String, T)>> {
        typed_records(self.core.engine().get_children_values(id).await?)
    }

    /// As [`Job::get_ignored_children_failures`](crate::Job::get_ignored_children_failures).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_ignored_children_failures(&self, id: &str) -> Result<Vec<(String, String)>> {
        self.core.engine().get_ignored_children_failures(id).await
    }
}
