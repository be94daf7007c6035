//! Reads how many jobs finished in each minute: `lua/get_metrics.lua`.

use std::time::SystemTime;

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::clock::from_epoch_ms;
use crate::state::JobState;

pub(crate) static SCRIPT: Script = script!("get_metrics", Produces, uses: ["queue"]);

/// Finished jobs per minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many jobs were counted in all.
    pub count: u64,
    /// When the latest minute was closed; `None` if nothing was counted yet.
    pub previous_at: Option<SystemTime>,
    /// How many jobs had been counted by then.
    pub previous_count: u64,
    /// How many jobs finished in each minute, newest first.
    pub data: Vec<u64>,
    /// How many minutes are stored.
    pub points: u64,
}

impl serde::Serialize for Metrics {
    /// Writes what BullMQ's `getMetrics` returns: `meta` with `count`, `prevTS` and `prevCount`, then `data` and
    /// `count`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let Self { count, previous_at, previous_count, data, points } = self;
        let at = previous_at.map_or(0, crate::clock::epoch_ms);
        let meta = serde_json::json!({ "count": count, "prevTS": at, "prevCount": previous_count });
        let mut metrics = serializer.serialize_struct("Metrics", 3)?;
        metrics.serialize_field("meta", &meta)?;
        metrics.serialize_field("data", data)?;
        metrics.serialize_field("count", points)?;
        metrics.end()
    }
}

/// Reads the metrics of `kind`, completed or failed.
pub(crate) fn get_metrics(kind: JobState, start: i64, end: i64) -> Call<Metrics> {
    Call::to(&SCRIPT).text(kind.as_str()).number(start).number(end).resend(Resend::Reads).read(metrics)
}

fn metrics(value: Value) -> Option<Metrics> {
    let [count, previous_at, previous_count, points, data] = reply::tuple(value)?;
    Some(Metrics {
        count: figure(&count),
        previous_at: Some(figure(&previous_at)).filter(|at| *at > 0).map(from_epoch_ms),
        previous_count: figure(&previous_count),
        data: reply::array(data)?.iter().map(figure).collect(),
        points: reply::unsigned(&points)?,
    })
}

/// Reads a stored number; anything else counts as 0.
fn figure(value: &Value) -> u64 {
    reply::unsigned(value).unwrap_or(0)
}
