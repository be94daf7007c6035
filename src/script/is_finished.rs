//! Whether a job has finished: `lua/is_finished.lua`.

use redis::Value;

use super::{Call, Repeat, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("is_finished", Produces, uses: ["codes", "queue", "is_job"]);

/// Whether a job has run to its end, and what came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finished {
    /// There is no such job.
    Missing,
    NotYet,
    /// JSON; `None` if nothing was stored.
    Completed(Option<String>),
    /// The stored reason.
    Failed(Option<String>),
}

pub(crate) fn is_finished(id: &str) -> Call<Finished> {
    Call::to(&SCRIPT).text(id).repeat(Repeat::Reads).read(finished)
}

fn finished(value: Value) -> Option<Finished> {
    let mut items = reply::array(value)?.into_iter();
    let status = reply::int(items.next()?)?;
    let held = items.next().and_then(reply::text);
    match status {
        0 => Some(Finished::NotYet),
        1 => Some(Finished::Completed(held)),
        2 => Some(Finished::Failed(held)),
        code => (Reason::from_code(code) == Err(Reason::MissingJob)).then_some(Finished::Missing),
    }
}
