//! Partitions beside BullMQ: each is a queue like any other.

use oxmq::{Halt, Job, JobState, NewJob};
use serde_json::{Value, json};

use super::Ground;
use crate::common::eventually::eventually_within;
use crate::common::fixture::PATIENCE;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::shared_server;

#[tokio::test]
async fn node_adds_to_and_works_on_single_partitions() {
    let ground = Ground::new().await;
    let mails = ground.open(3).await;
    for version in [BullMq::V5, BullMq::V6] {
        let node = NodeDriver::start(version, &shared_server().url(), &ground.prefix).await;
        // Settings for all partitions hold for Node: nothing runs while all are paused.
        mails.pause().await.unwrap();
        node.call("startWorker", json!({ "queue": "mail-{2}", "behaviour": "echo" })).await.unwrap();
        for n in 0..4 {
            node.call("add", json!({ "queue": "mail-{1}", "name": "n", "data": n, "opts": {} })).await.unwrap();
        }
        let ours = (0..4).map(|n| NewJob::new("job", json!(n)));
        mails.partition(2).unwrap().add_bulk(ours).await.unwrap();
        // Version 5 has a list of its own for jobs that are added to a paused queue.
        let held = mails.get_job_counts(&[JobState::Waiting, JobState::Paused]).await.unwrap();
        assert_eq!(held.total(), 8, "{version:?}");
        let processor = async |job: Job<Value, Value>| Ok::<_, Halt>(json!({ "ours": job.data() }));
        let worker = mails.worker(processor).concurrency(2).start().unwrap();
        mails.resume().await.unwrap();
        let done = || async { mails.get_job_counts(&[JobState::Completed]).await.unwrap().completed == 8 };
        eventually_within(PATIENCE, "both have worked", done).await;
        let report = worker.close().await;
        assert!(report.counts.completed >= 4, "{version:?} {report:?}");
        node.call("stopWorker", json!({ "queue": "mail-{2}" })).await.unwrap();
        // Its tools keep the number of partitions.
        for call in ["removeOrphanedJobs", "drain"] {
            node.call(call, json!({ "queue": "mail-{0}" })).await.unwrap();
        }
        for partition in ["mail-{0}", "mail-{1}", "mail-{2}"] {
            node.call("obliterate", json!({ "queue": partition, "opts": { "force": true } })).await.unwrap();
        }
        mails.partition(0).unwrap().remove_orphaned_jobs(0).await.unwrap();
        assert_eq!(ground.open(1).await.partitions(), 3, "{version:?}");
        mails.resume().await.unwrap();
    }
}

/// Runs the function of the guide with which producers in Node find the partition of a key.
#[tokio::test]
async fn node_finds_the_partition_of_a_key_as_the_guide_says() {
    let guide = include_str!("../../src/guides/partitions.md");
    let script = guide.split_once("```js\n").unwrap().1.split_once("```").unwrap().0;
    let ground = Ground::new().await;
    let mails = ground.open(16).await;
    let keys = ["", "a", "customer-7", "ключ", "{x}"];
    let print = format!("{script}\nconsole.log(JSON.stringify({}.map((key) => partitionOf(key, 16))));", json!(keys));
    let output = std::process::Command::new("node").args(["--input-type=module", "-e", &print]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<usize> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs, keys.map(|key| mails.number_of(key)));
}
