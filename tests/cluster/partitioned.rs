//! A queue whose partitions are spread over all masters.

use std::time::Duration;

use futures::StreamExt;
use oxmq::events::QueueEvent;
use oxmq::{Error, Halt, Job, NewJob, Partitioned};
use serde_json::{Value, json};

use super::{client, options, untagged_prefix};
use crate::common::cluster::{Cluster, name_on, shared_cluster, slot_of};
use crate::common::eventually::eventually_within;
use crate::common::fixture::{Ledger, PATIENCE};
use crate::common::node::{BullMq, NodeDriver};

async fn open(client: &oxmq::Client, partitions: usize) -> Partitioned<Value, Value> {
    let builder = client.partitioned("mail", partitions);
    builder.refresh_interval(Duration::from_millis(50)).open().await.unwrap()
}

#[tokio::test]
async fn partitions_lie_on_all_masters_and_are_worked_on_as_one() {
    let cluster = shared_cluster();
    let prefix = untagged_prefix();
    let client = client(cluster, &prefix).await;
    let mails = open(&client, 4).await;
    let node = NodeDriver::start(BullMq::V6, &cluster.url(), &prefix).await;
    let events = mails.events().unwrap();
    events.ready().await.unwrap();
    let ran = Ledger::default();
    let noted = ran.clone();
    let processor = move |job: Job<Value, Value>| {
        noted.note(job.queue_name());
        async { Ok::<_, Halt>(json!(null)) }
    };
    let worker = mails.worker(processor).concurrency(5).start().unwrap();
    mails.add_bulk((0..40).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
    assert_eq!(mails.grow(6).await.unwrap(), 6);
    for n in 0..5 {
        node.call("add", json!({ "queue": "mail-{5}", "name": "n", "data": n, "opts": {} })).await.unwrap();
    }
    ran.until(45).await;
    let completed = events.into_stream().filter_map(async |heard| {
        let event = heard.item.into_event()?;
        matches!(event, QueueEvent::Completed { .. }).then_some(heard.partition)
    });
    let mut heard: Vec<usize> = tokio::time::timeout(PATIENCE, completed.take(45).collect()).await.unwrap();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard, [0, 1, 2, 3, 5]);
    assert_eq!(worker.close().await.counts.completed, 45);
    let mut owners: Vec<usize> = (0..6).map(|n| cluster.owner(slot_of(&format!("{prefix}:mail-{{{n}}}:id")))).collect();
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners, [0, 1, 2]);
    // If all keys are in one slot, partitions gain nothing.
    let tagged = oxmq::Client::builder(options(cluster)).prefix(name_on("tagged", 0)).connect().await.unwrap();
    let opened = tagged.partitioned::<Value, Value>("mail", 2).open().await;
    assert!(matches!(opened, Err(Error::InvalidOption { option: "prefix", .. })));
}

/// A master that does not answer takes no slots away from the partitions on the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_on_other_masters_go_on_while_one_is_silent() {
    let cluster = Cluster::start();
    for node in 0..3 {
        // The cluster must not replace it meanwhile.
        let words = ["SET", "cluster-node-timeout", "60000"];
        let () = redis::cmd("CONFIG").arg(&words).query(&mut cluster.admin(node)).unwrap();
    }
    let client = client(&cluster, "p").await;
    let mails = open(&client, 5).await;
    let ran = Ledger::default();
    let noted = ran.clone();
    let processor = move |job: Job<Value, Value>| {
        noted.note(job.queue_name());
        async { Ok::<_, Halt>(json!(null)) }
    };
    let worker = mails.worker(processor).concurrency(2).start().unwrap();
    let owner = |partition: usize| cluster.owner(slot_of(&format!("p:mail-{{{partition}}}:id")));
    let silent = owner(3);
    let alive: Vec<usize> = (0..5).filter(|partition| owner(*partition) != silent).collect();
    let add = async |partition: usize, delay: u64| {
        let queue = mails.partition(partition).unwrap();
        queue.add("job", json!(0)).delay(Duration::from_millis(delay)).await.unwrap();
    };
    // When this job is due, the worker asks the silent master for as many jobs as it has free slots.
    add(3, 400).await;
    let is_known = || async {
        let marker: u64 = redis::cmd("ZCARD").arg("p:mail-{3}:marker").query(&mut cluster.admin(silent)).unwrap();
        marker == 0
    };
    eventually_within(PATIENCE, "the worker knows of the delayed job", is_known).await;
    cluster.nodes[silent].pause();
    let (began, mut added) = (std::time::Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(800) {
        for partition in &alive {
            add(*partition, 0).await;
        }
        added += alive.len();
        ran.until(added).await;
    }
    cluster.nodes[silent].resume();
    ran.until(added + 1).await;
    let report = worker.close().await;
    assert_eq!(report.counts.completed, added as u64 + 1);
}
