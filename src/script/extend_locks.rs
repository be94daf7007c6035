//! Renews locks: `lua/extend_locks.lua`.

use super::{Args, Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("extend_locks", Consumes, uses: ["codes", "queue"]);

/// Renews these locks, and returns the ids whose lock is gone or has another token, as bytes.
pub(crate) fn extend_locks(lock_ms: u64, locks: &[(impl AsRef<[u8]>, &str)]) -> Call<Vec<Vec<u8>>> {
    let mut args = Args::default();
    args.millis(lock_ms);
    for (id, token) in locks {
        args.text(id).text(token);
    }
    Call::with(&SCRIPT, args).resend(Resend::Safe).read(reply::ids)
}
