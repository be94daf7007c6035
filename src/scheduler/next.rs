//! The run after this one: whether there is one, when, and with which options; pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::repeat::MOST_CAUGHT_UP;
use crate::options::{MAX_PRIORITY, MAX_SAFE};
use crate::script::advance_scheduler::Advance;
use crate::wire::job::RawJob;
use crate::wire::json;

/// What follows a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NextRun {
    Run(Box<Advance>),
    /// Nothing: the limit or the end is reached. The scheduler's entry stays.
    Ended,
}

/// What the member `overlap` says where runs are not to overlap.
pub(super) const SKIP: &str = "skip";

pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// What follows the run `job` of the scheduler `key` at the time `now`, in ms.
///
/// The options of the job decide, and go on to the next run; the scheduler's own hash is the script's affair.
///
/// # Errors
///
/// The options say nothing usable about repetition; why, for people.
pub(crate) fn after(key: &str, job: &RawJob, now: u64) -> Result<NextRun, String> {
    let mut opts = members(&job.opts_text)?;
    let repeat_text = opts.remove("repeat").map_or("", |repeat| repeat.get());
    let mut repeat = members(repeat_text).map_err(|_| "the job has no options `repeat`".to_owned())?;
    let number = |name: &str| repeat.get(name).copied().and_then(json::number);
    let text = |name: &str| repeat.get(name).copied().and_then(json::string);

    let every = number("every").filter(|every| *every != 0.0);
    let pattern = text("pattern").filter(|pattern| !pattern.is_empty());
    match (&every, &pattern) {
        (Some(_), Some(_)) => return Err("it has both an interval and a pattern".to_owned()),
        (None, None) => return Err("it has neither an interval nor a pattern".to_owned()),
        _ => {}
    }
    if every.is_some_and(|every| every < 1.0) {
        return Err("its interval is below a millisecond".to_owned());
    }
    let start = repeat.get("startDate").and_then(|value| moment(value));
    let end = repeat.get("endDate").and_then(|value| moment(value));
    if start.is_some() && repeat.get("immediately").is_some_and(|value| json::truthy(value)) {
        return Err("it has both a start and `immediately`".to_owned());
    }
    let skips = text("overlap").is_some_and(|overlap| overlap == SKIP);
    let catch_up = number("catchUp").map_or(0, |slots| whole(slots).min(u64::from(MOST_CAUGHT_UP)));
    let ended = || {
        if !skips {
            return NextRun::Ended;
        }
        NextRun::Run(Box::new(Advance { is_last: true, skips, ..Advance::of(key, job) }))
    };
    let count = number("count").filter(|count| *count > 0.0).map_or(1, |count| whole(count) + 1);
    if number("limit").is_some_and(|limit| count > whole(limit)) || end.is_some_and(|end| now > end) {
        return Ok(ended());
    }
    let earliest = now.max(job.options.prev_millis.map_or(0, whole));
    let slot = match &pattern {
        None => None,
        Some(pattern) => {
            let from = start.map_or(earliest, |start| start.max(earliest));
            let (zone, seed) = (text("tz"), text("hashSeed"));
            let pattern = Pattern::parse(pattern, zone.as_deref(), seed.as_deref())?;
            let missed = match job.options.prev_millis.map(whole) {
                Some(prev) if catch_up > 0 => {
                    pattern.missed(start.map_or(prev, |start| start.max(prev)), now, catch_up)
                }
                _ => None,
            };
            match missed.or_else(|| pattern.next_after(from).map(|slot| slot.max(earliest))) {
                Some(slot) if end.is_none_or(|end| slot <= end) => Some(slot),
                _ => return Ok(ended()),
            }
        }
    };
    let offset = number("offset").filter(|offset| *offset != 0.0 && every.is_some());

    let mut owned = Vec::new();
    let mut set = |name: &'static str, json: String| owned.push((name, json));
    set("repeatJobKey", quoted(key));
    set("timestamp", now.to_string());
    if let Some(slot) = slot {
        set("prevMillis", slot.to_string());
    }
    if !opts.contains_key("attempts") {
        set("attempts", "0".to_owned());
    }
    if let Some(delay) = opts.get("backoff").filter(|value| is_number(value)).and_then(|value| json::number(value)) {
        set("backoff", format!(r#"{{"type":"fixed","delay":{delay}}}"#));
    }
    let mut repeats = vec![("count", count.to_string())];
    for (name, at) in [("startDate", start), ("endDate", end)] {
        repeats.extend(at.map(|at| (name, at.to_string())));
    }
    repeat.remove("immediately");
    if offset.is_none() {
        repeat.remove("offset");
    }
    set("repeat", object(&repeat, &repeats));
    for name in ["delay", "jobId", "prevMillis"] {
        opts.remove(name);
    }
    Ok(NextRun::Run(Box::new(Advance {
        slot,
        every,
        offset,
        opts: object(&opts, &owned),
        priority: job.options.priority.map_or(0, json::count).min(MAX_PRIORITY),
        lifo: job.options.lifo,
        deduplication_id: job.options.deduplication_id.clone(),
        may_be_legacy: may_be_legacy(key),
        catch_up: u32::try_from(catch_up).unwrap_or(0),
        skips,
        ..Advance::of(key, job)
    })))
}

impl Advance {
    /// What follows `job`, as far as nothing but the job is known.
    fn of(key: &str, job: &RawJob) -> Self {
        Self {
            scheduler: key.to_owned(),
            producer: job.id.clone(),
            slot: None,
            every: None,
            offset: None,
            opts: String::new(),
            priority: 0,
            lifo: false,
            deduplication_id: None,
            may_be_legacy: false,
            revives: false,
            catch_up: 0,
            skips: false,
            is_last: false,
        }
    }
}

/// Whether a text has the shape of the key of a repeatable job up to BullMQ 3, `name:id:end:zone:pattern`. An id of a
/// scheduler may have it by accident.
fn may_be_legacy(key: &str) -> bool {
    let parts: Vec<&str> = key.splitn(5, ':').collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts[..], [_, _, end, _, rest] if digits(end) && !rest.is_empty() && (rest.contains(' ') || digits(rest)))
}

/// A pattern and its zone, understood.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    #[cfg(feature = "cron")]
    cron: super::cron::Cron,
    #[cfg(feature = "cron")]
    zone: super::cron::Zone,
}

#[cfg(feature = "cron")]
pub(super) fn check_zone(zone: Option<&str>) -> Result<(), String> {
    super::cron::Zone::parse(zone).map(drop)
}

#[cfg(feature = "cron")]
impl Pattern {
    pub(super) fn parse(pattern: &str, zone: Option<&str>, seed: Option<&str>) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("the pattern is empty".to_owned());
        }
        let zone = super::cron::Zone::parse(zone)?;
        Ok(Self { cron: super::cron::Cron::parse(pattern, seed)?, zone })
    }

    /// The first time after a moment, both in ms.
    pub(super) fn next_after(&self, ms: u64) -> Option<u64> {
        self.cron.next_after(ms, &self.zone)
    }

    /// Whether it has an `H`.
    pub(super) fn is_hashed(&self) -> bool {
        self.cron.is_hashed()
    }
}

#[cfg(not(feature = "cron"))]
pub(super) fn check_zone(_: Option<&str>) -> Result<(), String> {
    Ok(())
}

#[cfg(not(feature = "cron"))]
impl Pattern {
    pub(super) fn parse(pattern: &str, _: Option<&str>, _: Option<&str>) -> Result<Self, String> {
        Err(format!("the pattern '{pattern}' needs the feature `cron` of this crate"))
    }

    pub(super) fn next_after(&self, _: u64) -> Option<u64> {
        None
    }

    pub(super) fn is_hashed(&self) -> bool {
        false
    }
}

impl Pattern {
    /// The first of the last `most` times after `from` that have passed at `now`; `None` if none has.
    fn missed(&self, from: u64, now: u64, most: u64) -> Option<u64> {
        let first = self.next_after(from).filter(|first| *first <= now)?;
        // Whether more than so many lie after a moment and not after now.
        let is_more = |after: u64| {
            let mut at = after;
            for _ in 0..=most {
                match self.next_after(at) {
                    Some(next) if next <= now => at = next,
                    _ => return false,
                }
            }
            true
        };
        if !is_more(from) {
            return Some(first);
        }
        // Times are whole seconds: the earliest second after which there are no more than that.
        let (mut low, mut high) = (from / 1000, now / 1000 + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_more(middle * 1000) {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.next_after(high * 1000)
    }
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

/// The members as one object, those in `set` in place of others of their name.
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

/// A date as other writers put it: ms since the epoch, or text as JavaScript prints dates.
fn moment(value: &RawValue) -> Option<u64> {
    if let Some(ms) = json::number(value) {
        return Some(whole(ms));
    }
    let at = chrono::DateTime::parse_from_rfc3339(&json::string(value)?).ok()?;
    u64::try_from(at.timestamp_millis()).ok()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates, and is capped")]
fn whole(number: f64) -> u64 {
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
