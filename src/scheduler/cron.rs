//! Cron patterns as BullMQ's cron-parser 5 reads them.
//!
//! The text is read by rules of our own, because other parsers read patterns differently: names, missing fields,
//! duplicates, weekday 7, `L` and `H`. The search for the next time is in `search`.

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, Local, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::search::{self, Listed};

/// A parsed pattern.
#[derive(Debug, Clone)]
pub(crate) struct Cron {
    listed: Listed,
    is_hashed: bool,
}

/// The time zone whose local time a pattern is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Zone {
    Named(Tz),
    Offset(FixedOffset),
    /// The time zone of this process.
    Own,
}

/// What one field of a pattern may contain.
struct Shape {
    name: &'static str,
    min: u32,
    max: u32,
    names: bool,
    last: bool,
}

const SHAPES: [Shape; 6] = [
    Shape { name: "second", min: 0, max: 59, names: false, last: false },
    Shape { name: "minute", min: 0, max: 59, names: false, last: false },
    Shape { name: "hour", min: 0, max: 23, names: false, last: false },
    Shape { name: "day of month", min: 1, max: 31, names: false, last: true },
    Shape { name: "month", min: 1, max: 12, names: true, last: false },
    Shape { name: "day of week", min: 0, max: 7, names: true, last: true },
];

/// The longest length of each month; February includes its leap day.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// The values that one field lists.
#[derive(Debug, Default)]
struct Field {
    values: Vec<u32>,
    /// Days of the week in their last week of the month; in the field of the day of month, any entry means the last
    /// day.
    last: Vec<u32>,
    /// For a day of the week: which one in the month.
    nth: Option<u32>,
    is_wildcard: bool,
    is_hashed: bool,
}

impl Cron {
    /// Reads a pattern. `seed` fixes what `H` stands for; without a seed it is drawn anew each time, as in BullMQ.
    ///
    /// # Errors
    ///
    /// Why the pattern is invalid, for people.
    pub(crate) fn parse(text: &str, seed: Option<&str>) -> Result<Self, String> {
        let bad = |problem: &str| format!("the pattern '{text}': {problem}");
        if text.len() > 1024 {
            return Err(bad("it is longer than 1024 characters"));
        }
        let words: Vec<&str> = named(text).unwrap_or(text).split_whitespace().collect();
        if words.len() > 6 {
            return Err(bad("it has more than six fields"));
        }
        let defaults = ["0", "*", "*", "*", "*", "*"];
        // Missing fields are the first ones, which surprises those who have left one out by mistake.
        let few = match words.len() {
            0..=4 => format!("; it has {} of the five fields, or six with seconds", words.len()),
            _ => String::new(),
        };
        let words = defaults[..6 - words.len()].iter().copied().chain(words);
        let mut random = Random::new(seed);
        let mut drawn = [0.0; 6];
        // In this order the draws give the same numbers as cron-parser for the same seed.
        for field in [0, 1, 2, 4, 3, 5] {
            drawn[field] = random.next();
        }
        let mut fields = Vec::with_capacity(6);
        for ((word, shape), draw) in words.zip(&SHAPES).zip(drawn) {
            let field = Field::parse(word, shape, draw);
            fields.push(field.map_err(|problem| bad(&format!("{}: {problem}{few}", shape.name)))?);
        }
        let [seconds, minutes, hours, days, months, weekdays] = &fields[..] else { return Err(bad("six fields")) };
        if let [month] = months.values[..]
            && days.last.is_empty()
            && weekdays.is_wildcard
            && days.values.first().is_some_and(|day| *day > DAYS[month as usize - 1])
        {
            return Err(bad("the month has no such day"));
        }
        let bits = |values: &[u32]| values.iter().fold(0, |bits, value| bits | 1 << value);
        let listed = Listed {
            seconds: bits(&seconds.values),
            minutes: bits(&minutes.values),
            hours: bits(&hours.values),
            days: bits(&days.values),
            months: bits(&months.values),
            weekdays: bits(&weekdays.values),
            last_day: !days.last.is_empty(),
            last_weekdays: bits(&weekdays.last),
            nth: weekdays.nth,
            any_day: days.is_wildcard,
            any_weekday: weekdays.is_wildcard,
        };
        let is_hashed = fields.iter().any(|field| field.is_hashed);
        Ok(Self { listed, is_hashed })
    }

    /// Returns whether numbers were drawn for it.
    pub(crate) fn is_hashed(&self) -> bool {
        self.is_hashed
    }

    /// Returns the first time after `ms` at which the pattern is due; `None` if there is none for decades.
    pub(crate) fn next_after(&self, ms: u64, zone: &Zone) -> Option<u64> {
        let found = search::next_after(&self.listed, |ms| zone.offset_ms(ms), i64::try_from(ms).ok()?)?;
        u64::try_from(found).ok()
    }
}

impl Zone {
    /// Returns how far local time is ahead of UTC at a moment, in ms.
    fn offset_ms(&self, ms: i64) -> i64 {
        // Beyond the calendar the search ends by itself.
        let Some(at) = DateTime::from_timestamp_millis(ms).map(|at| at.naive_utc()) else { return 0 };
        let offset = match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&at).fix(),
            Self::Offset(zone) => *zone,
            Self::Own => Local.offset_from_utc_datetime(&at),
        };
        i64::from(offset.local_minus_utc()) * 1000
    }

    /// Reads the name of a time zone; `None` means that of this process.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::Own) };
        if ["local", "system", "default"].iter().any(|own| text.eq_ignore_ascii_case(own)) {
            return Ok(Self::Own);
        }
        let bad = || format!("the time zone '{text}' is not known");
        if let Some(offset) = text.get(..3).filter(|utc| utc.eq_ignore_ascii_case("utc")).map(|_| &text[3..])
            && let Some(digits) = offset.strip_prefix(['+', '-'])
        {
            let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
            let (hours, minutes) = (i32::from_str(hours), i32::from_str(minutes));
            let (Ok(hours), Ok(minutes)) = (hours, minutes) else { return Err(bad()) };
            let east = (hours * 60 + minutes) * 60;
            let east = if offset.starts_with('-') { -east } else { east };
            return FixedOffset::east_opt(east).map(Self::Offset).ok_or_else(bad);
        }
        let named = Tz::from_str(text).ok();
        let named = named.or_else(|| TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(text)));
        named.map(Self::Named).ok_or_else(bad)
    }
}

/// Returns the pattern with this name, such as `@daily`.
fn named(text: &str) -> Option<&'static str> {
    Some(match text {
        "@yearly" | "@annually" => "0 0 0 1 1 *",
        "@monthly" => "0 0 0 1 * *",
        "@weekly" => "0 0 0 * * 0",
        "@daily" => "0 0 0 * * *",
        "@hourly" => "0 0 * * * *",
        "@minutely" => "0 * * * * *",
        "@secondly" => "* * * * * *",
        "@weekdays" => "0 0 0 * * 1-5",
        "@weekends" => "0 0 0 * * 0,6",
        _ => return None,
    })
}

impl Field {
    fn parse(word: &str, shape: &Shape, draw: f64) -> Result<Self, String> {
        let is_weekday = shape.max == 7;
        let mut field = Self { is_wildcard: matches!(word, "*" | "?"), ..Self::default() };
        let mut word = if shape.names { without_names(word)? } else { word.to_owned() };
        if is_weekday && let Some((days, nth)) = word.split_once('#') {
            if word.contains([',', '-', '/']) {
                return Err("`#` stands alone".to_owned());
            }
            field.nth = Some(nth.parse().ok().filter(|nth| (1..=5).contains(nth)).ok_or("`#` takes 1 to 5")?);
            word = days.to_owned();
        }
        let allowed = |c: char| c.is_ascii_digit() || ",-/*?".contains(c) || (c == 'L' && shape.last);
        field.is_hashed = word.contains('H');
        word = without_hashes(&word, shape, draw)?;
        if let Some(c) = word.chars().find(|c| !allowed(*c)) {
            return Err(format!("'{c}' is not allowed"));
        }
        word = word.replace(['*', '?'], &format!("{}-{}", shape.min, shape.max));
        for piece in word.split(',') {
            field.piece(piece, shape, is_weekday)?;
        }
        field.values.sort_unstable();
        Ok(field)
    }

    fn piece(&mut self, piece: &str, shape: &Shape, is_weekday: bool) -> Result<(), String> {
        if piece.is_empty() {
            return Err("an entry is empty".to_owned());
        }
        if let Some(day) = piece.strip_suffix('L').filter(|_| shape.last) {
            let day = if is_weekday {
                one(day, shape)? % 7
            } else if day.bytes().all(|byte| byte.is_ascii_digit()) {
                0
            } else {
                return Err("`L` stands alone".to_owned());
            };
            if self.last.contains(&day) {
                return Err("an entry is listed twice".to_owned());
            }
            self.last.push(day);
            return Ok(());
        }
        let (range, step) = match piece.split_once('/') {
            None => (piece.to_owned(), 1),
            Some((range, step)) => {
                let step = step.parse().ok().filter(|step: &u32| *step > 0).ok_or("a step is a number above 0")?;
                (if range.contains('-') { range.to_owned() } else { format!("{range}-{}", shape.max) }, step)
            }
        };
        let mut found = Vec::new();
        match range.split_once('-') {
            None => found.push(if is_weekday { one(&range, shape)? % 7 } else { one(&range, shape)? }),
            Some((from, to)) => {
                // What follows a third number is ignored, as in cron-parser.
                let to = to.split('-').next().unwrap_or_default();
                let (from, to) = (one(from, shape)?, one(to, shape)?);
                if from > to {
                    return Err("a range runs backwards".to_owned());
                }
                for value in (from..=to).step_by(step as usize) {
                    let value = if is_weekday { value % 7 } else { value };
                    if !found.contains(&value) {
                        found.push(value);
                    }
                }
            }
        }
        if found.iter().any(|value| self.values.contains(value)) {
            return Err("a value is listed twice".to_owned());
        }
        self.values.extend(found);
        Ok(())
    }
}

/// Reads one number of a field.
fn one(text: &str, shape: &Shape) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten().ok_or_else(|| format!("'{text}' is no number"))?;
    if (shape.min..=shape.max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} does not lie between {} and {}", shape.min, shape.max))
    }
}

/// Replaces the names of months and days of the week by numbers. Each run of three letters is a name, in either field.
fn without_names(word: &str) -> Result<String, String> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let mut numbers = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        match rest.get(..3).filter(|name| name.bytes().all(|byte| byte.is_ascii_alphabetic())) {
            Some(name) => {
                let is = |known: &&str| name.eq_ignore_ascii_case(known);
                let month = MONTHS.iter().position(is).map(|at| at + 1);
                let number = month.or_else(|| WEEKDAYS.iter().position(is));
                numbers.push_str(&number.ok_or_else(|| format!("'{name}' is not known"))?.to_string());
                rest = &rest[3..];
            }
            None => {
                numbers.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    Ok(numbers)
}

/// Replaces `H`, `H/step`, `H(from-to)` and `H(from-to)/step` by the values that `draw` picks for them.
fn without_hashes(word: &str, shape: &Shape, draw: f64) -> Result<String, String> {
    let pick = |low: u32, high: u32| scaled(draw, high - low + 1) + low;
    let mut values = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('H') {
        values.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (mut low, mut high) = (shape.min, shape.max);
        if let Some(inside) = rest.strip_prefix('(') {
            let (range, behind) = inside.split_once(')').ok_or("`H(` has no end")?;
            let (from, to) = range.split_once('-').ok_or("`H(…)` takes a range")?;
            let bounds = (from.parse::<u32>(), to.parse::<u32>());
            let (Ok(from), Ok(to)) = bounds else { return Err("`H(…)` takes a range".to_owned()) };
            (low, high) = (low.max(from), high.min(to));
            if from > to || low > high {
                return Err("the range of `H` is empty".to_owned());
            }
            rest = behind;
        }
        let mut picked = vec![pick(low, high)];
        if let Some(behind) = rest.strip_prefix('/') {
            let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
            let step = behind[..digits].parse().ok().filter(|step: &u32| *step > 0).ok_or("a step is a number")?;
            rest = &behind[digits..];
            let first = low / step * step + scaled(draw, step);
            let steps: Vec<u32> = (first..=high).step_by(step as usize).filter(|value| *value >= low).collect();
            if !steps.is_empty() {
                picked = steps;
            }
        }
        if shape.max == 7 {
            picked.iter_mut().for_each(|value| *value %= 7);
            picked.dedup();
        }
        values.push_str(&picked.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    }
    values.push_str(rest);
    Ok(values)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ≤ draw < 1")]
fn scaled(draw: f64, below: u32) -> u32 {
    (draw * f64::from(below)) as u32
}

/// Generates the numbers behind `H`: the same for the same seed, in every implementation.
struct Random(u32);

impl Random {
    fn new(seed: Option<&str>) -> Self {
        Self(match seed {
            None => fastrand::u32(..),
            Some(text) => text
                .encode_utf16()
                .fold(0x811c_9dc5, |hash: u32, unit| (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193)),
        })
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let mut mixed = (self.0 ^ (self.0 >> 15)).wrapping_mul(self.0 | 1);
        mixed ^= mixed.wrapping_add((mixed ^ (mixed >> 7)).wrapping_mul(mixed | 61));
        f64::from(mixed ^ (mixed >> 14)) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_with_too_few_fields_says_so_where_it_breaks() {
        let said = Cron::parse("30 2 * *", None).map(drop).unwrap_err();
        assert!(said.contains("it has 4 of the five fields"), "{said}");
        assert!(!Cron::parse("0 30 2 * *", None).map(drop).unwrap_err().contains("of the five fields"));
    }

    /// A twin test with Node shows that these are the values of cron-parser.
    #[test]
    fn a_seed_fixes_what_h_stands_for() {
        let first = |pattern: &str, seed| Cron::parse(pattern, Some(seed)).unwrap().next_after(0, &utc()).unwrap();
        for pattern in ["H H * * *", "H H(1-3) H * *", "H/15 * * * *", "H H * * H"] {
            assert_eq!(first(pattern, "a"), first(pattern, "a"), "{pattern}");
        }
        assert_ne!(first("H H H * * *", "a"), first("H H H * * *", "b"));
    }

    #[test]
    fn zones_are_read_as_by_node() {
        for good in ["utc", "UTC+5:45", "europe/berlin", "local", "utc-3"] {
            assert!(Zone::parse(Some(good)).is_ok(), "{good}");
        }
        for bad in ["", "Z", "+02:00", "GMT+2", "Nowhere", "UTC ", "utc+x"] {
            assert!(Zone::parse(Some(bad)).is_err(), "{bad}");
        }
    }

    /// Local times on the days on which New York changes its clock; Node returns the same.
    #[test]
    fn a_moved_clock_runs_nothing_twice() {
        let zone = Zone::parse(Some("America/New_York")).unwrap();
        let named = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        for (pattern, from, runs) in [
            ("0 30 2 * * *", "2026-03-08T00:00:00-05:00", ["2026-03-08T03:30:00-04:00", "2026-03-09T02:30:00-04:00"]),
            ("0 0 2 * * *", "2026-03-08T00:00:00-05:00", ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"]),
            ("0 30 2,3 * * *", "2026-03-08T00:00:00-05:00", ["2026-03-08T03:30:00-04:00", "2026-03-09T02:30:00-04:00"]),
            ("0 30 1 * * *", "2026-11-01T00:00:00-04:00", ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]),
            ("0 30 * * * *", "2026-11-01T01:00:00-04:00", ["2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00"]),
        ] {
            let cron = Cron::parse(pattern, None).unwrap();
            let mut at = u64::try_from(named(from)).unwrap();
            for run in runs {
                at = cron.next_after(at, &zone).unwrap();
                assert_eq!(i64::try_from(at).unwrap(), named(run), "{pattern}");
            }
        }
    }

    fn utc() -> Zone {
        Zone::parse(Some("UTC")).unwrap()
    }
}
