//! Adding trees of jobs: the arguments and the reply of `lua/add_flow.lua`.

use redis::Value;

use super::add_jobs::{Addition, Placed, answer};
use super::{Args, Call, Resend, Script, reply, script};
use crate::error::Reason;
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script = script!(
    "add_flow", Produces,
    uses: ["codes", "outcomes", "queue", own "fresh", "settings", "wake", "homes"],
    on_demand: [
        "number", "is_job", "is_taken", "announce", "delay", "prioritize", "ready", "job_key", "release", "delete", "attach", "dedup",
        "read_linked", "store",
    ],
    giving: [
        priority_score, delayed_score, due_time, is_job, is_taken, read_linked, is_recorded, attach, deduplicate, store_job,
        split_key, check_waiting_children, release_if_free,
    ],
    then: ["placing"],
);

/// The jobs of one call, level by level; the number beside each is the position of its queue in `homes`.
pub(crate) struct Flow {
    pub(crate) now: u64,
    pub(crate) homes: Vec<QueueKeys>,
    pub(crate) jobs: Vec<(usize, Addition)>,
}

impl Flow {
    /// Returns how many bytes the call carries.
    pub(crate) fn size(&self) -> usize {
        self.jobs.iter().map(|(_, job)| job.size()).sum()
    }

    fn args(&self) -> Args {
        let mut args = Args::with_capacity(2 + self.homes.len() + self.jobs.len() * 9, self.size());
        args.number(self.now).number(self.homes.len());
        for home in &self.homes {
            args.text(home.base());
        }
        for run in self.jobs.chunk_by(are_siblings) {
            let (home, first) = &run[0];
            let (key, json) = first.parent.as_ref().map_or(("", ""), |parent| (&*parent.key, &*parent.json));
            args.number(home + 1).number(run.len()).text(key).text(json);
            for (_, job) in run {
                job.write_below(None, &mut args);
            }
        }
        args
    }
}

/// Returns whether two jobs are in the same queue and have the same link to the same parent.
fn are_siblings((home, job): &(usize, Addition), (other_home, other): &(usize, Addition)) -> bool {
    home == other_home && job.parent == other.parent
}

/// The outcomes of jobs that were not simply created, with their positions.
pub(crate) type Exceptions = Vec<(usize, Result<Placed, Reason>)>;

/// What became of a flow that was stored.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) exceptions: Exceptions,
    /// The positions of the `homes` that had no version or no cap of the event stream, as after a loss of
    /// all data.
    pub(crate) lacked_settings: Vec<usize>,
}

/// Stores a flow as a whole, or not at all.
pub(crate) fn add_flow(flow: &Flow) -> Call<Stored> {
    Call::with(&SCRIPT, flow.args()).resend(Resend::Never).read_each(flow.jobs.len(), stored)
}

fn stored(value: Value, count: usize) -> Option<Stored> {
    let mut items = reply::array(value)?.into_iter();
    let mut stored = Stored::default();
    while let Some(position) = items.next() {
        let position = reply::int(position)?;
        let at = usize::try_from(position.unsigned_abs()).ok()?.checked_sub(1)?;
        if position < 0 {
            stored.lacked_settings.push(at);
        } else {
            stored.exceptions.push((Some(at).filter(|at| *at < count)?, answer(items.next()?, &mut items)?));
        }
    }
    Some(stored)
}
