//! Workers of Node and of oxmq share the jobs of one queue: neither starves the other.

use std::time::Duration;

use oxmq::{Halt, Job, JobState, NewJob};
use serde_json::{Value, json};

use super::mixed::Mixed;
use crate::common::eventually::eventually;
use crate::common::node::BullMq;

const JOBS: usize = 600;

/// How many jobs each worker runs at once.
const SLOTS: usize = 5;

/// What a job takes, in ms: much longer than what either side needs besides.
const WORK_MS: u64 = 50;

#[tokio::test]
async fn node_and_oxmq_with_as_many_slots_run_about_as_many_jobs() {
    for version in [BullMq::V5, BullMq::V6] {
        let mixed = Mixed::start(version).await;
        mixed.queue.pause().await.unwrap();
        mixed.queue.add_bulk((0..JOBS).map(|n| NewJob::new("slow", json!(n)))).await.unwrap();
        let slow = json!({ "kind": "sleep", "ms": WORK_MS });
        mixed.call("startWorker", json!({ "behaviour": slow, "opts": { "concurrency": SLOTS } })).await;
        let work = async |_: Job| {
            tokio::time::sleep(Duration::from_millis(WORK_MS)).await; // the work itself
            Ok::<_, Halt>(Value::Null)
        };
        let worker = mixed.client.worker("q", work).concurrency(SLOTS).start().unwrap();
        eventually("both wait", || async { mixed.queue.get_workers().await.unwrap().len() == 2 }).await;
        mixed.queue.resume().await.unwrap();
        eventually("all jobs have run", || async {
            mixed.queue.get_job_counts(&[JobState::Completed]).await.unwrap().completed == JOBS as u64
        })
        .await;
        let ours = usize::try_from(worker.close().await.counts.completed).unwrap();
        println!("{version:?}: {ours} of {JOBS} by oxmq");
        assert!((JOBS / 3..=JOBS * 2 / 3).contains(&ours), "{version:?}: {ours} of {JOBS} by oxmq");
    }
}
