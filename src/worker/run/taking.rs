//! Jobs that were handed out: each is locked, and is started, kept, or put back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Loop;
use crate::job::Attempt;
use crate::script::settle::Handed;
use crate::worker::perform::{EndedAttempt, Taken, perform};

impl Loop {
    /// Starts jobs that were handed out, or keeps them until there is a slot; a worker that takes no more jobs puts them
    /// back.
    pub(super) fn start(&mut self, jobs: Vec<Handed>, token: &Arc<str>, sent: Instant) {
        if jobs.is_empty() {
            return;
        }
        if self.worker.host.options.prefetch > 0 {
            return self.prefetch(jobs, token, sent);
        }
        if !self.plan.starts_jobs() || self.worker.is_given_up.load(Ordering::Relaxed) {
            return self.hand_back(&jobs, token, sent);
        }
        let mut held = self.hold(&jobs, token, sent);
        let orders = self.orders(jobs.len());
        for ((job, (attempt, slot)), order) in jobs.into_iter().zip(held.drain(..)).zip(orders) {
            self.begin(Taken { job, attempt, slot, order, prefetched_at: None });
        }
        self.spare.held = held;
        self.worker.locks.attach(self.spare.tasks.drain(..));
    }

    /// Runs a job in a task of its own; the caller attaches the task to the job's lock.
    pub(super) fn begin(&mut self, taken: Taken) {
        self.plan.started();
        self.has_started = true;
        let slot = taken.slot;
        let task = perform(Arc::clone(&self.worker), taken, self.ended_tx.clone());
        self.spare.tasks.push((slot, tokio::spawn(task).abort_handle()));
    }

    /// Puts jobs that were handed out back at the front of the queue: the last one first, so that they keep their
    /// order.
    pub(super) fn hand_back(&mut self, jobs: &[Handed], token: &Arc<str>, sent: Instant) {
        if jobs.is_empty() {
            return;
        }
        let held = self.hold(jobs, token, sent);
        let back = held.into_iter().zip(self.orders(jobs.len()));
        let back: Vec<_> =
            back.map(|((attempt, slot), order)| EndedAttempt::handed_back(attempt, slot, order, 0)).collect();
        self.pending.extend(back.into_iter().rev());
    }

    /// Holds the locks of jobs that were handed out; returns the attempt and the slot of each.
    pub(super) fn hold(&mut self, jobs: &[Handed], token: &Arc<str>, sent: Instant) -> Vec<(Arc<Attempt>, usize)> {
        let mut held = std::mem::take(&mut self.spare.held);
        let attempts = jobs.iter().map(|job| self.spare.attempt(job, token));
        self.worker.locks.hold(attempts, sent, &mut held);
        held
    }

    /// Numbers the next jobs.
    pub(super) fn orders(&mut self, jobs: usize) -> std::ops::Range<u64> {
        let first = self.taken;
        self.taken += jobs as u64;
        first..self.taken
    }
}
