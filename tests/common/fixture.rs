//! What most tests start with: a queue of their own, a direct connection to its server, and a ledger of what ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxmq::worker::{Processor, WorkerBuilder, WorkerEvent};
use oxmq::{Client, ConnectOptions, Halt, Job, JobState, NewJob, Queue, Worker};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use super::eventually::eventually_within;
use super::proxy::Proxy;
use super::server::{RedisServer, connect, fresh_prefix, shared_server};

/// How long a test waits for something that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The queue `q` under a prefix of its own.
pub struct Fixture {
    pub prefix: String,
    pub client: Client,
    pub queue: Queue<Value, Value>,
    /// A connection to the server itself, without the proxy.
    pub redis: MultiplexedConnection,
}

impl Fixture {
    /// Opens it on the server that all tests share.
    pub async fn new() -> Self {
        Self::on(shared_server()).await
    }

    /// Opens it on a server of the test's own.
    pub async fn on(server: &RedisServer) -> Self {
        Self::with(ConnectOptions::from_url(&server.url()).unwrap(), server).await
    }

    /// Opens it through a proxy, with short deadlines.
    pub async fn through(proxy: &Proxy, server: &RedisServer) -> Self {
        let options = server.by_way_of(proxy.addr());
        Self::with(options.command_timeout(Duration::from_secs(2)).connect_timeout(Duration::from_secs(1)), server)
            .await
    }

    pub async fn with(options: ConnectOptions, server: &RedisServer) -> Self {
        let prefix = fresh_prefix();
        let client = Client::builder(options).prefix(&prefix).connect().await.unwrap();
        let queue = client.queue("q").max_len_events(1_000_000).open().unwrap();
        queue.write_meta().await.unwrap();
        Self { prefix, client, queue, redis: connect(&server.url()).await }
    }

    /// Returns the full name of one of the queue's keys.
    pub fn key(&self, suffix: &str) -> String {
        format!("{}:q:{suffix}", self.prefix)
    }

    /// Builds a worker of the queue that looks for jobs every second at least.
    pub fn worker<M>(&self, processor: impl Processor<M>) -> WorkerBuilder {
        self.client.worker("q", processor).drain_delay(Duration::from_secs(1))
    }

    /// A worker that notes each job, and is done with it.
    pub fn noting_worker(&self, ran: &Ledger) -> WorkerBuilder {
        let ran = ran.clone();
        self.worker(move |job: Job<Value, ()>| {
            ran.note(job.id());
            async { Ok::<_, Halt>(()) }
        })
    }

    /// Builds a worker that notes each job and then takes that many ms for it, so that faults hit running jobs.
    pub fn slow_worker(&self, ran: &Ledger, ms: u64) -> WorkerBuilder {
        let ran = ran.clone();
        self.worker(move |job: Job<Value, ()>| {
            ran.note(job.id());
            async move {
                tokio::time::sleep(Duration::from_millis(ms)).await; // the work itself
                Ok::<_, Halt>(())
            }
        })
    }

    pub async fn add(&self, data: Value) -> String {
        self.queue.add("job", data).await.unwrap().id().to_owned()
    }

    /// Adds `n` jobs `{"n": 0…}` and returns their ids.
    pub async fn add_many(&self, n: usize) -> Vec<String> {
        let jobs = (0..n).map(|n| NewJob::new("job", json!({ "n": n })));
        let added = self.queue.add_bulk(jobs).await.unwrap();
        added.into_iter().map(|job| job.unwrap().id().to_owned()).collect()
    }

    /// Reads a field of a job's hash.
    pub async fn field(&self, id: &str, field: &str) -> Option<String> {
        let mut redis = self.redis.clone();
        redis::cmd("HGET").arg(self.key(id)).arg(field).query_async(&mut redis).await.unwrap()
    }

    /// Reads a numeric field of a job's hash; 0 if it does not exist.
    pub async fn number(&self, id: &str, field: &str) -> u64 {
        self.field(id, field).await.map_or(0, |text| text.parse().unwrap())
    }

    pub async fn is_active(&self, id: &str) -> bool {
        let mut redis = self.redis.clone();
        let active: Vec<String> =
            redis::cmd("LRANGE").arg(self.key("active")).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
        active.iter().any(|found| found == id)
    }

    /// Counts the jobs in this state, without the proxy.
    pub async fn count(&self, state: JobState) -> usize {
        let mut redis = self.redis.clone();
        let (command, key) = match state {
            JobState::Waiting => ("LLEN", "wait"),
            JobState::Active => ("LLEN", "active"),
            JobState::Delayed => ("ZCARD", "delayed"),
            JobState::Prioritized => ("ZCARD", "prioritized"),
            JobState::Completed => ("ZCARD", "completed"),
            JobState::Failed => ("ZCARD", "failed"),
            other => panic!("no count of {other:?}"),
        };
        redis::cmd(command).arg(self.key(key)).query_async(&mut redis).await.unwrap()
    }

    /// Waits until that many jobs are in this state.
    pub async fn until(&self, state: JobState, jobs: usize) {
        self.until_within(PATIENCE, state, jobs).await;
    }

    pub async fn until_within(&self, limit: Duration, state: JobState, jobs: usize) {
        let what = format!("{jobs} jobs {state:?}");
        eventually_within(limit, &what, || async { self.count(state).await == jobs }).await;
    }

    /// Counts the keys of locks.
    pub async fn locks(&self) -> usize {
        let mut redis = self.redis.clone();
        let pattern = self.key("*:lock");
        let mut cursor = 0_u64;
        let mut found = 0;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(1000)
                .query_async(&mut redis)
                .await
                .unwrap();
            found += keys.len();
            cursor = next;
            if cursor == 0 {
                return found;
            }
        }
    }
}

/// Lines that processors write about what they ran.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<String>>>);

impl Ledger {
    pub fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns how often each line was written.
    pub fn tally(&self) -> HashMap<String, usize> {
        let mut tally = HashMap::new();
        for line in self.lines() {
            *tally.entry(line).or_default() += 1;
        }
        tally
    }

    pub async fn until(&self, lines: usize) {
        let what = format!("{lines} lines in the ledger");
        eventually_within(PATIENCE, &what, || async { self.len() >= lines }).await;
    }
}

/// Collects the events of a worker from now on.
pub fn listen(worker: &Worker) -> Heard {
    let heard = Heard::default();
    let mut events = worker.events();
    let into = heard.clone();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            into.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
    });
    heard
}

/// The events of a worker so far.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<WorkerEvent>>>);

impl Heard {
    pub fn count(&self, wanted: impl Fn(&WorkerEvent) -> bool) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|event| wanted(event)).count()
    }

    pub fn events(&self) -> Vec<WorkerEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn completed(&self) -> usize {
        self.count(|event| matches!(event, WorkerEvent::Completed { .. }))
    }

    pub fn errors(&self) -> Vec<String> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = events.iter().filter_map(|event| match event {
            WorkerEvent::Error(error) => Some(with_causes(&**error)),
            _ => None,
        });
        errors.collect()
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&WorkerEvent) -> bool) {
        eventually_within(PATIENCE, what, || async { self.count(&wanted) > 0 }).await;
    }
}

/// Returns the text of an error and of its causes.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
