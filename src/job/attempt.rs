//! One attempt at a job: its lock, and how it is told to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Why an attempt was told to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The lock ran out or was taken over: somebody else may run the job now, and the outcome of this attempt is
    /// dropped.
    LockLost,
    /// The job's or the worker's time limit is over.
    Timeout,
    /// The worker closes, and its time to do so is over.
    Shutdown,
    /// [`Worker::cancel_job`](crate::Worker::cancel_job) was called, with this text.
    Requested(String),
}

/// What ties a running job to its lock. Shared by the job, the worker and the thread that renews locks.
#[derive(Debug)]
pub(crate) struct Attempt {
    id: Arc<str>,
    token: Arc<str>,
    /// Written once by whoever cancels first; read by the processor.
    reason: OnceLock<CancelReason>,
    /// Made when the processor first asks for it: most never do.
    cancellation: OnceLock<CancellationToken>,
    /// Set when the processor has ended. From then on the lock may be gone because our own outcome has released it, so
    /// only the answer to that outcome tells whether it was lost.
    ended: AtomicBool,
}

impl Attempt {
    pub(crate) fn new(id: Arc<str>, token: Arc<str>) -> Self {
        Self { id, token, reason: OnceLock::new(), cancellation: OnceLock::new(), ended: AtomicBool::new(false) }
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn token(&self) -> &Arc<str> {
        &self.token
    }

    /// Tells the attempt to stop. The first reason stays; true if this was it.
    pub(crate) fn cancel(&self, reason: CancelReason) -> bool {
        let first = self.reason.set(reason).is_ok();
        if let Some(token) = self.cancellation.get() {
            token.cancel();
        }
        first
    }

    pub(crate) fn cancellation(&self) -> &CancellationToken {
        let token = self.cancellation.get_or_init(CancellationToken::new);
        // Whoever cancelled before the token was there could not fire it.
        if self.reason.get().is_some() {
            token.cancel();
        }
        token
    }

    pub(crate) fn cancel_reason(&self) -> Option<&CancelReason> {
        self.reason.get()
    }

    /// Says that the processor has ended.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the processor has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the job may be somebody else's by now.
    pub(crate) fn lost_its_lock(&self) -> bool {
        self.reason.get() == Some(&CancelReason::LockLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fires_whether_it_is_asked_for_before_or_after() {
        let attempt = Attempt::new("1".into(), "t".into());
        let early = attempt.cancellation().clone();
        assert!(attempt.cancel(CancelReason::Timeout));
        assert!(!attempt.cancel(CancelReason::Shutdown));
        assert!(early.is_cancelled());

        let attempt = Attempt::new("1".into(), "t".into());
        attempt.cancel(CancelReason::LockLost);
        assert!(attempt.cancellation().is_cancelled() && attempt.lost_its_lock());
    }
}
