use oxmq::error::Reason;
use oxmq::options::{OnChildFailure, ParentRef};
use oxmq::queue::Added;
use oxmq::{Deduplication, Error, FlowNode, JobOptions, JobState, Queue};
use serde_json::{Value, json};

use super::node;
use crate::common::fixture::Fixture;

#[tokio::test]
async fn a_tree_over_several_queues_and_prefixes_is_stored_and_answered() {
    let fixture = Fixture::new().await;
    let other = format!("{}-other", fixture.prefix);
    let flow = FlowNode::new("q", "book", json!({ "title": "Emma" }))
        .child(FlowNode::new("pages", "render", 1).options(JobOptions::default().priority(3)))
        .child(FlowNode::new("pages", "render", "two").on_child_failure(OnChildFailure::FailParent))
        .child(FlowNode::new("index", "build", [1, 2]).prefix(&other).child(FlowNode::new("pages", "scan", ())));
    let added = fixture.client.flow_producer().add(flow).await.unwrap();
    assert_eq!((added.name(), added.queue_name(), added.outcome()), ("book", "q", Ok(Added::Created)));
    let names: Vec<_> = added.children().iter().map(|child| (child.queue_name(), child.name())).collect();
    assert_eq!(names, [("pages", "render"), ("pages", "render"), ("index", "build")]);
    assert_eq!(added.children()[2].children()[0].name(), "scan");
    assert_eq!(fixture.queue.job(added.id()).get_state().await.unwrap(), JobState::WaitingChildren);

    // The client's prefix also applies below a node of another queue.
    let pages: Queue = fixture.client.queue("pages").open().unwrap();
    assert_eq!(pages.get_job_counts(&[]).await.unwrap().get(JobState::Waiting), 2);
    let child = pages.get_job(added.children()[1].id()).await.unwrap().unwrap();
    assert_eq!(child.on_child_failure(), Some(OnChildFailure::FailParent));
    assert_eq!(child.parent().unwrap(), ParentRef::new(added.id(), format!("{}:q", fixture.prefix)).unwrap());
    let typed = added.children()[0].job::<u32, ()>().unwrap();
    assert_eq!(*typed.data(), 1);
    assert!(matches!(added.children()[1].job::<u32, ()>(), Err(Error::Json { .. })));
}

#[tokio::test]
async fn options_of_a_node_win_over_the_defaults_of_its_queue() {
    let fixture = Fixture::new().await;
    let producer = fixture.client.flow_producer().queue_options("q", JobOptions::default().attempts(7).priority(2));
    let flow = node("p").child(node("c").options(JobOptions::default().job_id("c").attempts(1)));
    producer.add(flow).await.unwrap();
    let parent = fixture.queue.get_job("p").await.unwrap().unwrap();
    let child = fixture.queue.get_job("c").await.unwrap().unwrap();
    assert_eq!((parent.attempts(), child.attempts()), (7, 1));
    assert_eq!(fixture.queue.job("c").get_state().await.unwrap(), JobState::Prioritized);
}

#[tokio::test]
async fn an_invalid_node_is_named_by_its_path_and_nothing_is_sent() {
    let fixture = Fixture::new().await;
    let with = |options: JobOptions| FlowNode::new("q", "bad", 0).options(options);
    let simple = || Deduplication::new("d");
    let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
    let broken: Vec<(&str, FlowNode)> = vec![
        ("the root of the flow (job \"bad\" of queue \"q\"): a node with children", {
            with(JobOptions::default().deduplication(simple())).child(node("c"))
        }),
        ("node 1 (job \"bad\" of queue \"q\"): it cannot be used", {
            node("p").child(with(JobOptions::default().deduplication(simple())))
        }),
        ("node 2.1 (job \"bad\" of queue \"q\")", {
            node("p").child(node("a")).child(node("b").child(with(JobOptions::default().job_id("5"))))
        }),
        ("node 1 (job \"bad\" of queue \"q\"): in a flow it must not contain a colon", {
            node("p").child(with(JobOptions::default().job_id("a:b:c")))
        }),
        ("node 1 (job \"bad\" of queue \"q\")", node("p").child(with(JobOptions::default().job_id("0:")))),
        ("node 1 (job \"x\" of queue \"a:b\")", node("p").child(FlowNode::new("a:b", "x", 0))),
        ("node 1 (job \"x\" of queue \"q\")", node("p").child(FlowNode::new("q", "x", &unwritable))),
        ("node 2 (job \"node\" of queue \"q\"): another node", node("p").child(node("c")).child(node("c"))),
        ("node 1 (job \"bad\" of queue \"q\"): the parent of an inner node", {
            node("p").child(with(JobOptions::default().parent(ParentRef::new("x", "bull:q").unwrap())))
        }),
        ("a flow may have", node("p").children((0..1_000).map(|n| FlowNode::new("q", "many", n)))),
        ("a flow may have", node("p").children((0..40).map(|_| FlowNode::new("q", "large", "x".repeat(1 << 20))))),
    ];
    let before = fixture.queue.get_meta().await.unwrap();
    for (said, flow) in broken {
        match fixture.client.flow_producer().add(flow).await {
            Err(Error::InvalidOption { option, problem }) => assert!(problem.contains(said), "{option}: {problem}"),
            other => panic!("{said}: {other:?}"),
        }
    }
    assert_eq!(fixture.queue.get_job_counts(&[]).await.unwrap().total(), 0);
    assert_eq!(fixture.queue.get_meta().await.unwrap(), before);
}

#[tokio::test]
async fn a_refusal_is_reported_at_its_node() {
    let fixture = Fixture::new().await;
    let producer = fixture.client.flow_producer();
    let lost = JobOptions::default().parent(ParentRef::new("nobody", format!("{}:q", fixture.prefix)).unwrap());
    match producer.add(FlowNode::new("q", "root", 0).options(lost.clone()).child(node("below"))).await {
        Err(Error::Refused { reason: Reason::MissingParent, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(fixture.queue.get_job("below").await.unwrap().is_none());

    producer.add(node("first").child(node("taken"))).await.unwrap();
    let second = producer.add(node("second").child(node("taken")).child(node("free"))).await.unwrap();
    let outcomes: Vec<_> = second.children().iter().map(oxmq::flow::AddedNode::outcome).collect();
    assert_eq!(outcomes, [Err(Reason::ParentCannotBeReplaced), Ok(Added::Created)]);
    assert!(second.children()[0].job::<Value, Value>().is_err());

    let many = vec![FlowNode::new("q", "root", 0).options(lost).child(node("e")), node("good").child(node("f"))];
    let answers = producer.add_bulk(many).await.unwrap();
    let outcomes: Vec<_> = answers.iter().map(oxmq::flow::AddedNode::outcome).collect();
    assert_eq!(outcomes, [Err(Reason::MissingParent), Ok(Added::Created)]);
    assert!(producer.add_bulk([]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deduplication_from_queue_defaults_is_refused_for_a_parent() {
    let fixture = Fixture::new().await;
    let once = JobOptions::default().deduplication(Deduplication::new("once"));
    let producer = fixture.client.flow_producer().queue_options("q", once);
    let refused = producer.add(node("root").child(FlowNode::new("pages", "render", 1))).await.unwrap_err();
    assert!(matches!(&refused, Error::InvalidOption { option: "deduplication", .. }), "{refused:?}");
    assert_eq!(producer.add(node("leaf")).await.unwrap().outcome(), Ok(Added::Created));
}

#[tokio::test]
async fn a_flow_that_is_too_deep_is_refused_and_the_deepest_one_is_read_again() {
    let fixture = Fixture::new().await;
    let producer = fixture.client.flow_producer();
    let chain = |levels: usize| (1..levels).fold(node("leaf"), |below, n| node(&format!("n{n}")).child(below));
    let refused = producer.add(chain(20_000)).await.unwrap_err();
    assert!(matches!(&refused, Error::InvalidOption { option: "flow", problem } if problem.contains("100 levels")));
    let added = producer.add(chain(100)).await.unwrap();
    let mut tree = &producer.get_flow("q", added.id()).depth(100).await.unwrap().unwrap();
    let text = serde_json::to_string(tree).unwrap();
    assert_eq!(text.matches("\"children\"").count(), 100);
    while let Some(below) = tree.children.first() {
        tree = below;
    }
    assert_eq!(tree.id, "leaf");
    assert!(producer.get_flow("q", "leaf").depth(101).await.is_err());
}

#[tokio::test]
async fn a_key_of_a_wrong_type_anywhere_keeps_the_whole_flow_out() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let bad = format!("{}:pages:wait", fixture.prefix);
    redis::cmd("SET").arg(&bad).arg("x").exec_async(&mut redis).await.unwrap();
    let flow = node("p").child(node("c")).child(FlowNode::new("pages", "render", 1));
    assert!(matches!(fixture.client.flow_producer().add(flow).await, Err(Error::Redis { .. })));
    assert!(fixture.queue.get_job("p").await.unwrap().is_none());
    assert_eq!(fixture.queue.get_job_counts(&[]).await.unwrap().total(), 0);
}
