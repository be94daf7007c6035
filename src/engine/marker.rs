//! Waiting for the marker that says that there may be work.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::connection::{BlockingLink, Waited};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Woken {
    /// A marker was taken; its score says when to look: 0 for now, else ms.
    Marker(f64),
    /// Nothing came.
    TimeOver,
    /// The connection broke; what was taken may be lost, so it is time to look.
    Broken,
    /// Whoever waited was called off.
    Interrupted,
}

/// The longest wait that is asked for: Redis refuses absurd ones, and then whoever waits would ask again at once.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// One blocking read of the marker.
pub(crate) async fn wait(link: &mut BlockingLink, marker: &str, block: Duration) -> Woken {
    let shortest = if link.ready().await.blocks_for_1_ms() { 1 } else { 2 };
    let block = block.clamp(Duration::from_millis(shortest), LONGEST_WAIT);
    let mut cmd = Cmd::new();
    cmd.arg("BZPOPMIN").arg(marker).arg(format!("{:.3}", block.as_secs_f64()));
    match link.send(&cmd, block).await {
        Waited::Reply(Value::Array(reply)) => Woken::Marker(score(reply.get(2)).unwrap_or(0.0)),
        Waited::Reply(_) => Woken::TimeOver,
        Waited::Broken(error) => {
            tracing::debug!(error = %crate::connection::without_secrets(&error), marker, "the wait for work broke");
            Woken::Broken
        }
    }
}

fn score(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Double(score) => Some(*score),
        Value::Int(score) => u32::try_from(*score).ok().map(f64::from),
        _ => None,
    }
}
