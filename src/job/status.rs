//! A job together with its state.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Job, JobRef};
use crate::error::Result;
use crate::state::JobState;

/// A job and its state, both of one moment: what a page or an API shows of a job, in one round trip.
///
/// The progress is in [`Job::progress`], the result in [`Job::return_value`], the reason of a failure in
/// [`Job::failed_reason`].
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, u64>) -> oxmq::Result<()> {
/// if let Some(status) = queue.get_job_status("report-7").await? {
///     let percent: Option<u8> = status.job.progress()?;
///     println!("{}: {percent:?}, {:?}", status.state, status.job.return_value()?);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, serde::Serialize)]
#[serde(bound = "")]
#[non_exhaustive]
pub struct JobStatus<D = Value, R = Value> {
    /// Its state; [`JobState::Unknown`] if it is in none of the queue's lists and sets.
    pub state: JobState,
    /// The job as it was stored then.
    pub job: Job<D, R>,
}

impl<D, R> JobRef<D, R> {
    /// Reads the job and its state, at one moment; `None` if there is no such job. One round trip.
    ///
    /// For the state alone there is [`get_state`](Self::get_state), for the outcome [`get_outcome`](Self::get_outcome);
    /// these do not read the data.
    ///
    /// # Errors
    ///
    /// [`Error::Undecodable`](crate::Error::Undecodable) or [`Error::Json`](crate::Error::Json) if the job cannot be read.
    ///
    /// BullMQ: `Queue.getJob` and `Job.getState`, which are two round trips of two moments.
    #[doc(alias = "get_job_status")]
    pub async fn get_status(&self) -> Result<Option<JobStatus<D, R>>>
    where
        D: DeserializeOwned,
    {
        let Some((state, raw)) = self.engine().get_status(self.id()).await? else { return Ok(None) };
        let job = Job::read_now(&self.core.queue, raw)?;
        Ok(Some(JobStatus { state, job }))
    }
}
