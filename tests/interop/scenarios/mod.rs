//! The table of scenarios, by capability; each checks one rule of the protocol.
//!
//! Words for the steps are below. Jobs are named by their id, the token of whoever works is `t`, the queue is `q`
//! unless [`on`] says otherwise.

use serde_json::{Value as Json, json};

use super::ops::*;
use crate::common::node::BullMq;

pub use super::twin::{BEGIN, Scenario, Step, What};

pub mod add;
pub mod admin;
pub mod dedup;
pub mod delay;
pub mod flow;
pub mod limits;
pub mod process;
pub mod read;
pub mod relatives;
pub mod retention;
pub mod retry;
pub mod scheduler;
pub mod stalled;

/// A capability and its scenarios.
pub type Table = (&'static str, fn() -> Vec<Scenario>);

/// All scenarios by capability.
pub const TABLES: &[Table] = &[
    ("add", add::scenarios),
    ("admin", admin::scenarios),
    ("dedup", dedup::scenarios),
    ("delay", delay::scenarios),
    ("flow", flow::scenarios),
    ("relatives", relatives::scenarios),
    ("limits", limits::scenarios),
    ("process", process::scenarios),
    ("read", read::scenarios),
    ("retention", retention::scenarios),
    ("retry", retry::scenarios),
    ("scheduler", scheduler::scenarios),
    ("stalled", stalled::scenarios),
];

/// The scenarios in which oxmq has to do the same as a version of BullMQ.
pub fn for_oxmq(version: BullMq) -> Vec<Scenario> {
    let all = TABLES.iter().flat_map(|(_, scenarios)| scenarios());
    let like = |s: &Scenario| version == BullMq::V6 || s.differs_v5.is_none();
    all.filter(|s| s.differs_oxmq.is_none() && like(s)).collect()
}

/// A scenario that both versions of BullMQ play the same way.
pub fn scenario(name: &'static str, steps: impl Into<Vec<Step>>) -> Scenario {
    Scenario { name, steps: steps.into(), tick: 1, differs_v5: None, differs_oxmq: None }
}

impl Scenario {
    /// BullMQ 5 does something else, because of `why`.
    #[must_use]
    pub fn not_v5(mut self, why: &'static str) -> Self {
        self.differs_v5 = Some(why);
        self
    }

    /// oxmq does something else on purpose, because of `why`.
    #[must_use]
    pub fn not_oxmq(mut self, why: &'static str) -> Self {
        self.differs_oxmq = Some(why);
        self
    }

    /// No time passes by itself.
    #[must_use]
    pub fn frozen(mut self) -> Self {
        self.tick = 0;
        self
    }
}

/// An operation on queue `q`.
pub fn op(op: Op) -> Step {
    Step { queue: "q".into(), what: What::Op(op) }
}

/// A step on another queue.
pub fn on(queue: &str, mut step: Step) -> Step {
    queue.clone_into(&mut step.queue);
    step
}

/// Time passes.
pub fn wait(ms: i64) -> Step {
    Step { queue: "q".into(), what: What::Advance(ms) }
}

/// A Redis command, words divided by spaces; `{q}` is the queue's key prefix.
pub fn redis(command: &str) -> Step {
    let words = command.split(' ').map(str::to_owned).collect();
    Step { queue: "q".into(), what: What::Redis(words) }
}

/// The lock of a job expires.
pub fn lose_lock(job: &str) -> Step {
    redis(&format!("DEL {{q}}:{job}:lock"))
}

/// Somebody else holds the lock of a job.
pub fn steal_lock(job: &str) -> Step {
    redis(&format!("SET {{q}}:{job}:lock thief PX 60000"))
}

/// The next stalled check may run.
pub fn expire_check() -> Step {
    redis("DEL {q}:stalled-check")
}

/// A waiting worker takes the marker.
pub fn take_marker() -> Step {
    redis("ZPOPMIN {q}:marker")
}

/// The window of the rate limiter ends.
pub fn expire_limiter() -> Step {
    redis("DEL {q}:limiter")
}

fn new_job(id: Option<&str>) -> NewJob {
    NewJob {
        name: "work".into(),
        data: json!({ "for": id.unwrap_or("anyone") }),
        opts: JobOpts { job_id: id.map(str::to_owned), ..JobOpts::default() },
    }
}

/// Adds a job with an id; options follow as methods of [`Step`].
pub fn add(id: &str) -> Step {
    op(Op::Add { job: new_job(Some(id)) })
}

/// Adds a job that gets a number.
pub fn add_numbered() -> Step {
    op(Op::Add { job: new_job(None) })
}

/// Adds the jobs of several [`add`] steps in one call.
pub fn add_bulk(adds: impl IntoIterator<Item = Step>) -> Step {
    let jobs = adds.into_iter().map(|step| match step.what {
        What::Op(Op::Add { job }) => job,
        other => panic!("not an add: {other:?}"),
    });
    op(Op::AddBulk { jobs: jobs.collect() })
}

impl Step {
    /// The options of the job that this step adds.
    ///
    /// # Panics
    ///
    /// If it adds none.
    pub fn opts(mut self, change: impl FnOnce(&mut JobOpts)) -> Self {
        match &mut self.what {
            What::Op(Op::Add { job }) => change(&mut job.opts),
            other => panic!("not an add: {other:?}"),
        }
        self
    }

    fn job(mut self, change: impl FnOnce(&mut NewJob)) -> Self {
        match &mut self.what {
            What::Op(Op::Add { job }) => change(job),
            other => panic!("not an add: {other:?}"),
        }
        self
    }

    /// With this data.
    pub fn data(self, data: Json) -> Self {
        self.job(|job| job.data = data)
    }

    /// With this name.
    pub fn named(self, name: &str) -> Self {
        self.job(|job| name.clone_into(&mut job.name))
    }

    /// With this delay, ms.
    pub fn delay(self, ms: i64) -> Self {
        self.opts(|o| o.delay = Some(ms))
    }

    /// With this priority.
    pub fn priority(self, priority: i64) -> Self {
        self.opts(|o| o.priority = Some(priority))
    }

    /// Next to run.
    pub fn lifo(self) -> Self {
        self.opts(|o| o.lifo = Some(true))
    }

    /// With so many attempts.
    pub fn attempts(self, n: u32) -> Self {
        self.opts(|o| o.attempts = Some(n))
    }

    /// With a backoff of this kind and delay.
    pub fn backoff(self, kind: &str, delay: u64) -> Self {
        self.opts(|o| {
            o.backoff = Some(Backoff { kind: kind.into(), delay: Some(delay), jitter: None });
        })
    }

    /// With a deduplication id and more.
    pub fn dedup(self, id: &str, more: impl FnOnce(&mut Deduplication)) -> Self {
        let mut deduplication = Deduplication { id: id.into(), ..Deduplication::default() };
        more(&mut deduplication);
        self.opts(|o| o.deduplication = Some(deduplication))
    }

    /// As the child of a job of the queue `q`.
    pub fn parent(self, id: &str) -> Self {
        self.opts(|o| o.parent = Some(Parent { id: id.into(), queue: "{p}:q".into() }))
    }

    /// With another token, and asking for a next job.
    pub fn and_fetch(mut self) -> Self {
        match &mut self.what {
            What::Op(Op::MoveToCompleted { fetch_next, .. } | Op::MoveToFailed { fetch_next, .. }) => {
                *fetch_next = true
            }
            other => panic!("no finish: {other:?}"),
        }
        self
    }

    /// With another token.
    pub fn token(mut self, other: &str) -> Self {
        match &mut self.what {
            What::Op(
                Op::GetNextJob { token }
                | Op::MoveToCompleted { token, .. }
                | Op::MoveToFailed { token, .. }
                | Op::MoveToDelayed { token, .. }
                | Op::MoveToWait { token, .. }
                | Op::MoveToWaitingChildren { token, .. }
                | Op::ExtendLock { token, .. },
            ) => other.clone_into(token),
            what => panic!("no token: {what:?}"),
        }
        self
    }

    /// The failure is final.
    pub fn unrecoverable(mut self) -> Self {
        match &mut self.what {
            What::Op(Op::MoveToFailed { kind, .. }) => *kind = FailKind::Unrecoverable,
            other => panic!("no failure: {other:?}"),
        }
        self
    }
}

fn t() -> String {
    "t".into()
}

/// Takes a job.
pub fn fetch() -> Step {
    op(Op::GetNextJob { token: t() })
}

/// Completes a job.
pub fn complete(job: &str) -> Step {
    op(Op::MoveToCompleted { job: job.into(), token: t(), value: json!({ "done": job }), fetch_next: false })
}

/// Completes a job with a value.
pub fn complete_with(job: &str, value: Json) -> Step {
    op(Op::MoveToCompleted { job: job.into(), token: t(), value, fetch_next: false })
}

/// Fails an attempt at a job.
pub fn fail(job: &str) -> Step {
    let message = format!("{job} broke");
    op(Op::MoveToFailed { job: job.into(), token: t(), message, kind: FailKind::Error, fetch_next: false })
}

/// Takes `n` jobs in turn.
pub fn fetches(n: usize) -> Vec<Step> {
    vec![fetch(); n]
}

/// Sets the options of the worker.
pub fn worker(change: impl FnOnce(&mut WorkerOpts)) -> Step {
    let mut opts = WorkerOpts::default();
    change(&mut opts);
    op(Op::SetWorker { opts })
}

/// Reads a job.
pub fn get(job: &str) -> Step {
    op(Op::GetJob { job: job.into() })
}

/// Reads the state of a job.
pub fn state(job: &str) -> Step {
    op(Op::GetState { job: job.into() })
}

/// Counts all.
pub fn counts() -> Step {
    let states = ["active", "completed", "delayed", "failed", "prioritized", "wait", "waiting-children"];
    op(Op::GetJobCounts { states: states.map(str::to_owned).to_vec() })
}

/// A node of a flow in queue `q`.
pub fn node(id: &str, children: impl Into<Vec<FlowNode>>) -> FlowNode {
    FlowNode {
        name: "node".into(),
        queue_name: "q".into(),
        data: json!({ "node": id }),
        opts: JobOpts { job_id: Some(id.into()), ..JobOpts::default() },
        children: children.into(),
    }
}

impl FlowNode {
    /// With options.
    #[must_use]
    pub fn opts(mut self, change: impl FnOnce(&mut JobOpts)) -> Self {
        change(&mut self.opts);
        self
    }

    /// In another queue.
    #[must_use]
    pub fn queue(mut self, name: &str) -> Self {
        name.clone_into(&mut self.queue_name);
        self
    }
}

/// Adds a flow.
pub fn flow(root: FlowNode) -> Step {
    op(Op::FlowAdd { flow: root })
}
