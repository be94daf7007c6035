//! What a failed call may have done to the server.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{BoxError, Error};

/// Why a call failed, sorted by what it may have changed (the outcome of a call has three values).
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not applied, and the same call may succeed later: no connection, or a server that is not ready.
    NotApplied(RedisError),
    /// Not applied: the server is full.
    OutOfMemory,
    /// Sent, but no reply came: applied or not.
    Unknown(RedisError),
    /// The server refused the command or script for good.
    Server(RedisError),
}

impl Failure {
    /// Sorts an error that came back from a command that was sent.
    pub(crate) fn of(error: RedisError) -> Self {
        if error.code() == Some("OOM") || is_oom_in_script(&error) {
            return Self::OutOfMemory;
        }
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            ) => Self::NotApplied(error),
            ErrorKind::Extension if matches!(error.code(), Some("BUSY" | "MISCONF" | "NOREPLICAS" | "UNBLOCKED")) => {
                Self::NotApplied(error)
            }
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::InvalidClientConfig => Self::Server(error),
            _ => Self::Unknown(error),
        }
    }

    /// Whether the connection itself must be replaced: the address may lead to another server by now.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::NotApplied(error) => {
                error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) || error.code() == Some("UNBLOCKED")
            }
            Self::OutOfMemory | Self::Server(_) => false,
        }
    }

    /// The public error for operation `op`.
    pub(crate) fn to_error(&self, op: &'static str) -> Error {
        match self {
            Self::OutOfMemory => Error::OutOfMemory { op },
            Self::Unknown(_) => Error::OutcomeUnknown { op },
            Self::NotApplied(error) | Self::Server(error) => Error::Redis { op, source: without_secrets(error) },
        }
    }
}

/// A script that runs into the limit half-way answers with a text of its own.
fn is_oom_in_script(error: &RedisError) -> bool {
    error.detail().is_some_and(|text| text.starts_with("OOM ") || text.contains("-OOM "))
}

/// The text of a driver's error; its own types never hold credentials, but its next version is not ours.
pub(crate) fn without_secrets(error: &RedisError) -> BoxError {
    error.to_string().into()
}
