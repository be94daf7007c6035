//! Checks whether a server that is back still has what it had told this worker before.
//!
//! A replica that takes over, or a server that was started with an older copy of its data, may lack the latest changes.
//! The worker knows the event of the last outcome that it stored, or of the last job that it was handed; after a break
//! of the connection it checks once whether that event still exists.

use tokio::sync::Notify;

use super::WorkerCore;
use super::event::WorkerEvent;
use crate::engine::events::Kept;
use crate::sync::Lock;
use crate::wire::EventId;

/// The latest events that a worker knows of.
#[derive(Default)]
pub(crate) struct Rollbacks {
    known: Lock<Known>,
    mended: Notify,
}

#[derive(Default)]
struct Known {
    newest: Option<EventId>,
    /// The newest event before a break that was not checked yet; later events may be of another server.
    before_break: Option<EventId>,
}

impl Rollbacks {
    /// Records the event of a reply.
    pub(super) fn note(&self, event: Option<EventId>) {
        if event.is_some() {
            let mut known = self.known.lock();
            known.newest = known.newest.max(event);
        }
    }

    pub(super) fn broke(&self) {
        let mut known = self.known.lock();
        known.before_break = known.before_break.or(known.newest);
    }

    pub(super) fn mended(&self) {
        self.mended.notify_one();
    }

    /// Returns the event to look for.
    fn open(&self) -> Option<EventId> {
        self.known.lock().before_break
    }

    /// Records that it was looked for, or cannot be.
    fn looked(&self) {
        self.known.lock().before_break = None;
    }

    /// Records that the event is gone, so that this is reported only once.
    fn is_gone(&self, seen: EventId) {
        let mut known = self.known.lock();
        known.before_break = None;
        known.newest = known.newest.filter(|newest| *newest != seen);
    }
}

/// Checks once after each break.
pub(crate) async fn look_for_ever(worker: &WorkerCore) {
    loop {
        worker.rollbacks.mended.notified().await;
        let Some(seen) = worker.rollbacks.open() else { continue };
        let engine = worker.queue.engine();
        let kept = match engine.find_rollback(seen).await {
            Ok(kept) => kept,
            // The next break's end triggers the check again.
            Err(error) if error.is_retryable() => continue,
            Err(error) => {
                worker.rollbacks.looked();
                worker.events.error(error);
                continue;
            }
        };
        let kept = match kept {
            Kept::All => {
                worker.rollbacks.looked();
                continue;
            }
            Kept::UpTo(event) => Some(event),
            Kept::Nothing => None,
        };
        worker.rollbacks.is_gone(seen);
        worker.queue.forget_settings();
        tracing::warn!(queue = ?engine.keys, %seen, ?kept, "the server has lost its latest data, as after a failover");
        worker.figures.rolled_back();
        worker.events.emit(|| WorkerEvent::RolledBack { seen, kept });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_there_is_looked_for_after_each_break_and_what_is_gone_once() {
        let rollbacks = Rollbacks::default();
        let event = EventId::new(7, 0);
        rollbacks.note(Some(event));
        rollbacks.note(None);
        for _ in 0..2 {
            rollbacks.broke();
            assert_eq!(rollbacks.open(), Some(event));
            rollbacks.looked();
        }
        rollbacks.broke();
        rollbacks.is_gone(event);
        rollbacks.broke();
        assert_eq!(rollbacks.open(), None);
    }
}
