//! Flows as trees, and why a parent waits.

use oxmq::job::ChildKind;
use oxmq::options::OnChildFailure;
use oxmq::{Error, FlowNode, Halt, Job, JobOptions, JobState};
use serde_json::Value;

use super::node;
use crate::common::eventually::eventually;
use crate::common::fixture::Fixture;

#[tokio::test]
async fn a_flow_is_read_as_a_tree() {
    let fixture = Fixture::new().await;
    let producer = fixture.client.flow_producer();
    producer.add(node("p").child(node("m").child(node("x")).child(node("y"))).child(node("d"))).await.unwrap();
    let tree = producer.get_flow("q", "p").await.unwrap().unwrap();
    assert_eq!((tree.id.as_str(), tree.kind, tree.children.len()), ("p", None, 2));
    let m = tree.children.iter().find(|child| child.id == "m").unwrap();
    assert_eq!((m.kind, m.children.len()), (Some(ChildKind::Unprocessed), 2));
    assert!(m.children.iter().all(|leaf| leaf.job.as_ref().unwrap().is_some()));

    assert!(producer.get_flow("q", "nobody").await.unwrap().is_none());
    assert!(producer.get_flow("q", "p").depth(1).await.unwrap().unwrap().children.is_empty());
    let two = producer.get_flow("q", "p").depth(2).await.unwrap().unwrap();
    assert!(two.children.iter().all(|child| child.children.is_empty()) && two.children.len() == 2);
    for broken in [producer.get_flow("q", "p").depth(0), producer.get_flow("q", "p").max_children(0)] {
        assert!(matches!(broken.await, Err(Error::InvalidOption { .. })));
    }

    // A missing child and an unreadable one leave the others readable.
    let mut redis = fixture.redis.clone();
    redis::cmd("DEL").arg(fixture.key("x")).exec_async(&mut redis).await.unwrap();
    redis::cmd("HSET").arg(fixture.key("y")).arg("data").arg("{\"x\":NaN}").exec_async(&mut redis).await.unwrap();
    let m = producer.get_flow("q", "m").await.unwrap().unwrap();
    let [x, y] = ["x", "y"].map(|id| m.children.iter().find(|child| child.id == id).unwrap());
    assert!(matches!(x.job, Ok(None)) && y.job.is_err());
}

/// Children in different queues have results of different types.
#[tokio::test]
async fn results_of_children_are_read_by_their_queue() {
    let fixture = Fixture::new().await;
    let letters = fixture
        .client
        .worker("letters", |_: Job<Value, String>| async { Ok::<_, Halt>("x".to_owned()) })
        .start()
        .unwrap();
    let numbers = fixture.client.worker("numbers", |_: Job<Value, u32>| async { Ok::<_, Halt>(7) }).start().unwrap();
    let worker = fixture
        .worker(|job: Job<String, (usize, u32)>| async move {
            let letters = job.get_children_values_of::<String>("letters").await?;
            assert_eq!(letters, [("a".to_owned(), "x".to_owned())]);
            let numbers = job.get_children_values_of::<u32>(&format!("{}:numbers", job.prefix())).await?;
            let mut ids: Vec<&str> = numbers.iter().map(|(id, _)| &**id).collect();
            ids.sort_unstable();
            assert_eq!(ids, ["b", "c"]);
            assert!(job.get_children_values_of::<u32>("number").await?.is_empty());
            let mistyped = job.get_children_values_of::<u32>("letters").await;
            assert!(matches!(mistyped, Err(Error::Json { .. })), "{mistyped:?}");
            Ok::<_, Halt>((letters.len(), numbers.iter().map(|(_, number)| number).sum()))
        })
        .start()
        .unwrap();
    let flow = node("p")
        .child(FlowNode::new("letters", "letter", 0).job_id("a"))
        .child(FlowNode::new("numbers", "number", 0).job_id("b"))
        .child(FlowNode::new("numbers", "number", 0).job_id("c"));
    fixture.client.flow_producer().add(flow).await.unwrap();
    let queue = fixture.client.queue::<String, (usize, u32)>("q").open().unwrap();
    let result = queue.job("p").wait_until_finished(crate::common::fixture::PATIENCE).await.unwrap();
    assert_eq!(result, (1, 14));
    for worker in [letters, numbers, worker] {
        worker.close().await;
    }
}

#[tokio::test]
async fn waits_for_answers_in_one_call() {
    let fixture = Fixture::new().await;
    let producer = fixture.client.flow_producer();
    let late = JobOptions::default().job_id("late").delay(std::time::Duration::from_secs(3600));
    let flow = node("p")
        .child(node("bad"))
        .child(node("gone"))
        .child(node("fatal").on_child_failure(OnChildFailure::FailParent))
        .child(FlowNode::new("elsewhere", "wait", 0).options(late))
        .child(FlowNode::new("done", "ok", 0).job_id("done"));
    producer.add(flow).await.unwrap();
    let fails = |job: Job<Value, ()>| async move { Err::<(), _>(Halt::failed(format!("{} is bad", job.id()))) };
    let done = fixture.client.worker("done", |_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    let mut redis = fixture.redis.clone();
    redis::cmd("DEL").arg(fixture.key("gone")).exec_async(&mut redis).await.unwrap();
    redis::cmd("LREM").arg(fixture.key("wait")).arg(0).arg("gone").exec_async(&mut redis).await.unwrap();
    redis::cmd("LREM").arg(fixture.key("wait")).arg(0).arg("fatal").exec_async(&mut redis).await.unwrap();
    let worker = fixture.worker(fails).start().unwrap();
    fixture.until(JobState::Failed, 1).await;
    let queue = &fixture.queue;
    eventually("one child is done", || async { queue.job("p").waits_for().await.unwrap().unwrap().processed == 1 })
        .await;

    let why = queue.job("p").waits_for().await.unwrap().unwrap();
    assert_eq!((why.state, why.pending, why.failed, why.processed), (JobState::WaitingChildren, 4, 0, 1));
    let state = |id: &str| why.pending_children.iter().find(|child| child.id == id).unwrap().state;
    assert_eq!([state("bad"), state("gone"), state("late")], [Some(JobState::Failed), None, Some(JobState::Delayed)]);
    let bad = why.pending_children.iter().find(|child| child.id == "bad").unwrap();
    assert_eq!((bad.failed_reason.as_deref(), bad.policy), (Some("bad is bad"), None));
    assert!(why.is_stuck(), "the delayed one may run, but not the one that is gone");
    assert!(why.to_string().contains("gone, which does not exist any more"), "{why}");

    // So it is without the delayed child.
    let elsewhere: oxmq::Queue = fixture.client.queue("elsewhere").open().unwrap();
    elsewhere.get_job("late").await.unwrap().unwrap().remove_child_dependency().await.unwrap();
    redis::cmd("SREM")
        .arg(fixture.key("p:dependencies"))
        .arg(fixture.key("fatal"))
        .exec_async(&mut redis)
        .await
        .unwrap();
    let job = queue.get_job("p").await.unwrap().unwrap();
    let why = job.waits_for().await.unwrap().unwrap();
    assert!(why.is_stuck() && why.to_string().contains("nothing will release it"), "{why}");
    assert!(queue.job("nobody").waits_for().await.unwrap().is_none());
    worker.close().await;
    done.close().await;
}
