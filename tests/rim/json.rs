//! What programs of users show of a queue as JSON has BullMQ's names.

use oxmq::error::{FailureKind, Reason};
use oxmq::events::{Delivery, EventId, QueueEvent};
use oxmq::job::{ChildCounts, JobOutcome};
use oxmq::options::OnChildFailure;
use oxmq::queue::JobCounts;

use oxmq::FlowNode;

use super::*;

#[tokio::test]
async fn status_is_written_as_bullmq_calls_it() {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(fresh_prefix()).connect().await.unwrap();
    let queue: Queue = client.queue("q").max_len_events(500).open().unwrap();
    let mut events = client.queue_events("q").start().unwrap();
    events.ready().await.unwrap();
    let (job, added) = queue.add("job", json!(1)).job_id("a").outcome().await.unwrap();
    assert_eq!(json!(added), json!({ "outcome": "created" }));
    assert_eq!(json!(job.get_state().await.unwrap()), json!("waiting"));
    assert_eq!(json!(JobState::WaitingChildren), json!("waiting-children"));
    let counts = queue.get_job_counts(&[]).await.unwrap();
    assert_eq!((json!(counts)["waiting"].clone(), json!(counts)["waiting-children"].clone()), (json!(1), json!(0)));
    assert_eq!(json!(JobCounts::default()).as_object().unwrap().len(), 8);
    assert_eq!(json!(ChildCounts::default()), json!({ "unprocessed": 0, "failed": 0, "ignored": 0, "processed": 0 }));
    assert_eq!(job.progress::<Value>().unwrap(), None);
    job.update_progress(&json!({ "step": 2 })).await.unwrap();
    assert_eq!(queue.get_job("a").await.unwrap().unwrap().progress().unwrap(), Some(json!({ "step": 2 })));
    assert_eq!(json!(job.get_outcome().await.unwrap()), json!({ "state": "pending" }));
    assert_eq!(json!(JobOutcome::Completed(7)), json!({ "state": "completed", "returnvalue": 7 }));
    queue.set_global_rate_limit(3, Duration::from_secs(2)).await.unwrap();
    let meta = json!(queue.get_meta().await.unwrap());
    assert_eq!((&meta["maxLenEvents"], &meta["duration"], &meta["max"]), (&json!(500), &json!(2_000), &json!(3)));
    let metrics = json!(queue.get_metrics(JobState::Completed, 0, -1).await.unwrap());
    assert_eq!(metrics, json!({ "meta": { "count": 0, "prevTS": 0, "prevCount": 0 }, "data": [], "count": 0 }));
    assert_eq!(json!(EventId::new(7, 1)), json!("7-1"));

    let manual = client.manual_worker::<Value, Value>("q").open().unwrap();
    let held = manual.get_next_job("t").await.unwrap().unwrap();
    held.move_to_completed(&json!({ "n": 1 }), "t").await.unwrap();
    queue.publish_event("mine", &[("a", "1")]).await.unwrap();
    let mut heard = Vec::new();
    let first = events.recv().await.unwrap();
    let (id, event) = (json!(first)["id"].clone(), json!(first)["event"].clone());
    assert_eq!(json!(first), json!({ "delivery": "event", "id": id, "event": event }));
    heard.extend(first.into_event().map(|event: QueueEvent| json!(event)));
    while heard.last().is_none_or(|event: &Value| event["event"] != "mine") {
        heard.extend(events.recv().await.unwrap().into_event().map(|event: QueueEvent| json!(event)));
    }
    assert_eq!(heard[0], json!({ "event": "added", "jobId": "a", "name": "job" }));
    let completed = heard.iter().find(|event| event["event"] == "completed").unwrap();
    assert_eq!(completed, &json!({ "event": "completed", "jobId": "a", "returnvalue": { "n": 1 }, "prev": "active" }));
    let progress = heard.iter().find(|event| event["event"] == "progress").unwrap();
    assert_eq!(progress["data"], json!({ "step": 2 }));
    assert_eq!(heard.last().unwrap(), &json!({ "event": "mine", "a": "1" }));
    let status = json!(queue.get_job_status("a").await.unwrap());
    assert_eq!((&status["state"], &status["job"]["name"]), (&json!("completed"), &json!("job")));
    assert_eq!(json!(queue.job("a").cancel("late").await.unwrap()), json!("alreadyFinished"));
    assert_eq!(json!(FailureKind::Unrecoverable), json!(FailureKind::Unrecoverable.as_str()));
    let removed = queue.jobs([JobState::Completed, JobState::Failed]).remove().await.unwrap();
    let nothing = json!({ "done": 1, "movedOn": 0, "refused": 0, "unknown": 0, "refusals": [] });
    assert_eq!(json!(removed), nothing);
    assert_eq!(json!((Reason::NotInState, Reason::Unknown(-99))), json!(["notInState", { "unknown": -99 }]));
    let gap = Delivery::Gap { after: EventId::new(7, 1), before: EventId::new(8, 0), is_rollback: false };
    assert_eq!(json!(gap), json!({ "delivery": "gap", "after": "7-1", "before": "8-0", "isRollback": false }));
    assert_eq!(json!(Delivery::Lagged { missed: 3 }), json!({ "delivery": "lagged", "missed": 3 }));
}

#[tokio::test]
async fn queues_and_flows_at_a_glance_are_written_in_milliseconds_and_bullmqs_words() {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let prefix = fresh_prefix();
    let client = Client::builder(options).prefix(&prefix).connect().await.unwrap();
    let queue: Queue = client.queue("q").open().unwrap();
    let oldest = queue.add("job", json!(1)).await.unwrap();
    let delayed = queue.add("job", json!(1)).delay(Duration::from_secs(60)).await.unwrap();
    let overview = json!(client.get_queue_overview("q").await.unwrap());
    let ms = |at: Option<std::time::SystemTime>| at.map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_millis());
    let added_at = ms(oldest.timestamp());
    assert_eq!(overview["oldestWaiting"], json!({ "id": oldest.id(), "addedAt": added_at }));
    assert_eq!(overview["nextDue"], json!(ms(delayed.timestamp()).map(|at| at + 60_000)));
    assert_eq!((&overview["isPaused"], &overview["counts"]["delayed"]), (&json!(false), &json!(1)));
    assert_eq!(overview["lastMinute"], json!({ "completed": 0, "failed": 0 }));
    assert_eq!(overview["times"]["waitMedian"], json!(null));

    let child = FlowNode::new("q", "child", 1).on_child_failure(OnChildFailure::FailParent);
    let flow = client.flow_producer().add(FlowNode::new("q", "parent", 1).child(child)).await.unwrap();
    let holds = json!(queue.job(flow.id()).waits_for().await.unwrap());
    let children = json!([{
        "queue": format!("{prefix}:q"), "id": flow.children()[0].id(), "state": "waiting",
        "failedReason": null, "policy": "failParentOnFailure", "pending": 0, "pendingChildren": [],
    }]);
    assert_eq!((&holds["pendingChildren"], &holds["state"]), (&children, &json!("waiting-children")));
    let tree = json!(client.flow_producer().get_flow("q", flow.id()).await.unwrap().unwrap());
    assert_eq!((&tree["job"]["name"], &tree["children"][0]["kind"]), (&json!("parent"), &json!("unprocessed")));
    assert_eq!(tree["children"][0]["job"]["opts"]["failParentOnFailure"], json!(true));
}
