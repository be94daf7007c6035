//! What is known of actions in the background: how far they are, and how they ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::dashboard::access::Action;
use crate::dashboard::format::moment::many;
use crate::sync::Lock;

/// How many finished works are kept.
const KEPT: usize = 100;

/// How many may run at once.
const AT_ONCE: usize = 8;

/// An action that runs in the background.
pub(in crate::dashboard) struct Work {
    /// The queues whose jobs it acts on.
    pub(in crate::dashboard) queues: Vec<String>,
    pub(in crate::dashboard) action: Action,
    /// The jobs, in words.
    pub(in crate::dashboard) target: String,
    /// What is done to them, in words.
    pub(in crate::dashboard) title: String,
    /// The page to go back to.
    pub(in crate::dashboard) back: String,
    /// How many jobs are looked at in all.
    pub(in crate::dashboard) total: u64,
    pub(in crate::dashboard) looked_at: AtomicU64,
    pub(in crate::dashboard) done: AtomicU64,
    pub(in crate::dashboard) left_out: AtomicU64,
    is_stopping: AtomicBool,
    /// How it ended, once it has.
    end: Lock<Option<Result<String, String>>>,
}

impl Work {
    pub(in crate::dashboard) fn new(
        queues: Vec<String>,
        action: Action,
        target: String,
        title: String,
        back: String,
        total: u64,
    ) -> Self {
        Self {
            queues,
            action,
            target,
            title,
            back,
            total,
            looked_at: AtomicU64::new(0),
            done: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            end: Lock::new(None),
        }
    }

    /// Returns the queue, or how many there are.
    pub(in crate::dashboard) fn place(&self) -> String {
        match self.queues.as_slice() {
            [queue] => queue.clone(),
            queues => many(queues.len() as u64, "queue"),
        }
    }

    pub(in crate::dashboard) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(in crate::dashboard) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    pub(in crate::dashboard) fn end(&self) -> Option<Result<String, String>> {
        self.end.lock().clone()
    }

    pub(in crate::dashboard) fn ended(&self, end: Result<String, String>) {
        self.end.lock().get_or_insert(end);
    }
}

/// All running works, and the last finished ones.
#[derive(Default)]
pub(in crate::dashboard) struct Works(Lock<BTreeMap<u64, Arc<Work>>>);

impl Works {
    pub(in crate::dashboard) fn find(&self, id: &str) -> Option<Arc<Work>> {
        let id: u64 = id.parse().ok()?;
        self.0.lock().get(&id).cloned()
    }

    /// Adds a work and returns its id; `None` if too many are running.
    pub(in crate::dashboard) fn keep(&self, work: &Arc<Work>) -> Option<u64> {
        let mut works = self.0.lock();
        if works.values().filter(|work| work.end().is_none()).count() >= AT_ONCE {
            return None;
        }
        while works.len() >= KEPT {
            let oldest = works.iter().find(|(_, work)| work.end().is_some()).map(|(id, _)| *id);
            works.remove(&oldest?);
        }
        // Random, since a link of an earlier process must not lead to another work.
        let id = fastrand::u64(..);
        works.insert(id, Arc::clone(work));
        Some(id)
    }
}
