//! The queues of a client, and the state that all handles of one queue share.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::settings::Settings;
use crate::clock::Clock;
use crate::connection::Link;
use crate::engine::stream_waits::StreamWaits;
use crate::engine::{Coalescer, Engine};
use crate::error::{Error, Result, WithCauses};
use crate::events::FinishHub;
use crate::job::Attempt;
use crate::job::cancel_watch::CancelWatch;
use crate::keys::QueueKeys;
use crate::sync::Lock;

/// The shared state of queues, by base key.
pub(crate) struct Directory {
    pub(crate) link: Link,
    pub(crate) prefix: String,
    clock: Clock,
    /// What the readers of events of all queues share.
    pub(crate) streams: Arc<StreamWaits>,
    queues: Lock<Queues>,
}

#[derive(Default)]
struct Queues {
    cores: HashMap<String, Arc<QueueCore>>,
    /// At this size the queues without a handle are dropped.
    crowded: usize,
}

/// How many queues are kept at least without a handle: a caller that opens the queue before each add, as many do,
/// should not write its settings each time.
const KEPT_QUEUES: usize = 1_000;

impl Directory {
    pub(crate) fn new(link: Link, prefix: String, clock: Clock, streams: Arc<StreamWaits>) -> Arc<Self> {
        Arc::new(Self { link, prefix, clock, streams, queues: Lock::default() })
    }

    /// Returns the shared state of a queue.
    pub(crate) fn queue(self: &Arc<Self>, prefix: &str, name: &str) -> Result<Arc<QueueCore>> {
        let keys = QueueKeys::new(prefix, name)?;
        let mut queues = self.queues.lock();
        if let Some(core) = queues.cores.get(keys.base()) {
            return Ok(Arc::clone(core));
        }
        let base = keys.base().to_owned();
        let link = self.link.for_keys(keys.base())?;
        let engine = Engine { streams: Arc::clone(&self.streams), ..Engine::new(link, keys, self.clock.clone()) };
        let core = QueueCore::new(engine, Arc::downgrade(self));
        queues.make_room();
        queues.cores.insert(base, Arc::clone(&core));
        Ok(core)
    }

    /// Returns an engine for what concerns the server and not one queue.
    pub(crate) fn server_engine(&self) -> Result<Engine> {
        let keys = QueueKeys::new(&self.prefix, "-")?;
        Ok(Engine::new(self.link.clone(), keys, self.clock.clone()))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queues.lock().cores.len()
    }
}

impl Queues {
    /// Drops the queues that only this map holds. It runs when their number has doubled, so it costs each new queue
    /// little.
    fn make_room(&mut self) {
        if self.cores.len() >= self.crowded.max(KEPT_QUEUES) {
            // No handle can be created meanwhile: that needs the lock around this.
            self.cores.retain(|_, core| Arc::strong_count(core) > 1);
            self.cores.shrink_to_fit();
            self.crowded = 2 * self.cores.len();
        }
    }
}

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
