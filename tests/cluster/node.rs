//! BullMQ with ioredis' `Cluster` on the same queues.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use oxmq::{FlowNode, Halt, Job, JobState, Queue};
use serde_json::{Value, json};

use super::{client, untagged_prefix};
use crate::common::cluster::{Cluster, name_on, name_on_each, shared_cluster, slot_of};
use crate::common::eventually::eventually_within;
use crate::common::fixture::PATIENCE;
use crate::common::node::{BullMq, NodeDriver};

#[tokio::test]
async fn node_and_oxmq_run_each_others_jobs_on_every_node() {
    let cluster = shared_cluster();
    for version in [BullMq::V5, BullMq::V6] {
        let prefix = untagged_prefix();
        let ours = client(cluster, &prefix).await;
        let node = NodeDriver::start(version, &cluster.url(), &prefix).await;
        for name in name_on_each("q") {
            let queue: Queue<Value, Value> = ours.queue(&name).open().unwrap();
            let call = async |op: &str, args: Value| {
                let mut all = json!({ "queue": name });
                all.as_object_mut().unwrap().extend(args.as_object().unwrap().clone());
                node.call(op, all).await.unwrap()
            };
            // Node adds, a worker of oxmq runs the jobs, and Node hears the events.
            call("startQueueEvents", json!({ "opts": { "lastEventId": "0-0" } })).await;
            let processor = async |job: Job<Value, Value>| Ok::<_, Halt>(json!({ "ours": job.data() }));
            let worker = ours.worker(&name, processor).concurrency(3).start().unwrap();
            let mut ids = Vec::new();
            for n in 0..10 {
                let added = call("add", json!({ "name": "n", "data": n, "opts": {} })).await;
                ids.push(added["id"].as_str().unwrap().to_owned());
            }
            for (n, id) in ids.iter().enumerate() {
                let result = call("waitUntilFinished", json!({ "job": id, "ttl": 20_000 })).await;
                assert_eq!(result, json!({ "ours": n }), "{version:?} {name}");
            }
            let workers = call("getWorkers", json!({})).await;
            assert_eq!(workers.as_array().unwrap().len(), 1, "{version:?} {workers}");
            worker.close().await;

            // oxmq adds, a worker of Node runs the jobs, and oxmq hears the events.
            call("startWorker", json!({ "behaviour": "echo", "opts": { "concurrency": 3, "name": "ada" } })).await;
            let added = join_all((0..10).map(|n| queue.add("job", json!(n)).into_future())).await;
            for job in added {
                let job = job.unwrap();
                assert_eq!(&job.wait_until_finished(PATIENCE).await.unwrap(), job.data());
            }
            let workers = queue.get_workers().await.unwrap();
            assert!(workers.iter().any(|worker| worker.get("rawname").is_some_and(|name| name.ends_with(":w:ada"))));
            call("stopWorker", json!({})).await;
            call("stopQueueEvents", json!({})).await;
            assert_eq!(queue.get_job_counts(&[JobState::Completed]).await.unwrap().completed, 20);
        }
    }
}

#[tokio::test]
async fn flows_of_either_side_run_in_one_slot() {
    let cluster = shared_cluster();
    let prefix = name_on("flows", 1);
    let ours = client(cluster, &prefix).await;
    let node = NodeDriver::start(BullMq::V6, &cluster.url(), &prefix).await;
    // Parents run in oxmq, children in Node.
    let parents: Queue<Value, Value> = ours.queue("parents").open().unwrap();
    let sum = async |job: Job<Value, Value>| {
        let values = job.get_children_values::<i64>().await?;
        Ok::<_, Halt>(json!(values.iter().map(|(_, value)| value).sum::<i64>()))
    };
    let worker = ours.worker("parents", sum).start().unwrap();
    node.call("startWorker", json!({ "queue": "children", "behaviour": "echo" })).await.unwrap();

    let children = (1..=3).map(|n| FlowNode::new("children", "child", json!(n)));
    let added = ours.flow_producer().add(FlowNode::new("parents", "ours", json!(0)).children(children)).await.unwrap();
    let children: Vec<Value> =
        (4..=5).map(|n| json!({ "name": "child", "queueName": "children", "data": n })).collect();
    let flow = json!({ "name": "theirs", "queueName": "parents", "prefix": prefix, "data": 0, "children": children });
    let theirs = node.call("flowAdd", json!({ "flow": flow })).await.unwrap();
    for (id, expected) in [(added.id().to_owned(), 6), (theirs["id"].as_str().unwrap().to_owned(), 9)] {
        let parent = parents.get_job(&id).await.unwrap().unwrap();
        assert_eq!(parent.wait_until_finished(PATIENCE).await.unwrap(), json!(expected));
    }
    worker.close().await;
}

/// Node fails calls that are redirected too often, and its workers may let jobs stall; but no job is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_beside_node_while_the_slot_moves() {
    let cluster = Arc::new(Cluster::start());
    let ours = client(&cluster, "p").await;
    let name = name_on("beside", 2);
    let slot = slot_of(&name);
    let node = NodeDriver::start(BullMq::V6, &cluster.url(), "p").await;
    let opts = json!({ "concurrency": 3, "stalledInterval": 1_000, "lockDuration": 3_000, "maxStalledCount": 9 });
    let start = json!({ "queue": name, "behaviour": { "kind": "sleep", "ms": 5 }, "opts": opts });
    node.call("startWorker", start).await.unwrap();
    let processor = async |_: Job<Value, ()>| {
        tokio::time::sleep(Duration::from_millis(5)).await; // the work itself
        Ok::<_, Halt>(())
    };
    let worker = ours
        .worker(&name, processor)
        .concurrency(3)
        .lock_duration(Duration::from_secs(3))
        .stalled_interval(Duration::from_secs(1))
        .max_stalled_count(9)
        .start()
        .unwrap();
    let queue: Queue<Value, Value> = ours.queue(&name).open().unwrap();
    let moving = {
        let cluster = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || {
            for to in [0, 1, 2] {
                cluster.move_slot(slot, to, Duration::from_millis(5));
            }
        })
    };
    let (mut acked, mut next) = (Vec::new(), 0);
    while !moving.is_finished() || next < 300 {
        let id = format!("job-{next}");
        // Both sides add in turn.
        if next % 2 == 0 {
            queue.add("job", json!(next)).job_id(&id).await.unwrap();
            acked.push(id);
        } else {
            let add = json!({ "queue": name, "name": "job", "data": next, "opts": { "jobId": id } });
            if node.call("add", add).await.is_ok() {
                acked.push(id);
            }
        }
        next += 1;
    }
    moving.await.unwrap();
    eventually_within(PATIENCE * 3, "all jobs have run", || async {
        let counts = queue.get_job_counts(&[]).await.ok()?;
        (counts.waiting + counts.active + counts.delayed == 0).then_some(())
    })
    .await;
    let ended =
        queue.get_ranges(&[JobState::Completed, JobState::Failed], 0, -1, oxmq::queue::Order::Ascending).await.unwrap();
    let ended: HashSet<String> = ended.into_iter().collect();
    let lost: Vec<_> = acked.iter().filter(|id| !ended.contains(*id)).collect();
    println!("{next} adds, {} acknowledged", acked.len());
    assert!(lost.is_empty(), "{lost:?}");
    worker.close().await;
}
