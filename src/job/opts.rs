//! The options that a job was stored with, as types.

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use super::{Job, moment};
use crate::error::{Error, Result};
use crate::options::{Backoff, KeepJobs, ParentRef};
use crate::wire::job::RawJob;
use crate::wire::json;

/// The options of a job as they are stored, whoever has added it. A view, which costs nothing.
///
/// They are what was asked for when the job was added. The present values are in the job itself: [`delay`](Job::delay),
/// [`priority`](Job::priority), [`parent`](Job::parent) and [`deduplication_id`](Job::deduplication_id).
///
/// ```no_run
/// # fn demo(job: oxmq::Job) -> oxmq::Result<()> {
/// let opts = job.opts();
/// println!("{} attempts, {:?} between them", opts.attempts(), opts.backoff());
/// // Any other option, by its stored name.
/// let tenant: Option<String> = opts.get("tenant")?;
/// # Ok(()) }
/// ```
///
/// BullMQ: `Job.opts`.
#[derive(Clone, Copy)]
pub struct JobOpts<'a>(&'a RawJob);

impl<D, R> Job<D, R> {
    /// Returns the options that the job was stored with. Their text is in [`opts_json`](Self::opts_json).
    ///
    /// BullMQ: `Job.opts`.
    #[must_use]
    pub fn opts(&self) -> JobOpts<'_> {
        JobOpts(&self.core.raw)
    }
}

impl<'a> JobOpts<'a> {
    /// Returns how many attempts the job has; 0 and 1 both mean one.
    #[must_use]
    pub fn attempts(self) -> u32 {
        self.0.options.attempts
    }

    /// Returns the wait before the next attempt; `None` for none.
    #[must_use]
    pub fn backoff(self) -> Option<&'a Backoff> {
        self.0.options.backoff.as_ref()
    }

    /// Returns the delay with which the job was added.
    #[must_use]
    pub fn delay(self) -> Duration {
        whole(self.0.options.delay).map_or(Duration::ZERO, Duration::from_millis)
    }

    /// Returns the priority with which the job was added; 0 for none.
    #[must_use]
    pub fn priority(self) -> u32 {
        whole(self.0.options.priority).map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Returns whether the job was put before those that were waiting.
    #[must_use]
    pub fn lifo(self) -> bool {
        self.0.options.lifo
    }

    /// Returns the id that the producer gave; `None` if the queue numbered the job.
    #[must_use]
    #[doc(alias = "jobId")]
    pub fn job_id(self) -> Option<&'a str> {
        self.0.options.job_id.as_deref()
    }

    /// Returns the moment from which the delay counts, if the options have it.
    #[must_use]
    pub fn timestamp(self) -> Option<SystemTime> {
        moment(self.0.options.timestamp.map(json::integer))
    }

    /// Returns which jobs are kept after success; `None` if the worker decides.
    #[must_use]
    #[doc(alias = "removeOnComplete")]
    pub fn remove_on_complete(self) -> Option<KeepJobs> {
        self.0.options.remove_on_complete
    }

    /// Returns which jobs are kept after the final failure; `None` if the worker decides.
    #[must_use]
    #[doc(alias = "removeOnFail")]
    pub fn remove_on_fail(self) -> Option<KeepJobs> {
        self.0.options.remove_on_fail
    }

    /// Returns how many of the newest log lines are kept; `None` and 0 both mean all.
    #[must_use]
    #[doc(alias = "keepLogs")]
    pub fn keep_logs(self) -> Option<u32> {
        self.0.options.keep_logs
    }

    /// Returns how many stack traces of failed attempts are kept; `None` means all.
    #[must_use]
    #[doc(alias = "stackTraceLimit")]
    pub fn stack_trace_limit(self) -> Option<u32> {
        self.0.options.stack_trace_limit
    }

    /// Returns the parent that was given when the job was added.
    #[must_use]
    pub fn parent(self) -> Option<&'a ParentRef> {
        self.0.options.parent.as_ref()
    }

    /// Returns the id of the deduplication that was asked for.
    #[must_use]
    #[doc(alias = "deduplication")]
    pub fn deduplication_id(self) -> Option<&'a str> {
        self.0.options.deduplication_id.as_deref()
    }

    /// Returns how long one attempt may take; `None` if the worker decides.
    #[must_use]
    pub fn timeout(self) -> Option<Duration> {
        self.0.options.timeout
    }

    /// Returns the moment by which a worker has to start the job.
    #[must_use]
    #[doc(alias = "startBy")]
    pub fn start_by(self) -> Option<SystemTime> {
        moment(self.0.options.start_by.map(json::integer))
    }

    /// Returns how long after it could first run a worker has to start the job.
    #[must_use]
    #[doc(alias = "expiresIn")]
    pub fn expires_in(self) -> Option<Duration> {
        whole(self.0.options.expires_in).map(Duration::from_millis)
    }

    /// Reads any option by its stored name, such as one that was given with
    /// [`JobOptions::extra`](crate::JobOptions::extra); `None` if it is missing or null.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if it is not a `T`, or the options are no JSON object.
    pub fn get<T: DeserializeOwned>(self, name: &str) -> Result<Option<T>> {
        let text = if self.0.opts_text().is_empty() { "{}" } else { self.0.opts_text() };
        let options: serde_json::Map<String, serde_json::Value> = json::read("opts", text)?;
        let value = options.get(name).filter(|value| !value.is_null());
        value.map(|value| T::deserialize(value).map_err(Error::json("opts"))).transpose()
    }
}

impl std::fmt::Debug for JobOpts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("JobOpts").field(&self.0.opts_text()).finish()
    }
}

/// Reads ms or a count as others may have written them: at least 0, rounded down.
fn whole(number: Option<f64>) -> Option<u64> {
    number.map(|number| u64::try_from(json::integer(number)).unwrap_or(0))
}
