//! Returns whether jobs exist and are locked: `lua/probe_jobs.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("probe_jobs", Produces, uses: ["queue", "is_job"]);

/// Returns for each id whether a job exists, and whether it is locked.
pub(crate) fn probe_jobs(ids: &[String]) -> Call<Vec<(bool, bool)>> {
    Call::to(&SCRIPT).texts(ids).resend(Resend::Reads).read_each(ids.len(), |value, count| {
        let answers = reply::counts(value)?;
        (answers.len() == count).then(|| answers.into_iter().map(|n| (n & 1 != 0, n & 2 != 0)).collect())
    })
}
