//! Errors: a broken connection, a refusal by the server, and what a processor returns to end its attempt are three
//! different types.
//!
//! [`enum@Error`] is why a call failed, with predicates for what callers ask ([`is_retryable`](enum@Error#method.is_retryable)).
//! If the server refused the call, its [`Reason`] tells why. A processor returns a [`Halt`], into which `?` turns any error;
//! [`FailureKind`] is how an attempt failed.

mod causes;
mod halt;
mod known;
mod partitions;
mod text;

use std::fmt;
use std::time::Duration;

pub(crate) use causes::{WithCauses, causes, causes_beyond};
pub use halt::{FailureKind, Halt};
pub(crate) use known::{KnownCause, KnownKind};
pub use partitions::PartitionErrors;

/// The most levels of arrays and objects that a value has which is read, and so one that is written: the limit of the
/// JSON library.
pub(crate) const MOST_LEVELS: usize = 127;

/// Any error, boxed, as processors return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// Its text stands alone: it names the operation as the API does, the job or server if there is one, and the first
/// cause. So `{error}` is enough wherever an error is shown. [`source`](std::error::Error::source) goes on *below* that
/// cause, so that reporters that print all causes, such as `anyhow` with `{:#}` or [`with_causes`](Self::with_causes),
/// print nothing twice. The causes themselves are in the fields `cause`. No text ever contains a credential or a value
/// of a job's data.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, ()>) {
/// use oxmq::Error;
///
/// match queue.add("mail", "ada".into()).await {
///     Ok(job) => println!("added {}", job.id()),
///     Err(Error::OutcomeUnknown { .. }) => println!("the reply was lost: it may have been added"),
///     // add: no connection to redis://127.0.0.1:6379: connection refused
///     Err(error) if error.is_retryable() => println!("nothing was changed, try again later: {error}"),
///     Err(error) => println!("it was refused: {error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server could not be reached, or answered with an error. Nothing was changed.
    Redis {
        /// The operation, as the API calls it.
        op: &'static str,
        /// The error of the driver or the server; for a store of cursors that is yours, its error.
        cause: BoxError,
    },
    /// The request was sent and no reply came: it may have been carried out or not.
    ///
    /// Returned only if repeating the call blindly could do harm, for example for an add whose id the server assigns.
    OutcomeUnknown {
        /// The operation, as the API calls it.
        op: &'static str,
    },
    /// The server's memory is full (`maxmemory` with the policy `noeviction`). Nothing was changed; workers go on.
    OutOfMemory {
        /// The operation, as the API calls it.
        op: &'static str,
    },
    /// The server understood the request and refused it; nothing was changed.
    Refused {
        /// The operation, as the API calls it.
        op: &'static str,
        /// The job; empty for an add whose id the server would have assigned.
        id: String,
        /// Why.
        reason: Reason,
        /// The key of the parent that an add names, `<prefix>:<queue>:<id>`, for [`Reason::MissingParent`].
        parent: Option<Box<str>>,
    },
    /// The reply to a read has an unexpected shape: it comes from a newer peer, or there is a bug. For a write this is
    /// [`OutcomeUnknown`](Self::OutcomeUnknown).
    Reply {
        /// The operation, as the API calls it.
        op: &'static str,
    },
    /// A value could not be written as JSON, or a stored value could not be read as the requested type. One of either
    /// that is nested more than 127 levels deep cannot.
    Json {
        /// Which value.
        what: &'static str,
        /// The job whose value it is, and its queue, if there is one already.
        job: Option<Box<JobPlace>>,
        /// Where in the value: `items[3].price`. `None` if that is not known, or the value as a whole is meant. A part
        /// that may be the key of a map, and so data, is left out unless it looks like the name of a field. `…` stands for
        /// the middle of a long one.
        path: Option<String>,
        /// The error of the JSON library, whose text may contain values.
        cause: serde_json::Error,
    },
    /// The hash of a job cannot be read: a field has an invalid value.
    Undecodable {
        /// The job.
        id: String,
        /// The hash field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An option, a name or an id breaks a rule; found before anything was sent.
    InvalidOption {
        /// The setter, function or argument that the value was given to, as this API names it.
        option: &'static str,
        /// The rule that was broken.
        problem: String,
    },
    /// A task of this crate panicked, by a fault of the crate or of a log subscriber, and was started again.
    Panicked {
        /// The task, as ARCHITECTURE.md lists them.
        task: &'static str,
        /// The message of the panic.
        problem: String,
    },
    /// The server is older than 6.2.
    ServerVersion {
        /// The address of the server.
        server: String,
        /// What the server reported.
        found: String,
    },
    /// The job failed. Returned by a wait for its result; the text is its `failedReason`.
    JobFailed {
        /// The job.
        id: String,
        /// The stored reason.
        reason: String,
    },
    /// The time allowed for a wait is over.
    Timeout {
        /// The operation, as the API calls it.
        op: &'static str,
        /// The time that was allowed.
        after: Duration,
        /// The job that was waited for, and its queue, if it was one.
        job: Option<Box<JobPlace>>,
    },
    /// The queue is not in the state that the operation needs.
    QueueState {
        /// The operation, as the API calls it.
        op: &'static str,
        /// The reason.
        problem: &'static str,
    },
    /// The server does not have a command that the operation needs, or does not permit it to this user.
    NotPermitted {
        /// The operation, as the API calls it.
        op: &'static str,
        /// The command.
        command: &'static str,
    },
    /// The next run of a job scheduler could not be created. The current run is processed all the same; the scheduler
    /// has stopped until it is upserted again.
    Scheduler {
        /// The scheduler's id.
        scheduler: String,
        /// The reason.
        problem: String,
    },
    /// A call for all [partitions](crate::Partitioned) of a queue failed for some of them; for the others it succeeded.
    Partitions {
        /// The operation, as the API calls it.
        op: &'static str,
        /// How many partitions were called.
        of: usize,
        /// The partitions for which it failed.
        failed: PartitionErrors,
    },
    /// The queue, worker or event stream was closed.
    Closed,
}

impl Error {
    /// Returns whether the same call may succeed later without a change: the server was not reachable, was busy, or its
    /// memory was full.
    ///
    /// False for [`Error::OutcomeUnknown`], since the first call may have succeeded, and for what the server does not
    /// permit.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Redis { .. } => self.known().is_none(),
            Self::OutOfMemory { .. } | Self::Timeout { .. } => true,
            Self::Partitions { failed, .. } => failed.iter().all(|(_, error)| error.is_retryable()),
            _ => false,
        }
    }

    /// Returns whether the server does not have a command that the operation needs, or does not permit it to this user,
    /// or not with these keys. docs/acl.md of the repository lists the rights that each part of this crate needs.
    ///
    /// True for [`Error::NotPermitted`], and for an [`Error::Redis`] by which the server refused a command or a script.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::NotPermitted { .. }) || self.known() == Some(KnownKind::NotPermitted)
    }

    /// Returns whether a key of the queue holds another type than queues store there, so that the server refused the
    /// operation: the key belongs to something else.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        self.reason() == Some(Reason::WrongType) || self.known() == Some(KnownKind::WrongType)
    }

    fn known(&self) -> Option<KnownKind> {
        let Self::Redis { cause, .. } = self else { return None };
        cause.downcast_ref::<KnownCause>().map(|known| known.kind)
    }

    /// Returns the server's refusal, if this is one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// Returns the error with the causes below its text in one line, for printing. Only errors of your own, such as
    /// those of a store of cursors, have any: `save_cursor: the store is closed: out of disk space`.
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
        Self::Refused { op, id: id.into(), reason, parent: None }
    }

    pub(crate) fn invalid(option: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidOption { option, problem: problem.into() }
    }

    pub(crate) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |cause| Self::Json { what, job: None, path: None, cause }
    }

    /// Names the job that an error about JSON, or a timeout, is about.
    pub(crate) fn of_job(mut self, place: JobPlace) -> Self {
        if let Self::Json { job, .. } | Self::Timeout { job, .. } = &mut self {
            *job = Some(Box::new(place));
        }
        self
    }

    /// Names the parent that does not exist.
    pub(crate) fn with_parent(mut self, key: Option<&str>) -> Self {
        if let Self::Refused { reason: Reason::MissingParent, parent, .. } = &mut self {
            *parent = key.map(Into::into);
        }
        self
    }
}

/// The job that an error is about. Written as `job 7 of mails`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct JobPlace {
    /// The id of the job.
    pub id: String,
    /// The name of its queue.
    pub queue: String,
}

impl JobPlace {
    pub(crate) fn new(id: impl Into<String>, queue: impl Into<String>) -> Self {
        Self { id: id.into(), queue: queue.into() }
    }
}

/// Why the server refused a call: BullMQ's numeric codes, by name.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// use oxmq::Error;
/// use oxmq::error::Reason;
///
/// match queue.job("7").promote().await {
///     Err(Error::Refused { reason: Reason::NotInState, .. }) => println!("it is not delayed any more"),
///     other => other?,
/// }
/// # Ok(()) }
/// ```
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
    fn what_the_server_does_not_permit_is_not_tried_again() {
        let of = |kind| Error::Redis { op: "add", cause: KnownCause { kind, text: "no".to_owned() }.into() };
        let told = |error: Error| (error.is_retryable(), error.is_not_permitted(), error.is_wrong_type());
        assert_eq!(told(of(KnownKind::NotPermitted)), (false, true, false));
        assert_eq!(told(of(KnownKind::WrongType)), (false, false, true));
        assert_eq!(told(Error::refused("add", "7", Reason::WrongType)), (false, false, true));
        assert_eq!(told(Error::NotPermitted { op: "workers", command: "CLIENT LIST" }), (false, true, false));
        assert_eq!(told(Error::Redis { op: "add", cause: "connection refused".into() }), (true, false, false));
    }
}
