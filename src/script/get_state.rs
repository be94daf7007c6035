//! Reads the state of a job: `lua/get_state.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::state::JobState;

pub(crate) static SCRIPT: Script = script!("get_state", Produces, uses: ["queue", "state_of"]);

pub(crate) fn get_state(id: &str) -> Call<JobState> {
    Call::to(&SCRIPT).text(id).resend(Resend::Reads).read(|value| reply::string(value)?.parse().ok())
}
