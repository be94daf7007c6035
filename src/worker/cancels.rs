//! Looks for attempts of a worker that are to be cancelled, whichever process asked for it.
//!
//! This happens in the lock thread, so that it works while the runtime is busy. It costs one small command now and
//! then, and none while no job runs.

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
        drop(table);
        tokio::time::sleep(next.map_or(INTERVAL, |next| next.min(INTERVAL))).await;
    }
}
