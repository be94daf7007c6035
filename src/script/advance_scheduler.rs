//! The next run of a scheduler: `lua/advance_scheduler.lua`.

use redis::Value;

use super::reply::{string, tuple};
use super::{Args, Call, Repeat, Script, script};

pub(crate) static SCRIPT: Script = script!("advance_scheduler", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "announce", "is_job", "delete", "delay", "prioritize", "ready", "store", "scheduled_run"]);

/// The next run of a scheduler, as far as the worker that took the current one knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Advance {
    pub(crate) scheduler: String,
    /// The job that was taken; nothing happens unless it is the scheduler's current run.
    pub(crate) producer: String,
    /// When, in ms, by the pattern; `None` with an interval.
    pub(crate) slot: Option<u64>,
    /// The interval in ms, by the job's options; the scheduler's own counts more.
    pub(crate) every: Option<f64>,
    pub(crate) offset: Option<f64>,
    /// A JSON object with at least one member, without `delay` and `jobId`.
    pub(crate) opts: String,
    pub(crate) priority: u32,
    pub(crate) lifo: bool,
    pub(crate) deduplication_id: Option<String>,
    /// Whether the id may be the key of a repeatable job of old versions.
    pub(crate) may_be_legacy: bool,
    /// The producer is gone or has ended, and led to no next run.
    pub(crate) revives: bool,
    /// How many slots that passed are made up.
    pub(crate) catch_up: u32,
    /// Whether the producer is not to run while an earlier run has not ended.
    pub(crate) skips: bool,
    /// There is no next run: the call is about the producer alone.
    pub(crate) is_last: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Advanced {
    Created {
        id: String,
    },
    /// A job has the id of the next run: the scheduler stops.
    Taken {
        id: String,
    },
    /// The scheduler was removed, or has moved on already.
    NotCurrent,
    /// A repeatable job of old versions, which has no scheduler.
    Legacy,
    /// There is neither an interval nor a slot.
    NoInterval,
    /// An earlier run has not ended, so the producer was removed; the next run was made, if there is one.
    Skipped,
}

/// `token` is the one of the producer's lock. To repeat it is safe: a scheduler moves on only from its current run.
pub(crate) fn advance_scheduler(now: u64, advance: &Advance, token: &str) -> Call<Advanced> {
    let mut args = Args::with_capacity(15, advance.opts.len() + 256);
    let maybe = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    args.text(&advance.scheduler).text(&advance.producer).number(now).maybe(advance.slot);
    args.text(maybe(advance.every)).text(maybe(advance.offset)).text(&advance.opts).number(advance.priority);
    args.flag(advance.lifo).text(advance.deduplication_id.as_deref().unwrap_or_default()).flag(advance.may_be_legacy);
    args.flag(advance.revives).number(advance.catch_up).text(if advance.skips { token } else { "" });
    args.flag(advance.is_last);
    Call::with(&SCRIPT, args).repeat(Repeat::Safe).read(advanced)
}

fn advanced(value: Value) -> Option<Advanced> {
    let [Value::Int(outcome), id] = tuple(value)? else { return None };
    Some(match outcome {
        0 => Advanced::Created { id: string(id)? },
        1 => Advanced::Taken { id: string(id)? },
        2 => Advanced::NotCurrent,
        3 => Advanced::Legacy,
        4 => Advanced::NoInterval,
        5 => Advanced::Skipped,
        _ => return None,
    })
}
