//! Reads the options of any peer.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use serde_json::value::RawValue;

use super::PLAIN;
#[cfg(test)]
use super::parent::first_policy;
#[cfg(test)]
use crate::options::OnChildFailure;
use crate::options::backoff::BackoffKind;
use crate::options::keep::Form;
use crate::options::{Backoff, KeepJobs, OptionName, ParentRef};
use crate::wire::json::{self, JsonText};

/// The options that oxmq understands in a job's `opts`, whoever wrote them.
///
/// Jobs without special options allocate nothing: only other options are on the heap. Fields are read through
/// [`Deref`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StoredOptions(Option<Box<Known>>);

/// The options we know, in the form in which they apply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    /// 0 and 1 both mean one attempt.
    pub(crate) attempts: u32,
    pub(crate) lifo: bool,
    pub(crate) omit_context: bool,
    /// Which of [`OnChildFailure::ALL`] are set; ports may set more than one.
    policies: [bool; 4],
    pub(crate) backoff: Option<Backoff>,
    pub(crate) remove_on_complete: Option<KeepJobs>,
    pub(crate) remove_on_fail: Option<KeepJobs>,
    /// 0 and `None` keep all.
    pub(crate) keep_logs: Option<u32>,
    pub(crate) stack_trace_limit: Option<u32>,
    pub(crate) job_id: Option<String>,
    /// An option of oxmq.
    pub(crate) timeout: Option<Duration>,
    /// An option of oxmq: the latest first start that makes sense, ms.
    pub(crate) start_by: Option<f64>,
    /// An option of oxmq: the same, counted from when the job could run, ms.
    pub(crate) expires_in: Option<f64>,
    /// For information only: the hash has the link that applies.
    pub(crate) parent: Option<ParentRef>,
    pub(crate) deduplication_id: Option<String>,
    pub(crate) telemetry: Option<String>,
    pub(crate) repeat: Option<JsonText>,
    pub(crate) repeat_job_key: Option<String>,
    pub(crate) prev_millis: Option<f64>,
    /// As given when the job was added; the hash has the value that applies.
    pub(crate) delay: Option<f64>,
    /// As given when the job was added; the hash has the value that applies.
    pub(crate) priority: Option<f64>,
    pub(crate) timestamp: Option<f64>,
    /// An option that could not be read and only matters after the job has run; the safe choice was made for it.
    pub(crate) odd: Option<&'static str>,
}

static DEFAULT: Known = Known {
    attempts: 0,
    lifo: false,
    omit_context: false,
    policies: [false; 4],
    backoff: None,
    remove_on_complete: None,
    remove_on_fail: None,
    keep_logs: None,
    stack_trace_limit: None,
    job_id: None,
    timeout: None,
    start_by: None,
    expires_in: None,
    parent: None,
    deduplication_id: None,
    telemetry: None,
    repeat: None,
    repeat_job_key: None,
    prev_millis: None,
    delay: None,
    priority: None,
    timestamp: None,
    odd: None,
};

impl Deref for StoredOptions {
    type Target = Known;

    fn deref(&self) -> &Known {
        self.0.as_deref().unwrap_or(&DEFAULT)
    }
}

impl Known {
    /// Returns the policy that applies if the job fails for good.
    #[cfg(test)]
    pub(crate) fn on_child_failure(&self) -> Option<OnChildFailure> {
        first_policy(self.policies)
    }
}

impl StoredOptions {
    /// Reads the text of `opts`; an empty text means no options.
    ///
    /// Unknown options are ignored. `null` means that an option is not set; of two options with one name the later one
    /// applies.
    ///
    /// # Errors
    ///
    /// The text is not a JSON object, or an option that decides what happens to the job is invalid.
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        if matches!(raw, PLAIN | "{}" | "") {
            return Ok(Self(None));
        }
        match raw.trim_ascii() {
            // PHP writes an empty array for Lua's empty table; and JavaScript's `undefined` may end up as null.
            "" | "null" | "[]" => return Ok(Self(None)),
            text if !text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() => {
                return Err("it is not an object".to_owned());
            }
            _ => {}
        }
        let mut known = DEFAULT.clone();
        json::object(raw, |name, value| known.take(name, value))?;
        Ok(Self((known != DEFAULT).then(|| Box::new(known))))
    }
}

impl Known {
    fn take(&mut self, name: &str, value: &RawValue) -> Result<(), String> {
        let Some(option) = OptionName::of(name) else {
            match name {
                "repeat" => self.repeat = json::truthy(value).then(|| JsonText::new(value.get())),
                "prevMillis" | "prev_millis" => self.prev_millis = json::number(value),
                _ => {}
            }
            return Ok(());
        };
        match option {
            OptionName::Attempts => {
                self.attempts = required(name, value)?.map_or(0, |number| json::count(number.ceil()));
            }
            // The job still runs; whoever decides on its next attempt reports the unknown strategy.
            OptionName::Backoff => self.backoff = self.or_safe("backoff", backoff(value), unknown_backoff()),
            OptionName::Lifo => self.lifo = json::truthy(value),
            OptionName::Delay => self.delay = json::number(value),
            OptionName::Priority => self.priority = json::number(value),
            OptionName::Timestamp => self.timestamp = json::number(value),
            OptionName::JobId => self.job_id = json::id(value),
            OptionName::RemoveOnComplete => {
                self.remove_on_complete = self.or_safe("removeOnComplete", keep(value), KeepJobs::new());
            }
            OptionName::RemoveOnFail => {
                self.remove_on_fail = self.or_safe("removeOnFail", keep(value), KeepJobs::new());
            }
            OptionName::KeepLogs => self.keep_logs = json::number(value).map(json::count),
            OptionName::StackTraceLimit => {
                self.stack_trace_limit = json::number(value).filter(|number| *number >= 0.0).map(json::count);
            }
            OptionName::StartBy => self.start_by = json::number(value).filter(|ms| *ms > 0.0),
            OptionName::ExpiresIn => self.expires_in = json::number(value).filter(|ms| *ms > 0.0),
            OptionName::Timeout => self.timeout = json::number(value).filter(|ms| *ms > 0.0).map(span),
            OptionName::Deduplication => self.deduplication_id = deduplication_id(value),
            OptionName::OnChildFailure => self.policies[place_of_policy(name)] = json::truthy(value),
            OptionName::TelemetryMetadata => self.telemetry = telemetry(value),
            OptionName::OmitContext => self.omit_context = json::truthy(value),
            OptionName::Telemetry => each_of(value, |name, value| match name {
                "metadata" => self.telemetry = telemetry(value),
                "omitContext" => self.omit_context = json::truthy(value),
                _ => {}
            }),
            OptionName::Parent => self.parent = parent(value),
            OptionName::RepeatJobKey => self.repeat_job_key = json::id(value),
            // Only whoever adds the job reads it.
            OptionName::SizeLimit => {}
        }
        Ok(())
    }

    /// Returns the value of an option that only matters after the job has run; the safe choice if it cannot be read,
    /// since that is no reason not to run the job.
    fn or_safe<T>(&mut self, option: &'static str, read: Result<Option<T>, String>, safe: T) -> Option<T> {
        read.unwrap_or_else(|_| {
            self.odd = Some(option);
            Some(safe)
        })
    }
}

/// Returns the position in `policies` of this name. Short or long, the four names differ in their first letter.
fn place_of_policy(name: &str) -> usize {
    match name.as_bytes().first() {
        Some(b'f') => 0,
        Some(b'c') => 1,
        Some(b'i') => 2,
        _ => 3,
    }
}

/// Reads a number that decides what happens to the job; `None` for null.
fn required(option: &str, value: &RawValue) -> Result<Option<f64>, String> {
    match json::number(value) {
        Some(number) => Ok(Some(number)),
        None if value.get() == "null" => Ok(None),
        None => Err(format!("{option} is no number")),
    }
}

/// Calls `each` with the members of an object; not at all for any other value.
fn each_of<'a>(value: &'a RawValue, mut each: impl FnMut(&str, &'a RawValue)) {
    // Any other value has no members: then the optional options in it are not set.
    let _ = json::object(value.get(), |name, value| {
        each(name, value);
        Ok(())
    });
}

fn backoff(value: &RawValue) -> Result<Option<Backoff>, String> {
    let of = |kind, delay| Backoff { kind, delay, jitter: None, max_delay: None };
    if !json::truthy(value) && json::number(value) != Some(0.0) || value.get() == "false" || json::empty(value) {
        return Ok(None);
    }
    match value.get().as_bytes().first() {
        Some(b'{') => {}
        Some(b'-' | b'0'..=b'9') => return Ok(Some(of(BackoffKind::Fixed, json::number(value)))),
        Some(b'"') => {
            let text = json::string(value).unwrap_or_default();
            return Ok(Some(match json::number(value) {
                Some(delay) => of(BackoffKind::Fixed, Some(delay)),
                None => of(BackoffKind::from_name(Cow::Owned(text.into_owned())), None),
            }));
        }
        _ => return Err("backoff is neither a number nor an object".to_owned()),
    }
    let mut backoff = unknown_backoff();
    json::object(value.get(), |name, value| {
        match name {
            "type" => {
                if let Some(name) = json::id(value) {
                    backoff.kind = BackoffKind::from_name(Cow::Owned(name));
                }
            }
            "delay" => backoff.delay = required("backoff.delay", value)?,
            "jitter" => backoff.jitter = json::number(value),
            "maxDelay" => backoff.max_delay = json::number(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(backoff))
}

/// Returns the strategy for a backoff without a name, which no worker knows; Node says `undefined`.
fn unknown_backoff() -> Backoff {
    Backoff { kind: BackoffKind::Custom(Cow::Borrowed("undefined")), delay: None, jitter: None, max_delay: None }
}

fn keep(value: &RawValue) -> Result<Option<KeepJobs>, String> {
    match value.get() {
        "null" => return Ok(None),
        "true" | "\"true\"" => return Ok(Some(true.into())),
        "false" | "\"false\"" => return Ok(Some(false.into())),
        json if json.starts_with('{') => {}
        _ if json::empty(value) => return Ok(Some(KeepJobs::new())),
        _ => {
            let number = required("it", value)?;
            return Ok(number.map(|count| KeepJobs { count: kept(count), form: Form::Number, ..KeepJobs::new() }));
        }
    }
    let mut keep = KeepJobs::new();
    json::object(value.get(), |name, value| {
        match name {
            "count" => keep.count = required("count", value)?.and_then(kept),
            "age" => {
                keep.age = required("age", value)?
                    .filter(|age| *age >= 0.0)
                    .map(|age| Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX));
            }
            "limit" => keep.limit = json::number(value).filter(|limit| *limit >= 1.0).and_then(kept),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(keep))
}

/// Returns a duration of at least one millisecond.
fn span(ms: f64) -> Duration {
    Duration::from_millis(u64::try_from(json::integer(ms.ceil())).unwrap_or(1))
}

/// Reads a number of jobs; a negative one means all.
fn kept(count: f64) -> Option<u64> {
    // Rounded up: rather one job too many than one too few.
    if count < 0.0 { None } else { u64::try_from(json::integer(count.ceil())).ok() }
}

fn deduplication_id(value: &RawValue) -> Option<String> {
    let mut id = None;
    each_of(value, |name, value| {
        if name == "id" {
            id = json::id(value).filter(|id| !id.is_empty());
        }
    });
    id
}

fn parent(value: &RawValue) -> Option<ParentRef> {
    let (mut id, mut queue) = (None, None);
    each_of(value, |name, value| match name {
        "id" => id = json::id(value),
        "queue" | "queueKey" => queue = json::id(value),
        _ => {}
    });
    Some(ParentRef::stored(id?, queue?))
}

/// Reads a text as it is, and an object as JSON; `false`, which Node writes without a context, means none.
fn telemetry(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first() {
        Some(b'"') => json::string(value).map(Cow::into_owned).filter(|text| !text.is_empty()),
        Some(b'{') => Some(value.get().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> StoredOptions {
        StoredOptions::parse(json).unwrap_or_else(|problem| panic!("{json}: {problem}"))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn plain_options_need_no_parser_and_no_memory() {
        for plain in ["", "{}", PLAIN, "null", "[]", " {} ", r#"{"attempts":0,"x":1}"#] {
            assert_eq!(parse(plain).0, None, "{plain}");
        }
        assert_eq!(size_of::<StoredOptions>(), size_of::<usize>());
    }

    #[test]
    fn attempts_in_every_disguise() {
        for (value, attempts) in [
            ("3", 3),
            ("3.0", 3),
            ("2.5", 3),
            ("\"3\"", 3),
            ("-1", 0),
            ("1.7976931348623e+308", u32::MAX),
            ("1e999", u32::MAX),
            ("null", 0),
            ("true", 1),
        ] {
            assert_eq!(parse(&format!(r#"{{"attempts":{value}}}"#)).attempts, attempts, "{value}");
        }
        assert_eq!(parse(r#"{"attempts":3,"attempts":5}"#).attempts, 5);
        assert_eq!(parse(r#"{"attempts":3,"attempts":null}"#).attempts, 0);
    }

    #[test]
    fn backoff_in_every_disguise() {
        let of = |kind, delay| Some(Backoff { kind, delay, jitter: None, max_delay: None });
        for (value, backoff) in [
            ("1000", of(BackoffKind::Fixed, Some(1000.0))),
            ("0", of(BackoffKind::Fixed, Some(0.0))),
            ("\"1000\"", of(BackoffKind::Fixed, Some(1000.0))),
            ("\"exponential\"", of(BackoffKind::Exponential, None)),
            ("null", None),
            ("false", None),
            ("\"\"", None),
            ("[]", None),
            ("{}", None),
            (r#"{"type":"fixed","delay":"5","x":1}"#, of(BackoffKind::Fixed, Some(5.0))),
            (
                r#"{"delay":0.5,"type":"exponential","jitter":0.25}"#,
                Some(Backoff { kind: BackoffKind::Exponential, delay: Some(0.5), jitter: Some(0.25), max_delay: None }),
            ),
            (r#"{"type":"mine","delay":null}"#, of(BackoffKind::Custom("mine".into()), None)),
            (r#"{"delay":5}"#, of(BackoffKind::Custom("undefined".into()), Some(5.0))),
        ] {
            assert_eq!(parse(&format!(r#"{{"attempts":2,"backoff":{value}}}"#)).backoff, backoff, "{value}");
        }
    }

    #[test]
    fn retention_in_every_disguise() {
        let number = |count| Some(KeepJobs { count, form: Form::Number, ..KeepJobs::new() });
        for (value, keep) in [
            ("true", Some(true.into())),
            ("false", Some(false.into())),
            ("null", None),
            ("0", number(Some(0))),
            ("-1", number(None)),
            ("\"5\"", number(Some(5))),
            ("1e300", number(Some(i64::MAX.unsigned_abs()))),
            ("{}", Some(KeepJobs::new())),
            ("[]", Some(KeepJobs::new())),
            (r#"{"count":-1}"#, Some(KeepJobs::new())),
            (r#"{"age":0.5,"count":"7","limit":3,"x":[]}"#, Some(KeepJobs::new().age(ms(500)).count(7).limit(3))),
            (r#"{"age":1e300,"limit":null}"#, Some(KeepJobs::new().age(Duration::MAX))),
        ] {
            for name in ["removeOnComplete", "remove_on_complete"] {
                assert_eq!(parse(&format!(r#"{{"{name}":{value}}}"#)).remove_on_complete, keep, "{value}");
            }
            for name in ["removeOnFail", "remove_on_fail"] {
                assert_eq!(parse(&format!(r#"{{"{name}":{value}}}"#)).remove_on_fail, keep, "{value}");
            }
        }
    }

    #[test]
    fn long_and_short_names_mean_the_same() {
        let long = parse(
            r#"{"failParentOnFailure":true,"keepLogs":3,"deduplication":{"ttl":1,"id":"d"},"telemetry":{"metadata":"m","omitContext":true}}"#,
        );
        let short = parse(r#"{"fpof":true,"kl":3,"de":{"id":"d"},"tm":"m","omc":true}"#);
        assert_eq!(long, short);
        assert_eq!(long.on_child_failure(), Some(OnChildFailure::FailParent));
        assert_eq!((long.keep_logs, long.deduplication_id.as_deref()), (Some(3), Some("d")));
        assert_eq!((long.telemetry.as_deref(), long.omit_context), (Some("m"), true));
        let elixir = parse(r#"{"at":3,"attempts":3,"bo":1,"ro":true,"ignore_dependency_on_failure":true,"lifo":true}"#);
        assert_eq!((elixir.attempts, elixir.lifo), (3, true));
        assert_eq!(elixir.on_child_failure(), Some(OnChildFailure::IgnoreDependency));
    }

    #[test]
    fn each_other_option_is_read_as_it_is_stored() {
        let options = parse(
            r#"{"tm":false,"omc":true,"de":{"id":42},"parent":{"id":7,"queue":"p:q","x":1},"priority":-1,"delay":0.5,
                "timestamp":1700000000000.2,"jobId":"j","repeat":{"every":500, "count":1},"repeatJobKey":"k",
                "prevMillis":1700000000000,"timeout":1500,"stackTraceLimit":0,"kl":"5"}"#,
        );
        assert_eq!((options.telemetry.as_deref(), options.deduplication_id.as_deref()), (None, Some("42")));
        assert_eq!(options.parent, Some(ParentRef::stored("7", "p:q")));
        assert_eq!((options.priority, options.delay), (Some(-1.0), Some(0.5)));
        assert_eq!((options.timestamp, options.prev_millis), (Some(1_700_000_000_000.2), Some(1.7e12)));
        assert_eq!(options.repeat.as_ref().map(JsonText::as_str), Some(r#"{"every":500, "count":1}"#));
        assert_eq!((options.job_id.as_deref(), options.repeat_job_key.as_deref()), (Some("j"), Some("k")));
        assert_eq!((options.timeout, options.stack_trace_limit, options.keep_logs), (Some(ms(1500)), Some(0), Some(5)));
    }

    #[test]
    fn what_decides_and_cannot_be_read_is_named() {
        for (json, named) in [
            (r#"{"attempts":{}}"#, "attempts"),
            (r#"{"attempts":[3]}"#, "attempts"),
            (r#"{"attempts":"many"}"#, "attempts"),
            ("7", "object"),
            ("[1]", "object"),
            ("\"x\"", "object"),
        ] {
            let problem = StoredOptions::parse(json).unwrap_err();
            assert!(problem.contains(named), "{json}: {problem}");
        }
        for broken in ["{", "x", r#"{"a":1}}"#, r#"{"a"}"#, "{'a':1}"] {
            assert!(StoredOptions::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_only_decides_what_happens_afterwards_falls_back_to_the_safe_side() {
        for (json, odd) in [
            (r#"{"backoff":true}"#, "backoff"),
            (r#"{"backoff":[1]}"#, "backoff"),
            (r#"{"backoff":{"type":"fixed","delay":{}}}"#, "backoff"),
            (r#"{"removeOnComplete":"soon"}"#, "removeOnComplete"),
            (r#"{"removeOnComplete":"{\"age\":10}"}"#, "removeOnComplete"),
            (r#"{"removeOnFail":{"count":"few"}}"#, "removeOnFail"),
            (r#"{"removeOnFail":{"age":[]}}"#, "removeOnFail"),
        ] {
            let options = parse(json);
            assert_eq!(options.odd, Some(odd), "{json}");
            let keeps_all = [options.remove_on_complete, options.remove_on_fail].into_iter().flatten();
            assert!(keeps_all.eq((odd != "backoff").then(KeepJobs::new)), "{json}");
            assert_eq!(options.backoff, (odd == "backoff").then(unknown_backoff), "{json}");
        }
        assert_eq!(parse(r#"{"kl":{},"timeout":[],"stackTraceLimit":"x"}"#), parse("{}"));
    }

    #[test]
    fn what_we_do_not_know_never_matters() {
        let deep =
            format!(r#"{{"attempts":2,"x":{}{},"y":1e999,"z":"\ud800","\udfff":0}}"#, "[".repeat(500), "]".repeat(500));
        assert_eq!(parse(&deep).attempts, 2);
    }
}
