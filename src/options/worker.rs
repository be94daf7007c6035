//! How a worker works.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::KeepJobs;
use crate::error::{BoxError, Error, Result};

/// What a custom backoff strategy decides on.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedAttempt<'a> {
    /// The job's id.
    pub job_id: &'a str,
    /// The job's name.
    pub job_name: &'a str,
    /// How many attempts have failed by now, this one included; the first is 1.
    pub attempts_made: u32,
    /// The name that the job's `backoff` option gives.
    pub strategy: &'a str,
    /// What the processor returned.
    pub error: &'a BoxError,
}

/// What a custom backoff strategy answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Try again at once.
    Now,
    /// Try again after this time.
    After(Duration),
    /// Do not try again: the job has failed for good. BullMQ: `-1`.
    Never,
}

pub(crate) type BackoffStrategy = Arc<dyn Fn(&FailedAttempt<'_>) -> Retry + Send + Sync>;

/// A worker's options; the defaults are BullMQ's.
///
/// BullMQ: `WorkerOptions`.
#[derive(Clone)]
#[must_use]
pub struct WorkerOptions {
    pub(crate) name: Option<String>,
    pub(crate) concurrency: usize,
    pub(crate) lock_duration: Duration,
    pub(crate) skip_lock_renewal: bool,
    pub(crate) max_stalled_count: u32,
    pub(crate) stalled_interval: Duration,
    pub(crate) skip_stalled_check: bool,
    pub(crate) max_started_attempts: Option<u32>,
    pub(crate) drain_delay: Duration,
    pub(crate) limiter: Option<(u64, Duration)>,
    pub(crate) maximum_rate_limit_delay: Duration,
    pub(crate) remove_on_complete: Option<KeepJobs>,
    pub(crate) remove_on_fail: Option<KeepJobs>,
    pub(crate) metrics: Option<u64>,
    pub(crate) backoff_strategy: Option<BackoffStrategy>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel_grace: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) event_buffer: usize,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: None,
            concurrency: 1,
            lock_duration: Duration::from_secs(30),
            skip_lock_renewal: false,
            max_stalled_count: 1,
            stalled_interval: Duration::from_secs(30),
            skip_stalled_check: false,
            max_started_attempts: None,
            drain_delay: Duration::from_secs(5),
            limiter: None,
            maximum_rate_limit_delay: Duration::from_secs(30),
            remove_on_complete: None,
            remove_on_fail: None,
            metrics: None,
            backoff_strategy: None,
            timeout: None,
            cancel_grace: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(30),
            event_buffer: 1024,
        }
    }
}

impl WorkerOptions {
    /// Tests the ranges, before anything is sent.
    pub(crate) fn check(&self) -> Result<()> {
        let positive = [
            ("lock_duration", self.lock_duration),
            ("stalled_interval", self.stalled_interval),
            ("drain_delay", self.drain_delay),
            ("maximum_rate_limit_delay", self.maximum_rate_limit_delay),
        ];
        for (option, span) in positive {
            if span < Duration::from_millis(1) {
                return Err(Error::invalid(option, "it must be at least a millisecond"));
            }
        }
        if self.concurrency == 0 {
            return Err(Error::invalid("concurrency", "it must be at least 1"));
        }
        if self.event_buffer == 0 {
            return Err(Error::invalid("event_buffer", "it must be at least 1"));
        }
        if let Some((max, window)) = self.limiter
            && (max == 0 || window < Duration::from_millis(1))
        {
            return Err(Error::invalid("limiter", "it must allow at least one job per millisecond or longer window"));
        }
        if self.metrics == Some(0) {
            return Err(Error::invalid("metrics", "it must keep at least one data point"));
        }
        Ok(())
    }
}

impl fmt::Debug for WorkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOptions")
            .field("name", &self.name)
            .field("concurrency", &self.concurrency)
            .field("lock_duration", &self.lock_duration)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
