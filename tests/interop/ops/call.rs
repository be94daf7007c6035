//! Options of single operations.

use serde::{Deserialize, Serialize};

use super::Parent;

/// What `Job.moveToWaitingChildren` waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitOpts {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub child: Option<Parent>,
}

/// Why a job failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailKind {
    /// An error like any other.
    #[default]
    Error,
    /// `UnrecoverableError`.
    Unrecoverable,
}

/// Options of `changePriority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PriorityOpts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifo: Option<bool>,
}

/// Options of `Job.retry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryOpts {
    pub reset_attempts_made: bool,
    pub reset_attempts_started: bool,
}

/// Options of `retryJobs` and `promoteJobs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkOpts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
}

/// Options of `obliterate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObliterateOpts {
    pub force: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Options of `remove`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveOpts {
    pub remove_children: bool,
}
