//! Finds out whether a job has become ready since a moment: `lua/find_ready.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("find_ready", Produces, uses: ["queue"]);

/// Returns whether the job has become ready since `since`, in ms of the server's clock; `None` if the newest events do not
/// tell.
pub(crate) fn find_ready(id: &str, since: i64) -> Call<Option<bool>> {
    let call = Call::to(&SCRIPT).text(id).number(since);
    call.resend(Resend::Reads).read(|value| match reply::int(value)? {
        -1 => Some(None),
        found => Some(Some(found == 1)),
    })
}
