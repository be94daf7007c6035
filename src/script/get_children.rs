//! Reads the children of a job, by their outcome.

use redis::Value;

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;

/// The outcome of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ChildKind {
    /// It completed.
    Processed,
    /// It has not finished.
    Unprocessed,
    /// It failed, and the parent ignores the failure.
    Ignored,
    /// It failed, and fails the parent.
    Failed,
}

impl ChildKind {
    fn key(self, keys: &QueueKeys, id: &str) -> String {
        let part = match self {
            Self::Processed => ":processed",
            Self::Ignored => ":failed",
            Self::Unprocessed => ":dependencies",
            Self::Failed => ":unsuccessful",
        };
        keys.job(id) + part
    }
}

/// One page of the children of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildPage {
    /// The cursor of the next page; 0 if this is the last one.
    pub next: u64,
    /// The job key of each child, with the result (JSON) if it was processed, or the reason if its failure is ignored.
    pub children: Vec<(String, Option<String>)>,
}

/// Returns the job keys of the children that completed, with their results in JSON.
pub(crate) fn get_children_values(keys: &QueueKeys, id: &str) -> Call<Vec<(String, String)>> {
    let call = Call::command("get_children_values", "HGETALL").text(ChildKind::Processed.key(keys, id));
    call.resend(Resend::Reads).read(reply::text_pairs)
}

/// Returns the job keys of the children whose failure the parent ignores, with their reasons.
pub(crate) fn get_ignored_children_failures(keys: &QueueKeys, id: &str) -> Call<Vec<(String, String)>> {
    let call = Call::command("get_ignored_children_failures", "HGETALL").text(ChildKind::Ignored.key(keys, id));
    call.resend(Resend::Reads).read(reply::text_pairs)
}

/// Returns the job keys of the children that have not finished.
pub(crate) fn get_unprocessed_children(keys: &QueueKeys, id: &str) -> Call<Vec<String>> {
    let call = Call::command("get_unprocessed_children", "SMEMBERS").text(ChildKind::Unprocessed.key(keys, id));
    call.resend(Resend::Reads).read(reply::texts)
}

/// Returns the job keys of the children whose failure fails the job, at these positions.
pub(crate) fn get_failed_children(keys: &QueueKeys, id: &str, first: i64, last: i64) -> Call<Vec<String>> {
    let call = Call::command("get_failed_children", "ZRANGE").text(ChildKind::Failed.key(keys, id));
    call.number(first).number(last).resend(Resend::Reads).read(reply::texts)
}

/// Returns about `count` children that completed, from `cursor` on.
pub(crate) fn scan_processed(keys: &QueueKeys, id: &str, cursor: u64, count: u64) -> Call<ChildPage> {
    scan("HSCAN", &ChildKind::Processed.key(keys, id), cursor, count).read(|value| page(value, 2))
}

/// Returns about `count` children whose failure the parent ignores, from `cursor` on.
pub(crate) fn scan_ignored(keys: &QueueKeys, id: &str, cursor: u64, count: u64) -> Call<ChildPage> {
    scan("HSCAN", &ChildKind::Ignored.key(keys, id), cursor, count).read(|value| page(value, 2))
}

/// Returns about `count` children that have not finished, from `cursor` on.
pub(crate) fn scan_unprocessed(keys: &QueueKeys, id: &str, cursor: u64, count: u64) -> Call<ChildPage> {
    scan("SSCAN", &ChildKind::Unprocessed.key(keys, id), cursor, count).read(|value| page(value, 1))
}

fn scan(verb: &'static str, key: &str, cursor: u64, count: u64) -> Call<()> {
    Call::command("get_dependencies", verb).text(key).number(cursor).text("COUNT").number(count).resend(Resend::Reads)
}

/// Reads a page; `width` is 2 if each child comes with a result or a reason.
fn page(value: Value, width: usize) -> Option<ChildPage> {
    let [next, items] = reply::tuple(value)?;
    let children = reply::texts(items)?.chunks(width).map(|child| (child[0].clone(), child.get(1).cloned())).collect();
    Some(ChildPage { next: reply::unsigned(&next)?, children })
}
