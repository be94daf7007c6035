//! bull-board works on queues of oxmq: its API answers the same for a queue that oxmq has filled as for one that Node
//! has filled with the same jobs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use oxmq::{FlowNode, Halt, Job, JobOptions, JobState, Queue, Repeat};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::fixture::Fixture;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::shared_server;

async fn process(job: Job) -> Result<Value, Halt> {
    job.add_log("a line", 0).await?;
    job.update_progress(&40).await?;
    if job.name() == "bad" { Err("told to fail".into()) } else { Ok(json!({ "ok": true })) }
}

/// Removes what differs between any two runs: times, the worker of a job, and the place in the program where an error
/// arose.
fn alike(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for moment in ["timestamp", "processedOn", "finishedOn", "processedBy", "stacktrace"] {
                if let Some(found) = members.get_mut(moment)
                    && !found.is_null()
                {
                    *found = json!(if found.is_array() { "some" } else { "a moment" });
                }
            }
            // The delay of a scheduler's run depends on the time when it was made.
            if let Some(delay) = members.get_mut("delay")
                && delay.as_u64().is_some_and(|ms| ms > 3_600_000)
            {
                *delay = json!("until its moment");
            }
            members.values_mut().for_each(alike);
        }
        Value::Array(items) => items.iter_mut().for_each(alike),
        Value::String(text) => *text = text.replace("ours", "a queue").replace("theirs", "a queue"),
        _ => {}
    }
}

async fn fill_ours(fixture: &Fixture) {
    let queue: Queue = fixture.client.queue("ours").open().unwrap();
    let worker = fixture.client.worker("ours", process).start().unwrap();
    let id = |id: &str| JobOptions::default().job_id(id);
    queue.add("good", json!({ "n": 1 })).options(id("g")).await.unwrap();
    queue.add("bad", json!({ "n": 2 })).options(id("b").attempts(2).backoff(Duration::from_millis(1))).await.unwrap();
    let done = async || {
        let counts = queue.get_job_counts(&[JobState::Completed, JobState::Failed]).await.unwrap();
        (counts.completed, counts.failed) == (1, 1)
    };
    eventually("both have ended", done).await;
    worker.close().await;
    queue.add("plain", json!({ "é": [1, null] })).options(id("p")).await.unwrap();
    queue.add("first", json!({})).options(id("f").priority(3)).await.unwrap();
    queue.add("later", json!({})).options(id("l").delay(Duration::from_secs(3_600))).await.unwrap();
    let child = FlowNode::new("ours", "child", json!({})).job_id("kid");
    let tree = FlowNode::new("ours", "parent", json!({})).job_id("mum").child(child);
    fixture.client.flow_producer().add(tree).await.unwrap();
    queue.upsert_job_scheduler("yearly", Repeat::cron("0 0 1 1 *").tz("UTC")).name("tick").await.unwrap();
    queue.pause().await.unwrap();
}

async fn fill_theirs(node: &NodeDriver) {
    let call = async |op: &str, more: Value| {
        let mut args = json!({ "queue": "theirs" });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.call(op, args).await.unwrap()
    };
    call("add", json!({ "name": "good", "data": { "n": 1 }, "opts": { "jobId": "g" } })).await;
    call("getNextJob", json!({ "token": "t1" })).await;
    call("log", json!({ "job": "g", "row": "a line" })).await;
    call("updateProgress", json!({ "job": "g", "progress": 40 })).await;
    call("moveToCompleted", json!({ "job": "g", "value": { "ok": true }, "token": "t1" })).await;
    let opts = json!({ "jobId": "b", "attempts": 2, "backoff": { "type": "fixed", "delay": 1 } });
    call("add", json!({ "name": "bad", "data": { "n": 2 }, "opts": opts })).await;
    for token in ["t2", "t3"] {
        let held = async || !call("getNextJob", json!({ "token": token })).await["job"].is_null();
        eventually("Node holds the job", held).await;
        call("log", json!({ "job": "b", "row": "a line" })).await;
        call("updateProgress", json!({ "job": "b", "progress": 40 })).await;
        call("moveToFailed", json!({ "job": "b", "message": "told to fail", "token": token })).await;
    }
    call("add", json!({ "name": "plain", "data": { "é": [1, null] }, "opts": { "jobId": "p" } })).await;
    call("add", json!({ "name": "first", "data": {}, "opts": { "jobId": "f", "priority": 3 } })).await;
    call("add", json!({ "name": "later", "data": {}, "opts": { "jobId": "l", "delay": 3_600_000 } })).await;
    let child = json!({ "name": "child", "queueName": "theirs", "data": {}, "opts": { "jobId": "kid" } });
    let tree =
        json!({ "name": "parent", "queueName": "theirs", "data": {}, "opts": { "jobId": "mum" }, "children": [child] });
    call("flowAdd", json!({ "flow": tree })).await;
    let repeat = json!({ "pattern": "0 0 1 1 *", "tz": "UTC" });
    call("upsertJobScheduler", json!({ "scheduler": "yearly", "repeat": repeat, "template": { "name": "tick" } }))
        .await;
    call("pause", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs bull-board: make test-dashboard"]
async fn bull_board_answers_the_same_of_ours_and_of_nodes() {
    let fixture = Fixture::new().await;
    let node = NodeDriver::start(BullMq::V6, &shared_server().url(), &fixture.prefix).await;
    tokio::join!(fill_ours(&fixture), fill_theirs(&node));
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "dashboard", "node"].iter().collect();
    let board = Command::new("node")
        .args(["board.mjs", &shared_server().url(), &fixture.prefix, "ours", "theirs"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(board.status.success(), "{}", String::from_utf8_lossy(&board.stderr));
    let mut answers: Value = serde_json::from_slice(&board.stdout).unwrap();
    alike(&mut answers);
    let (ours, theirs) = (&answers["ours"], &answers["theirs"]);
    assert_eq!(theirs["failed"].as_array().unwrap().len(), 1, "{theirs:#}");
    for (part, theirs) in theirs.as_object().unwrap() {
        assert_eq!(&ours[part], theirs, "{part}: {:#}\n{theirs:#}", ours[part]);
    }
}
