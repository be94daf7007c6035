//! Filters that select jobs of a queue.

use std::time::{Duration, SystemTime};

use crate::clock::{Clock, epoch_ms, millis};
use crate::error::{Error, Result};
use crate::state::JobState;

/// How many bytes a pattern or a text of a filter may have.
const LONGEST: usize = 1024;

/// Selects jobs of a queue: those in some states that meet all conditions.
///
/// ```
/// use std::time::Duration;
/// use oxmq::options::JobFilter;
///
/// let mails = JobFilter::failed().name("mail*").older_than(Duration::from_secs(3_600)).reason_contains("ECONNRESET");
/// ```
///
/// A pattern describes a whole name or id; `*` stands for any text. Texts are compared byte for byte, those in the data
/// with its stored JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct JobFilter {
    pub(crate) states: Vec<JobState>,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
    pub(crate) reason: String,
    older_than: Option<Duration>,
    newer_than: Option<Duration>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

macro_rules! of_state {
    ($($(#[$doc:meta])* $name:ident: $($state:ident),*;)*) => {
        impl JobFilter {
            $($(#[$doc])* pub fn $name() -> Self { Self::new([$(JobState::$state),*]) })*
        }
    };
}

of_state! {
    /// Jobs that failed for good.
    failed: Failed;
    /// Jobs that completed.
    completed: Completed;
    /// Jobs that are not due yet.
    delayed: Delayed;
    /// Jobs that wait for a worker without a priority, including those that BullMQ 5 keeps in `paused`.
    waiting: Waiting, Paused;
    /// Jobs that wait for a worker with a priority.
    prioritized: Prioritized;
    /// Jobs that are running.
    active: Active;
    /// Jobs that wait for their children.
    waiting_children: WaitingChildren;
}

impl JobFilter {
    /// Selects all jobs in these states.
    pub fn new(states: impl IntoIterator<Item = JobState>) -> Self {
        let mut all: Vec<JobState> = Vec::new();
        for state in states {
            if !all.contains(&state) {
                all.push(state);
            }
        }
        Self {
            states: all,
            name: String::new(),
            id: String::new(),
            data: String::new(),
            reason: String::new(),
            older_than: None,
            newer_than: None,
            since: None,
            until: None,
        }
    }

    /// Selects all jobs, in any state.
    pub fn all() -> Self {
        Self::new(JobState::ALL)
    }

    /// Returns the states that are searched, in this order.
    #[must_use]
    pub fn states(&self) -> &[JobState] {
        &self.states
    }

    /// Searches one state only, with the same conditions.
    pub fn only(mut self, state: JobState) -> Self {
        self.states = vec![state];
        self
    }

    /// Selects jobs with this name, in which `*` stands for any text. Up to 1,024 bytes; empty for any name.
    pub fn name(mut self, pattern: impl Into<String>) -> Self {
        self.name = pattern.into();
        self
    }

    /// Selects jobs with this id, in which `*` stands for any text. Up to 1,024 bytes; empty for any id. An id without
    /// `*` is looked up directly, except in the lists of waiting and active jobs.
    pub fn id(mut self, pattern: impl Into<String>) -> Self {
        self.id = pattern.into();
        self
    }

    /// Selects jobs with this text in their data, as its JSON is stored. Up to 1,024 bytes; empty for any data.
    pub fn data_contains(mut self, text: impl Into<String>) -> Self {
        self.data = text.into();
        self
    }

    /// Selects jobs with this text in the reason of their last failure. Up to 1,024 bytes; empty for any.
    pub fn reason_contains(mut self, text: impl Into<String>) -> Self {
        self.reason = text.into();
        self
    }

    /// Selects jobs that are older than this when the search begins. The age of a finished job counts from its end, of
    /// another from its start, or if it never started from its add.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Selects jobs that are at most this old when the search begins; see [`older_than`](Self::older_than).
    pub fn newer_than(mut self, age: Duration) -> Self {
        self.newer_than = Some(age);
        self
    }

    /// Selects jobs from this moment on, which is compared like an age; see [`older_than`](Self::older_than).
    pub fn since(mut self, moment: SystemTime) -> Self {
        self.since = Some(moment);
        self
    }

    /// Selects jobs up to this moment, which is compared like an age; see [`older_than`](Self::older_than).
    pub fn until(mut self, moment: SystemTime) -> Self {
        self.until = Some(moment);
        self
    }

    /// Returns the first and the last moment, in ms, for a search that begins now.
    pub(crate) fn span(&self, clock: &Clock) -> (Option<u64>, Option<u64>) {
        let ago = |age: Duration| clock.now_ms().saturating_sub(millis(age));
        let since = self.newer_than.map(ago).into_iter().chain(self.since.map(epoch_ms)).max();
        let until = self.older_than.map(ago).into_iter().chain(self.until.map(epoch_ms)).min();
        (since, until)
    }

    /// Refuses conditions that no job can meet.
    pub(crate) fn check(&self) -> Result<()> {
        if self.states.is_empty() || self.states.contains(&JobState::Unknown) {
            return Err(Error::invalid("states", "it needs states that jobs can be found in"));
        }
        for (option, text) in
            [("name", &self.name), ("id", &self.id), ("data_contains", &self.data), ("reason_contains", &self.reason)]
        {
            if text.len() > LONGEST {
                return Err(Error::invalid(option, format!("it must not be longer than {LONGEST} bytes")));
            }
        }
        Ok(())
    }
}

impl<const N: usize> From<[JobState; N]> for JobFilter {
    fn from(states: [JobState; N]) -> Self {
        Self::new(states)
    }
}

impl From<JobState> for JobFilter {
    fn from(state: JobState) -> Self {
        Self::new([state])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_moments_become_one_span() {
        let clock = Clock::manual_ms(10_000);
        let at = |ms| std::time::UNIX_EPOCH + Duration::from_millis(ms);
        let filter = JobFilter::failed().older_than(Duration::from_secs(1)).until(at(8_000));
        assert_eq!(filter.span(&clock), (None, Some(8_000)));
        let filter = filter.newer_than(Duration::from_secs(5)).since(at(1_000));
        assert_eq!(filter.span(&clock), (Some(5_000), Some(8_000)));
        assert_eq!(JobFilter::failed().newer_than(Duration::MAX).span(&clock), (Some(0), None));
    }

    #[test]
    fn a_filter_without_a_state_is_refused() {
        assert!(JobFilter::new([]).check().is_err());
        assert!(JobFilter::from(JobState::Unknown).check().is_err());
        assert!(JobFilter::all().name("x".repeat(1_025)).check().is_err());
        assert!(JobFilter::new([JobState::Failed, JobState::Failed]).states() == [JobState::Failed]);
    }
}
