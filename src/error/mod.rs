//! Errors: a broken connection, a refusal by the server, and what a processor returns to end its attempt are three
//! different types.

mod causes;
mod halt;
mod partitions;

use std::fmt;
use std::time::Duration;

pub(crate) use causes::{WithCauses, causes, causes_beyond, whole_text};
pub use halt::{FailureKind, Halt};
pub use partitions::PartitionErrors;

/// Any error, boxed, as processors return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// The cause, if there is one, is in [`source`](std::error::Error::source) and not in the text, so a program that shows
/// an error should show its causes too: `anyhow` does, and so does [`with_causes`](Self::with_causes). Neither ever
/// contains a credential.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, ()>) {
/// use oxmq::Error;
///
/// match queue.add("mail", "ada".into()).await {
///     Ok(job) => println!("added {}", job.id()),
///     Err(Error::OutcomeUnknown { .. }) => println!("the reply was lost: it may have been added"),
///     Err(error) if error.is_retryable() => println!("nothing was changed, try again later: {}", error.with_causes()),
///     Err(error) => println!("it was refused: {}", error.with_causes()),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server could not be reached, or answered with an error. Nothing was changed.
    #[error("{op}: redis")]
    Redis {
        /// The operation.
        op: &'static str,
        /// The driver's error.
        #[source]
        source: BoxError,
    },
    /// The request was sent and no reply came: it may have been carried out or not.
    ///
    /// Returned only if repeating the call blindly could do harm, for example for an add whose id the server assigns.
    #[error("{op}: the reply was lost, so it is unknown whether this was done")]
    OutcomeUnknown {
        /// The operation.
        op: &'static str,
    },
    /// The server's memory is full (`maxmemory` with the policy `noeviction`). Nothing was changed; workers go on.
    #[error("{op}: the server is out of memory")]
    OutOfMemory {
        /// The operation.
        op: &'static str,
    },
    /// The server understood the request and refused it; nothing was changed.
    #[error("{op}: job {id}: {reason}")]
    Refused {
        /// The operation.
        op: &'static str,
        /// The job.
        id: String,
        /// Why.
        reason: Reason,
    },
    /// The reply to a read has an unexpected shape: it comes from a newer peer, or there is a bug. For a write this is
    /// [`OutcomeUnknown`](Self::OutcomeUnknown).
    #[error("{op}: unexpected reply")]
    Reply {
        /// The operation.
        op: &'static str,
    },
    /// A value could not be written as JSON, or a stored value could not be read as the requested type.
    #[error("{what}{}: json", place(path.as_deref()))]
    Json {
        /// Which value.
        what: &'static str,
        /// Where in the value: `items[3].price`. `None` if that is not known, or the value as a whole is meant. A part
        /// that may be the key of a map, and so data, is left out unless it looks like the name of a field.
        path: Option<String>,
        /// The error of the JSON library.
        #[source]
        source: serde_json::Error,
    },
    /// The hash of a job cannot be read: a field has an invalid value.
    #[error("job {id}: field {field}: {problem}")]
    Undecodable {
        /// The job.
        id: String,
        /// The hash field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An option, a name or an id breaks a rule; found before anything was sent.
    #[error("option {option}: {problem}")]
    InvalidOption {
        /// The option, as BullMQ names it, in snake_case.
        option: &'static str,
        /// The rule that was broken.
        problem: String,
    },
    /// A task of this crate panicked, by a fault of the crate or of a log subscriber, and was started again.
    #[error("the {task} panicked and was started again: {problem}")]
    Panicked {
        /// The task, as ARCHITECTURE.md lists them.
        task: &'static str,
        /// The message of the panic.
        problem: String,
    },
    /// The server is older than 6.2.
    #[error("the server has version {found}; 6.2 or newer is needed")]
    ServerVersion {
        /// What the server reported.
        found: String,
    },
    /// The job failed. Returned by a wait for its result; the text is its `failedReason`.
    #[error("job {id} failed: {reason}")]
    JobFailed {
        /// The job.
        id: String,
        /// The stored reason.
        reason: String,
    },
    /// The time allowed for a wait is over.
    #[error("{op}: no answer within {after:?}")]
    Timeout {
        /// The operation.
        op: &'static str,
        /// The time that was allowed.
        after: Duration,
    },
    /// The queue is not in the state that the operation needs.
    #[error("{op}: {problem}")]
    QueueState {
        /// The operation.
        op: &'static str,
        /// The reason.
        problem: &'static str,
    },
    /// The server does not have a command that the operation needs, or does not permit it to this user.
    #[error("{op}: the server does not permit {command}")]
    NotPermitted {
        /// The operation.
        op: &'static str,
        /// The command.
        command: &'static str,
    },
    /// The next run of a job scheduler could not be created. The current run is processed all the same; the scheduler
    /// has stopped until it is upserted again.
    #[error("job scheduler {scheduler}: no next run: {problem}")]
    Scheduler {
        /// The scheduler's id.
        scheduler: String,
        /// The reason.
        problem: String,
    },
    /// A call for all [partitions](crate::Partitioned) of a queue failed for some of them; for the others it succeeded.
    #[error("{op}: {} of {of} partitions failed", failed.iter().count())]
    Partitions {
        /// The operation.
        op: &'static str,
        /// How many partitions were called.
        of: usize,
        /// The partitions for which it failed.
        #[source]
        failed: PartitionErrors,
    },
    /// The queue, worker or event stream was closed.
    #[error("closed")]
    Closed,
}

impl Error {
    /// Returns whether the same call may succeed later without a change: the server was not reachable, was busy, or its
    /// memory was full.
    ///
    /// False for [`Error::OutcomeUnknown`], since the first call may have succeeded.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Redis { .. } | Self::OutOfMemory { .. } | Self::Timeout { .. } => true,
            Self::Partitions { failed, .. } => failed.iter().all(|(_, error)| error.is_retryable()),
            _ => false,
        }
    }

    /// Returns the server's refusal, if this is one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// Returns the error with its causes in one line, for printing: `connect: redis: no connection - Io:
    /// redis://127.0.0.1:6379: Connection refused (os error 111)`. Values of a job's data are left out.
    ///
    /// ```no_run
    /// # async fn demo() {
    /// if let Err(error) = oxmq::Client::connect("redis://127.0.0.1:6379").await {
    ///     eprintln!("{}", error.with_causes());
    /// }
    /// # }
    /// ```
    pub fn with_causes(&self) -> impl fmt::Display + '_ {
        WithCauses(self)
    }

    pub(crate) fn refused(op: &'static str, id: impl Into<String>, reason: Reason) -> Self {
        Self::Refused { op, id: id.into(), reason }
    }

    pub(crate) fn invalid(option: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidOption { option, problem: problem.into() }
    }

    pub(crate) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { what, path: None, source }
    }
}

fn place(path: Option<&str>) -> String {
    path.map_or_else(String::new, |path| format!(" at `{path}`"))
}

/// Why the server refused a call: BullMQ's numeric codes, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Reason {
    /// −1: the job does not exist.
    MissingJob,
    /// −2: the job's lock does not exist: it has expired, or the job was never fetched.
    MissingLock,
    /// −3: the job is not in the state that the operation needs.
    NotInState,
    /// −4: children of the job are still pending.
    PendingDependencies,
    /// −5: the parent job does not exist.
    MissingParent,
    /// −6: the job's lock has another token.
    LockMismatch,
    /// −7: the job with this id belongs to another parent.
    ParentCannotBeReplaced,
    /// −8: the job is the current run of a job scheduler.
    BelongsToScheduler,
    /// −9: a child of the job failed, so the job cannot complete.
    FailedChildren,
    /// −10: a job with the id of the scheduler's run exists already.
    SchedulerJobExists,
    /// −11: this and the next slots of a job scheduler are taken.
    SchedulerSlotsBusy,
    /// −12: the job has a parent or children, so it cannot be moved to another queue.
    PartOfFlow,
    /// −13: a job with its id exists already in the queue that it was to be moved to.
    IdTaken,
    /// −50: the job's key does not hold a job: a wrong Redis type.
    WrongType,
    /// A code of a newer peer.
    Unknown(i64),
}

impl Reason {
    /// Every code that the scripts use, with its meaning; `lua/shared/codes.lua` has the same numbers.
    pub(crate) const CODES: [(i64, Self); 14] = [
        (-1, Self::MissingJob),
        (-2, Self::MissingLock),
        (-3, Self::NotInState),
        (-4, Self::PendingDependencies),
        (-5, Self::MissingParent),
        (-6, Self::LockMismatch),
        (-7, Self::ParentCannotBeReplaced),
        (-8, Self::BelongsToScheduler),
        (-9, Self::FailedChildren),
        (-10, Self::SchedulerJobExists),
        (-11, Self::SchedulerSlotsBusy),
        (-12, Self::PartOfFlow),
        (-13, Self::IdTaken),
        (-50, Self::WrongType),
    ];

    /// Returns the meaning of a script's reply; codes of zero and above are no refusal.
    pub(crate) fn from_code(code: i64) -> Result<(), Self> {
        if code >= 0 {
            return Ok(());
        }
        let known = Self::CODES.iter().find(|(number, _)| *number == code);
        Err(known.map_or(Self::Unknown(code), |(_, reason)| *reason))
    }

    /// Returns BullMQ's number for this reason.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Unknown(code) => code,
            named => Self::CODES.iter().find(|(_, reason)| *reason == named).map_or(0, |(code, _)| *code),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::MissingJob => "the job does not exist",
            Self::MissingLock => "its lock has expired or was never taken",
            Self::NotInState => "it is not in the state that this operation needs",
            Self::PendingDependencies => "it has pending children",
            Self::MissingParent => "its parent does not exist",
            Self::LockMismatch => "another worker holds its lock",
            Self::ParentCannotBeReplaced => "it belongs to another parent",
            Self::BelongsToScheduler => "it is the current run of a job scheduler",
            Self::FailedChildren => "one of its children failed",
            Self::SchedulerJobExists => "a job with the id of this run exists already",
            Self::SchedulerSlotsBusy => "jobs with the ids of this and the next runs exist already",
            Self::PartOfFlow => "it has a parent or children, which it would lose",
            Self::IdTaken => "a job with its id exists already in that queue",
            Self::WrongType => "its key does not hold a job",
            Self::Unknown(code) => return write!(f, "the server answered with the unknown code {code}"),
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_one_to_one() {
        for (code, reason) in Reason::CODES {
            assert_eq!(reason.code(), code);
            assert_eq!(Reason::from_code(code), Err(reason));
        }
        assert_eq!(Reason::from_code(0), Ok(()));
        assert_eq!(Reason::from_code(-99), Err(Reason::Unknown(-99)));
    }

    #[test]
    fn no_text_repeats_its_cause() {
        let op = "add";
        let json = || serde_json::from_str::<u32>("true").unwrap_err();
        let all = [
            Error::Redis { op, source: "Connection refused".into() },
            Error::OutcomeUnknown { op },
            Error::OutOfMemory { op },
            Error::refused(op, "7", Reason::MissingJob),
            Error::Reply { op },
            Error::Json { what: "data", path: Some("items[3].price".into()), source: json() },
            Error::Undecodable { id: "7".into(), field: "opts", problem: "no JSON".into() },
            Error::invalid("attempts", "at least 1"),
            Error::Panicked { task: "loop", problem: "no".into() },
            Error::ServerVersion { found: "5.0".into() },
            Error::JobFailed { id: "7".into(), reason: "no".into() },
            Error::Timeout { op, after: Duration::from_secs(1) },
            Error::QueueState { op, problem: "it is paused" },
            Error::NotPermitted { op, command: "CLIENT LIST" },
            Error::Scheduler { scheduler: "nightly".into(), problem: "no".into() },
            Error::Partitions { op, of: 4, failed: PartitionErrors::new(vec![(3, Error::OutOfMemory { op })]) },
            Error::Closed,
        ];
        for error in all {
            // A new variant must be added to the list above.
            let has_cause = match &error {
                Error::Redis { .. } | Error::Json { .. } | Error::Partitions { .. } => true,
                Error::OutcomeUnknown { .. }
                | Error::OutOfMemory { .. }
                | Error::Refused { .. }
                | Error::Reply { .. }
                | Error::Undecodable { .. }
                | Error::InvalidOption { .. }
                | Error::Panicked { .. }
                | Error::ServerVersion { .. }
                | Error::JobFailed { .. }
                | Error::Timeout { .. }
                | Error::QueueState { .. }
                | Error::NotPermitted { .. }
                | Error::Scheduler { .. }
                | Error::Closed => false,
            };
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            assert_eq!(cause.is_some(), has_cause, "{error:?}");
            let text = error.to_string();
            // A text that is shown alone contains the cause all the same, and once.
            let Some(cause) = cause else {
                assert_eq!((whole_text(&error), WithCauses(&error).to_string()), (text.clone(), text));
                continue;
            };
            assert!(!text.contains(&cause), "{text}");
            assert_eq!(whole_text(&error), format!("{text}: {cause}"));
            assert!(WithCauses(&error).to_string().starts_with(&format!("{text}: ")));
            assert_eq!(whole_text(&*BoxError::from(anyhow::Error::from(error))), format!("{text}: {cause}"));
        }
    }
}
