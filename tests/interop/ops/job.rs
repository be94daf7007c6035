//! A job as an operation adds it: its options, its children, its schedule.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// What a job is added with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Json,
    /// Its options.
    pub opts: JobOpts,
}

/// A job and its children.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowNode {
    /// Name of the job.
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Its data.
    pub data: Json,
    /// Its options.
    pub opts: JobOpts,
    /// Its children.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<FlowNode>,
}

/// What iterations of a scheduler are made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Name of the jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Their data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// Their options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opts: Option<JobOpts>,
}

/// When a scheduler runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// Every so many ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// By this cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// In this time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// At most so often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Not before, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<i64>,
    /// Not after, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<i64>,
    /// So long after the multiples of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The first one at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immediately: Option<bool>,
}

/// Options of a job; what is `None` is not given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
pub struct JobOpts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifo: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_complete: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_fail: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_logs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_trace_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_parent_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_parent_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_dependency_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_dependency_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

/// `backoff`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// `fixed`, `exponential` or a row of [`WorkerOpts::backoff_table`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Base, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<u64>,
    /// Share that is random, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

/// `removeOnComplete` and `removeOnFail`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Keep {
    /// None (`true`) or all (`false`).
    Remove(bool),
    /// The newest n.
    Count(i64),
    /// By rules.
    Rules(KeepRules),
}

/// How many finished jobs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeepRules {
    /// The newest so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Those younger than so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
    /// At most so many removed at a time by age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// `deduplication`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
pub struct Deduplication {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last_if_active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reschedule: Option<bool>,
}

/// `parent`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// Id of the parent.
    pub id: String,
    /// Its queue with the prefix: `{p}:q`.
    pub queue: String,
}

/// `telemetry`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// What is propagated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Whether nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omit_context: Option<bool>,
}
