//! Who may see and do what, and who hears of it.

use std::fmt;
use std::sync::Arc;

use axum::http::request::Parts;

use super::redact::Redact;

/// What somebody wants.
///
/// ```no_run
/// # fn demo(client: oxmq::Client) {
/// use oxmq::dashboard::{Action, Dashboard, Permission};
///
/// // Everybody who reaches the pages sees all queues, and may retry; nobody does anything else.
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
    /// To do something in a queue that may be seen.
    Act {
        /// The queue's name.
        queue: &'a str,
        /// What.
        action: Action,
    },
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What can be done in a queue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the action in a word, as logs and forms have it.
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
    /// To let failed or completed jobs run again.
    Retry = "retry",
    /// To let delayed jobs run now.
    Promote = "promote",
    /// To remove jobs.
    Remove = "remove",
    /// To cancel a job that waits or runs.
    Cancel = "cancel",
    /// To change the priority of a job.
    ChangePriority = "change-priority",
    /// To change when a delayed job is due.
    ChangeDelay = "change-delay",
    /// To change the data of a job.
    ChangeData = "change-data",
    /// To add a job.
    Add = "add",
    /// To remove many jobs of a state.
    Clean = "clean",
    /// To remove all jobs that wait.
    Drain = "drain",
    /// To delete the queue with everything in it.
    Obliterate = "obliterate",
    /// To pause the queue.
    Pause = "pause",
    /// To resume the queue.
    Resume = "resume",
    /// To set or end the global concurrency, or the global rate limit.
    Limit = "limit",
    /// To let a job scheduler run now.
    RunScheduler = "run-scheduler",
    /// To change when a job scheduler runs.
    ChangeScheduler = "change-scheduler",
    /// To remove a job scheduler.
    RemoveScheduler = "remove-scheduler",
    /// To mend what the doctor has found.
    Mend = "mend",
    /// To let the doctor examine queues, and to stop that. Whoever sees them may; it is told to the audit alone.
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

/// An action that somebody has taken, or tried to.
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
    /// Who, as [`Dashboard::actor`](super::Dashboard::actor) says.
    pub actor: Option<String>,
    /// In which queue; `*` stands for several.
    pub queue: String,
    /// What.
    pub action: Action,
    /// With what: the ids of jobs or of a scheduler, or the filter of many, in words.
    pub target: String,
    /// What came of it, in words.
    pub outcome: String,
    /// Whether it was done; false if it was not permitted, or failed.
    pub done: bool,
}

pub(super) type May = dyn Fn(&Parts, &Permission<'_>) -> bool + Send + Sync;
pub(super) type Actor = dyn Fn(&Parts) -> Option<String> + Send + Sync;
pub(super) type Hear = dyn Fn(&Audit) + Send + Sync;

/// What the user's app decides.
pub(super) struct Hooks {
    pub(super) may: Arc<May>,
    pub(super) actor: Arc<Actor>,
    pub(super) audit: Arc<Hear>,
    pub(super) redact: Option<Arc<Redact>>,
    pub(super) show_secrets: bool,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            may: Arc::new(|_, wanted| matches!(wanted, Permission::See { .. })),
            actor: Arc::new(|_| None),
            audit: Arc::new(|_| {}),
            redact: None,
            show_secrets: false,
        }
    }
}

impl Hooks {
    /// Tells the log and the hook.
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
