//! How a command ends: its exit codes and errors.

use std::fmt::Display;

/// It failed: no connection, a refusal, a file that cannot be read.
pub(crate) const ERROR: u8 = 1;
/// The command line is not understood: clap says so too.
pub(crate) const USAGE: u8 = 2;
/// There is no such queue, job, scheduler or profile.
pub(crate) const NOT_FOUND: u8 = 3;
/// Nothing was changed, since it was not confirmed.
pub(crate) const NOT_CONFIRMED: u8 = 4;
/// It was done for some of the jobs only.
pub(crate) const IN_PART: u8 = 5;
/// The doctor has found something.
pub(crate) const FOUND: u8 = 6;
/// It was stopped; the output tells how to continue.
pub(crate) const STOPPED: u8 = 130;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// Creates an error about something.
    pub(crate) fn about(what: impl Display, error: impl Display) -> Self {
        Self::new(ERROR, format!("{what}: {error}"))
    }

    /// Creates an error about an argument whose value is not understood.
    pub(crate) fn argument(which: &str, error: impl Display) -> Self {
        Self::new(USAGE, format!("{which}: {error}"))
    }

    pub(crate) fn no_such(what: &str, name: &str) -> Self {
        Self::new(NOT_FOUND, format!("there is no {what} '{name}'"))
    }
}

impl From<oxmq::Error> for Failure {
    /// Shows the error in one line.
    fn from(error: oxmq::Error) -> Self {
        let text = error.to_string();
        // The server's error alone does not tell what to do.
        let advice = match &error {
            // A value of the command line that no queue, job or server can have.
            oxmq::Error::InvalidOption { .. } => return Self::new(USAGE, text),
            oxmq::Error::NotPermitted { command: "SCAN", .. } => {
                "Without this right name the queues, as in `oxmq queues mails photos`"
            }
            error if error.is_not_permitted() => "docs/acl.md says which rights this needs",
            error if error.is_wrong_type() => {
                "A key of the queue holds something else than queues store there; `oxmq doctor` says which"
            }
            _ => return Self::new(ERROR, text),
        };
        Self::new(ERROR, format!("{text}. {advice}"))
    }
}

impl From<std::io::Error> for Failure {
    /// The reader has closed the pipe, for example `head`: this is no failure.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(0, String::new());
        }
        Self::new(ERROR, error.to_string())
    }
}
