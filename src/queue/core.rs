//! What all handles of one queue on one client share.

use std::sync::Arc;

use crate::engine::{Coalescer, Engine};

/// The untyped inside of a queue.
pub(crate) struct QueueCore {
    adder: Arc<Coalescer>,
}

impl QueueCore {
    pub(crate) fn new(engine: Engine) -> Arc<Self> {
        Arc::new(Self { adder: Coalescer::new(engine) })
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.adder.engine()
    }

    pub(crate) fn adder(&self) -> &Arc<Coalescer> {
        &self.adder
    }
}
