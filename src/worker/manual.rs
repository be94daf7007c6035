//! Processing by hand: no loop, no renewal of locks.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::wait::{self, Woken};
use crate::clock::{epoch_ms, millis};
use crate::connection::BlockingLink;
use crate::error::Result;
use crate::job::{Fetched, Job, manual};
use crate::options::WorkerOptions;
use crate::queue::QueueCore;

/// Fetches jobs one at a time, for programs that have a loop of their own.
///
/// What a fetched job ends with is said on the job: [`Job::move_to_completed`], [`Job::move_to_failed`] and their kin.
/// Nobody renews its lock but [`Job::extend_lock`], and nobody looks for stalled jobs but
/// [`move_stalled_jobs_to_wait`](Self::move_stalled_jobs_to_wait).
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::{ManualWorker, WorkerOptions};
///
/// let worker: ManualWorker<String, usize> = client.manual_worker("texts", WorkerOptions::default())?;
/// let token = "unique-to-this-process-and-fetch";
/// while let Some(job) = worker.get_next_job_within(token, Duration::from_secs(5)).await? {
///     job.move_to_completed(&job.data().len(), token).await?;
/// }
/// # Ok(()) }
/// ```
///
/// BullMQ: a `Worker` without a processor.
pub struct ManualWorker<D = Value, R = Value> {
    queue: Arc<QueueCore>,
    options: Arc<WorkerOptions>,
    blocking: Mutex<BlockingLink>,
    types: PhantomData<fn(D) -> R>,
}

impl<D: DeserializeOwned, R> ManualWorker<D, R> {
    pub(crate) fn new(queue: Arc<QueueCore>, options: WorkerOptions) -> Result<Self> {
        options.check()?;
        let engine = queue.engine();
        let name = engine.keys.worker_client_name(options.name.as_deref());
        let blocking = Mutex::new(BlockingLink::new(engine.link.dialer(), Some(name)));
        Ok(Self { queue, options: Arc::new(options), blocking, types: PhantomData })
    }

    /// The next job, locked with this token; `None` if there is none now, or the queue is paused or limited.
    ///
    /// The token must be unique to this process and fetch. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) or [`Error::Undecodable`](crate::Error::Undecodable) if the job cannot be
    /// read: it stays active until its lock has run out.
    ///
    /// Since 0.1. BullMQ: `Worker.getNextJob` with `block: false`.
    #[doc(alias = "getNextJob")]
    pub async fn get_next_job(&self, token: &str) -> Result<Option<Job<D, R>>> {
        self.fetch(token).await.map(|fetched| fetched.job)
    }

    /// The next job as [`get_next_job`](Self::get_next_job), and if there is none, when to try again.
    ///
    /// # Errors
    ///
    /// As [`get_next_job`](Self::get_next_job).
    ///
    /// Since 0.1. BullMQ: `Worker.getNextJob` with `block: false`.
    pub async fn fetch(&self, token: &str) -> Result<Fetched<D, R>> {
        let decided = manual::settle("get_next_job", &self.queue, &self.options, &[], 1, token).await?;
        manual::next(&self.queue, &self.options, decided).await
    }

    /// A job by its id, to be ended by this worker's options: for programs that remember the id and the token of a job
    /// and not the job. `None` if there is none. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) or [`Error::Undecodable`](crate::Error::Undecodable) if it cannot be read.
    ///
    /// Since 0.1. BullMQ: `Job.fromId`.
    #[doc(alias = "fromId")]
    pub async fn get_job(&self, id: &str) -> Result<Option<Job<D, R>>> {
        let raw = self.queue.engine().get_job(id).await?;
        raw.map(|raw| manual::held(&self.queue, &self.options, raw, None)).transpose()
    }

    /// Renews the locks of jobs, given by id and token, for this long from now; the ids whose lock is not held with
    /// that token. One round trip.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    ///
    /// Since 0.1. BullMQ: `Worker.extendJobLocks`.
    #[doc(alias = "extendJobLocks")]
    pub async fn extend_locks(&self, locks: &[(&str, &str)], life: Duration) -> Result<Vec<String>> {
        self.queue.engine().extend_locks(millis(life).max(1), locks).await
    }

    /// Lets workers that have a limit, their own or the queue's, fetch nothing for this time. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for less than a millisecond.
    ///
    /// Since 0.1. BullMQ: `Worker.rateLimit`.
    #[doc(alias = "rateLimit")]
    pub async fn rate_limit(&self, pause: Duration) -> Result<()> {
        self.queue.engine().rate_limit(millis(pause)).await
    }

    /// The next job, waiting for one at most this long.
    ///
    /// # Errors
    ///
    /// As [`get_next_job`](Self::get_next_job).
    ///
    /// Since 0.1. BullMQ: `Worker.getNextJob`.
    pub async fn get_next_job_within(&self, token: &str, limit: Duration) -> Result<Option<Job<D, R>>> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            let fetched = self.fetch(token).await?;
            if fetched.job.is_some() {
                return Ok(fetched.job);
            }
            let engine = self.queue.engine();
            let mut block = until.saturating_duration_since(tokio::time::Instant::now());
            if block.is_zero() {
                return Ok(None);
            }
            if let Some(due) = fetched.next_due {
                block = block.min(Duration::from_millis(epoch_ms(due).saturating_sub(engine.clock.now_ms())));
            }
            let mut blocking = self.blocking.lock().await;
            let woken = wait::wait(&mut blocking, &engine.keys.marker(), block.min(self.options.drain_delay)).await;
            tracing::trace!(?woken, queue = ?engine.keys, "woken");
            debug_assert_ne!(woken, Woken::Interrupted, "nobody interrupts a manual worker");
        }
    }

    /// Looks for jobs that are active without a lock, and puts them back; their ids. At most one check of all workers
    /// of the queue happens in an interval.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    ///
    /// Since 0.1. BullMQ: the check that a `Worker` runs by itself.
    pub async fn move_stalled_jobs_to_wait(&self) -> Result<Vec<String>> {
        let options = &self.options;
        self.queue.engine().recover_stalled(options.stalled_interval, options.max_stalled_count).await
    }
}

impl<D, R> std::fmt::Debug for ManualWorker<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualWorker").field("queue", &self.queue.engine().keys).finish_non_exhaustive()
    }
}
