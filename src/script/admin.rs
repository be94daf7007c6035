//! Changing queues and jobs from outside a worker: one Lua file for each operation.

use redis::Value;

use super::read::{array, unsigned};
use super::{Args, Script, script};

pub(crate) static OPEN: Script = script!("open_queue", Produces, uses: ["queue"]);
pub(crate) static PAUSE: Script = script!("pause", Consumes, uses: ["queue", "settings"]);
pub(crate) static RESUME: Script = script!("resume", Consumes, uses: ["queue", "settings", "wake"]);
pub(crate) static TUNE: Script = script!("tune_queue", Consumes, uses: ["queue", "settings", "wake"]);
pub(crate) static REMOVE_RATE_LIMIT_KEY: Script =
    script!("remove_rate_limit_key", Consumes, uses: ["queue", "settings", "wake"]);
pub(crate) static PROMOTE: Script =
    script!("promote_job", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "prioritize", "ready"]);
pub(crate) static DELAY: Script =
    script!("change_delay", Consumes, uses: ["codes", "queue", "settings", "wake", "delay"]);
pub(crate) static PRIORITY: Script =
    script!("change_priority", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "prioritize", "ready"]);
pub(crate) static RETRY: Script = script!("retry_job", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "prioritize", "ready", "restore", "is_job"]);
pub(crate) static REQUEUE: Script =
    script!("requeue_jobs", Consumes, uses: ["queue", "settings", "wake", "number", "prioritize", "restore"]);
pub(crate) static REMOVE: Script =
    script!("remove_job", Consumes, uses: ["codes", "queue", "release", "detach", "check_queue", "erase", "cut"]);
pub(crate) static REMOVE_CHILD: Script =
    script!("remove_child", Consumes, uses: ["codes", "queue", "release", "detach", "check_queue"]);
pub(crate) static DRAIN: Script =
    script!("drain", Consumes, uses: ["queue", "release", "detach", "check_queue", "erase", "cut"]);
pub(crate) static CLEAN: Script =
    script!("clean", Consumes, uses: ["queue", "release", "detach", "check_queue", "erase", "cut"]);
pub(crate) static OBLITERATE: Script =
    script!("obliterate", Consumes, uses: ["queue", "release", "detach", "check_queue", "erase"]);
pub(crate) static FREE_DEDUPLICATION: Script = script!("free_deduplication", Consumes, uses: ["queue"]);
pub(crate) static REMOVE_ORPHANS: Script = script!("remove_orphans", Consumes, uses: ["queue", "release", "detach"]);

/// Arguments that are all texts.
pub(crate) fn texts<T: AsRef<[u8]>>(texts: &[T]) -> Args {
    let mut args = Args::with_capacity(texts.len(), texts.iter().map(|text| text.as_ref().len()).sum());
    for text in texts {
        args.text(text);
    }
    args
}

/// What one step of a drain has done.
pub(crate) struct Drained {
    /// How many of the structures asked for are done.
    pub(crate) done: usize,
    /// How many jobs at the beginning of the next structure were kept.
    pub(crate) kept: u64,
    pub(crate) removed: u64,
}

pub(crate) fn drained(value: Value) -> Option<Drained> {
    let [done, kept, removed] = array(value)?.try_into().ok()?;
    Some(Drained {
        done: usize::try_from(unsigned(&done)?).ok()?,
        kept: unsigned(&kept)?,
        removed: unsigned(&removed)?,
    })
}

/// What one step of a clean has done.
pub(crate) struct Cleaned {
    pub(crate) done: bool,
    /// How many jobs at the beginning were looked at and kept.
    pub(crate) kept: u64,
    pub(crate) ids: Vec<String>,
}

pub(crate) fn cleaned(value: Value) -> Option<Cleaned> {
    let [done, kept, ids] = array(value)?.try_into().ok()?;
    let ids = array(ids)?.into_iter().map(super::told);
    Some(Cleaned { done: done == Value::Int(1), kept: unsigned(&kept)?, ids: ids.collect::<Option<_>>()? })
}

/// How many jobs were looked at, and how many of them moved or went.
pub(crate) fn looked_at(value: Value) -> Option<(u64, u64)> {
    let [seen, moved] = array(value)?.try_into().ok()?;
    Some((unsigned(&seen)?, unsigned(&moved)?))
}
