//! Families that few programs have: ids with colons and letters of all kinds, jobs that would wait for themselves, deep
//! trees, children elsewhere, runs of schedulers as parents, and a parent whose lock was lost.

use std::time::Duration;

use oxmq::error::Reason;
use oxmq::options::{OnChildFailure, ParentRef};
use oxmq::queue::Added;
use oxmq::{Client, ConnectOptions, Error, FlowNode, Halt, Job, JobOptions, JobState, Queue, Repeat};
use redis::AsyncCommands;
use serde_json::{Value, json};

use super::node;
use crate::common::fixture::{Fixture, Ledger, PATIENCE};
use crate::common::server::shared_server;

/// Opens a client of the same server with another prefix.
async fn client(prefix: &str) -> Client {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    Client::builder(options).prefix(prefix).connect().await.unwrap()
}

fn parent(fixture: &Fixture, id: &str) -> ParentRef {
    ParentRef::new(id, format!("{}:q", fixture.prefix)).unwrap()
}

/// BullMQ accepts an id of three parts, and a prefix may have colons, too.
#[tokio::test]
async fn children_whose_keys_have_further_colons_are_told_by_their_queue_and_id() {
    let fixture = Fixture::new().await;
    let producer = fixture.client.flow_producer();
    let longer = format!("{}:eu:prod", fixture.prefix);
    let far = FlowNode::new("q", "far", 1).prefix(&longer).job_id("far");
    producer.add(node("p").child(node("c")).child(far)).await.unwrap();
    fixture.queue.add("part", json!(1)).job_id("a:b:c").parent(parent(&fixture, "p")).await.unwrap();

    let own = format!("{}:q", fixture.prefix);
    let expected = [(format!("{longer}:q"), "far"), (own.clone(), "a:b:c"), (own, "c")];
    let why = fixture.queue.job("p").waits_for().await.unwrap().unwrap();
    let mut told: Vec<_> = why.pending_children.iter().map(|child| (child.queue.clone(), child.id.as_str())).collect();
    told.sort();
    assert_eq!(told, expected);
    assert!(why.pending_children.iter().all(|child| child.state == Some(JobState::Waiting)), "{why}");
    assert!(!why.is_stuck());
    let tree = producer.get_flow("q", "p").await.unwrap().unwrap();
    let mut told: Vec<_> = tree.children.iter().map(|child| (child.queue.clone(), child.id.as_str())).collect();
    told.sort();
    assert_eq!(told, expected);

    let by_hand = fixture.client.manual_worker::<Value, Value>("q").open().unwrap();
    while let Some(job) = by_hand.get_next_job("t").await.unwrap() {
        let result = if job.id() == "a:b:c" { json!("text") } else { json!(5) };
        job.move_to_completed(&result, "t").await.unwrap();
    }
    let mut values = fixture.queue.job("p").get_children_values_of::<Value>("q").await.unwrap();
    values.sort_by(|(left, _), (right, _)| left.cmp(right));
    assert_eq!(values, [("a:b:c".to_owned(), json!("text")), ("c".to_owned(), json!(5))]);
    match fixture.queue.job("p").get_children_values::<u32>().await {
        Err(error @ Error::Json { .. }) => assert!(error.to_string().contains("a:b:c"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_job_cannot_wait_for_itself() {
    let fixture = Fixture::new().await;
    let refused = fixture.queue.add("x", json!(1)).job_id("me").parent(parent(&fixture, "me")).await;
    assert!(matches!(&refused, Err(Error::InvalidOption { option: "parent", .. })), "{refused:?}");
    let job = fixture.queue.add("x", json!(1)).job_id("me").await.unwrap();
    let refused = job.add_child(node("me")).await;
    assert!(matches!(&refused, Err(Error::InvalidOption { option: "parent", .. })), "{refused:?}");
    match job.add_child(node("new").child(node("also").child(node("me")))).await {
        Err(Error::InvalidOption { option: "job_id", problem }) => {
            assert!(problem.contains("node 1.1") && problem.contains("wait for itself"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.queue.get_job_counts(&[]).await.unwrap().total(), 1);
    // The same id in another queue is another job.
    job.add_child(FlowNode::new("other", "x", 1).job_id("me")).await.unwrap();
}

#[tokio::test]
async fn what_a_deep_tree_waits_for_is_told_in_one_call() {
    let fixture = Fixture::new().await;
    let deep = |levels: usize| (0..levels).fold(node("leaf"), |below, n| node(&format!("n{n}")).child(below));
    fixture
        .client
        .flow_producer()
        .add(node("p").child(deep(50)).child(node("n50").child(node("other"))))
        .await
        .unwrap();
    let by_hand = fixture.client.manual_worker::<Value, Value>("q").open().unwrap();
    let why = async || fixture.queue.job("p").waits_for().await.unwrap().unwrap();
    let told = why().await;
    assert!(
        told.to_string().contains("which waits for ") && told.to_string().contains(":leaf, which is waiting"),
        "{told}"
    );
    assert!(!told.is_stuck());
    for _ in 0..2 {
        by_hand.get_next_job("t").await.unwrap().unwrap().move_to_failed("no luck", "t").await.unwrap();
    }
    let told = why().await;
    assert!(told.is_stuck() && told.to_string().contains(":leaf, which is failed (no luck)"), "{told}");
    // Two jobs that wait for each other are told once.
    let key = |id: &str| fixture.key(&format!("{id}:dependencies"));
    let _: i64 = fixture.redis.clone().sadd(key("n0"), fixture.key("n1")).await.unwrap();
    assert_eq!(why().await.to_string().matches(":n0, ").count(), 1);
}

#[tokio::test]
async fn names_ids_and_queues_may_have_letters_of_all_kinds() {
    let fixture = Fixture::new().await;
    let (queue, id, name) = ("größe 🦀 {x", "ключ /1?", "a:b\"\\ 名");
    let flow = FlowNode::new("q", name, json!({ "ü": "\u{2028}" })).job_id("p é");
    let flow = flow.child(FlowNode::new(queue, name, "🦀").job_id(id));
    let added = fixture.client.flow_producer().add(flow).await.unwrap();
    assert_eq!((added.children()[0].id(), added.children()[0].queue_name()), (id, queue));
    let why = fixture.queue.job("p é").waits_for().await.unwrap().unwrap();
    assert_eq!((&*why.pending_children[0].id, why.pending_children[0].state), (id, Some(JobState::Waiting)));
    let by_hand = fixture.client.manual_worker::<String, String>(queue).open().unwrap();
    let child = by_hand.get_next_job("t").await.unwrap().unwrap();
    assert_eq!((child.name(), child.data().as_str(), child.parent().unwrap().id()), (name, "🦀", "p é"));
    child.move_to_completed(&"ß".to_owned(), "t").await.unwrap();
    let values = fixture.queue.job("p é").get_children_values_of::<String>(queue).await.unwrap();
    assert_eq!(values, [(id.to_owned(), "ß".to_owned())]);
    let tree = fixture.client.flow_producer().get_flow("q", "p é").await.unwrap().unwrap();
    assert_eq!(tree.children[0].job.as_ref().unwrap().as_ref().unwrap().name(), name);
    assert_eq!(fixture.queue.job("p é").get_state().await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn a_parent_goes_on_after_a_child_of_a_paused_queue_of_another_prefix_failed_and_was_removed() {
    let fixture = Fixture::new().await;
    let prefix = format!("{}-far", fixture.prefix);
    let far = client(&prefix).await;
    let parts: Queue<Value, Value> = far.queue("parts").open().unwrap();
    parts.pause().await.unwrap();
    let ignored =
        JobOptions::default().job_id("c").remove_on_fail(true).on_child_failure(OnChildFailure::IgnoreDependency);
    let child = FlowNode::new("parts", "part", 1).prefix(&prefix).options(ignored);
    fixture.client.flow_producer().add(node("p").child(child)).await.unwrap();
    let fails = |_: Job<Value, Value>| async { Err::<Value, _>(Halt::failed("no luck")) };
    let hands = far.worker("parts", fails).start().unwrap();
    let reads = |job: Job<Value, Value>| async move {
        let failures = job.get_ignored_children_failures().await?;
        Ok::<_, Halt>(json!(failures))
    };
    let boss = fixture.worker(reads).start().unwrap();
    assert_eq!(fixture.queue.job("p").get_state().await.unwrap(), JobState::WaitingChildren);
    parts.resume().await.unwrap();
    let value = fixture.queue.job("p").wait_until_finished(PATIENCE).await.unwrap();
    assert_eq!(value, json!([[format!("{prefix}:parts:c"), "no luck"]]));
    assert!(parts.get_job("c").await.unwrap().is_none());
    let tree = fixture.client.flow_producer().get_flow("q", "p").await.unwrap().unwrap();
    assert!(matches!(tree.children[0].job, Ok(None)));
    hands.close().await;
    boss.close().await;
}

/// The id of a run has colons, and no child may keep it waiting for ever.
#[tokio::test]
async fn the_run_of_a_scheduler_adds_children_and_waits_for_them() {
    let fixture = Fixture::new().await;
    let split = |job: Job<Value, Value>| async move {
        if job.get_dependencies_count().await? == Default::default() {
            job.add_child(FlowNode::new("parts", "part", job.id())).await?;
            return Err(Halt::WaitingChildren);
        }
        Ok(json!(job.get_children_values_of::<String>("parts").await?[0].1))
    };
    let echo = |job: Job<String, String>| async move { Ok::<_, Halt>(job.data().clone()) };
    let run =
        fixture.queue.upsert_job_scheduler("eu:täglich", Repeat::every(Duration::from_secs(3_600))).await.unwrap();
    let boss = fixture.worker(split).start().unwrap();
    let hands = fixture.client.worker("parts", echo).start().unwrap();
    assert_eq!(fixture.queue.job(run.id()).wait_until_finished(PATIENCE).await.unwrap(), json!(run.id()));
    boss.close().await;
    hands.close().await;
}

#[tokio::test]
async fn a_worker_revives_nothing_of_a_queue_that_was_obliterated_while_paused() {
    let fixture = Fixture::new().await;
    let every = || Repeat::every(Duration::from_secs(3_600));
    fixture.queue.pause().await.unwrap();
    fixture.queue.upsert_job_scheduler("s", every()).await.unwrap();
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).scheduler_check_interval(Duration::from_millis(20)).start().unwrap();
    fixture.queue.obliterate().await.unwrap();
    // The next run goes the way of any other: nothing is left of the pause.
    let run = fixture.queue.upsert_job_scheduler("s", every()).await.unwrap();
    ran.until(1).await;
    assert_eq!(ran.lines(), [run.id()]);
    fixture.until(JobState::Delayed, 1).await;
    assert_eq!(fixture.queue.get_meta().await.unwrap().max_len_events, Some(1_000_000));
    worker.close().await;
}

#[tokio::test]
async fn a_parent_whose_lock_was_lost_adds_children_once_and_only_its_new_owner_moves_it() {
    let fixture = Fixture::new().await;
    fixture.queue.add("p", json!(1)).job_id("p").await.unwrap();
    let by_hand = fixture.client.manual_worker::<Value, Value>("q").open().unwrap();
    let first = by_hand.get_next_job("first").await.unwrap().unwrap();
    let _: () = fixture.redis.clone().set(fixture.key("p:lock"), "second").await.unwrap();
    let child = || FlowNode::new("parts", "part", 1).job_id("c");
    assert_eq!(first.add_child(child()).await.unwrap().outcome(), Ok(Added::Created));
    match first.move_to_waiting_children("first").await {
        Err(Error::Refused { reason: Reason::LockMismatch, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.queue.job("p").get_state().await.unwrap(), JobState::Active);
    // The second owner takes the same step.
    assert_eq!(first.add_child(child()).await.unwrap().outcome(), Ok(Added::Existing));
    assert!(first.move_to_waiting_children("second").await.unwrap());
    let parts = fixture.client.manual_worker::<Value, Value>("parts").open().unwrap();
    parts.get_next_job("t").await.unwrap().unwrap().move_to_completed(&json!(2), "t").await.unwrap();
    assert!(parts.get_next_job("t").await.unwrap().is_none(), "there is one child");
    assert_eq!(fixture.queue.job("p").get_state().await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn limits_of_zero_are_refused_and_families_of_none_are_leaves() {
    let fixture = Fixture::new().await;
    let producer = fixture.client.flow_producer();
    let leaf = producer.add(node("leaf").children([])).await.unwrap();
    assert_eq!(fixture.queue.job(leaf.id()).get_state().await.unwrap(), JobState::Waiting);
    let option = |error: Error| match error {
        Error::InvalidOption { option, .. } => option,
        other => panic!("{other:?}"),
    };
    assert_eq!(option(producer.clone().max_jobs(0).add(node("x")).await.unwrap_err()), "max_jobs");
    assert_eq!(option(producer.get_flow("q", "leaf").depth(0).await.unwrap_err()), "depth");
    assert_eq!(option(producer.get_flow("q", "leaf").max_children(0).await.unwrap_err()), "max_children");
    for kind in [
        oxmq::job::ChildKind::Processed,
        oxmq::job::ChildKind::Unprocessed,
        oxmq::job::ChildKind::Ignored,
        oxmq::job::ChildKind::Failed,
    ] {
        let page = fixture.queue.job("leaf").get_children_page(kind, 0, 0).await.unwrap();
        assert!(page.children.is_empty(), "{kind:?}");
    }
    assert!(Repeat::every(Duration::from_secs(1)).next_runs(0, std::time::UNIX_EPOCH).unwrap().is_empty());
}

#[tokio::test]
async fn a_tree_with_a_locked_job_anywhere_below_stays_whole() {
    let fixture = Fixture::new().await;
    let far = format!("{}-far", fixture.prefix);
    let grandchild = FlowNode::new("parts", "part", 1).prefix(&far).job_id("g");
    fixture.client.flow_producer().add(node("p").child(node("c").child(grandchild)).child(node("d"))).await.unwrap();
    let far = client(&far).await;
    let parts = far.manual_worker::<Value, Value>("parts").open().unwrap();
    let locked = parts.get_next_job("t").await.unwrap().unwrap();
    assert!(!fixture.queue.job("p").remove().await.unwrap());
    let tree = fixture.client.flow_producer().get_flow("q", "p").await.unwrap().unwrap();
    assert!(tree.children.iter().all(|child| matches!(child.job, Ok(Some(_)))));
    locked.move_to_completed(&json!(1), "t").await.unwrap();
    assert!(fixture.queue.job("p").remove().await.unwrap());
    let left = fixture.queue.get_job_counts(&[]).await.unwrap().total();
    assert_eq!(left, 0);
}
