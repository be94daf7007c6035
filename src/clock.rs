//! Where the time comes from: milliseconds since the Unix epoch, movable by tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock that stamps jobs: `timestamp`, `processedOn`, `finishedOn`, due times and retention by age.
///
/// BullMQ's scripts never ask the server for the time: each client passes its own. A clock of your own makes tests
/// exact; timeouts, lock renewal and back-off between connection attempts always run on the monotonic clock.
///
/// ```
/// use oxmq::Clock;
///
/// let clock = Clock::manual(1_700_000_000_000);
/// clock.advance(std::time::Duration::from_secs(5));
/// assert_eq!(clock.now_ms(), 1_700_000_005_000);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The system's clock; the default.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `ms` since the epoch until it is moved; clones move together.
    #[must_use]
    pub fn manual(ms: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(ms))))
    }

    /// Sets a manual clock; the system's clock stays as it is.
    pub fn set(&self, ms: u64) {
        if let Some(at) = &self.0 {
            at.store(ms, Ordering::SeqCst);
        }
    }

    /// Moves a manual clock forward; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Some(at) = &self.0 {
            at.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Some(at) => at.load(Ordering::SeqCst),
            None => system_ms(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system_ms() -> u64 {
    // A clock before 1970 counts as the epoch: the jobs are due at once, which loses nothing.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// A span in whole milliseconds, as BullMQ counts; what does not fit is the largest number that does.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The most milliseconds that are written to Redis: what every peer counts to exactly, and far below what its commands
/// take.
pub(crate) const MOST_MS: u64 = (1 << 53) - 1;

/// A moment in milliseconds since the epoch; moments before it count as the epoch.
pub(crate) fn epoch_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// The moment `ms` after the epoch.
pub(crate) fn from_epoch_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}
