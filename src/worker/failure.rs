//! A failed attempt: what is stored of it, the event for listeners, and its line in the log.

use std::time::Duration;

use super::attempt_error::AttemptError;
use super::event::WorkerEvent;
use super::panics::Panic;
use super::stopping::TimedOut;
use crate::error::{BoxError, Error, FailureKind, WithCauses, causes_beyond};
use crate::options::{Retry, WorkerOptions};
use crate::script::settle::End;

/// The longest text of causes in a log line, in characters.
const LOGGED: usize = 1_000;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    pub(crate) error: BoxError,
    /// What the processor or its error decided about the next attempt; limited by the job's attempts.
    pub(crate) wish: Option<Retry>,
    /// Where the processor panicked.
    place: Option<String>,
}

impl Fault {
    pub(crate) fn new(kind: FailureKind, error: impl Into<BoxError>) -> Self {
        Self { kind, error: error.into(), wish: None, place: None }
    }

    pub(crate) fn error(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Error, error)
    }

    /// Asks for the next attempt after this time.
    pub(crate) fn retried(self, after: Duration) -> Self {
        self.wishing(if after.is_zero() { Retry::Now } else { Retry::After(after) })
    }

    /// Asks for what follows, whatever the job's backoff and the worker's policy say.
    pub(crate) fn wishing(self, wish: Retry) -> Self {
        Self { wish: Some(wish), ..self }
    }

    pub(crate) fn unrecoverable(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Unrecoverable, error)
    }

    pub(crate) fn timeout(error: Box<TimedOut>) -> Self {
        Self::new(FailureKind::Timeout, error as BoxError)
    }

    pub(crate) fn is_final(&self) -> bool {
        matches!(self.kind, FailureKind::Unrecoverable | FailureKind::Cancelled | FailureKind::Expired)
    }

    /// Returns the reason to store. It is never empty: clients of Node that wait for the result could not handle that.
    pub(crate) fn reason(&self) -> String {
        let reason = self.error.to_string();
        if reason.is_empty() { "an error without a message".to_owned() } else { reason }
    }

    /// Returns the stack trace to store: the class, the reason, the place of a panic, and the causes.
    pub(crate) fn trace(&self, reason: &str) -> String {
        let message = match self.kind {
            FailureKind::Panic => reason.strip_prefix(PANICKED).unwrap_or(reason),
            _ => reason,
        };
        let mut trace = format!("{}: {message}", self.kind.as_str());
        if let Some(place) = &self.place {
            trace.push_str("\n    at ");
            trace.push_str(place);
        }
        for cause in causes_beyond(&*self.error, message) {
            trace.push_str("\n    caused by: ");
            trace.push_str(&cause);
        }
        trace
    }

    /// Returns the error with its causes, in one line of bounded length.
    pub(crate) fn line(&self) -> String {
        let mut line = WithCauses(&*self.error).to_string();
        if let Some(place) = &self.place {
            line.push_str(" at ");
            line.push_str(place);
        }
        let mut short: String = line.chars().take(LOGGED).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if short.len() < line.len() {
            short.push('…');
        }
        short
    }
}

const PANICKED: &str = "panicked: ";

impl From<Panic> for Fault {
    fn from(Panic { text, place }: Panic) -> Self {
        Self { kind: FailureKind::Panic, error: format!("{PANICKED}{text}").into(), wish: None, place }
    }
}

/// The error for data that the processor's type cannot be read from.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Unread(#[from] pub(crate) Error);

impl Unread {
    /// Returns whether it is useless to try again: data that is not JSON can never be read. Data of another shape may
    /// be, by the next worker of a rollout.
    pub(super) fn is_final(&self, worker: &WorkerOptions) -> bool {
        use serde_json::error::Category;
        match &self.0 {
            Error::Json { cause, .. } => cause.classify() != Category::Data || !worker.retry_mistyped_data,
            _ => false,
        }
    }
}

/// A failed attempt, once it is decided what comes next.
#[derive(Debug, Clone)]
pub(crate) struct AttemptFailure {
    name: String,
    /// The number of the attempt; the first is 1.
    attempt: u32,
    /// How many attempts the job has.
    of: u32,
    kind: FailureKind,
    error: AttemptError,
    line: String,
}

impl AttemptFailure {
    pub(crate) fn new(name: &str, attempt: u32, of: u32, fault: Fault) -> Self {
        // Formatted here, where a panic of the error's `Display` is caught.
        let line = fault.line();
        Self { name: name.to_owned(), attempt, of: of.max(1), kind: fault.kind, error: fault.error.into(), line }
    }

    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Returns the event for listeners.
    pub(crate) fn event(self, job_id: String, failed_reason: String, will_retry: bool) -> WorkerEvent {
        let Self { name, attempt, kind, error, .. } = self;
        WorkerEvent::Failed { job_id, name, attempt, kind, error, failed_reason, will_retry }
    }

    /// Writes the line in the log: a warning, or an error if this was the last attempt.
    pub(crate) fn log(&self, queue: &str, id: &str, end: &End) {
        let Self { name, attempt, of, kind, line, .. } = self;
        let kind = kind.as_str();
        let next = match end {
            End::Delayed { delay, .. } => Some(Duration::from_millis(*delay)),
            End::Retry { .. } => Some(Duration::ZERO),
            _ => None,
        };
        match next {
            Some(next) => tracing::warn!(
                target: "oxmq::job",
                queue, id, name, attempt, of, kind, error = line, next_try = ?next, "attempt failed"
            ),
            None => {
                tracing::error!(target: "oxmq::job", queue, id, name, attempt, of, kind, error = line, "job failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stopping::timed_out;
    use super::*;
    use crate::error::Halt;

    #[derive(Debug, thiserror::Error)]
    #[error("sending: {0}")]
    struct Sending(#[source] std::io::Error);

    #[test]
    fn a_trace_names_the_class_and_each_cause_once() {
        let refused = || std::io::Error::other("refused");
        let fault = Fault::error(Sending(refused()));
        assert_eq!(fault.trace(&fault.reason()), "Error: sending: refused");
        assert_eq!(fault.line(), "sending: refused");
        let fault = Fault::error(anyhow::Error::from(refused()).context("reading the template").context("rendering"));
        let expected = "Error: rendering\n    caused by: reading the template\n    caused by: refused";
        assert_eq!(fault.trace(&fault.reason()), expected);
        assert_eq!(fault.line(), "rendering: reading the template: refused");
        assert_eq!(Fault::unrecoverable("no").trace("no"), "UnrecoverableError: no");
        let late = |halt| match timed_out(Duration::from_millis(500), halt) {
            Halt::Failed(error) => Fault::timeout(error.downcast().unwrap()),
            other => panic!("{other:?}"),
        };
        let deaf = late(None);
        assert_eq!(deaf.trace(&deaf.reason()), "Timeout: timed out after 500 ms");
        let told = late(Some(Halt::failed("cleaned up")));
        assert_eq!(told.reason(), "timed out after 500 ms");
        assert_eq!(told.trace(&told.reason()), "Timeout: timed out after 500 ms\n    caused by: cleaned up");
        assert_eq!(told.line(), "timed out after 500 ms: cleaned up");
        let panic = Fault::from(Panic { text: "zero".into(), place: Some("src/a.rs:7:9".into()) });
        assert_eq!(panic.trace(&panic.reason()), "Panic: zero\n    at src/a.rs:7:9");
        assert_eq!(
            (panic.reason().as_str(), panic.line().as_str()),
            ("panicked: zero", "panicked: zero at src/a.rs:7:9")
        );
        assert_eq!(Fault::error("").reason(), "an error without a message");
        // Peers such as Node read only the reason, which contains the cause.
        let fault = Fault::error(Error::Redis { op: "add", cause: "refused".into() });
        assert_eq!(fault.reason(), "add: refused");
        assert_eq!(fault.trace(&fault.reason()), "Error: add: refused");
        assert_eq!(fault.line(), "add: refused");
    }

    #[test]
    fn an_error_that_is_its_own_cause_ends() {
        #[derive(Debug)]
        struct Own(usize);
        impl std::fmt::Display for Own {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "turn {}", self.0)
            }
        }
        impl std::error::Error for Own {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                static TURNS: [Own; 2] = [Own(0), Own(1)];
                Some(&TURNS[1 - self.0])
            }
        }
        let fault = Fault::error(Own(0));
        assert_eq!(fault.reason(), "turn 0");
        assert!(
            fault.trace("turn 0").starts_with("Error: turn 0\n    caused by: turn 1\n"),
            "{}",
            fault.trace("turn 0")
        );
        assert!(fault.line().starts_with("turn 0: turn 1: "), "{}", fault.line());
    }

    #[test]
    fn a_line_holds_no_values_of_the_data_and_stays_short() {
        #[derive(Debug, serde::Deserialize)]
        enum Level {
            Low,
        }
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only read")]
        struct Mail {
            to: u32,
            level: Level,
            at: std::net::IpAddr,
        }
        let said = |json: &str| {
            let error = serde_json::from_str::<Mail>(json).unwrap_err();
            Fault::error(Error::json("data")(error)).line()
        };
        let wrong = said(r#"{"to":"s3cret, expected u32","level":"Low"}"#);
        assert_eq!(wrong, "the data does not fit its type: expected u32, found a string");
        for json in
            [r#"{"to":1,"level":"s3cret"}"#, r#"{"to":1.5}"#, r#"{"level":"Low","at":"s3cret"}"#, r#"{"to":-77}"#]
        {
            let line = said(json);
            assert!(!line.contains("s3cret") && !line.contains("1.5") && !line.contains("77"), "{line}");
        }
        // An error of the user that repeats its cause in its text, and one that only looks like it.
        #[derive(Debug, thiserror::Error)]
        enum Wrapped {
            #[error("reading: {0}")]
            Repeated(#[source] Error),
            #[error(transparent)]
            Transparent(Error),
        }
        let wrong = || Error::json("data")(serde_json::from_str::<u32>("\"s3cret\"").unwrap_err());
        let safe = "the data does not fit its type: expected u32, found a string";
        assert_eq!(Fault::error(Wrapped::Repeated(wrong())).line(), format!("reading: {safe}"));
        assert_eq!(Fault::error(Wrapped::Transparent(wrong())).line(), safe);
        assert_eq!(said("{}"), "the data does not fit its type: missing field `to`");
        let long = Fault::error(format!("a\nb{}", "x".repeat(5_000))).line();
        assert!(long.starts_with("a bx") && long.chars().count() == LOGGED + 1, "{}", long.len());
    }
}
