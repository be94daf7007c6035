//! A job as it is stored in its hash.

mod texts;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::json;
use super::options::{Parent, StoredOptions};
use crate::error::Error;
#[cfg(test)]
use crate::options::OnChildFailure;
use texts::Texts;
pub(crate) use texts::{Fresh, Garbled};

/// A job without its types: JSON stays text, and nothing of the hash is lost.
///
/// Fields that a new job never has are in `rest`, on the heap, which most jobs do not need.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawJob {
    texts: Texts,
    pub(crate) options: StoredOptions,
    /// When the job was added, in ms; `None` if missing or no number.
    pub(crate) timestamp: Option<i64>,
    /// The last delay, in ms.
    pub(crate) delay: i64,
    pub(crate) priority: i64,
    /// When the current or last attempt began, in ms.
    pub(crate) processed_on: Option<i64>,
    /// How often a worker took the job.
    pub(crate) attempts_started: u32,
    /// How many attempts are spent.
    pub(crate) attempts_made: u32,
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Rest {
    stalled_counter: u32,
    finished_on: Option<i64>,
    parent_key: Option<String>,
    /// JSON.
    parent_text: Option<String>,
    parent: Option<Parent>,
    repeat_job_key: Option<String>,
    deduplication_id: Option<String>,
    /// JSON.
    progress: Option<String>,
    /// JSON.
    return_value: Option<String>,
    failed_reason: Option<String>,
    /// JSON.
    stacktrace: Option<String>,
    deferred_failure: Option<String>,
    processed_by: Option<String>,
    tm: Option<String>,
    ready_on: Option<i64>,
    retried_on: Option<i64>,
    unknown: Vec<(Vec<u8>, Vec<u8>)>,
}

static NOTHING: Rest = Rest {
    stalled_counter: 0,
    finished_on: None,
    parent_key: None,
    parent_text: None,
    parent: None,
    repeat_job_key: None,
    deduplication_id: None,
    progress: None,
    return_value: None,
    failed_reason: None,
    stacktrace: None,
    deferred_failure: None,
    processed_by: None,
    tm: None,
    ready_on: None,
    retried_on: None,
    unknown: Vec::new(),
};

/// A job's id, as Redis holds it byte for byte. As text, bytes that are not UTF-8 become `�`; that is for people, and
/// is never sent to Redis.
#[derive(Clone)]
pub(crate) struct JobId(IdBytes);

/// The longest id that is stored without the heap; ids that a queue numbers fit.
const SHORT_ID: usize = 22;

#[derive(Clone)]
enum IdBytes {
    Short { length: u8, bytes: [u8; SHORT_ID] },
    Long(Arc<[u8]>),
}

impl AsRef<[u8]> for JobId {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            IdBytes::Short { length, bytes } => &bytes[..usize::from(*length)],
            IdBytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for JobId {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for JobId {}

impl From<&[u8]> for JobId {
    fn from(id: &[u8]) -> Self {
        let mut bytes = [0; SHORT_ID];
        match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(id);
                Self(IdBytes::Short { length, bytes })
            }
            _ => Self(IdBytes::Long(id.into())),
        }
    }
}

impl From<&str> for JobId {
    fn from(id: &str) -> Self {
        id.as_bytes().into()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_ref()))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.as_ref()), f)
    }
}

/// A job that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Undecodable {
    /// The job's id, byte for byte.
    pub(crate) id_bytes: Vec<u8>,
    pub(crate) kind: UndecodableKind,
    /// The hash field that cannot be read.
    pub(crate) field: &'static str,
    pub(crate) problem: String,
    /// What could be read, so that the job can be failed like any other: text that is not UTF-8 has `�`, JSON that
    /// cannot be read is the default. `id` is exact unless `field` is `id`.
    pub(crate) partial: Box<RawJob>,
}

/// Why a job cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UndecodableKind {
    /// It has neither `name` nor `data`: it is what a late write left of a removed job.
    Ghost,
    /// A field has an invalid value.
    Field,
}

impl Undecodable {
    /// Returns the id, for messages only.
    #[cfg(test)]
    pub(crate) fn id(&self) -> &str {
        self.partial.id()
    }
}

impl Undecodable {
    /// Returns a job whose fields could not be fetched.
    pub(crate) fn lost(id: Vec<u8>) -> Self {
        let partial = RawJob::of_id(String::from_utf8_lossy(&id).into_owned());
        let problem = "no reply that holds it comes through; it may be larger than the server's \
                       client-output-buffer-limit or than the network lets pass"
            .to_owned();
        Self { id_bytes: id, kind: UndecodableKind::Field, field: "data", problem, partial: Box::new(partial) }
    }
}

impl From<Undecodable> for Error {
    fn from(undecodable: Undecodable) -> Self {
        let Undecodable { field, problem, partial, .. } = undecodable;
        Self::Undecodable { id: partial.id().to_owned(), field, problem }
    }
}

/// A hash field and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

impl RawJob {
    /// Reads a job that has the fields of a plain one. Its texts are not copied, but for those of earlier attempts.
    pub(crate) fn fresh(fresh: Fresh) -> Result<Self, Undecodable> {
        let Fresh { texts, timestamp, priority, earlier } = fresh;
        let mut job = Self { texts: Texts::Joined(texts), timestamp, priority, ..Self::default() };
        if let Some(earlier) = earlier {
            (job.delay, job.attempts_made, job.attempts_started) =
                (earlier.delay, earlier.attempts_made, earlier.attempts_started);
            let more = job.more_mut();
            more.failed_reason = Some(earlier.failed_reason);
            more.stacktrace = Some(earlier.stacktrace);
            more.processed_by = earlier.processed_by;
        }
        let mut reader = Reader { job, id_bytes: None, problem: None };
        reader.options();
        reader.finish()
    }

    /// Reads a job from its whole hash.
    pub(crate) fn from_pairs(id: Vec<u8>, pairs: Vec<Pair>) -> Result<Self, Undecodable> {
        let mut reader = Reader { job: Self::default(), id_bytes: None, problem: None };
        let (mut name, mut data, mut opts) = (None, None, None);
        let mut rest = Vec::new();
        for (field, value) in pairs {
            match &*field {
                b"name" => name = Some(value),
                b"data" => data = Some(value),
                b"opts" => opts = Some(value),
                b"timestamp" => reader.job.timestamp = number(&value),
                b"delay" => reader.job.delay = number(&value).unwrap_or(0),
                b"priority" => reader.job.priority = number(&value).unwrap_or(0),
                _ => rest.push((field, value)),
            }
        }
        if name.is_none() && data.is_none() {
            reader.ghost();
        }
        let id = reader.id(id);
        let name = reader.text("name", name.unwrap_or_default());
        let data = reader.data(data.unwrap_or_default());
        let opts = reader.text("opts", opts.unwrap_or_default()).into();
        reader.job.texts = Texts::Apart { id, name, data, opts };
        reader.options();
        reader.rest(rest);
        reader.finish()
    }

    /// Returns a job of which only the id is known.
    pub(crate) fn of_id(id: String) -> Self {
        Self {
            texts: Texts::Apart { id, name: String::new(), data: String::new(), opts: "".into() },
            ..Self::default()
        }
    }

    /// Returns a job that was just added.
    #[expect(clippy::too_many_arguments, reason = "one argument for each field that an added job has")]
    pub(crate) fn added(
        id: String,
        name: String,
        data: String,
        opts: Cow<'static, str>,
        options: StoredOptions,
        timestamp: u64,
        delay: u64,
        priority: u32,
    ) -> Self {
        Self {
            texts: Texts::Apart { id, name, data, opts },
            options,
            timestamp: i64::try_from(timestamp).ok(),
            delay: i64::try_from(delay).unwrap_or(i64::MAX),
            priority: i64::from(priority),
            ..Self::default()
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.texts.id()
    }

    pub(crate) fn name(&self) -> &str {
        self.texts.name()
    }

    /// Returns the data: JSON, as stored byte for byte; never empty.
    pub(crate) fn data(&self) -> &str {
        self.texts.data()
    }

    /// Returns `opts` as stored byte for byte; `options` has what we read in it.
    pub(crate) fn opts_text(&self) -> &str {
        self.texts.opts()
    }

    fn more(&self) -> &Rest {
        self.rest.as_deref().unwrap_or(&NOTHING)
    }

    fn more_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// Returns how often the job was found without a lock.
    pub(crate) fn stalled_counter(&self) -> u32 {
        self.more().stalled_counter
    }

    /// Returns when the job finished, in ms.
    pub(crate) fn finished_on(&self) -> Option<i64> {
        self.more().finished_on
    }

    /// Returns the key of the parent's hash.
    pub(crate) fn parent_key(&self) -> Option<&str> {
        self.more().parent_key.as_deref()
    }

    /// Returns the parent, also for jobs that have only its key.
    pub(crate) fn parent(&self) -> Option<&Parent> {
        self.more().parent.as_ref()
    }

    /// Returns the field `parent` as it is stored.
    #[cfg(test)]
    pub(crate) fn parent_text(&self) -> Option<&str> {
        self.more().parent_text.as_deref()
    }

    /// Returns what a failure of this job does to its parent: the policy in the field `parent`, else in the options,
    /// where BullMQ up to 5.34 has it.
    #[cfg(test)]
    pub(crate) fn on_child_failure(&self) -> Option<OnChildFailure> {
        self.parent().and_then(|parent| parent.policy).or_else(|| self.options.on_child_failure())
    }

    /// Returns the key of the scheduler that created this job.
    pub(crate) fn repeat_job_key(&self) -> Option<&str> {
        self.more().repeat_job_key.as_deref()
    }

    /// Returns the deduplication id, from the hash or else from the options.
    pub(crate) fn deduplication_id(&self) -> Option<&str> {
        self.more().deduplication_id.as_deref().or(self.options.deduplication_id.as_deref())
    }

    /// Returns the progress as JSON; `None` if there is none.
    pub(crate) fn progress(&self) -> Option<&str> {
        self.more().progress.as_deref()
    }

    /// Returns the return value as JSON; `None` until the job has completed.
    pub(crate) fn return_value(&self) -> Option<&str> {
        self.more().return_value.as_deref()
    }

    /// Returns why the last failed attempt failed; a later success does not remove it.
    pub(crate) fn failed_reason(&self) -> Option<&str> {
        self.more().failed_reason.as_deref()
    }

    /// Returns the stack traces as they are stored: JSON, usually an array of strings.
    pub(crate) fn stacktrace_text(&self) -> Option<&str> {
        self.more().stacktrace.as_deref()
    }

    /// Returns the stack traces of the failed attempts, the latest last; none if the field is not an array.
    pub(crate) fn stacktrace(&self) -> Vec<String> {
        let traces: Option<Vec<&RawValue>> = self.stacktrace_text().and_then(|text| serde_json::from_str(text).ok());
        let text = |trace| json::string(trace).map_or_else(|| trace.get().to_owned(), Cow::into_owned);
        traces.unwrap_or_default().into_iter().map(text).collect()
    }

    /// Returns why the next worker is to fail the job without running it.
    pub(crate) fn deferred_failure(&self) -> Option<&str> {
        self.more().deferred_failure.as_deref()
    }

    /// Returns the name of the worker that took the job last.
    pub(crate) fn processed_by(&self) -> Option<&str> {
        self.more().processed_by.as_deref()
    }

    /// Returns when the job last became ready, in ms, if it was noted: that is done for jobs that may expire, and only where it is
    /// not when the job was added and its first delay over.
    pub(crate) fn ready_on(&self) -> Option<i64> {
        self.more().ready_on
    }

    /// Returns when the job became ready again with its starts forgotten, in ms, where that is noted.
    pub(crate) fn retried_on(&self) -> Option<i64> {
        self.more().retried_on
    }

    /// Returns when the job became ready, in ms, as far as its hash tells.
    pub(crate) fn ready_at(&self) -> Option<i64> {
        let delay = self.options.delay.map_or(0, json::integer).max(0);
        let noted = self.retried_on().or_else(|| self.ready_on());
        noted.or_else(|| self.timestamp.map(|added| added.saturating_add(delay)))
    }

    /// Returns the trace context of the attempt that failed.
    #[cfg(test)]
    pub(crate) fn failure_telemetry(&self) -> Option<&str> {
        self.more().tm.as_deref()
    }

    /// Returns the fields that oxmq does not know.
    #[cfg(test)]
    pub(crate) fn unknown(&self) -> &[Pair] {
        &self.more().unknown
    }

    pub(crate) fn set_deduplication_id(&mut self, id: Option<String>) {
        if id.is_some() || self.rest.is_some() {
            self.more_mut().deduplication_id = id;
        }
    }

    #[cfg(test)]
    pub(crate) fn set_stacktrace(&mut self, json: Option<String>) {
        self.more_mut().stacktrace = json;
    }

    pub(crate) fn set_processed_by(&mut self, worker: Option<String>) {
        self.more_mut().processed_by = worker;
    }
}

/// Reads a hash to its end and remembers the first problem.
struct Reader {
    job: RawJob,
    id_bytes: Option<Vec<u8>>,
    problem: Option<(UndecodableKind, &'static str, String)>,
}

impl Reader {
    fn id(&mut self, id: Vec<u8>) -> String {
        String::from_utf8(id).unwrap_or_else(|error| {
            self.note("id", "it is not UTF-8");
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            self.id_bytes = Some(error.into_bytes());
            lossy
        })
    }

    fn note(&mut self, field: &'static str, problem: impl Into<String>) {
        self.problem.get_or_insert_with(|| (UndecodableKind::Field, field, problem.into()));
    }

    fn ghost(&mut self) {
        self.problem = Some((UndecodableKind::Ghost, "name", "it is missing, as is data".to_owned()));
    }

    fn text(&mut self, field: &'static str, bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap_or_else(|error| {
            self.note(field, "it is not UTF-8");
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    }

    fn data(&mut self, bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap_or_else(|_| {
            self.note("data", "it is not UTF-8");
            String::new()
        })
    }

    fn options(&mut self) {
        self.job.options = StoredOptions::parse(self.job.opts_text()).unwrap_or_else(|problem| {
            self.note("opts", problem);
            StoredOptions::default()
        });
    }

    fn rest(&mut self, pairs: Vec<Pair>) {
        let mut legacy_attempts = None;
        for (field, value) in pairs {
            match &*field {
                b"ats" => self.job.attempts_started = counter(&value),
                b"atm" => self.job.attempts_made = counter(&value),
                b"attemptsMade" => legacy_attempts = Some(counter(&value)),
                b"processedOn" => self.job.processed_on = number(&value),
                b"stc" => self.job.more_mut().stalled_counter = counter(&value),
                b"finishedOn" => self.job.more_mut().finished_on = number(&value),
                b"parentKey" => self.job.more_mut().parent_key = some(self.text("parentKey", value)),
                b"parent" => self.job.more_mut().parent_text = some(self.text("parent", value)),
                b"rjk" => self.job.more_mut().repeat_job_key = some(self.text("rjk", value)),
                b"deid" => self.job.more_mut().deduplication_id = some(self.text("deid", value)),
                b"progress" => self.job.more_mut().progress = some(self.text("progress", value)),
                b"returnvalue" => self.job.more_mut().return_value = some(self.text("returnvalue", value)),
                b"defa" => self.job.more_mut().deferred_failure = some(self.text("defa", value)),
                // Only people read it, so it is no reason to refuse the job.
                b"failedReason" => self.job.more_mut().failed_reason = Some(lossy(value)),
                b"stacktrace" => self.job.more_mut().stacktrace = Some(lossy(value)),
                b"pb" => self.job.more_mut().processed_by = Some(lossy(value)),
                b"oxmq:ready" => self.job.more_mut().ready_on = number(&value),
                b"oxmq:retried" => self.job.more_mut().retried_on = number(&value),
                b"tm" => self.job.more_mut().tm = Some(lossy(value)),
                _ => self.job.more_mut().unknown.push((field, value)),
            }
        }
        if let Some(attempts) = legacy_attempts {
            self.job.attempts_made = attempts;
        }
        self.parent();
    }

    fn parent(&mut self) {
        let more = self.job.more();
        let parent = match (&more.parent_text, &more.parent_key) {
            (None, None) => return,
            (Some(text), key) => match Parent::parse(text) {
                Ok(parent) => Some(parent),
                Err(problem) => {
                    let parent = key.as_deref().and_then(Parent::from_key);
                    self.note("parent", problem);
                    parent
                }
            },
            (None, Some(key)) => Parent::from_key(key),
        };
        self.job.more_mut().parent = parent;
    }

    fn finish(self) -> Result<RawJob, Undecodable> {
        let Some((kind, field, problem)) = self.problem else { return Ok(self.job) };
        let id_bytes = self.id_bytes.unwrap_or_else(|| self.job.id().into());
        Err(Undecodable { id_bytes, kind, field, problem, partial: Box::new(self.job) })
    }
}

/// Turns an empty text into `None`.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Reads a number; fractions are cut off, as in Node. `None` if it is missing or no number.
fn number(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?.trim_ascii();
    if let Ok(integer) = text.parse() {
        return Some(integer);
    }
    let number: f64 = text.parse().ok()?;
    (!number.is_nan()).then(|| json::integer(number))
}

/// Reads a number as a job's hash holds it, for those who read a single field.
pub(crate) fn stored_number(bytes: &[u8]) -> Option<i64> {
    number(bytes)
}

fn counter(bytes: &[u8]) -> u32 {
    number(bytes).map_or(0, |number| u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
