//! The texts of errors. Each stands alone, since many programs show nothing else of an error.

use std::fmt;

use super::causes::without_values;
use super::{Error, JobPlace, MOST_LEVELS, Reason};

/// A text that others have chosen, such as the id of a job, without its control characters: in a log or on a terminal a
/// line break would forge a line, and an escape sequence could do anything.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            match part.chars().next_back() {
                Some(last) if last.is_control() => {
                    write!(f, "{}{}", &part[..part.len() - last.len_utf8()], last.escape_default())?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for JobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} of {}", Escaped(&self.id), Escaped(&self.queue))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis { op, cause } => write!(f, "{op}: {cause}"),
            Self::OutcomeUnknown { op } => {
                write!(f, "{op}: the reply was lost, so it is unknown whether this was done")
            }
            Self::OutOfMemory { op } => write!(f, "{op}: the server is out of memory"),
            Self::Refused { op, id, reason, parent } => {
                write!(f, "{op}: ")?;
                if !id.is_empty() {
                    write!(f, "job {}: ", Escaped(id))?;
                }
                match (reason, parent) {
                    (Reason::MissingParent, Some(parent)) => {
                        write!(f, "the parent {} does not exist", Escaped(parent))
                    }
                    _ => write!(f, "{reason}"),
                }
            }
            Self::Reply { op } => write!(f, "{op}: unexpected reply"),
            Self::Json { what, job, path, cause } => {
                f.write_str(in_words(what))?;
                if let Some(job) = job {
                    write!(f, " of {job}")?;
                }
                json(f, path.as_deref(), cause)
            }
            Self::Undecodable { id, field, problem } => {
                write!(f, "job {}: field {field}: {}", Escaped(id), Escaped(problem))
            }
            Self::InvalidOption { option, problem } => write!(f, "option {option}: {problem}"),
            Self::Panicked { task, problem } => write!(f, "the {task} panicked and was started again: {problem}"),
            Self::ServerVersion { server, found } => {
                write!(f, "the server {server} has version {found}; 6.2 or newer is needed")
            }
            Self::JobFailed { id, reason } => write!(f, "job {} failed: {reason}", Escaped(id)),
            Self::Timeout { op, after, job: None } => write!(f, "{op}: no answer within {after:?}"),
            Self::Timeout { op, after, job: Some(job) } => {
                write!(f, "{op}: {job} has not finished within {after:?}")
            }
            Self::QueueState { op, problem } => write!(f, "{op}: {problem}"),
            Self::NotPermitted { op, command } => write!(f, "{op}: the server does not permit {command}"),
            Self::Scheduler { scheduler, problem } => {
                write!(f, "job scheduler {}: no next run: {problem}", Escaped(scheduler))
            }
            Self::Partitions { op, of, failed } => {
                write!(f, "{op}: {} of {of} partitions failed: {failed}", failed.iter().count())
            }
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl std::error::Error for Error {
    /// Returns what is below the cause that the text contains.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Redis { cause, .. } => cause.source(),
            _ => None,
        }
    }
}

/// Writes what is wrong with a value that could not be written or read.
fn json(f: &mut fmt::Formatter<'_>, path: Option<&str>, cause: &serde_json::Error) -> fmt::Result {
    // What was read has a place in its text; what could not be written has none.
    let is_deep = is_too_deep(cause);
    match cause.line() {
        0 => f.write_str(" cannot be written as JSON")?,
        _ if cause.is_data() => f.write_str(" does not fit its type")?,
        _ if is_deep => write!(f, " is nested more than {MOST_LEVELS} levels deep")?,
        _ => f.write_str(" is not JSON")?,
    }
    if let Some(path) = path {
        write!(f, " at `{}`", Escaped(path))?;
    }
    match cause.line() {
        // What a type says of itself when it is written is no value.
        0 => write!(f, ": {cause}"),
        _ if is_deep => f.write_str(", and can only be read as its text, `Box<RawValue>`"),
        _ => write!(f, ": {}", without_values(cause)),
    }
}

/// Returns whether JSON could not be read because it has too many levels. The library tells it only by its text.
fn is_too_deep(cause: &serde_json::Error) -> bool {
    cause.is_syntax() && cause.to_string().starts_with("recursion limit exceeded")
}

/// Returns a sentence's words for a value that BullMQ's field names.
fn in_words(what: &'static str) -> &'static str {
    match what {
        "data" => "the data",
        "returnvalue" => "the result",
        "progress" => "the progress",
        "opts" => "the options",
        "value" => "the value",
        "stored value" => "the stored value",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{BoxError, JobPlace, PartitionErrors, WithCauses};
    use super::*;

    /// An error of a user's store, with a cause of its own.
    #[derive(Debug, thiserror::Error)]
    #[error("the store is closed")]
    struct Store(#[source] std::io::Error);

    fn each() -> Vec<(Error, &'static str)> {
        let op = "add";
        let read = || serde_json::from_str::<u32>("\"s3cret\"").unwrap_err();
        let deep = || serde_json::from_str::<serde_json::Value>(&"[".repeat(MOST_LEVELS + 1)).unwrap_err();
        let job = || Some(Box::new(JobPlace::new("7", "mails")));
        let unknown = || Error::OutOfMemory { op };
        let refused = |id, parent| Error::refused(op, id, Reason::MissingParent).with_parent(parent);
        vec![
            (Error::Redis { op, cause: "connection refused".into() }, "add: connection refused"),
            (
                Error::Redis { op: "save_cursor", cause: Store(std::io::Error::other("no space")).into() },
                "save_cursor: the store is closed",
            ),
            (Error::OutcomeUnknown { op }, "add: the reply was lost, so it is unknown whether this was done"),
            (unknown(), "add: the server is out of memory"),
            (Error::refused(op, "7", Reason::MissingJob), "add: job 7: the job does not exist"),
            (refused("", Some("bull:o:nope")), "add: the parent bull:o:nope does not exist"),
            (refused("7", None), "add: job 7: its parent does not exist"),
            (Error::Reply { op }, "add: unexpected reply"),
            (
                Error::Json { what: "data", job: job(), path: Some("items[3].price".into()), cause: read() },
                "the data of job 7 of mails does not fit its type at `items[3].price`: expected u32, found a string",
            ),
            (
                Error::Json { what: "returnvalue", job: None, path: None, cause: read() },
                "the result does not fit its type: expected u32, found a string",
            ),
            (
                Error::Json { what: "returnvalue", job: job(), path: Some("a[0]".into()), cause: deep() },
                "the result of job 7 of mails is nested more than 127 levels deep at `a[0]`, and can only be read as \
                 its text, `Box<RawValue>`",
            ),
            (
                Error::Undecodable { id: "7".into(), field: "opts", problem: "no JSON".into() },
                "job 7: field opts: no JSON",
            ),
            (Error::invalid("attempts", "at least 1"), "option attempts: at least 1"),
            (Error::Panicked { task: "loop", problem: "no".into() }, "the loop panicked and was started again: no"),
            (
                Error::ServerVersion { server: "redis://h:1".into(), found: "5.0".into() },
                "the server redis://h:1 has version 5.0; 6.2 or newer is needed",
            ),
            (Error::JobFailed { id: "7".into(), reason: "no".into() }, "job 7 failed: no"),
            (Error::Timeout { op, after: Duration::from_secs(1), job: None }, "add: no answer within 1s"),
            (
                Error::Timeout { op: "wait_until_finished", after: Duration::from_secs(2), job: job() },
                "wait_until_finished: job 7 of mails has not finished within 2s",
            ),
            (Error::QueueState { op, problem: "it is paused" }, "add: it is paused"),
            (Error::NotPermitted { op, command: "CLIENT LIST" }, "add: the server does not permit CLIENT LIST"),
            (
                Error::Scheduler { scheduler: "nightly".into(), problem: "no".into() },
                "job scheduler nightly: no next run: no",
            ),
            (
                Error::Partitions { op, of: 4, failed: PartitionErrors::new(vec![(3, unknown())]) },
                "add: 1 of 4 partitions failed: partition 3: add: the server is out of memory",
            ),
            (Error::Closed, "closed"),
        ]
    }

    #[test]
    fn each_text_stands_alone() {
        for (error, text) in each() {
            assert_eq!(error.to_string(), text);
        }
        let number = serde_json::to_string(&std::collections::HashMap::from([((1, 2), 3)])).unwrap_err();
        let unwritable = Error::json("data")(number).to_string();
        assert_eq!(unwritable, "the data cannot be written as JSON: key must be a string");
        let broken = Error::json("data")(serde_json::from_str::<Vec<u32>>("[").unwrap_err()).to_string();
        assert!(broken.starts_with("the data is not JSON: EOF while parsing"), "{broken}");
    }

    #[test]
    fn no_reporter_prints_a_text_twice() {
        for (error, text) in each() {
            let below = std::error::Error::source(&error).map(ToString::to_string);
            assert_eq!(below.is_some(), text.starts_with("save_cursor"), "{error:?}");
            let whole = below.as_ref().map_or(text.to_owned(), |below| format!("{text}: {below}"));
            assert_eq!(WithCauses(&error).to_string(), whole);
            assert!(below.as_ref().is_none_or(|below| !text.contains(below)), "{text}");
            let reported = anyhow::Error::from(error);
            assert_eq!(format!("{reported:#}"), whole);
            // A stack trace has the causes that the reason does not contain.
            let boxed = BoxError::from(reported);
            assert_eq!(super::super::causes_beyond(&*boxed, &boxed.to_string()).len(), usize::from(below.is_some()));
        }
    }

    #[test]
    fn what_others_have_chosen_cannot_forge_a_line_or_reach_a_terminal() {
        let odd = "7\nERROR all is lost\x1b[2J\u{9b}é";
        let place = || Some(Box::new(JobPlace::new(odd, odd)));
        let wrong = || serde_json::from_str::<u32>("[]").unwrap_err();
        let errors = [
            Error::refused("add", odd, Reason::MissingJob),
            Error::refused("add", odd, Reason::MissingParent).with_parent(Some(odd)),
            Error::Json { what: "data", job: place(), path: Some(odd.into()), cause: wrong() },
            Error::Undecodable { id: odd.into(), field: "opts", problem: odd.into() },
            Error::JobFailed { id: odd.into(), reason: "no".into() },
            Error::Timeout { op: "wait", after: Duration::from_secs(1), job: place() },
            Error::Scheduler { scheduler: odd.into(), problem: "no".into() },
        ];
        for error in errors {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.contains(r"7\nERROR all is lost\u{1b}[2J\u{9b}é"), "{text}");
        }
        // The reason of a failure is the processor's own, and may have several lines; in a log it has one.
        let failed = Error::JobFailed { id: "7".into(), reason: "a\nb\x1b[2J".into() };
        assert_eq!(failed.to_string(), "job 7 failed: a\nb\x1b[2J");
        assert_eq!(WithCauses(&failed).to_string(), "job 7 failed: a b [2J");
    }
}
