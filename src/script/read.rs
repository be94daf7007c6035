//! Reading queues and jobs: one Lua file for each question that needs more than one command.

use redis::Value;

use super::reply::{array, string, texts, unsigned};
use super::{Args, Script, script};

pub(crate) static LIST: Script = script!("list_jobs", Produces, uses: ["queue", "states", "legacy"]);
pub(crate) static COUNT: Script = script!("count_jobs", Produces, uses: ["queue", "states", "legacy"]);
pub(crate) static PRIORITIES: Script = script!("count_priorities", Produces, uses: ["queue", "prioritize"]);
pub(crate) static STATE: Script = script!("get_state", Produces, uses: ["queue"]);
pub(crate) static FINISHED: Script = script!("is_finished", Produces, uses: ["codes", "queue", "is_job"]);
pub(crate) static MAXED: Script = script!("is_maxed", Produces, uses: ["queue"]);
pub(crate) static RATE_LIMIT_TTL: Script = script!("get_rate_limit_ttl", Produces, uses: ["queue"]);
pub(crate) static METRICS: Script = script!("get_metrics", Produces, uses: ["queue"]);
pub(crate) static LOGS: Script = script!("get_job_logs", Produces, uses: ["queue"]);
pub(crate) static CHILDREN: Script = script!("count_children", Produces, uses: ["queue"]);

/// What is still to be read of one structure.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Suffix of the key.
    pub(crate) name: &'static str,
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// How many jobs are wanted, where missing ones are made up for by the next.
    pub(crate) want: Option<u64>,
}

/// The part of a span that one call has read.
pub(crate) struct Page {
    /// Where to go on; `None` when there is no more.
    pub(crate) rest: Option<(i64, i64)>,
    /// Id and hash in turn, or ids only.
    pub(crate) items: Vec<Value>,
}

pub(crate) fn list_args(what: &str, ascending: bool, budget: u32, spans: &[Span]) -> Args {
    let mut args = Args::with_capacity(3 + spans.len() * 4, 64 + spans.len() * 32);
    args.text(what).text(if ascending { "asc" } else { "desc" }).number(budget);
    for span in spans {
        args.text(span.name).number(span.first).number(span.last).maybe(span.want);
    }
    args
}

/// One page for each span, in order.
pub(crate) fn pages(value: Value) -> Option<Vec<Page>> {
    let mut parts = array(value)?.into_iter();
    let mut pages = Vec::with_capacity(parts.len() / 3);
    while let Some(first) = parts.next() {
        let (first, last, items) = (string(first)?, string(parts.next()?)?, array(parts.next()?)?);
        let rest = if first == "done" { None } else { Some((first.parse().ok()?, last.parse().ok()?)) };
        pages.push(Page { rest, items });
    }
    Some(pages)
}

/// The minutes of `get_metrics` and what stands beside them.
pub(crate) struct Minutes {
    pub(crate) count: u64,
    pub(crate) previous_at: u64,
    pub(crate) previous_count: u64,
    pub(crate) stored: u64,
    pub(crate) data: Vec<u64>,
}

pub(crate) fn metrics_args(kind: &str, start: i64, end: i64) -> Args {
    let mut args = Args::default();
    args.text(kind).number(start).number(end);
    args
}

pub(crate) fn minutes(value: Value) -> Option<Minutes> {
    let [count, at, previous, stored, data] = array(value)?.try_into().ok()?;
    Some(Minutes {
        count: figure(&count),
        previous_at: figure(&at),
        previous_count: figure(&previous),
        stored: unsigned(&stored)?,
        data: array(data)?.iter().map(figure).collect(),
    })
}

pub(crate) fn logs_args(id: &str, start: i64, end: i64) -> Args {
    let mut args = Args::default();
    args.text(id).number(start).number(end);
    args
}

/// The number of lines stored, and those asked for.
pub(crate) fn logs(value: Value) -> Option<(u64, Vec<String>)> {
    let [stored, lines] = array(value)?.try_into().ok()?;
    Some((unsigned(&stored)?, texts(lines)?))
}

/// A stored figure; what is no number counts as 0.
fn figure(value: &Value) -> u64 {
    unsigned(value).unwrap_or(0)
}
