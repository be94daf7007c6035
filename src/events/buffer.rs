//! The bounded queue between the task that reads events and a listener; when it is full, the oldest are dropped.

use std::collections::VecDeque;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};

use super::Delivery;
use crate::engine::events::{Batch, StreamEntry};
use crate::sync::Lock;
use crate::wire::{EventId, QueueEvent};

/// How many bytes of names and values are held at most.
const MAX_BYTES: usize = 64 << 20;

/// One writer, one reader. Entries are decoded when they are taken, so that dropped ones cost nothing more.
pub(super) struct Buffer {
    state: Lock<State>,
    limit: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    slots: VecDeque<Slot>,
    bytes: usize,
    /// How many were dropped since the listener was last told.
    lagged: u64,
    /// How many were dropped in all.
    missed: u64,
    /// The panic of the reader, until it is reported.
    problem: Option<String>,
    /// Why the server does not let us read, until it is reported.
    refusal: Option<String>,
    waker: Option<Waker>,
    closed: bool,
}

struct Slot {
    /// Set if entries between this one and the slot's may have been trimmed away; delivered first.
    gap_after: Option<EventId>,
    is_rollback: bool,
    /// Why the server did not let us read before this one; delivered before the gap.
    refusal: Option<String>,
    entry: StreamEntry,
}

impl Buffer {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Lock::default(), limit: limit.max(1), max_bytes: MAX_BYTES }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn push(&self, batch: Batch) {
        let mut state = self.lock();
        let mut gap_after = batch.gap_after;
        for entry in batch.entries {
            state.bytes += entry.size();
            let refusal = state.refusal.take();
            let is_rollback = batch.is_rollback;
            state.slots.push_back(Slot { gap_after: gap_after.take(), is_rollback, refusal, entry });
            while state.slots.len() > self.limit || (state.bytes > self.max_bytes && state.slots.len() > 1) {
                let Some(slot) = state.slots.pop_front() else { break };
                state.bytes -= slot.entry.size();
                // A gap before it is dropped too: either delivery tells that events were missed.
                state.lagged += 1;
                state.missed += 1;
            }
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let mut state = self.lock();
        if state.lagged > 0 {
            return Poll::Ready(Some(Delivery::Lagged { missed: std::mem::take(&mut state.lagged) }));
        }
        if let Some(problem) = state.problem.take() {
            return Poll::Ready(Some(Delivery::Restarted { problem }));
        }
        if state.slots.is_empty()
            && let Some(problem) = state.refusal.take()
        {
            return Poll::Ready(Some(Delivery::Refused { problem }));
        }
        if let Some(problem) = state.slots.front_mut().and_then(|slot| slot.refusal.take()) {
            return Poll::Ready(Some(Delivery::Refused { problem }));
        }
        if let Some(slot) = state.slots.front_mut()
            && let Some(after) = slot.gap_after.take()
        {
            return Poll::Ready(Some(Delivery::Gap { after, before: slot.entry.id, is_rollback: slot.is_rollback }));
        }
        if let Some(Slot { entry, .. }) = state.slots.pop_front() {
            state.bytes -= entry.size();
            drop(state);
            return Poll::Ready(Some(Delivery::Event { id: entry.id, event: QueueEvent::decode(entry.fields) }));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Reports that the reader was started again.
    pub(super) fn restarted(&self, problem: String) {
        self.tell(|state| state.problem = Some(problem));
    }

    /// Reports that the server does not let us read, after what was read before.
    pub(super) fn refused(&self, problem: String) {
        self.tell(|state| state.refusal = Some(problem));
    }

    fn tell(&self, set: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        set(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// Ends the buffer: no more entries are added, and those in it can still be taken.
    pub(super) fn close(&self) {
        self.tell(|state| state.closed = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(ids: std::ops::Range<u64>, bytes: usize, gap_after: Option<EventId>) -> Batch {
        let fields = |id: u64| vec![(b"event".to_vec(), format!("{id}").into_bytes()), (vec![], vec![b'x'; bytes])];
        let entries = ids.map(|id| StreamEntry { id: EventId::new(id, 0), fields: fields(id) }).collect();
        Batch { gap_after, is_rollback: false, entries }
    }

    /// Returns everything that can be taken without waiting.
    fn drain(buffer: &Buffer) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        while let Poll::Ready(Some(delivery)) = buffer.poll(&mut cx) {
            seen.push(match delivery {
                Delivery::Event { event, .. } => event.name().to_owned(),
                Delivery::Gap { after, before, .. } => format!("gap {after} {before}"),
                Delivery::Lagged { missed } => format!("lagged {missed}"),
                Delivery::Restarted { problem } => format!("restarted {problem}"),
                Delivery::Refused { problem } => format!("refused {problem}"),
            });
        }
        seen
    }

    #[test]
    fn a_slow_reader_is_told_how_many_of_the_oldest_it_missed() {
        let buffer = Buffer::new(3);
        buffer.push(batch(1..3, 0, None));
        buffer.push(batch(3..7, 0, None));
        assert_eq!(drain(&buffer), ["lagged 3", "4", "5", "6"]);
        buffer.push(batch(7..12, 0, None));
        assert_eq!(drain(&buffer), ["lagged 2", "9", "10", "11"]);
        assert_eq!(buffer.missed(), 5);
        assert_eq!(buffer.lock().bytes, 0);
    }

    #[test]
    fn a_gap_comes_before_the_entry_that_ends_it() {
        let buffer = Buffer::new(9);
        buffer.push(batch(1..2, 0, None));
        buffer.push(batch(5..7, 0, Some(EventId::new(1, 0))));
        assert_eq!(drain(&buffer), ["1", "gap 1-0 5-0", "5", "6"]);
    }

    #[test]
    fn a_refusal_comes_after_what_was_read_before_it() {
        let buffer = Buffer::new(9);
        buffer.push(batch(1..3, 0, None));
        buffer.refused("no".to_owned());
        assert_eq!(drain(&buffer), ["1", "2", "refused no"]);
    }

    #[test]
    fn a_refusal_that_was_mended_comes_before_what_was_read_then() {
        let buffer = Buffer::new(9);
        buffer.push(batch(1..3, 0, None));
        buffer.refused("no".to_owned());
        buffer.push(batch(3..5, 0, None));
        assert_eq!(drain(&buffer), ["1", "2", "refused no", "3", "4"]);
    }

    #[test]
    fn large_events_are_bounded_by_their_bytes() {
        let buffer = Buffer { max_bytes: 10_000, ..Buffer::new(1_000_000) };
        buffer.push(batch(1..10, 3_000, None));
        assert_eq!(drain(&buffer), ["lagged 6", "7", "8", "9"]);
        buffer.push(batch(10..12, 50_000, None));
        assert_eq!(drain(&buffer), ["lagged 1", "11"]);
    }

    #[test]
    fn what_is_there_can_be_taken_after_the_end() {
        let buffer = Buffer::new(3);
        buffer.push(batch(1..3, 0, None));
        buffer.close();
        assert_eq!(drain(&buffer), ["1", "2"]);
        assert!(matches!(buffer.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    }
}
