//! What oxmq adds to schedulers: runs that do not overlap, and missed runs that are made up for. Node keeps both
//! options and obeys neither.

use std::time::Duration;

use oxmq::JobOptions;
use oxmq::client::Clock;
use oxmq::queue::Order;
use oxmq::scheduler::Overlap;
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Halt, Job, ManualWorker, Queue, Repeat};
use redis::AsyncCommands;
use serde_json::{Value, json};

use super::twin::BEGIN;
use crate::common::dump::remove_all;
use crate::common::eventually::DEADLINE;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::{connect, fresh_prefix, shared_server};
use crate::common::time::moment;

const MINUTE: i64 = 60_000;

/// oxmq and Node on one queue, under one clock.
struct Both {
    prefix: String,
    node: NodeDriver,
    redis: redis::aio::MultiplexedConnection,
    queue: Queue<Value, Value>,
    worker: ManualWorker,
    clock: Clock,
    now: i64,
}

impl Both {
    async fn start(version: BullMq) -> Self {
        let prefix = fresh_prefix();
        let url = shared_server().url();
        let clock = Clock::manual(moment(BEGIN));
        let client = Client::builder(ConnectOptions::from_url(&url).unwrap()).prefix(&prefix).clock(clock.clone());
        let client = client.connect().await.unwrap();
        Self {
            node: NodeDriver::start(version, &url, &prefix).await,
            redis: connect(&url).await,
            queue: client.queue("q").open().unwrap(),
            worker: client.manual_worker("q").open().unwrap(),
            prefix,
            clock,
            now: BEGIN,
        }
    }

    async fn upsert(&self, repeat: Repeat) -> Job<Value, Value> {
        let options = JobOptions::default().attempts(2).backoff(oxmq::Backoff::fixed(Duration::from_secs(100)));
        self.queue.upsert_job_scheduler("s", repeat).name("tick").options(options).await.unwrap()
    }

    fn advance(&mut self, ms: i64) {
        self.now += ms;
        self.clock.set(moment(self.now));
    }

    /// Returns the time of the next run, counted from the beginning.
    async fn next(&self) -> i64 {
        let at = self.queue.get_job_scheduler("s").await.unwrap().unwrap().next_run;
        i64::try_from(at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap() - BEGIN
    }

    async fn fetch(&self) -> Option<Job> {
        self.worker.get_next_job("t").await.unwrap()
    }

    async fn node_fetches(&self) -> Value {
        let args = json!({ "queue": "q", "now": self.now, "token": "n" });
        self.node.call("getNextJob", args).await.unwrap()["job"].clone()
    }

    /// Runs as many jobs as there are and returns their times, counted from the beginning.
    async fn work(&self) -> Vec<i64> {
        let mut ran = Vec::new();
        while let Some(job) = self.fetch().await {
            ran.push(job.id().rsplit_once(':').unwrap().1.parse::<i64>().unwrap() - BEGIN);
            job.move_to_completed(&json!(1), "t").await.unwrap();
        }
        ran
    }

    async fn exists(&self, id: &str) -> bool {
        self.redis.clone().exists(format!("{}:q:{id}", self.prefix)).await.unwrap()
    }

    async fn end(mut self) {
        remove_all(&mut self.redis, &self.prefix).await;
    }
}

fn every_minute() -> Repeat {
    Repeat::every(Duration::from_secs(60))
}

async fn runs_do_not_overlap(version: BullMq) {
    let mut both = Both::start(version).await;
    both.upsert(every_minute().overlap(Overlap::Skip)).await;
    let first = both.fetch().await.unwrap();
    assert_eq!(both.next().await, MINUTE);

    // The second run is skipped, and leaves nothing behind.
    both.advance(MINUTE);
    assert!(both.fetch().await.is_none());
    let second = format!("repeat:s:{}", BEGIN + MINUTE);
    for key in [second.clone(), format!("{second}:lock")] {
        assert!(!both.exists(&key).await, "{key}");
    }
    assert_eq!(both.next().await, 2 * MINUTE);
    let active: Vec<String> = both.redis.lrange(format!("{}:q:active", both.prefix), 0, -1).await.unwrap();
    assert_eq!(active, [first.id()]);

    // So is the third one while the first waits for its next attempt.
    first.move_to_failed(Halt::failed("once"), "t").await.unwrap();
    both.advance(MINUTE);
    assert!(both.fetch().await.is_none());
    assert_eq!(both.next().await, 3 * MINUTE);

    // An upsert sees that the first run has not ended.
    both.upsert(every_minute().overlap(Overlap::Skip)).await;
    both.advance(MINUTE);
    // By now the second attempt is due, and goes first.
    let retried = both.fetch().await.unwrap();
    assert_eq!(retried.id(), first.id());
    assert!(both.fetch().await.is_none());
    retried.move_to_completed(&json!(1), "t").await.unwrap();

    // Then the next one runs.
    both.advance(MINUTE);
    assert_eq!(both.work().await, [4 * MINUTE]);

    // Node lists the scheduler and runs a job of it; it passes the option on.
    let shown = both.node.call("getJobScheduler", json!({ "queue": "q", "scheduler": "s" })).await.unwrap();
    assert_eq!((&shown["every"], &shown["name"]), (&json!(MINUTE), &json!("tick")), "{shown}");
    both.advance(MINUTE);
    let job = both.fetch().await.unwrap();
    both.advance(MINUTE);
    let beside = both.node_fetches().await;
    assert_eq!(beside["id"], format!("repeat:s:{}", BEGIN + 6 * MINUTE));
    job.move_to_completed(&json!(1), "t").await.unwrap();

    // A job that Node's worker runs counts as an earlier run here.
    both.advance(MINUTE);
    assert!(both.fetch().await.is_none());
    let args = json!({ "queue": "q", "now": both.now, "job": beside["id"], "token": "n", "value": 1 });
    both.node.call("moveToCompleted", args).await.unwrap();
    both.advance(MINUTE);
    assert_eq!(both.work().await, [8 * MINUTE]);
    let scheduler = both.queue.get_job_schedulers(0, -1, Order::Ascending).await.unwrap().remove(0);
    assert_eq!((scheduler.overlap, scheduler.catch_up), (Overlap::Skip, 0));

    // An upsert by Node replaces the options from then on.
    let args = json!({ "queue": "q", "now": both.now, "scheduler": "s", "repeat": { "every": MINUTE } });
    both.node.call("upsertJobScheduler", args).await.unwrap();
    assert_eq!(both.queue.get_job_scheduler("s").await.unwrap().unwrap().overlap, Overlap::Allow);
    both.advance(MINUTE);
    let job = both.fetch().await.unwrap();
    both.advance(MINUTE);
    assert!(both.fetch().await.is_some(), "beside {}", job.id());
    both.end().await;
}

#[tokio::test]
async fn runs_do_not_overlap_beside_version_6() {
    runs_do_not_overlap(BullMq::V6).await;
}

#[tokio::test]
async fn runs_do_not_overlap_beside_version_5() {
    runs_do_not_overlap(BullMq::V5).await;
}

/// The last run of a scheduler is skipped, too. A scheduler with a longer id that starts the same does not prevent a
/// run.
#[tokio::test]
async fn the_last_run_is_skipped_too_and_others_are_not_in_its_way() {
    let mut both = Both::start(BullMq::V6).await;
    both.queue.upsert_job_scheduler("s:1", every_minute()).await.unwrap();
    let other = both.fetch().await.unwrap();
    assert!(other.id().starts_with("repeat:s:1:"));
    both.upsert(every_minute().overlap(Overlap::Skip).limit(2)).await;
    let first = both.fetch().await.unwrap();
    both.queue.remove_job_scheduler("s:1").await.unwrap();
    both.advance(MINUTE);
    assert!(both.fetch().await.is_none());
    assert!(!both.exists(&format!("repeat:s:{}", BEGIN + MINUTE)).await);
    first.move_to_completed(&json!(1), "t").await.unwrap();
    both.advance(MINUTE);
    assert_eq!(both.work().await, [0; 0]);
    both.end().await;
}

async fn slots_are_made_up(version: BullMq) {
    let mut both = Both::start(version).await;
    both.upsert(every_minute().catch_up(3)).await;
    assert_eq!(both.work().await, [0]);
    // First fewer than the limit, then more.
    both.advance(3 * MINUTE + 5);
    assert_eq!(both.work().await, [1, 2, 3].map(|n| n * MINUTE));
    both.advance(10 * MINUTE);
    assert_eq!(both.work().await, [4, 11, 12, 13].map(|n| n * MINUTE));
    assert_eq!(both.next().await, 14 * MINUTE);

    // A process that starts after an outage upserts first.
    both.advance(6 * MINUTE);
    both.upsert(every_minute().catch_up(3)).await;
    assert_eq!(both.work().await, [14, 17, 18, 19].map(|n| n * MINUTE));

    // Node's worker goes on with the next slot, as usual; it passes the option on.
    both.advance(10 * MINUTE);
    let job = both.node_fetches().await;
    assert_eq!(job["id"], format!("repeat:s:{}", BEGIN + 20 * MINUTE));
    assert_eq!(both.next().await, 30 * MINUTE);
    both.advance(5 * MINUTE);
    assert_eq!(both.work().await, [30, 32, 33, 34].map(|n| n * MINUTE));
    both.end().await;
}

#[tokio::test]
async fn slots_are_made_up_beside_version_6() {
    slots_are_made_up(BullMq::V6).await;
}

#[tokio::test]
async fn slots_are_made_up_beside_version_5() {
    slots_are_made_up(BullMq::V5).await;
}

#[cfg(feature = "cron")]
#[tokio::test]
async fn slots_of_a_pattern_are_made_up() {
    let mut both = Both::start(BullMq::V6).await;
    // From here on each step begins at a full minute.
    let to_minute = MINUTE - BEGIN % MINUTE;
    let pattern = || Repeat::cron("* * * * *").tz("UTC").catch_up(3);
    both.upsert(pattern()).await;
    both.advance(to_minute);
    let minutes = |ran: Vec<i64>| ran.into_iter().map(|at| (at - to_minute) / MINUTE).collect::<Vec<_>>();
    assert_eq!(minutes(both.work().await), [0]);
    both.advance(2 * MINUTE);
    assert_eq!(minutes(both.work().await), [1, 2]);
    both.advance(5_000 * MINUTE + 7);
    assert_eq!(minutes(both.work().await), [3, 5_000, 5_001, 5_002]);

    // An upsert with the same pattern keeps the waiting runs; another pattern starts anew.
    both.advance(6 * MINUTE);
    both.upsert(pattern()).await;
    assert_eq!(minutes(both.work().await), [5_003, 5_006, 5_007, 5_008]);
    both.advance(6 * MINUTE);
    both.upsert(Repeat::cron("*/2 * * * *").tz("UTC").catch_up(3)).await;
    assert_eq!(both.work().await, [0; 0]);

    // Node's worker gets the slot from which it has to count.
    both.upsert(pattern()).await;
    both.advance(4 * MINUTE);
    both.upsert(pattern()).await;
    let job = both.node_fetches().await;
    let slot = job["id"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(job["opts"]["prevMillis"].to_string(), slot);
    assert_eq!(minutes(vec![both.next().await]), [5_019]);
    both.end().await;
}

#[tokio::test]
async fn a_vanished_run_is_followed_by_those_to_be_made_up() {
    let prefix = fresh_prefix();
    let server = shared_server();
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let client = client.connect().await.unwrap();
    let queue = client.queue::<Value, Value>("q").open().unwrap();
    let second = Duration::from_secs(1);
    let start = std::time::SystemTime::now() + second;
    let made = queue.upsert_job_scheduler("s", Repeat::every(second).start_date(start).catch_up(100)).await.unwrap();
    // Somebody deleted the run long ago.
    let slot: i64 = made.id().rsplit_once(':').unwrap().1.parse().unwrap();
    let past = slot - 5_000;
    let mut redis = server.connection().await;
    let _: () = redis.del(format!("{prefix}:q:{}", made.id())).await.unwrap();
    let _: () = redis.zrem(format!("{prefix}:q:delayed"), made.id()).await.unwrap();
    let _: () = redis.zadd(format!("{prefix}:q:repeat"), "s", past).await.unwrap();
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let processor = move |job: Job<Value, Value>| {
        ran.send(job.id().to_owned()).unwrap();
        async { Ok::<_, Halt>(json!(1)) }
    };
    let worker = client.worker("q", processor);
    let worker = worker.scheduler_check_interval(Duration::from_millis(100)).start().unwrap();
    for n in 1..=6 {
        let run = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
        assert_eq!(run, format!("repeat:s:{}", past + n * 1_000));
    }
    worker.close().await;
    remove_all(&mut redis, &prefix).await;
}

#[tokio::test]
async fn a_live_worker_tells_of_the_runs_it_skips_and_has_room_for_others() {
    let prefix = fresh_prefix();
    let server = shared_server();
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let client = client.connect().await.unwrap();
    let queue = client.queue::<Value, Value>("q").open().unwrap();
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let hold = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = std::sync::Arc::clone(&hold);
    let processor = move |job: Job<Value, Value>| {
        ran.send(job.id().to_owned()).unwrap();
        let hold = std::sync::Arc::clone(&held);
        async move {
            if job.name() == "s" {
                hold.acquire().await.unwrap().forget();
            }
            Ok::<_, Halt>(json!(1))
        }
    };
    let worker = client.worker("q", processor).concurrency(2).start().unwrap();
    let mut events = worker.events();
    let often = Repeat::every(Duration::from_millis(50)).overlap(Overlap::Skip);
    queue.upsert_job_scheduler("s", often).await.unwrap();
    let first = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
    let mut skipped = Vec::new();
    while skipped.len() < 3 {
        let event = tokio::time::timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
        if let WorkerEvent::RunSkipped { scheduler, job_id } = event {
            assert_eq!(scheduler, "s");
            skipped.push(job_id);
        }
    }
    // The worker's slot is free for other jobs meanwhile.
    queue.add("other", json!(1)).job_id("other").await.unwrap();
    let other = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
    assert_eq!(other, "other");
    hold.add_permits(1);
    let second = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
    assert!(second > first && !skipped.contains(&second), "{first} {second} {skipped:?}");
    hold.add_permits(100);
    queue.remove_job_scheduler("s").await.unwrap();
    let report = worker.close().await;
    assert!(report.lost.is_empty(), "{report:?}");
    remove_all(&mut server.connection().await, &prefix).await;
}
