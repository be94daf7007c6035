//! Adding trees of jobs: the arguments of `lua/add_flow.lua`, which answers as `add_jobs` does.

use redis::Value;

use super::add_jobs::{NewJob, Placed, placed};
use super::{Args, Call, Repeat, Script, reply, script};
use crate::error::Reason;
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

    fn args(&self) -> Args {
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

/// Stores a flow whole or not at all; one answer for each job, in order.
pub(crate) fn add_flow(flow: &Flow) -> Call<Vec<Result<Placed, Reason>>> {
    Call::with(&SCRIPT, flow.args()).repeat(Repeat::Never).read_each(flow.jobs.len(), placed)
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
pub(crate) fn trace_flow(id: &str, elapsed_ms: u64) -> Call<Trace> {
    Call::to(&TRACE).text(id).number(elapsed_ms).number(TRACED_EVENTS).repeat(Repeat::Safe).read(trace)
}

fn trace(value: Value) -> Option<Trace> {
    match reply::int(value)? {
        1 => Some(Trace::Stored),
        0 => Some(Trace::NotStored),
        2 => Some(Trace::Unknown),
        _ => None,
    }
}

/// When a job that may be of a flow was made, and the key of its parent; nothing where there is none.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(crate) timestamp: Option<Vec<u8>>,
    pub(crate) parent: Option<Vec<u8>>,
}

pub(crate) fn read_origin(home: &QueueKeys, id: &str) -> Call<Origin> {
    let call = Call::command("add_flow", "HMGET").text(home.job(id)).text("timestamp").text("parentKey");
    call.repeat(Repeat::Safe).read(|value| {
        let [timestamp, parent] = reply::tuple(value)?;
        Some(Origin { timestamp: reply::bytes(timestamp), parent: reply::bytes(parent) })
    })
}
