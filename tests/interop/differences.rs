//! Differences from BullMQ that no scenario of the twins can show: how a call does something, or what a live worker of
//! Node does. Each is a row of `docs/compatibility.md`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxmq::queue::Order;
use oxmq::{Client, ConnectOptions, Error, Halt, Job, ManualWorker, NewJob, Queue, Repeat};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::proxy::{Matcher, Proxy};
use crate::common::server::{RedisServer, fresh_prefix};

/// A server of the test's own, with the queue `q` of both sides.
struct Pair {
    server: RedisServer,
    redis: MultiplexedConnection,
    prefix: String,
    node: NodeDriver,
    client: Client,
    queue: Queue<Value, Value>,
}

impl Pair {
    async fn start() -> Self {
        // Each node of a stream holds one entry, so that trimming it "about" is trimming it exactly.
        let server = RedisServer::start_with(&["--stream-node-max-entries", "1"]);
        let prefix = fresh_prefix();
        let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
        let client = client.connect().await.unwrap();
        Self {
            redis: server.connection().await,
            node: NodeDriver::start(BullMq::V6, &server.url(), &prefix).await,
            queue: client.queue("q").open().unwrap(),
            server,
            prefix,
            client,
        }
    }

    async fn call(&self, op: &str, mut args: Value) -> Value {
        args["queue"] = json!("q");
        self.node.call(op, args).await.unwrap_or_else(|error| panic!("{op}: {error}"))
    }

    fn key(&self, name: &str) -> String {
        format!("{}:q:{name}", self.prefix)
    }

    /// Returns the length of the event stream.
    async fn events(&self) -> u32 {
        redis::cmd("XLEN").arg(self.key("events")).query_async(&mut self.redis.clone()).await.unwrap()
    }

    /// Returns how often the server has trimmed a stream so far, by itself or while adding to one.
    async fn trims(&self) -> u64 {
        let mut redis = self.redis.clone();
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xtrim:calls="));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }
}

#[tokio::test]
async fn a_bulk_add_trims_the_event_stream_once() {
    let pair = Pair::start().await;
    let queue = pair.client.queue::<Value, Value>("q").max_len_events(10).open().unwrap();
    queue.write_meta().await.unwrap();
    let before = pair.trims().await;
    let added = queue.add_bulk((0..50).map(|n| NewJob::new("n", json!(n)))).await.unwrap();
    assert!(added.into_iter().all(|job| job.is_ok()));
    assert_eq!(pair.trims().await - before, 1);
    let length = pair.events().await;
    assert_eq!(length, 10);
    // Node's stream has the same length, and each event trims it.
    pair.call("setQueue", json!({ "opts": { "streams": { "events": { "maxLen": 10 } } } })).await;
    let jobs: Vec<Value> = (0..50).map(|n| json!({ "name": "n", "data": n })).collect();
    pair.call("addBulk", json!({ "jobs": jobs })).await;
    let length = pair.events().await;
    assert!((10..=11).contains(&length), "{length}");
}

#[tokio::test]
async fn a_job_retried_at_once_waits_behind_the_next_one() {
    let pair = Pair::start().await;
    for n in 0..4 {
        pair.queue.add("n", json!(n)).attempts(2).await.unwrap();
    }
    let worker: ManualWorker<Value, Value> = pair.client.manual_worker("q").open().unwrap();
    let job = worker.get_next_job("t").await.unwrap().unwrap();
    let next = job.move_to_failed_and_fetch("once", "t").await.unwrap();
    // It waits behind the others.
    assert_eq!(next.job.as_ref().map(|next| next.id().to_owned()).as_deref(), Some("2"));
    next.job.unwrap().move_to_completed(&json!(1), "t").await.unwrap();

    let fetched = pair.call("getNextJob", json!({ "token": "n" })).await;
    let args = json!({ "job": fetched["job"]["id"], "token": "n", "message": "once", "fetchNext": true });
    let next = pair.call("moveToFailed", args).await;
    assert!(next["job"].is_null(), "{next}");
}

#[tokio::test]
async fn retrying_all_means_the_same_moment_in_each_round() {
    const JOBS: usize = 2_500;
    let pair = Pair::start().await;
    let mut pipe = redis::pipe();
    for n in 0..JOBS {
        let fields = [("name", "n"), ("data", "1"), ("opts", "{}"), ("timestamp", "1"), ("failedReason", "x")];
        pipe.hset_multiple(pair.key(&format!("j{n}")), &fields).ignore();
        pipe.zadd(pair.key("failed"), format!("j{n}"), n).ignore();
    }
    let _: () = pipe.query_async(&mut pair.redis.clone()).await.unwrap();
    let proxy = Proxy::start(pair.server.addr()).await;
    let rounds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&rounds);
    proxy.drop_request(Matcher::new(move |args| {
        if let Some(at) = args.iter().position(|arg| arg == b"failed")
            && args[0].starts_with(b"EVAL")
        {
            seen.lock().unwrap().push(String::from_utf8_lossy(&args[at + 1]).into_owned());
        }
        false
    }));
    let client = Client::builder(ConnectOptions::from_url(&proxy.url()).unwrap()).prefix(&pair.prefix);
    let queue = client.connect().await.unwrap().queue::<Value, Value>("q").open().unwrap();
    let retried = queue.retry_jobs(oxmq::JobState::Failed, None).await.unwrap();
    assert_eq!(retried, JOBS as u64);
    let rounds = rounds.lock().unwrap().clone();
    assert!(rounds.len() >= 3 && rounds.iter().all(|until| *until == rounds[0]), "{rounds:?}");
}

#[tokio::test]
async fn a_job_that_stands_twice_in_a_list_is_read_once() {
    use oxmq::JobState::Waiting;
    let mut pair = Pair::start().await;
    let id = pair.queue.add("n", json!(1)).await.unwrap().id().to_owned();
    let _: () = pair.redis.lpush(pair.key("wait"), &id).await.unwrap();
    let jobs = pair.queue.get_jobs(&[Waiting], 0, -1, Order::Ascending).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(pair.queue.get_ranges(&[Waiting], 0, -1, Order::Ascending).await.unwrap(), [id]);
    let read = pair.call("getJobs", json!({ "states": ["wait"], "start": 0, "end": -1, "asc": true })).await;
    // Version 5 reads it twice.
    assert_eq!(read.as_array().unwrap().len(), 1, "{read}");
}

#[tokio::test]
async fn a_scheduler_that_would_never_run_is_refused() {
    let pair = Pair::start().await;
    let hour = Duration::from_secs(3_600);
    let now = std::time::SystemTime::now();
    let mut never = vec![("end_date", Repeat::every(hour).end_date(now - hour))];
    if cfg!(feature = "cron") {
        never.push((
            "pattern",
            Repeat::cron("0 0 0 29 2 *").tz("UTC").start_date(now).end_date(now + Duration::from_secs(60)),
        ));
    }
    for (option, repeat) in never {
        match pair.queue.upsert_job_scheduler("s", repeat).data(json!({})).await {
            Err(Error::InvalidOption { option: named, .. }) => assert_eq!(named, option),
            other => panic!("{:?}", other.map(|job| job.id().to_owned())),
        }
    }
    // Node returns nothing and stores nothing.
    let end = u64::try_from(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap() + 60_000;
    let repeat = json!({ "pattern": "0 0 0 29 2 *", "tz": "UTC", "endDate": end });
    let made = pair.call("upsertJobScheduler", json!({ "scheduler": "s", "repeat": repeat })).await;
    assert_eq!(made["id"], Value::Null);
    assert!(pair.queue.get_job_scheduler("s").await.unwrap().is_none());
}

#[tokio::test]
async fn reading_schedulers_changes_nothing() {
    let mut pair = Pair::start().await;
    pair.queue.upsert_job_scheduler("s", Repeat::every(Duration::from_secs(60))).data(json!({})).await.unwrap();
    let _: () = pair.redis.zadd(pair.key("repeat"), "gone", 5).await.unwrap();
    let ids = async |queue: &Queue<Value, Value>| {
        let all = queue.get_job_schedulers(0, -1, Order::Ascending).await.unwrap();
        all.into_iter().map(|scheduler| scheduler.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&pair.queue).await, ["s"]);
    assert_eq!(pair.queue.get_job_schedulers_count().await.unwrap(), 2);
    // Node removes it.
    let shown = pair.call("getJobSchedulers", json!({})).await;
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(pair.queue.get_job_schedulers_count().await.unwrap(), 1);
    // Node fails at a scheduler whose id looks like the key of an old repeatable job.
    let _: () = pair.redis.zadd(pair.key("repeat"), "n:::UTC:* * * * *", 5).await.unwrap();
    assert_eq!(ids(&pair.queue).await, ["s"]);
    let failed = pair.node.call("getJobSchedulers", json!({ "queue": "q" })).await.unwrap_err();
    assert!(failed.message.contains("Legacy"), "{failed}");
}

/// Shows what Node's worker does with an id that is not text: it cannot end the job, which stalls.
#[tokio::test]
async fn node_cannot_end_a_job_whose_id_is_not_text() {
    let mut pair = Pair::start().await;
    let odd = b"\xff7".as_slice();
    let key = [pair.key("").as_bytes(), odd].concat();
    let fields = [("name", "n"), ("data", "1"), ("opts", "{}"), ("timestamp", "1")];
    let _: () = redis::cmd("HSET").arg(&key).arg(&fields).query_async(&mut pair.redis).await.unwrap();
    let _: () = redis::cmd("LPUSH").arg(pair.key("wait")).arg(odd).query_async(&mut pair.redis).await.unwrap();
    pair.call("startWorker", json!({ "behaviour": "complete" })).await;
    eventually("Node has tried", || async {
        let found = pair.node.call("workerLedger", json!({ "queue": "q" })).await.unwrap();
        found["ledger"].as_array().unwrap().len() == 1 && !found["errors"].as_array().unwrap().is_empty()
    })
    .await;
    let active: Vec<Vec<u8>> = pair.redis.lrange(pair.key("active"), 0, -1).await.unwrap();
    assert_eq!(active, [odd]);
    pair.call("stopWorker", json!({ "force": true })).await;
}

/// Shows what Node's worker does with unreadable options for finished jobs: it runs the job. oxmq keeps the job and
/// warns in the log; see `unreadable_retention_or_backoff_options_do_not_stop_a_job`.
#[tokio::test]
async fn node_runs_a_job_whose_options_for_afterwards_cannot_be_read() {
    let pair = Pair::start().await;
    for (id, opts) in [("a", r#"{"removeOnComplete":"{\"age\":10}"}"#), ("b", r#"{"backoff":"{\"type\":\"fixed\"}"}"#)]
    {
        let fields = [("name", "n"), ("data", "1"), ("opts", opts), ("timestamp", "1")];
        let _: () = pair.redis.clone().hset_multiple(pair.key(id), &fields).await.unwrap();
        let _: () = pair.redis.clone().lpush(pair.key("wait"), id).await.unwrap();
    }
    pair.call("startWorker", json!({ "behaviour": "complete" })).await;
    eventually("both have run", || async {
        let found = pair.node.call("workerLedger", json!({ "queue": "q" })).await.unwrap();
        found["ledger"].as_array().unwrap().len() == 2
    })
    .await;
    pair.call("stopWorker", json!({})).await;
    // A worker of oxmq runs them, too.
    for (id, opts) in [("c", r#"{"removeOnFail":"x"}"#), ("d", r#"{"attempts":2,"backoff":{"type":{}}}"#)] {
        let fields = [("name", "n"), ("data", "1"), ("opts", opts), ("timestamp", "1")];
        let _: () = pair.redis.clone().hset_multiple(pair.key(id), &fields).await.unwrap();
        let _: () = pair.redis.clone().lpush(pair.key("wait"), id).await.unwrap();
    }
    let worker = pair.client.worker("q", |_: Job<Value, Value>| async { Ok::<_, Halt>(json!(1)) }).start().unwrap();
    eventually("both have run", || async { worker.counts().completed == 2 }).await;
    worker.close().await;
}
