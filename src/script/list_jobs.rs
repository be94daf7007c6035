//! Reads jobs or ids at positions of a state: `lua/list_jobs.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::wire::job::Pair;

pub(crate) static SCRIPT: Script = script!("list_jobs", Produces, uses: ["queue", "states", "legacy"]);

/// What is still to be read of one list or set.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Suffix of the key.
    pub(crate) name: &'static str,
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// How many jobs are wanted; then jobs past `last` replace those that are missing.
    pub(crate) want: Option<u64>,
}

/// What one call has read of a span.
pub(crate) struct ReadSpan<T> {
    /// The positions to go on with; `None` if that was all.
    pub(crate) rest: Option<(i64, i64)>,
    pub(crate) items: Vec<T>,
}

/// A job's id and its hash.
pub(crate) type Listed = (Vec<u8>, Vec<Pair>);

/// Reads one page of jobs for each span, in order; the call looks at `budget` positions in all.
pub(crate) fn list_jobs(ascending: bool, budget: u32, spans: &[Span]) -> Call<Vec<ReadSpan<Listed>>> {
    ask("jobs", ascending, budget, spans).read_each(spans.len(), |value, spans| {
        pages(value, spans, |items| {
            let mut items = items.into_iter();
            let mut jobs = Vec::with_capacity(items.len() / 2);
            while let Some(id) = items.next() {
                jobs.push((reply::bytes(id)?, reply::pairs(items.next()?)?));
            }
            Some(jobs)
        })
    })
}

/// Reads pages of ids, as [`list_jobs`] does of jobs.
pub(crate) fn list_ids(ascending: bool, budget: u32, spans: &[Span]) -> Call<Vec<ReadSpan<String>>> {
    ask("ids", ascending, budget, spans).read_each(spans.len(), |value, spans| {
        pages(value, spans, |items| items.into_iter().map(reply::text).collect())
    })
}

fn ask(what: &str, ascending: bool, budget: u32, spans: &[Span]) -> Call<()> {
    let mut call = Call::to(&SCRIPT).text(what).text(if ascending { "asc" } else { "desc" }).number(budget);
    for span in spans {
        call = call.text(span.name).number(span.first).number(span.last).maybe(span.want);
    }
    call.resend(Resend::Reads)
}

fn pages<T>(value: Value, spans: usize, read: fn(Vec<Value>) -> Option<Vec<T>>) -> Option<Vec<ReadSpan<T>>> {
    let mut parts = reply::array(value)?.into_iter();
    let mut pages = Vec::with_capacity(spans);
    while let Some(first) = parts.next() {
        let (first, last) = (reply::string(first)?, reply::string(parts.next()?)?);
        let rest = if first == "done" { None } else { Some((first.parse().ok()?, last.parse().ok()?)) };
        pages.push(ReadSpan { rest, items: read(reply::array(parts.next()?)?)? });
    }
    Some(pages).filter(|pages| pages.len() == spans)
}
