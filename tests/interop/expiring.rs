//! Jobs that expire, where Node produces them or makes them ready.

use std::time::Duration;

use oxmq::{Halt, Job, JobState};
use redis::AsyncCommands;
use serde_json::json;

use super::mixed::Mixed;
use crate::common::eventually::eventually;
use crate::common::node::BullMq;

/// oxmq obeys the expiry that a producer in Node sets.
#[tokio::test]
async fn jobs_added_by_node_with_expires_in_expire() {
    for version in [BullMq::V6, BullMq::V5] {
        let mixed = Mixed::start(version).await;
        for opts in [json!({ "expiresIn": 1 }), json!({ "startBy": 1_000 }), json!({ "expiresIn": 3_600_000 })] {
            mixed.call("add", json!({ "name": "n", "data": {}, "opts": opts })).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await; // time itself: two of them are past
        let worker = mixed.client.worker("q", |_: Job| async { Ok::<_, Halt>(json!(1)) }).start().unwrap();
        eventually("all are done", || async { worker.counts().completed + worker.counts().failed == 3 }).await;
        assert_eq!((worker.counts().completed, worker.counts().failed), (1, 2));
        worker.close().await;
    }
}

/// What Node makes ready without saying when does not expire for it; and Node heeds nothing of what is noted here.
#[tokio::test]
async fn jobs_that_node_promotes_do_not_expire_too_early() {
    for version in [BullMq::V6, BullMq::V5] {
        let mixed = Mixed::start(version).await;
        let mut redis = mixed.server.connection().await;
        let mut age = async |id: &str| {
            let key = format!("{}:q:{id}", mixed.prefix);
            let age = redis::cmd("HINCRBY").arg(key).arg("timestamp").arg(-86_400_000).to_owned();
            let () = age.query_async(&mut redis).await.unwrap();
        };
        let add = async |delay| {
            let opts = json!({ "expiresIn": 60_000, "delay": delay });
            let added = mixed.call("add", json!({ "name": "n", "data": {}, "opts": opts })).await;
            added["id"].as_str().unwrap().to_owned()
        };
        let state = async |id: &str| mixed.queue.job(id).get_state().await.unwrap();
        let retried = add(0).await;
        mixed.call("startWorker", json!({ "behaviour": "fail", "worker": "w" })).await;
        eventually("Node has failed it", || async { state(&retried).await == JobState::Failed }).await;
        mixed.call("stopWorker", json!({ "worker": "w" })).await;
        let changed = add(3_600_000).await;
        let child = json!({ "name": "child", "queueName": "children" });
        let flow = json!({ "name": "n", "queueName": "q", "opts": { "expiresIn": 60_000 }, "children": [child] });
        let parent = mixed.call("flowAdd", json!({ "flow": flow })).await;
        let parent = parent["id"].as_str().unwrap().to_owned();
        for id in [&parent, &changed, &retried] {
            age(id).await;
        }
        mixed.call("changeDelay", json!({ "job": changed, "delay": 1 })).await;
        let opts = json!({ "resetAttemptsMade": true, "resetAttemptsStarted": true });
        mixed.call("retryJob", json!({ "job": retried, "state": "failed", "opts": opts })).await;
        let children = json!({ "queue": "children", "behaviour": "complete", "worker": "c" });
        mixed.node.call("startWorker", children.clone()).await.unwrap();
        eventually("Node has let the parent go", || async { state(&parent).await == JobState::Waiting }).await;
        mixed.node.call("stopWorker", children).await.unwrap();
        let worker = mixed.client.worker("q", |_: Job| async { Ok::<_, Halt>(json!(1)) }).start().unwrap();
        eventually("all are done", || async { worker.counts().completed + worker.counts().failed == 3 }).await;
        assert_eq!((worker.counts().completed, worker.counts().failed), (3, 0));
        worker.close().await;
    }
}

/// Node does not note when it promotes a job, but announces it. A job that waits too long after that expires, also if its
/// first delay is not over; and one whose delay Node has made longer does not expire by its first one.
#[tokio::test]
async fn jobs_that_node_promotes_expire_by_their_events() {
    for version in [BullMq::V6, BullMq::V5] {
        let mixed = Mixed::start(version).await;
        let redis = mixed.server.connection().await;
        let key = |id: &str| format!("{}:q:{id}", mixed.prefix);
        let add = async |delay: u64, span: u64| {
            let opts = json!({ "expiresIn": span, "delay": delay });
            let added = mixed.call("add", json!({ "name": "n", "data": {}, "opts": opts })).await;
            added["id"].as_str().unwrap().to_owned()
        };
        let hour = 3_600_000;
        let (late, in_time) = (add(hour, 1).await, add(hour, hour).await);
        // Its first delay and its span were over a day ago.
        let longer = add(1_000, 60_000).await;
        mixed.call("changeDelay", json!({ "job": longer, "delay": hour })).await;
        let age = redis::cmd("HINCRBY").arg(key(&longer)).arg("timestamp").arg(-86_400_000).to_owned();
        let () = age.query_async(&mut redis.clone()).await.unwrap();
        for id in [&late, &in_time, &longer] {
            mixed.call("promote", json!({ "job": id })).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await; // time itself: the span is past by the clock that counts
        let worker = mixed.client.worker("q", |_: Job| async { Ok::<_, Halt>(json!(1)) }).start().unwrap();
        eventually("all are done", || async { worker.counts().completed + worker.counts().failed == 3 }).await;
        worker.close().await;
        let failed: Vec<String> = redis.clone().zrange(format!("{}:q:failed", mixed.prefix), 0, -1).await.unwrap();
        assert_eq!(failed, [late], "{version:?}");
    }
}

/// The events may be trimmed, or the whole stream may be gone. Then a job counts from its first delay, and one that may have
/// been ready later than that is not held to its span.
#[tokio::test]
async fn where_no_event_tells_a_job_counts_from_its_first_delay_or_is_not_held_to_it() {
    let mixed = Mixed::start(BullMq::V6).await;
    let redis = mixed.server.connection().await;
    let key = |suffix: &str| format!("{}:q:{suffix}", mixed.prefix);
    let state = async |id: &str| mixed.queue.job(id).get_state().await.unwrap();
    let id_of = |added: serde_json::Value| added["id"].as_str().unwrap().to_owned();
    let add = async |delay: u64| {
        let opts = json!({ "expiresIn": 60_000, "delay": delay });
        id_of(mixed.call("add", json!({ "name": "n", "data": {}, "opts": opts })).await)
    };
    let minute = Duration::from_secs(60);
    let commands = [("DEL", &[] as &[&str]), ("XTRIM", &["MAXLEN", "0"])];
    for (round, (command, arguments)) in commands.into_iter().enumerate() {
        let fails = json!({ "behaviour": "fail", "worker": "w" });
        let retried = add(0).await;
        mixed.call("startWorker", fails.clone()).await;
        eventually("Node has failed it", || async { state(&retried).await == JobState::Failed }).await;
        mixed.call("stopWorker", fails).await;
        let (late, early) = (add(1_000).await, add(172_800_000).await);
        let parent = json!({ "name": "n", "queueName": "q", "opts": { "expiresIn": 60_000 },
            "children": [{ "name": "child", "queueName": "children" }] });
        let parent = id_of(mixed.call("flowAdd", json!({ "flow": parent })).await);
        for id in [&retried, &late, &early, &parent] {
            let age = redis::cmd("HINCRBY").arg(key(id)).arg("timestamp").arg(-86_400_000).to_owned();
            let () = age.query_async(&mut redis.clone()).await.unwrap();
        }
        let afresh = json!({ "resetAttemptsMade": true, "resetAttemptsStarted": true });
        mixed.call("retryJob", json!({ "job": retried, "state": "failed", "opts": afresh })).await;
        let children = json!({ "queue": "children", "behaviour": "complete", "worker": "c" });
        mixed.node.call("startWorker", children.clone()).await.unwrap();
        eventually("Node has let the parent go", || async { state(&parent).await == JobState::Waiting }).await;
        mixed.node.call("stopWorker", children).await.unwrap();
        // Its first delay was over a day ago, so it may have waited since then.
        mixed.call("promote", json!({ "job": late })).await;
        mixed.call("promote", json!({ "job": early })).await;
        let lost = redis::cmd(command).arg(key("events")).arg(arguments).to_owned();
        let lost: i64 = lost.query_async(&mut redis.clone()).await.unwrap();
        assert!(lost > 0, "{command}");
        let worker = mixed.client.worker("q", |_: Job| async { Ok::<_, Halt>(json!(1)) }).start().unwrap();
        for (id, failed) in [(&retried, false), (&late, true), (&early, false), (&parent, false)] {
            let ended = mixed.queue.job(id).wait_until_finished(minute).await;
            assert_eq!(ended.is_err(), failed, "{command}: {id}: {ended:?}");
        }
        worker.close().await;
        let failed: Vec<String> = redis.clone().zrange(key("failed"), 0, -1).await.unwrap();
        assert!(failed.len() == round + 1 && failed.contains(&late), "{command}: {failed:?}");
    }
}
