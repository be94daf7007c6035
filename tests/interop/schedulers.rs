//! Job schedulers of BullMQ whose runs oxmq processes.

use std::time::Duration;

use oxmq::client::Clock;
use oxmq::scheduler::Overlap;
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Job, ManualWorker};
use redis::AsyncCommands;
use serde_json::{Value, json};

use super::twin::BEGIN;
use crate::common::dump::{Dump, remove_all};
use crate::common::eventually::{DEADLINE, eventually};
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::{connect, fresh_prefix, shared_server};
use crate::common::time::moment;

/// BullMQ alone on one database, and BullMQ with oxmq as the worker on another.
struct Pair {
    prefix: String,
    nodes: [NodeDriver; 2],
    redis: [redis::aio::MultiplexedConnection; 2],
    worker: ManualWorker,
    clock: Clock,
    now: i64,
}

impl Pair {
    async fn start() -> Self {
        let prefix = fresh_prefix();
        let urls = [0, 1].map(|database| shared_server().database(database));
        let clock = Clock::manual(std::time::UNIX_EPOCH);
        let client = Client::builder(ConnectOptions::from_url(&urls[1]).unwrap()).prefix(&prefix).clock(clock.clone());
        let worker = client.connect().await.unwrap().manual_worker("q").open().unwrap();
        let [left, right] = &urls;
        Self {
            nodes: [
                NodeDriver::start(BullMq::V6, left, &prefix).await,
                NodeDriver::start(BullMq::V6, right, &prefix).await,
            ],
            redis: [connect(left).await, connect(right).await],
            prefix,
            worker,
            clock,
            now: BEGIN,
        }
    }

    fn advance(&mut self, ms: i64) {
        self.now += ms;
        self.clock.set(moment(self.now));
    }

    /// Does something on both sides and compares everything that is stored.
    async fn both(&mut self, op: &str, args: Value) {
        self.advance(1);
        let mut all = json!({ "queue": "q", "now": self.now });
        all.as_object_mut().unwrap().extend(args.as_object().cloned().unwrap());
        let left = self.nodes[0].call(op, all.clone()).await;
        let right = self.nodes[1].call(op, all).await;
        assert_eq!(left.map_err(|err| err.message), right.map_err(|err| err.message), "{op}");
        self.same(op).await;
    }

    async fn same(&mut self, step: &str) {
        let [left, right] = &mut self.redis;
        let (l, r) = (Dump::take(left, &self.prefix).await, Dump::take(right, &self.prefix).await);
        let diff = Dump::diff(&l, &r);
        assert!(diff.is_empty(), "after {step} at {}:\n{}", self.now - BEGIN, diff.join("\n"));
    }

    async fn upsert(&mut self, scheduler: &str, repeat: Value, template: Value) {
        let args = json!({ "scheduler": scheduler, "repeat": repeat, "template": template });
        self.both("upsertJobScheduler", args).await;
    }

    async fn redis(&mut self, command: &str) {
        for redis in &mut self.redis {
            let mut words = command.split(' ').map(|word| word.replace("{q}", &format!("{}:q", self.prefix)));
            let mut cmd = redis::cmd(&words.next().unwrap());
            words.for_each(|word| {
                cmd.arg(word);
            });
            let _: redis::Value = cmd.query_async(redis).await.unwrap();
        }
    }

    /// Fetches a job on both sides, with Node here and oxmq there, and checks that both get the same.
    async fn fetch(&mut self) -> Option<Job> {
        self.advance(1);
        let args = json!({ "queue": "q", "now": self.now, "token": "t" });
        let left = self.nodes[0].call("getNextJob", args).await.unwrap();
        let right = self.worker.get_next_job("t").await.unwrap();
        assert_eq!(left.pointer("/job/id").and_then(Value::as_str), right.as_ref().map(|job| job.id()));
        self.same("fetch").await;
        right
    }

    async fn complete(&mut self, job: Job) {
        self.advance(1);
        let args = json!({ "queue": "q", "now": self.now, "job": job.id(), "token": "t", "value": 1 });
        self.nodes[0].call("moveToCompleted", args).await.unwrap();
        job.move_to_completed(&json!(1), "t").await.unwrap();
        self.same("complete").await;
    }

    /// Runs all jobs that are due.
    async fn work(&mut self) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(job) = self.fetch().await {
            ids.push(job.id().to_owned());
            self.complete(job).await;
        }
        ids
    }

    async fn end(mut self) {
        for redis in &mut self.redis {
            remove_all(redis, &self.prefix).await;
        }
    }
}

#[tokio::test]
async fn runs_follow_one_another_as_with_node() {
    let mut pair = Pair::start().await;
    let template = json!({
        "name": "tick", "data": { "n": 1, "long": 1.5 },
        "opts": {
            "backoff": 50, "attempts": 3, "priority": 4, "removeOnComplete": { "count": 5 }, "unheard": { "of": [1, "x"] },
            "telemetry": { "metadata": "{\"traceparent\":\"00-1-2-01\"}" }, "keepLogs": 3, "timestamp": 5,
        },
    });
    pair.upsert("every:60 s", json!({ "every": 60_000 }), template).await;
    pair.upsert("lifo", json!({ "every": 45_000, "offset": 700 }), json!({ "opts": { "lifo": true } })).await;
    pair.upsert("cron", json!({ "pattern": "*/5 * * * * *", "tz": "Europe/Berlin", "limit": 4 }), json!({})).await;
    let dedup = json!({ "opts": { "deduplication": { "id": "d" }, "delay": 9, "jobId": "mine" } });
    pair.upsert("dedup", json!({ "pattern": "0 0 9 * * 1-5", "immediately": true, "tz": "UTC" }), dedup).await;
    let seeded = json!({ "pattern": "H/20 H/7 * * H(1-9) H", "hashSeed": "oxmq é", "tz": "UTC", "immediately": true });
    pair.upsert("seeded", seeded, json!({})).await;
    let seeded = json!({ "pattern": "H/9 * * * * *", "hashSeed": "9", "tz": "UTC" });
    pair.upsert("seeded too", seeded, json!({})).await;
    let mut count = 0;
    // From each due time to the next, then over gaps that miss slots.
    for ms in [0, 1_000, 5_000, 4_000, 60_000, 59_990, 61_000, 500_000, 86_400_000, 10] {
        pair.advance(ms);
        count += pair.work().await.len();
    }
    assert!(count > 15, "{count}");
    pair.end().await;
}

#[tokio::test]
async fn limits_starts_and_ends_are_respected_as_with_node() {
    let mut pair = Pair::start().await;
    let none = json!({});
    pair.upsert("limited", json!({ "every": 10_000, "limit": 3 }), none.clone()).await;
    pair.upsert("counted", json!({ "every": 10_000, "limit": 5, "count": 2 }), none.clone()).await;
    pair.upsert("ends", json!({ "every": 10_000, "endDate": BEGIN + 25_000 }), none.clone()).await;
    pair.upsert("text", json!({ "every": 10_000, "endDate": "2023-11-14T22:14:00.000Z" }), none.clone()).await;
    pair.upsert("starts", json!({ "every": 10_000, "startDate": BEGIN + 15_000 }), none.clone()).await;
    let cron =
        json!({ "pattern": "*/7 * * * * *", "startDate": BEGIN + 9_000, "endDate": BEGIN + 40_000, "tz": "UTC" });
    pair.upsert("cron", cron, none).await;
    for _ in 0..12 {
        pair.work().await;
        pair.advance(6_000);
    }
    for scheduler in ["limited", "counted", "ends", "text", "cron"] {
        let ic: u32 = pair.redis[1].hget(format!("{}:q:repeat:{scheduler}", pair.prefix), "ic").await.unwrap();
        assert!((3..=6).contains(&ic), "{scheduler}: {ic}");
    }
    pair.end().await;
}

#[tokio::test]
async fn only_the_current_run_makes_a_next_one() {
    let mut pair = Pair::start().await;
    pair.upsert("s", json!({ "every": 10_000 }), json!({ "data": 1 })).await;
    let job = pair.fetch().await.unwrap();
    // The job stalls and is fetched again.
    pair.redis(&format!("DEL {{q}}:{}:lock", job.id())).await;
    pair.redis(&format!("LREM {{q}}:active 1 {}", job.id())).await;
    pair.redis(&format!("RPUSH {{q}}:wait {}", job.id())).await;
    let job = pair.fetch().await.unwrap();
    pair.complete(job).await;
    // The id of the next run is taken: the chain stops, and the event says so.
    pair.advance(10_000);
    pair.redis(&format!("HSET {{q}}:repeat:s:{} name taken", BEGIN + 1 + 20_000)).await;
    assert_eq!(pair.work().await.len(), 1);
    // A promoted run does not lead to a second one in its slot.
    pair.upsert("p", json!({ "pattern": "0 0 * * * *", "tz": "UTC" }), json!({})).await;
    let delayed: Vec<String> = pair.redis[1].zrange(format!("{}:q:delayed", pair.prefix), 0, -1).await.unwrap();
    let id = delayed.into_iter().find(|id| id.starts_with("repeat:p:")).unwrap();
    pair.both("promote", json!({ "job": id })).await;
    assert_eq!(pair.work().await, [id]);
    // The scheduler is removed while its run is active.
    pair.advance(3_600_000 * 3);
    let job = pair.fetch().await.unwrap();
    pair.both("removeJobScheduler", json!({ "scheduler": "p" })).await;
    pair.complete(job).await;
    pair.work().await;
    pair.end().await;
}

/// A repeatable job of version 5 has no scheduler and keeps its options in its runs: it goes on as a scheduler with
/// them.
#[tokio::test]
async fn a_repeatable_job_of_version_5_becomes_a_scheduler() {
    let server = shared_server();
    let prefix = fresh_prefix();
    let node = NodeDriver::start(BullMq::V5, &server.url(), &prefix).await;
    let opts = json!({ "repeat": { "every": 1_000, "key": "old" } });
    node.call("add", json!({ "queue": "q", "name": "n", "data": { "kept": 1 }, "opts": opts })).await.unwrap();
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let processor = move |job: Job<Value, ()>| {
        ran.send((job.name().to_owned(), job.data().clone())).unwrap();
        async { Ok::<_, oxmq::Halt>(()) }
    };
    let worker = client.connect().await.unwrap().worker("q", processor).start().unwrap();
    for _ in 0..3 {
        let run = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
        assert_eq!(run, ("n".to_owned(), json!({ "kept": 1 })));
    }
    worker.close().await;
    let mut redis = server.connection().await;
    let (ic, data): (u32, String) = redis.hmget(format!("{prefix}:q:repeat:old"), &["ic", "data"]).await.unwrap();
    assert!(ic >= 3 && data == r#"{"kept":1}"#, "{ic} {data}");
    remove_all(&mut redis, &prefix).await;
}

#[tokio::test]
async fn a_live_worker_keeps_schedulers_of_node_going() {
    let server = shared_server();
    let prefix = fresh_prefix();
    let node = NodeDriver::start(BullMq::V6, &server.url(), &prefix).await;
    let upsert = |id: &str, repeat: Value| {
        let args = json!({ "queue": "q", "scheduler": id, "repeat": repeat, "template": { "data": id } });
        node.call("upsertJobScheduler", args)
    };
    upsert("often", json!({ "every": 100 })).await.unwrap();
    upsert("cron", json!({ "pattern": "* * * * * *", "tz": "UTC", "limit": 3 })).await.unwrap();
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let client = client.connect().await.unwrap();
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let processor = move |job: Job<String, ()>| {
        ran.send((job.id().to_owned(), job.data().clone())).unwrap();
        async { Ok::<_, oxmq::Halt>(()) }
    };
    let worker = client.worker("q", processor).concurrency(4).start().unwrap();
    let mut often = Vec::new();
    let mut cron = Vec::new();
    while often.len() < 30 || cron.len() < 3 {
        let run = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
        let slot: u64 = run.0.rsplit_once(':').unwrap().1.parse().unwrap();
        if run.1 == "often" { &mut often } else { &mut cron }.push(slot);
    }
    worker.close().await;
    // All on the grid, in order, none twice. How many a busy machine skips is not checked here; a test with a clock of
    // its own checks that none is skipped.
    assert!(often.windows(2).all(|two| two[0] < two[1] && (two[1] - two[0]) % 100 == 0), "{often:?}");
    assert_eq!(cron.len(), 3);
    assert!(cron.windows(2).all(|two| two[0] < two[1] && two[1] % 1_000 == 0), "{cron:?}");
    let shown = node.call("getJobScheduler", json!({ "queue": "q", "scheduler": "often" })).await.unwrap();
    assert!(shown["iterationCount"].as_u64().unwrap() > 30, "{shown}");
    remove_all(&mut server.connection().await, &prefix).await;
}

/// The reverse: Node's worker runs the schedulers that oxmq has made, with the data and options that were given.
async fn a_live_worker_of_node_keeps_ours_going(version: BullMq) {
    let server = shared_server();
    let prefix = fresh_prefix();
    let node = NodeDriver::start(version, &server.url(), &prefix).await;
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let client = client.connect().await.unwrap();
    let queue = client.queue::<Value, Value>("q").open().unwrap();
    let often = oxmq::Repeat::every(Duration::from_millis(100));
    queue.upsert_job_scheduler("often", often).name("tick").data(json!({ "n": 1 })).await.unwrap();
    let limited = oxmq::Repeat::every(Duration::from_millis(100)).limit(3);
    queue.upsert_job_scheduler("limited", limited).name("limited").data(json!({})).await.unwrap();
    let worker = json!({ "queue": "q", "behaviour": "echo", "opts": { "concurrency": 4 } });
    node.call("startWorker", worker).await.unwrap();
    let ledger = eventually("both have run", async || {
        let found = node.call("workerLedger", json!({ "queue": "q" })).await.unwrap();
        assert_eq!(found["errors"], json!([]));
        let runs = found["ledger"].as_array().unwrap().clone();
        let count = |name: &str| runs.iter().filter(|run| run["name"] == name).count();
        (count("tick") >= 15 && count("limited") >= 3).then_some(runs)
    })
    .await;
    node.call("stopWorker", json!({ "queue": "q" })).await.unwrap();
    let of = |name: &str| {
        let runs = ledger.iter().filter(|run| run["name"] == name && run["outcome"] == "completed");
        runs.map(|run| run["id"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()).collect::<Vec<u64>>()
    };
    let ticks = of("tick");
    assert!(ticks.windows(2).all(|two| two[0] < two[1] && (two[1] - two[0]) % 100 == 0), "{ticks:?}");
    assert_eq!(of("limited").len(), 3);
    let shown = queue.get_job_scheduler("often").await.unwrap().unwrap();
    assert!(shown.iteration_count.unwrap() >= 15, "{shown:?}");
    remove_all(&mut server.connection().await, &prefix).await;
}

#[tokio::test]
async fn a_live_worker_of_version_6_keeps_ours_going() {
    a_live_worker_of_node_keeps_ours_going(BullMq::V6).await;
}

#[tokio::test]
async fn a_live_worker_of_version_5_keeps_ours_going() {
    a_live_worker_of_node_keeps_ours_going(BullMq::V5).await;
}

#[tokio::test]
async fn a_run_without_a_next_time_is_reported_and_processed() {
    let server = shared_server();
    let prefix = fresh_prefix();
    let node = NodeDriver::start(BullMq::V6, &server.url(), &prefix).await;
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let client = client.connect().await.unwrap();
    let mut redis = server.connection().await;
    // A member from BullMQ 3 has no hash; the others have options that cannot be used.
    let cases = [
        ("n:::UTC:* * * * *", json!({ "repeat": { "every": 1_000 } })),
        ("bad", json!({ "repeat": { "pattern": "sat-sun" } })),
        ("both", json!({ "repeat": { "pattern": "* * * * *", "every": 5 } })),
        ("none", json!({})),
    ];
    for (scheduler, opts) in &cases {
        let job = json!({ "queue": "q", "name": "n", "data": scheduler, "opts": { "jobId": format!("repeat:{scheduler}:1").replace(':', "-") } });
        let id = node.call("add", job).await.unwrap()["id"].as_str().unwrap().to_owned();
        let key = format!("{prefix}:q:{id}");
        let _: () = redis.hset_multiple(&key, &[("rjk", *scheduler), ("opts", &opts.to_string())]).await.unwrap();
        let _: () = redis.zadd(format!("{prefix}:q:repeat"), scheduler, 1).await.unwrap();
    }
    let worker = client.worker("q", |_: Job<String, ()>| async { Ok::<_, oxmq::Halt>(()) });
    let worker = worker.start().unwrap();
    let mut events = worker.events();
    eventually("all are processed", async || {
        let done: usize = redis.clone().zcard(format!("{prefix}:q:completed")).await.unwrap();
        (done == cases.len()).then_some(())
    })
    .await;
    worker.close().await;
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        if let WorkerEvent::Error(error) = event {
            told.push(error.to_string());
        }
    }
    assert_eq!(told.len(), cases.len(), "{told:#?}");
    for (scheduler, _) in &cases {
        assert!(told.iter().any(|text| text.contains(scheduler)), "{scheduler}: {told:#?}");
    }
    remove_all(&mut redis, &prefix).await;
}

/// `Repeat` as JSON is what BullMQ accepts, and a scheduler as JSON is what BullMQ returns.
#[tokio::test]
async fn a_repetition_and_a_scheduler_are_written_in_bullmqs_words() {
    let server = shared_server();
    let prefix = fresh_prefix();
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let queue = client.connect().await.unwrap().queue::<Value, ()>("q").open().unwrap();
    let node = NodeDriver::start(BullMq::V6, &server.url(), &prefix).await;
    let at = |ms: u64| std::time::UNIX_EPOCH + Duration::from_millis(ms);
    let span = Duration::from_secs;
    for (n, repeat) in [
        oxmq::Repeat::every(span(60)).limit(3).offset(span(7)),
        oxmq::Repeat::every(span(60)).start_date(at(9_000_000_000_000)).end_date(at(9_500_000_000_000)),
        oxmq::Repeat::cron("0 0 3 * * *").tz("Europe/Berlin").limit(2),
    ]
    .into_iter()
    .enumerate()
    {
        let template = json!({ "name": "n", "data": { "a": 1 }, "opts": { "attempts": 3 } });
        let (theirs, ours) = (format!("theirs-{n}"), format!("ours-{n}"));
        let args = json!({ "queue": "q", "scheduler": theirs, "repeat": repeat, "template": template });
        node.call("upsertJobScheduler", args).await.unwrap();
        let options = oxmq::JobOptions::default().attempts(3);
        queue.upsert_job_scheduler(&ours, repeat).name("n").data(json!({ "a": 1 })).options(options).await.unwrap();
        let mut shown = Vec::new();
        for id in [&theirs, &ours] {
            let from_node = node.call("getJobScheduler", json!({ "queue": "q", "scheduler": id })).await.unwrap();
            let mut found = json!(queue.get_job_scheduler(id.as_str()).await.unwrap());
            assert_eq!(found, from_node, "{id}");
            // These depend on the time of the call.
            for name in ["key", "next", "offset"] {
                found.as_object_mut().unwrap().remove(name);
            }
            shown.push(found);
        }
        assert_eq!(shown[0], shown[1], "what Node and oxmq made of it");
    }
    let own = oxmq::Repeat::every(span(1)).overlap(Overlap::Skip).catch_up(2).immediately(true);
    assert_eq!(json!(own), json!({ "every": 1_000, "overlap": "skip", "catchUp": 2, "immediately": true }));
    remove_all(&mut server.connection().await, &prefix).await;
}
