//! Job schedulers whose next run is gone: workers of oxmq put it back, beside Node, and leave alone what has ended.

use std::time::Duration;

use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Job};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use crate::common::dump::remove_all;
use crate::common::eventually::{DEADLINE, eventually};
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::{connect, fresh_prefix, shared_server};
use crate::common::time::now_ms;

/// Waits until a worker has looked for stopped schedulers once more.
async fn another_look(redis: &MultiplexedConnection, check: &str) {
    let _: () = redis.clone().del(check).await.unwrap();
    eventually("another look", || {
        let mut redis = redis.clone();
        async move { redis.exists::<_, bool>(check).await.unwrap() }
    })
    .await;
}

/// A repeatable job of version 5 has its limit in its runs alone. One that has reached it, in Node or here, stays ended.
#[tokio::test]
async fn a_limited_repeatable_job_of_version_5_stays_ended() {
    let server = shared_server();
    let prefix = fresh_prefix();
    let mut redis = server.connection().await;
    let node = NodeDriver::start(BullMq::V5, &server.url(), &prefix).await;
    let call = async |op: &str, at: u64, args: Value| {
        let mut all = json!({ "queue": "q", "now": at, "token": "t", "value": 1 });
        all.as_object_mut().unwrap().extend(args.as_object().cloned().unwrap());
        node.call(op, all).await.unwrap()
    };
    let add = async |key: &str, at: u64, mut repeat: Value, keeps: bool| {
        repeat.as_object_mut().unwrap().extend([("limit".to_owned(), json!(2)), ("key".to_owned(), json!(key))]);
        let opts = json!({ "repeat": repeat, "removeOnComplete": !keeps });
        call("add", at, json!({ "name": key, "data": {}, "opts": opts })).await;
    };
    let (every, pattern) = (json!({ "every": 200 }), json!({ "pattern": "* * * * * *" }));
    // Long ago, by Node.
    let (mut at, mut ended) = (now_ms() - 60_000, 0);
    add("every", at, every.clone(), true).await;
    add("pattern", at, pattern.clone(), true).await;
    add("forgotten", at, every.clone(), false).await;
    for _ in 0..20 {
        while let Some(id) = call("getNextJob", at, json!({})).await.pointer("/job/id").cloned() {
            call("moveToCompleted", at, json!({ "job": id })).await;
            ended += 1;
        }
        at += 200;
    }
    assert_eq!(ended, 6);
    // Now, by us.
    add("our-every", now_ms(), every.clone(), true).await;
    add("our-pattern", now_ms(), pattern, true).await;
    add("our-forgotten", now_ms(), every, false).await;
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let processor = move |job: Job<Value, ()>| {
        ran.send(job.name().to_owned()).unwrap();
        async { Ok::<_, oxmq::Halt>(()) }
    };
    let worker = client.connect().await.unwrap().worker("q", processor);
    let worker = worker.scheduler_check_interval(Duration::from_millis(50)).start().unwrap();
    for _ in 0..6 {
        let name = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
        assert!(name.starts_with("our-"), "{name} had ended");
    }
    for _ in 0..3 {
        another_look(&redis, &format!("{prefix}:q:oxmq:schedulers-check")).await;
    }
    worker.close().await;
    assert!(runs.try_recv().is_err(), "a run beyond the limit");
    let (delayed, entries): (u32, u32) = (
        redis.zcard(format!("{prefix}:q:delayed")).await.unwrap(),
        redis.zcard(format!("{prefix}:q:repeat")).await.unwrap(),
    );
    assert_eq!((delayed, entries), (0, 6));
    remove_all(&mut redis, &prefix).await;
}

/// What a repeatable job of version 5 repeats stands in its runs alone. Once a worker has seen a run, the next one is put
/// back with the same options, and as often as the limit says; before that nobody knows, and it is left alone.
#[tokio::test]
async fn a_repeatable_job_of_version_5_whose_run_vanished_goes_on() {
    const HOUR: u64 = 3_600_000;
    let url = shared_server().database(0);
    let (prefix, mut redis) = (fresh_prefix(), connect(&url).await);
    let key = |name: &str| format!("{prefix}:q:{name}");
    let node = NodeDriver::start(BullMq::V5, &url, &prefix).await;
    let call = async |op: &str, at: u64, args: Value| {
        let mut all = json!({ "queue": "q", "now": at, "token": "t", "value": 1 });
        all.as_object_mut().unwrap().extend(args.as_object().cloned().unwrap());
        node.call(op, all).await.unwrap()
    };
    let add = async |name: &str, limit: Option<u32>, at: u64| {
        let mut repeat = json!({ "every": HOUR, "key": name });
        if let Some(limit) = limit {
            repeat["limit"] = json!(limit);
        }
        let opts = json!({ "repeat": repeat, "removeOnComplete": true, "attempts": 4 });
        call("add", at, json!({ "name": name, "data": { "of": name }, "opts": opts })).await;
    };
    let mut at = now_ms() - 10 * HOUR;
    for (name, limit) in [("endless", None), ("limited", Some(9)), ("last", Some(3)), ("unseen", None)] {
        add(name, limit, at).await;
    }
    for _ in 0..2 {
        at += HOUR;
        while let Some(id) = call("getNextJob", at, json!({})).await.pointer("/job/id").cloned() {
            call("moveToCompleted", at, json!({ "job": id })).await;
        }
    }
    add("first", None, at).await;
    let slot = async |name: &str| redis.clone().zscore::<_, _, u64>(key("repeat"), name).await.unwrap();
    let vanish = async |name: &str| {
        let run = format!("repeat:{name}:{}", slot(name).await);
        let () = redis.clone().zrem(key("delayed"), &run).await.unwrap();
        let gone: u32 = redis.clone().del(key(&run)).await.unwrap();
        assert_eq!(gone, 1, "{run}");
    };
    vanish("unseen").await;
    vanish("first").await;

    let client = Client::builder(ConnectOptions::from_url(&url).unwrap()).prefix(&prefix).connect().await.unwrap();
    // While the queue is paused nobody takes a run, but the worker sees that it exists.
    client.queue::<Value, ()>("q").open().unwrap().pause().await.unwrap();
    let worker = client.worker("q", |_: Job<Value, ()>| async { Ok::<_, oxmq::Halt>(()) });
    let worker = worker.scheduler_check_interval(Duration::from_millis(50)).start().unwrap();
    another_look(&redis, &key("oxmq:schedulers-check")).await;
    let names = ["endless", "limited", "last", "unseen", "first"];
    let mut before = Vec::new();
    for name in names {
        before.push(slot(name).await);
        if !["unseen", "first"].contains(&name) {
            vanish(name).await;
        }
    }
    for _ in 0..2 {
        another_look(&redis, &key("oxmq:schedulers-check")).await;
    }
    worker.close().await;
    for (name, before) in names.into_iter().zip(before) {
        let now = slot(name).await;
        let goes_on = ["endless", "limited"].contains(&name);
        assert_eq!(now > before, goes_on, "{name}");
        let (data, opts): (Option<String>, Option<String>) =
            redis.clone().hmget(key(&format!("repeat:{name}:{now}")), &["data", "opts"]).await.unwrap();
        assert_eq!(data, goes_on.then(|| json!({ "of": name }).to_string()));
        if let Some(opts) = opts {
            let opts: Value = serde_json::from_str(&opts).unwrap();
            assert_eq!((&opts["attempts"], &opts["repeat"]["count"]), (&json!(4), &json!(4)), "{opts}");
        }
    }
    // Node lists them as before.
    let listed = call("getJobSchedulers", at, json!({})).await;
    assert_eq!(listed.as_array().unwrap().len(), names.len(), "{listed}");
    remove_all(&mut redis, &prefix).await;
}

/// A run that is removed by hand has no next one. The worker notices that, and the scheduler goes on with each slot
/// once.
#[tokio::test]
async fn a_scheduler_whose_run_vanished_goes_on() {
    let server = shared_server();
    let prefix = fresh_prefix();
    let mut redis = server.connection().await;
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let client = client.connect().await.unwrap();
    let queue = client.queue::<Value, ()>("q").open().unwrap();
    let often = || oxmq::Repeat::every(Duration::from_millis(300));
    queue.upsert_job_scheduler("gone", often()).await.unwrap();
    queue.upsert_job_scheduler("ended", often().limit(1)).await.unwrap();

    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let processor = move |job: Job<Value, ()>| {
        ran.send(job.id().to_owned()).unwrap();
        async { Ok::<_, oxmq::Halt>(()) }
    };
    let start = || {
        let worker = client.worker("q", processor.clone());
        worker.scheduler_check_interval(Duration::from_millis(200)).start().unwrap()
    };
    let workers = [start(), start()];
    let mut told = workers.each_ref().map(|worker| worker.events());
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        // Deletes the current run before its time, whichever it is.
        let vanished = loop {
            let scheduler = queue.get_job_scheduler("gone").await.unwrap().unwrap();
            let slot = scheduler.next_run.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            let id = format!("repeat:gone:{slot}");
            let gone: u32 = redis.zrem(format!("{prefix}:q:delayed"), &id).await.unwrap();
            if gone == 1 {
                let _: () = redis.del(format!("{prefix}:q:{id}")).await.unwrap();
                break id;
            }
        };
        let is_revived = |event: &WorkerEvent| matches!(event, WorkerEvent::SchedulerRevived { scheduler, job_id } if scheduler == "gone" && *job_id != vanished);
        let [one, other] = &mut told;
        tokio::time::timeout(DEADLINE, async {
            loop {
                let event = tokio::select! { event = one.recv() => event, event = other.recv() => event };
                if is_revived(&event.unwrap()) {
                    break;
                }
            }
        })
        .await
        .expect("it goes on");
        let run = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
        assert!(ids.insert(run.clone()), "{run} ran twice");
    }
    for worker in workers {
        worker.close().await;
    }
    while let Ok(run) = runs.try_recv() {
        assert!(ids.insert(run.clone()), "{run} ran twice");
    }
    assert_eq!(ids.iter().filter(|id| id.starts_with("repeat:ended:")).count(), 1);
    remove_all(&mut redis, &prefix).await;
}

/// The limit counts from the last upsert, but the scheduler's own count from the first one. So a scheduler that Node
/// upserts at each start, and whose run vanished, must still get as many runs as its limit says.
#[tokio::test]
async fn a_limited_scheduler_that_was_upserted_often_goes_on() {
    const EVERY: u64 = 200;
    let server = shared_server();
    let prefix = fresh_prefix();
    let mut redis = server.connection().await;
    let node = NodeDriver::start(BullMq::V6, &server.url(), &prefix).await;
    let client = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&prefix);
    let client = client.connect().await.unwrap();
    let queue = client.queue::<Value, ()>("q").open().unwrap();
    let key = |name: &str| format!("{prefix}:q:{name}");

    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let mut at = now - 60_000;
    let call = async |op: &str, at: u64, args: Value| {
        let mut all = json!({ "queue": "q", "now": at, "token": "t", "value": 1 });
        all.as_object_mut().unwrap().extend(args.as_object().cloned().unwrap());
        node.call(op, all).await.unwrap()
    };
    for _ in 0..4 {
        for (scheduler, every) in [("often", EVERY), ("hourly", 3_600_000)] {
            let template = json!({ "opts": { "removeOnComplete": true } });
            let repeat = json!({ "every": every, "limit": 3 });
            let args = json!({ "scheduler": scheduler, "repeat": repeat, "template": template });
            call("upsertJobScheduler", at, args).await;
        }
        while let Some(id) = call("getNextJob", at, json!({})).await.pointer("/job/id").cloned() {
            call("moveToCompleted", at, json!({ "job": id })).await;
        }
        at += EVERY;
    }
    let counted: String = redis.hget(key("repeat:often"), "ic").await.unwrap();
    assert_eq!(counted, "5", "more than the limit");

    // While the queue is paused nobody takes the run, but the worker sees that it exists.
    queue.pause().await.unwrap();
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let worker = client.worker("q", move |job: Job<Value, ()>| {
        ran.send(job.id().to_owned()).unwrap();
        async { Ok::<_, oxmq::Halt>(()) }
    });
    let worker = worker.scheduler_check_interval(Duration::from_millis(100)).start().unwrap();
    for (scheduler, before) in [("often", "3"), ("hourly", "1")] {
        eventually(scheduler, || {
            let (mut redis, key) = (redis.clone(), key(&format!("repeat:{scheduler}")));
            async move { redis.hget::<_, _, Option<String>>(key, "limitFrom").await.unwrap().as_deref() == Some(before) }
        })
        .await;
    }
    let slot: f64 = redis.zscore(key("repeat"), "often").await.unwrap();
    let run = format!("repeat:often:{slot}");
    let _: () = redis.zrem(key("delayed"), &run).await.unwrap();
    let _: () = redis.del(key(&run)).await.unwrap();
    queue.resume().await.unwrap();

    // Of three runs Node did one and one is gone; so the scheduler is at its limit, and no check changes that.
    tokio::time::timeout(DEADLINE, runs.recv()).await.expect("it goes on").unwrap();
    for _ in 0..2 {
        another_look(&redis, &key("oxmq:schedulers-check")).await;
    }
    worker.close().await;
    assert!(runs.try_recv().is_err(), "a run beyond the limit");
    let delayed: u32 = redis.zcard(key("delayed")).await.unwrap();
    assert_eq!(delayed, 1, "the hourly one alone");
    remove_all(&mut redis, &prefix).await;
}

/// The next run of a scheduler at an interval waits at the front when BullMQ drains its queue, and drops out of the list.
#[tokio::test]
async fn a_run_that_a_drain_of_version_6_has_lost_goes_back() {
    let prefix = fresh_prefix();
    let url = shared_server().database(0);
    let node = NodeDriver::start(BullMq::V6, &url, &prefix).await;
    let now = now_ms();
    let call = async |op: &str, args: Value| {
        let mut all = json!({ "queue": "q", "now": now });
        all.as_object_mut().unwrap().extend(args.as_object().cloned().unwrap());
        node.call(op, all).await.unwrap()
    };
    for _ in 0..2 {
        call("add", json!({ "name": "n", "data": {}, "opts": {} })).await;
    }
    call(
        "upsertJobScheduler",
        json!({ "scheduler": "s", "repeat": { "every": 3_600_000 }, "template": { "name": "n" } }),
    )
    .await;
    call("drain", json!({})).await;
    let mut redis = connect(&url).await;
    let slot: f64 = redis.zscore(format!("{prefix}:q:repeat"), "s").await.unwrap();
    let run = format!("repeat:s:{slot}");
    let waiting: Vec<String> = redis.lrange(format!("{prefix}:q:wait"), 0, -1).await.unwrap();
    assert!(!waiting.contains(&run), "drain spares it by now: {waiting:?}");

    let client = Client::builder(ConnectOptions::from_url(&url).unwrap()).prefix(&prefix).connect().await.unwrap();
    let worker = client.worker("q", |_: Job| async { Ok::<_, oxmq::Halt>(json!(1)) });
    let worker = worker.scheduler_check_interval(Duration::from_secs(1)).start().unwrap();
    eventually("the lost run completes", || async {
        let score: Option<f64> = redis.clone().zscore(format!("{prefix}:q:completed"), &run).await.unwrap();
        score.is_some()
    })
    .await;
    let next: f64 = redis.zscore(format!("{prefix}:q:repeat"), "s").await.unwrap();
    assert!(next > slot);
    worker.close().await;
}
