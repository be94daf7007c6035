//! oxmq as one of the two sides, through what its users see.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxmq::client::Clock;
use oxmq::events::JsonText;
use oxmq::flow::{AddedNode, FlowTree};
use oxmq::job::{Fetched, JobOutcome, RetryOptions};
use oxmq::options::{OnChildFailure, ParentRef, Retry};
use oxmq::queue::{JobScheduler, Order};
use oxmq::worker::ManualWorkerBuilder;
use oxmq::{
    Backoff, Client, ConnectOptions, Deduplication, Error, FlowNode, Halt, Job, JobOptions, JobState, KeepJobs,
    ManualWorker, NewJob, Queue, Repeat,
};
use serde_json::{Map, Value as Json, json};

use super::node_side::NodeSide;
use super::ops::{self, Keep, Op, Reply, Side, for_prefix};
use crate::common::node::BullMq;

/// oxmq, with BullMQ beside it: for what oxmq does not do, and to add flows that oxmq is to process.
pub struct OxmqSide {
    url: String,
    prefix: String,
    clock: Clock,
    helper: NodeSide,
    client: Option<Client>,
    queues: HashMap<String, Queue>,
    workers: HashMap<String, ManualWorker>,
    /// Jobs as they were fetched, for calls on one that has gone since.
    fetched: HashMap<(String, String), Job>,
    options: HashMap<String, ops::WorkerOpts>,
    /// What the helper is to be told of a queue before it does something to it.
    untold: HashMap<String, Op>,
    /// Serves a single job as a batch of many is served; random scenarios change it each time they begin.
    pub long_way: bool,
    /// Leaves flows to BullMQ, so that oxmq processes what the other has added.
    pub leaves_flows: bool,
    /// Leaves schedulers to BullMQ, so that oxmq makes the next runs of what the other has made.
    pub leaves_schedulers: bool,
    /// How many numbers of the jitter were drawn.
    drawn: Arc<AtomicU32>,
}

/// Whether BullMQ does an operation where oxmq leaves flows to it.
pub fn adds_flow(op: &Op) -> bool {
    matches!(op, Op::FlowAdd { .. } | Op::FlowAddBulk { .. })
}

/// Whether an operation is done by the helper.
pub fn needs_help(op: &Op) -> bool {
    matches!(op, Op::FlowAdd { .. } | Op::FlowAddBulk { .. } | Op::GetFlow { .. })
}

/// Whether BullMQ does an operation where oxmq leaves schedulers to it.
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

/// What an operation answers: a value, or the refusal.
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
            // What a user may not see in any scenario is a bug of ours.
            _ => panic!("{error}: {error:?}"),
        }
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code: None, message: message.into() })
}

impl OxmqSide {
    /// `helper` is the version of BullMQ that stands beside it.
    pub async fn start(redis_url: &str, helper: BullMq) -> Self {
        Self {
            url: redis_url.to_owned(),
            prefix: String::new(),
            clock: Clock::manual(1),
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

    /// Opens a queue anew, as a process that starts does: with a client of its own.
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

    async fn worker(&mut self, name: &str) -> Result<&ManualWorker, Refusal> {
        if !self.workers.contains_key(name) {
            self.queue(name).await;
            let options = self.options.get(name).cloned().unwrap_or_default();
            let drawn = Arc::clone(&self.drawn);
            let builder = with_options(self.client().await.manual_worker(name), &options, drawn);
            // As version 6 does; what is done without is shown by `tests/worker/by_hand.rs`.
            let worker = builder.hand_out_deferred_failures(true).open()?;
            self.workers.insert(name.to_owned(), worker);
        }
        Ok(&self.workers[name])
    }

    /// A job to end: as it was fetched, or if it went through other hands meanwhile as it is stored now. `None` if
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

    /// Shows what a fetch has brought, and remembers it.
    fn show(&mut self, queue: &str, fetched: Fetched) -> Shown {
        let limited = fetched.limited_for > Duration::ZERO;
        let delay_until = fetched.next_due.map_or(0, ms);
        let job = fetched.job.as_ref().map(view);
        let id = fetched.job.as_ref().map(|job| job.id().to_owned());
        if let Some(job) = fetched.job {
            self.fetched.insert((queue.to_owned(), job.id().to_owned()), job);
        }
        Shown { job, id, limited, delay_until }
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
                        // Node hands such a job out with the code for an id.
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

    /// What concerns a whole queue; what only reads goes on to `read`. Apart, since a future of all operations would be too
    /// large for the stack of a test.
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
            // Boxed: what a step holds lies on the stack of random runs many times.
            other if is_of_scheduler(other) => return Box::pin(scheduler(q, other)).await,
            other => return Box::pin(read(q, &self.prefix, queue, other)).await,
        })
    }

    /// Flows open no queue.
    async fn add_flows(&mut self, op: &Op) -> Answer {
        let producer = self.client().await.flow_producer();
        Ok(match op {
            Op::FlowAdd { flow } => ids_of(&producer.add(flow_node(flow)?).await?),
            Op::FlowAddBulk { flows } => {
                let flows = flows.iter().map(flow_node).collect::<Result<Vec<_>, _>>()?;
                producer.add_bulk(flows).await?.iter().map(ids_of).collect()
            }
            other => unreachable!("{other:?} adds no flow"),
        })
    }

    async fn worker_step(&mut self, queue: &str, op: &Op) -> Answer {
        let worker = self.worker(queue).await?;
        Ok(match op {
            Op::GetNextJob { token } => {
                let fetched = worker.fetch(token).await?;
                let shown = self.show(queue, fetched);
                json!({ "job": shown.job, "limited": shown.limited, "delayUntil": shown.delay_until })
            }
            Op::ExtendLock { job, token, duration } => {
                let lost = worker.extend_locks(&[(job, token)], Duration::from_millis(*duration)).await?;
                json!(lost.is_empty())
            }
            Op::ExtendLocks { jobs, tokens, duration } => {
                let locks: Vec<(&str, &str)> =
                    jobs.iter().map(String::as_str).zip(tokens.iter().map(String::as_str)).collect();
                json!(worker.extend_locks(&locks, Duration::from_millis(*duration)).await?)
            }
            Op::StalledCheck => {
                let mut ids = worker.move_stalled_jobs_to_wait().await?;
                ids.sort();
                json!(ids)
            }
            Op::WorkerRateLimit { ms } => done(worker.rate_limit(Duration::from_millis(*ms)).await)?,
            Op::MoveToCompleted { job, token, value, fetch_next } => {
                let job = self.some(queue, job).await?;
                if !fetch_next {
                    job.move_to_completed(value, token).await?;
                    return Ok(nothing_next());
                }
                let fetched = job.move_to_completed_and_fetch(value, token).await?;
                self.show(queue, fetched).next()
            }
            Op::MoveToFailed { job, token, message, kind, fetch_next } => {
                let job = self.some(queue, job).await?;
                let halt = match kind {
                    ops::FailKind::Error => Halt::failed(message.clone()),
                    ops::FailKind::Unrecoverable => Halt::unrecoverable(message.clone()),
                };
                let again = *kind == ops::FailKind::Error && job.attempts_made() + 1 < job.attempts();
                // Node fetches nothing together with a retry at once, and tells nothing but the job with a later one.
                let at_once = again && !job.opts_json().contains("\"backoff\"");
                if !fetch_next || at_once {
                    job.move_to_failed(halt, token).await?;
                    return Ok(nothing_next());
                }
                let fetched = job.move_to_failed_and_fetch(halt, token).await?;
                match self.show(queue, fetched) {
                    Shown { id: None, .. } if again => nothing_next(),
                    shown => shown.next(),
                }
            }
            Op::MoveToDelayed { job, token, timestamp } => {
                let job = self.some(queue, job).await?;
                done(job.move_to_delayed(moment(*timestamp)?, token).await)?
            }
            Op::MoveToWait { job, token } => {
                let job = self.some(queue, job).await?;
                json!(job.move_to_wait(token).await? > Duration::ZERO)
            }
            Op::MoveToWaitingChildren { job, token, opts } => {
                let job = self.some(queue, job).await?;
                json!(match &opts.child {
                    None => Box::pin(job.move_to_waiting_children(token)).await?,
                    Some(child) => {
                        let key = format!("{}:{}", child.queue, child.id);
                        Box::pin(job.move_to_waiting_child(&key, token)).await?
                    }
                })
            }
            other => unreachable!("{other:?} is no step of a worker"),
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
        self.clock.set(u64::try_from(now).expect("after 1970"));
        self.helper.set_clock(now).await;
    }

    async fn run(&mut self, queue: &str, op: &Op) -> Reply {
        let op: Op = serde_json::from_value(for_prefix(op, &self.prefix)).expect("still an operation");
        let answer = match &op {
            op if needs_help(op)
                || self.leaves_flows && adds_flow(op)
                || self.leaves_schedulers && is_of_scheduler(op) =>
            {
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

fn is_for_worker(op: &Op) -> bool {
    matches!(
        op,
        Op::GetNextJob { .. }
            | Op::ExtendLock { .. }
            | Op::ExtendLocks { .. }
            | Op::StalledCheck
            | Op::WorkerRateLimit { .. }
            | Op::MoveToCompleted { .. }
            | Op::MoveToFailed { .. }
            | Op::MoveToDelayed { .. }
            | Op::MoveToWait { .. }
            | Op::MoveToWaitingChildren { .. }
    )
}

struct Shown {
    job: Option<Json>,
    id: Option<String>,
    limited: bool,
    delay_until: u64,
}

impl Shown {
    fn next(self) -> Json {
        json!({ "next": self.id, "limited": self.limited, "delayUntil": self.delay_until })
    }
}

fn nothing_next() -> Json {
    json!({ "next": null, "limited": false, "delayUntil": 0 })
}

async fn scheduler(q: &Queue, op: &Op) -> Answer {
    Ok(match op {
        Op::UpsertJobScheduler { scheduler, repeat: said, template } => {
            let mut upsert = q.upsert_job_scheduler(scheduler, repeat(said)?);
            if let Some(name) = &template.name {
                upsert = upsert.name(name);
            }
            if let Some(data) = &template.data {
                upsert = upsert.data(data.clone());
            }
            if let Some(opts) = &template.opts {
                upsert = upsert.options(job_options(opts)?);
            }
            match upsert.await {
                Ok(job) => json!({ "id": job.id() }),
                // Node answers nothing.
                Err(Error::InvalidOption { problem, .. }) if problem.contains("no run") => json!({ "id": null }),
                Err(error) => return Err(error.into()),
            }
        }
        Op::RemoveJobScheduler { scheduler } => json!(q.remove_job_scheduler(scheduler).await?),
        Op::GetJobScheduler { scheduler } => q.get_job_scheduler(scheduler).await?.as_ref().map_or(Json::Null, shown),
        Op::GetJobSchedulers => q.get_job_schedulers(0, -1, Order::Ascending).await?.iter().map(shown).collect(),
        Op::GetJobSchedulersCount => json!(q.get_job_schedulers_count().await?),
        other => unreachable!("{other:?} is not about schedulers"),
    })
}

/// When a scheduler runs; what the types of oxmq cannot say is refused.
fn repeat(said: &ops::Repeat) -> Result<Repeat, Refusal> {
    let mut repeat = match (said.every, &said.pattern) {
        (Some(every), None) => Repeat::every(Duration::from_millis(every)),
        (None, Some(pattern)) => Repeat::cron(pattern),
        _ => return refuse("an interval or a pattern"),
    };
    if let Some(tz) = &said.tz {
        repeat = repeat.tz(tz);
    }
    if let Some(limit) = said.limit {
        repeat = repeat.limit(limit);
    }
    if let Some(at) = said.start_date {
        repeat = repeat.start_date(moment(at)?);
    }
    if let Some(at) = said.end_date {
        repeat = repeat.end_date(moment(at)?);
    }
    if let Some(offset) = said.offset {
        repeat = repeat.offset(Duration::from_millis(offset));
    }
    if let Some(immediately) = said.immediately {
        repeat = repeat.immediately(immediately);
    }
    Ok(repeat)
}

/// A scheduler as Node shows it.
fn shown(scheduler: &JobScheduler) -> Json {
    let mut shown = Map::new();
    let mut set = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            shown.insert(name.to_owned(), value);
        }
    };
    let json_of = |text: &JsonText| serde_json::from_str::<Json>(text.as_str()).expect("stored as JSON");
    let span = |span: Duration| json!(u64::try_from(span.as_millis()).expect("short"));
    set("key", Some(json!(scheduler.id)));
    set("name", Some(json!(scheduler.name)));
    set("next", Some(json!(ms(scheduler.next_run))));
    set("iterationCount", scheduler.iteration_count.map(|count| json!(count)));
    set("every", scheduler.every.map(span));
    set("pattern", scheduler.pattern.as_ref().map(|pattern| json!(pattern)));
    set("tz", scheduler.tz.as_ref().map(|tz| json!(tz)));
    set("limit", scheduler.limit.map(|limit| json!(limit)));
    set("startDate", scheduler.start_date.map(|at| json!(ms(at))));
    set("endDate", scheduler.end_date.map(|at| json!(ms(at))));
    set("offset", scheduler.offset.map(span));
    let mut template = Map::new();
    if let Some(data) = &scheduler.data {
        template.insert("data".to_owned(), json_of(data));
    }
    if let Some(options) = &scheduler.options {
        template.insert("opts".to_owned(), json_of(options));
    }
    set("template", Some(Json::Object(template)).filter(|template| *template != json!({})));
    Json::Object(shown)
}

async fn read(q: &Queue, prefix: &str, queue: &str, op: &Op) -> Answer {
    Ok(match op {
        Op::GetJob { job } => q.get_job(job).await?.as_ref().map_or(Json::Null, view),
        Op::GetState { job } => json!(q.job(job).get_state().await?.as_str()),
        Op::GetJobCounts { states: names } => {
            let counts = q.get_job_counts(&states(names)?).await?;
            let reported = ["active", "completed", "delayed", "failed", "prioritized", "waiting", "waiting-children"];
            let all: Vec<String> = reported.map(str::to_owned).to_vec();
            let mut found = Map::new();
            for name in if names.is_empty() { &all } else { names } {
                found.insert(name.clone(), json!(counts.get(state(name)?)));
            }
            Json::Object(found)
        }
        Op::GetCountsPerPriority { priorities } => {
            let counts = q.get_counts_per_priority(priorities).await?;
            counts
                .into_iter()
                .map(|(priority, count)| (priority.to_string(), json!(count)))
                .collect::<Map<_, _>>()
                .into()
        }
        Op::Count => json!(q.count().await?),
        Op::GetJobs { states: names, start, end, asc } => {
            let jobs = q.get_jobs(&states(names)?, *start, *end, order(*asc)).await?;
            let ids = jobs.into_iter().map(|job| match job {
                Ok(job) => json!(job.id()),
                Err(unreadable) => json!(unreadable.to_string()),
            });
            ids.collect()
        }
        Op::GetRanges { states: names, start, end, asc } => {
            json!(q.get_ranges(&states(names)?, *start, *end, order(*asc)).await?)
        }
        Op::GetJobLogs { job, start, end, asc } => {
            let found = q.job(job).get_logs(*start, *end, order(*asc)).await?;
            json!({ "logs": found.logs, "count": found.count })
        }
        Op::GetDeduplicationJobId { deduplication } => json!(q.get_deduplication_job_id(deduplication).await?),
        Op::IsPaused => json!(q.is_paused().await?),
        Op::IsMaxed => json!(q.is_maxed().await?),
        Op::GetGlobalConcurrency => json!(q.get_global_concurrency().await?),
        Op::GetGlobalRateLimit => {
            let limit = q.get_global_rate_limit().await?;
            limit.map_or(Json::Null, |(max, duration)| json!({ "max": max, "duration": whole(duration) }))
        }
        Op::GetRateLimitTtl { max } => json!(i32::from(q.get_rate_limit_ttl(*max).await?.is_some())),
        Op::GetMetrics { state: of } => {
            let found = q.get_metrics(state(of)?, 0, -1).await?;
            json!({
                "meta": { "count": found.count, "prevTS": found.previous_at.map_or(0, ms), "prevCount": found.previous_count },
                "data": found.data,
                "count": found.points,
            })
        }
        Op::ExportPrometheusMetrics { globals } => {
            let labels: Vec<(&str, &str)> = globals.iter().map(|(name, value)| (&**name, &**value)).collect();
            json!(q.export_prometheus_metrics(&labels).await?)
        }
        Op::GetMeta => {
            let meta = q.get_meta().await?;
            let mut found = Map::new();
            let numbers = [
                ("concurrency", meta.concurrency),
                ("max", meta.max),
                ("duration", meta.duration.map(whole)),
                ("maxLenEvents", meta.max_len_events),
            ];
            for (name, number) in numbers {
                if let Some(number) = number {
                    found.insert(name.into(), json!(number));
                }
            }
            found.insert("paused".into(), json!(meta.paused));
            found.extend(meta.others.into_iter().map(|(name, value)| (name, json!(value))));
            found.into()
        }
        Op::IsFinished { job } => match q.job(job).get_outcome().await? {
            JobOutcome::Pending => json!({ "status": 0, "value": null }),
            JobOutcome::Completed(value) => json!({ "status": 1, "value": value.to_string() }),
            JobOutcome::Failed(reason) => json!({ "status": 2, "value": reason }),
            // Node has a text in place of a value.
            JobOutcome::Missing => {
                json!({ "status": -1, "value": format!("Missing key for job {prefix}:{queue}:{job}. isFinished") })
            }
            other => unreachable!("{other:?}"),
        },
        Op::GetChildrenValues { job } => {
            let values: Vec<(String, Json)> = q.job(job).get_children_values().await?;
            values.into_iter().collect::<Map<_, _>>().into()
        }
        Op::GetIgnoredChildrenFailures { job } => {
            let failures = q.job(job).get_ignored_children_failures().await?;
            failures.into_iter().map(|(child, reason)| (child, json!(reason))).collect::<Map<_, _>>().into()
        }
        Op::GetDependenciesCount { job } => {
            let n = q.job(job).get_dependencies_count().await?;
            json!({ "processed": n.processed, "unprocessed": n.unprocessed, "ignored": n.ignored, "failed": n.failed })
        }
        Op::GetDependencies { job } => {
            let mut found = q.job(job).get_dependencies::<Json>().await?;
            found.unprocessed.sort();
            found.failed.sort();
            let ignored: Map<_, _> = found.ignored.into_iter().map(|(child, why)| (child, json!(why))).collect();
            json!({
                "processed": found.processed.into_iter().collect::<Map<_, _>>(),
                "unprocessed": found.unprocessed,
                "ignored": ignored,
                "failed": found.failed,
            })
        }
        other => unreachable!("{other:?} is not read"),
    })
}

/// What is not there cannot be read, and so not be acted on: oxmq says so before the script would.
fn missing<T>() -> Result<T, Refusal> {
    Err(Refusal { code: Some(-1), message: "there is no such job".into() })
}

fn done<T>(result: oxmq::Result<T>) -> Answer {
    Ok(result.map(|_| Json::Null)?)
}

fn whole(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("not so long")
}

fn ms(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("not so late")
}

fn span(ms: i64) -> Result<Duration, Refusal> {
    u64::try_from(ms).map(Duration::from_millis).or_else(|_| refuse("a span of time is not negative"))
}

fn moment(ms: i64) -> Result<SystemTime, Refusal> {
    Ok(UNIX_EPOCH + span(ms)?)
}

fn number(n: u64) -> Result<u32, Refusal> {
    u32::try_from(n).or_else(|_| refuse("the number is too large"))
}

fn state(name: &str) -> Result<JobState, Refusal> {
    name.parse().or_else(|error: oxmq::job::UnknownState| refuse(error.to_string()))
}

fn order(ascending: bool) -> Order {
    if ascending { Order::Ascending } else { Order::Descending }
}

fn states(names: &[String]) -> Result<Vec<JobState>, Refusal> {
    names.iter().map(|name| state(name)).collect()
}

fn keep_jobs(keep: &Keep) -> KeepJobs {
    match keep {
        Keep::Remove(remove) => (*remove).into(),
        Keep::Count(count) => i32::try_from(*count).expect("a small number").into(),
        Keep::Rules(rules) => keep_rules(rules),
    }
}

fn keep_rules(rules: &ops::KeepRules) -> KeepJobs {
    let mut keep = KeepJobs::new();
    if let Some(count) = rules.count.and_then(|count| u64::try_from(count).ok()) {
        keep = keep.count(count);
    }
    if let Some(age) = rules.age {
        keep = keep.age(Duration::from_secs(age));
    }
    if let Some(limit) = rules.limit {
        keep = keep.limit(limit);
    }
    keep
}

/// What the types of oxmq cannot say is refused, as the user who tries finds out when compiling.
fn flow_node(node: &ops::FlowNode) -> Result<FlowNode, Refusal> {
    let children = node.children.iter().map(flow_node).collect::<Result<Vec<_>, _>>()?;
    let root = FlowNode::new(&node.queue_name, &node.name, &node.data).options(job_options(&node.opts)?);
    Ok(root.children(children))
}

/// A tree as the driver shows it.
fn tree_of(tree: &FlowTree) -> Json {
    let Ok(Some(job)) = &tree.job else { return Json::Null };
    let mut children: Vec<&FlowTree> = tree.children.iter().collect();
    children.sort_by(|a, b| a.id.cmp(&b.id));
    json!({ "job": view(job), "children": children.into_iter().map(tree_of).collect::<Vec<_>>() })
}

/// The ids of a tree, as the driver shows them.
fn ids_of(node: &AddedNode) -> Json {
    let mut shown = json!({ "id": node.id() });
    if !node.children().is_empty() {
        shown["children"] = node.children().iter().map(ids_of).collect();
    }
    shown
}

fn job_options(opts: &ops::JobOpts) -> Result<JobOptions, Refusal> {
    let mut options = JobOptions::default();
    if let Some(id) = &opts.job_id {
        options = options.job_id(id);
    }
    if let Some(at) = opts.timestamp {
        options = options.timestamp(moment(at)?);
    }
    if let Some(delay) = opts.delay {
        options = options.delay(span(delay)?);
    }
    if let Some(priority) = opts.priority {
        let priority = u32::try_from(priority).or_else(|_| refuse("a priority is not negative"))?;
        options = options.priority(priority);
    }
    if let Some(lifo) = opts.lifo {
        options = options.lifo(lifo);
    }
    if let Some(attempts) = opts.attempts {
        options = options.attempts(attempts);
    }
    if let Some(ops::Backoff { kind, delay, jitter }) = &opts.backoff {
        let mut backoff = Backoff::custom(kind);
        if let Some(delay) = delay {
            backoff = backoff.delay(Duration::from_millis(*delay));
        }
        if let Some(jitter) = jitter {
            backoff = backoff.jitter(*jitter);
        }
        options = options.backoff(backoff);
    }
    if let Some(keep) = &opts.remove_on_complete {
        options = options.remove_on_complete(keep_jobs(keep));
    }
    if let Some(keep) = &opts.remove_on_fail {
        options = options.remove_on_fail(keep_jobs(keep));
    }
    if let Some(lines) = opts.keep_logs {
        options = options.keep_logs(number(lines)?);
    }
    if let Some(traces) = opts.stack_trace_limit {
        options = options.stack_trace_limit(number(traces)?);
    }
    if let Some(bytes) = opts.size_limit {
        options = options.size_limit(usize::try_from(bytes).expect("a small number"));
    }
    if let Some(d) = &opts.deduplication {
        let mut dedup = Deduplication::new(&d.id);
        if let Some(ttl) = d.ttl {
            dedup = dedup.ttl(Duration::from_millis(ttl));
        }
        if d.extend == Some(true) {
            dedup = dedup.extend();
        }
        if d.replace == Some(true) {
            dedup = dedup.replace();
        }
        if d.keep_last_if_active == Some(true) {
            dedup = dedup.keep_last_if_active();
        }
        if d.reschedule == Some(true) {
            dedup = dedup.reschedule();
        }
        options = options.deduplication(dedup);
    }
    if let Some(parent) = &opts.parent {
        options = options.parent(ParentRef::new(&parent.id, &parent.queue)?);
    }
    let policies = [
        (opts.fail_parent_on_failure, OnChildFailure::FailParent),
        (opts.continue_parent_on_failure, OnChildFailure::ContinueParent),
        (opts.ignore_dependency_on_failure, OnChildFailure::IgnoreDependency),
        (opts.remove_dependency_on_failure, OnChildFailure::RemoveDependency),
    ];
    let mut chosen = policies.iter().filter(|(on, _)| *on == Some(true));
    if let Some((_, policy)) = chosen.next() {
        options = options.on_child_failure(*policy);
    }
    if chosen.next().is_some() {
        return refuse("a job has one policy");
    }
    if let Some(telemetry) = &opts.telemetry {
        if let Some(metadata) = &telemetry.metadata {
            options = options.telemetry_metadata(metadata);
        }
        if let Some(omit) = telemetry.omit_context {
            options = options.omit_context(omit);
        }
    }
    Ok(options)
}

fn with_options(worker: ManualWorkerBuilder, opts: &ops::WorkerOpts, drawn: Arc<AtomicU32>) -> ManualWorkerBuilder {
    let mut options = worker
        // As the Node side counts them.
        .jitter_source(move || f64::from(drawn.fetch_add(1, Ordering::Relaxed) % 10) / 10.0);
    if let Some(name) = &opts.name {
        options = options.name(name);
    }
    if let Some(ms) = opts.lock_duration {
        options = options.lock_duration(Duration::from_millis(ms));
    }
    if let Some(limiter) = opts.limiter {
        options = options.limiter(limiter.max, Duration::from_millis(limiter.duration));
    }
    if let Some(times) = opts.max_stalled_count {
        options = options.max_stalled_count(u32::try_from(times).expect("a small number"));
    }
    if let Some(ms) = opts.stalled_interval {
        options = options.stalled_interval(Duration::from_millis(ms));
    }
    if let Some(times) = opts.max_started_attempts {
        options = options.max_started_attempts(u32::try_from(times).expect("a small number"));
    }
    if let Some(metrics) = opts.metrics {
        options = options.metrics(metrics.max_data_points);
    }
    if let Some(keep) = &opts.remove_on_complete {
        options = options.remove_on_complete(keep_rules(keep));
    }
    if let Some(keep) = &opts.remove_on_fail {
        options = options.remove_on_fail(keep_rules(keep));
    }
    if !opts.backoff_table.is_empty() {
        let table = opts.backoff_table.clone();
        options = options.backoff_strategy(move |attempt| {
            let row = &table[attempt.strategy];
            let made = usize::try_from(attempt.attempts_made).expect("a small number");
            match row[made.min(row.len()) - 1] {
                ..0 => Retry::Never,
                0 => Retry::Now,
                ms => Retry::After(Duration::from_millis(ms.unsigned_abs())),
            }
        });
    }
    options
}

/// A job as BullMQ's driver shows it.
fn view(job: &Job) -> Json {
    let mut shown = json!({
        "id": job.id(),
        "name": job.name(),
        "data": job.data(),
        "opts": long_names(job.opts_json()),
        "progress": job.progress::<Json>().expect("progress is JSON").unwrap_or(json!(0)),
        "returnvalue": job.return_value().expect("a result is JSON"),
        "stacktrace": job.stacktrace(),
        "delay": u64::try_from(job.delay().as_millis()).expect("a short delay"),
        "priority": job.priority(),
        "attemptsStarted": job.attempts_started(),
        "attemptsMade": job.attempts_made(),
        "stalledCounter": job.stalled_counter(),
        "timestamp": job.timestamp().map(ms),
    });
    let parent = job.parent().map(|parent| {
        let mut link = json!({ "id": parent.id(), "queueKey": parent.queue() });
        let policy = job.on_child_failure().map(|policy| match policy {
            OnChildFailure::FailParent => "fpof",
            OnChildFailure::ContinueParent => "cpof",
            OnChildFailure::IgnoreDependency => "idof",
            OnChildFailure::RemoveDependency => "rdof",
            other => unreachable!("{other:?}"),
        });
        if let Some(policy) = policy {
            link[policy] = json!(true);
        }
        link
    });
    let more = [
        ("finishedOn", job.finished_on().map(|at| json!(ms(at)))),
        ("processedOn", job.processed_on().map(|at| json!(ms(at)))),
        ("failedReason", job.failed_reason().map(Json::from)),
        ("deferredFailure", job.deferred_failure().map(Json::from)),
        ("deduplicationId", job.deduplication_id().map(Json::from)),
        ("repeatJobKey", job.repeat_job_key().map(Json::from)),
        ("parentKey", job.parent_key().map(Json::from)),
        ("parent", parent),
        ("processedBy", job.processed_by().map(Json::from)),
        ("token", job.token().map(Json::from)),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            shown[name] = value;
        }
    }
    shown
}

/// Options as they are stored, with their long names.
fn long_names(stored: &str) -> Json {
    let stored: Map<String, Json> = serde_json::from_str(stored).expect("options are an object");
    let mut options = Map::from_iter([("attempts".to_owned(), json!(0))]);
    for (name, value) in stored {
        let long = match &*name {
            "de" => "deduplication",
            "fpof" => "failParentOnFailure",
            "cpof" => "continueParentOnFailure",
            "idof" => "ignoreDependencyOnFailure",
            "rdof" => "removeDependencyOnFailure",
            "kl" => "keepLogs",
            // Shown beside the options.
            "repeatJobKey" => continue,
            "tm" | "omc" => {
                let telemetry = options.entry("telemetry").or_insert_with(|| json!({}));
                telemetry[if name == "tm" { "metadata" } else { "omitContext" }] = value;
                continue;
            }
            other => other,
        };
        options.insert(long.to_owned(), value);
    }
    options.into()
}
