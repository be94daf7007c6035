//! Counts and announces the outcomes of a worker: the report, the counters, the metrics, the events.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::WorkerCore;
use super::event::WorkerEvent;
use super::perform::EndedAttempt;
use crate::error::{FailureKind, Reason};
use crate::job::CancelReason;
use crate::script::settle::{End, Why};
use crate::telemetry::Counted;

/// Counts and announces what becomes of the jobs of one worker.
pub(super) struct Tally {
    worker: Arc<WorkerCore>,
}

impl Tally {
    pub(super) fn new(worker: Arc<WorkerCore>) -> Self {
        Self { worker }
    }

    /// Counts and announces an outcome that Redis has stored.
    pub(super) fn record(&self, ended: EndedAttempt) {
        let WorkerCore { events, figures, counters, .. } = &*self.worker;
        let id = ended.outcome.id;
        let job_id = || id.to_string();
        if ended.failure.as_ref().is_some_and(|failure| failure.kind() == FailureKind::Expired) {
            figures.job_expired();
        }
        let failed = |why: Why, will_retry| {
            // Every failed outcome has one.
            if let Some(failure) = ended.failure {
                events.emit(|| failure.event(job_id(), why.reason, will_retry));
            }
        };
        match ended.outcome.end {
            End::Completed { value, .. } => {
                counters.completed.fetch_add(1, Ordering::Relaxed);
                figures.count(Counted::Completed);
                events.emit(|| WorkerEvent::Completed { job_id: job_id(), return_value: value });
            }
            End::Failed { why, .. } => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                figures.count(Counted::Failed);
                failed(why, false);
            }
            End::Retry { why, .. } | End::Delayed { why: Some(why), .. } => {
                counters.retried.fetch_add(1, Ordering::Relaxed);
                figures.count(Counted::Retried);
                failed(why, true);
            }
            End::Waiting if ended.handed_back => {
                figures.count(Counted::HandedBack);
                self.worker.notes().handed_back.push(job_id(), self.slots());
            }
            End::Delayed { .. } | End::Waiting | End::Children { .. } => {
                figures.count(Counted::Moved);
                self.worker.notes().moved += 1;
            }
        }
    }

    /// Drops an outcome that Redis refused for good; the attempt is told if its lock is gone. What [`complain`](Self::complain)
    /// reports is left to the caller.
    pub(super) fn record_refused(&self, ended: &EndedAttempt, reason: Reason) {
        self.record_lost(ended);
        let is_lock_lost = matches!(reason, Reason::MissingLock | Reason::LockMismatch | Reason::NotInState);
        if is_lock_lost && ended.attempt.cancel(CancelReason::LockLost) {
            self.worker.events.emit(|| WorkerEvent::LockLost { job_id: ended.outcome.id.to_string() });
        }
    }

    /// Drops an outcome.
    pub(super) fn record_lost(&self, ended: &EndedAttempt) {
        self.worker.figures.count(Counted::Lost);
        self.lost(ended.outcome.id.to_string());
    }

    /// Records the job of a dropped outcome.
    pub(super) fn lost(&self, id: String) {
        self.worker.notes().lost.push(id, self.slots());
    }

    fn slots(&self) -> usize {
        self.worker.concurrency.load(Ordering::Relaxed) + self.worker.host.options.prefetch
    }

    /// Reports the jobs whose outcomes Redis refused in one call.
    pub(super) fn complain(&self, refused: Vec<(String, Reason)>) {
        self.worker.events.refused("fetch_and_finish", refused);
    }

    /// Reports ids without a readable job, which were removed from the queue.
    pub(super) fn ghosts(&self, ids: Vec<String>) {
        for job_id in ids {
            tracing::warn!(job_id, queue = ?self.worker.queue.engine().keys, "an id without a readable job was removed from the queue");
            self.worker.events.emit(|| WorkerEvent::Ghost { job_id });
        }
    }
}
