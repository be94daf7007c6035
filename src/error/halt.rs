//! How an attempt ends without a result.

use std::time::Duration;

use super::BoxError;

/// What a processor returns instead of a result.
///
/// A processor may also end its attempt by a call on its job, such as
/// [`Job::move_to_delayed`](crate::Job::move_to_delayed); then what it returns has no effect. It may do both, as BullMQ
/// requires.
///
/// An error type of your own that decides whether the job is tried again implements
/// [`Decides`](crate::options::Decides).
///
/// It is not a [`std::error::Error`], so that `?` turns any error, including `anyhow`'s, into [`Halt::Failed`]:
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
    /// The attempt failed; the job's `attempts` and `backoff` decide what follows.
    Failed(BoxError),
    /// The attempt failed; if the job's `attempts` allow another one, it is made after this time, whatever the job's
    /// `backoff` says: for an API that has answered with `Retry-After`. Not in BullMQ. Created by
    /// [`retry_after`](Self::retry_after); with zero it is made at once.
    RetryAfter(Duration, BoxError),
    /// The attempt failed, and no further one is made. BullMQ: `UnrecoverableError`.
    #[doc(alias = "UnrecoverableError")]
    Unrecoverable(BoxError),
    /// Run the job again after this time, without using up an attempt: only
    /// [`max_started_attempts`](crate::worker::WorkerBuilder::max_started_attempts) limits how often. BullMQ:
    /// `moveToDelayed` and `DelayedError`.
    #[doc(alias = "DelayedError")]
    Delayed(Duration),
    /// Put the job back at the front of the queue, without using up an attempt. BullMQ: `moveToWait` and
    /// `WaitingError`.
    #[doc(alias = "WaitingError")]
    Waiting,
    /// Let the job wait for its children, without using up an attempt. A job without pending children is fetched again
    /// at once. BullMQ: `moveToWaitingChildren` and `WaitingChildrenError`.
    #[doc(alias = "WaitingChildrenError")]
    WaitingChildren,
    /// Does the same as [`WaitingChildren`](Self::WaitingChildren) if this child is pending, given by its full key
    /// `<prefix>:<queue>:<id>`, as [`JobRef::get_dependencies`](crate::JobRef::get_dependencies) returns it; if it is
    /// not, the job is fetched again at once. BullMQ: `moveToWaitingChildren` with `child`.
    WaitingChild(String),
    /// A rate limit of an external service was reached: workers of this queue that have a limit fetch nothing for this
    /// time, and the job is put back at the front without using up an attempt. BullMQ: `rateLimit` and
    /// `RateLimitError`.
    #[doc(alias = "RateLimitError")]
    RateLimited(Duration),
}

impl Halt {
    /// Fails the attempt, with this text or error.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::Failed(error.into())
    }

    /// Fails the attempt, with this text or error, and sets the time until the next one.
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

    /// Fails the job for good, with this text or error.
    pub fn unrecoverable(error: impl Into<BoxError>) -> Self {
        Self::Unrecoverable(error.into())
    }
}

impl<E: Into<BoxError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// The processor returned an error, or could not be called.
    Error,
    /// The processor returned an error after which no further attempt is made, like [`Halt::Unrecoverable`].
    #[serde(rename = "UnrecoverableError")]
    Unrecoverable,
    /// The attempt took longer than its `timeout`.
    Timeout,
    /// The processor panicked.
    Panic,
    /// The job was cancelled, see [`JobRef::cancel`](crate::JobRef::cancel). No further attempt is made.
    Cancelled,
    /// No worker had started the job in time, see [`JobOptions::start_by`](crate::JobOptions::start_by). No attempt is
    /// made.
    Expired,
}

impl FailureKind {
    /// Returns the text with which a stored stack trace begins. BullMQ: the class of the error.
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
