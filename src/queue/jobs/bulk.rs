//! Applies an action to all jobs that match a filter, in steps.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use self::run::BulkRun;
use super::Jobs;
use crate::engine::{Engine, JobsCursor};
use crate::error::{Error, Reason, Result};
use crate::job::{Cancellation, RetryOptions};
use crate::keys::QueueKeys;
use crate::options::{JobFilter, check_delay, check_priority};
use crate::queue::QueueCore;
use crate::state::JobState;

mod run;

/// How many refusals a report keeps.
const REFUSALS_KEPT: usize = 100;

/// The action.
#[derive(Debug, Clone)]
enum What {
    Retry(RetryOptions),
    Promote,
    Remove,
    Cancel { reason: Arc<str> },
    Move { target: String },
    ChangePriority(u32),
    ChangeDelay(Duration),
}

impl What {
    /// Returns whether a job of this state that it is done to may stand further on among those that are still to be looked at.
    fn replaces(&self, state: JobState) -> bool {
        match self {
            Self::ChangePriority(_) | Self::ChangeDelay(_) => true,
            // They are moved to the front of those that wait.
            Self::Cancel { .. } => matches!(state, JobState::Delayed | JobState::WaitingChildren),
            _ => false,
        }
    }

    fn op(&self) -> &'static str {
        match self {
            Self::Retry(_) => "retry",
            Self::Promote => "promote",
            Self::Remove => "remove_jobs",
            Self::Cancel { .. } => "cancel",
            Self::Move { .. } => "move_jobs",
            Self::ChangePriority(_) => "change_priority",
            Self::ChangeDelay(_) => "change_delay",
        }
    }

    /// Refuses states to whose jobs the action does not apply.
    fn check(&self, filter: &JobFilter) -> Result<()> {
        filter.check()?;
        use JobState::{Active, Completed, Delayed, Failed, WaitingChildren};
        let (fits, rule): (fn(JobState) -> bool, _) = match self {
            Self::Retry(_) => (JobState::is_finished, "only completed and failed jobs can be retried"),
            Self::Promote => (|state| state == Delayed, "only delayed jobs can be promoted"),
            Self::ChangeDelay(_) => (|state| state == Delayed, "only delayed jobs have a delay to change"),
            Self::Move { .. } => (
                |state| !matches!(state, Active | WaitingChildren),
                "jobs that run or wait for children cannot be moved",
            ),
            Self::ChangePriority(_) => {
                (|state| !matches!(state, Completed | Failed), "finished jobs have no place to change")
            }
            Self::Cancel { .. } => {
                (|state| !matches!(state, Completed | Failed), "finished jobs have nothing to be cancelled")
            }
            Self::Remove => return Ok(()),
        };
        if filter.states.iter().copied().all(fits) { Ok(()) } else { Err(Error::invalid("filter", rule)) }
    }

    /// Does it to one job, which was found in this state.
    async fn apply(&self, engine: &Engine, id: &str, state: JobState) -> Result<()> {
        match self {
            Self::Retry(options) => {
                let RetryOptions { reset_attempts_made, reset_attempts_started } = *options;
                engine.retry_job(id, state, reset_attempts_made, reset_attempts_started).await
            }
            Self::Promote => engine.promote(id).await,
            Self::ChangePriority(priority) => engine.change_priority(id, *priority, false).await,
            Self::ChangeDelay(delay) => engine.change_delay(id, *delay).await,
            Self::Cancel { reason } => match engine.cancel(id, reason).await? {
                Cancellation::Requested | Cancellation::Cancelled => Ok(()),
                Cancellation::AlreadyFinished => Err(Error::refused(self.op(), id, Reason::NotInState)),
                Cancellation::NotFound => Err(Error::refused(self.op(), id, Reason::MissingJob)),
            },
            // These find and act in one call.
            Self::Remove | Self::Move { .. } => Err(Error::refused(self.op(), id, Reason::NotInState)),
        }
    }
}

impl<D, R> Jobs<D, R> {
    /// Makes these failed or completed jobs ready again, placed by their priority. Awaiting it does so.
    ///
    /// The attempts made are kept: a job that had used them up gets one more. [`retry_with`](Self::retry_with) can
    /// change that. A job that fails again meanwhile is not retried twice.
    pub fn retry(self) -> BulkAction {
        self.retry_with(RetryOptions::default())
    }

    /// Does the same as [`retry`](Self::retry), with options.
    pub fn retry_with(self, options: RetryOptions) -> BulkAction {
        self.act(What::Retry(options))
    }

    /// Makes these delayed jobs ready now, placed by their priority. Awaiting it does so.
    pub fn promote(self) -> BulkAction {
        self.act(What::Promote)
    }

    /// Removes these jobs; their children stay. Awaiting it does so.
    ///
    /// They are found and removed in one atomic step, so no job is removed that has left its state. Jobs that a worker
    /// runs and the next runs of job schedulers stay. A parent in this queue is removed with its last child; a parent
    /// in another queue runs without it.
    ///
    /// BullMQ: `Queue.clean`, which has no filter.
    #[doc(alias = "clean")]
    pub fn remove(self) -> BulkAction {
        self.act(What::Remove)
    }

    /// Fails these jobs without another attempt, and asks the workers of those that run to stop, each as
    /// [`JobRef::cancel`](crate::JobRef::cancel) does. Awaiting it does so.
    ///
    /// A job that has begun to run since it was found is cancelled all the same; one that has finished is counted as moved
    /// on. An empty reason becomes `cancelled`.
    ///
    /// BullMQ: `Worker.cancelAllJobs`, which knows the running jobs of its own process only.
    #[doc(alias = "cancelAllJobs")]
    pub fn cancel(self, reason: impl Into<String>) -> BulkAction {
        let reason = reason.into();
        self.act(What::Cancel { reason: if reason.is_empty() { "cancelled".into() } else { reason.into() } })
    }

    /// Moves these jobs to another queue of the same prefix and server, with their data, options, attempts and logs.
    /// Awaiting it does so.
    ///
    /// Each job is moved in one atomic step. Its id stays if it was given one; if it was a number of the queue, it gets
    /// the next number of the other queue. Waiting jobs come before those that wait there, in their order. Jobs that
    /// are part of a flow stay, and so do the next runs of job schedulers, and jobs whose id is taken there. A
    /// deduplication ends. On a cluster both queues must share a hash tag.
    ///
    /// Not in BullMQ.
    pub fn move_to(self, queue: impl Into<String>) -> BulkAction {
        self.act(What::Move { target: queue.into() })
    }

    /// Changes the priority of these jobs, and puts each behind the others of that priority. Awaiting it does so.
    #[doc(alias = "changePriority")]
    pub fn change_priority(self, priority: u32) -> BulkAction {
        self.act(What::ChangePriority(priority))
    }

    /// Changes the delay of these delayed jobs to `delay` from now. Awaiting it does so.
    #[doc(alias = "changeDelay")]
    pub fn change_delay(self, delay: Duration) -> BulkAction {
        self.act(What::ChangeDelay(delay))
    }

    fn act(self, what: What) -> BulkAction {
        let core = Arc::clone(&self.queue.core);
        BulkAction { core, filter: self.filter, limit: self.limit, cursor: self.cursor, what, is_dry: false }
    }
}

/// An action for all jobs that match a filter. Await it, or [`start`](Self::start) it to go step by step.
///
/// # Errors
///
/// Awaiting it returns [`Error::InvalidOption`] if the filter, a priority or a delay breaks a rule, or the action does
/// not apply to jobs of a state; then nothing was done. After an error of the connection some jobs may be done; doing
/// it again does the rest.
///
/// # Example
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// use oxmq::JobState;
/// use oxmq::options::JobFilter;
///
/// let failed = queue.jobs(JobFilter::new([JobState::Failed]).name("receipt"));
/// let retried = failed.clone().retry().await?;
/// println!("{} run again", retried.done);
///
/// // The same step by step, to show how far it is; dropping the run stops it.
/// let mut run = failed.remove().start()?;
/// while let Some(step) = run.next().await? {
///     println!("{} looked at, {} removed", step.looked_at, run.report().done);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is done until it is awaited or started"]
pub struct BulkAction {
    core: Arc<QueueCore>,
    filter: JobFilter,
    limit: Option<u64>,
    cursor: Option<JobsCursor>,
    what: What,
    is_dry: bool,
}

impl BulkAction {
    /// Counts the jobs to which the action would apply, and does nothing to them. Default: false.
    pub fn dry_run(mut self, is_dry: bool) -> Self {
        self.is_dry = is_dry;
        self
    }

    /// Starts the action, to go step by step: to show progress, or to stop.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] as [above](Self).
    pub fn start(self) -> Result<BulkRun> {
        self.what.check(&self.filter)?;
        match &self.what {
            What::ChangePriority(priority) => check_priority(*priority)?,
            What::ChangeDelay(delay) => check_delay(*delay)?,
            _ => {}
        }
        let engine = self.core.engine();
        let mut target = None;
        if let What::Move { target: queue } = &self.what {
            let keys = QueueKeys::new(engine.keys.prefix(), queue)?;
            if keys == engine.keys {
                return Err(Error::invalid("queue", "jobs cannot be moved to the queue that they are in"));
            }
            self.core.engine().check_slot("queue", keys.base())?;
            target = Some(keys.base().to_owned());
        }
        let replaces = self.filter.states.iter().any(|&state| self.what.replaces(state));
        let mut scan = engine.scan(self.filter, None, self.cursor)?;
        if replaces && !self.is_dry {
            scan.look_at_all();
        }
        let limit = self.limit.unwrap_or(u64::MAX);
        Ok(BulkRun::new(self.core, scan, limit, self.what, target, self.is_dry))
    }
}

impl IntoFuture for BulkAction {
    type Output = Result<BulkReport>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut run = self.start()?;
            while run.next().await?.is_some() {}
            Ok(run.report().clone())
        })
    }
}

/// The outcome for one job.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum BulkOutcome {
    /// It was done; in a dry run, it would be.
    Done,
    /// The job was moved to the other queue, and has this id there.
    MovedAs(String),
    /// The job had left its state, is run by a worker, or does not exist any more. Nothing was changed.
    MovedOn,
    /// The action does not apply to this job. Nothing was changed.
    Refused(Reason),
    /// The reply was lost, so the outcome is unknown.
    Unknown,
}

/// The outcome of one step.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BulkStep {
    /// The jobs that were found, and the outcome for each; empty in a dry run.
    pub outcomes: Vec<(String, BulkOutcome)>,
    /// How many jobs have been looked at since the beginning.
    pub looked_at: u64,
}

impl From<Reason> for BulkOutcome {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NotInState | Reason::MissingJob => Self::MovedOn,
            other => Self::Refused(other),
        }
    }
}

/// The outcome so far; in a dry run, what would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BulkReport {
    /// How many jobs are done; in a dry run, how many would be.
    pub done: u64,
    /// How many had left their state before.
    pub moved_on: u64,
    /// How many the action did not apply to.
    pub refused: u64,
    /// How many have an unknown outcome, since the reply was lost.
    pub unknown: u64,
    /// The first hundred refused jobs, and why.
    pub refusals: Vec<(String, Reason)>,
}

impl BulkReport {
    fn note(&mut self, id: &str, outcome: &BulkOutcome) {
        match outcome {
            BulkOutcome::Done | BulkOutcome::MovedAs(_) => self.done += 1,
            BulkOutcome::MovedOn => self.moved_on += 1,
            BulkOutcome::Unknown => self.unknown += 1,
            BulkOutcome::Refused(reason) => {
                self.refused += 1;
                if self.refusals.len() < REFUSALS_KEPT {
                    self.refusals.push((id.to_owned(), *reason));
                }
            }
        }
    }
}
