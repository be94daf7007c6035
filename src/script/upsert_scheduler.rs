//! Creates or changes a scheduler: `lua/upsert_scheduler.lua`.

use redis::Value;

use super::reply::{string, tuple};
use super::{Args, Call, Resend, Script, script};
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!("upsert_scheduler", Produces, uses: ["codes", "queue", "settings", "wake", "number", "announce", "delay", "prioritize", "ready", "store", "scheduled_run", "states", "homes", "check_queue", "job_key", "release", "delete", "erase"]);

/// The new definition of a scheduler, and its next run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Upsert {
    pub(crate) scheduler: String,
    pub(crate) now: u64,
    /// When the run is due by the pattern, in ms; `None` with an interval.
    pub(crate) slot: Option<u64>,
    /// The interval in ms.
    pub(crate) every: Option<u64>,
    /// When the first run at an interval is due, in ms.
    pub(crate) start: Option<u64>,
    pub(crate) offset: Option<u64>,
    pub(crate) name: String,
    /// JSON.
    pub(crate) data: String,
    /// A JSON object with at least one member, without `delay`, `jobId` and `prevMillis`.
    pub(crate) opts: String,
    pub(crate) priority: u32,
    pub(crate) lifo: bool,
    pub(crate) deduplication_id: Option<String>,
    /// How many missed slots are made up.
    pub(crate) catch_up: u32,
    /// The fields of the scheduler's hash, except `ic` and `offset`.
    pub(crate) fields: Vec<(&'static str, String)>,
}

/// The run that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upserted {
    pub(crate) slot: u64,
    pub(crate) delay: u64,
    /// Whether the queue had no version or no cap of the event stream, as after a loss of all data.
    pub(crate) lacked_settings: bool,
}

/// Creates or changes a scheduler. `is_repeatable` says that doing so twice has the same result as doing it once.
pub(crate) fn upsert_scheduler(upsert: &Upsert, is_repeatable: bool) -> Call<Result<Upserted, Reason>> {
    let fields: usize = upsert.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    let mut args = Args::with_capacity(
        13 + upsert.fields.len() * 2,
        upsert.opts.len() + upsert.data.len() + fields + upsert.scheduler.len() + 256,
    );
    args.text(&upsert.scheduler).number(upsert.now).maybe(upsert.slot).maybe(upsert.every).maybe(upsert.start);
    args.maybe(upsert.offset).text(&upsert.name).text(&upsert.data).text(&upsert.opts).number(upsert.priority);
    args.flag(upsert.lifo).text(upsert.deduplication_id.as_deref().unwrap_or_default()).number(upsert.catch_up);
    for (name, value) in &upsert.fields {
        args.text(name).text(value);
    }
    let resend = if is_repeatable { Resend::Safe } else { Resend::Never };
    Call::with(&SCRIPT, args).resend(resend).read(upserted)
}

fn upserted(value: Value) -> Option<Result<Upserted, Reason>> {
    let [Value::Int(outcome), slot, delay, new] = tuple(value)? else { return None };
    Some(match Reason::from_code(outcome) {
        Ok(()) => Ok(Upserted {
            slot: string(slot)?.parse().ok()?,
            delay: string(delay)?.parse().ok()?,
            lacked_settings: new == Value::Int(1),
        }),
        Err(reason) => Err(reason),
    })
}
