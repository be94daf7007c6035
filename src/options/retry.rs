//! What follows a failed attempt, and who decides it.

use std::fmt;
use std::time::Duration;

use crate::error::{BoxError, FailureKind, Halt, causes};

/// A failed attempt, as a retry policy or a custom backoff strategy sees it.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// # async fn call(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
/// use std::time::Duration;
/// use oxmq::options::{FailedAttempt, Retry};
///
/// let worker = client
///     .worker("calls", call)
///     .on_error(|failed: &FailedAttempt<'_>| match failed.downcast_ref::<std::io::Error>() {
///         Some(_) => Retry::After(Duration::from_secs(30)),
///         None => Retry::ByBackoff, // as the job's options say
///     })
///     .start()?;
/// # drop(worker);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedAttempt<'a> {
    /// The job's id.
    pub job_id: &'a str,
    /// The job's name.
    pub job_name: &'a str,
    /// How many attempts have failed, including this one; the first is 1.
    pub attempts_made: u32,
    /// How many attempts the job has.
    pub attempts: u32,
    /// The name in the job's `backoff` option: `fixed`, `exponential` or that of a custom strategy; empty if the job
    /// has no such option.
    pub strategy: &'a str,
    /// How it failed.
    pub kind: FailureKind,
    /// The error that the processor returned.
    pub error: &'a BoxError,
}

impl FailedAttempt<'_> {
    /// Returns the first error of this type among the error and its causes.
    ///
    /// An `anyhow::Error` is searched from its second level on, since it hides the type of the outermost error when it
    /// is boxed. An error that has to be found gets a `.context(…)`, or the processor returns `Result<_, Halt>`, where
    /// `?` keeps the type:
    ///
    /// ```
    /// # use oxmq::{Halt, Job};
    /// # fn read() -> std::io::Result<()> { Ok(()) }
    /// async fn found(_: Job<(), ()>) -> Result<(), Halt> {
    ///     Ok(read()?)
    /// }
    /// async fn hidden(_: Job<(), ()>) -> anyhow::Result<()> {
    ///     Ok(read()?)
    /// }
    /// async fn found_too(_: Job<(), ()>) -> anyhow::Result<()> {
    ///     use anyhow::Context;
    ///     read().context("reading the list")
    /// }
    /// ```
    #[must_use]
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        causes(&**self.error).find_map(|error| error.downcast_ref())
    }
}

/// What follows a failed attempt, within the job's `attempts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Try again at once.
    Now,
    /// Try again after this time.
    After(Duration),
    /// Do not try again: the job has failed for good. BullMQ: `-1`.
    Never,
    /// Try again as the job's `backoff` says. If a [`backoff_strategy`](crate::worker::WorkerBuilder::backoff_strategy)
    /// itself returns this, the `delay` of the `backoff` is used.
    ByBackoff,
}

/// An error type that decides whether the failed job is tried again, and when.
///
/// It is used by a processor that returns `Result<R, Decided<E>>`. There `?` works with an `E`, with any error that
/// converts into `E`, and with a [`Halt`]. A processor that calls methods of its job needs a variant for
/// [`oxmq::Error`](crate::Error).
///
/// ```
/// use std::time::Duration;
/// use oxmq::options::{Decided, Decides, Retry};
/// use oxmq::Job;
///
/// #[derive(Debug, thiserror::Error)]
/// enum MailError {
///     #[error("no such mailbox: {0}")]
///     NoMailbox(String),
///     #[error("throttled")]
///     Throttled { retry_after: Duration },
///     #[error("the connection broke")]
///     Io(#[from] std::io::Error),
///     #[error("the queue")]
///     Queue(#[from] oxmq::Error),
/// }
///
/// impl Decides for MailError {
///     fn decide(&self) -> Retry {
///         match self {
///             Self::NoMailbox(_) => Retry::Never,
///             Self::Throttled { retry_after } => Retry::After(*retry_after),
///             Self::Io(_) | Self::Queue(_) => Retry::ByBackoff,
///         }
///     }
/// }
///
/// async fn send(job: Job<String, ()>) -> Result<(), Decided<MailError>> {
///     job.update_progress(&10).await?; // an `oxmq::Error`
///     let template = std::fs::read_to_string("mail.txt")?; // an `io::Error`
///     if !job.data().contains('@') {
///         return Err(MailError::NoMailbox(job.data().clone()).into());
///     }
///     println!("{template}");
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not decide what becomes of a job",
    label = "no `Decides`",
    note = "the error in `Decided<E>` implements `oxmq::options::Decides`; any other error type is returned as it is"
)]
pub trait Decides: std::error::Error + Send + Sync + 'static {
    /// Decides; the job's `attempts` stay the limit. After [`Retry::ByBackoff`] the worker's
    /// [`on_error`](crate::worker::WorkerBuilder::on_error) decides, and after that the job's `backoff`.
    fn decide(&self) -> Retry;
}

/// The error of a processor whose error type [`Decides`] whether the job is tried again.
///
/// Like [`Halt`] it is not a [`std::error::Error`], so that `?` can convert any error into it.
#[derive(Debug)]
pub struct Decided<E: Decides>(Cause<E>);

#[derive(Debug)]
enum Cause<E> {
    Error(E),
    Halt(Halt),
}

impl<T, E> From<T> for Decided<E>
where
    T: std::error::Error,
    E: Decides + From<T>,
{
    fn from(error: T) -> Self {
        Self(Cause::Error(error.into()))
    }
}

impl<E: Decides> From<Halt> for Decided<E> {
    fn from(halt: Halt) -> Self {
        Self(Cause::Halt(halt))
    }
}

impl<E: Decides> From<Decided<E>> for Halt {
    fn from(decided: Decided<E>) -> Self {
        match decided.0 {
            Cause::Halt(halt) => halt,
            Cause::Error(error) => match error.decide() {
                Retry::Now => Self::retry_after(Duration::ZERO, error),
                Retry::After(after) => Self::retry_after(after, error),
                Retry::Never => Self::unrecoverable(error),
                Retry::ByBackoff => Self::failed(error),
            },
        }
    }
}

impl<E: Decides> fmt::Display for Decided<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Error(error) => fmt::Display::fmt(error, f),
            Cause::Halt(halt) => write!(f, "{halt:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sending {
        #[error("gone")]
        Gone,
        #[error("busy")]
        Busy(u64),
        #[error("io")]
        Io(#[from] std::io::Error),
    }

    impl Decides for Sending {
        fn decide(&self) -> Retry {
            match self {
                Self::Gone => Retry::Never,
                Self::Busy(seconds) => Retry::After(Duration::from_secs(*seconds)),
                Self::Io(_) => Retry::ByBackoff,
            }
        }
    }

    fn sends(how: u32) -> Result<(), Decided<Sending>> {
        match how {
            0 => Err(std::io::Error::other("no"))?,
            1 => Err(Sending::Busy(7))?,
            2 => Err(Halt::Waiting)?,
            _ => return Err(Sending::Gone.into()),
        }
        Ok(())
    }

    #[test]
    fn an_error_type_decides_and_the_question_mark_works() {
        let halt = |how| Halt::from(sends(how).unwrap_err());
        assert!(matches!(halt(0), Halt::Failed(error) if error.downcast_ref::<Sending>().is_some()));
        assert!(matches!(halt(1), Halt::RetryAfter(after, _) if after == Duration::from_secs(7)));
        assert!(matches!(halt(2), Halt::Waiting));
        assert!(matches!(halt(3), Halt::Unrecoverable(_)));
    }

    #[test]
    fn an_error_is_found_among_the_causes() {
        let error: BoxError = anyhow::Error::from(Sending::Gone).context("sending the mail").into();
        let failed = FailedAttempt {
            job_id: "1",
            job_name: "mail",
            attempts_made: 1,
            attempts: 3,
            strategy: "",
            kind: FailureKind::Error,
            error: &error,
        };
        assert!(matches!(failed.downcast_ref(), Some(Sending::Gone)));
        assert!(failed.downcast_ref::<std::io::Error>().is_none());
    }
}
