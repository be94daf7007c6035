//! How a job repeats, as its scheduler is told.

use std::time::{Duration, SystemTime};

use crate::clock::{epoch_ms, from_epoch_ms};
use crate::error::{Error, Result};

/// How a job repeats: at an interval, or by a cron pattern.
///
/// ```
/// # fn main() -> oxmq::Result<()> {
/// use std::time::{Duration, SystemTime};
/// use oxmq::Repeat;
///
/// let often = Repeat::every(Duration::from_secs(30)).limit(100);
/// # #[cfg(feature = "cron")]
/// # {
/// let nightly = Repeat::cron("0 15 3 * * *").tz("Europe/Berlin");
/// println!("{:?}", nightly.next_after(SystemTime::now())?);
/// # }
/// # Ok(()) }
/// ```
///
/// BullMQ: the second argument of `Queue.upsertJobScheduler`.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Repeat {
    pub(super) when: When,
    pub(super) tz: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) start: Option<SystemTime>,
    pub(super) end: Option<SystemTime>,
    pub(super) offset: Option<Duration>,
    pub(super) immediately: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum When {
    Every(Duration),
    Pattern(String),
}

impl Repeat {
    fn new(when: When) -> Self {
        Self { when, tz: None, limit: None, start: None, end: None, offset: None, immediately: false }
    }

    /// Each time this span has passed, the first time at once. At least 1 ms; parts of a millisecond do not count.
    pub fn every(span: Duration) -> Self {
        Self::new(When::Every(span))
    }

    /// By a cron pattern with five fields, or six with seconds in front; as BullMQ reads it.
    pub fn cron(pattern: impl Into<String>) -> Self {
        Self::new(When::Pattern(pattern.into()))
    }

    /// The time zone of a pattern: an IANA name, `UTC`, or `UTC+h:mm`. Default: the zone of the process that computes
    /// the next run, which may be any worker; so better name one.
    pub fn tz(mut self, zone: impl Into<String>) -> Self {
        self.tz = Some(zone.into());
        self
    }

    /// At most so many runs, counted from each upsert. Default: no limit.
    pub fn limit(mut self, runs: u64) -> Self {
        self.limit = Some(runs);
        self
    }

    /// No run before this, and by a pattern none at this very moment. Default: none. Not together with
    /// [`immediately`](Self::immediately).
    #[doc(alias = "startDate")]
    pub fn start_date(mut self, at: SystemTime) -> Self {
        self.start = Some(at);
        self
    }

    /// No run after this; at an interval one run may be later by less than the interval. Default: none.
    #[doc(alias = "endDate")]
    pub fn end_date(mut self, at: SystemTime) -> Self {
        self.end = Some(at);
        self
    }

    /// At an interval: how long after the multiples of the interval since 1970. Default: as the first run falls.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset = Some(offset);
        self
    }

    /// By a pattern: one run at each upsert besides. Default false.
    pub fn immediately(mut self, immediately: bool) -> Self {
        self.immediately = immediately;
        self
    }

    /// When the pattern is due next after a moment; `None` if never again, or if this repeats at an interval.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the pattern or the time zone cannot be understood.
    pub fn next_after(&self, at: SystemTime) -> Result<Option<SystemTime>> {
        let When::Pattern(pattern) = &self.when else { return Ok(None) };
        let from = epoch_ms(at).max(self.start.map_or(0, epoch_ms));
        let next = super::next::by_pattern(pattern, self.tz.as_deref(), None, from);
        let next = next.map_err(|problem| Error::invalid("pattern", problem))?;
        Ok(next.filter(|next| self.end.is_none_or(|end| *next <= epoch_ms(end))).map(from_epoch_ms))
    }
}
