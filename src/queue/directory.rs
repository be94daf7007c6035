//! The queues of a client, so that all handles of one share what they can.

use std::collections::HashMap;
use std::sync::Arc;

use super::QueueCore;
use crate::clock::Clock;
use crate::connection::Link;
use crate::engine::Engine;
use crate::error::Result;
use crate::keys::QueueKeys;
use crate::sync::Lock;

/// What handles of one queue share, by the queue's base key.
pub(crate) struct Directory {
    pub(crate) link: Link,
    pub(crate) prefix: String,
    clock: Clock,
    queues: Lock<Queues>,
}

#[derive(Default)]
struct Queues {
    cores: HashMap<String, Arc<QueueCore>>,
    /// At this size those that no handle uses are let go.
    crowded: usize,
}

/// So many queues are kept although no handle uses them: who asks for a queue before each add, as many do, should not
/// have to write its settings each time.
const KEPT_QUEUES: usize = 1_000;

impl Directory {
    pub(crate) fn new(link: Link, prefix: String, clock: Clock) -> Arc<Self> {
        Arc::new(Self { link, prefix, clock, queues: Lock::default() })
    }

    /// What all handles of one queue share.
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

    /// For what concerns the server and not one queue.
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
    /// Lets go what only this map holds. As that is done when their number has doubled, it costs each new queue little.
    fn make_room(&mut self) {
        if self.cores.len() >= self.crowded.max(KEPT_QUEUES) {
            // Nobody can come to hold one meanwhile: that goes through the lock around this.
            self.cores.retain(|_, core| Arc::strong_count(core) > 1);
            self.cores.shrink_to_fit();
            self.crowded = 2 * self.cores.len();
        }
    }
}
