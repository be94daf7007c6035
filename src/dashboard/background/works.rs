//! What is known of actions in the background: how far they are, and how they ended.

use std::collections::VecDeque;
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
    /// Jobs to which it may have been done: the answer was lost.
    pub(in crate::dashboard) unknown: AtomicU64,
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
            unknown: AtomicU64::new(0),
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
pub(in crate::dashboard) struct Works(Lock<VecDeque<(u64, Arc<Work>)>>);

impl Works {
    pub(in crate::dashboard) fn find(&self, id: &str) -> Option<Arc<Work>> {
        let id: u64 = id.parse().ok()?;
        self.0.lock().iter().find(|(known, _)| *known == id).map(|(_, work)| Arc::clone(work))
    }

    /// Adds a work and returns its id; `None` if too many are running.
    pub(in crate::dashboard) fn keep(&self, work: &Arc<Work>) -> Option<u64> {
        let mut works = self.0.lock();
        if works.iter().filter(|(_, work)| work.end().is_none()).count() >= AT_ONCE {
            return None;
        }
        while works.len() >= KEPT {
            let oldest = works.iter().position(|(_, work)| work.end().is_some());
            works.remove(oldest?);
        }
        // Random, since a link of an earlier process must not lead to another work.
        let id = fastrand::u64(..);
        works.push_back((id, Arc::clone(work)));
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_have_ended_are_forgotten_first() {
        let (works, mut ids) = (Works::default(), Vec::new());
        let new = || Arc::new(Work::new(Vec::new(), Action::Retry, String::new(), String::new(), String::new(), 0));
        let underway = new();
        let underway = works.keep(&underway).unwrap();
        for _ in 0..2 * KEPT {
            let work = new();
            ids.push(works.keep(&work).unwrap());
            work.ended(Ok(String::new()));
        }
        let is_known = |id: &u64| works.find(&id.to_string()).is_some();
        let (forgotten, kept) = ids.split_at(KEPT + 1);
        assert!(!forgotten.iter().any(is_known) && kept.iter().all(is_known) && is_known(&underway));
        // No more than a few run at once.
        assert_eq!((0..AT_ONCE).filter(|_| works.keep(&new()).is_some()).count(), AT_ONCE - 1);
    }
}
