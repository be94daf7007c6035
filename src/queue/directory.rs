//! The queues of a client, so that all handles of one queue share its state.

use std::collections::HashMap;
use std::sync::Arc;

use super::QueueCore;
use crate::clock::Clock;
use crate::connection::Link;
use crate::engine::Engine;
use crate::error::Result;
use crate::keys::QueueKeys;
use crate::sync::Lock;

/// The shared state of queues, by base key.
pub(crate) struct Directory {
    pub(crate) link: Link,
    pub(crate) prefix: String,
    clock: Clock,
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
    pub(crate) fn new(link: Link, prefix: String, clock: Clock) -> Arc<Self> {
        Arc::new(Self { link, prefix, clock, queues: Lock::default() })
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
        let engine = Engine::new(link, keys, self.clock.clone());
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
