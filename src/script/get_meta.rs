//! Reads the settings of a queue from its `meta` hash.

use std::time::Duration;

use redis::Value;

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;

/// The settings of a queue, as its `meta` hash has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueMeta {
    /// `<library>:<version>`, written by whoever opened the queue last.
    pub version: Option<String>,
    /// Whether the queue is paused.
    pub paused: bool,
    /// About how many events the stream keeps.
    pub max_len_events: Option<u64>,
    /// How many jobs may be active at once, over all workers: the global concurrency.
    pub concurrency: Option<u64>,
    /// The length of one window of the global rate limit.
    #[serde(serialize_with = "crate::clock::as_millis")]
    pub duration: Option<Duration>,
    /// How many jobs may be fetched in one window.
    pub max: Option<u64>,
    /// Fields that oxmq does not know.
    #[serde(serialize_with = "crate::wire::json::as_map", flatten)]
    pub others: Vec<(String, String)>,
}

pub(crate) fn get_meta(keys: &QueueKeys) -> Call<QueueMeta> {
    Call::command("get_meta", "HGETALL").text(keys.meta()).resend(Resend::Reads).read(meta)
}

fn meta(value: Value) -> Option<QueueMeta> {
    let mut held = reply::text_pairs(value)?;
    let mut take = |name: &str| {
        let at = held.iter().position(|(found, _)| found == name)?;
        Some(held.swap_remove(at).1)
    };
    let number = |held: Option<String>| reply::stored(held?.as_bytes());
    let meta = QueueMeta {
        concurrency: number(take("concurrency")),
        max: number(take("max")),
        duration: number(take("duration")).map(Duration::from_millis),
        max_len_events: number(take("opts.maxLenEvents")),
        // Any other value pauses the queue too; see `is_paused`.
        paused: take("paused").as_deref() == Some("1"),
        version: take("version"),
        others: Vec::new(),
    };
    Some(QueueMeta { others: held, ..meta })
}

/// Returns whether the queue is paused for all workers.
pub(crate) fn is_paused(keys: &QueueKeys) -> Call<bool> {
    Call::command("is_paused", "HEXISTS").text(keys.meta()).text("paused").resend(Resend::Reads).read(reply::is_one)
}

/// Returns the library and version that opened the queue last.
pub(crate) fn get_version(keys: &QueueKeys) -> Call<Option<String>> {
    setting("get_version", keys, "version").read(reply::maybe_text)
}

/// Returns how many jobs may be active at once, over all workers; `None` if there is no limit or it is no number.
pub(crate) fn get_global_concurrency(keys: &QueueKeys) -> Call<Option<u64>> {
    setting("get_global_concurrency", keys, "concurrency").read(|value| Some(reply::unsigned(&value)))
}

/// Returns how many jobs may be fetched in a window, and the length of the window in ms, over all workers.
pub(crate) fn get_global_rate_limit(keys: &QueueKeys) -> Call<Option<(u64, u64)>> {
    let call = Call::command("get_global_rate_limit", "HMGET").text(keys.meta()).text("max").text("duration");
    call.resend(Resend::Reads).read(|value| {
        let [max, duration] = reply::tuple(value)?;
        Some(reply::unsigned(&max).zip(reply::unsigned(&duration)))
    })
}

fn setting(op: &'static str, keys: &QueueKeys, field: &str) -> Call<()> {
    Call::command(op, "HGET").text(keys.meta()).text(field).resend(Resend::Reads)
}
