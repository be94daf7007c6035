//! What is known of actions in the background: how far they are, and how they ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::access::Action;
use crate::sync::Lock;

/// How many finished works are kept.
const KEPT: usize = 100;

/// How many may run at once.
const AT_ONCE: usize = 8;

/// An action that runs in the background.
pub(super) struct Work {
    pub(super) queue: String,
    pub(super) action: Action,
    /// The jobs, in words.
    pub(super) target: String,
    /// The page to go back to.
    pub(super) back: String,
    /// How many jobs are looked at in all.
    pub(super) total: u64,
    pub(super) looked_at: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) left_out: AtomicU64,
    is_stopping: AtomicBool,
    /// How it ended, once it has.
    end: Lock<Option<Result<String, String>>>,
}

impl Work {
    pub(super) fn new(queue: &str, action: Action, target: String, back: String, total: u64) -> Self {
        Self {
            queue: queue.to_owned(),
            action,
            target,
            back,
            total,
            looked_at: AtomicU64::new(0),
            done: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            end: Lock::new(None),
        }
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) -> Option<Result<String, String>> {
        self.end.lock().clone()
    }

    pub(super) fn ended(&self, end: Result<String, String>) {
        self.end.lock().get_or_insert(end);
    }
}

/// All running works, and the last finished ones.
#[derive(Default)]
pub(super) struct Works(Lock<BTreeMap<u64, Arc<Work>>>);

impl Works {
    pub(super) fn find(&self, id: &str) -> Option<Arc<Work>> {
        let id: u64 = id.parse().ok()?;
        self.0.lock().get(&id).cloned()
    }

    /// Adds a work and returns its id; `None` if too many are running.
    pub(super) fn keep(&self, work: &Arc<Work>) -> Option<u64> {
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
