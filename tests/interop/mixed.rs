//! Node and oxmq on one queue at the same time: producers, workers, listeners and readers of both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxmq::events::{Delivery, EventsFrom, QueueEvent};
use oxmq::job::Cancellation;
use oxmq::queue::Order;
use oxmq::{
    Backoff, Client, ConnectOptions, Error, Halt, Job, JobOptions, JobState, NewJob, Queue, QueueEvents, Worker,
};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use crate::common::eventually::eventually;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::{RedisServer, fresh_prefix};

const JOBS: u64 = 600;
const ATTEMPTS: u64 = 3;

/// Longer than needed, since the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(90);

/// Returns how often job `n` fails before it succeeds; one in four never does.
fn fails(n: u64) -> u64 {
    n % 4
}

fn reports(n: u64) -> bool {
    n.is_multiple_of(6)
}

fn delay(n: u64) -> u64 {
    if n.is_multiple_of(5) { n % 50 * 4 } else { 0 }
}

fn priority(n: u64) -> u64 {
    n % 3
}

fn data(n: u64) -> Json {
    json!({ "n": n, "fails": fails(n), "progress": reports(n) })
}

/// Runs of each job: its number, the attempt, and whether it succeeded.
type Ledger = Arc<Mutex<Vec<(u64, u32, bool)>>>;

fn number(data: &Json) -> u64 {
    data["n"].as_u64().expect("a number")
}

/// Does what the job says, as `plan` in `node/driver.mjs`.
async fn perform(job: Job, ledger: Ledger) -> Result<Json, Halt> {
    let (n, attempt) = (number(job.data()), job.attempts_made() + 1);
    if job.data()["progress"] == json!(true) {
        job.update_progress(&json!({ "attempt": attempt })).await?;
    }
    let ok = job.data()["fails"].as_u64() <= Some(u64::from(job.attempts_made()));
    ledger.lock().expect("not poisoned").push((n, attempt, ok));
    if ok { Ok(json!({ "n": n, "by": "oxmq" })) } else { Err(Halt::failed(format!("failure {attempt} of {n}"))) }
}

pub(super) struct Mixed {
    pub(super) node: NodeDriver,
    pub(super) server: RedisServer,
    pub(super) prefix: String,
    pub(super) client: Client,
    pub(super) queue: Queue,
    ledger: Ledger,
}

impl Mixed {
    pub(super) async fn start(version: BullMq) -> Self {
        let server = RedisServer::start();
        let prefix = fresh_prefix();
        let node = NodeDriver::start(version, &server.url(), &prefix).await;
        let connect = ConnectOptions::from_url(&server.url()).expect("a url");
        let client = Client::builder(connect).prefix(prefix.clone()).connect().await.expect("connected");
        let queue = client.queue("q").open().expect("a queue");
        Self { node, server, prefix, client, queue, ledger: Ledger::default() }
    }

    pub(super) async fn call(&self, op: &str, mut args: Json) -> Json {
        args["queue"] = json!("q");
        self.node.call(op, args).await.unwrap_or_else(|error| panic!("{op}: {error}"))
    }

    async fn node_works(&self) {
        let args = json!({ "behaviour": "plan", "worker": "w", "opts": { "name": "node", "concurrency": 8 } });
        self.call("startWorker", args).await;
    }

    fn oxmq_works(&self) -> Worker {
        let ledger = Arc::clone(&self.ledger);
        let process = move |job: Job| perform(job, Arc::clone(&ledger));
        self.client.worker("q", process).name("oxmq").concurrency(8).prefetch(4).start().expect("started")
    }

    async fn node_adds(&self, numbers: impl Iterator<Item = u64>) {
        let jobs: Vec<Json> = numbers
            .map(|n| {
                json!({ "name": "node", "data": data(n), "opts": {
                    "jobId": format!("j{n}"), "attempts": ATTEMPTS, "delay": delay(n), "priority": priority(n),
                    "backoff": { "type": "fixed", "delay": 20 },
                } })
            })
            .collect();
        for chunk in jobs.chunks(50) {
            self.call("addBulk", json!({ "jobs": chunk })).await;
        }
    }

    async fn oxmq_adds(&self, numbers: impl Iterator<Item = u64>) {
        let jobs: Vec<NewJob<Json>> = numbers
            .map(|n| {
                let options = JobOptions::default()
                    .job_id(format!("j{n}"))
                    .attempts(u32::try_from(ATTEMPTS).expect("few"))
                    .delay(Duration::from_millis(delay(n)))
                    .priority(u32::try_from(priority(n)).expect("small"))
                    .backoff(Backoff::exponential(Duration::from_millis(10)));
                NewJob::new("oxmq", data(n)).options(options)
            })
            .collect();
        for chunk in jobs.chunks(50) {
            for added in self.queue.add_bulk(chunk.to_vec()).await.expect("sent") {
                added.expect("added");
            }
        }
    }

    async fn finished(&self) -> u64 {
        let counts = self.queue.get_job_counts(&[]).await.expect("counts");
        counts.completed + counts.failed
    }

    /// Checks that nothing is left of the work: no active job, no lock, no id in a place that has none.
    async fn is_clean(&self) {
        let counts = self.queue.get_job_counts(&[]).await.expect("counts");
        let open = [counts.active, counts.waiting, counts.prioritized, counts.delayed, counts.waiting_children];
        assert_eq!(open, [0; 5], "{counts:?}");
        let mut connection = self.server.connection().await;
        let locks: Vec<String> =
            redis::cmd("KEYS").arg(format!("{}:q:*:lock", self.prefix)).query_async(&mut connection).await.unwrap();
        assert_eq!(locks, Vec::<String>::new());
        let stalled: Vec<String> = redis::cmd("SMEMBERS")
            .arg(format!("{}:q:stalled", self.prefix))
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(stalled, Vec::<String>::new());
    }
}

/// How often each event was seen, by its name and the job.
type Seen = BTreeMap<(String, String), usize>;

/// Returns what every listener must have seen in the end.
fn expected() -> Seen {
    let mut seen = Seen::new();
    for n in 1..=JOBS {
        let starts = (fails(n) + 1).min(ATTEMPTS);
        let mut note = |name: &str, times: u64| {
            seen.insert((name.to_owned(), format!("j{n}")), usize::try_from(times).expect("few"));
        };
        note("added", 1);
        note("active", starts);
        if reports(n) {
            note("progress", starts);
        }
        if fails(n) < ATTEMPTS {
            note("completed", 1);
        } else {
            note("failed", 1);
            note("retries-exhausted", 1);
        }
    }
    seen
}

fn note(seen: &mut Seen, name: &str, job: &str) {
    *seen.entry((name.to_owned(), job.to_owned())).or_default() += 1;
}

/// Reads events with a listener of oxmq until all are there.
async fn oxmq_sees(events: &mut QueueEvents, wanted: &Seen) -> Seen {
    let mut seen = Seen::new();
    let all: usize = wanted.values().sum();
    let read = async {
        while seen.values().sum::<usize>() < all {
            let event = match events.recv().await.expect("open") {
                Delivery::Event { event, .. } => event,
                lost => panic!("{lost:?}"),
            };
            match event {
                QueueEvent::Added { job_id, .. } => note(&mut seen, "added", &job_id),
                QueueEvent::Active { job_id, .. } => note(&mut seen, "active", &job_id),
                QueueEvent::Progress { job_id, data, .. } => {
                    assert!(data.as_str().contains("attempt"), "{data:?}");
                    note(&mut seen, "progress", &job_id);
                }
                QueueEvent::Completed { job_id, return_value, .. } => {
                    assert!(return_value.as_str().contains("\"by\""), "{return_value:?}");
                    note(&mut seen, "completed", &job_id);
                }
                QueueEvent::Failed { job_id, failed_reason, .. } => {
                    assert!(failed_reason.is_some_and(|reason| reason.starts_with("failure 3 of ")));
                    note(&mut seen, "failed", &job_id);
                }
                QueueEvent::RetriesExhausted { job_id, .. } => note(&mut seen, "retries-exhausted", &job_id),
                _ => {}
            }
        }
    };
    let _ = tokio::time::timeout(DEADLINE, read).await;
    seen
}

/// Reads events with a listener of Node until all are there.
async fn node_sees(mixed: &Mixed, wanted: &Seen) -> Seen {
    let mut seen = Seen::new();
    let deadline = std::time::Instant::now() + DEADLINE;
    while seen.values().sum::<usize>() < wanted.values().sum() && std::time::Instant::now() < deadline {
        for event in mixed.call("takeEvents", json!({})).await.as_array().expect("events") {
            let name = event["event"].as_str().expect("a name");
            if wanted.keys().any(|(wanted, _)| wanted == name) {
                note(&mut seen, name, event["jobId"].as_str().expect("an id"));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // looks again
    }
    seen
}

async fn work_together(version: BullMq) {
    let mixed = Mixed::start(version).await;
    mixed.call("startQueueEvents", json!({ "opts": { "lastEventId": "0-0" } })).await;
    let listener = mixed.client.queue_events("q").from(EventsFrom::Beginning).buffer(100_000);
    let mut events = listener.start().expect("listening");
    mixed.node_works().await;
    let worker = mixed.oxmq_works();
    eventually("both know both workers", || async {
        let here = mixed.queue.get_workers().await.expect("workers").len();
        let there = mixed.call("getWorkers", json!({})).await;
        let names: BTreeSet<_> = there.as_array().expect("workers").iter().map(|w| w["rawname"].to_string()).collect();
        here == 2 && ["w:node", "w:oxmq"].iter().all(|end| names.iter().any(|name| name.ends_with(&format!("{end}\""))))
    })
    .await;

    let (odd, even) = ((1..=JOBS).step_by(2), (2..=JOBS).step_by(2));
    tokio::join!(mixed.node_adds(odd), mixed.oxmq_adds(even));
    eventually("all jobs finish", || async { mixed.finished().await >= JOBS }).await;
    let report = worker.close().await;
    assert_eq!((&report.abandoned, &report.lost), (&Vec::new(), &Vec::new()), "{report:?}");

    let node_ledger = mixed.call("workerLedger", json!({ "worker": "w" })).await;
    assert_eq!(node_ledger["errors"], json!([]));
    let node_runs: Vec<_> = node_ledger["ledger"].as_array().expect("runs").clone();
    mixed.call("stopWorker", json!({ "worker": "w" })).await;
    let mut runs = BTreeMap::<u64, Vec<(u64, bool)>>::new();
    for run in &node_runs {
        let n = run["id"].as_str().expect("an id")[1..].parse().expect("a number");
        let run = (run["attempt"].as_u64().expect("a number"), run["outcome"] == json!("completed"));
        runs.entry(n).or_default().push(run);
    }
    let ours = mixed.ledger.lock().expect("not poisoned").clone();
    for (n, attempt, ok) in &ours {
        runs.entry(*n).or_default().push((u64::from(*attempt), *ok));
    }
    // Both take part; how much each gets depends on the machine's other load.
    assert!(node_runs.len() > 10 && ours.len() > 10, "node {}, oxmq {}", node_runs.len(), ours.len());
    for n in 1..=JOBS {
        let mut done = runs.remove(&n).unwrap_or_default();
        done.sort_unstable();
        let wanted: Vec<_> = (1..=(fails(n) + 1).min(ATTEMPTS)).map(|attempt| (attempt, attempt > fails(n))).collect();
        assert_eq!(done, wanted, "the runs of job {n}");
    }

    let wanted = expected();
    assert_eq!(oxmq_sees(&mut events, &wanted).await, wanted);
    assert_eq!(node_sees(&mixed, &wanted).await, wanted);
    mixed.is_clean().await;
    read_each_other(&mixed).await;
}

/// Checks that both sides read the same of every job, whichever side ran it.
async fn read_each_other(mixed: &Mixed) {
    let states = [(JobState::Completed, true), (JobState::Failed, false)];
    let mut workers = BTreeSet::new();
    let mut seen = 0;
    for (state, ok) in states {
        for job in mixed.queue.get_jobs(&[state], 0, -1, Order::Ascending).await.expect("jobs") {
            let job = job.expect("readable");
            let n = number(job.data());
            seen += 1;
            let worker = job.processed_by().expect("a worker").to_owned();
            assert_eq!(fails(n) < ATTEMPTS, ok, "job {n}");
            if ok {
                assert_eq!(job.return_value().expect("JSON"), Some(json!({ "n": n, "by": worker })));
            } else {
                assert_eq!(job.failed_reason(), Some(&*format!("failure 3 of {n}")));
            }
            assert_eq!(u64::try_from(job.stacktrace().len()).expect("few"), fails(n), "job {n}");
            // A sample, since each costs a round trip.
            if n.is_multiple_of(12) || n.is_multiple_of(7) {
                let there = mixed.call("getJob", json!({ "job": job.id() })).await;
                assert_eq!(there["returnvalue"], job.return_value().expect("JSON").unwrap_or_default());
                assert_eq!(there["failedReason"].as_str(), job.failed_reason());
                assert_eq!(there["attemptsMade"], json!(job.attempts_made()));
                assert_eq!(there["progress"], job.progress::<Json>().expect("JSON").unwrap_or(json!(0)));
                assert_eq!(there["stacktrace"].as_array().map(Vec::len), Some(job.stacktrace().len()));
                assert_eq!(there["processedBy"].as_str(), Some(&*worker));
            }
            workers.insert(worker);
        }
    }
    assert_eq!((seen, workers.len()), (JOBS, 2), "{workers:?}");
}

/// Each waits for jobs that the other adds to and works on.
async fn wait_for_each_other(version: BullMq) {
    let mixed = Mixed::start(version).await;
    mixed.call("startQueueEvents", json!({ "opts": { "lastEventId": "0-0" } })).await;
    let wait = async |id: &str| {
        let args = json!({ "queue": "q", "job": id, "ttl": 10_000 });
        mixed.node.call("waitUntilFinished", args).await.map_err(|error| error.message)
    };
    let worker = mixed.oxmq_works();
    mixed.node_adds([1, 3, 4].into_iter()).await;
    assert_eq!(wait("j1").await, Ok(json!({ "n": 1, "by": "oxmq" })));
    assert_eq!(wait("j4").await, Ok(json!({ "n": 4, "by": "oxmq" })));
    assert_eq!(wait("j3").await, Err("failure 3 of 3".to_owned()));
    // Also if the job is removed when it finishes.
    let gone = json!({ "name": "node", "data": data(8), "opts": { "jobId": "gone", "removeOnComplete": true, "delay": 1_000 } });
    mixed.call("add", gone).await;
    assert_eq!(wait("gone").await, Ok(json!({ "n": 8, "by": "oxmq" })));
    worker.close().await;

    mixed.node_works().await;
    let limit = Duration::from_secs(10);
    let add = async |n: u64| {
        let retried = JobOptions::default().attempts(3).backoff(Duration::from_millis(10));
        mixed.queue.add("oxmq", data(n)).options(retried).await.expect("added")
    };
    assert_eq!(add(5).await.wait_until_finished(limit).await.expect("completed"), json!({ "n": 5, "by": "node" }));
    match add(7).await.wait_until_finished(limit).await {
        Err(Error::JobFailed { reason, .. }) => assert_eq!(reason, "failure 3 of 7"),
        other => panic!("{other:?}"),
    }
    mixed.call("stopWorker", json!({ "worker": "w" })).await;
    mixed.is_clean().await;
}

#[tokio::test]
async fn node_6_and_oxmq_work_together() {
    work_together(BullMq::V6).await;
}

#[tokio::test]
async fn node_5_and_oxmq_work_together() {
    work_together(BullMq::V5).await;
}

#[tokio::test]
async fn node_6_and_oxmq_wait_for_each_other() {
    wait_for_each_other(BullMq::V6).await;
}

#[tokio::test]
async fn node_5_and_oxmq_wait_for_each_other() {
    wait_for_each_other(BullMq::V5).await;
}

/// A worker of oxmq obeys the longest wait of any job; a worker of Node keeps the option and ignores it.
#[tokio::test]
async fn max_delay_is_obeyed_by_oxmq_and_kept_by_node() {
    for version in [BullMq::V6, BullMq::V5] {
        let mixed = Mixed::start(version).await;
        let hour = Duration::from_secs(3_600);
        let backoff = Backoff::exponential(hour).max_delay(Duration::from_millis(5));
        mixed.queue.add("ours", json!({})).attempts(3).backoff(backoff).await.unwrap();
        let backoff = json!({ "type": "exponential", "delay": 3_600_000, "maxDelay": 5 });
        let opts = json!({ "attempts": 3, "backoff": backoff });
        mixed.call("add", json!({ "name": "theirs", "data": {}, "opts": opts })).await;
        let fails = |_: Job| async { Err::<Json, _>(Halt::failed("always")) };
        let worker = mixed.client.worker("q", fails).start().unwrap();
        eventually("both have failed", || async {
            mixed.queue.get_job_counts(&[JobState::Failed]).await.unwrap().total() == 2
        })
        .await;
        worker.close().await;

        let backoff = Backoff::exponential(Duration::from_millis(10)).max_delay(Duration::from_millis(5));
        let id = mixed.queue.add("kept", json!({})).attempts(3).backoff(backoff).await.unwrap().id().to_owned();
        mixed.call("startWorker", json!({ "behaviour": "fail", "worker": "w" })).await;
        eventually("Node has failed it", || async {
            mixed.queue.get_job_counts(&[JobState::Failed]).await.unwrap().total() == 3
        })
        .await;
        mixed.call("stopWorker", json!({ "worker": "w" })).await;
        let shown = mixed.call("getJob", json!({ "job": id })).await;
        assert_eq!(shown["opts"]["backoff"], json!({ "type": "exponential", "delay": 10, "maxDelay": 5 }), "{shown}");
    }
}

/// A Node program that listens stops its job; a waiting job is failed by Node's worker without a run.
#[tokio::test]
async fn node_workers_are_told_of_cancellations() {
    for version in [BullMq::V6, BullMq::V5] {
        let mixed = Mixed::start(version).await;
        mixed.call("startWorker", json!({ "behaviour": "untilCancelled", "worker": "w", "cancels": true })).await;
        let runs = mixed.queue.add("runs", json!({})).attempts(3).await.unwrap();
        let waits = mixed.queue.add("waits", json!({})).attempts(3).await.unwrap();
        eventually("Node has begun", || async { runs.get_state().await.unwrap() == JobState::Active }).await;
        assert_eq!(waits.cancel("later").await.unwrap(), Cancellation::Cancelled);
        assert_eq!(runs.cancel("at once").await.unwrap(), Cancellation::Requested);
        for (job, reason) in [(runs, "at once"), (waits, "later")] {
            match job.wait_until_finished(DEADLINE).await {
                Err(Error::JobFailed { reason: told, .. }) => assert_eq!(told, reason),
                other => panic!("{other:?}"),
            }
        }
        mixed.call("stopWorker", json!({ "worker": "w" })).await;
    }
}

/// Node cuts texts in the middle of an emoji, as `slice` does, and stores the half: jobs with it run, and results with it
/// are read.
#[tokio::test]
async fn texts_that_node_cut_in_the_middle_of_an_emoji_are_read() {
    let mixed = Mixed::start(BullMq::V6).await;
    let mut redis = mixed.server.connection().await;
    let stored = r#"{"text":"cut \ud83d"}"#;
    let add = async |redis: &mut redis::aio::MultiplexedConnection, id: &str| {
        // Held back until its hash is what Node would have written.
        let job = mixed.queue.add("cut", json!({})).job_id(id).delay(DEADLINE).await.unwrap();
        let key = format!("{}:q:{id}", mixed.prefix);
        redis::cmd("HSET").arg(key).arg("data").arg(stored).exec_async(redis).await.unwrap();
        job.promote().await.unwrap();
        job
    };
    let echo = |job: Job| async move {
        assert_eq!(job.data_json(), r#"{"text":"cut \ud83d"}"#);
        Ok::<_, Halt>(job.data().clone())
    };
    let worker = mixed.client.worker("q", echo).start().unwrap();
    let job = add(&mut redis, "here").await;
    assert_eq!(job.wait_until_finished(DEADLINE).await.unwrap(), json!({ "text": "cut �" }));
    worker.close().await;

    mixed.call("startWorker", json!({ "behaviour": "echo", "worker": "w" })).await;
    let job = add(&mut redis, "there").await;
    assert_eq!(job.wait_until_finished(DEADLINE).await.unwrap(), json!({ "text": "cut �" }));
    let there = mixed.queue.get_job("there").await.unwrap().expect("a job");
    assert_eq!(there.return_value().unwrap(), Some(json!({ "text": "cut �" })));
    let fields = there.get_fields().await.unwrap();
    assert!(fields.contains(&("returnvalue".to_owned(), stored.to_owned())), "{fields:?}");
    mixed.call("stopWorker", json!({ "worker": "w" })).await;
}

/// Data that is nested too deep for the stack fails its job with that reason, and is read by whoever asks for its text.
#[tokio::test]
async fn data_nested_too_deep_fails_its_job_unless_it_is_read_as_text() {
    let mixed = Mixed::start(BullMq::V6).await;
    let mut redis = mixed.server.connection().await;
    let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    let add = async |redis: &mut redis::aio::MultiplexedConnection, id: &str| {
        let job = mixed.queue.add("deep", json!([])).job_id(id).delay(DEADLINE).attempts(3).await.unwrap();
        let key = format!("{}:q:{id}", mixed.prefix);
        redis::cmd("HSET").arg(key).arg("data").arg(&deep).exec_async(redis).await.unwrap();
        job.promote().await.unwrap();
        job
    };
    let worker = mixed.client.worker("q", |_: Job| async { Ok::<_, Halt>(json!(1)) }).start().unwrap();
    let job = add(&mut redis, "parsed").await;
    match job.wait_until_finished(DEADLINE).await {
        Err(Error::JobFailed { reason, .. }) => assert!(reason.contains("more than 127 levels deep"), "{reason}"),
        other => panic!("{other:?}"),
    }
    worker.close().await;

    let length = |job: Job<Box<RawValue>>| async move { Ok::<_, Halt>(json!(job.data().get().len())) };
    let worker = mixed.client.worker("q", length).start().unwrap();
    let job = add(&mut redis, "text").await;
    assert_eq!(job.wait_until_finished(DEADLINE).await.unwrap(), json!(deep.len()));
    worker.close().await;
}

/// A worker without a name is found by where it runs, here and by Node, and leaves no name in its jobs.
#[tokio::test]
async fn a_worker_without_a_name_shows_its_host_and_process() {
    let mixed = Mixed::start(BullMq::V6).await;
    let worker = mixed.client.worker("q", |_: Job| async { Ok::<_, Halt>(json!(1)) }).start().unwrap();
    let job = mixed.queue.add("n", json!(1)).await.unwrap();
    job.wait_until_finished(DEADLINE).await.unwrap();
    let process = format!(":{}", std::process::id());
    let found = eventually("it is found", || async {
        let found = mixed.queue.get_workers().await.unwrap();
        found.into_iter().find(|worker| worker.get("rawname").is_some_and(|name| name.ends_with(&process)))
    })
    .await;
    let (_, place) = found.get("rawname").unwrap().rsplit_once(":w:").unwrap();
    assert!(place.len() > process.len(), "{found:?}");
    let shown = mixed.call("getWorkers", json!({})).await;
    assert!(shown.to_string().contains(&process), "{shown}");
    let shown = mixed.call("getJob", json!({ "job": job.id() })).await;
    assert!(shown.get("processedBy").is_none_or(Json::is_null), "{shown}");
    worker.close().await;
}

/// Jobs of a stream are added in few calls, as their answers are asked for; a job that is refused affects no other.
#[tokio::test]
async fn add_stream_adds_only_as_its_results_are_taken() {
    use futures::StreamExt;
    let mixed = Mixed::start(BullMq::V6).await;
    let asked = Arc::new(Mutex::new(0_u64));
    let seen = Arc::clone(&asked);
    let jobs = futures::stream::iter(0..1_200_u64).map(move |n| {
        *seen.lock().unwrap() += 1;
        let job = NewJob::new("n", json!(n));
        if n == 700 { job.priority(u32::MAX) } else { job }
    });
    let mut calls = std::pin::pin!(mixed.queue.add_stream(jobs));
    assert_eq!(*asked.lock().unwrap(), 0);
    let first = calls.next().await.unwrap();
    assert_eq!((first.len(), *asked.lock().unwrap()), (500, 500));
    assert!(first.iter().all(Result::is_ok));
    let second = calls.next().await.unwrap();
    let bad: Vec<usize> = (0..second.len()).filter(|place| second[*place].is_err()).collect();
    assert_eq!((second.len(), bad), (500, vec![200]));
    assert!(matches!(second[200], Err(Error::InvalidOption { option: "priority", .. })));
    let data = |place: usize| second[place].as_ref().unwrap().data();
    assert_eq!([data(199), data(201)], [&json!(699), &json!(701)]);
    assert_eq!(calls.next().await.unwrap().len(), 200);
    assert!(calls.next().await.is_none());
    assert_eq!(mixed.queue.count().await.unwrap(), 1_199);
    // In order: the first that was given is the first to run.
    let ids: Vec<_> = first.into_iter().map(|job| job.unwrap().id().parse::<u64>().unwrap()).collect();
    assert!(ids.windows(2).all(|two| two[0] < two[1]));
}

/// Many listeners share one connection. Each gets all events, and the last one to end closes the connection.
#[tokio::test]
async fn listeners_of_a_queue_share_one_connection() {
    let mixed = Mixed::start(BullMq::V6).await;
    let mut first = mixed.client.queue_events("q").start().unwrap();
    let mut second = first.subscribe();
    let third = first.subscribe();
    first.ready().await.unwrap();
    second.ready().await.unwrap();
    let readers = async || mixed.queue.get_queue_events().await.unwrap().len();
    eventually("they are connected", async || readers().await == 1).await;
    let added = async |events: &mut QueueEvents| loop {
        if let Some(QueueEvent::Added { job_id, .. }) = events.recv().await.unwrap().into_event() {
            break job_id;
        }
    };
    let id = mixed.queue.add("n", json!(1)).await.unwrap().id().to_owned();
    assert_eq!(tokio::time::timeout(DEADLINE, added(&mut first)).await.unwrap(), id);
    assert_eq!(tokio::time::timeout(DEADLINE, added(&mut second)).await.unwrap(), id);
    // A listener that ends does not end the others.
    drop(third);
    first.close().await;
    while first.recv().await.is_some() {}
    assert!(first.subscribe().recv().await.is_none());
    let id = mixed.queue.add("n", json!(1)).await.unwrap().id().to_owned();
    assert_eq!(tokio::time::timeout(DEADLINE, added(&mut second)).await.unwrap(), id);
    assert_eq!(readers().await, 1);
    second.close().await;
    while second.recv().await.is_some() {}
    eventually("the connection is closed", async || readers().await == 0).await;
}
