//! What the doctor tells of healthy queues: nothing, whatever goes on in them.

use std::time::Duration;

use oxmq::events::Delivery;
use oxmq::options::Deduplication;
use oxmq::{JobState, NewJob, Repeat};

use super::doctor::kinds;
use super::*;

/// Adds jobs of all kinds, and cancels one.
async fn add_some(on: &Fixture, round: u64) {
    let jobs = (0..300).map(|n| {
        let job = NewJob::new("job", json!({ "n": n })).attempts(2);
        match n % 4 {
            0 => job.delay(Duration::from_millis(n % 100)),
            1 => job.priority(3),
            2 => job.remove_on_complete(true),
            _ => job,
        }
    });
    on.queue.add_bulk(jobs).await.unwrap();
    let deduplications = [
        Deduplication::new("simple"),
        Deduplication::new("throttle").ttl(Duration::from_millis(50)),
        Deduplication::new("debounce").ttl(Duration::from_millis(50)).extend().replace(),
        Deduplication::new("last").keep_last_if_active(),
    ];
    for deduplication in deduplications.iter().cycle().take(12) {
        let delay = if deduplication == &deduplications[2] { Duration::from_millis(20) } else { Duration::ZERO };
        on.queue.add("dedup", json!({ "n": round })).deduplication(deduplication.clone()).delay(delay).await.unwrap();
    }
    let cancelled = on.queue.add("cancelled", json!({ "n": 4 })).await.unwrap();
    // It may have ended already.
    drop(cancelled.cancel("no more").await);
}

/// Lets Node add a flow, a deduplicated job, and a repeatable one as its version does.
async fn add_by_node(node: &NodeDriver, version: BullMq) {
    let child = json!({ "name": "part", "queueName": "q", "data": { "n": 1 } });
    let flow = json!({ "name": "whole", "queueName": "q", "data": { "n": 1 }, "children": [child] });
    node.call("flowAdd", json!({ "flow": flow })).await.unwrap();
    let add = |opts: Value| json!({ "queue": "q", "name": "node", "data": { "n": 1 }, "opts": opts });
    node.call("add", add(json!({ "deduplication": { "id": "d" } }))).await.unwrap();
    if version == BullMq::V5 {
        node.call("add", add(json!({ "repeat": { "every": 150 } }))).await.unwrap();
        node.call("add", add(json!({ "repeat": { "pattern": "* * * * * *" } }))).await.unwrap();
    }
}

/// The doctor looks again and again while jobs of all kinds are added, run, fail, wait for children, repeat, are cancelled
/// and removed; beside a paused queue, a reader with a stored position, and a job that is held by hand.
async fn is_not_accused_beside(version: BullMq) {
    let on = Fixture::new().await;
    let node = NodeDriver::start(version, &shared_server().url(), &on.prefix).await;
    let (held, paused) = (on.client.queue("held").open().unwrap(), on.client.queue("paused").open().unwrap());
    let (held, paused): (Queue, Queue) = (held, paused);
    held.add("job", json!(1)).await.unwrap();
    let by_hand: oxmq::ManualWorker = on.client.manual_worker("held").open().unwrap();
    let job = by_hand.get_next_job("token").await.unwrap().unwrap();
    node.call("add", json!({ "queue": "paused", "name": "job", "data": 1, "opts": {} })).await.unwrap();
    node.call("pause", json!({ "queue": "paused" })).await.unwrap();
    node.call("add", json!({ "queue": "paused", "name": "job", "data": 1, "opts": { "delay": 1 } })).await.unwrap();

    let work = |job: Job<Value, ()>| async move {
        tokio::time::sleep(Duration::from_millis(job.data()["n"].as_u64().unwrap_or(0) % 5)).await; // the work itself
        if job.data()["n"].as_u64().unwrap_or(0) % 7 == 3 { Err("no") } else { Ok(()) }
    };
    let worker = on.worker(work).concurrency(50).start().unwrap();
    on.queue.upsert_job_scheduler("often", Repeat::every(Duration::from_millis(200))).data(json!({})).await.unwrap();
    on.queue.upsert_job_scheduler("each second", Repeat::cron("* * * * * *")).data(json!({})).await.unwrap();
    let mut cursor = on.client.event_cursor("q", "mine").open().await.unwrap();
    for round in 0..6 {
        add_some(&on, round).await;
        add_by_node(&node, version).await;
        if let Delivery::Event { id, .. } = cursor.recv().await {
            cursor.ack(id).await.unwrap();
        }
        assert_eq!(kinds(&on).await, [], "round {round}");
        assert!(job.extend_lock("token", Duration::from_secs(30)).await.unwrap());
        let doctor = on.client.doctor().queue("held").queue("paused").keys(100_000).pause(Duration::from_millis(20));
        let found = doctor.examine().await.unwrap().findings;
        assert!(found.iter().all(|finding| finding.queue.is_none()), "round {round}: {found:?}");
    }
    assert_eq!(paused.get_job_counts(&[JobState::Paused]).await.unwrap().paused > 0, version == BullMq::V5);
    worker.close().await;
    assert_eq!(kinds(&on).await, []);
}

#[tokio::test]
async fn a_healthy_queue_under_load_is_not_accused() {
    is_not_accused_beside(BullMq::V6).await;
}

#[tokio::test]
async fn a_healthy_queue_that_version_5_shares_is_not_accused() {
    is_not_accused_beside(BullMq::V5).await;
}
