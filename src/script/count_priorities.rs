//! Counts the ready jobs of priorities: `lua/count_priorities.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("count_priorities", Produces, uses: ["queue", "prioritize"]);

/// Counts the ready jobs of each of these priorities, in order.
pub(crate) fn count_priorities(priorities: &[u32]) -> Call<Vec<u64>> {
    let call = priorities.iter().fold(Call::to(&SCRIPT), |call, priority| call.number(*priority));
    call.resend(Resend::Reads).read(reply::counts)
}
