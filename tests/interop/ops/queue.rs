//! Options of queues and of workers whose steps are done by hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JobOpts, KeepRules};

/// Options of a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueOpts {
    /// What jobs get that say nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_job_options: Option<JobOpts>,
    /// Length of the event stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Streams>,
}

/// `streams`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// `streams.events`.
    pub events: StreamLen,
}

/// `streams.events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamLen {
    /// How many events are kept, about.
    pub max_len: u64,
}

/// Options of the worker whose steps are done by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
pub struct WorkerOpts {
    /// Name, which becomes `pb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limiter: Option<Limiter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stalled_count: Option<u64>,
    /// ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_started_attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_complete: Option<KeepRules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_fail: Option<KeepRules>,
    /// Custom backoff: by type the delay of the first, second … failure; -1 is no more retries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backoff_table: BTreeMap<String, Vec<i64>>,
}

/// `limiter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limiter {
    /// Jobs …
    pub max: u64,
    /// … in so many ms.
    pub duration: u64,
}

/// `metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Minutes that are kept.
    pub max_data_points: u64,
}
