//! Returns whether the global concurrency is reached: `lua/is_maxed.lua`.

use super::{Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("is_maxed", Produces, uses: ["queue"]);

pub(crate) fn is_maxed() -> Call<bool> {
    Call::to(&SCRIPT).resend(Resend::Reads).read(reply::is_one)
}
