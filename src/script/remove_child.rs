//! Separates a child from its parent: `lua/remove_child.lua`.

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("remove_child", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "prioritize", "delay", "ready", "homes", "states", "check_queue", "job_key", "release", "detach"]);

/// Separates a child from its parent; returns whether the parent waited for it.
pub(crate) fn remove_child(id: &str, parent_key: &str) -> Call<Result<bool, Reason>> {
    Call::to(&SCRIPT)
        .text(id)
        .text(parent_key)
        .resend(Resend::Never)
        .read(|value| reply::code(value).map(|code| code.map(|code| code == 1)))
}
