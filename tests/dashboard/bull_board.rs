//! bull-board works on queues of oxmq: whatever its API is asked, it answers the same for a queue that oxmq has filled as
//! for one that Node has filled with the same jobs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use oxmq::options::OnChildFailure;
use oxmq::{FlowNode, Halt, Job, JobOptions, JobState, Queue, Repeat, Worker};
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

/// Removes what differs between any two runs: times, connections, the worker of a job, and the place in the program where
/// an error arose.
fn alike(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for moment in
                ["timestamp", "processedOn", "finishedOn", "processedBy", "stacktrace", "prevTS", "addr", "age"]
            {
                if let Some(found) = members.get_mut(moment)
                    && !found.is_null()
                {
                    *found = json!(if found.is_array() { "some" } else { "its own" });
                }
            }
            // The server counts connections.
            if members.contains_key("addr") {
                members.insert("id".to_owned(), json!("its own"));
            }
            // An interval begins when its scheduler is made.
            if members.contains_key("every") {
                for moment in ["next", "offset"] {
                    members.get_mut(moment).into_iter().for_each(|found| *found = json!("its own"));
                }
            }
            // The delay of a scheduler's run depends on the time when it was made.
            if let Some(delay) = members.get_mut("delay")
                && delay.as_u64().is_some_and(|ms| ms > 3_600_000)
            {
                *delay = json!("until its moment");
            }
            // They are kept in a set.
            if let Some(Value::Array(children)) = members.get_mut("children") {
                children.sort_by_key(|child| child["id"].to_string());
            }
            let known = std::mem::take(members).into_iter();
            members.extend(known.map(|(name, value)| (same(&name), value)));
            members.values_mut().for_each(alike);
        }
        Value::Array(items) => items.iter_mut().for_each(alike),
        Value::String(text) => *text = same(text),
        _ => {}
    }
}

/// Removes from a text the name of the queue, and the moments in ids of a scheduler's runs.
fn same(text: &str) -> String {
    let mut text = text.replace("ours", "a queue").replace("theirs", "a queue");
    if let Some(at) = text.find("repeat:hourly:").map(|at| at + "repeat:hourly:".len()) {
        let end = text[at..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| at + end);
        text.replace_range(at..end, "MS");
    }
    text
}

async fn fill_ours(fixture: &Fixture) -> Worker {
    let queue: Queue = fixture.client.queue("ours").open().unwrap();
    let worker = fixture.client.worker("ours", process).metrics(100).start().unwrap();
    let id = |id: &str| JobOptions::default().job_id(id);
    queue.add("good", json!({ "n": 1 })).options(id("g")).await.unwrap();
    queue.add("bad", json!({ "n": 2 })).options(id("b").attempts(2).backoff(Duration::from_millis(1))).await.unwrap();
    let done = async |completed, failed| {
        let counts = queue.get_job_counts(&[JobState::Completed, JobState::Failed]).await.unwrap();
        (counts.completed, counts.failed) == (completed, failed)
    };
    eventually("both have ended", async || done(1, 1).await).await;
    let hour = Duration::from_secs(3_600);
    let child = |name: &str, id: &str| FlowNode::new("ours", name, json!({ "of": id })).job_id(id);
    let lame = child("bad", "lame").on_child_failure(OnChildFailure::IgnoreDependency);
    let late = child("late", "late").options(id("late").delay(hour));
    // Made at the same moment, they are listed by their ids: this is their order then too.
    let tree = child("parent", "mum").children([child("good", "kid"), lame, late]);
    fixture.client.flow_producer().add(child("above", "above").child(tree)).await.unwrap();
    eventually("two children have ended", async || done(2, 2).await).await;
    worker.close().await;
    queue.add("plain", json!({ "é": [1, null] })).options(id("p")).await.unwrap();
    queue.add("first", json!({})).options(id("f").priority(3)).await.unwrap();
    queue.add("later", json!({})).options(id("l").delay(hour)).await.unwrap();
    queue.upsert_job_scheduler("yearly", Repeat::cron("0 0 1 1 *").tz("UTC")).name("tick").await.unwrap();
    queue.upsert_job_scheduler("hourly", Repeat::every(hour)).name("tock").data(json!({ "d": 1 })).await.unwrap();
    queue.set_global_concurrency(7).await.unwrap();
    queue.set_global_rate_limit(100, Duration::from_secs(60)).await.unwrap();
    queue.pause().await.unwrap();
    fixture.client.worker("ours", process).name("hand").start().unwrap()
}

async fn fill_theirs(node: &NodeDriver) {
    let call = async |op: &str, more: Value| {
        let mut args = json!({ "queue": "theirs" });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.call(op, args).await.unwrap()
    };
    call("setWorker", json!({ "opts": { "metrics": { "maxDataPoints": 100 } } })).await;
    // As our processor does.
    let work = async |id: &str, token: &str, is_good: bool| {
        let held = async || call("getNextJob", json!({ "token": token })).await["job"]["id"] == id;
        eventually("Node holds the job", held).await;
        call("log", json!({ "job": id, "row": "a line" })).await;
        call("updateProgress", json!({ "job": id, "progress": 40 })).await;
        if is_good {
            call("moveToCompleted", json!({ "job": id, "value": { "ok": true }, "token": token })).await;
        } else {
            call("moveToFailed", json!({ "job": id, "message": "told to fail", "token": token })).await;
        }
    };
    call("add", json!({ "name": "good", "data": { "n": 1 }, "opts": { "jobId": "g" } })).await;
    work("g", "t1", true).await;
    let opts = json!({ "jobId": "b", "attempts": 2, "backoff": { "type": "fixed", "delay": 1 } });
    call("add", json!({ "name": "bad", "data": { "n": 2 }, "opts": opts })).await;
    work("b", "t2", false).await;
    work("b", "t3", false).await;
    let child = |name: &str, id: &str, opts: Value, children: Value| {
        let mut all = json!({ "jobId": id });
        all.as_object_mut().unwrap().extend(opts.as_object().unwrap().clone());
        json!({ "name": name, "queueName": "theirs", "data": { "of": id }, "opts": all, "children": children })
    };
    let kid = child("good", "kid", json!({}), json!([]));
    let lame = child("bad", "lame", json!({ "ignoreDependencyOnFailure": true }), json!([]));
    let late = child("late", "late", json!({ "delay": 3_600_000 }), json!([]));
    let tree = child("parent", "mum", json!({}), json!([kid, lame, late]));
    call("flowAdd", json!({ "flow": child("above", "above", json!({}), json!([tree])) })).await;
    work("kid", "t4", true).await;
    work("lame", "t5", false).await;
    call("add", json!({ "name": "plain", "data": { "é": [1, null] }, "opts": { "jobId": "p" } })).await;
    call("add", json!({ "name": "first", "data": {}, "opts": { "jobId": "f", "priority": 3 } })).await;
    call("add", json!({ "name": "later", "data": {}, "opts": { "jobId": "l", "delay": 3_600_000 } })).await;
    for (scheduler, repeat, template) in [
        ("yearly", json!({ "pattern": "0 0 1 1 *", "tz": "UTC" }), json!({ "name": "tick" })),
        ("hourly", json!({ "every": 3_600_000 }), json!({ "name": "tock", "data": { "d": 1 } })),
    ] {
        call("upsertJobScheduler", json!({ "scheduler": scheduler, "repeat": repeat, "template": template })).await;
    }
    call("setGlobalConcurrency", json!({ "concurrency": 7 })).await;
    call("setGlobalRateLimit", json!({ "max": 100, "duration": 60_000 })).await;
    call("pause", json!({})).await;
    call("closeQueue", json!({})).await;
    call("startWorker", json!({ "behaviour": "complete", "opts": { "name": "hand" } })).await;
}

/// Routes that tell nothing of a queue.
const OF_NO_QUEUE: [&str; 1] = ["/api/redis/stats"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs bull-board: make test-dashboard"]
async fn bull_board_answers_the_same_of_ours_and_of_nodes() {
    let fixture = Fixture::new().await;
    let node = NodeDriver::start(BullMq::V6, &shared_server().url(), &fixture.prefix).await;
    let (_worker, ()) = tokio::join!(fill_ours(&fixture), fill_theirs(&node));
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "dashboard", "node"].iter().collect();
    let board = Command::new("node")
        .args(["board.mjs", &shared_server().url(), &fixture.prefix, "ours", "theirs"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(board.status.success(), "{}", String::from_utf8_lossy(&board.stderr));
    let mut told: Value = serde_json::from_slice(&board.stdout).unwrap();
    let [mut ours, mut theirs] = ["ours", "theirs"].map(|queue| told["answers"][queue].take());
    for route in told["reads"].as_array().unwrap().iter().map(|route| route.as_str().unwrap()) {
        let (ours, theirs) = (ours.as_object_mut().unwrap(), theirs.as_object_mut().unwrap());
        let asked = |key: &String| key.split(' ').next() == Some(route);
        assert!(theirs.keys().any(asked), "{route} was not asked");
        for told in [&*ours, &*theirs] {
            let refused = told.iter().find(|(key, answer)| asked(key) && answer["status"].is_number());
            assert!(refused.is_none(), "{refused:?}");
        }
        if OF_NO_QUEUE.contains(&route) {
            theirs.retain(|key, _| !asked(key));
            ours.retain(|key, _| !asked(key));
        }
    }
    alike(&mut ours);
    alike(&mut theirs);
    is_filled(&theirs);
    let keys = |told: &Value| told.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&ours), keys(&theirs));
    for (part, theirs) in theirs.as_object().unwrap() {
        assert_eq!(&ours[part], theirs, "{part}: {:#}\n{theirs:#}", ours[part]);
    }
}

/// What is compared is there: nothing is alike only because it is empty.
fn is_filled(theirs: &Value) {
    let told = |route: &str| &theirs[route];
    let of_queue = |part: &str| told(&format!("/api/queues/:queueName/{part}  "));
    assert_eq!(of_queue("metrics")["completed"]["meta"]["count"], 2, "{theirs:#}");
    assert_eq!(of_queue("metrics")["failed"]["meta"]["count"], 2);
    assert_eq!(of_queue("workers")["workers"][0]["name"], "hand");
    assert_eq!(of_queue("rate-limit")["rateLimit"], json!({ "max": 100, "duration": 60_000 }));
    let schedulers = &told("/api/job-schedulers  queueName=NAME")["schedulers"];
    assert_eq!(schedulers.as_array().unwrap().len(), 2, "{schedulers:#}");
    let flow = told("/api/queues/:queueName/:jobId/flow kid ");
    assert_eq!(flow["flowRoot"]["children"][0]["children"].as_array().unwrap().len(), 3, "{flow:#}");
    assert_eq!(told("/api/queues/:queueName/:jobId/logs lame ").as_array().unwrap().len(), 1);
    assert_eq!(told("/api/queues/:queueName/:jobId l ")["status"], "delayed");
}
