//! What is done to jobs: an action, with what its form says about it.

use std::time::SystemTime;

use super::submitted::{Due, due};
use crate::dashboard::access::Action;
use crate::dashboard::format::moment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, given};
use crate::options::{check_delay, check_priority};
use crate::state::JobState;

/// What is done to one job, or to each of several.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    /// Changes the priority.
    Priority {
        priority: u32,
        /// Whether the job comes before the others of its priority.
        is_first: bool,
    },
    /// Changes when a delayed job is due.
    Delay(Due),
    /// An action that needs only the job.
    Plain(Action),
}

impl Deed {
    /// Reads from a form what is to be done, and refuses values that no job can have.
    pub(super) fn read(action: Action, params: &Params, now: SystemTime) -> Result<Self, Problem> {
        Ok(match action {
            Action::ChangePriority => {
                let priority = given(params, "priority").and_then(|text| text.trim().parse().ok());
                let priority = priority.ok_or_else(|| Problem::no_form("The priority must be a number."))?;
                check_priority(priority)?;
                Self::Priority { priority, is_first: given(params, "lifo").is_some() }
            }
            Action::ChangeDelay => {
                let due = due(given(params, "delay").unwrap_or_default())?;
                check_delay(due.delay(now))?;
                Self::Delay(due)
            }
            action => Self::Plain(action),
        })
    }

    /// Returns whether it applies to jobs of a state.
    pub(super) fn fits(self, state: JobState) -> bool {
        match self {
            Self::Delay(_) | Self::Plain(Action::Promote) => state == JobState::Delayed,
            Self::Priority { .. } | Self::Plain(Action::Cancel) => !state.is_finished(),
            Self::Plain(Action::Retry) => state.is_finished(),
            Self::Plain(action) => action == Action::Clean,
        }
    }

    /// Returns whether a job that it is done to may be met once more by a search that goes on.
    pub(super) fn replaces(self) -> bool {
        !matches!(self, Self::Plain(Action::Retry | Action::Promote | Action::Remove | Action::Clean))
    }

    /// Says what has become of the jobs.
    pub(super) fn outcome(self, now: SystemTime) -> String {
        match self {
            Self::Priority { priority, .. } => format!("priority {priority}"),
            Self::Delay(due) => format!("due in {}", moment::span(due.delay(now))),
            Self::Plain(Action::Retry) => "run again".to_owned(),
            Self::Plain(Action::Promote) => "run now".to_owned(),
            Self::Plain(Action::Cancel) => "cancelled".to_owned(),
            Self::Plain(_) => "removed".to_owned(),
        }
    }

    /// Says what is being done to these jobs.
    pub(super) fn title(self, jobs: &str, now: SystemTime) -> String {
        match self {
            Self::Priority { priority, .. } => format!("Change the priority of {jobs} to {priority}"),
            Self::Delay(due) => format!("Change the delay of {jobs} to {}", moment::span(due.delay(now))),
            Self::Plain(action) => {
                let verb = action.as_str();
                format!("{}{} {jobs}", verb[..1].to_uppercase(), &verb[1..])
            }
        }
    }
}
