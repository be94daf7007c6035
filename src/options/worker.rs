//! The options of a worker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{FailedAttempt, HOUR, KeepJobs, MAX_SAFE, Retry, SHORTEST, YEAR, check_span};
use crate::error::{Error, Result};

/// How many jobs a worker may fetch ahead at most: they wait in its memory, and other workers cannot run them.
const MOST_PREFETCHED: usize = 1_000;

/// A source of numbers in [0, 1).
pub(crate) type JitterSource = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Decides on the wait before the next attempt of a job whose backoff names no strategy of oxmq.
pub(crate) type BackoffStrategy = Arc<dyn Fn(&FailedAttempt<'_>) -> Retry + Send + Sync>;

/// Decides after each failed attempt whether and when the next one starts.
pub(crate) type RetryPolicy = Arc<dyn Fn(&FailedAttempt<'_>) -> Retry + Send + Sync>;

/// Returns the policy that retries by the job's `backoff` if `is_worth_it` returns true, and not at all otherwise.
pub(crate) fn only_if(is_worth_it: impl Fn(&FailedAttempt<'_>) -> bool + Send + Sync + 'static) -> RetryPolicy {
    Arc::new(move |failed| if is_worth_it(failed) { Retry::ByBackoff } else { Retry::Never })
}

/// The options that the builders of workers set; the defaults are BullMQ's. Their setters explain each option.
#[derive(Clone)]
pub(crate) struct WorkerOptions {
    pub(crate) name: Option<String>,
    pub(crate) concurrency: usize,
    /// An option of workers of one queue only.
    pub(crate) prefetch: usize,
    pub(crate) lock_duration: Duration,
    pub(crate) skip_lock_renewal: bool,
    pub(crate) max_stalled_count: u32,
    pub(crate) stalled_interval: Duration,
    pub(crate) skip_stalled_check: bool,
    pub(crate) scheduler_check_interval: Duration,
    pub(crate) skip_scheduler_check: bool,
    pub(crate) max_started_attempts: Option<u32>,
    /// An option of manual workers only.
    pub(crate) hands_out_deferred_failures: bool,
    pub(crate) retry_mistyped_data: bool,
    pub(crate) drain_delay: Duration,
    pub(crate) limiter: Option<(u64, Duration)>,
    pub(crate) maximum_rate_limit_delay: Duration,
    pub(crate) remove_on_complete: Option<KeepJobs>,
    pub(crate) remove_on_fail: Option<KeepJobs>,
    pub(crate) metrics: Option<u64>,
    pub(crate) backoff_strategy: Option<BackoffStrategy>,
    pub(crate) on_error: Option<RetryPolicy>,
    pub(crate) jitter_source: Option<JitterSource>,
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
            prefetch: 0,
            lock_duration: Duration::from_secs(30),
            skip_lock_renewal: false,
            max_stalled_count: 1,
            stalled_interval: Duration::from_secs(30),
            skip_stalled_check: false,
            scheduler_check_interval: Duration::from_secs(60),
            skip_scheduler_check: false,
            max_started_attempts: None,
            hands_out_deferred_failures: false,
            retry_mistyped_data: true,
            drain_delay: Duration::from_secs(5),
            limiter: None,
            maximum_rate_limit_delay: Duration::from_secs(30),
            remove_on_complete: None,
            remove_on_fail: None,
            metrics: None,
            backoff_strategy: None,
            on_error: None,
            jitter_source: None,
            timeout: None,
            cancel_grace: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(25),
            event_buffer: 1024,
        }
    }
}

impl WorkerOptions {
    /// Checks the ranges, before anything is sent, and shortens practically endless waits to ones that clocks can
    /// handle.
    pub(crate) fn checked(mut self) -> Result<Self> {
        check_span("lock_duration", self.lock_duration, SHORTEST..=YEAR)?;
        check_span("stalled_interval", self.stalled_interval, SHORTEST..=YEAR)?;
        check_span("scheduler_check_interval", self.scheduler_check_interval, SHORTEST..=YEAR)?;
        // With a longer wait after a lost marker a worker would seem to be dead.
        check_span("drain_delay", self.drain_delay, SHORTEST..=HOUR)?;
        check_span("maximum_rate_limit_delay", self.maximum_rate_limit_delay, SHORTEST..=Duration::MAX)?;
        if let Some(timeout) = self.timeout {
            check_span("timeout", timeout, SHORTEST..=Duration::MAX)?;
        }
        for wait in [&mut self.maximum_rate_limit_delay, &mut self.cancel_grace, &mut self.shutdown_timeout] {
            *wait = YEAR.min(*wait);
        }
        self.timeout = self.timeout.map(|timeout| timeout.min(YEAR));
        if self.concurrency == 0 {
            return Err(Error::invalid("concurrency", "it must be at least 1"));
        }
        if self.prefetch > MOST_PREFETCHED {
            return Err(Error::invalid("prefetch", "it must be at most 1,000"));
        }
        // A slow listener may hold this many events in memory.
        if !(1..=1 << 20).contains(&self.event_buffer) {
            return Err(Error::invalid("event_buffer", "it must lie between 1 and 1,048,576"));
        }
        if let Some((max, window)) = self.limiter {
            check_rate_limit("limiter", max, window)?;
        }
        for (option, keep) in [("remove_on_complete", self.remove_on_complete), ("remove_on_fail", self.remove_on_fail)]
        {
            if let Some(keep) = keep {
                keep.check(option)?;
            }
        }
        if self.metrics.is_some_and(|minutes| !(1..=527_040).contains(&minutes)) {
            return Err(Error::invalid("metrics", "it must lie between 1 and 527,040 minutes, which is a leap year"));
        }
        Ok(self)
    }
}

/// Checks a rate limit: how many jobs, and the length of the window.
pub(crate) fn check_rate_limit(option: &'static str, max: u64, window: Duration) -> Result<()> {
    if !(1..=MAX_SAFE).contains(&max) {
        return Err(Error::invalid(option, "it must allow at least one job, and less than 2^53"));
    }
    check_span(option, window, SHORTEST..=YEAR)
}

impl fmt::Debug for WorkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOptions")
            .field("name", &self.name)
            .field("concurrency", &self.concurrency)
            .field("prefetch", &self.prefetch)
            .field("lock_duration", &self.lock_duration)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
