//! Finds out which outcomes were applied, after a reply was lost: `lua/trace_outcomes.lua`.

use std::borrow::Borrow;

use redis::Value;

use super::reply::array;
use super::settle::{End, Outcome};
use super::{Args, Call, Resend, Script, script};

pub(crate) static SCRIPT: Script = script!("trace_outcomes", Consumes, uses: ["codes", "queue"]);

/// What a trace tells about one outcome whose reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traced {
    NotApplied,
    Applied,
    LockLost,
    /// The job does not exist any more. This attempt removed it as it finished it; or, if its lock was lost, another
    /// attempt did.
    Gone,
}

/// Finds out which outcomes were applied; one answer for each.
pub(crate) fn trace_outcomes(outcomes: &[impl Borrow<Outcome>]) -> Call<Vec<Traced>> {
    let mut args = Args::with_capacity(outcomes.len() * 4, outcomes.len() * 96);
    for outcome in outcomes.iter().map(Borrow::borrow) {
        args.text(&outcome.id).text(outcome.token.as_ref()).number(outcome.start);
        args.text(match outcome.end {
            End::Completed { .. } => "completed",
            End::Failed { .. } => "failed",
            End::Retry { .. } | End::Delayed { .. } | End::Waiting | End::Children { .. } => "",
        });
    }
    Call::with(&SCRIPT, args).resend(Resend::Reads).read_each(outcomes.len(), traced)
}

fn traced(value: Value, outcomes: usize) -> Option<Vec<Traced>> {
    let traced = array(value)?.into_iter().map(|code| match code {
        Value::Int(0) => Some(Traced::NotApplied),
        Value::Int(1) => Some(Traced::Applied),
        Value::Int(2) => Some(Traced::LockLost),
        Value::Int(3) => Some(Traced::Gone),
        _ => None,
    });
    traced.collect::<Option<Vec<_>>>().filter(|traced| traced.len() == outcomes)
}
