//! The health of a worker, for those who decide whether a process must be replaced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::millis;

/// The health of a worker, from [`Worker::health`](super::Worker::health).
///
/// A process is *ready* if `connected`. It is *alive* unless it is `blocked`, or `last_fetch` is over a minute ago
/// while `running` is 0: a worker with a free slot asks Redis for jobs at least every ten seconds, or twice in its
/// `drain_delay`. An outage of Redis is no reason to replace a process, since a new one could not connect either.
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
    /// Whether the server answered the last request made with the same client. A connection that was lost without
    /// notice shows after the client's `command_timeout`.
    pub connected: bool,
    /// How long ago Redis last answered a request for jobs, with or without any. `None` before the first answer. A
    /// paused worker does not ask, nor does one without a free slot.
    #[serde(serialize_with = "crate::clock::as_millis")]
    pub last_fetch: Option<Duration>,
    /// How many jobs run: their processor runs, or their outcome is not stored yet.
    pub running: usize,
    /// How many jobs it has [prefetched](super::WorkerBuilder::prefetch): they wait in here for a slot.
    pub prefetched: usize,
    /// Whether its loop has not been polled for a second or longer, as in
    /// [`WorkerEvent::RuntimeBlocked`](super::WorkerEvent::RuntimeBlocked). Checked eight times in the shortest
    /// `lock_duration` of the client's workers.
    pub blocked: bool,
}

impl Health {
    /// The health of a worker that was closed or dropped.
    pub(crate) const GONE: Self =
        Self { connected: false, last_fetch: None, running: 0, prefetched: 0, blocked: false };
}

/// When jobs were last fetched. Written by the loop, read by the handle.
pub(crate) struct LastFetch {
    began: Instant,
    /// Ms since `began`, plus one; 0 if there was no fetch yet.
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
