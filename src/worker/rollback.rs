//! Checks whether a server that is back still has what it had told this worker before.
//!
//! A replica that takes over, or a server that was started with an older copy of its data, may lack the latest changes.
//! The worker knows the event of the last outcome that it stored, or of the last job that it was handed; after a break
//! of the connection it checks once whether that event still exists.

use tokio::sync::Notify;

use super::WorkerCore;
use super::event::WorkerEvent;
use crate::engine::events::Kept;
use crate::error::Result;
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
    /// What was known before the breaks that were not checked yet.
    unchecked: Option<Unchecked>,
}

/// Two events to look for. Each of them shows a loss that the other does not: an event after the first break may be of
/// another server, which has lost the earlier one; and a later break may lose the later one only.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Unchecked {
    /// The newest event before the first break.
    first: EventId,
    /// The newest event before the last break.
    last: EventId,
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
        let Some(last) = known.newest else { return };
        known.unchecked = Some(Unchecked { first: known.unchecked.map_or(last, |earlier| earlier.first), last });
    }

    pub(super) fn mended(&self) {
        self.mended.notify_one();
    }

    /// Returns the events to look for.
    fn open(&self) -> Option<Unchecked> {
        self.known.lock().unchecked
    }

    /// Records that `events` were looked for, or cannot be; a break since then is still to be checked.
    fn looked(&self, events: Unchecked) {
        let mut known = self.known.lock();
        known.unchecked = known.unchecked.filter(|unchecked| *unchecked != events);
    }

    /// Records that the event is gone, so that this is reported only once.
    fn is_gone(&self, seen: EventId) {
        let mut known = self.known.lock();
        known.unchecked = None;
        known.newest = known.newest.filter(|newest| *newest != seen);
    }
}

/// Checks once after each break.
pub(crate) async fn look_for_ever(worker: &WorkerCore) {
    loop {
        worker.rollbacks.mended.notified().await;
        let Some(unchecked) = worker.rollbacks.open() else { continue };
        let (seen, kept) = match find(worker, unchecked).await {
            Ok(Some(loss)) => loss,
            Ok(None) => {
                worker.rollbacks.looked(unchecked);
                continue;
            }
            // The next break's end triggers the check again.
            Err(error) if error.is_retryable() => continue,
            Err(error) => {
                worker.rollbacks.looked(unchecked);
                worker.events.error(error);
                continue;
            }
        };
        worker.rollbacks.is_gone(seen);
        worker.queue.forget_settings();
        tracing::warn!(queue = ?worker.queue.engine().keys, %seen, ?kept, "the server has lost its latest data, as after a failover");
        worker.figures.rolled_back();
        worker.events.emit(|| WorkerEvent::RolledBack { seen, kept });
    }
}

/// Returns the event that is gone and the newest that is left, if the server has lost anything.
async fn find(worker: &WorkerCore, unchecked: Unchecked) -> Result<Option<(EventId, Option<EventId>)>> {
    let Unchecked { first, last } = unchecked;
    for seen in [last, first].into_iter().take(if first == last { 1 } else { 2 }) {
        match worker.queue.engine().find_rollback(seen).await? {
            Kept::All => {}
            Kept::UpTo(event) => return Ok(Some((seen, Some(event)))),
            Kept::Nothing => return Ok(Some((seen, None))),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(event: EventId) -> Unchecked {
        Unchecked { first: event, last: event }
    }

    #[test]
    fn what_is_still_there_is_looked_for_after_each_break_and_what_is_gone_once() {
        let rollbacks = Rollbacks::default();
        let event = EventId::new(7, 0);
        rollbacks.note(Some(event));
        rollbacks.note(None);
        for _ in 0..2 {
            rollbacks.broke();
            assert_eq!(rollbacks.open(), Some(both(event)));
            rollbacks.looked(both(event));
        }
        rollbacks.broke();
        rollbacks.is_gone(event);
        rollbacks.broke();
        assert_eq!(rollbacks.open(), None);
    }

    #[test]
    fn a_second_break_before_the_check_adds_what_was_known_by_then() {
        let rollbacks = Rollbacks::default();
        let (first, last) = (EventId::new(7, 0), EventId::new(9, 0));
        rollbacks.note(Some(first));
        rollbacks.broke();
        rollbacks.note(Some(last));
        assert_eq!(rollbacks.open(), Some(both(first)));
        rollbacks.broke();
        assert_eq!(rollbacks.open(), Some(Unchecked { first, last }));
        rollbacks.looked(both(first));
        assert_eq!(rollbacks.open(), Some(Unchecked { first, last }), "the check did not know of the second break");
        rollbacks.looked(Unchecked { first, last });
        assert_eq!(rollbacks.open(), None);
    }
}
