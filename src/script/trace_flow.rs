//! What became of a flow whose reply was lost: `lua/trace_flow.lua`.

use redis::Value;

use super::{Call, Repeat, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("trace_flow", Consumes, uses: ["queue"]);

/// What became of a flow whose reply was lost, as far as the server can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    Stored,
    /// It was not carried out, or not yet.
    NotStored,
    /// The events of that time are gone, and so is the job.
    Unknown,
}

/// How many events a trace looks through.
const TRACED_EVENTS: u32 = 2_000;

/// `id` is one that nobody else can have chosen, `elapsed_ms` the time since the flow was sent first.
pub(crate) fn trace_flow(id: &str, elapsed_ms: u64) -> Call<Trace> {
    Call::to(&SCRIPT).text(id).number(elapsed_ms).number(TRACED_EVENTS).repeat(Repeat::Safe).read(trace)
}

fn trace(value: Value) -> Option<Trace> {
    match reply::int(value)? {
        1 => Some(Trace::Stored),
        0 => Some(Trace::NotStored),
        2 => Some(Trace::Unknown),
        _ => None,
    }
}
