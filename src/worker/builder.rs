//! Builders of workers: the options, each with its setter, and the start.

mod start;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Worker;
use super::event::{EventSink, WorkerEvents};
use super::layer::{Layer, Layers};
use super::manual::ManualWorker;
use super::processor::Erased;
use crate::error::Result;
use crate::options::{FailedAttempt, KeepJobs, Retry, WorkerOptions, only_if};
use crate::queue::QueueCore;

/// Builds a worker from a processor and options; [`start`](Self::start) starts it.
///
/// ```no_run
/// use std::time::Duration;
/// use oxmq::{Client, Halt, Job};
///
/// # async fn demo() -> oxmq::Result<()> {
/// async fn send(job: Job<String, ()>) -> Result<(), Halt> {
///     println!("to {}", job.data());
///     Ok(())
/// }
/// let client = Client::connect("redis://127.0.0.1:6379").await?;
/// let worker = client.worker("emails", send).concurrency(64).start()?;
/// let report = worker.run_until(async { tokio::time::sleep(Duration::from_secs(60)).await }).await;
/// println!("{} completed", report.counts.completed);
/// # Ok(()) }
/// ```
///
/// `Q` is what the worker takes jobs from: one queue, or all [`Partitions`](crate::partitioned::Partitions) of one, for
/// which [`Partitioned::worker`](crate::Partitioned::worker) creates the builder.
#[must_use = "no job is taken until the worker is started: write `.start()?` behind it, and keep what it returns"]
#[doc(alias = "Worker")]
pub struct WorkerBuilder<Q = OneQueue> {
    client: crate::Client,
    queue: Q,
    processor: Erased,
    layers: Layers,
    options: WorkerOptions,
    events: EventSink,
}

/// The single queue that a [`WorkerBuilder`] is for.
#[derive(Debug)]
pub struct OneQueue(String);

/// Builds a [`ManualWorker`] from its options; [`open`](Self::open) creates it.
#[must_use]
pub struct ManualWorkerBuilder<D = Value, R = Value> {
    queue: Result<Arc<QueueCore>>,
    options: WorkerOptions,
    types: PhantomData<fn(D) -> R>,
}

/// Defines the setters that both builders have. Options that only a running worker uses are set on [`WorkerBuilder`]
/// alone.
macro_rules! shared_setters {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*) => $field:ident = $value:expr;)*) => {
        impl<Q> WorkerBuilder<Q> {
            $($(#[$doc])*
            pub fn $name(mut self, $($arg: $kind),*) -> Self {
                self.options.$field = $value;
                self
            })*
        }

        impl<D, R> ManualWorkerBuilder<D, R> {
            $($(#[$doc])*
            pub fn $name(mut self, $($arg: $kind),*) -> Self {
                self.options.$field = $value;
                self
            })*
        }
    };
}

shared_setters! {
    /// Sets the worker's name, written to each job it takes (`processedBy`) and shown by `get_workers`, here and in Node.
    /// Default: none for the jobs, and `<host>:<process id>` in `get_workers`.
    name(name: impl Into<String>) => name = Some(name.into());
    /// Sets how long a job's lock lives without renewal. A job of a dead worker stays active for at most this long
    /// before a check for stalled jobs can find it. A thread renews each lock when a quarter of this time has passed.
    /// Default: 30 s; 1 ms to a year.
    #[doc(alias = "lockDuration")]
    lock_duration(life: Duration) => lock_duration = life;
    /// Sets how often a job may be found without a lock before it is failed. Default: 1.
    #[doc(alias = "maxStalledCount")]
    max_stalled_count(times: u32) => max_stalled_count = times;
    /// Sets how often to check for jobs without a lock; one worker of the queue does it for all. Default: 30 s; 1 ms to
    /// a year.
    #[doc(alias = "stalledInterval")]
    stalled_interval(interval: Duration) => stalled_interval = interval;
    /// Sets how often a job may be started, for whatever reason, before it is failed. Default: no limit.
    #[doc(alias = "maxStartedAttempts")]
    max_started_attempts(times: u32) => max_started_attempts = Some(times).filter(|times| *times > 0);
    /// Sets whether an attempt is retried when the job's data is JSON, but not of the processor's type; `attempts` and
    /// `backoff` apply as usual. With false the job fails for good. Default: true, since in a rollout the next attempt
    /// may reach a worker that knows the type. Data that is not JSON always fails for good.
    retry_mistyped_data(retry: bool) => retry_mistyped_data = retry;
    /// Sets how long an idle worker waits for a marker before it looks for jobs anyway, which finds jobs whose marker
    /// was lost with a killed worker. The time doubles once it has found none. Default: 5 s; 1 ms to an hour.
    #[doc(alias = "drainDelay")]
    drain_delay(delay: Duration) => drain_delay = delay;
    /// Sets which completed jobs to keep, where the job itself does not say. Default: all.
    #[doc(alias = "removeOnComplete")]
    remove_on_complete(keep: impl Into<KeepJobs>) => remove_on_complete = Some(keep.into());
    /// Sets which failed jobs to keep, where the job itself does not say. Default: all.
    #[doc(alias = "removeOnFail")]
    remove_on_fail(keep: impl Into<KeepJobs>) => remove_on_fail = Some(keep.into());
    /// Counts finished jobs per minute, for this many minutes, as Node's `getMetrics` reads them. Default: off; 1 to
    /// 527,040, which is a leap year.
    #[doc(alias = "maxDataPoints")]
    metrics(minutes: u64) => metrics = Some(minutes);
    /// Limits how many jobs are fetched per `window` in the whole queue; only workers with this option obey and count.
    /// Default: no limit; at least one job, and 1 ms to a year.
    #[doc(alias = "max")]
    #[doc(alias = "duration")]
    limiter(max: u64, window: Duration) => limiter = Some((max, window));
    /// Sets the strategy for jobs whose `backoff` names one of your own. Default: none; then the delay of the job's
    /// `backoff` is used.
    #[doc(alias = "backoffStrategy")]
    backoff_strategy(strategy: impl Fn(&FailedAttempt<'_>) -> Retry + Send + Sync + 'static) => backoff_strategy = Some(Arc::new(strategy));
    /// Sets a policy that decides on the next attempt after each failure of any job of this worker, and sees the error.
    ///
    /// It is asked whenever another attempt is possible: not at the last of the job's `attempts`, not after
    /// [`Halt::Unrecoverable`](crate::Halt::Unrecoverable), and not where the processor decided itself by
    /// [`Halt::RetryAfter`](crate::Halt::RetryAfter) or by an error that [`Decides`](crate::options::Decides). Then it comes before the
    /// job's `backoff` and [`backoff_strategy`](Self::backoff_strategy), which [`Retry::ByBackoff`] leaves the decision
    /// to. Timeouts and panics are told by the failure's [`kind`](FailedAttempt::kind). With `anyhow`, an error that a bare
    /// `?` has passed on cannot be found by its type: see [`FailedAttempt::downcast_ref`]. A policy that panics counts as
    /// `ByBackoff`, and listeners hear of it. Default: none. Not in BullMQ.
    ///
    /// ```no_run
    /// use std::io;
    /// use std::time::Duration;
    /// use oxmq::options::Retry;
    ///
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// # async fn send(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
    /// let builder = client.worker("emails", send).on_error(|failed| match failed.downcast_ref::<io::Error>() {
    ///     Some(error) if error.kind() == io::ErrorKind::NotFound => Retry::Never,
    ///     Some(_) => Retry::After(Duration::from_secs(5)),
    ///     None => Retry::ByBackoff,
    /// });
    /// # let _ = builder;
    /// # Ok(()) }
    /// ```
    on_error(policy: impl Fn(&FailedAttempt<'_>) -> Retry + Send + Sync + 'static) => on_error = Some(Arc::new(policy));
    /// Retries only failures for which `is_worth_it` returns true, as the jobs' `attempts` and `backoff` say; all
    /// others are final. A processor that returns `anyhow::Result` hides the types of errors that a bare `?` has passed
    /// on, and these are then final too: see [`FailedAttempt::downcast_ref`].
    ///
    /// A short form of [`on_error`](Self::on_error): the later of the two calls replaces the other. Default: all are
    /// retried.
    retry_if(is_worth_it: impl Fn(&FailedAttempt<'_>) -> bool + Send + Sync + 'static) => on_error = Some(only_if(is_worth_it));
    /// Sets the source of the random numbers for the jitter of a backoff, each in [0, 1). Default: a random number each
    /// time; a test can set a fixed source.
    jitter_source(source: impl Fn() -> f64 + Send + Sync + 'static) => jitter_source = Some(Arc::new(source));
}

impl<Q> WorkerBuilder<Q> {
    /// Sets how many jobs run at once. Default: 1; at least 1.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.options.concurrency = jobs;
        self
    }

    /// Switches lock renewal off, for jobs that are certain to end within `lock_duration`. Default: false.
    #[doc(alias = "skipLockRenewal")]
    pub fn skip_lock_renewal(mut self, skip: bool) -> Self {
        self.options.skip_lock_renewal = skip;
        self
    }

    /// Switches the check for stalled jobs off. Default: false.
    #[doc(alias = "skipStalledCheck")]
    pub fn skip_stalled_check(mut self, skip: bool) -> Self {
        self.options.skip_stalled_check = skip;
        self
    }

    /// Sets how often to check for job schedulers that have stopped because their run has vanished; the next run is
    /// then put back. One worker of the queue does it for all. Default: 60 s; 1 ms to a year. Not in BullMQ, whose
    /// scheduler stops.
    pub fn scheduler_check_interval(mut self, interval: Duration) -> Self {
        self.options.scheduler_check_interval = interval;
        self
    }

    /// Switches the check for stopped job schedulers off. Default: false.
    pub fn skip_scheduler_check(mut self, skip: bool) -> Self {
        self.options.skip_scheduler_check = skip;
        self
    }

    /// Sets the longest sleep of a worker whose queue is rate limited. Default: 30 s; at least 1 ms. It sleeps no longer
    /// than the [`drain_delay`](Self::drain_delay) where the server says that there is a limit, which may be taken back.
    #[doc(alias = "maximumRateLimitDelay")]
    pub fn maximum_rate_limit_delay(mut self, delay: Duration) -> Self {
        self.options.maximum_rate_limit_delay = delay;
        self
    }

    /// Limits how long an attempt may take, where the job itself does not say. When the time is over, the attempt is
    /// told to stop, and has failed, whatever it answers: its kind is [`FailureKind::Timeout`](crate::error::FailureKind::Timeout), and
    /// an error of its own is the cause. Default: no limit; at least 1 ms.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Sets how long a cancelled attempt may take to end by itself, before it is dropped. Default: 1 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.options.cancel_grace = grace;
        self
    }

    /// Sets how long [`Worker::close`](crate::Worker::close) waits for running jobs before it cancels them. Default: 25
    /// s: together with the default `cancel_grace` this stays below the 30 s that Kubernetes gives a process, so that
    /// jobs that do not end can still be handed back.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.options.shutdown_timeout = timeout;
        self
    }

    /// Sets how many events a slow listener may be behind before it misses the oldest. Default: 1,024; 1 to 1,048,576.
    pub fn event_buffer(mut self, events: usize) -> Self {
        self.options.event_buffer = events;
        self
    }
}

impl<Q> WorkerBuilder<Q> {
    pub(crate) fn on(client: crate::Client, queue: Q, processor: Erased) -> Self {
        let options = WorkerOptions::default();
        let events = EventSink::new(options.event_buffer);
        Self { client, queue, processor, layers: Layers::default(), options, events }
    }

    /// Returns what it takes jobs from.
    pub(crate) fn works_on(&self) -> &Q {
        &self.queue
    }

    /// Returns the options set so far.
    pub(crate) fn options(&self) -> &WorkerOptions {
        &self.options
    }

    /// Returns a builder for one queue with the same options and processor, but without listeners.
    pub(crate) fn for_queue(&self, queue: String) -> WorkerBuilder {
        let Self { client, processor, layers, options, .. } = self;
        WorkerBuilder {
            client: client.clone(),
            queue: OneQueue(queue),
            processor: processor.clone(),
            layers: layers.clone(),
            options: options.clone(),
            events: EventSink::new(options.event_buffer),
        }
    }

    /// Puts a layer around every attempt of this worker; see [`Layer`] for the order.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }
}

impl WorkerBuilder {
    pub(crate) fn new(client: crate::Client, queue: String, processor: Erased) -> Self {
        Self::on(client, OneQueue(queue), processor)
    }

    /// Fetches up to this many jobs ahead of the free slots. They wait in this process, with their locks renewed, and one
    /// begins as soon as a slot is free, while the outcome of the last job is still on its way. Worth it where jobs are
    /// short and the server is far away: without it a slot waits for a round trip between two jobs.
    ///
    /// For the server, and for `get_workers`, events and counts, a job is active from the moment it is fetched: then its
    /// `processed_on` is set and a [`limiter`](Self::limiter) counts it. Here it begins when its slot is free: only then
    /// are `expires_in` and `start_by` checked, and a timeout begins. A job that is cancelled before that fails without
    /// being run.
    ///
    /// What waits here, no other worker can run: a job behind a long one waits although others are idle, and one of a
    /// higher priority that comes later does not overtake it. Idle workers come first nevertheless: one whose slots are all
    /// in use fetches only when it stores an outcome. `pause`, `close` and a processor's
    /// [`Halt::RateLimited`](crate::Halt::RateLimited) put what waits back at the front of the queue at once; no attempt is
    /// used up, but [`attempts_started`](crate::Job::attempts_started) has grown. So such a job counts as started, and runs
    /// even when its `expires_in` or `start_by` has passed meanwhile. The job that asked for the rate limit may come behind
    /// those that were put back with it. If the process is killed, they come back as stalled, like the running ones.
    ///
    /// Default: 0; at most 1,000. A worker over partitions has none: it has calls to many queues under way anyway. Not in
    /// BullMQ.
    ///
    /// ```no_run
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// # async fn send(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
    /// let worker = client.worker("emails", send).concurrency(10).prefetch(20).start()?;
    /// # drop(worker);
    /// # Ok(()) }
    /// ```
    pub fn prefetch(mut self, jobs: usize) -> Self {
        self.options.prefetch = jobs;
        self
    }

    /// Subscribes to the events of the worker from its first moment on; [`Worker::events`] begins only after the start.
    ///
    /// ```no_run
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// # async fn send(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
    /// let builder = client.worker("emails", send).concurrency(64);
    /// let mut events = builder.events();
    /// let worker = builder.start()?;
    /// while let Some(event) = events.recv().await {
    ///     println!("{event:?}");
    /// }
    /// # drop(worker);
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> WorkerEvents {
        self.events.subscribe()
    }

    /// Starts the worker, on the runtime in which this is called.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) if the queue's name or an option breaks a rule.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[doc(alias = "autorun")]
    pub fn start(self) -> Result<Worker> {
        self.start_with(None)
    }
}

impl<D: DeserializeOwned + Send + 'static, R: 'static> ManualWorkerBuilder<D, R> {
    pub(crate) fn new(queue: Result<Arc<QueueCore>>) -> Self {
        Self { queue, options: WorkerOptions::default(), types: PhantomData }
    }

    /// Sets whether jobs that are to fail without being run are handed out, as BullMQ 6 does, instead of being failed.
    /// Then the program has to check [`Job::deferred_failure`](crate::Job::deferred_failure), and with a limit of
    /// starts [`Job::attempts_started`](crate::Job::attempts_started). An outcome of such a job other than a failure
    /// drops its deferred failure, unless a child of it failed. Default: false.
    pub fn hand_out_deferred_failures(mut self, hand_out: bool) -> Self {
        self.options.hands_out_deferred_failures = hand_out;
        self
    }

    /// Creates the worker. No round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) if the queue's name or an option breaks a rule.
    pub fn open(self) -> Result<ManualWorker<D, R>> {
        Ok(ManualWorker::new(self.queue?, self.options.checked()?))
    }
}

impl<D, R> std::fmt::Debug for ManualWorkerBuilder<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualWorkerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}
