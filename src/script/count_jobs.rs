//! How many jobs there are in states: `lua/count_jobs.lua`.

use super::{Call, Repeat, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("count_jobs", Produces, uses: ["queue", "states", "legacy"]);

/// One number for each of these structures, in order.
pub(crate) fn count_jobs(structures: &[&str]) -> Call<Vec<u64>> {
    Call::to(&SCRIPT).texts(structures).repeat(Repeat::Reads).read(reply::counts)
}
