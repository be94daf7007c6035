//! Counts the children of a job: `lua/count_children.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("count_children", Produces, uses: ["queue"]);

/// How many children a job has, by their outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChildCounts {
    /// Children that have not finished.
    pub unprocessed: u64,
    /// Children that failed, and fail the parent.
    pub failed: u64,
    /// Children that failed, whose failure the parent ignores.
    pub ignored: u64,
    /// Children that completed.
    pub processed: u64,
}

pub(crate) fn count_children(id: &str) -> Call<ChildCounts> {
    Call::to(&SCRIPT).text(id).resend(Resend::Reads).read(counts)
}

fn counts(value: Value) -> Option<ChildCounts> {
    let [processed, unprocessed, ignored, failed] = reply::counts(value)?.try_into().ok()?;
    Some(ChildCounts { unprocessed, failed, ignored, processed })
}
