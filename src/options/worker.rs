//! How a worker works.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{FailedAttempt, HOUR, KeepJobs, MAX_SAFE, Retry, SHORTEST, YEAR, check_span};
use crate::error::{Error, Result};

/// Numbers in [0, 1).
pub(crate) type JitterSource = Arc<dyn Fn() -> f64 + Send + Sync>;

pub(crate) type BackoffStrategy = Arc<dyn Fn(&FailedAttempt<'_>) -> Retry + Send + Sync>;

pub(crate) type RetryPolicy = Arc<dyn Fn(&FailedAttempt<'_>) -> Retry + Send + Sync>;

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
    pub(crate) scheduler_check_interval: Duration,
    pub(crate) skip_scheduler_check: bool,
    pub(crate) max_started_attempts: Option<u32>,
    /// Not an option of a worker that runs by itself.
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

/// Applies a macro to every option that is one value, so that `WorkerOptions` and `WorkerBuilder` have the same setters.
macro_rules! with_worker_setters {
    ($apply:ident) => {
        $apply! {
            /// The worker's name, written to each job it takes (`processedBy`) and shown by Node's `getWorkers`. Default: none.
            name(name: impl Into<String>) => Some(name.into());
            /// How many jobs run at once. Default: 1; at least 1.
            concurrency(jobs: usize) => jobs;
            /// How long a job's lock lives without renewal, and so how long a job of a dead worker waits at most before the
            /// next check finds it. Renewed by a thread of its own when a quarter of it has passed. Default: 30 s; 1 ms to a
            /// year.
            #[doc(alias = "lockDuration")]
            lock_duration(life: Duration) => life;
            /// Never renews locks: for jobs that surely end within `lock_duration`. Default: false.
            #[doc(alias = "skipLockRenewal")]
            skip_lock_renewal(skip: bool) => skip;
            /// How often a job may be found without a lock before it is failed. Default: 1.
            #[doc(alias = "maxStalledCount")]
            max_stalled_count(times: u32) => times;
            /// How often to look for jobs without a lock; one worker of the queue does it for all. Default: 30 s;
            /// 1 ms to a year.
            #[doc(alias = "stalledInterval")]
            stalled_interval(interval: Duration) => interval;
            /// Never looks for jobs without a lock. Default: false.
            #[doc(alias = "skipStalledCheck")]
            skip_stalled_check(skip: bool) => skip;
            /// How often the workers of a queue look for job schedulers whose run has vanished, so that nobody makes the next
            /// one; it is put back. Default: 60 s; 1 ms to a year. Not in BullMQ, whose scheduler stops.
            scheduler_check_interval(interval: Duration) => interval;
            /// Never looks for job schedulers that have stopped. Default: false.
            skip_scheduler_check(skip: bool) => skip;
            /// How often a job may be started, for whatever reason it comes back, before it is failed. Default: any number.
            #[doc(alias = "maxStartedAttempts")]
            max_started_attempts(times: u32) => Some(times).filter(|times| *times > 0);
            /// Whether an attempt at a job whose data is JSON, but not of the processor's type, is retried as the job's
            /// `attempts` and `backoff` say; false fails the job for good. Default: true, since in a rollout the next attempt
            /// may meet a worker that knows the shape. Data that is no JSON at all always fails for good.
            retry_mistyped_data(retry: bool) => retry;
            /// How long a worker waits for a marker before it looks for jobs by itself, which finds what a worker that was
            /// killed has left; twice as long once it has found none. Default: 5 s; 1 ms to an hour.
            #[doc(alias = "drainDelay")]
            drain_delay(delay: Duration) => delay;
            /// The longest sleep of a worker whose queue is rate limited. Default: 30 s; at least 1 ms.
            #[doc(alias = "maximumRateLimitDelay")]
            maximum_rate_limit_delay(delay: Duration) => delay;
            /// Which completed jobs to keep, where the job itself does not say. Default: all.
            #[doc(alias = "removeOnComplete")]
            remove_on_complete(keep: impl Into<KeepJobs>) => Some(keep.into());
            /// Which failed jobs to keep, where the job itself does not say. Default: all.
            #[doc(alias = "removeOnFail")]
            remove_on_fail(keep: impl Into<KeepJobs>) => Some(keep.into());
            /// Counts finished jobs per minute, for this many minutes, as Node's `getMetrics` reads them. Default: off; 1 to
            /// 527,040, which is a leap year.
            metrics(minutes: u64) => Some(minutes);
            /// How long an attempt may take, where the job itself does not say. Then it is told to stop, and failed. Default: no
            /// limit; at least 1 ms.
            timeout(limit: Duration) => Some(limit);
            /// How long a cancelled attempt has to end in its own way. Default: 1 s.
            cancel_grace(grace: Duration) => grace;
            /// How long [`Worker::close`](crate::Worker::close) waits for running jobs before it cancels them. Default: 25 s, so
            /// that with the default `cancel_grace` all of it ends below the 30 s that Kubernetes gives a process, and what
            /// does not end by itself is handed back.
            shutdown_timeout(timeout: Duration) => timeout;
            /// How many events a slow listener may be behind before it misses the oldest. Default: 1,024; 1 to 1,048,576.
            event_buffer(events: usize) => events;
        }
    };
}
pub(crate) use with_worker_setters;

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*) => $value:expr;)*) => {
        impl WorkerOptions {
            $($(#[$doc])*
            pub fn $name(mut self, $($arg: $kind),*) -> Self {
                self.$name = $value;
                self
            })*
        }
    };
}
with_worker_setters!(setters);

impl WorkerOptions {
    /// At most `max` jobs per `window` in the whole queue, as far as its workers have this option. Default: no limit; at
    /// least one job, and 1 ms to a year.
    pub fn limiter(mut self, max: u64, window: Duration) -> Self {
        self.limiter = Some((max, window));
        self
    }

    /// Decides when to try again for jobs whose `backoff` names a strategy of your own. Default: none; the delay of the
    /// job's `backoff` is used.
    #[doc(alias = "backoffStrategy")]
    pub fn backoff_strategy(mut self, strategy: impl Fn(&FailedAttempt<'_>) -> Retry + Send + Sync + 'static) -> Self {
        self.backoff_strategy = Some(Arc::new(strategy));
        self
    }

    /// Decides on the next attempt after each failure of any job of this worker, whoever added it; sees the error.
    ///
    /// It is asked whenever another attempt is possible: not at the last of the job's `attempts`, not after
    /// [`Halt::Unrecoverable`](crate::Halt::Unrecoverable), and not where the processor decided itself by
    /// [`Halt::RetryAfter`](crate::Halt::RetryAfter) or by an error that [`Decides`](crate::Decides). Then it comes before the
    /// job's `backoff` and [`backoff_strategy`](Self::backoff_strategy), which [`Retry::ByBackoff`] leaves the decision
    /// to. Timeouts and panics are told by the failure's [`kind`](FailedAttempt::kind). A policy that panics counts as
    /// `ByBackoff`, and listeners hear of it. Default: none. Not in BullMQ.
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use oxmq::{Retry, WorkerOptions};
    ///
    /// let options = WorkerOptions::default().on_error(|failed| match failed.downcast_ref::<io::Error>() {
    ///     Some(error) if error.kind() == io::ErrorKind::NotFound => Retry::Never,
    ///     Some(_) => Retry::After(Duration::from_secs(5)),
    ///     None => Retry::ByBackoff,
    /// });
    /// ```
    pub fn on_error(mut self, policy: impl Fn(&FailedAttempt<'_>) -> Retry + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(policy));
        self
    }

    /// Retries only failures for which this is true, as the jobs' `attempts` and `backoff` say; all others are final.
    ///
    /// The short form of [`on_error`](Self::on_error), whose place it takes: the last of the two counts. Default: all.
    pub fn retry_if(self, is_worth_it: impl Fn(&FailedAttempt<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.on_error(move |failed| if is_worth_it(failed) { Retry::ByBackoff } else { Retry::Never })
    }

    /// Where the jitter of a backoff takes its numbers from, each in [0, 1). Default: a random number each time; tests
    /// may want others.
    pub fn jitter_source(mut self, source: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.jitter_source = Some(Arc::new(source));
        self
    }

    /// Tests the ranges, before anything is sent, and shortens waits that are as good as endless to what can be waited.
    pub(crate) fn checked(mut self) -> Result<Self> {
        check_span("lock_duration", self.lock_duration, SHORTEST..=YEAR)?;
        check_span("stalled_interval", self.stalled_interval, SHORTEST..=YEAR)?;
        check_span("scheduler_check_interval", self.scheduler_check_interval, SHORTEST..=YEAR)?;
        // Who waits longer than this for a marker that was lost seems to be dead.
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
        // All of them are made in advance.
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

/// Tests a number of jobs and the time in which so many may be fetched.
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
            .field("lock_duration", &self.lock_duration)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
