//! The listeners of one reader of events; each has a buffer of its own.

use std::sync::{Arc, MutexGuard, Weak};

use super::buffer::Buffer;
use crate::engine::events::Batch;
use crate::sync::Lock;

/// The listeners of one reader. Each has a buffer, so that a slow one delays neither the reader nor the others.
pub(super) struct Listeners {
    state: Lock<State>,
    /// How many events each may be behind.
    limit: usize,
}

#[derive(Default)]
struct State {
    /// Dropped buffers are removed with the next batch.
    buffers: Vec<Weak<Buffer>>,
    closed: bool,
}

impl Listeners {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Lock::default(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds a buffer for one more listener.
    pub(super) fn add(&self) -> Arc<Buffer> {
        let buffer = Arc::new(Buffer::new(self.limit));
        let mut state = self.lock();
        if state.closed {
            buffer.close();
        } else {
            state.buffers.push(Arc::downgrade(&buffer));
        }
        buffer
    }

    /// Returns the buffer of a listener that hears nothing.
    pub(super) fn closed() -> Arc<Buffer> {
        let buffer = Arc::new(Buffer::new(1));
        buffer.close();
        buffer
    }

    pub(super) fn remove(&self, buffer: &Arc<Buffer>) {
        self.lock().buffers.retain(|other| other.as_ptr() != Arc::as_ptr(buffer));
    }

    fn all(&self) -> Vec<Arc<Buffer>> {
        let mut state = self.lock();
        state.buffers.retain(|buffer| buffer.strong_count() > 0);
        state.buffers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Adds a batch to every buffer; the last one takes it without a copy.
    pub(super) fn push(&self, batch: Batch) {
        let mut all = self.all();
        let Some(last) = all.pop() else { return };
        for buffer in all {
            buffer.push(batch.clone());
        }
        last.push(batch);
    }

    /// Reports that the reader was started again.
    pub(super) fn restarted(&self, problem: &str) {
        for buffer in self.all() {
            buffer.restarted(problem.to_owned());
        }
    }

    /// Reports that the server does not let us read.
    pub(super) fn refused(&self, problem: &str) {
        for buffer in self.all() {
            buffer.refused(problem.to_owned());
        }
    }

    /// Reports that the reading has ended.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        for buffer in self.all() {
            buffer.close();
        }
    }
}
