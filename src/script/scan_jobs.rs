//! Searches a state for the jobs that match a filter: `lua/scan_jobs.lua`.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::wire::job::Pair;

pub(crate) static SCRIPT: Script = script!("scan_jobs", Produces, uses: ["queue", "states", "search"]);

/// The request of a search, as `lua/shared/search.lua` lists it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search<'a> {
    /// Suffix of the key.
    pub(crate) state: &'static str,
    pub(crate) ascending: bool,
    /// Where the previous step stopped.
    pub(crate) after: &'a str,
    pub(crate) after_id: &'a [u8],
    /// How many places one call looks at, at most.
    pub(crate) budget: u32,
    /// How many jobs one call finds, at most.
    pub(crate) wanted: u32,
    /// The highest score to look at, in ascending order; empty for any.
    pub(crate) last: &'a str,
    /// The earliest moment, in ms.
    pub(crate) since: Option<u64>,
    pub(crate) until: Option<u64>,
    pub(crate) name: &'a str,
    pub(crate) id: &'a str,
    pub(crate) data: &'a str,
    pub(crate) reason: &'a str,
}

impl Search<'_> {
    /// Adds the request to the arguments of a call.
    pub(super) fn put(&self, call: Call<()>) -> Call<()> {
        call.text(self.state)
            .text(if self.ascending { "asc" } else { "desc" })
            .text(self.after)
            .text(self.after_id)
            .number(self.budget)
            .number(self.wanted)
            .text(self.last)
            .maybe(self.since)
            .maybe(self.until)
            .texts([self.name, self.id, self.data, self.reason])
    }
}

/// The outcome of one step.
#[derive(Debug)]
pub(crate) struct Scanned<T> {
    pub(crate) items: Vec<T>,
    pub(crate) seen: LookedAt,
}

/// What one step has looked at.
#[derive(Debug)]
pub(crate) struct LookedAt {
    pub(crate) done: bool,
    pub(crate) after: String,
    pub(crate) after_id: Vec<u8>,
    /// How many jobs the state has.
    pub(crate) length: u64,
    pub(crate) looked_at: u64,
    /// The highest score of a sorted set; empty for a list.
    pub(crate) top: String,
}

/// Counts the jobs found at the next places.
pub(crate) fn count_matches(search: &Search<'_>) -> Call<Scanned<()>> {
    ask("count", search).read(|value| scanned(value, |items| Some(items.iter().map(|_| ()).collect())))
}

/// Returns the ids of the jobs found at the next places.
pub(crate) fn find_ids(search: &Search<'_>) -> Call<Scanned<Vec<u8>>> {
    ask("ids", search).read(|value| scanned(value, |items| items.into_iter().map(reply::bytes).collect()))
}

/// Returns the jobs found at the next places: ids and hashes.
pub(crate) fn find_jobs(search: &Search<'_>) -> Call<Scanned<(Vec<u8>, Vec<Pair>)>> {
    ask("jobs", search).read(|value| {
        scanned(value, |items| {
            pairwise(items)
                .map(|pair| pair.and_then(|(id, hash)| Some((reply::bytes(id)?, reply::pairs(hash)?))))
                .collect()
        })
    })
}

fn ask(what: &str, search: &Search<'_>) -> Call<()> {
    search.put(Call::to(&SCRIPT).text(what)).resend(Resend::Reads)
}

/// Groups items in pairs; `None` for a last one without a partner.
pub(super) fn pairwise(items: Vec<Value>) -> impl Iterator<Item = Option<(Value, Value)>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || items.next().map(|first| Some((first, items.next()?))))
}

pub(super) fn scanned<T>(value: Value, read: fn(Vec<Value>) -> Option<Vec<T>>) -> Option<Scanned<T>> {
    let [done, after, after_id, length, looked_at, top, items] = reply::tuple(value)?;
    let seen = LookedAt {
        done: done == Value::Int(1),
        after: reply::text(after)?,
        after_id: reply::bytes(after_id)?,
        length: reply::unsigned(&length)?,
        looked_at: reply::unsigned(&looked_at)?,
        top: reply::text(top)?,
    };
    Some(Scanned { items: read(reply::array(items)?)?, seen })
}
