//! Waits for the marker, by which idle workers learn that there may be a job to fetch.

use std::time::Duration;

use super::Engine;
use crate::connection::{BlockingLink, CallFailure, Link, without_secrets};
use crate::script::marker::{count_keys, pop_marker, take_any_marker, take_marker, unblock_client};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Woken {
    /// A marker was popped; its score says when to fetch: 0 for now, else a time in ms.
    Marker(f64),
    /// No marker came within the time.
    TimeOver,
    /// The connection broke. A popped marker may be lost, so the worker has to look for jobs.
    Broken,
    /// The wait was interrupted.
    Interrupted,
}

/// The longest wait that is asked for: Redis refuses much larger ones, and then a worker would ask again at once.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Waits once for the marker.
pub(crate) async fn wait(link: &mut BlockingLink, marker: &str, block: Duration) -> Woken {
    let shortest = if link.ready().await.blocks_for_1_ms() { 1 } else { 2 };
    let block = block.clamp(Duration::from_millis(shortest), LONGEST_WAIT);
    match take_marker(marker, block).block(link, block).await {
        Ok(Some(score)) => Woken::Marker(score),
        Ok(None) => Woken::TimeOver,
        Err(failure) => {
            if let Some(error) = failure.cause() {
                tracing::debug!(error = %without_secrets(error), marker, "the connection that waits for jobs broke");
            }
            Woken::Broken
        }
    }
}

/// What looks for the marker.
const POP: &str = "ZPOPMIN";

/// Returns whether the server lets us look for the marker, as far as is known.
pub(crate) fn can_look(link: &Link) -> bool {
    !link.lacks(POP)
}

/// Pops the marker if there is one, over the shared connection. `None` if there is none, or the server cannot be asked
/// now. One round trip.
pub(crate) async fn look_for_marker(engine: &Engine) -> Option<Woken> {
    match pop_marker(&engine.keys.marker()).send(&engine.link, &engine.keys).await {
        Ok(score) => score.map(Woken::Marker),
        Err(failure) if failure.is_not_permitted() => {
            engine.link.dialer().is_refused(POP, "each worker waits on a connection of its own");
            Some(Woken::TimeOver)
        }
        Err(CallFailure::NotApplied(_) | CallFailure::OutOfMemory | CallFailure::Server(_)) => None,
        Err(CallFailure::Unknown(_) | CallFailure::Unreadable) => Some(Woken::Broken),
    }
}

/// How a wait for several markers ended.
#[derive(Debug, PartialEq)]
pub(crate) enum WokenByAny {
    /// This marker was popped, with its score.
    Marker(String, f64),
    /// No marker came within the time, or the wait was ended by [`unblock`].
    TimeOver,
    /// The connection broke. A popped marker may be lost.
    Broken,
}

/// Waits once for several markers; the first that exists is popped.
pub(crate) async fn wait_any(link: &mut BlockingLink, markers: &[String], block: Duration) -> WokenByAny {
    let shortest = if link.ready().await.blocks_for_1_ms() { 1 } else { 2 };
    let block = block.clamp(Duration::from_millis(shortest), LONGEST_WAIT);
    match take_any_marker(markers, block).block(link, block).await {
        Ok(Some((marker, score))) => WokenByAny::Marker(marker, score),
        Ok(None) => WokenByAny::TimeOver,
        Err(failure) => {
            if let Some(error) = failure.cause() {
                tracing::debug!(error = %without_secrets(error), queues = markers.len(), "the connection that waits for jobs broke");
            }
            WokenByAny::Broken
        }
    }
}

/// The outcome of ending a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unblocked {
    /// The wait has ended; its reply is on the way.
    Yes,
    /// That connection is not waiting.
    No,
    /// The server does not allow the command.
    Refused,
    Unknown,
}

/// Ends the wait of the connection with this id as if its time were over. One round trip.
pub(crate) async fn unblock(link: &Link, engine: &Engine, id: i64) -> Unblocked {
    match unblock_client(id).send(link, &engine.keys).await {
        Ok(true) => Unblocked::Yes,
        Ok(false) => Unblocked::No,
        Err(CallFailure::Server(_)) => Unblocked::Refused,
        Err(_) => Unblocked::Unknown,
    }
}

/// Sends a trivial command to the server of a queue: after any command Redis checks which blocked clients to serve. One
/// round trip.
pub(crate) async fn nudge(engine: &Engine) {
    let _ = count_keys([engine.keys.marker()]).send(&engine.link, &engine.keys).await;
}
