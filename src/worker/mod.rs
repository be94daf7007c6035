//! Processing jobs.
//!
//! In the order in which a program needs them:
//!
//! 1. A [`Processor`] is an async function from a [`Job`](crate::Job) to a result. After the job it may ask for the shared
//!    [`State`], or for whatever implements [`FromJob`]. It ends an attempt otherwise by a [`Halt`](crate::Halt).
//! 2. A [`Router`] has a processor for each name or kind of job, and provides the state.
//! 3. [`Client::worker`](crate::Client::worker) returns a [`WorkerBuilder`], which has all options; it starts a [`Worker`].
//! 4. [`Worker::run_until`] runs until a signal, closes, and returns a [`Report`].
//! 5. [`WorkerEvents`] tells what happens meanwhile, [`Health`] is for probes, and [`layer`]s run around each attempt.
//!
//! A program with a loop of its own fetches jobs by hand with a [`ManualWorker`].

mod attempt_error;
mod builder;
mod cancels;
mod event;
pub(crate) mod failure;
mod health;
pub mod layer;
mod lock_thread;
mod locks;
mod look_wait;
mod losses;
mod manual;
mod notes;
pub(crate) mod panics;
mod perform;
mod plan;
mod processor;
mod rollback;
mod roster;
mod router;
mod run;
mod schedulers;
mod settle;
mod shared_look;
mod shared_wait;
pub(crate) mod slots;
mod stalled;
mod state;
pub(crate) mod stopping;
mod supervise;
mod tally;
pub(crate) mod unrun;
pub(crate) mod verdict;
mod wait;
mod watchdog;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use attempt_error::AttemptError;
pub use builder::{ManualWorkerBuilder, WorkerBuilder};
pub use event::{WorkerEvent, WorkerEvents};
pub use health::Health;
pub(crate) use lock_thread::LockKeeper;
pub use manual::ManualWorker;
pub(crate) use processor::Erased;
pub use processor::Processor;
pub use router::Router;
pub(crate) use shared_look::SharedLooks;
pub(crate) use shared_wait::SharedWaits;
pub use state::{FromJob, FromRef, State};
pub(crate) use supervise::supervise_quietly;

use event::EventSink;
use health::LastFetch;
use locks::LockTable;
use notes::ReportNotes;
use rollback::Rollbacks;
use run::Command;
use watchdog::Watchdog;

use crate::connection::{Link, Listener};
use crate::error::{Error, Result};
use crate::job::{CancelReason, Host};
use crate::queue::QueueCore;
use crate::sync::Lock;
use crate::telemetry::WorkerFigures;

/// What the loop, the attempts and the handle of one worker share.
pub(crate) struct WorkerCore {
    pub(crate) queue: Arc<QueueCore>,
    pub(crate) host: Arc<Host>,
    pub(crate) processor: Erased,
    pub(crate) events: EventSink,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) tokens: Tokens,
    /// The connection for large outcomes; opened at its first use.
    pub(crate) large: Link,
    /// How many jobs run at once; changed by the handle, read by the loop.
    pub(crate) concurrency: AtomicUsize,
    /// How many prefetched jobs wait for a slot; written by the loop.
    prefetched: AtomicUsize,
    pub(crate) counters: Counters,
    /// What the loop has recorded for the report, without the counts; kept here so that it outlives the loop.
    notes: Lock<ReportNotes>,
    /// Set by a handle that has stopped waiting for the loop, which then starts nothing more.
    is_given_up: AtomicBool,
    /// Set by the loop when the handle was dropped in place of closed, for the log.
    is_dropped: AtomicBool,
    /// Set by the loop while it is paused.
    is_paused: AtomicBool,
    pub(crate) figures: Arc<WorkerFigures>,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) last_fetch: Arc<LastFetch>,
    pub(crate) rollbacks: Rollbacks,
}

impl Listener for WorkerCore {
    fn away(&self, why: &str) {
        self.events.emit(|| WorkerEvent::Disconnected { reason: why.to_owned() });
    }

    fn back(&self, after: Duration) {
        self.events.emit(|| WorkerEvent::Reconnected { after });
    }

    fn broke(&self) {
        self.rollbacks.broke();
    }

    fn mended(&self) {
        self.rollbacks.mended();
    }
}

impl WorkerCore {
    pub(crate) fn notes(&self) -> MutexGuard<'_, ReportNotes> {
        self.notes.lock()
    }

    fn health(&self) -> Health {
        let prefetched = self.prefetched.load(Ordering::Relaxed);
        Health {
            connected: !self.queue.engine().link.outages().is_away(),
            last_fetch: self.last_fetch.ago(),
            running: self.locks.count().saturating_sub(prefetched),
            prefetched,
            blocked: self.watchdog.is_late(),
        }
    }

    /// Returns the report as of now.
    fn final_report(&self) -> Report {
        self.notes().report(self.counters.read(), self.concurrency.load(Ordering::Relaxed))
    }

    /// Gives up all jobs that are held: nobody renews their locks or settles them from now on.
    pub(crate) fn abandon(&self) {
        let abandoned = self.locks.abandon();
        self.notes().abandoned.extend(abandoned);
    }
}

/// The tokens of locks: each call has its own, which tells which call handed a job out.
pub(crate) struct Tokens {
    worker: String,
    last: Lock<LastToken>,
}

/// The token that was made last; its text is kept, so that the next one takes one allocation.
#[derive(Default)]
struct LastToken {
    number: u64,
    text: String,
}

impl Tokens {
    fn new() -> Self {
        Self { worker: uuid::Uuid::new_v4().to_string(), last: Lock::default() }
    }

    pub(crate) fn worker(&self) -> &str {
        &self.worker
    }

    pub(crate) fn next(&self) -> Arc<str> {
        let mut last = self.last.lock();
        let LastToken { number, text } = &mut *last;
        text.clear();
        text.push_str(&self.worker);
        text.push(':');
        text.push_str(itoa::Buffer::new().format(*number));
        *number += 1;
        text.as_str().into()
    }
}

/// How many attempts of a worker ended in which way, counting those that Redis has stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WorkerCounts {
    /// Jobs that completed.
    pub completed: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Failed attempts that will be tried again.
    pub retried: u64,
}

/// The counters behind [`WorkerCounts`]: written by the loop, read by the handle.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retried: AtomicU64,
}

impl Counters {
    fn read(&self) -> WorkerCounts {
        let Self { completed, failed, retried } = self;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkerCounts { completed: read(completed), failed: read(failed), retried: read(retried) }
    }
}

/// What happened to the jobs of a worker that was closed.
///
/// ```no_run
/// # async fn demo(worker: oxmq::Worker) {
/// let report = worker.close().await;
/// println!("{} done, {} failed for good", report.counts.completed, report.counts.failed);
/// for id in &report.abandoned {
///     println!("job {id} did not end in time, and runs again when its lock has run out");
/// }
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// How its attempts ended.
    pub counts: WorkerCounts,
    /// How many jobs their processors moved: delayed, put back to wait, or made to wait for children.
    pub moved: u64,
    /// Jobs that were put back to the front of the queue, as when the worker closes, each listed once; this uses up no
    /// attempt. The list holds the last 1,000, or as many as run at once if that is more.
    pub handed_back: Vec<String>,
    /// How often jobs were put back, including those that the list leaves out.
    pub times_handed_back: u64,
    /// Jobs whose processor did not end, or whose outcome could not be stored. They run again when their locks have run
    /// out, unless a processor that blocked the whole worker ends before that.
    pub abandoned: Vec<String>,
    /// Jobs whose outcome was dropped, because another worker had taken them over; limited like `handed_back`.
    pub lost: Vec<String>,
    /// How many outcomes were dropped, including those that the list leaves out.
    pub times_lost: u64,
}

impl Report {
    fn log(&self, worker: &WorkerCore) {
        ClosingFigures {
            queue: worker.queue.engine().keys.queue(),
            name: worker.host.options.name.as_deref(),
            counts: self.counts,
            moved: self.moved,
            handed_back: self.times_handed_back,
            abandoned: self.abandoned.len(),
            lost: self.times_lost,
            is_dropped: worker.is_dropped.load(Ordering::Relaxed),
        }
        .log();
    }
}

/// What the log tells of a closed worker, whether it worked on one queue or on partitions.
pub(crate) struct ClosingFigures<'a> {
    pub(crate) queue: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) counts: WorkerCounts,
    pub(crate) moved: u64,
    pub(crate) handed_back: u64,
    pub(crate) abandoned: usize,
    pub(crate) lost: u64,
    pub(crate) is_dropped: bool,
}

impl ClosingFigures<'_> {
    pub(crate) fn log(self) {
        let Self { queue, name, counts, moved, handed_back, abandoned, lost, is_dropped } = self;
        let WorkerCounts { completed, failed, retried } = counts;
        // Only written if true: then nobody waited for the worker, which may be why it seems to do nothing.
        let dropped = is_dropped.then_some(true);
        tracing::info!(
            queue,
            name,
            completed,
            failed,
            retried,
            moved,
            handed_back,
            abandoned,
            lost,
            dropped,
            "worker closed"
        );
    }
}

/// A running worker.
///
/// Dropping it closes it in the background: it takes no new jobs, and running jobs may end.
///
/// # Example
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::{Halt, Job};
///
/// async fn send(job: Job<String, ()>) -> Result<(), Halt> {
///     println!("{}", job.data());
///     Ok(())
/// }
///
/// // `client.worker` returns a `WorkerBuilder`, which has the options.
/// let worker = client.worker("mails", send).concurrency(32).timeout(Duration::from_secs(30)).start()?;
/// let report = worker.run_until(async { drop(tokio::signal::ctrl_c().await) }).await;
/// println!("{} completed, {:?} handed back", report.counts.completed, report.handed_back);
/// # Ok(()) }
/// ```
///
/// BullMQ: `Worker`.
#[must_use = "a worker that is dropped closes at once, and `let _ =` drops it: keep it, and end it by `close` or `run_until`"]
pub struct Worker {
    inner: Arc<WorkerCore>,
    commands: mpsc::Sender<Command>,
    work: Option<JoinHandle<()>>,
    /// Cancelled when the loop has ended.
    ended: CancellationToken,
}

impl Worker {
    /// Returns the name of the queue.
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.inner.queue.engine().keys.queue()
    }

    /// Subscribes to the worker's events from now on. [`WorkerBuilder::events`] also hears its start.
    #[doc(alias = "once")]
    #[doc(alias = "off")]
    #[doc(alias = "emit")]
    pub fn events(&self) -> WorkerEvents {
        self.inner.events.subscribe()
    }

    /// Returns how many attempts have ended so far, by how they ended.
    #[must_use]
    pub fn counts(&self) -> WorkerCounts {
        self.inner.counters.read()
    }

    /// Returns the report as of now; jobs that still run are not in it.
    pub(crate) fn report_so_far(&self) -> Report {
        self.inner.final_report()
    }

    /// Returns how many jobs may run at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.inner.concurrency.load(Ordering::Relaxed)
    }

    /// Changes how many jobs may run at once. A higher number takes effect at once, a lower one as running jobs end.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for 0.
    pub async fn set_concurrency(&self, jobs: usize) -> Result<()> {
        if jobs == 0 {
            return Err(Error::invalid("set_concurrency", "it must be at least 1"));
        }
        self.inner.concurrency.store(jobs, Ordering::Relaxed);
        self.send(Command::Changed).await
    }

    /// Pauses this worker: it takes no new jobs. Waits until its running jobs have ended. Nothing is written to Redis:
    /// other workers go on.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the worker is closed.
    pub async fn pause(&self) -> Result<()> {
        let (done, ended) = oneshot::channel();
        self.send(Command::Pause(done)).await?;
        ended.await.map_err(|_| Error::Closed)
    }

    /// Resumes this worker: it takes jobs again.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the worker is closed.
    pub async fn resume(&self) -> Result<()> {
        self.send(Command::Resume).await
    }

    /// Returns whether this worker is [paused](Self::pause), so that it takes no jobs; its running jobs may not have
    /// ended yet. A paused queue does not count: see [`Queue::is_paused`](crate::Queue::is_paused). No round trip.
    ///
    /// BullMQ: `Worker.isPaused`.
    #[must_use]
    #[doc(alias = "isPaused")]
    pub fn is_paused(&self) -> bool {
        self.inner.is_paused.load(Ordering::Relaxed)
    }

    /// Returns whether the worker's loop runs, paused or not: false as soon as [`finished`](Self::finished) resolves,
    /// for example because its runtime was shut down. No round trip.
    ///
    /// BullMQ: `Worker.isRunning`.
    #[must_use]
    #[doc(alias = "isRunning")]
    pub fn is_running(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Cancels a running job with a reason that it can read, and returns true if it runs here and was not cancelled
    /// before.
    ///
    /// The processor decides how the attempt ends; to end it without a retry it returns
    /// [`Halt::Unrecoverable`](crate::Halt::Unrecoverable).
    #[doc(alias = "cancelJob")]
    pub fn cancel_job(&self, id: &str, reason: impl Into<String>) -> bool {
        self.inner.locks.cancel(id, CancelReason::Requested(reason.into()))
    }

    /// Cancels all running jobs, and returns how many were not cancelled before.
    #[doc(alias = "cancelAllJobs")]
    pub fn cancel_all_jobs(&self, reason: impl Into<String>) -> usize {
        self.inner.locks.cancel_all(&CancelReason::Requested(reason.into()))
    }

    /// Returns the worker's health, for readiness and liveness probes. No round trip.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// Returns a function that returns the worker's health, for a probe server. It does not keep the worker alive,
    /// which can be closed meanwhile; then it returns a health that is not connected.
    ///
    /// ```no_run
    /// # async fn demo(worker: oxmq::Worker) {
    /// let health = worker.health_probe();
    /// tokio::spawn(async move { println!("{:?}", health()) });
    /// worker.run_until(async { drop(tokio::signal::ctrl_c().await) }).await;
    /// # }
    /// ```
    pub fn health_probe(&self) -> impl Fn() -> Health + Clone + Send + Sync + use<> {
        let inner = Arc::downgrade(&self.inner);
        move || inner.upgrade().map_or(Health::GONE, |inner| inner.health())
    }

    /// Resolves when the worker has stopped, for whatever reason: it was closed, its loop panicked, or the runtime that
    /// it was started in was shut down. An outage of Redis does not stop it.
    ///
    /// The future does not borrow the worker, so it can be awaited beside a call of [`close`](Self::close), or by a
    /// task that supervises the process.
    pub fn finished(&self) -> impl Future<Output = ()> + Send + use<> {
        self.ended.clone().cancelled_owned()
    }

    /// Runs until the signal resolves, then closes the worker.
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Report {
        signal.await;
        self.close().await
    }

    /// Closes the worker: it takes no new jobs, and waits for the running ones for at most its `shutdown_timeout`. Then
    /// it cancels them, and hands back those that do not end. Jobs that still wait in a layer for their turn, as of
    /// [`Concurrency`](layer::Concurrency), are handed back at once. A wait for work is interrupted at once.
    #[doc(alias = "disconnect")]
    pub async fn close(self) -> Report {
        let within = self.inner.host.options.shutdown_timeout;
        self.close_within(within).await
    }

    /// Closes the worker like [`close`](Self::close), waiting for running jobs for at most `within`. Zero cancels them
    /// at once.
    ///
    /// It returns at most a second and a half plus the worker's `cancel_grace` after that time, even if Redis is down
    /// or processors block every thread of the worker's runtime; in the latter case it must be called on another
    /// runtime.
    pub async fn close_within(mut self, within: Duration) -> Report {
        let until = until(within);
        let work = self.work.take();
        let commands = self.commands.clone();
        let closing = async move {
            let _ = commands.send(Command::Close { until }).await;
            if let Some(work) = work {
                // A loop whose runtime was shut down has left its report too.
                let _ = work.await;
            }
        };
        // The loop keeps its deadline, unless processors block it. Outside a runtime there is no timer to wait with.
        if tokio::runtime::Handle::try_current().is_ok() {
            let last = until + self.inner.host.options.cancel_grace.saturating_add(SLACK).min(LONGEST_WAIT);
            if tokio::time::timeout_at(last, closing).await.is_err() {
                self.give_up();
            }
        } else {
            closing.await;
        }
        self.inner.final_report()
    }

    /// Stops a worker whose loop is blocked: cancels running attempts and ends them as far as possible, and starts
    /// nothing more.
    fn give_up(&self) {
        self.inner.is_given_up.store(true, Ordering::Relaxed);
        self.inner.locks.cancel_all(&CancelReason::Shutdown);
        self.inner.locks.abort_all();
        self.inner.abandon();
    }

    async fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| Error::Closed)
    }
}

/// How much longer than its deadlines a loop may take to close.
const SLACK: Duration = Duration::from_millis(1500);

/// A wait that is practically for ever, but does not overflow the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

fn until(within: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + within.min(LONGEST_WAIT)
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("queue", &self.queue_name())
            .field("options", &self.inner.host.options)
            .finish_non_exhaustive()
    }
}
