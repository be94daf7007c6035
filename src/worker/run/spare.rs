//! Memory of the loop that is used again and again, so that a job takes few allocations.

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::job::Attempt;
use crate::script::settle::Handed;
use crate::worker::perform::EndedAttempt;

/// How many ended attempts are kept, to be begun again.
const MOST_SPARE: usize = 1024;

/// Memory that each turn uses again; empty in between.
#[derive(Default)]
pub(super) struct Spare {
    pub(super) ended: Vec<EndedAttempt>,
    pub(super) freed: Vec<usize>,
    pub(super) tasks: Vec<(usize, AbortHandle)>,
    pub(super) held: Vec<(Arc<Attempt>, usize)>,
    /// Attempts that have ended. Those that nobody else holds any more are begun again, with other jobs.
    attempts: Vec<Arc<Attempt>>,
}

impl Spare {
    /// Returns the attempt at a job that was handed out.
    pub(super) fn attempt(&mut self, job: &Handed, token: &Arc<str>) -> Arc<Attempt> {
        let new = Attempt::new(job.id().into(), Arc::clone(token));
        while let Some(mut old) = self.attempts.pop() {
            if let Some(free) = Arc::get_mut(&mut old) {
                *free = new;
                return old;
            }
        }
        Arc::new(new)
    }

    /// Keeps an attempt that has ended, unless the program may still hold its job.
    pub(super) fn keep(&mut self, attempt: Arc<Attempt>) {
        if self.attempts.len() < MOST_SPARE {
            self.attempts.push(attempt);
        }
    }
}
