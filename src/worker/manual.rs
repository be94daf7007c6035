//! Fetches and settles jobs by hand: without a loop, and without renewal of locks.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::wait::{self, Woken};
use crate::clock::{epoch_ms, millis};
use crate::connection::BlockingLink;
use crate::engine::Engine;
use crate::engine::marker::nudge;
use crate::error::{Error, Halt, Result};
use crate::job::{Fetched, Fetching, Host, Job, manual};
use crate::options::{SHORTEST, WorkerOptions, YEAR, check_span};
use crate::queue::QueueCore;
use crate::sync::spawn;

/// How long after its time a wait that has not ended is first nudged; each further nudge waits twice as long.
const FIRST_NUDGE: Duration = Duration::from_millis(1);

/// Fetches jobs one at a time, for programs that have a loop of their own.
///
/// How a fetched job ends is decided on the job: [`Job::move_to_completed`], [`Job::move_to_failed`] and similar
/// methods. Attempts, backoff, caps of stack traces, retention, limits, deferred failures, limits of starts, jobs that
/// cannot be read and the runs of schedulers are handled as by a [`Worker`](crate::Worker). The program has to do the
/// rest:
///
/// - Locks are renewed only by [`Job::extend_lock`] and [`extend_locks`](Self::extend_locks).
/// - Stalled jobs are looked for only by [`move_stalled_jobs_to_wait`](Self::move_stalled_jobs_to_wait).
/// - A job whose `timeout` has passed is not stopped. A job that is [cancelled](crate::JobRef::cancel) is told and not
///   dropped: [`Job::cancellation`] fires within a second, and at the latest with the next [`Job::extend_lock`]; for
///   programs that keep ids and tokens there is [`get_cancellations`](Self::get_cancellations). A cancelled attempt is
///   the last one in any case: a failure is final, and a job that is put back fails without being run.
/// - [`Job::move_to_completed`] refuses a parent whose children stand in the way; pass the error on to
///   [`Job::move_to_failed`], which then decides as a worker does.
/// - A [`Halt::RateLimited`] starts the pause of the queue; the program has to obey it, which [`Fetched::limited_for`]
///   helps with.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::ManualWorker;
///
/// let worker: ManualWorker<String, usize> = client.manual_worker("texts").open()?;
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
    host: Arc<Host>,
    blocking: Arc<Mutex<BlockingLink>>,
    types: PhantomData<fn(D) -> R>,
}

impl<D: DeserializeOwned + Send + 'static, R: 'static> ManualWorker<D, R> {
    pub(super) fn new(queue: Arc<QueueCore>, options: WorkerOptions) -> Self {
        let engine = queue.engine();
        let name = engine.keys.worker_client_name(options.name.as_deref());
        let blocking = Arc::new(Mutex::new(BlockingLink::new(engine.link.dialer(), Some(name))));
        Self { queue, host: Arc::new(Host::new(options)), blocking, types: PhantomData }
    }

    /// Fetches the next job, locked with this token; `None` if there is none, or the queue is paused or rate limited.
    ///
    /// The token must be unique to this process and fetch. One round trip, and one more for each job that cannot be
    /// run: it is failed, as by a worker, and the next one is fetched in the same step. Such are jobs with a
    /// [`deferred_failure`](Job::deferred_failure), those that were started too often, and those that cannot be read. A
    /// job whose data is only of another type is retried within its attempts.
    ///
    /// Cancel safe: if the future is dropped before it is ready, a job that comes all the same goes back to the front of the
    /// queue, without an attempt spent. So do the other calls that fetch.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Worker.getNextJob` with `block: false`.
    #[doc(alias = "getNextJob")]
    pub async fn get_next_job(&self, token: &str) -> Result<Option<Job<D, R>>> {
        self.fetch(token).await.map(|fetched| fetched.job)
    }

    /// Fetches the next job like [`get_next_job`](Self::get_next_job), and tells when to try again if there is none.
    ///
    /// # Errors
    ///
    /// As [`get_next_job`](Self::get_next_job).
    ///
    /// BullMQ: `Worker.getNextJob` with `block: false`.
    pub async fn fetch(&self, token: &str) -> Result<Fetched<D, R>> {
        if token.is_empty() {
            return Err(Error::invalid("token", "it must not be empty"));
        }
        const OP: &str = "get_next_job";
        let (queue, host, token) = (Arc::clone(&self.queue), Arc::clone(&self.host), token.to_owned());
        let call = async move {
            let called = manual::settle(OP, &queue, &host.options, &[], 1, &token, |_| false).await?;
            manual::next(OP, &queue, &host, called.decided).await
        };
        Fetching::new(call).await
    }

    /// Reads a job by its id, to be settled with this worker's options: for programs that keep the id and the token of
    /// a job instead of the job. `None` if there is none. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) or [`Error::Undecodable`](crate::Error::Undecodable) if it cannot be read;
    /// [`move_to_failed`](Self::move_to_failed) can fail it all the same.
    ///
    /// BullMQ: `Job.fromId`.
    #[doc(alias = "fromId")]
    pub async fn get_job(&self, id: &str) -> Result<Option<Job<D, R>>> {
        let raw = self.queue.engine().get_job(id).await?;
        raw.map(|raw| manual::held(&self.queue, &self.host, raw)).transpose()
    }

    /// Fails an attempt at a job by its id and token, as [`Job::move_to_failed`] does. A job that cannot be read can be
    /// failed too, and then fails for good. Two round trips.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) if there is no such job, the lock is not held with this token, or the
    /// job is not active; nothing was changed.
    ///
    /// BullMQ: `Job.fromId` and `Job.moveToFailed`.
    #[doc(alias = "moveToFailed")]
    pub async fn move_to_failed(&self, id: &str, token: &str, error: impl Into<Halt>) -> Result<()> {
        manual::fail_stored(&self.queue, &self.host.options, id, token, error.into()).await
    }

    /// Renews the locks of jobs, given by id and token, for `life` from now, and returns the ids whose lock is not held
    /// with that token. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for less than a millisecond and more than a year.
    ///
    /// BullMQ: `Worker.extendJobLocks`.
    #[doc(alias = "extendJobLocks")]
    pub async fn extend_locks(&self, locks: &[(&str, &str)], life: Duration) -> Result<Vec<String>> {
        check_span("life", life, SHORTEST..=YEAR)?;
        let lost = self.queue.engine().extend_locks(millis(life), locks).await?;
        Ok(lost.iter().map(|id| String::from_utf8_lossy(id).into_owned()).collect())
    }

    /// Returns which of these attempts, given by id and token, are to be cancelled, with the reasons given. One round
    /// trip per 1,000.
    ///
    /// This is for programs that keep the id and the token of a job instead of the job, whose
    /// [`cancellation`](Job::cancellation) fires by itself. A request is returned each time until the attempt has
    /// ended.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn demo(worker: oxmq::ManualWorker, running: &[(&str, &str)]) -> oxmq::Result<()> {
    /// for (id, reason) in worker.get_cancellations(running).await? {
    ///     println!("{id} is not wanted any more: {reason}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn get_cancellations(&self, attempts: &[(&str, &str)]) -> Result<Vec<(String, String)>> {
        let found = self.queue.engine().find_cancelled(attempts).await?;
        Ok(found.into_iter().map(|(place, reason)| (attempts[place].0.to_owned(), reason)).collect())
    }

    /// Stops the fetching of workers that have a rate limit, their own or the queue's, for `pause`. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for less than a millisecond and more than a year.
    ///
    /// BullMQ: `Worker.rateLimit`.
    #[doc(alias = "rateLimit")]
    pub async fn rate_limit(&self, pause: Duration) -> Result<()> {
        self.queue.engine().rate_limit(pause).await
    }

    /// Fetches the next job, waiting for one for at most `limit`.
    ///
    /// Calls at the same time share one connection, on which one of them waits; the others look again when their time is over.
    /// A call that is dropped while it waits closes that connection, so rather give it a short `limit` than drop it often.
    ///
    /// # Errors
    ///
    /// As [`get_next_job`](Self::get_next_job).
    ///
    /// BullMQ: `Worker.getNextJob`.
    pub async fn get_next_job_within(&self, token: &str, limit: Duration) -> Result<Option<Job<D, R>>> {
        let until = tokio::time::Instant::now() + limit.min(YEAR);
        let engine = self.queue.engine();
        let mut marker = Marker { engine, blocking: &self.blocking, may_be_ours: false };
        loop {
            let fetched = self.fetch(token).await?;
            if fetched.job.is_some() {
                marker.may_be_ours = false;
                return Ok(fetched.job);
            }
            let mut block = until.saturating_duration_since(tokio::time::Instant::now());
            if block.is_zero() {
                if std::mem::take(&mut marker.may_be_ours) {
                    // The marker may be that of a delayed job, for which other workers have to wait now.
                    engine.wake_workers(engine.link.options().command_timeout).await;
                }
                return Ok(None);
            }
            if !fetched.limited_for.is_zero() {
                // A rate-limited caller cannot use a marker; others may. The limit may be taken back meanwhile.
                tokio::time::sleep(block.min(fetched.limited_for).min(self.host.options.drain_delay)).await;
                continue;
            }
            if let Some(due) = fetched.next_due {
                block = block.min(Duration::from_millis(epoch_ms(due).saturating_sub(engine.clock.now_ms())));
            }
            // Another call may wait on it, for longer than this one is to.
            let Ok(mut blocking) = tokio::time::timeout(block, self.blocking.lock()).await else { continue };
            let has_taken = std::mem::replace(&mut marker.may_be_ours, true);
            let woken = wait_on_time(&mut blocking, engine, block.min(self.host.options.drain_delay)).await;
            tracing::trace!(?woken, queue = ?engine.keys, "woken");
            debug_assert_ne!(woken, Woken::Interrupted, "nobody interrupts a manual worker");
            marker.may_be_ours = has_taken || matches!(woken, Woken::Marker(_));
        }
    }

    /// Checks for jobs that are active without a lock, puts them back, and returns their ids. All workers of the queue
    /// together run at most one check per `stalled_interval`.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: the check that a `Worker` runs by itself.
    pub async fn move_stalled_jobs_to_wait(&self) -> Result<Vec<String>> {
        let options = &self.host.options;
        self.queue.engine().recover_stalled(options.stalled_interval, options.max_stalled_count).await
    }
}

impl<D, R> std::fmt::Debug for ManualWorker<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualWorker").field("queue", &self.queue.engine().keys).finish_non_exhaustive()
    }
}

/// The marker, which a wait by hand may have taken. If that wait is given up, the marker is written again: it is what other
/// workers are woken by.
struct Marker<'a> {
    engine: &'a Engine,
    blocking: &'a Arc<Mutex<BlockingLink>>,
    may_be_ours: bool,
}

impl Drop for Marker<'_> {
    fn drop(&mut self) {
        if !self.may_be_ours || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (engine, blocking) = (self.engine.clone(), Arc::clone(self.blocking));
        spawn(async move {
            // The server may still hold the wait, and would hand the marker to a socket that nobody reads. Whoever has the
            // connection by now has closed that socket already.
            if let Ok(mut blocking) = blocking.try_lock() {
                blocking.close().await;
            }
            engine.wake_workers(engine.link.options().command_timeout).await;
        });
    }
}

async fn nudge_at(moment: tokio::time::Instant, engine: &Engine) {
    tokio::time::sleep_until(moment).await;
    nudge(engine).await;
}

/// Waits once for the marker, and ends on time. Redis looks for waits that are over ten times a second, and after each
/// command; so a command is sent, to the server that has the marker.
async fn wait_on_time(link: &mut BlockingLink, engine: &Engine, block: Duration) -> Woken {
    let marker = engine.keys.marker();
    let wait = wait::wait(link, &marker, block);
    tokio::pin!(wait);
    let mut pause = FIRST_NUDGE;
    let mut next = tokio::time::Instant::now() + block + pause;
    loop {
        tokio::select! {
            biased;
            woken = &mut wait => return woken,
            () = nudge_at(next, engine) => {}
        }
        pause *= 2;
        next = tokio::time::Instant::now() + pause;
    }
}
