//! Writes a job as JSON, as BullMQ does.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Job;
use crate::options::{OnChildFailure, ParentRef};
use crate::wire::json::Raw;
use crate::wire::options::LongNames;

/// Writes the fields and names of Node's `job.toJSON()`, without the token of the lock and the name of the queue:
/// options under their long names, and moments in ms since 1970. A missing result is `null`, other missing values are
/// left out. Data and results are written as they are stored, so they need not be readable as `D` and `R`.
impl<D, R> Serialize for Job<D, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = &self.core.raw;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.id())?;
        map.serialize_entry("name", self.name())?;
        map.serialize_entry("data", &Raw(self.data_json()))?;
        map.serialize_entry("opts", &LongNames(self.opts_json()))?;
        map.serialize_entry("progress", &Raw(raw.progress().unwrap_or("0")))?;
        map.serialize_entry("returnvalue", &raw.return_value().map(Raw))?;
        map.serialize_entry("stacktrace", &raw.stacktrace())?;
        map.serialize_entry("delay", &raw.delay)?;
        map.serialize_entry("priority", &raw.priority)?;
        map.serialize_entry("attemptsStarted", &raw.attempts_started)?;
        map.serialize_entry("attemptsMade", &raw.attempts_made)?;
        map.serialize_entry("stalledCounter", &raw.stalled_counter())?;
        map.serialize_entry("timestamp", &raw.timestamp)?;
        let moments = [("finishedOn", raw.finished_on()), ("processedOn", raw.processed_on)];
        for (name, at) in moments.into_iter().filter(|(_, at)| at.is_some()) {
            map.serialize_entry(name, &at)?;
        }
        let texts = [
            ("failedReason", raw.failed_reason()),
            ("deferredFailure", raw.deferred_failure()),
            ("deduplicationId", raw.deduplication_id()),
            ("repeatJobKey", raw.repeat_job_key()),
            ("parentKey", raw.parent_key()),
            ("processedBy", raw.processed_by()),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| text.is_some()) {
            map.serialize_entry(name, &text)?;
        }
        if let Some(parent) = self.parent() {
            map.serialize_entry("parent", &ParentField { parent, policy: self.on_child_failure() })?;
        }
        map.end()
    }
}

/// The link to the parent as it is stored, with the short name of the policy.
struct ParentField {
    parent: ParentRef,
    policy: Option<OnChildFailure>,
}

impl Serialize for ParentField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.parent.id())?;
        map.serialize_entry("queueKey", self.parent.queue())?;
        if let Some(policy) = self.policy {
            map.serialize_entry(policy.short(), &true)?;
        }
        map.end()
    }
}
