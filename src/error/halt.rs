//! How an attempt ends without a value.

use std::time::Duration;

use super::BoxError;

/// What a processor returns instead of a value.
///
/// A processor may also end its attempt by a call on its job, such as [`Job::move_to_delayed`](crate::Job::move_to_delayed);
/// then what it returns decides nothing any more. Both together, as BullMQ wants it, are understood.
///
/// An error type of your own that decides by itself what becomes of the job is a [`Decides`](crate::options::Decides).
///
/// It is not a [`std::error::Error`], so that `?` turns any error, also of `anyhow`, into [`Halt::Failed`]:
///
/// ```
/// use oxmq::Halt;
///
/// fn parse(text: &str) -> Result<u32, Halt> {
///     if text.is_empty() {
///         return Err(Halt::unrecoverable("nothing to parse"));
///     }
///     Ok(text.parse()?)
/// }
/// assert!(matches!(parse("x"), Err(Halt::Failed(_))));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Halt {
    /// The attempt failed; the job's `attempts` and `backoff` decide what comes next.
    Failed(BoxError),
    /// The attempt failed, and where the job's `attempts` allow another one, it is made after this time, whatever the job's
    /// `backoff` says: for an API that has answered with a `Retry-After`. Not in BullMQ. Made by
    /// [`retry_after`](Self::retry_after); zero is at once.
    RetryAfter(Duration, BoxError),
    /// The attempt failed and no further one is made. BullMQ: `UnrecoverableError`.
    #[doc(alias = "UnrecoverableError")]
    Unrecoverable(BoxError),
    /// Run the job again after this time, without spending an attempt: only
    /// [`max_started_attempts`](crate::worker::WorkerBuilder::max_started_attempts) bounds how often. BullMQ: `moveToDelayed` and `DelayedError`.
    #[doc(alias = "DelayedError")]
    Delayed(Duration),
    /// Put the job back to the front of the queue, without spending an attempt. BullMQ: `moveToWait` and `WaitingError`.
    #[doc(alias = "WaitingError")]
    Waiting,
    /// Let the job wait for its children, without spending an attempt. BullMQ: `moveToWaitingChildren` and
    /// `WaitingChildrenError`. A job without pending children is fetched again at once.
    #[doc(alias = "WaitingChildrenError")]
    WaitingChildren,
    /// As [`WaitingChildren`](Self::WaitingChildren), if this child is pending, given by its full key
    /// `<prefix>:<queue>:<id>` as [`JobRef::get_dependencies`](crate::JobRef::get_dependencies) has it; if it is not, the job is fetched
    /// again at once. BullMQ: `moveToWaitingChildren` with `child`.
    WaitingChild(String),
    /// The outside world asked for patience: no worker of this queue that has a limit fetches for this time, and the
    /// job goes back to the front without spending an attempt. BullMQ: `rateLimit` and `RateLimitError`.
    #[doc(alias = "RateLimitError")]
    RateLimited(Duration),
}

impl Halt {
    /// Ends the attempt as failed, with this text or error.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::Failed(error.into())
    }

    /// Ends the attempt as failed, with this text or error, and a time of its own before the next.
    ///
    /// ```
    /// use std::time::Duration;
    /// use oxmq::Halt;
    ///
    /// fn after(status: u16, retry_after: Duration) -> Result<(), Halt> {
    ///     if status == 429 {
    ///         return Err(Halt::retry_after(retry_after, "the API asks for patience"));
    ///     }
    ///     Ok(())
    /// }
    /// # assert!(matches!(after(429, Duration::from_secs(40)), Err(Halt::RetryAfter(..))));
    /// ```
    pub fn retry_after(after: Duration, error: impl Into<BoxError>) -> Self {
        Self::RetryAfter(after, error.into())
    }

    /// Ends the job as failed for good, with this text or error.
    pub fn unrecoverable(error: impl Into<BoxError>) -> Self {
        Self::Unrecoverable(error.into())
    }
}

impl<E: Into<BoxError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How an attempt came to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// The processor returned an error, or could not be called.
    Error,
    /// An error after which no further attempt is made, as [`Halt::Unrecoverable`].
    #[serde(rename = "UnrecoverableError")]
    Unrecoverable,
    /// The attempt took longer than its `timeout`.
    Timeout,
    /// The processor panicked.
    Panic,
    /// The job was cancelled, see [`JobRef::cancel`](crate::JobRef::cancel). Final.
    Cancelled,
    /// No worker had begun the job in time, see [`JobOptions::start_by`](crate::JobOptions::start_by). Final.
    Expired,
}

impl FailureKind {
    /// Returns what a stored stack trace begins with. BullMQ: the class of the error.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Unrecoverable => "UnrecoverableError",
            Self::Timeout => "Timeout",
            Self::Panic => "Panic",
            Self::Cancelled => "Cancelled",
            Self::Expired => "Expired",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_mark_makes_a_failed_attempt() {
        fn f() -> Result<(), Halt> {
            Err(anyhow::anyhow!("no"))?;
            Ok(())
        }
        assert!(matches!(f(), Err(Halt::Failed(error)) if error.to_string() == "no"));
    }
}
