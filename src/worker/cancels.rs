//! Looking for attempts that somebody wants stopped, in whatever process.
//!
//! It happens in the lock thread, so that a busy runtime hears of it as well, and costs one small command now and then, and
//! none while nothing runs. A request names the token of an attempt, so that it never stops another one of the same job.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::locks::LockTable;
use crate::connection::Link;
use crate::error::WithCauses;
use crate::failpoint;
use crate::job::{Attempt, CancelReason};
use crate::script::cancel_job::request;

/// How often to look, so that an attempt is told within a second.
const INTERVAL: Duration = Duration::from_millis(700);

/// Tells attempts to stop until their worker is gone. One that goes on for longer than the worker's grace is dropped at its
/// next await; then its job goes back, and is failed unrun by whoever takes it.
pub(super) async fn look_for_ever(table: &Weak<LockTable>, link: &Link) {
    let mut told: Vec<(Arc<Attempt>, Instant)> = Vec::new();
    while let Some(table) = table.upgrade() {
        failpoint::hit("cancellations", table.keys());
        if table.count() > 0 {
            look(&table, link, &mut told).await;
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

async fn look(table: &LockTable, link: &Link, told: &mut Vec<(Arc<Attempt>, Instant)>) {
    let engine = table.engine_on(link);
    let requests = match engine.read_cancels().await {
        Ok(requests) => requests,
        Err(error) => return tracing::debug!(error = %WithCauses(&error), "requests to cancel could not be read"),
    };
    let mut done = Vec::new();
    for (id, value) in requests {
        let Some((token, reason)) = request(&value) else { continue };
        let Some(attempt) = table.find(&id, token) else { continue };
        if attempt.cancel(CancelReason::Cancelled(reason.to_owned())) {
            tracing::debug!(job_id = %attempt.id(), "cancelled");
            told.push((attempt, Instant::now() + table.grace()));
        }
        done.push(id);
    }
    // One that stays is met again and does nothing more, and goes by itself.
    if !done.is_empty()
        && let Err(error) = engine.drop_cancels(&done).await
    {
        tracing::debug!(error = %WithCauses(&error), "requests to cancel could not be taken away");
    }
}
