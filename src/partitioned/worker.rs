//! One worker over all partitions.
//!
//! It is a worker of each partition, with locks, markers and calls of its own, and slots that all of them share;
//! [`slots`](crate::worker::slots) decides who gets the next one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::core::{Core, MOST, partition_name};
use super::events::{Merged, Numbered};
use super::{InPartition, Partitioned};
use crate::error::{Error, Result, WithCauses};
use crate::sync::{Lock, spawn};
use crate::worker::slots::SlotPool;
use crate::worker::{
    ClosingFigures, Health, Processor, Report, Worker, WorkerBuilder, WorkerCounts, WorkerEvent, WorkerEvents, panics,
};

/// All partitions of a queue, as the target of a [`WorkerBuilder`].
pub struct Partitions {
    core: Arc<Core>,
    listeners: Listeners,
}

/// The listeners to the worker; each is sent the events of each partition.
#[derive(Default)]
struct Listeners(Lock<Vec<mpsc::Sender<Numbered<WorkerEvents>>>>);

impl Listeners {
    /// Adds a listener; returns its receiver, and where to send streams to it.
    fn add(&self) -> (PartitionedWorkerEvents, mpsc::Sender<Numbered<WorkerEvents>>) {
        // There is room for as many partitions as there may be.
        let (sender, added) = mpsc::channel(MOST);
        self.0.lock().push(sender.clone());
        (PartitionedWorkerEvents { added, merged: Merged::new() }, sender)
    }

    fn hear(&self, partition: usize, events: impl Fn() -> WorkerEvents) {
        self.0.lock().retain(|listener| listener.try_send(Numbered::new(partition, events())).is_ok());
    }
}

impl<D, R> Partitioned<D, R> {
    /// Returns the builder of a worker on all partitions, which runs their jobs with this processor. Its
    /// [`concurrency`](WorkerBuilder::concurrency) is how many jobs of all partitions run in it at once; slots are used
    /// where jobs are, and each partition that has jobs gets its share.
    ///
    /// Every other option applies to each partition; the [`Worker`]s have the same name. A `limiter` is refused: limits
    /// are set [for the queue](Self::set_global_rate_limit).
    ///
    /// If a server of a cluster is silent, its partitions lend their slots to the others after a second. Jobs that it
    /// hands out late are put back at the front of their partition, unless a slot is free.
    #[doc(alias = "Worker")]
    pub fn worker<M>(&self, processor: impl Processor<M>) -> WorkerBuilder<Partitions> {
        let partitions = Partitions { core: Arc::clone(&self.core), listeners: Listeners::default() };
        WorkerBuilder::on(self.core.client.clone(), partitions, processor.erase(()))
    }
}

impl WorkerBuilder<Partitions> {
    /// Subscribes to the events of the worker from its first moment on; [`PartitionedWorker::events`] begins only after
    /// the start.
    pub fn events(&self) -> PartitionedWorkerEvents {
        self.works_on().listeners.add().0
    }

    /// Starts the worker, on the runtime in which this is called.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if an option breaks a rule, and for a `limiter`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<PartitionedWorker> {
        let options = self.options().clone().checked()?;
        if options.limiter.is_some() {
            return Err(Error::invalid(
                "limiter",
                "with partitions, set the limit for the whole queue: Partitioned::set_global_rate_limit",
            ));
        }
        let core = Arc::clone(&self.works_on().core);
        core.keep_fresh();
        let mut grown = core.watch();
        let all = Arc::new(All {
            pool: SlotPool::new(options.concurrency),
            shutdown_timeout: options.shutdown_timeout,
            builder: self,
            working: Lock::default(),
        });
        all.start_missing()?;
        let (queue, options) = (&all.builder.works_on().core, all.builder.options());
        tracing::info!(
            target: "oxmq::worker",
            queue = queue.name,
            name = options.name.as_deref(),
            partitions = queue.count(),
            concurrency = options.concurrency,
            "worker started"
        );
        let weak = Arc::downgrade(&all);
        let unfinished = Partitioned::<(), ()>::of(&all.builder.works_on().core);
        let growing = spawn(async move {
            finish_growing(&unfinished).await;
            drop(unfinished);
            while grown.changed().await.is_ok() && grow(&weak).await {}
        });
        Ok(PartitionedWorker { all, growing })
    }
}

/// Completes an attempt to grow that another program could not complete.
async fn finish_growing(queue: &Partitioned<(), ()>) {
    let finished = panics::catch(queue.finish_growing()).await;
    let problem = match finished {
        Ok(Ok(())) => return,
        Ok(Err(error)) => WithCauses(&error).to_string(),
        Err(panic) => panic.text,
    };
    let told =
        panics::catch(async { tracing::warn!(problem, "the limits could not be written to all partitions yet") }).await;
    panics::drop_guarded(told);
}

/// Starts workers of added partitions; returns false when the worker is gone.
async fn grow(all: &Weak<All>) -> bool {
    let Some(all) = all.upgrade() else { return false };
    let started = panics::catch(async { all.start_missing() }).await;
    let problem = match started {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.text,
    };
    let told =
        panics::catch(async { tracing::error!(problem, "the worker of a new partition could not be started") }).await;
    panics::drop_guarded(told);
    true
}

struct All {
    builder: WorkerBuilder<Partitions>,
    pool: Arc<SlotPool>,
    shutdown_timeout: Duration,
    working: Lock<Working>,
}

#[derive(Default)]
struct Working {
    /// The workers, by the number of the partition.
    workers: Vec<Arc<Worker>>,
    /// While set, no worker of a new partition is started.
    is_paused: bool,
}

impl All {
    /// Starts a worker for each partition that has none.
    fn start_missing(&self) -> Result<()> {
        let Partitions { core, listeners } = self.builder.works_on();
        let mut working = self.working.lock();
        if working.is_paused {
            return Ok(());
        }
        let first = working.workers.len();
        let seats: Vec<_> = (first..core.count()).map(|partition| (partition, self.pool.join())).collect();
        // Called after all have joined, so that each of them gets its share.
        self.pool.open();
        for (partition, seat) in seats {
            let builder = self.builder.for_queue(partition_name(&core.name, partition));
            listeners.hear(partition, || builder.events());
            working.workers.push(Arc::new(builder.start_with(Some(seat))?));
        }
        Ok(())
    }

    fn workers(&self) -> Vec<Arc<Worker>> {
        self.working.lock().workers.clone()
    }

    /// Holds no worker beyond the lock: whoever closes them has to be the only one.
    fn health(&self) -> Health {
        let working = self.working.lock();
        let all = working.workers.iter().map(|worker| worker.health());
        let both = |sum: Health, one: Health| Health {
            connected: sum.connected && one.connected,
            last_fetch: [sum.last_fetch, one.last_fetch].into_iter().flatten().min(),
            running: sum.running + one.running,
            prefetched: sum.prefetched + one.prefetched,
            blocked: sum.blocked || one.blocked,
        };
        all.reduce(both).unwrap_or(Health::GONE)
    }
}

/// A running worker on all partitions of a queue.
///
/// It begins to work on new partitions when its handle learns of them; see
/// [`PartitionedBuilder::refresh_interval`](super::PartitionedBuilder::refresh_interval). Dropping it closes it in the
/// background, like a [`Worker`].
///
/// ```no_run
/// # async fn demo(mails: oxmq::Partitioned<String, ()>) -> oxmq::Result<()> {
/// # async fn send(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
/// let worker = mails.worker(send).concurrency(64).start()?;
/// let mut events = worker.events();
/// tokio::spawn(async move {
///     while let Some(event) = events.recv().await {
///         println!("partition {}: {:?}", event.partition, event.item);
///     }
/// });
/// worker.run_until(async { _ = tokio::signal::ctrl_c().await }).await;
/// # Ok(()) }
/// ```
#[must_use = "a worker that is dropped closes: keep it, and end it by `close` or `run_until`"]
pub struct PartitionedWorker {
    all: Arc<All>,
    growing: JoinHandle<()>,
}

impl PartitionedWorker {
    /// Subscribes to the worker's events from now on. [`WorkerBuilder::events`] also hears its start.
    pub fn events(&self) -> PartitionedWorkerEvents {
        // No worker is started while this lock is held.
        let working = self.all.working.lock();
        let (events, sender) = self.all.builder.works_on().listeners.add();
        for (partition, worker) in working.workers.iter().enumerate() {
            let _ = sender.try_send(Numbered::new(partition, worker.events()));
        }
        events
    }

    /// Returns how many attempts have ended so far, by how they ended.
    #[must_use]
    pub fn counts(&self) -> WorkerCounts {
        sum(self.all.workers().iter().map(|worker| worker.counts()))
    }

    /// Returns how many attempts have ended so far in each partition, by its number.
    #[must_use]
    pub fn counts_by_partition(&self) -> Vec<WorkerCounts> {
        self.all.workers().iter().map(|worker| worker.counts()).collect()
    }

    /// Returns how many jobs may run at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.all.pool.total()
    }

    /// Changes how many jobs may run at once. A higher number takes effect at once, a lower one as running jobs end.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for 0.
    pub fn set_concurrency(&self, jobs: usize) -> Result<()> {
        if jobs == 0 {
            return Err(Error::invalid("set_concurrency", "it must be at least 1"));
        }
        self.all.pool.set_total(jobs);
        Ok(())
    }

    /// Pauses this worker: it takes no new jobs. Waits until its running jobs have ended. Nothing is written to Redis:
    /// other workers go on.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the runtime of the worker has ended.
    pub async fn pause(&self) -> Result<()> {
        let workers = {
            let mut working = self.all.working.lock();
            working.is_paused = true;
            working.workers.clone()
        };
        join_all(workers.iter().map(|worker| worker.pause())).await.into_iter().collect()
    }

    /// Resumes this worker: it takes jobs again.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the runtime of the worker has ended.
    pub async fn resume(&self) -> Result<()> {
        let workers = {
            let mut working = self.all.working.lock();
            working.is_paused = false;
            working.workers.clone()
        };
        self.all.start_missing()?;
        join_all(workers.iter().map(|worker| worker.resume())).await.into_iter().collect()
    }

    /// Returns whether this worker is [paused](Self::pause). No round trip.
    #[must_use]
    #[doc(alias = "isPaused")]
    pub fn is_paused(&self) -> bool {
        self.all.working.lock().is_paused
    }

    /// Cancels a running job of a partition with a reason that it can read, and returns true if it runs here and was
    /// not cancelled before.
    #[doc(alias = "cancelJob")]
    pub fn cancel_job(&self, partition: usize, id: &str, reason: impl Into<String>) -> bool {
        let worker = self.all.working.lock().workers.get(partition).cloned();
        worker.is_some_and(|worker| worker.cancel_job(id, reason))
    }

    /// Cancels all running jobs, and returns how many were not cancelled before.
    #[doc(alias = "cancelAllJobs")]
    pub fn cancel_all_jobs(&self, reason: impl Into<String>) -> usize {
        let reason = reason.into();
        self.all.workers().iter().map(|worker| worker.cancel_all_jobs(reason.clone())).sum()
    }

    /// Returns the worker's health, for readiness and liveness probes. No round trip.
    ///
    /// It is connected if all servers that it needs are; the last fetch is the latest of any partition.
    #[must_use]
    pub fn health(&self) -> Health {
        self.all.health()
    }

    /// Makes a function that tells how the worker is, for a server of probes beside it, as [`Worker::health_probe`] does. Of a
    /// worker that is closed, or gone, it says that it is not connected.
    ///
    /// ```no_run
    /// # async fn demo(worker: oxmq::partitioned::PartitionedWorker) {
    /// let health = worker.health_probe();
    /// tokio::spawn(async move { println!("{:?}", health()) });
    /// worker.run_until(async { drop(tokio::signal::ctrl_c().await) }).await;
    /// # }
    /// ```
    pub fn health_probe(&self) -> impl Fn() -> Health + Clone + Send + Sync + use<> {
        let all = Arc::downgrade(&self.all);
        move || all.upgrade().map_or(Health::GONE, |all| all.health())
    }

    /// Resolves when the workers of all its present partitions have stopped, for whatever reason.
    pub fn finished(&self) -> impl Future<Output = ()> + Send + use<> {
        let all: Vec<_> = self.all.workers().iter().map(|worker| worker.finished()).collect();
        async move { _ = join_all(all).await }
    }

    /// Runs until the signal resolves, then closes the worker.
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> PartitionedReport {
        signal.await;
        self.close().await
    }

    /// Closes the worker like [`Worker::close`]: it takes no new jobs, and waits for the running ones for at most its
    /// `shutdown_timeout`. Then it cancels them, and hands back those that do not end.
    #[doc(alias = "disconnect")]
    pub async fn close(self) -> PartitionedReport {
        let within = self.all.shutdown_timeout;
        self.close_within(within).await
    }

    /// Closes the worker, waiting for running jobs for at most `within`. Zero cancels them at once.
    pub async fn close_within(mut self, within: Duration) -> PartitionedReport {
        self.growing.abort();
        // It only ends; the error is that it was aborted.
        let _ = (&mut self.growing).await;
        let workers = std::mem::take(&mut self.all.working.lock().workers);
        let closing = workers.into_iter().map(|worker| async move {
            // There is no other reference: all calls on this handle have ended.
            Some(Arc::into_inner(worker)?.close_within(within).await)
        });
        let report = PartitionedReport::of(join_all(closing).await);
        self.log(&report, false);
        report
    }
}

impl PartitionedWorker {
    fn log(&self, report: &PartitionedReport, is_dropped: bool) {
        let builder = &self.all.builder;
        report.log(&builder.works_on().core.name, builder.options().name.as_deref(), is_dropped);
    }
}

impl Drop for PartitionedWorker {
    fn drop(&mut self) {
        self.growing.abort();
        // A worker that was closed has none left. Jobs that still run may end, but nobody waits to tell of them.
        let workers = self.all.workers();
        if !workers.is_empty() {
            self.log(&PartitionedReport::of(workers.iter().map(|worker| Some(worker.report_so_far())).collect()), true);
        }
    }
}

impl std::fmt::Debug for PartitionedWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionedWorker")
            .field("partitions", &self.all.builder.works_on().core)
            .field("options", self.all.builder.options())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Partitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.core.fmt(f)
    }
}

fn sum(counts: impl Iterator<Item = WorkerCounts>) -> WorkerCounts {
    counts.fold(WorkerCounts::default(), |sum, counts| WorkerCounts {
        completed: sum.completed + counts.completed,
        failed: sum.failed + counts.failed,
        retried: sum.retried + counts.retried,
    })
}

/// What happened to the jobs of a closed worker over partitions; see [`Report`].
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PartitionedReport {
    /// How its attempts ended.
    pub counts: WorkerCounts,
    /// See [`Report::moved`].
    pub moved: u64,
    /// See [`Report::handed_back`]; includes jobs that a silent server handed out too late.
    pub handed_back: Vec<InPartition<String>>,
    /// See [`Report::times_handed_back`].
    pub times_handed_back: u64,
    /// See [`Report::abandoned`].
    pub abandoned: Vec<InPartition<String>>,
    /// See [`Report::lost`].
    pub lost: Vec<InPartition<String>>,
    /// See [`Report::times_lost`].
    pub times_lost: u64,
}

impl PartitionedReport {
    fn log(&self, queue: &str, name: Option<&str>, is_dropped: bool) {
        ClosingFigures {
            queue,
            name,
            counts: self.counts,
            moved: self.moved,
            handed_back: self.times_handed_back,
            abandoned: self.abandoned.len(),
            lost: self.times_lost,
            is_dropped,
        }
        .log();
    }

    /// Merges the reports of all partitions, each at the index of its number.
    fn of(reports: Vec<Option<Report>>) -> Self {
        let mut all = Self::default();
        for (partition, report) in reports.into_iter().enumerate() {
            let Some(report) = report else { continue };
            let Report { counts, moved, handed_back, times_handed_back, abandoned, lost, times_lost } = report;
            all.counts = sum([all.counts, counts].into_iter());
            all.moved += moved;
            all.times_handed_back += times_handed_back;
            all.times_lost += times_lost;
            let of_it = |ids: Vec<String>| ids.into_iter().map(move |id| InPartition::new(partition, id));
            all.handed_back.extend(of_it(handed_back));
            all.abandoned.extend(of_it(abandoned));
            all.lost.extend(of_it(lost));
        }
        all
    }
}

/// Receives the events of a worker over partitions, each with the number of its partition; like [`WorkerEvents`].
#[must_use = "dropping it ends the listening"]
pub struct PartitionedWorkerEvents {
    added: mpsc::Receiver<Numbered<WorkerEvents>>,
    merged: Merged<WorkerEvents>,
}

impl PartitionedWorkerEvents {
    /// Waits for the next event of any partition; `None` when the worker has closed.
    ///
    /// The future can be dropped at any time without losing an event.
    pub async fn recv(&mut self) -> Option<InPartition<WorkerEvent>> {
        loop {
            tokio::select! {
                Some(added) = self.added.recv() => self.merged.push(added),
                Some(next) = self.merged.next(), if !self.merged.is_empty() => return Some(next),
                else => return None,
            }
        }
    }
}

impl std::fmt::Debug for PartitionedWorkerEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionedWorkerEvents").finish_non_exhaustive()
    }
}
