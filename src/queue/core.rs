//! The state that all handles of one queue on one client share.

use std::sync::{Arc, Weak};

use super::Directory;
use super::settings::Settings;
use crate::engine::{Coalescer, Engine};
use crate::error::{Error, Result, WithCauses};
use crate::events::FinishHub;
use crate::job::Attempt;
use crate::job::cancel_watch::CancelWatch;

/// The untyped inside of a queue.
pub(crate) struct QueueCore {
    /// The directory in which it is listed; leads to other queues of the same client.
    directory: Weak<Directory>,
    adder: Arc<Coalescer>,
    finished: FinishHub,
    /// Watches cancellations of jobs that were fetched by hand.
    cancels: Arc<CancelWatch>,
    settings: Arc<Settings>,
}

impl std::fmt::Debug for QueueCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("QueueCore").field(&self.engine().keys).finish()
    }
}

impl QueueCore {
    pub(crate) fn new(engine: Engine, directory: Weak<Directory>) -> Arc<Self> {
        Arc::new(Self {
            directory,
            finished: FinishHub::new(engine.clone()),
            cancels: Arc::default(),
            adder: Coalescer::new(engine),
            settings: Arc::default(),
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.adder.engine()
    }

    /// Returns the queues of the client.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the client and everything that holds it were dropped.
    pub(crate) fn directory(&self) -> Result<Arc<Directory>> {
        self.directory.upgrade().ok_or(Error::Closed)
    }

    pub(crate) fn adder(&self) -> &Arc<Coalescer> {
        &self.adder
    }

    pub(crate) fn finished(&self) -> &FinishHub {
        &self.finished
    }

    /// Deletes the queue with everything in it.
    pub(crate) async fn obliterate(&self, force: bool) -> Result<()> {
        let obliterated = self.engine().obliterate(force).await;
        // A call that has failed may have deleted them too.
        self.forget_settings();
        obliterated
    }

    /// Adds an attempt by hand to those that are told of their cancellation. Must be called in a runtime.
    pub(crate) fn watch_cancels(&self, attempt: &Arc<Attempt>) {
        self.cancels.add(self.engine(), attempt);
    }

    pub(crate) fn limit_events(&self, cap: u64) {
        self.settings.limit_events(cap);
    }

    /// Writes the settings that dashboards look for.
    pub(crate) async fn open(&self) -> Result<()> {
        self.forget_settings();
        self.settings.write(self.engine()).await
    }

    /// Records that the settings may be gone: the queue was obliterated, or the server has lost data.
    pub(crate) fn forget_settings(&self) {
        self.engine().note_settings(false);
    }

    /// Writes the settings before an add, once; and after one that has found them gone, as after a loss of all data. An add
    /// does not fail if the settings cannot be written: the next one tries again.
    pub(crate) async fn open_for_add(&self) {
        if self.engine().has_settings() {
            return;
        }
        let writing = self.settings.write(self.engine());
        let opened = tokio::time::timeout(self.engine().link.options().command_timeout, writing).await;
        if let Ok(Err(error)) = opened {
            tracing::debug!(error = %WithCauses(&error), queue = ?self.engine().keys, "the settings of the queue could not be written");
        }
    }

    /// Writes the settings again, if this client has written them before and knows that they are gone. For calls that
    /// write none before their first, as in Node: flows, events, and the runs that a worker creates.
    pub(crate) async fn mend_settings(&self) {
        if !self.engine().has_settings() && self.settings.are_ours() {
            // Boxed, since this is rare and the futures of callers should stay small.
            Box::pin(self.open_for_add()).await;
        }
    }
}
