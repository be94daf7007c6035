//! What all handles of one queue on one client share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::OnceCell;

use crate::engine::{Coalescer, Engine};
use crate::error::Result;
use crate::events::FinishHub;

/// The untyped inside of a queue.
pub(crate) struct QueueCore {
    adder: Arc<Coalescer>,
    finished: FinishHub,
    /// Set once the queue's settings were written, as Node does when it opens a queue.
    opened: OnceCell<()>,
    /// The cap of the event stream that the user has set; 0 for none.
    max_events: AtomicU64,
}

impl QueueCore {
    pub(crate) fn new(engine: Engine) -> Arc<Self> {
        Arc::new(Self {
            finished: FinishHub::new(engine.clone()),
            adder: Coalescer::new(engine),
            opened: OnceCell::new(),
            max_events: AtomicU64::new(0),
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.adder.engine()
    }

    pub(crate) fn adder(&self) -> &Arc<Coalescer> {
        &self.adder
    }

    pub(crate) fn finished(&self) -> &FinishHub {
        &self.finished
    }

    pub(crate) fn limit_events(&self, cap: u64) {
        self.max_events.store(cap, Ordering::Relaxed);
    }

    /// Writes the settings that dashboards look for, once.
    pub(crate) async fn open(&self) -> Result<()> {
        let cap = Some(self.max_events.load(Ordering::Relaxed)).filter(|cap| *cap > 0);
        self.opened.get_or_try_init(|| self.engine().open_queue(cap)).await.copied()
    }

    /// Does the same before an add. That the settings could not be written is no reason not to add jobs: the next add
    /// tries again.
    pub(crate) async fn open_for_add(&self) {
        if let Err(error) = self.open().await {
            tracing::debug!(%error, queue = ?self.engine().keys, "the settings of the queue could not be written");
        }
    }
}
