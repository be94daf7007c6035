//! Waiting for the marker that says that there may be work.

use std::time::Duration;

use crate::connection::{BlockingLink, Failure, without_secrets};
use crate::script::marker::take_marker;

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
            if let Failure::Unknown(error) = failure {
                tracing::debug!(error = %without_secrets(&error), marker, "the wait for work broke");
            }
            Woken::Broken
        }
    }
}
