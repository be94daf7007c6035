//! Finds when a cron pattern is due next, on ordinary days and on those on which the clock is changed.
//!
//! Time is divided into stretches in which local time shows the same hour. A stretch is due as a whole or not at all,
//! and within it the minutes and seconds apply as written. So a changed clock only affects which stretches are due.
//! This must be the same for every peer, because the time becomes the id of a run. What BullMQ's parser was observed to
//! do is described at `is_due`, `dawn` and `pass`; the tests of the module `cron` in `tests/interop` compare it.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The fifth of a weekday in February comes every 28 years, or 40 years around a year without its leap day.
const MOST_YEARS: i32 = 50;

/// The values that a pattern lists, one bit each.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) days: u64,
    pub(super) months: u64,
    /// Sunday is 0.
    pub(super) weekdays: u64,
    /// Whether the last day of the month is due.
    pub(super) last_day: bool,
    /// The weekdays that are due in the last seven days of the month.
    pub(super) last_weekdays: u64,
    /// Which one in the month the weekday has to be.
    pub(super) nth: Option<u32>,
    pub(super) any_day: bool,
    pub(super) any_weekday: bool,
}

/// A stretch of time in which local time shows the same hour: an hour, or less if the clock is changed within it.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    begin: i64,
    end: i64,
    /// How far local time is ahead of UTC.
    offset: i64,
    date: NaiveDate,
    hour: u32,
}

/// The local time: how many ms it is ahead of UTC at a moment. Zones change at whole seconds.
struct Wall<F>(F);

/// Returns the first time after `from` at which a pattern is due, in ms since the epoch; `None` if there is none for
/// decades.
pub(super) fn next_after(listed: &Listed, offset_of: impl Fn(i64) -> i64, from: i64) -> Option<i64> {
    let wall = Wall(offset_of);
    let mut now = wall.stretch(from)?;
    // The stretch before; `None` at the beginning of the search, or if it was on another day.
    let mut before: Option<Stretch> = None;
    // The position within the stretch, which only matters if the clock is changed by less than an hour.
    let mut at = from;
    let last_year = now.date.year() + MOST_YEARS;
    while now.date.year() <= last_year {
        if !listed.has_month(now.date) {
            let reached = now.date.checked_add_months(Months::new(1))?;
            (now, before) = (wall.dawn(&now, at, reached, reached.with_day(1)?)?, None);
            at = now.begin;
        } else if !listed.has_day(now.date) {
            let reached = now.date.checked_add_days(Days::new(1))?;
            (now, before) = (wall.dawn(&now, at, reached, reached)?, None);
            at = now.begin;
        } else if listed.is_due(&now, before.as_ref()) {
            if let Some(found) = listed.time_within(&now, at.max(from + 1)) {
                return Some(found);
            }
            before = Some(now);
            match listed.hour_later(&now, at) {
                Some(later) => {
                    now = wall.stretch(now.end.max(later))?;
                    at = listed.first_look(&now);
                }
                None => {
                    now = wall.stretch(now.end)?;
                    at = now.begin;
                }
            }
        } else {
            match above(listed.hours, now.hour) {
                Some(hour) => {
                    (now, before) = wall.pass(now, at, hour)?;
                    at = listed.first_look(&now);
                }
                None => {
                    let reached = now.date.checked_add_days(Days::new(1))?;
                    (now, before) = (wall.dawn(&now, at, reached, reached)?, None);
                    at = now.begin;
                }
            }
        }
    }
    None
}

impl Listed {
    fn has_month(&self, date: NaiveDate) -> bool {
        has(self.months, date.month())
    }

    fn has_day(&self, date: NaiveDate) -> bool {
        let (day, days) = (date.day(), u32::from(date.num_days_in_month()));
        let weekday = date.weekday().num_days_from_sunday();
        let by_day = has(self.days, day) || self.last_day && day == days;
        let by_weekday = has(self.weekdays, weekday) && self.nth.is_none_or(|nth| day.div_ceil(7) == nth)
            || has(self.last_weekdays, weekday) && day + 7 > days;
        match (self.any_day, self.any_weekday) {
            (false, false) => by_day || by_weekday,
            (_, true) => by_day,
            (true, false) => by_weekday,
        }
    }

    fn is_each_hour(&self) -> bool {
        self.hours.count_ones() == 24
    }

    /// Returns whether the pattern is due in a stretch of a day on which it is due.
    ///
    /// Times that the clock skipped are made up for in the stretch after them. An hour that is repeated is due again
    /// only for a pattern of every hour, and a part of an hour only for a pattern that was due until the end of the
    /// part before.
    fn is_due(&self, now: &Stretch, before: Option<&Stretch>) -> bool {
        let is_listed = has(self.hours, now.hour);
        let Some(before) = before else { return is_listed };
        if before.hour == now.hour {
            let is_whole = now.begin == now.top();
            return is_listed && if is_whole { self.is_each_hour() } else { has(self.minutes, before.last_minute()) };
        }
        let skipped = (now.hour + 24 - before.hour) % 24 - 1;
        let made_up = now.offset > before.offset && !self.is_each_hour();
        is_listed || made_up && (1..=skipped).any(|n| has(self.hours, (before.hour + n) % 24))
    }

    /// Returns the first time in a stretch from a moment on.
    fn time_within(&self, now: &Stretch, from: i64) -> Option<i64> {
        let first = now.begin.max(from);
        (0..60_u32).filter(|minute| has(self.minutes, *minute)).find_map(|minute| {
            let begin = now.top() + i64::from(minute) * MINUTE;
            if begin + MINUTE <= first || begin >= now.end {
                return None;
            }
            let times = (0..60_u32).filter(|second| has(self.seconds, *second));
            times.map(|second| begin + i64::from(second) * SECOND).find(|at| (first..now.end).contains(at))
        })
    }

    /// Returns one hour after the first minute from `at` on that is not listed: where the search continues when a
    /// stretch has no more times. `None` if all are listed; then it continues at the end of the stretch.
    fn hour_later(&self, now: &Stretch, mut at: i64) -> Option<i64> {
        while at < now.end {
            if !has(self.minutes, minute(at + now.offset)) {
                return Some(at + HOUR);
            }
            at += MINUTE - (at + now.offset).rem_euclid(MINUTE);
        }
        None
    }

    /// Returns where a new stretch is first looked at: at its first minute, as much later as the clock skipped.
    fn first_look(&self, now: &Stretch) -> i64 {
        let first = now.top() + i64::from(self.minutes.trailing_zeros()) * MINUTE;
        if first < now.begin { first + now.begin - now.top() } else { first }
    }
}

impl Stretch {
    /// Returns when its hour began, or would have begun.
    fn top(&self) -> i64 {
        self.begin - (self.begin + self.offset).rem_euclid(HOUR)
    }

    fn last_minute(&self) -> u32 {
        minute(self.end - SECOND + self.offset)
    }
}

impl<F: Fn(i64) -> i64> Wall<F> {
    /// Returns the stretch that contains a moment.
    fn stretch(&self, at: i64) -> Option<Stretch> {
        let offset = (self.0)(at);
        let local = at + offset;
        let top = at - local.rem_euclid(HOUR);
        let date = DateTime::from_timestamp_millis(local)?.date_naive();
        let hour = u32::try_from(local.rem_euclid(DAY) / HOUR).ok()?;
        let begin = if (self.0)(top) == offset { top } else { self.change(top, at, |now| now == offset) };
        let is_cut = (self.0)(top + HOUR - SECOND) != offset;
        let end = if is_cut { self.change(at, top + HOUR, |now| now != offset) } else { top + HOUR };
        Some(Stretch { begin, end, offset, date, hour })
    }

    /// Returns the first second in `(low, high]` at which the offset is as asked for; at `low` it is not.
    fn change(&self, mut low: i64, mut high: i64, is_new: impl Fn(i64) -> bool) -> i64 {
        while high - low > SECOND {
            let middle = low + (high - low) / 2 / SECOND * SECOND;
            if is_new((self.0)(middle)) { high = middle } else { low = middle }
        }
        high - high.rem_euclid(SECOND)
    }

    /// Returns the first stretch of the day `date`, for a search that is at `at` in `now`.
    ///
    /// If midnight comes twice, it is the one in the offset that applies on the day `reached` at this time of day.
    fn dawn(&self, now: &Stretch, at: i64, reached: NaiveDate, date: NaiveDate) -> Option<Stretch> {
        let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        let of_day = (at + now.offset).rem_euclid(DAY);
        let offset = (self.0)(self.moment(midnight(reached) + of_day, now.offset));
        self.stretch(self.moment(midnight(date), offset).max(now.end))
    }

    /// Returns when local time shows `local`, if possible with that offset; a skipped time is as much later as the
    /// clock was changed.
    fn moment(&self, local: i64, offset: i64) -> i64 {
        let other = (self.0)(local - offset);
        let again = (self.0)(local - other);
        if other == offset || again == other { local - other } else { local - other.min(again) }
    }

    /// Moves on by as many stretches as an hour is away, but not beyond it. Returns where that is and the stretch
    /// before.
    ///
    /// So if an hour is repeated in between, that hour may be reached, and is then looked at.
    fn pass(&self, mut now: Stretch, mut at: i64, hour: u32) -> Option<(Stretch, Option<Stretch>)> {
        let mut before = None;
        for _ in now.hour..hour {
            before = Some(now);
            now = self.stretch(now.end.max(at + HOUR))?;
            at = now.begin;
            if now.hour >= hour {
                break;
            }
        }
        Some((now, before))
    }
}

fn has(listed: u64, value: u32) -> bool {
    listed >> value & 1 == 1
}

/// Returns the smallest listed value above another.
fn above(listed: u64, value: u32) -> Option<u32> {
    (value + 1..64).find(|other| has(listed, *other))
}

/// Returns the minute of a local time.
fn minute(local: i64) -> u32 {
    u32::try_from(local.rem_euclid(HOUR) / MINUTE).unwrap_or_default()
}
