//! Permissions and actions, and the audit of actions.

use std::fmt;
use std::sync::Arc;

use axum::http::request::Parts;

use super::redaction::Redaction;

/// What a visitor wants to do.
///
/// ```no_run
/// # fn demo(client: oxmq::Client) {
/// use oxmq::dashboard::{Action, Dashboard, Permission};
///
/// // Everybody who can reach the pages sees all queues, and may retry; nothing else is allowed.
/// let dashboard = Dashboard::new(client).authorize(|_, wanted| match wanted {
///     Permission::See { .. } => true,
///     Permission::Act { action, .. } => *action == Action::Retry,
///     _ => false,
/// });
/// # drop(dashboard); }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Permission<'a> {
    /// To see a queue, its jobs and its events. Queues that may not be seen are not even named.
    See {
        /// The queue's name.
        queue: &'a str,
    },
    /// To act on a queue that may be seen.
    Act {
        /// The queue's name.
        queue: &'a str,
        /// The action.
        action: Action,
    },
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The actions on a queue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the action as a word, as it is in logs and forms.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

actions! {
    /// To make failed or completed jobs run again.
    Retry = "retry",
    /// To make delayed jobs run now.
    Promote = "promote",
    /// To remove a job with its children, or some that were chosen.
    Remove = "remove",
    /// To cancel a job that is waiting or running.
    Cancel = "cancel",
    /// To change the priority of jobs.
    ChangePriority = "change-priority",
    /// To change when delayed jobs are due.
    ChangeDelay = "change-delay",
    /// To change the data of a job.
    ChangeData = "change-data",
    /// To remove the children that a job waits for, where this is permitted in their queues too.
    RemoveChildren = "remove-children",
    /// To add a job.
    Add = "add",
    /// To remove all jobs of a state, or all of them that match a filter.
    Clean = "clean",
    /// To remove all waiting jobs.
    Drain = "drain",
    /// To delete the queue and everything in it.
    Obliterate = "obliterate",
    /// To pause the queue.
    Pause = "pause",
    /// To resume the queue.
    Resume = "resume",
    /// To set or remove the global concurrency, or the global rate limit.
    Limit = "limit",
    /// To make a job scheduler run now.
    RunScheduler = "run-scheduler",
    /// To change when a job scheduler runs.
    ChangeScheduler = "change-scheduler",
    /// To remove a job scheduler.
    RemoveScheduler = "remove-scheduler",
    /// To mend what the doctor has found.
    Mend = "mend",
    /// To let the doctor examine queues, or to stop it. Whoever sees the queues may; it is only audited.
    Examine = "examine",
}

impl Action {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An action that a visitor has taken, or tried to.
///
/// ```no_run
/// # fn demo(client: oxmq::Client) {
/// use oxmq::dashboard::Dashboard;
///
/// let dashboard = Dashboard::new(client).audit(|audit| {
///     let who = audit.actor.as_deref().unwrap_or("somebody");
///     println!("{who}: {} {} in {}: {}", audit.action, audit.target, audit.queue, audit.outcome);
/// });
/// # drop(dashboard); }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// The visitor, as [`Dashboard::actor`](super::Dashboard::actor) names them.
    pub actor: Option<String>,
    /// The queue; `*` stands for several.
    pub queue: String,
    /// The action.
    pub action: Action,
    /// The ids of the jobs or the scheduler, or the filter in words.
    pub target: String,
    /// The outcome, in words.
    pub outcome: String,
    /// Whether it was done; false if it was not permitted, or failed.
    pub done: bool,
}

pub(super) type May = dyn Fn(&Parts, &Permission<'_>) -> bool + Send + Sync;
pub(super) type Actor = dyn Fn(&Parts) -> Option<String> + Send + Sync;
pub(super) type Hear = dyn Fn(&Audit) + Send + Sync;

/// The hooks of the user's app.
pub(super) struct Hooks {
    pub(super) may: Arc<May>,
    pub(super) actor: Arc<Actor>,
    pub(super) audit: Arc<Hear>,
    pub(super) redaction: Redaction,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            may: Arc::new(|_, wanted| matches!(wanted, Permission::See { .. })),
            actor: Arc::new(|_| None),
            audit: Arc::new(|_| {}),
            redaction: Redaction::default(),
        }
    }
}

impl Hooks {
    /// Writes the log and calls the hook.
    pub(super) fn told(&self, audit: &Audit) {
        let Audit { actor, queue, action, target, outcome, done } = audit;
        tracing::info!(
            target: "oxmq::dashboard",
            actor = actor.as_deref().unwrap_or("-"),
            queue,
            %action,
            jobs = target,
            outcome,
            done,
            "dashboard action"
        );
        (self.audit)(audit);
    }
}
