//! Locks and what happens without them: `lua/extend_locks.lua`, `lua/recover_stalled.lua`, `lua/wake_workers.lua`.

use redis::Value;

use super::{Args, Call, Repeat, Script, reply, script};

pub(crate) static EXTEND: Script = script!("extend_locks", Consumes, uses: ["codes", "queue"]);
pub(crate) static RECOVER: Script = script!("recover_stalled", Consumes, uses: ["codes", "queue", "settings", "wake", "prioritize", "ready", "leave_active"]);
pub(crate) static WAKE: Script = script!("wake_workers", Consumes, uses: ["codes", "queue", "settings", "wake"]);

/// Answers the ids whose lock is gone or another's, byte for byte.
pub(crate) fn extend_locks(lock_ms: u64, locks: &[(impl AsRef<[u8]>, &str)]) -> Call<Vec<Vec<u8>>> {
    let mut args = Args::default();
    args.millis(lock_ms);
    for (id, token) in locks {
        args.text(id).text(token);
    }
    Call::with(&EXTEND, args).repeat(Repeat::Safe).read(reply::ids)
}

/// What one step of a check for stalled jobs has done.
pub(crate) struct Recovered {
    /// Where the next step begins; empty when there is none.
    pub(crate) next: String,
    /// The jobs that were put back.
    pub(crate) ids: Vec<String>,
}

/// One step; `from` is empty for a new check, else where the last step says that this one begins.
pub(crate) fn recover_stalled(now: u64, interval_ms: u64, limit: u32, from: &str) -> Call<Recovered> {
    let mut args = Args::default();
    args.number(now).millis(interval_ms.max(1)).number(limit).text(from);
    Call::with(&RECOVER, args).repeat(Repeat::Safe).read(recovered)
}

fn recovered(value: Value) -> Option<Recovered> {
    let mut ids = reply::texts(value)?.into_iter();
    Some(Recovered { next: ids.next()?, ids: ids.collect() })
}

pub(crate) fn wake_workers() -> Call<()> {
    Call::to(&WAKE).repeat(Repeat::Safe)
}
