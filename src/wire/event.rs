//! One entry of a queue's event stream.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::json::{self, JsonText};
use crate::state::JobState;

/// An event of a queue.
///
/// Older releases leave some fields out, so nearly all are optional; a missing id is an empty text. Names and meanings
/// are BullMQ's.
///
/// ```
/// use oxmq::events::QueueEvent;
///
/// fn describe(event: &QueueEvent) -> String {
///     match event {
///         QueueEvent::Completed { job_id, return_value, .. } => format!("{job_id} returned {}", return_value.as_str()),
///         QueueEvent::Failed { job_id, failed_reason, .. } => format!("{job_id} failed: {failed_reason:?}"),
///         other => format!("{} {}", other.name(), other.job_id().unwrap_or_default()),
///     }
/// }
/// assert_eq!(describe(&QueueEvent::Drained), "drained ");
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum QueueEvent {
    /// A job was stored; the next event says in which state.
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
        /// Its state before; `None` if it is new.
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
        /// What its processor returned.
        #[serde(rename = "returnvalue")]
        return_value: JsonText,
        /// Its state before.
        prev: Option<JobState>,
    },
    /// A job failed for good.
    #[non_exhaustive]
    Failed {
        /// The job.
        job_id: String,
        /// The reason of the last failure.
        failed_reason: Option<String>,
        /// Its state before.
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
    /// A job was delayed.
    #[non_exhaustive]
    Delayed {
        /// The job.
        job_id: String,
        /// When it is due.
        #[serde(rename = "delay", serialize_with = "crate::clock::as_epoch_ms")]
        due: Option<SystemTime>,
    },
    /// A job waits for its children.
    #[non_exhaustive]
    WaitingChildren {
        /// The job.
        job_id: String,
        /// Its state before; `None` if it is new.
        prev: Option<JobState>,
    },
    /// A job reported its progress.
    #[non_exhaustive]
    Progress {
        /// The job.
        job_id: String,
        /// What it reported.
        data: JsonText,
    },
    /// A job had lost its worker and was put back to wait.
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
        /// Its state before.
        prev: Option<JobState>,
    },
    /// A job was added whose id exists already; nothing was changed.
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
        /// The deduplication id.
        deduplication_id: Option<String>,
        /// The job that was dropped: the new one, or the owner if that was replaced. Missing in BullMQ 5.34.
        deduplicated_job_id: Option<String>,
    },
    /// The older form of `Deduplicated`: BullMQ 5 writes it before each `Deduplicated`, and 5.12 alone.
    #[non_exhaustive]
    Debounced {
        /// The job that stays.
        job_id: String,
        /// The deduplication id.
        debounce_id: Option<String>,
    },
    /// Jobs were removed by `clean`, one event per call to the server.
    #[non_exhaustive]
    Cleaned {
        /// How many jobs.
        count: Option<u64>,
    },
    /// The queue was paused.
    Paused,
    /// The queue was resumed.
    Resumed,
    /// The last job that was ready or running has finished.
    Drained,
    /// A custom event, or one of a newer BullMQ.
    #[non_exhaustive]
    #[serde(untagged)]
    Other {
        /// Its name.
        #[serde(rename = "event")]
        name: String,
        /// Its fields in order, without the name.
        #[serde(flatten, serialize_with = "super::json::as_map")]
        fields: Vec<(String, String)>,
    },
}

macro_rules! names {
    ($($variant:ident: $name:literal;)*) => {
        /// The events by name, so that one that is not read does not compile.
        enum Kind {
            $($variant,)*
            Other,
        }

        impl Kind {
            fn of(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    _ => Self::Other,
                }
            }
        }

        impl QueueEvent {
            /// Returns BullMQ's name of the event.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                    Self::Other { name, .. } => name,
                }
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

names! {
    Added: "added";
    Waiting: "waiting";
    Active: "active";
    Completed: "completed";
    Failed: "failed";
    RetriesExhausted: "retries-exhausted";
    Delayed: "delayed";
    WaitingChildren: "waiting-children";
    Progress: "progress";
    Stalled: "stalled";
    Removed: "removed";
    Duplicated: "duplicated";
    Deduplicated: "deduplicated";
    Debounced: "debounced";
    Cleaned: "cleaned";
    Paused: "paused";
    Resumed: "resumed";
    Drained: "drained";
}

impl QueueEvent {
    /// Reads the fields of an entry; every entry is an event, whatever its fields hold.
    pub(crate) fn decode(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (text(name), text(value)));
        Self::read(&mut Fields(fields.collect()))
    }

    fn read(fields: &mut Fields) -> Self {
        let name = fields.take("event").unwrap_or_default();
        let mut job_id = || fields.take("jobId").unwrap_or_default();
        match Kind::of(&name) {
            Kind::Added => Self::Added { job_id: job_id(), name: fields.take("name") },
            Kind::Waiting => Self::Waiting { job_id: job_id(), prev: fields.prev() },
            Kind::Active => Self::Active { job_id: job_id(), prev: fields.prev() },
            Kind::Completed => {
                Self::Completed { job_id: job_id(), return_value: fields.json("returnvalue"), prev: fields.prev() }
            }
            Kind::Failed => {
                Self::Failed { job_id: job_id(), failed_reason: fields.take("failedReason"), prev: fields.prev() }
            }
            Kind::RetriesExhausted => {
                Self::RetriesExhausted { job_id: job_id(), attempts_made: fields.number("attemptsMade") }
            }
            Kind::Delayed => Self::Delayed { job_id: job_id(), due: fields.time("delay") },
            Kind::WaitingChildren => Self::WaitingChildren { job_id: job_id(), prev: fields.prev() },
            Kind::Progress => Self::Progress { job_id: job_id(), data: fields.json("data") },
            Kind::Stalled => Self::Stalled { job_id: job_id() },
            Kind::Removed => Self::Removed { job_id: job_id(), prev: fields.prev() },
            Kind::Duplicated => Self::Duplicated { job_id: job_id() },
            Kind::Deduplicated => Self::Deduplicated {
                job_id: job_id(),
                deduplication_id: fields.take("deduplicationId"),
                deduplicated_job_id: fields.take("deduplicatedJobId"),
            },
            Kind::Debounced => Self::Debounced { job_id: job_id(), debounce_id: fields.take("debounceId") },
            Kind::Cleaned => Self::Cleaned { count: fields.number("count") },
            Kind::Paused => Self::Paused,
            Kind::Resumed => Self::Resumed,
            Kind::Drained => Self::Drained,
            Kind::Other => Self::Other { name, fields: std::mem::take(&mut fields.0) },
        }
    }

    /// Returns the job that the event is about, if it names one.
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
    /// Takes the last field of this name; Node's reader too lets a later field win.
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().rposition(|(field, _)| field == name)?;
        let (_, value) = self.0.remove(at);
        Some(value)
    }

    fn prev(&mut self) -> Option<JobState> {
        self.take("prev").map(|state| state.parse().unwrap_or(JobState::Unknown))
    }

    fn json(&mut self, name: &str) -> JsonText {
        JsonText::new(self.take(name).unwrap_or_else(|| "null".to_owned()))
    }

    fn time(&mut self, name: &str) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.number(name)?))
    }

    /// Takes a number of at least 0; a fraction is cut off.
    fn number(&mut self, name: &str) -> Option<u64> {
        let number: f64 = self.take(name)?.trim().parse().ok()?;
        (number >= 0.0).then(|| u64::try_from(json::integer(number)).unwrap_or(0))
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn decode(fields: &[&str]) -> QueueEvent {
        QueueEvent::decode(fields.chunks(2).map(|pair| (pair[0].into(), pair[1].into())).collect())
    }

    fn job_id() -> String {
        "7".to_owned()
    }

    fn assert_decoded(cases: impl IntoIterator<Item = (&'static [&'static str], QueueEvent)>) {
        for (fields, event) in cases {
            assert_eq!(decode(fields), event);
            assert_eq!(event.name(), fields[1]);
            assert_eq!(event.job_id(), fields.contains(&"7").then_some("7"));
        }
    }

    #[test]
    fn every_move_of_a_job_has_its_shape() {
        assert_decoded([
            (
                &["event", "added", "jobId", "7", "name", "n"][..],
                QueueEvent::Added { job_id: job_id(), name: Some("n".into()) },
            ),
            (&["event", "waiting", "jobId", "7"], QueueEvent::Waiting { job_id: job_id(), prev: None }),
            (
                &["event", "waiting", "jobId", "7", "prev", "waiting-children"],
                QueueEvent::Waiting { job_id: job_id(), prev: Some(JobState::WaitingChildren) },
            ),
            (
                &["event", "active", "jobId", "7", "prev", "waiting"],
                QueueEvent::Active { job_id: job_id(), prev: Some(JobState::Waiting) },
            ),
            (
                &["event", "completed", "jobId", "7", "returnvalue", "[1]", "prev", "active"],
                QueueEvent::Completed {
                    job_id: job_id(),
                    return_value: JsonText::new("[1]"),
                    prev: Some(JobState::Active),
                },
            ),
            (
                &["event", "failed", "jobId", "7", "failedReason", "r", "prev", "active"],
                QueueEvent::Failed { job_id: job_id(), failed_reason: Some("r".into()), prev: Some(JobState::Active) },
            ),
            (
                &["event", "retries-exhausted", "jobId", "7", "attemptsMade", "3"],
                QueueEvent::RetriesExhausted { job_id: job_id(), attempts_made: Some(3) },
            ),
            (
                &["event", "delayed", "jobId", "7", "delay", "1700000000000.5"],
                QueueEvent::Delayed {
                    job_id: job_id(),
                    due: Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_000)),
                },
            ),
            (
                &["event", "waiting-children", "jobId", "7"],
                QueueEvent::WaitingChildren { job_id: job_id(), prev: None },
            ),
            (&["event", "stalled", "jobId", "7"], QueueEvent::Stalled { job_id: job_id() }),
            (
                &["event", "removed", "jobId", "7", "prev", "wait"],
                QueueEvent::Removed { job_id: job_id(), prev: Some(JobState::Waiting) },
            ),
            (
                &["event", "removed", "jobId", "7", "prev", "elsewhere"],
                QueueEvent::Removed { job_id: job_id(), prev: Some(JobState::Unknown) },
            ),
        ]);
    }

    #[test]
    fn every_other_event_has_its_shape() {
        assert_decoded([
            (
                &["event", "progress", "jobId", "7", "data", "50"][..],
                QueueEvent::Progress { job_id: job_id(), data: JsonText::new("50") },
            ),
            (&["event", "duplicated", "jobId", "7"], QueueEvent::Duplicated { job_id: job_id() }),
            (
                &["event", "deduplicated", "jobId", "7", "deduplicationId", "d"],
                QueueEvent::Deduplicated {
                    job_id: job_id(),
                    deduplication_id: Some("d".into()),
                    deduplicated_job_id: None,
                },
            ),
            (
                &["event", "debounced", "jobId", "7", "debounceId", "d"],
                QueueEvent::Debounced { job_id: job_id(), debounce_id: Some("d".into()) },
            ),
            (&["event", "cleaned", "count", "0"], QueueEvent::Cleaned { count: Some(0) }),
            (&["event", "paused"], QueueEvent::Paused),
            (&["event", "resumed"], QueueEvent::Resumed),
            (&["event", "drained"], QueueEvent::Drained),
            (
                &["event", "mine", "jobId", "7", "x", ""],
                QueueEvent::Other {
                    name: "mine".into(),
                    fields: vec![("jobId".into(), job_id()), ("x".into(), "".into())],
                },
            ),
        ]);
    }

    #[test]
    fn each_event_is_shown_under_the_name_it_is_read_by() {
        for name in NAMES {
            let event = decode(&["event", name, "jobId", "7"]);
            assert_eq!(event.name(), *name);
            assert_eq!(serde_json::to_value(&event).unwrap()["event"], *name);
            let about_a_job = !["cleaned", "paused", "resumed", "drained"].contains(name);
            assert_eq!(event.job_id(), about_a_job.then_some("7"), "{name}");
        }
    }

    #[test]
    fn nothing_is_fatal() {
        assert_eq!(decode(&["jobId", "7"]).name(), "");
        assert_eq!(decode(&["event", "added"]).job_id(), None);
        assert_eq!(
            decode(&["event", "delayed", "delay", "soon"]),
            QueueEvent::Delayed { job_id: String::new(), due: None }
        );
        let QueueEvent::Delayed { due, .. } = decode(&["event", "delayed", "delay", "1e300"]) else { panic!() };
        let _ = due;
        let QueueEvent::Progress { data, .. } = decode(&["event", "progress", "jobId", "7", "data", ""]) else {
            panic!()
        };
        assert!(data.parse::<Value>().is_err());
        let QueueEvent::Completed { return_value, .. } = decode(&["event", "completed"]) else { panic!() };
        assert_eq!(return_value.parse::<Value>().unwrap(), Value::Null);
        let broken = vec![(b"event".to_vec(), b"m\xff".to_vec()), (b"\xff".to_vec(), b"\xff".to_vec())];
        assert_eq!(QueueEvent::decode(broken).name(), "m\u{fffd}");
    }

    #[test]
    fn what_real_releases_write_is_known_to_the_last_field() {
        for release in super::super::corpus::load() {
            for event in release.events {
                let mut fields = Fields(event.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect());
                let decoded = QueueEvent::read(&mut fields);
                assert!(!matches!(decoded, QueueEvent::Other { .. }), "{}: {event:?}", release.version);
                assert!(fields.0.is_empty(), "{}: {event:?}", release.version);
                assert!(!format!("{decoded:?}").contains("Unknown"), "{}: {event:?}", release.version);
            }
        }
    }
}
