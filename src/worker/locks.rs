//! The locks of running jobs: which are held, and how they are renewed.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::event::{EventSink, WorkerEvent};
use super::watchdog::Watchdog;
use crate::clock::millis;
use crate::connection::{Link, Pauses};
use crate::engine::Engine;
use crate::error::WithCauses;
use crate::job::{Attempt, CancelReason};
use crate::keys::QueueKeys;
use crate::sync::Lock;
use crate::telemetry::WorkerFigures;
use crate::wire::job::JobId;

/// How many locks one call renews: about 2 ms of the server's time.
const CALL_LOCKS: usize = 250;

/// How many calls of one worker are under way at once.
const CALLS_AT_ONCE: usize = 4;

/// The running jobs of one worker, by slot.
///
/// Written by the worker's loop, a batch at a time; read by the thread that renews.
pub(crate) struct LockTable {
    pub(super) engine: Engine,
    pub(super) events: EventSink,
    pub(super) lock_duration: Duration,
    /// Whether locks are renewed.
    pub(super) renews: bool,
    pub(super) watch: Watch,
    slots: Lock<Slots>,
    /// Notified when attempts were told to stop.
    told: Notify,
    /// Cancelled when the table is dropped.
    gone: CancellationToken,
}

/// What else the lock thread looks after.
pub(crate) struct Watch {
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) figures: Arc<WorkerFigures>,
    /// How long a cancelled attempt may go on.
    pub(crate) grace: Duration,
}

#[derive(Default)]
struct Slots {
    jobs: Vec<Option<Held>>,
    free: Vec<usize>,
    /// Whether a job was added since the lock thread last asked.
    has_new: bool,
    /// Dropped when a job is added, which wakes the task that waits for one.
    waits_for_job: Option<oneshot::Sender<()>>,
}

struct Held {
    attempt: Arc<Attempt>,
    /// When the last request that locked the job was sent. The lock lives at least until `lock_duration` after it,
    /// however late the reply came.
    locked: Instant,
    /// The handle that ends the attempt's task.
    task: Option<AbortHandle>,
}

impl LockTable {
    pub(crate) fn new(
        engine: Engine,
        events: EventSink,
        lock_duration: Duration,
        renews: bool,
        watch: Watch,
    ) -> Arc<Self> {
        let (slots, told, gone) = (Lock::default(), Notify::new(), CancellationToken::new());
        Arc::new(Self { engine, events, lock_duration, renews, watch, slots, told, gone })
    }

    /// Returns what is cancelled when the table is dropped. It does not keep the table.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock()
    }

    /// Adds the attempts at the jobs that one call handed out, and to `all` each with its slot, in order.
    pub(crate) fn hold(
        &self,
        attempts: impl Iterator<Item = Arc<Attempt>>,
        locked: Instant,
        all: &mut Vec<(Arc<Attempt>, usize)>,
    ) {
        let mut slots = self.slots();
        slots.has_new = true;
        slots.waits_for_job = None;
        all.extend(attempts.map(|attempt| {
            attempt.locked(locked, self.lock_duration);
            let held = Some(Held { attempt: Arc::clone(&attempt), locked, task: None });
            if let Some(slot) = slots.free.pop() {
                slots.jobs[slot] = held;
                (attempt, slot)
            } else {
                slots.jobs.push(held);
                (attempt, slots.jobs.len() - 1)
            }
        }));
    }

    /// Stores the tasks of jobs, so that they can be ended.
    pub(crate) fn attach(&self, tasks: impl Iterator<Item = (usize, AbortHandle)>) {
        let mut slots = self.slots();
        for (slot, task) in tasks {
            if let Some(Some(held)) = slots.jobs.get_mut(slot) {
                held.task = Some(task);
            }
        }
    }

    /// Releases jobs whose outcome is known, or given up.
    pub(crate) fn release(&self, freed: impl Iterator<Item = usize>) {
        let mut slots = self.slots();
        for slot in freed {
            if slots.jobs.get_mut(slot).and_then(Option::take).is_some() {
                slots.free.push(slot);
            }
        }
    }

    pub(super) fn keys(&self) -> &QueueKeys {
        &self.engine.keys
    }

    /// Returns the engine, on the lock thread's connection.
    pub(super) fn engine_on(&self, link: &Link) -> Engine {
        Engine { link: link.clone(), ..self.engine.clone() }
    }

    /// Returns how long a cancelled attempt may go on.
    pub(super) fn grace(&self) -> Duration {
        self.watch.grace
    }

    /// Returns the attempts that have not ended and were not cancelled.
    pub(super) fn uncancelled(&self) -> Vec<Arc<Attempt>> {
        let slots = self.slots();
        let attempts = slots.jobs.iter().flatten().map(|held| &held.attempt);
        attempts.filter(|attempt| !attempt.has_ended() && attempt.cancel_reason().is_none()).cloned().collect()
    }

    /// Returns what resolves when a job is added, or the worker is gone. `None` if a job is held or was since the last
    /// call: a worker that has one job after the other is not to wake the lock thread for each.
    pub(super) fn next_job(&self) -> Option<oneshot::Receiver<()>> {
        let mut slots = self.slots();
        let had_new = std::mem::take(&mut slots.has_new);
        if had_new || slots.jobs.len() > slots.free.len() {
            return None;
        }
        let (added, is_added) = oneshot::channel();
        slots.waits_for_job = Some(added);
        Some(is_added)
    }

    /// Ends the task of an attempt at its next await.
    pub(super) fn abort(&self, attempt: &Arc<Attempt>) {
        let slots = self.slots();
        let held = slots.jobs.iter().flatten().find(|held| Arc::ptr_eq(&held.attempt, attempt));
        if let Some(task) = held.and_then(|held| held.task.as_ref()).filter(|_| !attempt.has_ended()) {
            task.abort();
        }
    }

    /// Cancels one job; returns true if it was running and not yet cancelled.
    pub(crate) fn cancel(&self, id: &str, reason: CancelReason) -> bool {
        let slots = self.slots();
        let mut running = slots.jobs.iter().flatten();
        let found = running.find(|held| held.attempt.id().as_ref() == id.as_bytes());
        found.is_some_and(|held| held.attempt.cancel(reason)) && self.tell()
    }

    /// Cancels all jobs; returns how many were not yet cancelled.
    pub(crate) fn cancel_all(&self, reason: &CancelReason) -> usize {
        let cancelled = self.slots().jobs.iter().flatten().filter(|held| held.attempt.cancel(reason.clone())).count();
        self.tell();
        cancelled
    }

    /// Records that attempts were told to stop, which may not have begun. Returns true.
    pub(super) fn tell(&self) -> bool {
        self.told.notify_one();
        true
    }

    /// Resolves when attempts were told to stop, or have been since the last time.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// Ends the tasks of all jobs at their next await.
    pub(crate) fn abort_all(&self) {
        for held in self.slots().jobs.iter().flatten() {
            if let Some(task) = &held.task {
                task.abort();
            }
        }
    }

    /// Gives up all jobs, since nobody settles them any more: their locks run out, so that other workers can take them,
    /// and attempts that still run are told. Returns the ids.
    pub(crate) fn abandon(&self) -> Vec<String> {
        let abandoned = std::mem::take(&mut *self.slots());
        let held = abandoned.jobs.into_iter().flatten();
        held.map(|held| {
            if !held.attempt.has_ended() {
                held.attempt.cancel(CancelReason::LockLost);
            }
            held.attempt.id().to_string()
        })
        .collect()
    }

    /// Gives up jobs whose processor has ended and that are not in these slots: their outcomes were lost. Returns their
    /// ids, and how many jobs are held whose processor still runs.
    pub(crate) fn release_all_but(&self, pending: &HashSet<usize>) -> (Vec<String>, usize) {
        let mut slots = self.slots();
        let (mut lost, mut running) = (Vec::new(), 0);
        let Slots { jobs, free, .. } = &mut *slots;
        for (slot, held) in jobs.iter_mut().enumerate() {
            match held {
                Some(some) if !some.attempt.has_ended() => running += 1,
                Some(some) if !pending.contains(&slot) => {
                    lost.push(some.attempt.id().to_string());
                    *held = None;
                    free.push(slot);
                }
                _ => {}
            }
        }
        (lost, running)
    }

    /// Returns how many jobs are held.
    pub(crate) fn count(&self) -> usize {
        let slots = self.slots();
        slots.jobs.len() - slots.free.len()
    }

    /// Returns the ids that are held.
    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.slots().jobs.iter().flatten().map(|held| held.attempt.id().clone()).collect()
    }

    /// Returns whether the lock of a job was certainly held at this moment.
    pub(crate) fn was_held(&self, slot: usize, at: Instant) -> bool {
        let slots = self.slots();
        let held = slots.jobs.get(slot).and_then(Option::as_ref);
        held.is_some_and(|held| held.attempt.was_held(at))
    }

    /// Returns the locks that are due for renewal: a quarter of their life has passed.
    fn due(&self, now: Instant) -> Vec<(usize, Arc<Attempt>)> {
        let old = self.quarter();
        let slots = self.slots();
        let held = slots.jobs.iter().enumerate().filter_map(|(slot, held)| Some((slot, held.as_ref()?)));
        held.filter(|(_, held)| !held.attempt.lost_its_lock() && now.duration_since(held.locked) >= old)
            .map(|(slot, held)| (slot, Arc::clone(&held.attempt)))
            .collect()
    }

    /// Returns how long a lock is trusted after the request that set it was sent.
    fn trusted(&self) -> Duration {
        self.lock_duration - self.lock_duration / 10
    }

    /// Returns the age at which a lock is renewed, and after which a silent connection is suspected.
    fn quarter(&self) -> Duration {
        self.lock_duration / 4
    }

    /// Returns how often to check which locks are due.
    pub(super) fn tick(&self) -> Duration {
        (self.lock_duration / 8).clamp(Duration::from_millis(5), Duration::from_secs(2))
    }

    /// Renews the locks that are due, within the time that is left for it.
    pub(super) async fn renew(&self, link: &Link) {
        let due = self.due(Instant::now());
        let mut calls = FuturesUnordered::new();
        for batch in due.chunks(CALL_LOCKS) {
            // A few at a time, so that other calls come in between.
            if calls.len() == CALLS_AT_ONCE {
                calls.next().await;
            }
            calls.push(self.renew_batch(link, batch));
        }
        while calls.next().await.is_some() {}
    }

    /// Renews locks in one call, which may take all the time that is left on them. If there is no reply after a quarter
    /// of their life, the connection may be dead: then the call is also sent on a new one, and the first reply counts.
    async fn renew_batch(&self, link: &Link, batch: &[(usize, Arc<Attempt>)]) {
        let engine = self.engine_on(link);
        let locks = ids_and_tokens(batch);
        let extend = || async {
            // The lock is trusted from the time the request was sent, not from when its reply came.
            let sent = Instant::now();
            (engine.extend_locks(millis(self.lock_duration), &locks).await, sent)
        };
        let until = tokio::time::Instant::now() + (self.trusted() - self.quarter());
        let mut calls = FuturesUnordered::new();
        calls.push(extend());
        let mut backoff = Pauses::default();
        let mut replace = tokio::time::Instant::now() + self.quarter();
        loop {
            tokio::select! {
                Some((answer, sent)) = calls.next(), if !calls.is_empty() => match answer {
                    Ok(lost) => return self.note_renewal(batch, &lost.into_iter().collect(), sent),
                    Err(error) => {
                        tracing::debug!(error = %WithCauses(&error), "locks could not be renewed");
                        if calls.is_empty() {
                            backoff.pause().await;
                            link.dial_beside();
                            calls.push(extend());
                        }
                    }
                },
                () = tokio::time::sleep_until(replace) => {
                    replace += self.quarter();
                    link.replace();
                    link.dial_beside();
                    calls.push(extend());
                }
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    fn note_renewal(&self, batch: &[(usize, Arc<Attempt>)], lost: &HashSet<Vec<u8>>, sent: Instant) {
        let mut slots = self.slots();
        let mut oldest = Duration::ZERO;
        for (slot, attempt) in batch {
            // The slot may be empty by now, or belong to another job.
            let held = slots.jobs.get_mut(*slot).and_then(Option::as_mut);
            let held = held.filter(|held| Arc::ptr_eq(&held.attempt, attempt));
            match held {
                Some(held) if lost.contains(attempt.id().as_ref()) => {
                    // The lock of an attempt that has ended may have been deleted by its outcome.
                    held.attempt.locked_until(Instant::now());
                    self.lose(held);
                }
                Some(held) => {
                    oldest = oldest.max(sent.duration_since(held.locked));
                    held.locked = sent;
                    attempt.locked(sent, self.lock_duration);
                }
                None => {}
            }
        }
        drop(slots);
        self.watch.figures.renewal_lag(oldest.saturating_sub(self.quarter()));
    }

    /// Tells jobs whose lock must have run out, before another worker can have taken them.
    pub(super) fn distrust(&self, now: Instant) {
        for held in self.slots().jobs.iter().flatten() {
            if self.renews && now.duration_since(held.locked) >= self.trusted() {
                self.lose(held);
            }
        }
    }

    fn lose(&self, held: &Held) {
        if !held.attempt.has_ended() && held.attempt.cancel(CancelReason::LockLost) {
            let job_id = held.attempt.id().to_string();
            self.tell();
            tracing::warn!(job_id, queue = ?self.engine.keys, "the lock is lost");
            self.events.emit(|| WorkerEvent::LockLost { job_id });
        }
    }
}

impl Drop for LockTable {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

fn ids_and_tokens(batch: &[(usize, Arc<Attempt>)]) -> Vec<(&[u8], &str)> {
    batch.iter().map(|(_, attempt)| (attempt.id().as_ref(), attempt.token().as_ref())).collect()
}
