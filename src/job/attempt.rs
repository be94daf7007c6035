//! One attempt at a job: its lock, and its cancellation.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::script::settle::End;
use crate::wire::job::JobId;
use crate::worker::failure::AttemptFailure;

/// Why an attempt was cancelled. The reason decides what follows if the attempt returns an error, so a plain one is right
/// for all of them.
///
/// ```no_run
/// use oxmq::job::CancelReason;
/// use oxmq::{Halt, Job};
///
/// async fn build(job: Job<String, ()>) -> Result<(), Halt> {
///     let stop = job.cancellation();
///     tokio::select! {
///         () = stop.cancelled() => {}
///         () = compile(job.data()) => return Ok(()),
///     }
///     if job.cancel_reason() != Some(&CancelReason::LockLost) {
///         remove_half_done(job.data()); // with a lost lock it may be somebody else's by now
///     }
///     Err(Halt::failed("stopped"))
/// }
/// # async fn compile(_: &str) {}
/// # fn remove_half_done(_: &str) {}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The lock ran out or was taken over: another worker may run the job now, and the outcome of this attempt is
    /// dropped.
    LockLost,
    /// The time limit of the job or worker has passed. The attempt has failed, whatever it returns; an error becomes the
    /// cause of the failure.
    Timeout,
    /// The worker is closing, and the time for running jobs to end has passed. The job of an attempt that returns an error
    /// is put back, and no attempt is used up; a result counts, and so does what was said on purpose:
    /// [`Halt::Unrecoverable`](crate::Halt::Unrecoverable), [`Halt::Delayed`](crate::Halt::Delayed) and their like.
    Shutdown,
    /// [`Worker::cancel_job`](crate::Worker::cancel_job) was called, with this text. The attempt counts like any other:
    /// after an error it is retried.
    Requested(String),
    /// [`JobRef::cancel`](crate::JobRef::cancel) was called in any process, with this text. Unless the processor
    /// returns a value, the job fails for good.
    Cancelled(String),
}

/// The reference for moments, so that they fit into an atomic number.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn since_start_ms(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX)
}

/// Connects a running job with its lock. Shared by the job, the worker and the thread that renews locks.
#[derive(Debug)]
pub(crate) struct Attempt {
    id: JobId,
    token: Arc<str>,
    /// Until when the lock is certain not to have run out, in ms since [`START`].
    trusted_until: AtomicU64,
    /// Written once, by the first that cancels; read by the processor.
    reason: OnceLock<CancelReason>,
    /// Created when the processor first asks for it, which most do not.
    cancellation: OnceLock<CancellationToken>,
    /// Set when the processor has ended. From then on the lock may be gone because our own outcome has released it, so
    /// only the reply to that outcome tells whether it was lost.
    ended: AtomicBool,
    /// Whether a worker's loop waits for its end, and not a program that fetched the job by hand.
    is_worker: bool,
    /// How the processor itself has settled the job, by a call on it; then the worker has nothing to send.
    settled: OnceLock<Box<OwnEnd>>,
}

/// An outcome that a processor has applied itself, and the failure for listeners, if it is one.
#[derive(Debug, Clone)]
pub(crate) struct OwnEnd {
    pub(crate) end: End,
    pub(crate) failure: Option<Box<AttemptFailure>>,
    /// Whether its job is put back because the worker closes.
    pub(crate) handed_back: bool,
}

/// An outcome that a processor is about to send. While it is under way, the lock may be gone because of it.
pub(crate) struct Ending<'a>(&'a Attempt);

impl Ending<'_> {
    /// Records that the outcome was applied.
    pub(crate) fn settle(self, end: Box<OwnEnd>) {
        let _ = self.0.settled.set(end);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if self.0.settled.get().is_none() {
            self.0.ended.store(false, Ordering::Release);
        }
    }
}

impl Attempt {
    /// Creates an attempt whose outcome a worker sends.
    pub(crate) fn new(id: JobId, token: Arc<str>) -> Self {
        Self {
            id,
            token,
            trusted_until: AtomicU64::new(0),
            reason: OnceLock::new(),
            cancellation: OnceLock::new(),
            ended: AtomicBool::new(false),
            is_worker: true,
            settled: OnceLock::new(),
        }
    }

    /// Creates an attempt that is settled by a call on its job.
    pub(crate) fn by_hand(id: JobId, token: Arc<str>) -> Self {
        Self { is_worker: false, ..Self::new(id, token) }
    }

    pub(crate) fn id(&self) -> &JobId {
        &self.id
    }

    pub(crate) fn token(&self) -> &Arc<str> {
        &self.token
    }

    /// Records that a request sent at `sent` has given the lock this life, however late its reply came. A tenth is
    /// subtracted for clocks that run at different speeds.
    pub(crate) fn locked(&self, sent: Instant, life: Duration) {
        self.trusted_until.store(since_start_ms(sent + (life - life / 10)), Ordering::Relaxed);
    }

    /// Records that the lock may be gone from this moment on.
    pub(crate) fn locked_until(&self, at: Instant) {
        self.trusted_until.fetch_min(since_start_ms(at), Ordering::Relaxed);
    }

    /// Returns whether the lock was certainly held at this moment, and was not found lost by then.
    pub(crate) fn was_held(&self, at: Instant) -> bool {
        !self.lost_its_lock() && since_start_ms(at) < self.trusted_until.load(Ordering::Relaxed)
    }

    /// Cancels the attempt. Only the first reason is kept; returns true if it was this one.
    pub(crate) fn cancel(&self, reason: CancelReason) -> bool {
        let first = self.reason.set(reason).is_ok();
        if let Some(token) = self.cancellation.get() {
            token.cancel();
        }
        first
    }

    pub(crate) fn cancellation(&self) -> &CancellationToken {
        let token = self.cancellation.get_or_init(CancellationToken::new);
        // A caller that cancelled before the token existed could not fire it.
        if self.reason.get().is_some() {
            token.cancel();
        }
        token
    }

    pub(crate) fn cancel_reason(&self) -> Option<&CancelReason> {
        self.reason.get()
    }

    /// Records that the processor has ended.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Records that a processor is about to settle the job itself; `None` if no worker has to know.
    pub(crate) fn ending(&self) -> Option<Ending<'_>> {
        self.is_worker.then(|| {
            self.end();
            Ending(self)
        })
    }

    /// Returns how the processor has settled the job itself, if it has.
    pub(crate) fn settled(&self) -> Option<&OwnEnd> {
        self.settled.get().map(|end| &**end)
    }

    /// Returns whether the processor has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Returns whether another worker may have the job by now.
    pub(crate) fn lost_its_lock(&self) -> bool {
        self.reason.get() == Some(&CancelReason::LockLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_was_refused_is_none() {
        let attempt = Attempt::new("1".into(), "t".into());
        let ending = attempt.ending().unwrap();
        assert!(attempt.has_ended());
        drop(ending);
        assert!(!attempt.has_ended() && attempt.settled().is_none());
        attempt.ending().unwrap().settle(Box::new(OwnEnd { end: End::Waiting, failure: None, handed_back: false }));
        assert!(attempt.has_ended() && attempt.settled().is_some());
        assert!(Attempt::by_hand("1".into(), "t".into()).ending().is_none());
    }

    #[test]
    fn a_lock_is_trusted_for_nine_tenths_of_its_life_and_until_it_is_missed() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let attempt = Attempt::by_hand("1".into(), "t".into());
        assert!(!attempt.was_held(now));
        attempt.locked(now, Duration::from_secs(10));
        assert!(attempt.was_held(now) && attempt.was_held(after(8_900)) && !attempt.was_held(after(9_001)));
        attempt.locked(after(5_000), Duration::from_secs(10));
        assert!(attempt.was_held(after(13_900)) && !attempt.was_held(after(14_001)));
        attempt.locked_until(after(7_000));
        assert!(attempt.was_held(after(6_900)) && !attempt.was_held(after(7_001)));
        attempt.locked_until(after(9_000));
        assert!(!attempt.was_held(after(7_001)));
        attempt.cancel(CancelReason::LockLost);
        assert!(!attempt.was_held(now));
    }

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
