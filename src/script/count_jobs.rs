//! Counts the jobs of states: `lua/count_jobs.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("count_jobs", Produces, uses: ["queue", "states", "legacy"]);

/// Counts the ids in each of these lists and sets, in order.
pub(crate) fn count_jobs(structures: &[&str]) -> Call<Vec<u64>> {
    Call::to(&SCRIPT).texts(structures).resend(Resend::Reads).read(reply::counts)
}
