//! Creates the next run of a scheduler: `lua/advance_scheduler.lua`.

use redis::Value;

use super::reply::{self, string};
use super::{Args, Call, Resend, Script, script};

pub(crate) static SCRIPT: Script = script!("advance_scheduler", Consumes, uses: ["codes", "queue", "settings", "wake", "number", "announce", "is_job", "delete", "delay", "prioritize", "ready", "store", "scheduled_run"]);

/// The next run of a scheduler, as the worker that took the current run knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Advance {
    pub(crate) scheduler: String,
    /// The job of the current run; if it is not the scheduler's current run, nothing happens.
    pub(crate) producer: String,
    /// When the next run is due by the pattern, in ms; `None` with an interval.
    pub(crate) slot: Option<u64>,
    /// The interval in ms, from the job's options; the one in the scheduler's hash takes precedence.
    pub(crate) every: Option<f64>,
    pub(crate) offset: Option<f64>,
    /// A JSON object with at least one member, without `delay` and `jobId`.
    pub(crate) opts: String,
    pub(crate) priority: u32,
    pub(crate) lifo: bool,
    pub(crate) deduplication_id: Option<String>,
    /// Whether the id may be the key of a repeatable job of an old BullMQ version.
    pub(crate) may_be_legacy: bool,
    pub(crate) revives: Revives,
    /// How many missed slots are made up.
    pub(crate) catch_up: u32,
    /// Whether the current run is skipped while an earlier one has not finished.
    pub(crate) skips: bool,
    /// Whether there is no next run, so that the call is about the current run alone.
    pub(crate) is_last: bool,
}

/// Which scheduler that has stopped goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revives {
    /// None: this one has not stopped.
    No,
    /// One whose current run is gone or has finished without a next one: the next one is created.
    WithNextRun,
    /// One whose current run is gone: it is created again, for the same time.
    #[cfg(feature = "doctor")]
    WithSameRun,
}

/// The outcome of [`advance_scheduler`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Advanced {
    Created {
        id: String,
    },
    /// A job has the id of the next run, so the scheduler stops.
    Taken {
        id: String,
    },
    /// The scheduler was removed, or has a later run already.
    NotCurrent,
    /// A repeatable job of an old BullMQ version, which has no scheduler.
    Legacy,
    /// Neither an interval nor a slot is known.
    NoInterval,
    /// An earlier run has not finished, so the current run was removed; the next run was created, if there is one.
    Skipped,
}

/// Creates the next run. Returns also whether the settings of a queue whose scheduler exists were not complete.
/// `token` is the value of the current run's lock. Safe to repeat: a scheduler advances only from
/// its current run.
pub(crate) fn advance_scheduler(now: u64, advance: &Advance, token: &str) -> Call<(Advanced, bool)> {
    let mut args = Args::with_capacity(15, advance.opts.len() + 256);
    let maybe = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    args.text(&advance.scheduler).text(&advance.producer).number(now).maybe(advance.slot);
    args.text(maybe(advance.every)).text(maybe(advance.offset)).text(&advance.opts).number(advance.priority);
    args.flag(advance.lifo).text(advance.deduplication_id.as_deref().unwrap_or_default()).flag(advance.may_be_legacy);
    args.text(match advance.revives {
        Revives::No => "0",
        Revives::WithNextRun => "1",
        #[cfg(feature = "doctor")]
        Revives::WithSameRun => "2",
    });
    args.number(advance.catch_up).text(if advance.skips { token } else { "" });
    args.flag(advance.is_last);
    Call::with(&SCRIPT, args).resend(Resend::Safe).read(advanced)
}

fn advanced(value: Value) -> Option<(Advanced, bool)> {
    let mut items = reply::array(value)?.into_iter();
    let (outcome, id) = (reply::int(items.next()?)?, items.next()?);
    let lacked_settings = items.next().is_some();
    let advanced = match outcome {
        0 => Advanced::Created { id: string(id)? },
        1 => Advanced::Taken { id: string(id)? },
        2 => Advanced::NotCurrent,
        3 => Advanced::Legacy,
        4 => Advanced::NoInterval,
        5 => Advanced::Skipped,
        _ => return None,
    };
    Some((advanced, lacked_settings))
}
