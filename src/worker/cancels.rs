//! Looks for attempts of a worker that are to be cancelled, whichever process asked for it.
//!
//! This happens in the lock thread, so that it works while the runtime is busy. It costs one small command now and
//! then; while no job runs it sleeps.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::locks::LockTable;
use crate::connection::Link;
use crate::failpoint;
use crate::job::Attempt;
use crate::job::cancel_watch::{INTERVAL, tell};

/// Cancels attempts on request until their worker is gone. One that goes on for longer than the worker's grace is
/// dropped at its next await. Its job is then handed back, and whoever takes it fails it without running it.
pub(super) async fn look_for_ever(table: &Weak<LockTable>, link: &Link) {
    let mut told: Vec<(Arc<Attempt>, Instant)> = Vec::new();
    while let Some(table) = table.upgrade() {
        failpoint::hit("cancellations", table.keys());
        let running = table.uncancelled();
        if !running.is_empty() {
            let until = |attempt| (attempt, Instant::now() + table.grace());
            let cancelled = tell(&table.engine_on(link), &running).await;
            if !cancelled.is_empty() {
                table.tell();
            }
            told.extend(cancelled.into_iter().map(until));
        }
        let now = Instant::now();
        told.retain(|(attempt, until)| {
            let is_late = *until <= now;
            if is_late {
                table.abort(attempt);
            }
            !is_late && !attempt.has_ended()
        });
        let next = told.iter().map(|(_, until)| until.saturating_duration_since(now)).min();
        let next_job = told.is_empty().then(|| table.next_job()).flatten();
        drop(table);
        if let Some(next_job) = next_job {
            // Resolves with an error, since what it waits for is that the other side is dropped.
            let _ = next_job.await;
        }
        tokio::time::sleep(next.map_or(INTERVAL, |next| next.min(INTERVAL))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::event::EventSink;
    use super::super::locks::Watch;
    use super::super::watchdog::Watchdog;
    use super::*;
    use crate::Client;
    use crate::engine::testing;
    use crate::telemetry::WorkerFigures;

    #[tokio::test]
    async fn the_lock_thread_is_woken_for_the_first_job_after_a_pause_alone() {
        let client = Client::builder(testing::options()).prefix("next-job").connect().await.unwrap();
        let engine = client.core("q").unwrap().engine().clone();
        let (events, figures) = (EventSink::new(0), Arc::new(WorkerFigures::new("q")));
        let (commands, _) = tokio::sync::mpsc::channel(1);
        let watchdog = Watchdog::new("q", commands.downgrade(), events.clone(), Arc::clone(&figures));
        let watch = Watch { watchdog, figures, grace: Duration::ZERO };
        let table = LockTable::new(engine, events, Duration::from_secs(30), true, watch);
        let hold = || {
            let (attempt, mut slots) = (Arc::new(Attempt::new("1".into(), "t".into())), Vec::new());
            table.hold(std::iter::once(attempt), Instant::now(), &mut slots);
            slots[0].1
        };

        let mut waits = table.next_job().unwrap();
        assert!(waits.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty));
        let slot = hold();
        waits.await.unwrap_err();
        assert!(table.next_job().is_none(), "a job runs");
        table.release(std::iter::once(slot));
        let slot = hold();
        table.release(std::iter::once(slot));
        assert!(table.next_job().is_none(), "there was another one");
        let waits = table.next_job().unwrap();
        drop(table);
        waits.await.unwrap_err();
    }
}
