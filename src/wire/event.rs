//! One entry of a queue's event stream.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::json;
use crate::state::JobState;

/// What happened in a queue.
///
/// Older releases leave some fields out, so nearly all are optional; an id that is missing is an empty text. Names and
/// occasions are BullMQ's.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum QueueEvent {
    /// A job was stored; what follows says where.
    #[non_exhaustive]
    Added {
        /// The job.
        job_id: String,
        /// Its name.
        name: Option<String>,
    },
    /// A job is ready to run.
    #[non_exhaustive]
    Waiting {
        /// The job.
        job_id: String,
        /// Where it was before; none if it is new.
        prev: Option<JobState>,
    },
    /// A worker took a job.
    #[non_exhaustive]
    Active {
        /// The job.
        job_id: String,
        /// BullMQ always says waiting.
        prev: Option<JobState>,
    },
    /// A job succeeded.
    #[non_exhaustive]
    Completed {
        /// The job.
        job_id: String,
        /// What its processor returned; null too if that is not JSON.
        return_value: Value,
        /// Where it was before.
        prev: Option<JobState>,
    },
    /// A job failed for good.
    #[non_exhaustive]
    Failed {
        /// The job.
        job_id: String,
        /// Why.
        failed_reason: Option<String>,
        /// Where it was before.
        prev: Option<JobState>,
    },
    /// A job failed for good because no attempts were left; comes after `Failed`.
    #[non_exhaustive]
    RetriesExhausted {
        /// The job.
        job_id: String,
        /// How many attempts were made.
        attempts_made: Option<u64>,
    },
    /// A job is to run later.
    #[non_exhaustive]
    Delayed {
        /// The job.
        job_id: String,
        /// When it is due.
        due: Option<SystemTime>,
    },
    /// A job waits for its children.
    #[non_exhaustive]
    WaitingChildren {
        /// The job.
        job_id: String,
        /// Where it was before; none if it is new.
        prev: Option<JobState>,
    },
    /// A job reported its progress.
    #[non_exhaustive]
    Progress {
        /// The job.
        job_id: String,
        /// What it reported; null too if that is not JSON.
        data: Value,
    },
    /// A job had lost its worker and went back to waiting.
    #[non_exhaustive]
    Stalled {
        /// The job.
        job_id: String,
    },
    /// A job was removed.
    #[non_exhaustive]
    Removed {
        /// The job.
        job_id: String,
        /// Where it was.
        prev: Option<JobState>,
    },
    /// A job with this id existed already, and nothing was added.
    #[non_exhaustive]
    Duplicated {
        /// The job that exists.
        job_id: String,
    },
    /// An add was deduplicated.
    #[non_exhaustive]
    Deduplicated {
        /// The job that stays: the owner, or the new job if it took the owner's place.
        job_id: String,
        /// By which id.
        deduplication_id: Option<String>,
        /// The job that was dropped: the new one, or the owner if it was replaced. BullMQ 5.34 does not tell.
        deduplicated_job_id: Option<String>,
    },
    /// BullMQ 5 tells the same in this form, before each `Deduplicated`; 5.12 in this form only.
    #[non_exhaustive]
    Debounced {
        /// The job that stays.
        job_id: String,
        /// By which id.
        debounce_id: Option<String>,
    },
    /// Finished or waiting jobs were cleaned away, one event for each call to the server.
    #[non_exhaustive]
    Cleaned {
        /// How many.
        count: Option<u64>,
    },
    /// The queue was paused.
    Paused,
    /// The queue goes on.
    Resumed,
    /// The last job that was ready or running finished.
    Drained,
    /// An event of the user's own, or of a newer BullMQ.
    #[non_exhaustive]
    Other {
        /// Its name.
        name: String,
        /// Its fields in order, without the name.
        fields: Vec<(String, String)>,
    },
}

impl QueueEvent {
    /// Reads the fields of one entry; whatever they hold, there is an event.
    pub(crate) fn decode(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let mut fields = Fields(fields.into_iter().map(|(name, value)| (text(name), text(value))).collect());
        let name = fields.take("event").unwrap_or_default();
        let mut job_id = || fields.take("jobId").unwrap_or_default();
        match &*name {
            "added" => Self::Added { job_id: job_id(), name: fields.take("name") },
            "waiting" => Self::Waiting { job_id: job_id(), prev: fields.prev() },
            "active" => Self::Active { job_id: job_id(), prev: fields.prev() },
            "completed" => {
                Self::Completed { job_id: job_id(), return_value: fields.json("returnvalue"), prev: fields.prev() }
            }
            "failed" => {
                Self::Failed { job_id: job_id(), failed_reason: fields.take("failedReason"), prev: fields.prev() }
            }
            "retries-exhausted" => {
                Self::RetriesExhausted { job_id: job_id(), attempts_made: fields.number("attemptsMade") }
            }
            "delayed" => Self::Delayed { job_id: job_id(), due: fields.time("delay") },
            "waiting-children" => Self::WaitingChildren { job_id: job_id(), prev: fields.prev() },
            "progress" => Self::Progress { job_id: job_id(), data: fields.json("data") },
            "stalled" => Self::Stalled { job_id: job_id() },
            "removed" => Self::Removed { job_id: job_id(), prev: fields.prev() },
            "duplicated" => Self::Duplicated { job_id: job_id() },
            "deduplicated" => Self::Deduplicated {
                job_id: job_id(),
                deduplication_id: fields.take("deduplicationId"),
                deduplicated_job_id: fields.take("deduplicatedJobId"),
            },
            "debounced" => Self::Debounced { job_id: job_id(), debounce_id: fields.take("debounceId") },
            "cleaned" => Self::Cleaned { count: fields.number("count") },
            "paused" => Self::Paused,
            "resumed" => Self::Resumed,
            "drained" => Self::Drained,
            _ => Self::Other { name, fields: fields.0 },
        }
    }

    /// BullMQ's name of the event.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Added { .. } => "added",
            Self::Waiting { .. } => "waiting",
            Self::Active { .. } => "active",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::RetriesExhausted { .. } => "retries-exhausted",
            Self::Delayed { .. } => "delayed",
            Self::WaitingChildren { .. } => "waiting-children",
            Self::Progress { .. } => "progress",
            Self::Stalled { .. } => "stalled",
            Self::Removed { .. } => "removed",
            Self::Duplicated { .. } => "duplicated",
            Self::Deduplicated { .. } => "deduplicated",
            Self::Debounced { .. } => "debounced",
            Self::Cleaned { .. } => "cleaned",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Drained => "drained",
            Self::Other { name, .. } => name,
        }
    }

    /// The job that the event is about, if it names one.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        let id = match self {
            Self::Added { job_id, .. }
            | Self::Waiting { job_id, .. }
            | Self::Active { job_id, .. }
            | Self::Completed { job_id, .. }
            | Self::Failed { job_id, .. }
            | Self::RetriesExhausted { job_id, .. }
            | Self::Delayed { job_id, .. }
            | Self::WaitingChildren { job_id, .. }
            | Self::Progress { job_id, .. }
            | Self::Stalled { job_id }
            | Self::Removed { job_id, .. }
            | Self::Duplicated { job_id }
            | Self::Deduplicated { job_id, .. }
            | Self::Debounced { job_id, .. } => job_id,
            Self::Other { fields, .. } => &fields.iter().find(|(name, _)| name == "jobId")?.1,
            Self::Cleaned { .. } | Self::Paused | Self::Resumed | Self::Drained => return None,
        };
        (!id.is_empty()).then_some(id)
    }
}

struct Fields(Vec<(String, String)>);

impl Fields {
    /// The last of that name, as Node's map would have it.
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().rposition(|(field, _)| field == name)?;
        let (_, value) = self.0.remove(at);
        Some(value)
    }

    fn prev(&mut self) -> Option<JobState> {
        self.take("prev").map(|state| state.parse().unwrap_or(JobState::Unknown))
    }

    fn json(&mut self, name: &str) -> Value {
        self.take(name).and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
    }

    fn time(&mut self, name: &str) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.number(name)?))
    }

    /// A whole number not below 0; a fraction is cut off.
    fn number(&mut self, name: &str) -> Option<u64> {
        let number: f64 = self.take(name)?.trim().parse().ok()?;
        (number >= 0.0).then(|| u64::try_from(json::integer(number)).unwrap_or(0))
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
