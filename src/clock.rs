//! The source of the time, in milliseconds since the Unix epoch; tests can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock that stamps jobs: `timestamp`, `processedOn`, `finishedOn`, due times and retention by age.
///
/// BullMQ's scripts never ask the server for the time: each client passes its own. With a clock of your own, tests are
/// exact. Timeouts, lock renewal and the pauses between attempts to connect always use the monotonic clock.
///
/// ```
/// use oxmq::client::Clock;
///
/// let noon = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_049_600);
/// let clock = Clock::manual(noon);
/// clock.advance(std::time::Duration::from_secs(5));
/// assert_eq!(clock.now(), noon + std::time::Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// Returns the system's clock; the default.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// Creates a clock that stands still until it is moved; its clones move with it. It counts whole milliseconds from
    /// 1970 on, and stops at 2^52 ms, the latest moment that a job can have.
    #[must_use]
    pub fn manual(at: SystemTime) -> Self {
        Self::manual_ms(epoch_ms(at))
    }

    /// Sets a manual clock; the system's clock stays as it is.
    pub fn set(&self, at: SystemTime) {
        self.set_ms(epoch_ms(at));
    }

    /// Returns the present time by this clock, to the millisecond.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        from_epoch_ms(self.now_ms())
    }

    /// Creates a manual clock that stands at `ms` since the epoch.
    pub(crate) fn manual_ms(ms: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(ms.min(LATEST)))))
    }

    /// Sets a manual clock to `ms` since the epoch.
    pub(crate) fn set_ms(&self, ms: u64) {
        if let Some(at) = &self.0 {
            at.store(ms.min(LATEST), Ordering::SeqCst);
        }
    }

    /// Moves a manual clock forward; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Some(at) = &self.0 {
            let moved = |now: u64| Some(now.saturating_add(millis(by)).min(LATEST));
            // The closure always returns a value, so this cannot fail.
            let _ = at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
        }
    }

    /// Returns whether this is the system's clock, which should agree with those of others.
    pub(crate) fn is_system(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the time in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        match &self.0 {
            Some(at) => at.load(Ordering::SeqCst),
            None => system_ms(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system_ms() -> u64 {
    epoch_ms(SystemTime::now())
}

/// The latest moment that a job can have, in ms: with the longest delay added it is still exact as a double.
pub(crate) const LATEST: u64 = 1 << 52;

/// Returns a duration in whole milliseconds, as BullMQ counts. Fractions are rounded up, so that no duration becomes
/// shorter than requested; what does not fit becomes the largest number.
pub(crate) fn millis(span: Duration) -> u64 {
    let rest = u64::from(!span.subsec_nanos().is_multiple_of(1_000_000));
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_add(rest)
}

/// The largest number of ms that is written to Redis: every peer counts exactly up to it, and it is far below what
/// Redis commands accept.
pub(crate) const MOST_MS: u64 = (1 << 53) - 1;

/// Returns a moment in ms since the epoch, as JavaScript counts: fractions are cut off. Moments before the epoch count
/// as the epoch: then jobs are due at once, which loses nothing.
pub(crate) fn epoch_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the moment `ms` after the epoch.
pub(crate) fn from_epoch_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// Writes a field that others know as a number of milliseconds.
pub(crate) fn as_millis<S: serde::Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&span.map(millis), serializer)
}

/// Writes a duration that others know as milliseconds.
pub(crate) fn as_span<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(millis(*span))
}

/// Writes a field that others know as milliseconds since 1970.
pub(crate) fn as_ms<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(epoch_ms(*at))
}

/// Writes a field that others know as milliseconds since 1970, and that may be missing.
pub(crate) fn as_epoch_ms<S: serde::Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&at.map(epoch_ms), serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_never_shortened_and_a_moment_never_late() {
        let spans = [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (400_000_000, 400)];
        for (nanos, ms) in spans {
            assert_eq!(millis(Duration::from_nanos(nanos)), ms, "{nanos} ns");
        }
        assert_eq!(millis(Duration::MAX), u64::MAX);
        assert_eq!(epoch_ms(UNIX_EPOCH + Duration::from_nanos(1_999_999)), 1);
        assert_eq!(epoch_ms(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }

    #[test]
    fn a_manual_clock_stops_at_the_end() {
        let clock = Clock::manual_ms(u64::MAX);
        assert_eq!(clock.now_ms(), LATEST);
        clock.set(UNIX_EPOCH + Duration::from_millis(5));
        clock.advance(Duration::MAX);
        assert_eq!(clock.now_ms(), LATEST);
    }
}
