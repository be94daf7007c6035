//! Finds out whether a flow was stored, after its reply was lost: `lua/trace_flow.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("trace_flow", Consumes, uses: ["queue"]);

/// What the server can tell about a flow whose reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowTrace {
    Stored,
    /// It was not stored, or not yet.
    NotStored,
    /// The job does not exist, and the events of that time are gone.
    Unknown,
}

/// How many events a trace searches.
const TRACED_EVENTS: u32 = 2_000;

/// Finds out whether a flow was stored. `id` is a job of it that no other caller can have created, `elapsed_ms` the
/// time since the flow was first sent.
pub(crate) fn trace_flow(id: &str, elapsed_ms: u64) -> Call<FlowTrace> {
    Call::to(&SCRIPT).text(id).number(elapsed_ms).number(TRACED_EVENTS).resend(Resend::Safe).read(trace)
}

fn trace(value: Value) -> Option<FlowTrace> {
    match reply::int(value)? {
        1 => Some(FlowTrace::Stored),
        0 => Some(FlowTrace::NotStored),
        2 => Some(FlowTrace::Unknown),
        _ => None,
    }
}
