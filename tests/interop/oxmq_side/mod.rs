//! oxmq as one of the two sides, through its public interface.

mod convert;
mod flows;
mod options;
mod read;
mod schedulers;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxmq::client::Clock;
use oxmq::flow::{AddedNode, FlowTree};
use oxmq::job::{Fetched, JobOutcome, RetryOptions};
use oxmq::options::{OnChildFailure, ParentRef, Retry};
use oxmq::queue::Order;
use oxmq::worker::ManualWorkerBuilder;
use oxmq::{
    Backoff, Client, ConnectOptions, Deduplication, Error, FlowNode, Halt, Job, JobOptions, JobState, KeepJobs,
    ManualWorker, NewJob, Queue, Repeat,
};
use serde_json::{Map, Value as Json, json};

use self::convert::{moment, ms, number, order, span, state, states, whole};
use self::flows::tree_of;
use self::options::job_options;
use self::read::read;
use self::schedulers::scheduler;
use self::worker::is_for_worker;
use super::node_side::NodeSide;
use super::ops::{self, Keep, Op, Reply, Side, for_prefix};
use crate::common::node::BullMq;

/// oxmq, with BullMQ beside it: for operations that oxmq does not have, and to add flows for oxmq to process.
pub struct OxmqSide {
    url: String,
    prefix: String,
    clock: Clock,
    helper: NodeSide,
    client: Option<Client>,
    queues: HashMap<String, Queue>,
    workers: HashMap<String, ManualWorker>,
    /// Jobs as they were fetched, for calls on a job that was removed since.
    fetched: HashMap<(String, String), Job>,
    options: HashMap<String, ops::WorkerOpts>,
    /// Options of a queue that BullMQ does not know yet; it gets them before its next operation on that queue.
    untold: HashMap<String, Op>,
    /// Sends a single job by the way for batches. Random scenarios choose this each time they begin.
    pub long_way: bool,
    /// Lets BullMQ add the flows, so that oxmq processes what the other side has added.
    pub leaves_flows: bool,
    /// Lets BullMQ make the schedulers, so that oxmq makes the next runs of them.
    pub leaves_schedulers: bool,
    /// How many "random" numbers for the jitter were used.
    drawn: Arc<AtomicU32>,
}

/// Returns whether BullMQ does this operation if flows are left to it.
pub fn adds_flow(op: &Op) -> bool {
    matches!(op, Op::FlowAdd { .. } | Op::FlowAddBulk { .. })
}

/// Returns whether BullMQ does this operation if schedulers are left to it.
pub fn is_of_scheduler(op: &Op) -> bool {
    matches!(
        op,
        Op::UpsertJobScheduler { .. }
            | Op::RemoveJobScheduler { .. }
            | Op::GetJobScheduler { .. }
            | Op::GetJobSchedulers
            | Op::GetJobSchedulersCount
    )
}

/// The answer of an operation: a value, or the refusal.
type Answer = Result<Json, Refusal>;

struct Refusal {
    code: Option<i64>,
    message: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match &error {
            Error::Refused { reason, .. } => Self { code: Some(reason.code()), message: error.to_string() },
            Error::InvalidOption { .. } | Error::QueueState { .. } => Self { code: None, message: error.to_string() },
            // No scenario may cause any other error.
            _ => panic!("{error}: {error:?}"),
        }
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code: None, message: message.into() })
}

impl OxmqSide {
    /// Starts oxmq; `helper` is the version of BullMQ beside it.
    pub async fn start(redis_url: &str, helper: BullMq) -> Self {
        Self {
            url: redis_url.to_owned(),
            prefix: String::new(),
            clock: Clock::manual(crate::common::time::moment(1)),
            helper: NodeSide::start(helper, redis_url).await,
            client: None,
            queues: HashMap::new(),
            workers: HashMap::new(),
            fetched: HashMap::new(),
            options: HashMap::new(),
            untold: HashMap::new(),
            long_way: false,
            leaves_flows: false,
            leaves_schedulers: false,
            drawn: Arc::default(),
        }
    }

    async fn client(&mut self) -> Client {
        if let Some(client) = &self.client {
            return client.clone();
        }
        let connect = ConnectOptions::from_url(&self.url).expect("a url");
        let client = Client::builder(connect).prefix(self.prefix.clone()).clock(self.clock.clone());
        let client = client.long_way(self.long_way).connect().await.expect("connected");
        self.client = Some(client.clone());
        client
    }

    async fn queue(&mut self, name: &str) -> Queue {
        if let Some(queue) = self.queues.get(name) {
            return queue.clone();
        }
        let queue: Queue = self.client().await.queue(name).open().expect("a queue");
        queue.write_meta().await.unwrap();
        self.queues.insert(name.to_owned(), queue.clone());
        queue
    }

    /// Opens a queue again with a new client, as a new process does.
    async fn set_queue(&mut self, name: &str, opts: &ops::QueueOpts) -> Answer {
        self.client = None;
        self.workers.clear();
        self.fetched.clear();
        let mut queue = self.client().await.queue(name);
        if let Some(streams) = &opts.streams {
            queue = queue.max_len_events(streams.events.max_len);
        }
        if let Some(defaults) = &opts.default_job_options {
            queue = queue.default_job_options(job_options(defaults)?);
        }
        let queue: Queue = queue.open()?;
        queue.write_meta().await.unwrap();
        self.queues.insert(name.to_owned(), queue);
        Ok(Json::Null)
    }

    /// Returns a job to end: as it was fetched, or as it is stored if another side has changed it since. `None` if
    /// nothing is known of it.
    async fn held(&mut self, queue: &str, id: &str) -> Result<Option<Job>, Refusal> {
        let stored = self.worker(queue).await?.get_job(id).await?;
        let fetched = self.fetched.remove(&(queue.to_owned(), id.to_owned()));
        let attempts = |job: &Job| (job.attempts_made(), job.attempts_started());
        Ok(match (stored, fetched) {
            (Some(stored), Some(fetched)) if attempts(&stored) != attempts(&fetched) => Some(stored),
            (stored, fetched) => fetched.or(stored),
        })
    }

    async fn done(&mut self, queue: &str, op: &Op) -> Answer {
        if adds_flow(op) {
            return self.add_flows(op).await;
        }
        if let Op::GetFlow { job } = op {
            let tree = self.client().await.flow_producer().get_flow(queue, job).await?;
            return Ok(tree.map_or(Json::Null, |tree| tree_of(&tree)));
        }
        let q = self.queue(queue).await;
        if is_for_worker(op) {
            return Box::pin(self.worker_step(queue, op)).await;
        }
        Ok(match op {
            Op::Add { job } => {
                let options = job_options(&job.opts)?;
                let added = q.add(job.name.clone(), job.data.clone()).options(options).await?;
                json!({ "id": added.id() })
            }
            Op::AddBulk { jobs } => {
                let jobs = jobs
                    .iter()
                    .map(|job| Ok(NewJob::new(job.name.clone(), job.data.clone()).options(job_options(&job.opts)?)));
                let jobs = jobs.collect::<Result<Vec<_>, Refusal>>()?;
                let mut answers = Vec::new();
                for outcome in q.add_bulk(jobs).await? {
                    answers.push(match outcome {
                        Ok(job) => json!({ "id": job.id() }),
                        // Node returns such a job with the code in place of an id.
                        Err(Error::Refused { reason, .. }) => json!({ "id": reason.code() }),
                        Err(error) => return Err(error.into()),
                    });
                }
                Json::Array(answers)
            }
            Op::UpdateData { job, data } => done(q.job(job).update_data(data).await)?,
            Op::UpdateProgress { job, progress } => done(q.job(job).update_progress(progress).await)?,
            Op::Log { job, row } => match q.get_job(job).await? {
                Some(job) => json!(job.log(row).await?),
                None => json!(q.job(job).add_log(row, 0).await?),
            },
            Op::ClearLogs { job, keep } => done(q.job(job).clear_logs(keep.unwrap_or(0)).await)?,
            Op::Promote { job } => done(q.job(job).promote().await)?,
            Op::ChangeDelay { job, delay } => done(q.job(job).change_delay(span(*delay)?).await)?,
            Op::ChangePriority { job, opts } => {
                let (priority, lifo) = (opts.priority.unwrap_or(0), opts.lifo.unwrap_or(false));
                done(match lifo {
                    true => q.job(job).change_priority_lifo(priority).await,
                    false => q.job(job).change_priority(priority).await,
                })?
            }
            Op::RetryJob { job, state: from, opts } => {
                let options = RetryOptions::default()
                    .reset_attempts_made(opts.reset_attempts_made)
                    .reset_attempts_started(opts.reset_attempts_started);
                done(q.job(job).retry(state(from)?, options).await)?
            }
            Op::RemoveJob { job } => match q.job(job).remove().await? {
                true => Json::Null,
                false => return refuse("a worker holds it"),
            },
            Op::RemoveJobDeduplicationKey { job } => match q.get_job(job).await? {
                Some(job) => json!(job.remove_deduplication_key().await?),
                None => json!(false),
            },
            Op::RemoveUnprocessedChildren { job } => done(q.job(job).remove_unprocessed_children().await)?,
            Op::RemoveChildDependency { job } => match q.get_job(job).await? {
                Some(job) => json!(job.remove_child_dependency().await?),
                None => return missing(),
            },
            Op::IsInState { job, state: asked } => {
                let found = q.job(job).get_state().await?;
                json!(found.as_str().replace('-', "") == asked.to_lowercase())
            }
            Op::AddJobLog { job, row, keep } => {
                json!(q.job(job).add_log(row, number(keep.unwrap_or(0))?).await?)
            }
            other => return Box::pin(self.administer(&q, queue, other)).await,
        })
    }

    /// Does what concerns a whole queue; reads go on to `read`. They are separate, since a future of all operations
    /// would be too large for the stack of a test.
    async fn administer(&self, q: &Queue, queue: &str, op: &Op) -> Answer {
        Ok(match op {
            Op::Pause => done(q.pause().await)?,
            Op::Resume => done(q.resume().await)?,
            Op::Drain { delayed } => done(if *delayed { q.drain_with_delayed().await } else { q.drain().await })?,
            Op::Clean { grace, limit, state: of } => json!(q.clean(span(*grace)?, *limit, state(of)?).await?),
            Op::Obliterate { opts } => {
                done(if opts.force { q.obliterate_by_force().await } else { q.obliterate().await })?
            }
            Op::Remove { job, opts } => {
                let gone = if opts.remove_children {
                    q.job(job).remove().await
                } else {
                    q.job(job).remove_without_children().await
                };
                json!(u8::from(gone?))
            }
            Op::RetryJobs { opts } => {
                let until = opts.timestamp.map(moment).transpose()?;
                done(q.retry_jobs(state(opts.state.as_deref().unwrap_or("failed"))?, until).await)?
            }
            Op::PromoteJobs { .. } => done(q.promote_jobs().await)?,
            Op::RemoveDeduplicationKey { deduplication } => {
                json!(u8::from(q.remove_deduplication_key(deduplication).await?))
            }
            Op::SetGlobalConcurrency { concurrency } => done(q.set_global_concurrency(number(*concurrency)?).await)?,
            Op::RemoveGlobalConcurrency => done(q.remove_global_concurrency().await)?,
            Op::SetGlobalRateLimit { max, duration } => {
                done(q.set_global_rate_limit(*max, Duration::from_millis(*duration)).await)?
            }
            Op::RemoveGlobalRateLimit => done(q.remove_global_rate_limit().await)?,
            Op::RateLimit { ms } => done(q.rate_limit(Duration::from_millis(*ms)).await)?,
            Op::RemoveRateLimitKey => json!(q.remove_rate_limit_key().await?),
            Op::RemoveOrphanedJobs => json!(q.remove_orphaned_jobs(0).await?),
            Op::TrimEvents { max } => done(q.trim_events(*max).await)?,
            // Boxed: otherwise the future of every step grows by this one, on the small stack of a random run.
            other if is_of_scheduler(other) => return Box::pin(scheduler(q, other)).await,
            other => return Box::pin(read(q, &self.prefix, queue, other)).await,
        })
    }

    async fn some(&mut self, queue: &str, id: &str) -> Result<Job, Refusal> {
        self.held(queue, id).await?.map_or_else(missing, Ok)
    }
}

impl Side for OxmqSide {
    fn name(&self) -> &str {
        "oxmq"
    }

    fn redis_url(&self) -> &str {
        &self.url
    }

    async fn begin(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.prefix);
        self.client = None;
        self.queues.clear();
        self.workers.clear();
        self.fetched.clear();
        self.options.clear();
        self.untold.clear();
        self.drawn.store(0, Ordering::Relaxed);
        self.helper.begin(prefix).await;
    }

    async fn set_clock(&mut self, now: i64) {
        self.clock.set(crate::common::time::moment(now));
        self.helper.set_clock(now).await;
    }

    async fn run(&mut self, queue: &str, op: &Op) -> Reply {
        let op: Op = serde_json::from_value(for_prefix(op, &self.prefix)).expect("still an operation");
        let answer = match &op {
            op if self.leaves_flows && adds_flow(op) || self.leaves_schedulers && is_of_scheduler(op) => {
                if let Some(set) = self.untold.remove(queue) {
                    self.helper.run(queue, &set).await;
                }
                return self.helper.run(queue, op).await;
            }
            Op::SetQueue { opts } => {
                self.untold.insert(queue.to_owned(), op.clone());
                self.set_queue(queue, opts).await
            }
            Op::SetWorker { opts } => {
                self.options.insert(queue.to_owned(), opts.clone());
                self.workers.remove(queue);
                self.worker(queue).await.map(|_| Json::Null)
            }
            op => Box::pin(self.done(queue, op)).await,
        };
        match answer {
            Ok(value) => Reply::ok(&value, &self.prefix),
            Err(Refusal { code, message }) => Reply::err(code, message),
        }
    }
}

/// Returns the refusal for a job that does not exist: oxmq reads it first and says so before the script would.
fn missing<T>() -> Result<T, Refusal> {
    Err(Refusal { code: Some(-1), message: "there is no such job".into() })
}

fn done<T>(result: oxmq::Result<T>) -> Answer {
    Ok(result.map(|_| Json::Null)?)
}

/// Returns a job as BullMQ's driver shows it.
fn view(job: &Job) -> Json {
    let mut shown = json!(job);
    if let Some(token) = job.token() {
        shown["token"] = json!(token);
    }
    shown
}
