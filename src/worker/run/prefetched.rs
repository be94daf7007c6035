//! Jobs that were fetched ahead: they wait here for a slot, locked like running ones.
//!
//! A job that waits is active for the server and has not begun for the program. So whatever keeps it from beginning soon
//! ends the waiting: a worker that pauses, closes or has to keep a pause puts it back, so that another worker can run it,
//! and a job that is cancelled ends without having run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Loop;
use crate::script::settle::Handed;
use crate::worker::perform::Taken;
use crate::worker::plan::Ahead;

impl Loop {
    /// Keeps jobs that were handed out until there is a slot for them.
    pub(super) fn prefetch(&mut self, jobs: Vec<Handed>, token: &Arc<str>, sent: Instant) {
        let prefetched_at = Some(self.now());
        let mut held = self.hold(&jobs, token, sent);
        let orders = self.orders(jobs.len());
        let taken = jobs.into_iter().zip(held.drain(..)).zip(orders);
        let taken = taken.map(|((job, (attempt, slot)), order)| Taken { job, attempt, slot, order, prefetched_at });
        self.prefetched.extend(taken);
        self.spare.held = held;
        self.begin_prefetched();
    }

    /// Begins the jobs that there are slots for, or puts all back if none is to begin now.
    pub(super) fn begin_prefetched(&mut self) {
        if self.prefetched.is_empty() {
            return;
        }
        let is_given_up = self.worker.is_given_up.load(Ordering::Relaxed);
        match self.plan.ahead() {
            Ahead::Begin if !is_given_up => self.fill_slots(),
            Ahead::Gather if !is_given_up => {}
            // The last one first, so that they keep their order.
            _ => self.pending.extend(self.prefetched.drain(..).rev().map(Taken::put_back)),
        }
        self.note_prefetched();
    }

    fn fill_slots(&mut self) {
        let slots = self.worker.concurrency.load(Ordering::Relaxed);
        let now = Instant::now();
        while self.plan.running() < slots
            && let Some(taken) = self.prefetched.pop_front()
        {
            // A job whose lock may have run out while it waited may be another worker's by now.
            if taken.attempt.was_held(now) {
                self.begin(taken);
            } else {
                self.pending.push_back(taken.put_back());
            }
        }
        self.worker.locks.attach(self.spare.tasks.drain(..));
    }

    /// Ends jobs that were told to stop before they began: they need no slot, since their processors are not called.
    pub(super) fn end_cancelled(&mut self) {
        for taken in std::mem::take(&mut self.prefetched) {
            if taken.attempt.lost_its_lock() {
                self.pending.push_back(taken.put_back());
            } else if taken.attempt.cancel_reason().is_some() {
                self.begin(taken);
            } else {
                self.prefetched.push_back(taken);
            }
        }
        self.worker.locks.attach(self.spare.tasks.drain(..));
        self.note_prefetched();
    }

    /// Tells the plan, and who asks for the worker's health, how many jobs wait for a slot.
    pub(super) fn note_prefetched(&mut self) {
        let waiting = self.prefetched.len();
        self.plan.holds(waiting);
        self.worker.prefetched.store(waiting, Ordering::Relaxed);
    }
}
