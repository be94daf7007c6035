//! The `opts` of a job: what we write, and a view of what others wrote.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use serde_json::value::RawValue;

use super::json;
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
    /// JSON.
    pub(crate) repeat: Option<Box<RawJson>>,
    pub(crate) repeat_job_key: Option<String>,
    pub(crate) prev_millis: Option<f64>,
    /// As given on adding; what counts is in the hash.
    pub(crate) delay: Option<f64>,
    /// As given on adding; what counts is in the hash.
    pub(crate) priority: Option<f64>,
    pub(crate) timestamp: Option<f64>,
}

/// JSON text, compared as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawJson(String);

impl RawJson {
    pub(crate) fn get(&self) -> &str {
        &self.0
    }
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
            "timeout" => {
                self.timeout = json::number(value)
                    .filter(|ms| *ms > 0.0)
                    .and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
            }
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
            "repeat" => self.repeat = json::truthy(value).then(|| Box::new(RawJson(value.get().to_owned()))),
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

/// A number of jobs; a negative one stands for all.
fn kept(count: f64) -> Option<u64> {
    u64::try_from(json::integer(count.floor())).ok()
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
