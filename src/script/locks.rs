//! Locks and what happens without them: `lua/extend_locks.lua`, `lua/recover_stalled.lua`, `lua/wake_workers.lua`.

use super::{Args, Script, script};

pub(crate) static EXTEND: Script = script!("extend_locks", Consumes, uses: ["codes", "queue"]);
pub(crate) static RECOVER: Script = script!("recover_stalled", Consumes, uses: ["codes", "queue", "settings", "wake", "prioritize", "ready", "leave_active"]);
pub(crate) static WAKE: Script = script!("wake_workers", Consumes, uses: ["codes", "queue", "settings", "wake"]);

pub(crate) fn extend_args(lock_ms: u64, locks: &[(impl AsRef<[u8]>, &str)]) -> Args {
    let mut args = Args::default();
    args.millis(lock_ms);
    for (id, token) in locks {
        args.text(id).text(token);
    }
    args
}

/// `from` is empty for a new check, else what the last call of this one answered.
pub(crate) fn recover_args(now: u64, interval_ms: u64, limit: u32, from: &str) -> Args {
    let mut args = Args::default();
    args.number(now).millis(interval_ms.max(1)).number(limit).text(from);
    args
}
