//! Reads a job together with its state: `lua/get_status.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::state::JobState;
use crate::wire::job::Pair;

pub(crate) static SCRIPT: Script = script!("get_status", Produces, uses: ["queue", "state_of"]);

/// Returns the state and the fields; `None` if there is no such job.
pub(crate) fn get_status(id: &str) -> Call<Option<(JobState, Vec<Pair>)>> {
    Call::to(&SCRIPT).text(id).resend(Resend::Reads).read(status)
}

fn status(value: Value) -> Option<Option<(JobState, Vec<Pair>)>> {
    let items = reply::array(value)?;
    if items.is_empty() {
        return Some(None);
    }
    let [state, fields] = <[Value; 2]>::try_from(items).ok()?;
    Some(Some((reply::string(state)?.parse().ok()?, reply::pairs(fields)?)))
}
