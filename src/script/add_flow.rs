//! Adding trees of jobs: the arguments of `lua/add_flow.lua`, which answers as `add_jobs` does.

use redis::Value;

use super::add_jobs::NewJob;
use super::{Args, Script, script};
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script = script!(
    "add_flow", Produces,
    uses: ["codes", "outcomes", "queue", "settings", "wake", "homes"],
    on_demand: [
        "number", "is_job", "is_taken", "announce", "delay", "prioritize", "ready", "release", "delete", "attach", "dedup",
        "read_linked", "store",
    ],
    giving: [
        priority_score, delayed_score, due_time, is_job, is_taken, is_of, read_linked, attach, deduplicate, store_job, split_key,
        check_waiting_children, release_if_free,
    ],
    then: ["placing"],
);

/// The jobs of one call, level by level; each names its queue by the position in `homes`.
pub(crate) struct Flow {
    pub(crate) now: u64,
    pub(crate) homes: Vec<QueueKeys>,
    pub(crate) jobs: Vec<(usize, NewJob)>,
}

impl Flow {
    /// Bytes that the call carries.
    pub(crate) fn size(&self) -> usize {
        self.jobs.iter().map(|(_, job)| job.size()).sum()
    }

    pub(crate) fn args(&self) -> Args {
        let mut args = Args::with_capacity(2 + self.homes.len() + self.jobs.len() * 11, self.size());
        args.number(self.now).number(self.homes.len());
        for home in &self.homes {
            args.text(home.base());
        }
        for (home, job) in &self.jobs {
            args.number(home + 1);
            job.write(&mut args);
        }
        args
    }
}

/// What became of a flow whose reply was lost, as far as the server can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    Stored,
    /// It was not carried out, or not yet.
    NotStored,
    /// The events of that time are gone, and so is the job.
    Unknown,
}

pub(crate) static TRACE: Script = script!("trace_flow", Consumes, uses: ["queue"]);

/// How many events a trace looks through.
const TRACED_EVENTS: u32 = 2_000;

/// `id` is one that nobody else can have chosen, `elapsed_ms` the time since the flow was sent first.
pub(crate) fn trace_args(id: &str, elapsed_ms: u64) -> Args {
    let mut args = Args::default();
    args.text(id).number(elapsed_ms).number(TRACED_EVENTS);
    args
}

pub(crate) fn trace_reply(value: &Value) -> Option<Trace> {
    match value {
        Value::Int(1) => Some(Trace::Stored),
        Value::Int(0) => Some(Trace::NotStored),
        Value::Int(2) => Some(Trace::Unknown),
        _ => None,
    }
}
