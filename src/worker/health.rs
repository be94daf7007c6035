//! How a worker is, for those who have to decide whether it must be replaced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::millis;

/// How a worker is: from [`Worker::health`](super::Worker::health).
///
/// A process is *ready* if `connected`. It is *alive* unless `blocked`, or unless nothing was fetched for a minute while
/// nothing runs: a worker that has a free slot asks Redis at least every ten seconds or twice in its `drain_delay`. An
/// outage of Redis is no reason to replace a process, since the new one would not find it either.
///
/// ```no_run
/// # fn demo(worker: &oxmq::Worker) -> bool {
/// let health = worker.health();
/// health.connected && !health.blocked
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Health {
    /// Whether the server answered when it was last asked, by anything that was made from the same client. What is lost
    /// without a sign is noticed after the client's `command_timeout`.
    pub connected: bool,
    /// How long ago Redis last answered a request for jobs, with jobs or without. `None` before the first answer. A
    /// worker without a free slot, and a paused one, do not ask.
    #[serde(serialize_with = "crate::clock::as_millis")]
    pub last_fetch: Option<Duration>,
    /// Jobs that it holds: their processor runs, or Redis was not told of its end yet.
    pub running: usize,
    /// Whether its loop has not had its turn for a second or longer, as
    /// [`WorkerEvent::RuntimeBlocked`](super::WorkerEvent::RuntimeBlocked). It is looked for eight times in the shortest
    /// `lock_duration` of the client's workers.
    pub blocked: bool,
}

impl Health {
    /// Of a worker that is no more.
    pub(crate) const GONE: Self = Self { connected: false, last_fetch: None, running: 0, blocked: false };
}

/// When jobs were last fetched. Written by the loop, read by the handle.
pub(crate) struct LastFetch {
    began: Instant,
    /// In ms since `began` and one more; 0 for never.
    at: AtomicU64,
}

impl LastFetch {
    pub(crate) fn note(&self, now: Instant) {
        self.at.store(millis(now - self.began).saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn ago(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(at)))
    }
}

impl Default for LastFetch {
    fn default() -> Self {
        Self { began: Instant::now(), at: AtomicU64::new(0) }
    }
}
