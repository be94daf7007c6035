//! Errors of the server whose kind tells what to do.

/// What the server's error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KnownKind {
    /// It does not have the command, or the user may not call it, or not with these keys; also within a script.
    NotPermitted,
    /// A key has another type than the command works on.
    WrongType,
}

/// The cause of an [`Error::Redis`](super::Error::Redis) whose kind is known.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct KnownCause {
    pub(crate) kind: KnownKind,
    pub(crate) text: String,
}
