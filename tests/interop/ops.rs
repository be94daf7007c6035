//! One operation on a queue, said in a way that any implementation can do it, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::common::dump::{canonical_json, trace_message};

/// What `Job.moveToWaitingChildren` waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitOpts {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub child: Option<Parent>,
}

/// An operation. Written as JSON it is what `node/driver.mjs` reads, so names and shapes are BullMQ's.
///
/// `{p}` in any text stands for the key prefix of the side that does it (needed for parents, which are named by key).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Op {
    /// Opens the queue (again) with options. Without it, the first operation opens it with none.
    SetQueue { opts: QueueOpts },
    /// Sets the options of the worker whose steps are done by hand.
    SetWorker { opts: WorkerOpts },

    /// `Queue.add` → `{id}`.
    Add {
        #[serde(flatten)]
        job: NewJob,
    },
    /// `Queue.addBulk` → `[{id}]`.
    AddBulk { jobs: Vec<NewJob> },
    /// `FlowProducer.add` → `{id, children?}`; the queue of the step does not matter.
    FlowAdd { flow: FlowNode },
    /// `FlowProducer.addBulk` → `[{id, children?}]`.
    FlowAddBulk { flows: Vec<FlowNode> },
    /// `Queue.upsertJobScheduler` → `{id}` of the next iteration.
    UpsertJobScheduler { scheduler: String, repeat: Repeat, template: Template },
    /// `Queue.removeJobScheduler` → bool.
    RemoveJobScheduler { scheduler: String },

    /// `Worker.getNextJob`, not blocking → `{job, limited, delayUntil}`; `job` as for [`Op::GetJob`], or null.
    GetNextJob { token: String },
    /// `Job.moveToCompleted` → `{next: id or null, limited, delayUntil}`.
    MoveToCompleted { job: String, token: String, value: Json, fetch_next: bool },
    /// `Job.moveToFailed`, which retries if it may → as [`Op::MoveToCompleted`].
    MoveToFailed { job: String, token: String, message: String, kind: FailKind, fetch_next: bool },
    /// `Job.moveToDelayed`, to an absolute time.
    MoveToDelayed { job: String, token: String, timestamp: i64 },
    /// `Job.moveToWait` → whether the queue is rate limited.
    MoveToWait { job: String, token: String },
    /// `Job.moveToWaitingChildren`, for a certain child or any → whether it was moved.
    MoveToWaitingChildren { job: String, token: String, opts: WaitOpts },
    /// `Job.extendLock` → bool.
    ExtendLock { job: String, token: String, duration: u64 },
    /// `Worker.extendJobLocks` → the ids whose lock is lost.
    ExtendLocks { jobs: Vec<String>, tokens: Vec<String>, duration: u64 },
    /// One run of the stalled check → the ids put back, sorted.
    StalledCheck,
    /// `Worker.rateLimit`.
    WorkerRateLimit { ms: u64 },

    /// `Job.updateData`.
    UpdateData { job: String, data: Json },
    /// `Job.updateProgress`.
    UpdateProgress { job: String, progress: Json },
    /// `Job.log` → the number of lines.
    Log { job: String, row: String },
    /// `Job.clearLogs`.
    ClearLogs {
        job: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        keep: Option<u64>,
    },
    /// `Job.promote`.
    Promote { job: String },
    /// `Job.changeDelay`.
    ChangeDelay { job: String, delay: i64 },
    /// `Job.changePriority`.
    ChangePriority { job: String, opts: PriorityOpts },
    /// `Job.retry`.
    RetryJob { job: String, state: String, opts: RetryOpts },
    /// `Job.remove`, an error if it is locked.
    RemoveJob { job: String },
    /// `Job.removeDeduplicationKey` → bool.
    RemoveJobDeduplicationKey { job: String },
    /// `Job.removeUnprocessedChildren`.
    RemoveUnprocessedChildren { job: String },
    /// `Job.removeChildDependency` → bool.
    RemoveChildDependency { job: String },
    /// `Job.isCompleted` and so on, with `state` in the spelling of the method: `Completed` → bool.
    IsInState { job: String, state: String },

    /// `Queue.addJobLog` → the number of lines.
    AddJobLog {
        job: String,
        row: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        keep: Option<u64>,
    },
    /// `Queue.pause`.
    Pause,
    /// `Queue.resume`.
    Resume,
    /// `Queue.drain`.
    Drain { delayed: bool },
    /// `Queue.clean` → ids.
    Clean { grace: i64, limit: u64, state: String },
    /// `Queue.obliterate`.
    Obliterate { opts: ObliterateOpts },
    /// `Queue.remove` → 1, or 0 if locked.
    Remove { job: String, opts: RemoveOpts },
    /// `Queue.retryJobs`.
    RetryJobs { opts: BulkOpts },
    /// `Queue.promoteJobs`.
    PromoteJobs { opts: BulkOpts },
    /// `Queue.removeDeduplicationKey` → 1 or 0.
    RemoveDeduplicationKey { deduplication: String },
    /// `Queue.setGlobalConcurrency` → null.
    SetGlobalConcurrency { concurrency: u64 },
    /// `Queue.removeGlobalConcurrency` → null.
    RemoveGlobalConcurrency,
    /// `Queue.setGlobalRateLimit` → null.
    SetGlobalRateLimit { max: u64, duration: u64 },
    /// `Queue.removeGlobalRateLimit` → null.
    RemoveGlobalRateLimit,
    /// `Queue.rateLimit`.
    RateLimit { ms: u64 },
    /// `Queue.removeRateLimitKey` → bool.
    RemoveRateLimitKey,
    /// `Queue.removeOrphanedJobs` → number.
    RemoveOrphanedJobs,
    /// `Queue.trimEvents` → null.
    TrimEvents { max: u64 },

    /// `Queue.getJob` → the job or null.
    ///
    /// Always with `id, name, data, opts` (long names, `attempts` 0 if absent)`, progress, returnvalue` (or null)`,
    /// stacktrace` (or `[]`)`, delay, priority, attemptsStarted, attemptsMade, stalledCounter, timestamp`; if set also
    /// with `finishedOn, processedOn, failedReason, deferredFailure, deduplicationId, repeatJobKey, parentKey, parent,
    /// processedBy`, and `token` where it was just taken.
    GetJob { job: String },
    /// `Queue.getJobState` → text.
    GetState { job: String },
    /// `Queue.getJobCounts` → number by state.
    GetJobCounts { states: Vec<String> },
    /// `Queue.getCountsPerPriority` → number by priority.
    GetCountsPerPriority { priorities: Vec<u32> },
    /// `Queue.count` → number.
    Count,
    /// `Queue.getJobs` → ids.
    GetJobs { states: Vec<String>, start: i64, end: i64, asc: bool },
    /// `Queue.getRanges` → ids.
    GetRanges { states: Vec<String>, start: i64, end: i64, asc: bool },
    /// `Queue.getJobLogs` → `{logs, count}`.
    GetJobLogs { job: String, start: i64, end: i64, asc: bool },
    /// `Queue.getDeduplicationJobId` → id or null.
    GetDeduplicationJobId { deduplication: String },
    /// `Queue.isPaused` → bool.
    IsPaused,
    /// `Queue.isMaxed` → bool.
    IsMaxed,
    /// `Queue.getGlobalConcurrency` → number or null.
    GetGlobalConcurrency,
    /// `Queue.getGlobalRateLimit` → `{max, duration}` or null.
    GetGlobalRateLimit,
    /// `Queue.getRateLimitTtl` → 1 if there is time left, else 0: how much is nobody's business here.
    GetRateLimitTtl {
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<u64>,
    },
    /// `Queue.getMetrics` → `{meta, data, count}`.
    GetMetrics { state: String },
    /// `Queue.exportPrometheusMetrics` → text.
    ExportPrometheusMetrics { globals: BTreeMap<String, String> },
    /// `Queue.getMeta` → object, without the version.
    GetMeta,
    /// What a waiting caller asks: `{status: 0 no, 1 completed, 2 failed, -1 missing, value}`.
    IsFinished { job: String },
    /// `Queue.getJobScheduler` → the scheduler or null.
    GetJobScheduler { scheduler: String },
    /// `Queue.getJobSchedulers` → all, by next run.
    GetJobSchedulers,
    /// `Queue.getJobSchedulersCount` → number.
    GetJobSchedulersCount,
    /// `FlowProducer.getFlow` → `{job, children}`, children by id.
    GetFlow { job: String },
    /// `Job.getChildrenValues` → value by child key.
    GetChildrenValues { job: String },
    /// `Job.getIgnoredChildrenFailures` → reason by child key.
    GetIgnoredChildrenFailures { job: String },
    /// `Job.getDependenciesCount` → `{processed, unprocessed, ignored, failed}`.
    GetDependenciesCount { job: String },
    /// `Job.getDependencies` → `{processed, unprocessed, ignored, failed}`, lists sorted.
    GetDependencies { job: String },
}

/// What a job is added with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Json,
    /// Its options.
    pub opts: JobOpts,
}

/// A job and its children.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowNode {
    /// Name of the job.
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Its data.
    pub data: Json,
    /// Its options.
    pub opts: JobOpts,
    /// Its children.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<FlowNode>,
}

/// What iterations of a scheduler are made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Name of the jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Their data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// Their options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opts: Option<JobOpts>,
}

/// When a scheduler runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// Every so many ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// By this cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// In this time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// At most so often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Not before, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<i64>,
    /// Not after, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<i64>,
    /// So long after the multiples of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The first one at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immediately: Option<bool>,
}

/// Options of a job; what is `None` is not given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
pub struct JobOpts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifo: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_complete: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_fail: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_logs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_trace_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_parent_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_parent_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_dependency_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_dependency_on_failure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

/// `backoff`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// `fixed`, `exponential` or a row of [`WorkerOpts::backoff_table`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Base, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<u64>,
    /// Share that is random, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

/// `removeOnComplete` and `removeOnFail`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Keep {
    /// None (`true`) or all (`false`).
    Remove(bool),
    /// The newest n.
    Count(i64),
    /// By rules.
    Rules(KeepRules),
}

/// How many finished jobs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeepRules {
    /// The newest so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Those younger than so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
    /// At most so many removed at a time by age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// `deduplication`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
pub struct Deduplication {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last_if_active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reschedule: Option<bool>,
}

/// `parent`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// Id of the parent.
    pub id: String,
    /// Its queue with the prefix: `{p}:q`.
    pub queue: String,
}

/// `telemetry`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// What is propagated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Whether nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omit_context: Option<bool>,
}

/// Options of a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueOpts {
    /// What jobs get that say nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_job_options: Option<JobOpts>,
    /// Length of the event stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Streams>,
}

/// `streams`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// `streams.events`.
    pub events: StreamLen,
}

/// `streams.events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamLen {
    /// How many events are kept, about.
    pub max_len: u64,
}

/// Options of the worker whose steps are done by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
pub struct WorkerOpts {
    /// Name, which becomes `pb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limiter: Option<Limiter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stalled_count: Option<u64>,
    /// ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_started_attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_complete: Option<KeepRules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_fail: Option<KeepRules>,
    /// Custom backoff: by type the delay of the first, second … failure; -1 is no more retries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backoff_table: BTreeMap<String, Vec<i64>>,
}

/// `limiter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limiter {
    /// Jobs …
    pub max: u64,
    /// … in so many ms.
    pub duration: u64,
}

/// `metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Minutes that are kept.
    pub max_data_points: u64,
}

/// Why a job failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailKind {
    /// An error like any other.
    #[default]
    Error,
    /// `UnrecoverableError`.
    Unrecoverable,
}

/// Options of `changePriority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PriorityOpts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifo: Option<bool>,
}

/// Options of `Job.retry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryOpts {
    pub reset_attempts_made: bool,
    pub reset_attempts_started: bool,
}

/// Options of `retryJobs` and `promoteJobs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkOpts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
}

/// Options of `obliterate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObliterateOpts {
    pub force: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Options of `remove`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveOpts {
    pub remove_children: bool,
}

/// What an operation answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It was done.
    Ok(Json),
    /// It was refused.
    Err {
        /// The code of the script; none for a refusal by the client.
        code: Option<i64>,
        /// Its text; not compared, each implementation has its own.
        message: String,
    },
}

impl Reply {
    /// A success, with the prefix cut out of all texts, and numbers and stack traces in one form.
    pub fn ok(value: &Json, prefix: &str) -> Self {
        let mut value = canonical_json(value.clone());
        strip(&mut value, &format!("{prefix}:"));
        Self::Ok(value)
    }

    /// A refusal.
    pub fn err(code: Option<i64>, message: impl Into<String>) -> Self {
        Self::Err { code, message: message.into() }
    }

    /// The id of a job that this reply hands to a worker.
    pub fn fetched(&self) -> Option<String> {
        let Self::Ok(value) = self else { return None };
        let id = value.pointer("/job/id").or_else(|| value.get("next"));
        id.and_then(Json::as_str).map(str::to_owned)
    }
}

/// Two refusals are the same if their codes are.
impl PartialEq for Reply {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ok(a), Self::Ok(b)) => a == b,
            (Self::Err { code: a, .. }, Self::Err { code: b, .. }) => a == b,
            _ => false,
        }
    }
}

fn strip(value: &mut Json, prefix: &str) {
    match value {
        Json::String(text) => *text = text.replace(prefix, ""),
        Json::Array(items) => items.iter_mut().for_each(|item| strip(item, prefix)),
        Json::Object(fields) => {
            for (name, mut value) in std::mem::take(fields) {
                strip(&mut value, prefix);
                if name == "stacktrace"
                    && let Json::Array(traces) = &mut value
                {
                    for trace in traces {
                        *trace = Json::from(trace_message(trace.as_str().unwrap_or_default()));
                    }
                }
                fields.insert(name.replace(prefix, ""), value);
            }
        }
        _ => {}
    }
}

/// An implementation of the queue.
///
/// A side does each operation completely before it returns (nothing may trickle into Redis afterwards), takes the time
/// from [`set_clock`](Self::set_clock) only, and opens a queue, so that its `meta` is written, before the first
/// operation on it.
pub trait Side {
    /// For messages: `bullmq 6.7.0`.
    fn name(&self) -> &str;

    /// Where its keys are. The two sides of a twin have databases of their own on one server, so that keys have the
    /// same names and sets the same order.
    fn redis_url(&self) -> &str;

    /// Forgets all queues and workers; the next ones live under `prefix`, with real default options.
    async fn begin(&mut self, prefix: &str);

    /// From now on it is `now` ms since the epoch, until said otherwise.
    async fn set_clock(&mut self, now: i64);

    /// Does one operation on a queue.
    async fn run(&mut self, queue: &str, op: &Op) -> Reply;
}

/// `op` with `{p}` replaced by the prefix.
pub fn for_prefix(op: &Op, prefix: &str) -> Json {
    let text = serde_json::to_string(op).expect("an operation is JSON");
    serde_json::from_str(&text.replace("{p}", prefix)).expect("still JSON")
}
