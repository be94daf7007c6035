//! The thread that renews the locks of a client's workers.

use std::sync::{Arc, MutexGuard, Weak};
use std::time::Instant;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cancels;
use super::locks::LockTable;
use super::supervise::supervise;
use crate::connection::Link;
use crate::failpoint;
use crate::sync::{Lock, spawn};

/// The thread that renews the locks of all workers of a client. It ends with the last of them.
///
/// Each worker's table has a task of its own in that thread. A task that panics is started again, and so is the one
/// that runs them. If no thread can be created, the tasks run on the runtime of the first worker, which is better than
/// no renewal.
#[derive(Default)]
pub(crate) struct LockKeeper {
    shared: Arc<Keeping>,
}

#[derive(Default)]
struct Keeping {
    state: Lock<Tables>,
    /// Notified when a worker is added.
    changed: Notify,
}

#[derive(Default)]
struct Tables {
    /// The tables of workers that were added since the thread last looked.
    new: Vec<Weak<LockTable>>,
    is_running: bool,
}

impl Keeping {
    fn state(&self) -> MutexGuard<'_, Tables> {
        self.state.lock()
    }

    /// Returns the added tables, or `None` if there are none and the thread may end because no task is left.
    fn take_new(&self, is_idle: bool) -> Option<Vec<Weak<LockTable>>> {
        let mut state = self.state();
        if is_idle && state.new.is_empty() {
            state.is_running = false;
            return None;
        }
        Some(std::mem::take(&mut state.new))
    }
}

impl LockKeeper {
    /// Renews the locks in `table`, and looks for cancellations, for as long as it lives. Connects at once, so that the
    /// first renewal need not.
    pub(crate) fn keep(&self, table: &Arc<LockTable>) {
        let mut state = self.shared.state();
        state.new.push(Arc::downgrade(table));
        if !std::mem::replace(&mut state.is_running, true)
            && let Err(error) = self.start(table.engine.link.another())
        {
            table.events.error(crate::error::Error::Redis { op: "extend_locks", cause: error.into() });
            spawn(keep_all(Arc::clone(&self.shared), table.engine.link.another()));
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    fn start(&self, link: Link) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("oxmq-locks".to_owned());
        thread.spawn(move || runtime.block_on(keep_all(shared, link))).map(drop)
    }
}

/// Runs tasks for each table, until the last one is gone.
async fn keep_all(shared: Arc<Keeping>, link: Link) {
    let mut tasks = JoinSet::new();
    while let Some(new) = shared.take_new(tasks.is_empty()) {
        for table in new {
            let Some((renews, gone)) = table.upgrade().map(|table| (table.renews, table.gone())) else { continue };
            if renews {
                tasks.spawn(until(gone.clone(), keep_renewed(Weak::clone(&table), link.clone())).boxed());
            }
            tasks.spawn(until(gone, keep_cancelled(table, link.clone())).boxed());
        }
        tokio::select! {
            () = shared.changed.notified() => {}
            _ = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

/// Ends a task as soon as its table is gone. It holds the table while it does anything for it, so all that can be cut short
/// is a pause.
async fn until(gone: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = gone.cancelled() => {}
        () = task => {}
    }
}

/// Renews the locks of one table until its worker is gone; restarts after a panic.
async fn keep_renewed(table: Weak<LockTable>, link: Link) {
    let Some((events, link)) = table.upgrade().map(|table| (table.events.clone(), link.to_where(&table.engine.link)))
    else {
        return;
    };
    supervise(events, "lock thread", || renew_for_ever(&table, &link)).await;
}

/// Cancels attempts on request until the worker is gone; restarts after a panic.
async fn keep_cancelled(table: Weak<LockTable>, link: Link) {
    let Some(events) = table.upgrade().map(|table| table.events.clone()) else { return };
    supervise(events, "cancellations", || cancels::look_for_ever(&table, &link)).await;
}

async fn renew_for_ever(table: &Weak<LockTable>, link: &Link) {
    while let Some(table) = table.upgrade() {
        link.at_least(table.lock_duration);
        link.dial_beside();
        let tick = table.tick();
        {
            let mut renewing = std::pin::pin!(async {
                failpoint::hit("lock thread", &table.engine.keys);
                table.renew(link).await;
            });
            loop {
                failpoint::hit("watchdog", &table.engine.keys);
                table.watch.watchdog.ask();
                table.distrust(Instant::now());
                tokio::select! {
                    () = &mut renewing => break,
                    () = tokio::time::sleep(tick) => {}
                }
            }
        }
        table.distrust(Instant::now());
        drop(table);
        tokio::time::sleep(tick).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::event::EventSink;
    use super::super::locks::Watch;
    use super::super::watchdog::Watchdog;
    use super::*;
    use crate::clock::Clock;
    use crate::connection::{Address, ConnectOptions, NOWHERE};
    use crate::engine::Engine;
    use crate::keys::QueueKeys;
    use crate::telemetry::WorkerFigures;

    fn table(link: &Link, lock_duration: Duration) -> Arc<LockTable> {
        let (events, figures) = (EventSink::new(0), Arc::new(WorkerFigures::new("q")));
        let (commands, _) = tokio::sync::mpsc::channel(1);
        let watchdog = Watchdog::new("q", commands.downgrade(), events.clone(), Arc::clone(&figures));
        let watch = Watch { watchdog, figures, grace: Duration::ZERO };
        let keys = QueueKeys::new("lock-thread", "q").unwrap();
        LockTable::new(Engine::new(link.clone(), keys, Clock::system()), events, lock_duration, true, watch)
    }

    /// The clock stands still except in pauses, so what passes is the rest of one.
    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_last_worker_and_not_a_pause_later() {
        let link = Link::lazy(Arc::new(ConnectOptions::new(Address::Unix(NOWHERE.into())))).unwrap();
        let keeping = Arc::new(Keeping::default());
        let tables = [8, 80].map(|seconds| table(&link, Duration::from_secs(seconds)));
        keeping.state().new.extend(tables.iter().map(Arc::downgrade));
        let kept = tokio::spawn(keep_all(Arc::clone(&keeping), link));
        let [first, last] = tables;
        tokio::time::sleep(Duration::from_millis(4_300)).await;
        drop(first);
        tokio::time::sleep(Duration::from_millis(4_300)).await;
        assert!(!kept.is_finished());
        let dropped = tokio::time::Instant::now();
        drop(last);
        kept.await.unwrap();
        assert_eq!(dropped.elapsed(), Duration::ZERO);
    }
}
