//! How the wait for a job ends.

use crate::error::Reason;

/// How the wait for a job ends, unless its time is over first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WaitEnd {
    /// The JSON that its processor returned.
    Completed(String),
    /// The reason of the final failure.
    Failed(String),
    /// There is no job to wait for.
    Refused(Reason),
}

pub(super) const MISSING: WaitEnd = WaitEnd::Refused(Reason::MissingJob);

impl WaitEnd {
    /// Creates the end of the wait for a completed job. Old peers leave the text of a missing value empty; as JSON that is null.
    pub(super) fn completed(json: String) -> Self {
        Self::Completed(if json.is_empty() { "null".to_owned() } else { json })
    }
}
