//! Locks of running jobs, renewed by a thread of their own, so that a busy runtime cannot lose them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::event::{EventSink, WorkerEvent};
use super::watchdog::Watchdog;
use crate::clock::millis;
use crate::connection::Link;
use crate::engine::Engine;
use crate::job::{Attempt, CancelReason};
use crate::telemetry::WorkerFigures;

/// Locks of one call: about 2 ms.
const CALL_LOCKS: usize = 250;

/// The running jobs of one worker, by slot.
///
/// Written by the worker's loop, a batch at a time; read by the thread that renews.
pub(crate) struct LockTable {
    engine: Engine,
    events: EventSink,
    lock_duration: Duration,
    /// Whether locks are renewed at all.
    renews: bool,
    watch: Watch,
    slots: Mutex<Slots>,
}

/// What the thread watches and counts besides.
pub(crate) struct Watch {
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) figures: Arc<WorkerFigures>,
}

#[derive(Default)]
struct Slots {
    jobs: Vec<Option<Held>>,
    free: Vec<usize>,
}

struct Held {
    attempt: Arc<Attempt>,
    /// When the last request that locked the job was sent. The lock lives at least until `lock_duration` after it,
    /// however late the reply came.
    locked: Instant,
    /// Ends the attempt's task.
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
        Arc::new(Self { engine, events, lock_duration, renews, watch, slots: Mutex::default() })
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the jobs that one call handed out; their slots, in order.
    pub(crate) fn hold(&self, attempts: impl Iterator<Item = Arc<Attempt>>, locked: Instant) -> Vec<usize> {
        let mut slots = self.slots();
        attempts
            .map(|attempt| {
                let held = Some(Held { attempt, locked, task: None });
                if let Some(slot) = slots.free.pop() {
                    slots.jobs[slot] = held;
                    slot
                } else {
                    slots.jobs.push(held);
                    slots.jobs.len() - 1
                }
            })
            .collect()
    }

    /// Remembers the tasks of jobs, so that they can be ended.
    pub(crate) fn attach(&self, tasks: impl Iterator<Item = (usize, AbortHandle)>) {
        let mut slots = self.slots();
        for (slot, task) in tasks {
            if let Some(held) = &mut slots.jobs[slot] {
                held.task = Some(task);
            }
        }
    }

    /// Releases jobs whose outcome is known, or given up.
    pub(crate) fn release(&self, freed: impl Iterator<Item = usize>) {
        let mut slots = self.slots();
        for slot in freed {
            if slots.jobs[slot].take().is_some() {
                slots.free.push(slot);
            }
        }
    }

    /// Cancels one job; true if it was running and not yet cancelled.
    pub(crate) fn cancel(&self, id: &str, reason: CancelReason) -> bool {
        let slots = self.slots();
        let mut running = slots.jobs.iter().flatten();
        running.find(|held| held.attempt.id().as_ref() == id).is_some_and(|held| held.attempt.cancel(reason))
    }

    /// Cancels all jobs; how many were not yet.
    pub(crate) fn cancel_all(&self, reason: &CancelReason) -> usize {
        self.slots().jobs.iter().flatten().filter(|held| held.attempt.cancel(reason.clone())).count()
    }

    /// Ends the tasks of all jobs at their next await.
    pub(crate) fn abort_all(&self) {
        for held in self.slots().jobs.iter().flatten() {
            if let Some(task) = &held.task {
                task.abort();
            }
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        *self.slots() = Slots::default();
    }

    /// How many jobs are held.
    pub(crate) fn count(&self) -> usize {
        let slots = self.slots();
        slots.jobs.len() - slots.free.len()
    }

    /// The ids that are held.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.slots().jobs.iter().flatten().map(|held| held.attempt.id().to_string()).collect()
    }

    /// Locks of which a quarter of their life has passed are due.
    fn due(&self, now: Instant) -> Vec<(usize, Arc<Attempt>)> {
        let old = self.lock_duration / 4;
        let slots = self.slots();
        let held = slots.jobs.iter().enumerate().filter_map(|(slot, held)| Some((slot, held.as_ref()?)));
        held.filter(|(_, held)| !held.attempt.lost_its_lock() && now.duration_since(held.locked) >= old)
            .map(|(slot, held)| (slot, Arc::clone(&held.attempt)))
            .collect()
    }

    /// Renews what is due. `sent` is read before each call, so that a slow reply cannot lengthen our trust.
    async fn renew(&self, link: &Link) {
        let due = self.due(Instant::now());
        let engine = Engine { link: link.clone(), ..self.engine.clone() };
        for batch in due.chunks(CALL_LOCKS) {
            let sent = Instant::now();
            let locks: Vec<_> =
                batch.iter().map(|(_, attempt)| (attempt.id().as_ref(), attempt.token().as_ref())).collect();
            match engine.extend_locks(millis(self.lock_duration), &locks).await {
                Ok(lost) => self.note_renewal(batch, &lost.into_iter().collect(), sent),
                Err(error) => tracing::debug!(%error, "locks could not be renewed"),
            }
        }
        self.distrust(Instant::now());
    }

    fn note_renewal(&self, batch: &[(usize, Arc<Attempt>)], lost: &HashSet<String>, sent: Instant) {
        let mut slots = self.slots();
        let mut oldest = Duration::ZERO;
        for (slot, attempt) in batch {
            // The slot may have been given to another job while the call was on its way.
            let held = slots.jobs[*slot].as_mut().filter(|held| Arc::ptr_eq(&held.attempt, attempt));
            match held {
                Some(held) if lost.contains(attempt.id().as_ref()) => self.lose(held),
                Some(held) => {
                    oldest = oldest.max(sent.duration_since(held.locked));
                    held.locked = sent;
                }
                None => {}
            }
        }
        drop(slots);
        self.watch.figures.renewal_lag(oldest.saturating_sub(self.lock_duration / 4));
    }

    /// Jobs whose lock must have run out are told so before anybody else can have taken them.
    fn distrust(&self, now: Instant) {
        let trusted = self.lock_duration - self.lock_duration / 10;
        for held in self.slots().jobs.iter().flatten() {
            if self.renews && now.duration_since(held.locked) >= trusted {
                self.lose(held);
            }
        }
    }

    fn lose(&self, held: &Held) {
        if !held.attempt.has_ended() && held.attempt.cancel(CancelReason::LockLost) {
            let job_id = held.attempt.id().to_string();
            tracing::warn!(%job_id, queue = ?self.engine.keys, "the lock is lost");
            self.events.emit(|| WorkerEvent::LockLost { job_id });
        }
    }
}

/// The thread that renews the locks of all workers of a client. It ends with the last of them.
#[derive(Default)]
pub(crate) struct LockKeeper {
    shared: Arc<Keeping>,
}

#[derive(Default)]
struct Keeping {
    state: Mutex<Tables>,
    /// Fires when a worker comes, whose locks may live shorter than those before.
    changed: Notify,
}

#[derive(Default)]
struct Tables {
    tables: Vec<Weak<LockTable>>,
    is_running: bool,
}

impl LockKeeper {
    /// Renews the locks in `table` for as long as it lives.
    pub(crate) fn keep(&self, table: &Arc<LockTable>) {
        if !table.renews {
            return;
        }
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tables.push(Arc::downgrade(table));
        if !state.is_running {
            state.is_running = true;
            let shared = Arc::clone(&self.shared);
            let link = table.engine.link.another();
            let thread = std::thread::Builder::new().name("oxmq-locks".to_owned()).spawn(move || run(&shared, &link));
            if let Err(error) = thread {
                state.is_running = false;
                table.events.error(crate::error::Error::Redis { op: "extend_locks", source: error.into() });
            }
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}

fn run(shared: &Keeping, link: &Link) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        shared.state.lock().unwrap_or_else(PoisonError::into_inner).is_running = false;
        tracing::error!("the thread that renews locks could not start");
        return;
    };
    runtime.block_on(async {
        loop {
            let tables = {
                let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.tables.retain(|table| table.strong_count() > 0);
                if state.tables.is_empty() {
                    state.is_running = false;
                    return;
                }
                state.tables.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()
            };
            let shortest = tables.iter().map(|table| table.lock_duration).min().unwrap_or(Duration::from_secs(8));
            let tick = shortest / 8;
            // A silent connection must be noticed while there is time to renew on another one.
            link.set_command_timeout(link.options().command_timeout.min(shortest / 4));
            tables.iter().for_each(|table| table.watch.watchdog.ask());
            futures::future::join_all(tables.iter().map(|table| table.renew(link))).await;
            drop(tables);
            tokio::select! {
                () = tokio::time::sleep(tick.clamp(Duration::from_millis(5), Duration::from_secs(2))) => {}
                () = shared.changed.notified() => {}
            }
        }
    });
}
