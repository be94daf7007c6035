//! Adding trees of jobs: the arguments of `lua/add_flow.lua`, which answers as `add_jobs` does.

use super::add_jobs::{NewJob, Placed, placed};
use super::{Args, Call, Repeat, Script, script};
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
        priority_score, delayed_score, due_time, is_job, is_taken, is_of, read_linked, is_recorded, attach, deduplicate, store_job,
        split_key, check_waiting_children, release_if_free,
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
