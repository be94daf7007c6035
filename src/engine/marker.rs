//! Waiting for the marker that says that there may be work.

use std::time::Duration;

use super::Engine;
use crate::connection::{BlockingLink, Failure, Link, without_secrets};
use crate::script::marker::{count_keys, take_any_marker, take_marker, unblock_client};

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
    match take_marker(marker, block).block(link, block).await {
        Ok(Some(score)) => Woken::Marker(score),
        Ok(None) => Woken::TimeOver,
        Err(failure) => {
            if let Some(error) = failure.cause() {
                tracing::debug!(error = %without_secrets(error), marker, "the wait for work broke");
            }
            Woken::Broken
        }
    }
}

/// How a wait for several markers ended.
#[derive(Debug, PartialEq)]
pub(crate) enum WokenByAny {
    /// This marker was taken, and its score.
    Marker(String, f64),
    /// Nothing came, or the wait was ended by [`unblock`].
    TimeOver,
    /// The connection broke; what was taken may be lost.
    Broken,
}

/// One blocking read of several markers; the first that is there is taken.
pub(crate) async fn wait_any(link: &mut BlockingLink, markers: &[String], block: Duration) -> WokenByAny {
    let shortest = if link.ready().await.blocks_for_1_ms() { 1 } else { 2 };
    let block = block.clamp(Duration::from_millis(shortest), LONGEST_WAIT);
    match take_any_marker(markers, block).block(link, block).await {
        Ok(Some((marker, score))) => WokenByAny::Marker(marker, score),
        Ok(None) => WokenByAny::TimeOver,
        Err(failure) => {
            if let Some(error) = failure.cause() {
                tracing::debug!(error = %without_secrets(error), queues = markers.len(), "the wait for work broke");
            }
            WokenByAny::Broken
        }
    }
}

/// What became of a wish to end a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unblocked {
    /// It has ended; its answer is on the way.
    Yes,
    /// That connection does not wait.
    No,
    /// The server does not let us do this.
    Refused,
    Unknown,
}

/// Ends the wait of the connection with this number as if its time were over. One round trip.
pub(crate) async fn unblock(link: &Link, engine: &Engine, id: i64) -> Unblocked {
    match unblock_client(id).send(link, &engine.keys).await {
        Ok(true) => Unblocked::Yes,
        Ok(false) => Unblocked::No,
        Err(Failure::Server(_)) => Unblocked::Refused,
        Err(_) => Unblocked::Unknown,
    }
}

/// Asks the server of a queue for next to nothing: whatever it does, it then looks whose wait is over. One round trip.
pub(crate) async fn nudge(engine: &Engine) {
    let _ = count_keys([engine.keys.marker()]).send(&engine.link, &engine.keys).await;
}
