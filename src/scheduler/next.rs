//! Decides whether there is a next run, when, and with which options. Without I/O.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::pattern::Pattern;
use super::repeat::MOST_CAUGHT_UP;
use crate::options::{MAX_PRIORITY, MAX_SAFE};
use crate::script::advance_scheduler::{Advance, Revives};
use crate::wire::job::RawJob;
use crate::wire::json;

/// The run that follows another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NextRun {
    Run(Box<Advance>),
    /// There is none: the limit or the end is reached. The scheduler's entry stays.
    Ended,
}

/// The value of the member `overlap` if runs must not overlap.
pub(super) const SKIP: &str = "skip";

/// The members of a JSON object, whose values are kept as they were written.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Returns what follows the run `job` of the scheduler `key` at the time `now`, in ms.
///
/// The job's options decide, and are passed on to the next run; the script handles the scheduler's own hash.
///
/// # Errors
///
/// Why the options cannot be read, for people.
pub(crate) fn after(key: &str, job: &RawJob, now: u64) -> Result<NextRun, String> {
    let mut opts = members(job.opts_text())?;
    let repeat_text = opts.remove("repeat").map_or("", |repeat| repeat.get());
    let repeat = members(repeat_text).map_err(|_| "the job has no options `repeat`".to_owned())?;
    let said = Said::read(&repeat)?;
    let slot = match said.due(job.options.prev_millis.map(whole), now)? {
        Due::At(slot) => Some(slot),
        Due::ByInterval => None,
        // Whether this run may begin beside an earlier one is asked all the same.
        Due::Never if said.skips => {
            return Ok(NextRun::Run(Box::new(Advance { is_last: true, skips: true, ..Advance::of(key, job) })));
        }
        Due::Never => return Ok(NextRun::Ended),
    };
    Ok(NextRun::Run(Box::new(Advance {
        opts: next_opts(key, opts, said.next_repeat(repeat), slot, now),
        ..said.advance(key, job, slot)
    })))
}

/// Returns what creates the run `job` of the scheduler `key` again, which is due at `slot`, in ms.
///
/// # Errors
///
/// Why its options cannot be read, for people.
#[cfg(feature = "doctor")]
pub(super) fn again(key: &str, job: &RawJob, slot: u64, now: u64) -> Result<Advance, String> {
    let mut opts = members(job.opts_text())?;
    let repeat_text = opts.remove("repeat").map_or("", |repeat| repeat.get());
    let repeat = members(repeat_text).map_err(|_| "the job has no options `repeat`".to_owned())?;
    let mut said = Said::read(&repeat)?;
    // It has the number of the run after this one.
    said.count = said.count.saturating_sub(1).max(1);
    let by_pattern = said.pattern.as_ref().map(|_| slot);
    let opts = next_opts(key, opts, said.next_repeat(repeat), by_pattern, now);
    Ok(Advance { opts, revives: Revives::WithSameRun, skips: false, ..said.advance(key, job, by_pattern) })
}

/// What the options of a run say about repetition.
struct Said<'a> {
    /// The interval in ms; either this or a pattern is there.
    every: Option<f64>,
    offset: Option<f64>,
    pattern: Option<Cow<'a, str>>,
    zone: Option<Cow<'a, str>>,
    seed: Option<Cow<'a, str>>,
    start: Option<u64>,
    end: Option<u64>,
    /// The how manieth run the next one is.
    count: u64,
    limit: Option<u64>,
    /// How many slots that passed are made up.
    catch_up: u64,
    /// Whether a run is skipped while an earlier one has not ended.
    skips: bool,
}

/// When a next run is due.
enum Due {
    /// At this time in ms, by a pattern.
    At(u64),
    /// When the script says, which knows the slots of the interval.
    ByInterval,
    /// Not at all: the limit or the end is reached.
    Never,
}

impl<'a> Said<'a> {
    fn read(repeat: &Members<'a>) -> Result<Self, String> {
        let number = |name: &str| repeat.get(name).copied().and_then(json::number);
        let text = |name: &str| repeat.get(name).copied().and_then(json::string);
        let date = |name: &str| repeat.get(name).copied().and_then(moment);
        let every = number("every").filter(|every| *every != 0.0);
        let said = Self {
            every,
            offset: number("offset").filter(|offset| *offset != 0.0 && every.is_some()),
            pattern: text("pattern").filter(|pattern| !pattern.is_empty()),
            zone: text("tz"),
            seed: text("hashSeed"),
            start: date("startDate"),
            end: date("endDate"),
            count: number("count").filter(|count| *count > 0.0).map_or(1, |count| whole(count) + 1),
            limit: number("limit").map(whole),
            catch_up: number("catchUp").map_or(0, |slots| whole(slots).min(u64::from(MOST_CAUGHT_UP))),
            skips: text("overlap").is_some_and(|overlap| overlap == SKIP),
        };
        let is_immediate = repeat.get("immediately").is_some_and(|value| json::truthy(value));
        match said.problem(is_immediate) {
            Some(problem) => Err(problem.to_owned()),
            None => Ok(said),
        }
    }

    fn problem(&self, is_immediate: bool) -> Option<&'static str> {
        match (self.every, &self.pattern) {
            (Some(_), Some(_)) => Some("it has both an interval and a pattern"),
            (None, None) => Some("it has neither an interval nor a pattern"),
            (Some(every), None) if every < 1.0 => Some("its interval is below a millisecond"),
            _ if is_immediate && self.start.is_some() => Some("it has both a start and `immediately`"),
            _ => None,
        }
    }

    /// Returns when the run after one that was due at `prev` is due, seen from `now`; both in ms.
    fn due(&self, prev: Option<u64>, now: u64) -> Result<Due, String> {
        if self.limit.is_some_and(|limit| self.count > limit) || self.end.is_some_and(|end| now > end) {
            return Ok(Due::Never);
        }
        let Some(pattern) = &self.pattern else { return Ok(Due::ByInterval) };
        let pattern = Pattern::parse(pattern, self.zone.as_deref(), self.seed.as_deref())?;
        let missed = match prev {
            Some(prev) if self.catch_up > 0 => pattern.missed(self.not_before_start(prev), now, self.catch_up),
            _ => None,
        };
        let earliest = now.max(prev.unwrap_or(0));
        let regular = || pattern.next_after(self.not_before_start(earliest)).map(|slot| slot.max(earliest));
        let slot = missed.or_else(regular).filter(|slot| self.end.is_none_or(|end| *slot <= end));
        Ok(slot.map_or(Due::Never, Due::At))
    }

    /// Returns what creates a run that is due at `slot`, without its options.
    fn advance(&self, key: &str, job: &RawJob, slot: Option<u64>) -> Advance {
        Advance {
            slot,
            every: self.every,
            offset: self.offset,
            priority: job.options.priority.map_or(0, json::count).min(MAX_PRIORITY),
            lifo: job.options.lifo,
            deduplication_id: job.options.deduplication_id.clone(),
            may_be_legacy: may_be_legacy(key),
            catch_up: u32::try_from(self.catch_up).unwrap_or(0),
            skips: self.skips,
            ..Advance::of(key, job)
        }
    }

    fn not_before_start(&self, ms: u64) -> u64 {
        self.start.map_or(ms, |start| start.max(ms))
    }

    /// Returns the options `repeat` of the next run, those of this one being `repeat`.
    fn next_repeat(&self, mut repeat: Members<'_>) -> String {
        repeat.remove("immediately");
        if self.offset.is_none() {
            repeat.remove("offset");
        }
        let mut set = vec![("count", self.count.to_string())];
        for (name, at) in [("startDate", self.start), ("endDate", self.end)] {
            set.extend(at.map(|at| (name, at.to_string())));
        }
        object(&repeat, &set)
    }
}

/// Returns the options of the next run, those of this one being `opts`.
fn next_opts(key: &str, mut opts: Members<'_>, repeat: String, slot: Option<u64>, now: u64) -> String {
    for name in ["delay", "jobId", "prevMillis"] {
        opts.remove(name);
    }
    let mut set = vec![("repeatJobKey", quoted(key)), ("timestamp", now.to_string())];
    set.extend(slot.map(|slot| ("prevMillis", slot.to_string())));
    if !opts.contains_key("attempts") {
        set.push(("attempts", "0".to_owned()));
    }
    if let Some(delay) = opts.get("backoff").filter(|value| is_number(value)).and_then(|value| json::number(value)) {
        set.push(("backoff", format!(r#"{{"type":"fixed","delay":{delay}}}"#)));
    }
    set.push(("repeat", repeat));
    object(&opts, &set)
}

impl Advance {
    /// Returns what follows `job`, as far as it depends on the job alone.
    fn of(key: &str, job: &RawJob) -> Self {
        Self {
            scheduler: key.to_owned(),
            producer: job.id().to_owned(),
            slot: None,
            every: None,
            offset: None,
            opts: String::new(),
            priority: 0,
            lifo: false,
            deduplication_id: None,
            may_be_legacy: false,
            revives: Revives::No,
            catch_up: 0,
            skips: false,
            is_last: false,
        }
    }
}

/// Returns whether a text has the form of the key of a repeatable job of BullMQ 3 and older,
/// `name:id:end:zone:pattern`. The id of a scheduler may have this form by accident.
fn may_be_legacy(key: &str) -> bool {
    let parts: Vec<&str> = key.splitn(5, ':').collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts[..], [_, _, end, _, rest] if digits(end) && !rest.is_empty() && (rest.contains(' ') || digits(rest)))
}

pub(super) fn members(text: &str) -> Result<Members<'_>, String> {
    let mut members = BTreeMap::new();
    json::object(text, |name, value| {
        if value.get() != "null" {
            members.insert(name.to_owned(), value);
        }
        Ok(())
    })?;
    Ok(members)
}

/// Writes the members as one object, in which those in `set` replace others of the same name.
pub(super) fn object(members: &Members<'_>, set: &[(&str, String)]) -> String {
    let kept = members.iter().filter(|(name, _)| set.iter().all(|(other, _)| other != name));
    let kept = kept.map(|(name, value)| (name.as_str(), value.get()));
    let all: Vec<String> = kept
        .chain(set.iter().map(|(name, json)| (*name, json.as_str())))
        .map(|(name, json)| format!("{}:{json}", quoted(name)))
        .collect();
    format!("{{{}}}", all.join(","))
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn is_number(value: &RawValue) -> bool {
    matches!(value.get().as_bytes().first(), Some(b'-' | b'0'..=b'9'))
}

/// Reads a date as other writers store it: ms since the epoch, or text as JavaScript prints dates.
fn moment(value: &RawValue) -> Option<u64> {
    if let Some(ms) = json::number(value) {
        return Some(whole(ms));
    }
    let at = chrono::DateTime::parse_from_rfc3339(&json::string(value)?).ok()?;
    u64::try_from(at.timestamp_millis()).ok()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates, and is capped")]
pub(super) fn whole(number: f64) -> u64 {
    (number as u64).min(MAX_SAFE)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::options::StoredOptions;

    const NOW: u64 = 1_700_000_000_000;

    fn next(opts: &Value) -> Result<NextRun, String> {
        let text = opts.to_string();
        let options = StoredOptions::parse(&text).unwrap();
        let job = RawJob::added("repeat:s:1".into(), "n".into(), "{}".into(), text.into(), options, NOW, 0, 0);
        after("s", &job, NOW)
    }

    fn run(opts: &Value) -> (Advance, Value) {
        match next(opts) {
            Ok(NextRun::Run(advance)) => {
                let opts = serde_json::from_str(&advance.opts).unwrap();
                (*advance, opts)
            }
            other => panic!("{opts}: {other:?}"),
        }
    }

    #[test]
    fn options_go_on_to_the_next_run() {
        let opts = json!({
            "repeat": { "every": 1000, "count": 2, "endDate": "2050-01-01T00:00:00.000Z", "offset": 7, "mine": [1] },
            "jobId": "x", "delay": 3, "timestamp": 1, "prevMillis": 5, "backoff": 50, "unheard": {"of": 1e3}, "lifo": true,
            "priority": 2, "de": {"id": "d"}, "nothing": null,
        });
        let (advance, opts) = run(&opts);
        assert_eq!((advance.slot, advance.every, advance.offset), (None, Some(1000.0), Some(7.0)));
        assert_eq!((advance.priority, advance.lifo, advance.deduplication_id.as_deref()), (2, true, Some("d")));
        let repeat = json!({ "every": 1000, "count": 3, "endDate": 2_524_608_000_000_u64, "offset": 7, "mine": [1] });
        let backoff = json!({ "type": "fixed", "delay": 50 });
        let expected = json!({
            "repeat": repeat, "timestamp": NOW, "backoff": backoff, "unheard": {"of": 1e3}, "lifo": true, "priority": 2,
            "de": {"id": "d"}, "attempts": 0, "repeatJobKey": "s",
        });
        assert_eq!(opts, expected);
    }

    #[test]
    fn limits_and_ends_end_it() {
        for (repeat, goes_on) in [
            (json!({ "every": 5, "limit": 3, "count": 2 }), true),
            (json!({ "every": 5, "limit": 3, "count": 3 }), false),
            (json!({ "every": 5, "endDate": NOW }), true),
            (json!({ "every": 5, "endDate": NOW - 1 }), false),
        ] {
            assert_eq!(next(&json!({ "repeat": repeat })) != Ok(NextRun::Ended), goes_on, "{repeat}");
        }
    }

    #[test]
    fn what_is_no_repetition_is_said() {
        for repeat in [
            json!(null),
            json!(5),
            json!({}),
            json!({ "every": 0 }),
            json!({ "every": -5 }),
            json!({ "every": 5, "pattern": "* * * * *" }),
            json!({ "pattern": "sat-sun" }),
            json!({ "pattern": "* * * * *", "tz": "Mars/Base" }),
        ] {
            assert!(next(&json!({ "repeat": repeat })).is_err(), "{repeat}");
        }
    }

    #[cfg(feature = "cron")]
    #[test]
    fn a_pattern_is_due_after_now_the_last_run_and_the_start() {
        let slot = |extra: Value| {
            let mut opts = json!({ "repeat": { "pattern": "*/10 * * * * *", "tz": "UTC" } });
            for (name, value) in extra.as_object().unwrap() {
                let holder = if name == "prevMillis" { &mut opts } else { &mut opts["repeat"] };
                holder[name] = value.clone();
            }
            run(&opts).0.slot.unwrap() - NOW
        };
        assert_eq!(slot(json!({})), 10_000);
        assert_eq!(slot(json!({ "prevMillis": NOW + 10_000 })), 20_000);
        assert_eq!(slot(json!({ "startDate": NOW + 30_000 })), 40_000);
        let opts = json!({ "repeat": { "pattern": "*/10 * * * * *", "tz": "UTC", "endDate": NOW + 9_999 } });
        assert_eq!(next(&opts), Ok(NextRun::Ended));
    }

    #[test]
    fn old_keys_have_a_shape_of_their_own() {
        for (key, old) in [
            ("n:::UTC:* * * * *", true),
            ("n:id:1700000000000::5000", true),
            ("a:b:1:d:5", true),
            ("n::x::5", false),
            ("n::::", false),
            ("n:::", false),
            ("plain", false),
        ] {
            assert_eq!(may_be_legacy(key), old, "{key}");
        }
    }
}
