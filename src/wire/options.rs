//! The `opts` of a job: what we write, and a view of what others wrote.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use serde_json::value::RawValue;

use super::json::{self, JsonText};
use crate::clock::{epoch_ms, millis};
use crate::options::backoff::Kind;
use crate::options::keep::Form;
use crate::options::{Backoff, JobOptions, KeepJobs, OnChildFailure, ParentRef};

/// What a job without options of its own has in `opts`.
const PLAIN: &str = r#"{"attempts":0}"#;

/// The options as Node stores them: compact, short names, only what was given, `attempts` always.
pub(crate) fn to_json(options: &JobOptions) -> String {
    if is_plain(options) {
        return PLAIN.to_owned();
    }
    let mut out = Writer::new();
    out.name("attempts").integer(u64::from(options.attempts.unwrap_or(0)));
    if let Some(backoff) = &options.backoff {
        out.name("backoff").open().name("type").string(backoff.name());
        if let Some(delay) = backoff.delay {
            out.name("delay").float(delay);
        }
        if let Some(jitter) = backoff.jitter {
            out.name("jitter").float(jitter);
        }
        out.close();
    }
    if let Some(delay) = options.delay {
        out.name("delay").integer(millis(delay));
    }
    if let Some(priority) = options.priority {
        out.name("priority").integer(u64::from(priority));
    }
    if let Some(lifo) = options.lifo {
        out.name("lifo").boolean(lifo);
    }
    if let Some(id) = &options.job_id {
        out.name("jobId").string(id);
    }
    if let Some(at) = options.timestamp {
        out.name("timestamp").integer(epoch_ms(at));
    }
    if let Some(keep) = options.remove_on_complete {
        out.name("removeOnComplete").keep(keep);
    }
    if let Some(keep) = options.remove_on_fail {
        out.name("removeOnFail").keep(keep);
    }
    if let Some(lines) = options.keep_logs {
        out.name("kl").integer(u64::from(lines));
    }
    if let Some(bytes) = options.size_limit {
        out.name("sizeLimit").integer(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
    if let Some(traces) = options.stack_trace_limit {
        out.name("stackTraceLimit").integer(u64::from(traces));
    }
    if let Some(deduplication) = &options.deduplication {
        out.name("de").open().name("id").string(&deduplication.id);
        if let Some(ttl) = deduplication.ttl {
            out.name("ttl").integer(millis(ttl));
        }
        out.flag("extend", deduplication.extend);
        out.flag("replace", deduplication.replace);
        out.flag("keepLastIfActive", deduplication.keep_last_if_active);
        out.flag("reschedule", deduplication.reschedule);
        out.close();
    }
    if let Some(parent) = &options.parent {
        out.name("parent").open().name("id").string(&parent.id).name("queue").string(&parent.queue).close();
    }
    if let Some(policy) = options.on_child_failure {
        out.flag(policy.short(), true);
    }
    if let Some(metadata) = &options.telemetry_metadata {
        out.name("tm").string(metadata);
    }
    if let Some(omit) = options.omit_context {
        out.name("omc").boolean(omit);
    }
    if let Some(timeout) = options.timeout {
        out.name("timeout").integer(millis(timeout));
    }
    for (name, value) in &options.extra {
        out.name(name).raw(&value.to_string());
    }
    out.finish()
}

/// The field `parent` of a child's hash. The policy is read from here when the child fails, not from `opts`.
pub(crate) fn parent_json(parent: &ParentRef, policy: Option<OnChildFailure>) -> String {
    let mut out = Writer::new();
    out.name("id").string(&parent.id).name("queueKey").string(&parent.queue);
    if let Some(policy) = policy {
        out.flag(policy.short(), true);
    }
    out.finish()
}

fn is_plain(options: &JobOptions) -> bool {
    let JobOptions {
        attempts,
        backoff,
        delay,
        priority,
        lifo,
        job_id,
        timestamp,
        remove_on_complete,
        remove_on_fail,
        keep_logs,
        size_limit,
        stack_trace_limit,
        deduplication,
        parent,
        on_child_failure,
        telemetry_metadata,
        omit_context,
        timeout,
        extra,
    } = options;
    matches!(attempts, None | Some(0))
        && backoff.is_none()
        && delay.is_none()
        && priority.is_none()
        && lifo.is_none()
        && job_id.is_none()
        && timestamp.is_none()
        && remove_on_complete.is_none()
        && remove_on_fail.is_none()
        && keep_logs.is_none()
        && size_limit.is_none()
        && stack_trace_limit.is_none()
        && deduplication.is_none()
        && parent.is_none()
        && on_child_failure.is_none()
        && telemetry_metadata.is_none()
        && omit_context.is_none()
        && timeout.is_none()
        && extra.is_empty()
}

/// Writes one JSON object, piece by piece.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        let mut buffer = Vec::with_capacity(96);
        buffer.push(b'{');
        Self(buffer)
    }

    fn name(&mut self, name: &str) -> &mut Self {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.string(name);
        self.0.push(b':');
        self
    }

    fn open(&mut self) -> &mut Self {
        self.0.push(b'{');
        self
    }

    fn close(&mut self) {
        self.0.push(b'}');
    }

    fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    fn string(&mut self, text: &str) -> &mut Self {
        serde_json::to_writer(&mut self.0, text).expect("a string always is JSON, and a Vec takes all");
        self
    }

    fn integer(&mut self, number: u64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    fn boolean(&mut self, value: bool) -> &mut Self {
        self.raw(if value { "true" } else { "false" })
    }

    /// Integral numbers without a point, as JavaScript writes them.
    fn float(&mut self, number: f64) -> &mut Self {
        if number.fract() == 0.0 && number.abs() < 1e15 {
            self.raw(itoa::Buffer::new().format(json::integer(number)))
        } else {
            let text = serde_json::to_string(&number).expect("a number always is JSON");
            self.raw(&text)
        }
    }

    /// A flag that is only written when it is set.
    fn flag(&mut self, name: &str, on: bool) {
        if on {
            self.name(name).boolean(true);
        }
    }

    fn keep(&mut self, keep: KeepJobs) {
        match (keep.form, keep.count) {
            (Form::Flag, count) => _ = self.boolean(count.is_some()),
            (Form::Number, Some(count)) => _ = self.integer(count),
            (Form::Number, None) => _ = self.raw("-1"),
            (Form::Object, count) => {
                self.open();
                if let Some(count) = count {
                    self.name("count").integer(count);
                }
                if let Some(age) = keep.age {
                    // Node trims by seconds and does not mind fractions.
                    self.name("age").float(age.as_secs_f64());
                }
                if let Some(limit) = keep.limit {
                    self.name("limit").integer(limit);
                }
                self.close();
            }
        }
    }

    fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("put together from text")
    }
}

/// What we understand of a job's `opts`, whoever wrote them.
///
/// The options that nearly every job has cost nothing: only what differs from them is on the heap. Fields are read
/// through [`Deref`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StoredOptions(Option<Box<Known>>);

/// The options we know, as they are meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    /// 0 and 1 both mean one attempt.
    pub(crate) attempts: u32,
    pub(crate) lifo: bool,
    pub(crate) omit_context: bool,
    /// Whether the first, second … of [`OnChildFailure::ALL`] is set; ports may set more than one.
    policies: [bool; 4],
    pub(crate) backoff: Option<Backoff>,
    pub(crate) remove_on_complete: Option<KeepJobs>,
    pub(crate) remove_on_fail: Option<KeepJobs>,
    /// 0 keeps all, as does `None`.
    pub(crate) keep_logs: Option<u32>,
    pub(crate) stack_trace_limit: Option<u32>,
    pub(crate) job_id: Option<String>,
    /// Ours.
    pub(crate) timeout: Option<Duration>,
    /// For information: the link is what the hash says.
    pub(crate) parent: Option<ParentRef>,
    pub(crate) deduplication_id: Option<String>,
    pub(crate) telemetry: Option<String>,
    pub(crate) repeat: Option<JsonText>,
    pub(crate) repeat_job_key: Option<String>,
    pub(crate) prev_millis: Option<f64>,
    /// As given on adding; what counts is in the hash.
    pub(crate) delay: Option<f64>,
    /// As given on adding; what counts is in the hash.
    pub(crate) priority: Option<f64>,
    pub(crate) timestamp: Option<f64>,
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
    parent: None,
    deduplication_id: None,
    telemetry: None,
    repeat: None,
    repeat_job_key: None,
    prev_millis: None,
    delay: None,
    priority: None,
    timestamp: None,
};

impl Deref for StoredOptions {
    type Target = Known;

    fn deref(&self) -> &Known {
        self.0.as_deref().unwrap_or(&DEFAULT)
    }
}

impl Known {
    /// The policy that decides if the job fails for good.
    pub(crate) fn on_child_failure(&self) -> Option<OnChildFailure> {
        first_policy(self.policies)
    }
}

fn first_policy(set: [bool; 4]) -> Option<OnChildFailure> {
    OnChildFailure::ALL.into_iter().zip(set).find_map(|(policy, on)| on.then_some(policy))
}

impl StoredOptions {
    /// Reads the text of `opts`; empty text stands for no options.
    ///
    /// Unknown options never matter. `null` is an option that is not there, of two with one name the later one counts.
    ///
    /// # Errors
    ///
    /// The text is no JSON object, or an option that decides what becomes of the job holds something unusable.
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        if matches!(raw, PLAIN | "{}" | "") {
            return Ok(Self(None));
        }
        match raw.trim_ascii() {
            // PHP's empty array is Lua's empty table; and JavaScript's `undefined` may end as null.
            "" | "null" | "[]" => return Ok(Self(None)),
            text if !text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() => {
                return Err("it is not an object".to_owned());
            }
            _ => {}
        }
        let mut known = Known::default();
        json::object(raw, |name, value| known.take(name, value))?;
        Ok(Self((known != DEFAULT).then(|| Box::new(known))))
    }
}

impl Known {
    fn take(&mut self, name: &str, value: &RawValue) -> Result<(), String> {
        match name {
            "attempts" => self.attempts = required(name, value)?.map_or(0, |number| json::count(number.ceil())),
            "backoff" => self.backoff = backoff(value)?,
            "lifo" => self.lifo = json::truthy(value),
            "delay" => self.delay = json::number(value),
            "priority" => self.priority = json::number(value),
            "timestamp" => self.timestamp = json::number(value),
            "jobId" | "job_id" => self.job_id = json::id(value),
            "removeOnComplete" | "remove_on_complete" => self.remove_on_complete = keep("removeOnComplete", value)?,
            "removeOnFail" | "remove_on_fail" => self.remove_on_fail = keep("removeOnFail", value)?,
            "kl" | "keepLogs" | "keep_logs" => self.keep_logs = json::number(value).map(json::count),
            "stackTraceLimit" | "stack_trace_limit" => {
                self.stack_trace_limit = json::number(value).filter(|number| *number >= 0.0).map(json::count);
            }
            "timeout" => self.timeout = json::number(value).filter(|ms| *ms > 0.0).map(span),
            "de" | "deduplication" | "debounce" => self.deduplication_id = deduplication_id(value),
            "fpof" | "failParentOnFailure" | "fail_parent_on_failure" => self.policies[0] = json::truthy(value),
            "cpof" | "continueParentOnFailure" | "continue_parent_on_failure" => {
                self.policies[1] = json::truthy(value);
            }
            "idof" | "ignoreDependencyOnFailure" | "ignore_dependency_on_failure" => {
                self.policies[2] = json::truthy(value);
            }
            "rdof" | "removeDependencyOnFailure" | "remove_dependency_on_failure" => {
                self.policies[3] = json::truthy(value);
            }
            "tm" => self.telemetry = telemetry(value),
            "omc" => self.omit_context = json::truthy(value),
            "telemetry" => each_of(value, |name, value| match name {
                "metadata" => self.telemetry = telemetry(value),
                "omitContext" => self.omit_context = json::truthy(value),
                _ => {}
            }),
            "parent" => self.parent = parent(value),
            "repeat" => self.repeat = json::truthy(value).then(|| JsonText::new(value.get())),
            "repeatJobKey" | "repeat_job_key" => self.repeat_job_key = json::id(value),
            "prevMillis" | "prev_millis" => self.prev_millis = json::number(value),
            _ => {}
        }
        Ok(())
    }
}

/// A number on which the job's fate depends; `None` for null.
fn required(option: &str, value: &RawValue) -> Result<Option<f64>, String> {
    match json::number(value) {
        Some(number) => Ok(Some(number)),
        None if value.get() == "null" => Ok(None),
        None => Err(format!("{option} is no number")),
    }
}

/// The members of an object; nothing for any other value.
fn each_of<'a>(value: &'a RawValue, mut each: impl FnMut(&str, &'a RawValue)) {
    // What is no object has no members: the optional options that come this way are then not there.
    let _ = json::object(value.get(), |name, value| {
        each(name, value);
        Ok(())
    });
}

fn backoff(value: &RawValue) -> Result<Option<Backoff>, String> {
    let of = |kind, delay| Backoff { kind, delay, jitter: None };
    if !json::truthy(value) && json::number(value) != Some(0.0) || value.get() == "false" || json::empty(value) {
        return Ok(None);
    }
    match value.get().as_bytes().first() {
        Some(b'{') => {}
        Some(b'-' | b'0'..=b'9') => return Ok(Some(of(Kind::Fixed, json::number(value)))),
        Some(b'"') => {
            let text = json::string(value).unwrap_or_default();
            return Ok(Some(match json::number(value) {
                Some(delay) => of(Kind::Fixed, Some(delay)),
                None => of(Kind::from_name(Cow::Owned(text.into_owned())), None),
            }));
        }
        _ => return Err("backoff is neither a number nor an object".to_owned()),
    }
    // A strategy without a name is one that no worker knows; Node says `undefined` there.
    let mut backoff = of(Kind::Custom(Cow::Borrowed("undefined")), None);
    json::object(value.get(), |name, value| {
        match name {
            "type" => {
                if let Some(name) = json::id(value) {
                    backoff.kind = Kind::from_name(Cow::Owned(name));
                }
            }
            "delay" => backoff.delay = required("backoff.delay", value)?,
            "jitter" => backoff.jitter = json::number(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(backoff))
}

fn keep(option: &str, value: &RawValue) -> Result<Option<KeepJobs>, String> {
    match value.get() {
        "null" => return Ok(None),
        "true" | "\"true\"" => return Ok(Some(true.into())),
        "false" | "\"false\"" => return Ok(Some(false.into())),
        json if json.starts_with('{') => {}
        _ if json::empty(value) => return Ok(Some(KeepJobs::new())),
        _ => {
            let number = required(option, value)?;
            return Ok(number.map(|count| KeepJobs { count: kept(count), form: Form::Number, ..KeepJobs::new() }));
        }
    }
    let mut keep = KeepJobs::new();
    json::object(value.get(), |name, value| {
        match name {
            "count" => keep.count = required(&format!("{option}.count"), value)?.and_then(kept),
            "age" => {
                keep.age = required(&format!("{option}.age"), value)?
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

/// So many milliseconds, one at least.
fn span(ms: f64) -> Duration {
    Duration::from_millis(u64::try_from(json::integer(ms.ceil())).unwrap_or(1))
}

/// A number of jobs; a negative one stands for all.
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
    Some(ParentRef::new(id?, queue?))
}

/// Text as it is, an object as JSON; `false`, which Node writes where it leaves the context out, is nothing.
fn telemetry(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first() {
        Some(b'"') => json::string(value).map(Cow::into_owned).filter(|text| !text.is_empty()),
        Some(b'{') => Some(value.get().to_owned()),
        _ => None,
    }
}

/// The link from a child to its parent, as the child's hash has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) id: String,
    /// `<prefix>:<queue>`.
    pub(crate) queue_key: String,
    pub(crate) policy: Option<OnChildFailure>,
}

impl Parent {
    /// Reads the field `parent`.
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        let (mut id, mut queue_key, mut policies) = (None, None, [false; 4]);
        json::object(raw, |name, value| {
            match name {
                "id" => id = json::id(value),
                "queueKey" => queue_key = json::string(value),
                _ => {
                    if let Some(at) = OnChildFailure::ALL.iter().position(|policy| policy.short() == name) {
                        policies[at] = json::truthy(value);
                    }
                }
            }
            Ok(())
        })?;
        match (id, queue_key) {
            (Some(id), Some(queue_key)) => {
                Ok(Self { id, queue_key: queue_key.into_owned(), policy: first_policy(policies) })
            }
            (None, _) => Err("it has no id".to_owned()),
            _ => Err("it has no queueKey".to_owned()),
        }
    }

    /// What the key of the parent's hash tells, for jobs that have nothing else.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (queue_key, id) = key.rsplit_once(':')?;
        Some(Self { id: id.to_owned(), queue_key: queue_key.to_owned(), policy: None })
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::options::{Deduplication, MAX_SAFE};

    fn parse(json: &str) -> StoredOptions {
        StoredOptions::parse(json).unwrap_or_else(|problem| panic!("{json}: {problem}"))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn options_are_stored_as_node_stores_them() {
        let new = JobOptions::default;
        for (options, stored) in [
            (new(), r#"{"attempts":0}"#),
            (new().attempts(0), r#"{"attempts":0}"#),
            (new().attempts(3).backoff(ms(1000)), r#"{"attempts":3,"backoff":{"type":"fixed","delay":1000}}"#),
            (
                new().backoff(Backoff::exponential(ms(1)).jitter(0.25)),
                r#"{"attempts":0,"backoff":{"type":"exponential","delay":1,"jitter":0.25}}"#,
            ),
            (new().backoff(Backoff::custom("é\"")), r#"{"attempts":0,"backoff":{"type":"é\""}}"#),
            (new().delay(ms(0)).priority(0), r#"{"attempts":0,"delay":0,"priority":0}"#),
            (new().lifo(false).keep_logs(0), r#"{"attempts":0,"lifo":false,"kl":0}"#),
            (new().job_id("a").timestamp(UNIX_EPOCH + ms(5)), r#"{"attempts":0,"jobId":"a","timestamp":5}"#),
            (
                new().remove_on_complete(true).remove_on_fail(false),
                r#"{"attempts":0,"removeOnComplete":true,"removeOnFail":false}"#,
            ),
            (
                new().remove_on_complete(0).remove_on_fail(-1),
                r#"{"attempts":0,"removeOnComplete":0,"removeOnFail":-1}"#,
            ),
            (
                new()
                    .remove_on_complete(KeepJobs::new().count(1).age(ms(60_000)).limit(2))
                    .remove_on_fail(KeepJobs::new()),
                r#"{"attempts":0,"removeOnComplete":{"count":1,"age":60,"limit":2},"removeOnFail":{}}"#,
            ),
            (new().size_limit(9).stack_trace_limit(0), r#"{"attempts":0,"sizeLimit":9,"stackTraceLimit":0}"#),
            (
                new().deduplication(Deduplication::new("d").ttl(ms(5)).extend().replace()),
                r#"{"attempts":0,"de":{"id":"d","ttl":5,"extend":true,"replace":true}}"#,
            ),
            (
                new().deduplication(Deduplication::new("d").keep_last_if_active().reschedule()),
                r#"{"attempts":0,"de":{"id":"d","keepLastIfActive":true,"reschedule":true}}"#,
            ),
            (
                new().parent(ParentRef::new("1", "p:q")).on_child_failure(OnChildFailure::RemoveDependency),
                r#"{"attempts":0,"parent":{"id":"1","queue":"p:q"},"rdof":true}"#,
            ),
            (new().telemetry_metadata("{}").omit_context(true), r#"{"attempts":0,"tm":"{}","omc":true}"#),
            (new().timeout(ms(7)).extra("x", json!([1, null])), r#"{"attempts":0,"timeout":7,"x":[1,null]}"#),
        ] {
            assert_eq!(to_json(&options), stored);
            assert!(serde_json::from_str::<Value>(stored).is_ok());
        }
    }

    #[test]
    fn the_link_to_the_parent_goes_both_ways() {
        let parent = ParentRef::new("1", "p:q");
        assert_eq!(parent_json(&parent, None), r#"{"id":"1","queueKey":"p:q"}"#);
        for policy in OnChildFailure::ALL {
            let link = Parent::parse(&parent_json(&parent, Some(policy))).unwrap();
            assert_eq!(link, Parent { id: "1".into(), queue_key: "p:q".into(), policy: Some(policy) });
        }
        assert_eq!(
            Parent::parse(r#"{"queueKey":"p:q","id":7,"rdof":true,"fpof":true,"x":{}}"#).unwrap().policy,
            Some(OnChildFailure::FailParent)
        );
        for bad in ["", "{}", "[]", r#"{"id":"1"}"#, r#"{"queueKey":"p:q"}"#] {
            assert!(Parent::parse(bad).is_err(), "{bad}");
        }
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
        let of = |kind, delay| Some(Backoff { kind, delay, jitter: None });
        for (value, backoff) in [
            ("1000", of(Kind::Fixed, Some(1000.0))),
            ("0", of(Kind::Fixed, Some(0.0))),
            ("\"1000\"", of(Kind::Fixed, Some(1000.0))),
            ("\"exponential\"", of(Kind::Exponential, None)),
            ("null", None),
            ("false", None),
            ("\"\"", None),
            ("[]", None),
            ("{}", None),
            (r#"{"type":"fixed","delay":"5","x":1}"#, of(Kind::Fixed, Some(5.0))),
            (
                r#"{"delay":0.5,"type":"exponential","jitter":0.25}"#,
                Some(Backoff { kind: Kind::Exponential, delay: Some(0.5), jitter: Some(0.25) }),
            ),
            (r#"{"type":"mine","delay":null}"#, of(Kind::Custom("mine".into()), None)),
            (r#"{"delay":5}"#, of(Kind::Custom("undefined".into()), Some(5.0))),
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
    fn the_rest() {
        let options = parse(
            r#"{"tm":false,"omc":true,"de":{"id":42},"parent":{"id":7,"queue":"p:q","x":1},"priority":-1,"delay":0.5,
                "timestamp":1700000000000.2,"jobId":"j","repeat":{"every":500, "count":1},"repeatJobKey":"k",
                "prevMillis":1700000000000,"timeout":1500,"stackTraceLimit":0,"kl":"5"}"#,
        );
        assert_eq!((options.telemetry.as_deref(), options.deduplication_id.as_deref()), (None, Some("42")));
        assert_eq!(options.parent, Some(ParentRef::new("7", "p:q")));
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
            (r#"{"backoff":true}"#, "backoff"),
            (r#"{"backoff":[1]}"#, "backoff"),
            (r#"{"backoff":{"type":"fixed","delay":{}}}"#, "backoff.delay"),
            (r#"{"removeOnComplete":"soon"}"#, "removeOnComplete"),
            (r#"{"removeOnFail":{"count":"few"}}"#, "removeOnFail.count"),
            (r#"{"removeOnFail":{"age":[]}}"#, "removeOnFail.age"),
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
    fn what_we_do_not_know_never_matters() {
        let deep =
            format!(r#"{{"attempts":2,"x":{}{},"y":1e999,"z":"\ud800","\udfff":0}}"#, "[".repeat(500), "]".repeat(500));
        assert_eq!(parse(&deep).attempts, 2);
    }

    fn json_value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|flag| flag.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            "-?[1-9][0-9]{0,40}(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
            any::<String>().prop_map(|text| json!(text).to_string()),
            "\"(\\\\ud[89a-f][0-9a-f]{2}|[a-z0-9]){0,4}\"",
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                vec((option_name(), inner), 0..4).prop_map(object),
            ]
        })
    }

    fn option_name() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::sample::select(vec![
                "attempts",
                "backoff",
                "type",
                "delay",
                "jitter",
                "lifo",
                "priority",
                "timestamp",
                "jobId",
                "count",
                "age",
                "removeOnComplete",
                "removeOnFail",
                "limit",
                "kl",
                "stackTraceLimit",
                "timeout",
                "de",
                "id",
                "fpof",
                "tm",
                "telemetry",
                "metadata",
                "parent",
                "queue",
                "queueKey",
                "repeat",
                "repeatJobKey",
                "prevMillis",
            ])
            .prop_map(str::to_owned),
            "[a-zé ]{0,6}",
        ]
    }

    fn object(members: Vec<(String, String)>) -> String {
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", members.join(","))
    }

    prop_compose! {
        fn backoffs()(kind in 0..3, name in "[a-z]{1,5}", delay in 0..=MAX_SAFE, jitter in option::of(0.0..=1.0f64)) -> Backoff {
            let backoff = match kind {
                0 => Backoff::fixed(ms(delay)),
                1 => Backoff::exponential(ms(delay)),
                _ => Backoff::custom(name),
            };
            Backoff { jitter, ..backoff }
        }
    }

    fn keeps() -> impl Strategy<Value = KeepJobs> {
        let object = (option::of(0..=MAX_SAFE), option::of(0u64..1 << 40), option::of(1..=MAX_SAFE));
        prop_oneof![
            any::<bool>().prop_map(KeepJobs::from),
            (0..=MAX_SAFE).prop_map(KeepJobs::from),
            any::<i32>().prop_map(KeepJobs::from),
            object.prop_map(|(count, age, limit)| KeepJobs {
                count,
                age: age.map(Duration::from_secs),
                limit,
                form: Form::Object
            }),
        ]
    }

    prop_compose! {
        fn all_options()(
            (attempts, backoff) in (option::of(any::<u32>()), option::of(backoffs())),
            (delay, priority, lifo) in (option::of(0u64..1 << 52), option::of(0u32..1 << 21), option::of(any::<bool>())),
            (job_id, timestamp) in (option::of("[a-z\"\\\\é]{1,9}"), option::of(1u64..1 << 52)),
            (remove_on_complete, remove_on_fail) in (option::of(keeps()), option::of(keeps())),
            (keep_logs, size_limit, stack_trace_limit) in (option::of(any::<u32>()), option::of(0usize..9), option::of(any::<u32>())),
            (dedup, parent) in (option::of(any::<String>()), option::of((any::<String>(), any::<String>()))),
            policy in option::of(proptest::sample::select(OnChildFailure::ALL.to_vec())),
            (telemetry_metadata, omit_context) in (option::of("[a-z{}]{1,9}"), option::of(any::<bool>())),
            timeout in option::of(1..=MAX_SAFE),
            extra in vec(("x[a-z]{1,3}", any::<i32>()), 0..3),
        ) -> JobOptions {
            let options = JobOptions {
                attempts, backoff, delay: delay.map(ms), priority, lifo, job_id,
                timestamp: timestamp.map(|at| UNIX_EPOCH + ms(at)),
                remove_on_complete, remove_on_fail, keep_logs, size_limit, stack_trace_limit,
                deduplication: dedup.filter(|id| !id.is_empty()).map(Deduplication::new),
                parent: parent.map(|(id, queue)| ParentRef::new(id, queue)),
                on_child_failure: policy, telemetry_metadata, omit_context, timeout: timeout.map(ms), extra: Vec::new(),
            };
            extra.into_iter().fold(options, |options, (name, value)| options.extra(name, value))
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    fn float(ms: u64) -> f64 {
        ms as f64
    }

    proptest! {
        #[test]
        fn what_we_write_is_what_we_read(options in all_options()) {
            let json = to_json(&options);
            let value: Value = serde_json::from_str(&json).unwrap();
            prop_assert!(value["attempts"].is_u64());
            for (name, extra) in &options.extra {
                prop_assert_eq!(&value[name], extra);
            }
            let stored = StoredOptions::parse(&json).unwrap();
            prop_assert_eq!(stored.attempts, options.attempts.unwrap_or(0));
            prop_assert_eq!(&stored.backoff, &options.backoff);
            prop_assert_eq!(stored.delay, options.delay.map(millis).map(float));
            prop_assert_eq!(stored.priority, options.priority.map(f64::from));
            prop_assert_eq!(stored.lifo, options.lifo.unwrap_or(false));
            prop_assert_eq!(&stored.job_id, &options.job_id);
            prop_assert_eq!(stored.timestamp, options.timestamp.map(epoch_ms).map(float));
            prop_assert_eq!(stored.remove_on_complete, options.remove_on_complete);
            prop_assert_eq!(stored.remove_on_fail, options.remove_on_fail);
            prop_assert_eq!(stored.keep_logs, options.keep_logs);
            prop_assert_eq!(stored.stack_trace_limit, options.stack_trace_limit);
            prop_assert_eq!(stored.deduplication_id.as_ref(), options.deduplication.as_ref().map(|d| &d.id));
            prop_assert_eq!(&stored.parent, &options.parent);
            prop_assert_eq!(stored.on_child_failure(), options.on_child_failure);
            prop_assert_eq!(&stored.telemetry, &options.telemetry_metadata);
            prop_assert_eq!(stored.omit_context, options.omit_context.unwrap_or(false));
            prop_assert_eq!(stored.timeout, options.timeout);
        }

        #[test]
        fn no_json_makes_the_reader_panic(json in json_value()) {
            let _ = StoredOptions::parse(&json);
            let _ = Parent::parse(&json);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = StoredOptions::parse(&text);
            let _ = Parent::parse(&text);
        }

        #[test]
        fn an_unknown_option_changes_nothing(members in vec((option_name(), json_value()), 0..4), value in json_value()) {
            let mut more = members.clone();
            more.push(("unheardOf".to_owned(), value));
            prop_assert_eq!(StoredOptions::parse(&object(members)), StoredOptions::parse(&object(more)));
        }
    }
}
