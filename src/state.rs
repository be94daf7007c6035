//! The state of a job, and counts of jobs by state.

use std::fmt;
use std::str::FromStr;

/// The state of a job.
///
/// ```
/// use oxmq::JobState;
///
/// assert_eq!("waiting-children".parse(), Ok(JobState::WaitingChildren));
/// assert_eq!(JobState::Waiting.as_str(), "waiting");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum JobState {
    /// Waits for its children.
    WaitingChildren,
    /// Not due yet.
    Delayed,
    /// Ready to run, without a priority.
    Waiting,
    /// In the list that BullMQ 5 uses instead of `wait` while the queue is paused. BullMQ reports it as waiting.
    Paused,
    /// Ready to run, with a priority.
    Prioritized,
    /// A worker runs it.
    Active,
    /// Finished without success, no attempts left.
    Failed,
    /// Finished with success.
    Completed,
    /// In none of the lists and sets.
    Unknown,
}

impl JobState {
    /// Every state that a job can be found in, in the order in which BullMQ checks them.
    pub const ALL: [Self; 8] = [
        Self::Completed,
        Self::Failed,
        Self::Delayed,
        Self::Prioritized,
        Self::Active,
        Self::Waiting,
        Self::Paused,
        Self::WaitingChildren,
    ];

    /// Returns BullMQ's name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WaitingChildren => "waiting-children",
            Self::Delayed => "delayed",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Prioritized => "prioritized",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the suffix of the key that holds the jobs of this state; `None` for `Unknown`.
    pub(crate) fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Waiting => Some("wait"),
            Self::Unknown => None,
            other => Some(other.as_str()),
        }
    }

    /// Returns whether the jobs are in a list and not in a sorted set.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::Waiting | Self::Active | Self::Paused)
    }

    /// Returns whether the job has completed or failed.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The error of parsing a text that is not the name of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the state of a job")]
pub struct UnknownState(String);

impl FromStr for JobState {
    type Err = UnknownState;

    /// Reads BullMQ's names, and `wait`, the name of the key, as `waiting`.
    fn from_str(name: &str) -> Result<Self, UnknownState> {
        if name == "wait" {
            return Ok(Self::Waiting);
        }
        let all = Self::ALL.iter().chain([&Self::Unknown]);
        all.copied().find(|state| state.as_str() == name).ok_or_else(|| UnknownState(name.to_owned()))
    }
}

/// How many jobs there are in each state.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// let counts = queue.get_job_counts(&[]).await?;
/// println!("{} wait, {} run, {} failed", counts.waiting, counts.active, counts.failed);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct JobCounts {
    /// See [`JobState::WaitingChildren`].
    pub waiting_children: u64,
    /// See [`JobState::Delayed`].
    pub delayed: u64,
    /// See [`JobState::Waiting`].
    pub waiting: u64,
    /// See [`JobState::Paused`].
    pub paused: u64,
    /// See [`JobState::Prioritized`].
    pub prioritized: u64,
    /// See [`JobState::Active`].
    pub active: u64,
    /// See [`JobState::Failed`].
    pub failed: u64,
    /// See [`JobState::Completed`].
    pub completed: u64,
}

impl JobCounts {
    /// Returns the number of jobs in this state; 0 for `Unknown`.
    #[must_use]
    pub fn get(&self, state: JobState) -> u64 {
        let mut counts = *self;
        counts.slot(state).map_or(0, |count| *count)
    }

    /// Returns how many jobs were counted in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        JobState::ALL.iter().map(|state| self.get(*state)).sum()
    }

    pub(crate) fn set(&mut self, state: JobState, count: u64) {
        if let Some(slot) = self.slot(state) {
            *slot = count;
        }
    }

    fn slot(&mut self, state: JobState) -> Option<&mut u64> {
        Some(match state {
            JobState::WaitingChildren => &mut self.waiting_children,
            JobState::Delayed => &mut self.delayed,
            JobState::Waiting => &mut self.waiting,
            JobState::Paused => &mut self.paused,
            JobState::Prioritized => &mut self.prioritized,
            JobState::Active => &mut self.active,
            JobState::Failed => &mut self.failed,
            JobState::Completed => &mut self.completed,
            JobState::Unknown => return None,
        })
    }
}

/// The order in which jobs or lines are read. BullMQ: `asc`.
///
/// ```no_run
/// # async fn f(queue: oxmq::Queue) -> oxmq::Result<()> {
/// use oxmq::queue::Order;
/// use oxmq::JobState;
///
/// let newest = queue.get_jobs(&[JobState::Completed], 0, 9, Order::Descending).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[doc(alias = "asc")]
pub enum Order {
    /// What comes next is first: the next to run, the earliest due, the first finished, the oldest line. The default.
    #[default]
    Ascending,
    /// The reverse order: the newest first.
    Descending,
}

impl Order {
    pub(crate) fn is_ascending(self) -> bool {
        self == Self::Ascending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for state in JobState::ALL.into_iter().chain([JobState::Unknown]) {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("wait".parse(), Ok(JobState::Waiting));
        assert!("waiting_children".parse::<JobState>().is_err());
        assert_eq!(JobState::Waiting.suffix(), Some("wait"));
    }

    #[test]
    fn counts_add_up() {
        let mut counts = JobCounts::default();
        for (count, state) in (1..).zip(JobState::ALL) {
            counts.set(state, count);
            assert_eq!(counts.get(state), count);
        }
        assert_eq!(counts.total(), 36);
    }
}
