//! One operation on a queue, said in a way that any implementation can do it, and what it answers.

mod call;
mod job;
mod queue;
mod reply;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::call::*;
pub use self::job::*;
pub use self::queue::*;
pub use self::reply::Reply;

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
