//! How a job repeats.

use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::pattern::{self, Pattern};
use crate::clock::{LATEST, epoch_ms, from_epoch_ms, millis};
use crate::error::{Error, Result};
use crate::options::MAX_SAFE;

/// How many missed slots can be made up at most.
pub(super) const MOST_CAUGHT_UP: u32 = 1_000;

/// What happens to a run that is due while an earlier run of the same scheduler has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Overlap {
    /// It runs at the same time, as in BullMQ.
    #[default]
    Allow,
    /// It is skipped: the worker that takes it removes it without running it, and the next run is created.
    Skip,
}

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
/// for run in nightly.next_runs(5, SystemTime::now())? {
///     println!("{run:?}");
/// }
/// # }
/// # Ok(()) }
/// ```
///
/// BullMQ: the second argument of `Queue.upsertJobScheduler`.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
#[doc(alias = "RepeatOptions")]
pub struct Repeat {
    pub(super) when: When,
    pub(super) tz: Option<String>,
    pub(super) hash_seed: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) start: Option<SystemTime>,
    pub(super) end: Option<SystemTime>,
    pub(super) offset: Option<Duration>,
    pub(super) immediately: bool,
    pub(super) overlap: Overlap,
    pub(super) catch_up: u32,
}

/// When the runs are due: at an interval, or as a cron pattern says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum When {
    Every(Duration),
    Pattern(String),
}

/// Writes the fields and names of BullMQ's `RepeatOptions`; what is not set is left out.
impl Serialize for Repeat {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self { when, tz, hash_seed, limit, start, end, offset, immediately, overlap, catch_up } = self;
        let mut map = serializer.serialize_map(None)?;
        match when {
            When::Every(span) => map.serialize_entry("every", &millis(*span))?,
            When::Pattern(pattern) => map.serialize_entry("pattern", pattern)?,
        }
        for (name, text) in [("tz", tz), ("hashSeed", hash_seed)].into_iter().filter(|(_, text)| text.is_some()) {
            map.serialize_entry(name, text)?;
        }
        let numbers = [
            ("limit", *limit),
            ("startDate", start.map(epoch_ms)),
            ("endDate", end.map(epoch_ms)),
            ("offset", offset.map(millis)),
            ("catchUp", Some(u64::from(*catch_up)).filter(|slots| *slots > 0)),
        ];
        for (name, number) in numbers.into_iter().filter(|(_, number)| number.is_some()) {
            map.serialize_entry(name, &number)?;
        }
        if *immediately {
            map.serialize_entry("immediately", &true)?;
        }
        if *overlap != Overlap::Allow {
            map.serialize_entry("overlap", overlap)?;
        }
        map.end()
    }
}

impl Repeat {
    fn new(when: When) -> Self {
        Self {
            when,
            tz: None,
            hash_seed: None,
            limit: None,
            start: None,
            end: None,
            offset: None,
            immediately: false,
            overlap: Overlap::Allow,
            catch_up: 0,
        }
    }

    /// Repeats each time this duration has passed, the first time at once. More than 0; rounded up to milliseconds.
    pub fn every(span: Duration) -> Self {
        Self::new(When::Every(span))
    }

    /// Repeats by a cron pattern with five fields, or six with seconds first; patterns mean the same as in BullMQ 6.
    /// Needs the feature `cron`.
    ///
    /// On days on which the clock is changed, it is due when BullMQ's parser says; see `docs/schedulers.md`.
    #[doc(alias = "pattern")]
    pub fn cron(pattern: impl Into<String>) -> Self {
        Self::new(When::Pattern(pattern.into()))
    }

    /// Sets the time zone of a pattern: an IANA name, `UTC`, or `UTC+h:mm`. Default: the zone of the process that
    /// computes the next run, which may be any worker; so it is better to set one.
    pub fn tz(mut self, zone: impl Into<String>) -> Self {
        self.tz = Some(zone.into());
        self
    }

    /// Sets the seed for `H` in a pattern: any text, from which every process computes the same numbers. Default: the
    /// id of the scheduler. BullMQ draws new numbers for each run unless a seed is set.
    #[doc(alias = "hashSeed")]
    pub fn hash_seed(mut self, seed: impl Into<String>) -> Self {
        self.hash_seed = Some(seed.into());
        self
    }

    /// Limits the number of runs, counted from each upsert; at least 1. Default: no limit.
    pub fn limit(mut self, runs: u64) -> Self {
        self.limit = Some(runs);
        self
    }

    /// Creates no run before this moment, and with a pattern none exactly at it. Default: none. Not together with
    /// [`immediately`](Self::immediately).
    #[doc(alias = "startDate")]
    pub fn start_date(mut self, at: SystemTime) -> Self {
        self.start = Some(at);
        self
    }

    /// Creates no run after this moment; with an interval, one run may be later by less than the interval. Default:
    /// none.
    #[doc(alias = "endDate")]
    pub fn end_date(mut self, at: SystemTime) -> Self {
        self.end = Some(at);
        self
    }

    /// Sets, with an interval, how long after the multiples of the interval since 1970 a run is due; less than the
    /// interval. Default: given by the time of the first run.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Runs once at each upsert in addition to the pattern. Default: false.
    pub fn immediately(mut self, immediately: bool) -> Self {
        self.immediately = immediately;
        self
    }

    /// Sets whether a run may start while an earlier one has not ended. Default: it may, as in BullMQ.
    ///
    /// With [`Overlap::Skip`] it may not: an earlier run has not ended if it is active, or has been started and waits
    /// for its next attempt or for its children. A skipped slot counts for [`limit`](Self::limit). The option is stored
    /// beside BullMQ's own options, and only workers of this crate obey it: a worker of BullMQ runs what it takes. Not
    /// together with [`catch_up`](Self::catch_up), whose runs would follow at once and be skipped.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Sets how many slots that were missed while no worker ran are made up: the latest ones, one after the other, at
    /// once. 0 to 1,000. Default: 0, as in BullMQ, where the first worker to start runs the one slot that is waiting,
    /// and the next run is in the future.
    ///
    /// Only workers of this crate obey it. With a pattern, no slot after [`end_date`](Self::end_date) is made up.
    pub fn catch_up(mut self, slots: u32) -> Self {
        self.catch_up = slots;
        self
    }

    /// Computes the first `n` runs of a scheduler that is created at the moment `from`, if no worker is ever late;
    /// fewer if it ends before. Redis is not used, so this is the way to test a schedule.
    ///
    /// # Errors
    ///
    /// As [`runs`](Self::runs).
    pub fn next_runs(&self, n: usize, from: SystemTime) -> Result<Vec<SystemTime>> {
        Ok(self.runs(from)?.take(n).collect())
    }

    /// Computes the runs like [`next_runs`](Self::next_runs), one after the other. A schedule without limit and end is
    /// endless.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the pattern or the time zone cannot be read, or if options are out of range or
    /// exclude each other; and for a pattern with `H` without a [`hash_seed`](Self::hash_seed).
    pub fn runs(&self, from: SystemTime) -> Result<Runs> {
        self.check()?;
        let from = epoch_ms(from);
        let start = self.start.map_or(0, epoch_ms);
        let end = self.end.map_or(u64::MAX, epoch_ms);
        let rhythm = match &self.when {
            When::Every(span) => Rhythm::Every(millis(*span)),
            When::Pattern(_) => {
                let pattern = self.pattern(self.hash_seed.as_deref())?;
                if pattern.is_hashed() && self.hash_seed.is_none() {
                    return Err(Error::invalid("hash_seed", "a pattern with `H` needs it"));
                }
                Rhythm::Pattern { pattern: Box::new(pattern), start }
            }
        };
        let mut runs = Runs { rhythm, end, left: self.limit.unwrap_or(u64::MAX), next: None };
        runs.next = match &runs.rhythm {
            Rhythm::Every(every) => {
                let offset = self.offset.map_or(0, millis);
                Some(match self.start {
                    Some(_) => start.max(from),
                    None if offset == 0 => from,
                    None => {
                        let slot = (from / every * every).saturating_add(offset);
                        if slot > from { slot } else { slot.saturating_add(*every) }
                    }
                })
                .filter(|_| from <= end)
            }
            Rhythm::Pattern { .. } if self.immediately => Some(from).filter(|_| from <= end),
            Rhythm::Pattern { .. } => runs.after(from),
        };
        Ok(runs)
    }

    /// Returns whether each upsert adds a run at once, so that repeating an upsert is not harmless.
    pub(crate) fn is_immediate(&self) -> bool {
        self.immediately
    }

    /// Checks every rule that does not depend on the server or the time.
    pub(super) fn check(&self) -> Result<()> {
        match &self.when {
            When::Every(span) => {
                let every = millis(*span);
                if !(1..=MAX_SAFE).contains(&every) {
                    return Err(Error::invalid("every", "it must lie between 1 and 2^53 − 1 milliseconds"));
                }
                for (option, is_given) in [("tz", self.tz.is_some()), ("hash_seed", self.hash_seed.is_some())] {
                    if is_given {
                        return Err(Error::invalid(option, "it can be used with a pattern, not with an interval"));
                    }
                }
                if self.immediately {
                    return Err(Error::invalid(
                        "immediately",
                        "it can be used with a pattern; with an interval the first run is at once, unless there is a start or an offset",
                    ));
                }
                if self.offset.is_some_and(|offset| millis(offset) >= every) {
                    return Err(Error::invalid("offset", "it must be shorter than the interval"));
                }
            }
            When::Pattern(_) => {
                if self.offset.is_some() {
                    return Err(Error::invalid("offset", "it can be used with an interval, not with a pattern"));
                }
                self.pattern(Some(""))?;
            }
        }
        for (option, at) in [("start_date", self.start), ("end_date", self.end)] {
            if at.is_some_and(|at| epoch_ms(at) > LATEST) {
                return Err(Error::invalid(option, "it lies too far in the future"));
            }
        }
        if self.limit == Some(0) {
            return Err(Error::invalid("limit", "it must be at least 1"));
        }
        if self.catch_up > MOST_CAUGHT_UP {
            return Err(Error::invalid("catch_up", format!("it must be at most {MOST_CAUGHT_UP}")));
        }
        if self.catch_up > 0 && self.overlap == Overlap::Skip {
            return Err(Error::invalid(
                "catch_up",
                "runs that are made up follow at once, and Overlap::Skip would skip them",
            ));
        }
        if self.start.is_some() && self.immediately {
            return Err(Error::invalid("immediately", "it cannot be used together with a start"));
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end <= start
        {
            return Err(Error::invalid("end_date", "it must lie after the start"));
        }
        Ok(())
    }

    /// Returns the parsed pattern. An error for an interval, for which [`check`](Self::check) keeps it from being
    /// called.
    pub(super) fn pattern(&self, seed: Option<&str>) -> Result<Pattern> {
        let When::Pattern(pattern) = &self.when else { return Err(Error::invalid("pattern", "there is none")) };
        pattern::check_zone(self.tz.as_deref()).map_err(|problem| Error::invalid("tz", problem))?;
        Pattern::parse(pattern, self.tz.as_deref(), seed).map_err(|problem| Error::invalid("pattern", problem))
    }
}

/// The future runs of a schedule, in order. Created by [`Repeat::runs`].
#[derive(Debug, Clone)]
pub struct Runs {
    rhythm: Rhythm,
    end: u64,
    left: u64,
    next: Option<u64>,
}

#[derive(Debug, Clone)]
enum Rhythm {
    /// ms.
    Every(u64),
    Pattern {
        pattern: Box<Pattern>,
        start: u64,
    },
}

impl Runs {
    /// Returns the run after the one at `slot`, in ms.
    fn after(&self, slot: u64) -> Option<u64> {
        match &self.rhythm {
            // Node compares the end with the time at which it creates the next run, not with the time of that run.
            Rhythm::Every(every) => slot.checked_add(*every).filter(|_| slot <= self.end),
            Rhythm::Pattern { pattern, start } => pattern.next_after(slot.max(*start)).filter(|next| *next <= self.end),
        }
    }
}

impl Iterator for Runs {
    type Item = SystemTime;

    fn next(&mut self) -> Option<SystemTime> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.next?;
        self.next = self.after(slot);
        Some(from_epoch_ms(slot))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn runs(repeat: &Repeat, n: usize, from: u64) -> Vec<u64> {
        repeat.next_runs(n, at(from)).unwrap().into_iter().map(epoch_ms).collect()
    }

    #[test]
    fn an_interval_begins_at_once_at_its_start_or_by_its_offset() {
        let every = || Repeat::every(Duration::from_millis(100));
        assert_eq!(runs(&every(), 3, 1_030), [1_030, 1_130, 1_230]);
        assert_eq!(runs(&every().start_date(at(1_500)), 2, 1_030), [1_500, 1_600]);
        assert_eq!(runs(&every().start_date(at(500)), 2, 1_030), [1_030, 1_130]);
        assert_eq!(runs(&every().offset(Duration::from_millis(7)), 2, 1_030), [1_107, 1_207]);
        assert_eq!(runs(&every().offset(Duration::from_millis(40)), 2, 1_030), [1_040, 1_140]);
    }

    #[test]
    fn a_schedule_ends_by_its_limit_and_its_end() {
        let every = || Repeat::every(Duration::from_millis(100));
        assert_eq!(runs(&every().limit(2), 9, 0), [0, 100]);
        // One run of an interval may be after the end.
        assert_eq!(runs(&every().end_date(at(150)), 9, 0), [0, 100, 200]);
        assert_eq!(runs(&every().end_date(at(150)), 9, 151), [0; 0]);
    }

    #[cfg(feature = "cron")]
    #[test]
    fn a_pattern_is_due_after_the_start_and_until_the_end() {
        let cron = || Repeat::cron("*/10 * * * * *").tz("UTC");
        assert_eq!(runs(&cron(), 2, 10_000), [20_000, 30_000]);
        assert_eq!(runs(&cron().immediately(true), 2, 10_001), [10_001, 20_000]);
        assert_eq!(runs(&cron().start_date(at(30_000)), 2, 10_000), [40_000, 50_000]);
        assert_eq!(runs(&cron().end_date(at(30_000)), 9, 10_000), [20_000, 30_000]);
        let hashed = || Repeat::cron("H * * * * *").tz("UTC");
        assert_eq!(runs(&hashed().hash_seed("a"), 2, 0), runs(&hashed().hash_seed("a"), 2, 0));
    }

    #[test]
    fn a_broken_rule_is_told_by_the_options_name() {
        let every = || Repeat::every(Duration::from_millis(100));
        let cron = || Repeat::cron("* * * * *");
        let mut all = vec![
            ("every", Repeat::every(Duration::ZERO)),
            ("every", Repeat::every(Duration::MAX)),
            ("tz", every().tz("UTC")),
            ("hash_seed", every().hash_seed("x")),
            ("immediately", every().immediately(true)),
            ("offset", every().offset(Duration::from_millis(100))),
            ("limit", every().limit(0)),
            ("catch_up", every().catch_up(1_001)),
            ("catch_up", every().catch_up(1).overlap(Overlap::Skip)),
            ("end_date", every().start_date(at(5)).end_date(at(5))),
            ("offset", cron().offset(Duration::from_millis(1))),
            ("pattern", Repeat::cron("nonsense")),
        ];
        if cfg!(feature = "cron") {
            all.extend([
                ("pattern", Repeat::cron("")),
                ("tz", cron().tz("Mars/Base")),
                ("tz", cron().tz("")),
                ("immediately", cron().immediately(true).start_date(at(5))),
                ("hash_seed", Repeat::cron("H * * * *")),
            ]);
        } else {
            all.push(("pattern", cron()));
        }
        for (option, bad) in all {
            match bad.next_runs(1, at(0)) {
                Err(Error::InvalidOption { option: named, .. }) => assert_eq!(named, option, "{bad:?}"),
                other => panic!("{bad:?}: {other:?}"),
            }
        }
    }
}
