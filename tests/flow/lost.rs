//! A flow whose reply is lost is stored once, and the caller learns what became of it.

use std::time::Duration;

use oxmq::options::ParentRef;
use oxmq::queue::Added;
use oxmq::{Error, FlowNode, JobOptions, JobState};

use super::node;
use crate::common::fixture::Fixture;
use crate::common::proxy::{Matcher, Proxy};
use crate::common::server::{server_version, shared_server};

fn flows() -> Matcher {
    Matcher::new(|args| args.first().is_some_and(|verb| verb == b"EVALSHA") && args.iter().any(|arg| arg == b"lossy"))
}

async fn proxied() -> (Proxy, Fixture) {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::through(&proxy, server).await;
    // The server loads the script, so that later calls need no second request.
    fixture.client.flow_producer().add(node("warm").child(node("up"))).await.unwrap();
    (proxy, fixture)
}

/// A server before version 7 does not tell whether its stream was trimmed. A stream that is old enough proves it by its
/// first event.
async fn let_old_servers_know() {
    if server_version() < 7 {
        tokio::time::sleep(Duration::from_secs(2)).await; // time itself
    }
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_flow() {
    let (proxy, fixture) = proxied().await;
    let producer = fixture.client.flow_producer();
    for n in 0..20 {
        proxy.cut_after_request(flows().times(1 + n % 2));
        let children = (0..3).map(|child| FlowNode::new("q", "lossy", child));
        let added = producer.add(FlowNode::new("q", "lossy", n).children(children)).await.unwrap();
        assert_eq!(added.outcome(), Ok(Added::Created));
        assert!(added.children().iter().all(|child| child.outcome() == Ok(Added::Created)));
    }
    assert!(proxy.counters().lost_replies >= 20);
    let counts = fixture.queue.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.get(JobState::WaitingChildren), counts.get(JobState::Waiting)), (21, 61));
}

#[tokio::test]
async fn a_lost_request_is_sent_again() {
    let (proxy, fixture) = proxied().await;
    let producer = fixture.client.flow_producer();
    let_old_servers_know().await;
    for n in 0..5 {
        proxy.drop_request(flows());
        match producer.add(FlowNode::new("q", "lossy", n).child(FlowNode::new("q", "lossy", n))).await {
            Ok(added) => assert_eq!(added.outcome(), Ok(Added::Created)),
            Err(other) => panic!("{other}"),
        }
    }
    let counts = fixture.queue.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.get(JobState::WaitingChildren), counts.get(JobState::Waiting)), (6, 6));
}

#[tokio::test]
async fn a_flow_that_ended_before_its_lost_reply_was_noticed_is_found_in_the_events() {
    let (proxy, fixture) = proxied().await;
    let gone = JobOptions::default().remove_on_complete(true);
    let worker = fixture
        .client
        .worker("q", |_: oxmq::Job<serde_json::Value, ()>| async { Ok::<_, oxmq::Halt>(()) })
        .start()
        .unwrap();
    fixture.until(JobState::Completed, 2).await;
    for n in 0..10 {
        proxy.cut_after_request(flows());
        let child = FlowNode::new("q", "lossy", n).options(gone.clone());
        let added =
            fixture.client.flow_producer().add(FlowNode::new("q", "lossy", n).options(gone.clone()).child(child)).await;
        match added {
            Ok(added) => assert_eq!(added.outcome(), Ok(Added::Created)),
            Err(other) => panic!("{other}"),
        }
    }
    crate::common::eventually::eventually("all have run", || async {
        fixture.queue.get_job_counts(&[]).await.unwrap().total() == 2
    })
    .await;
    assert_eq!(worker.close().await.counts.completed, 22);
}

#[tokio::test]
async fn after_a_lost_reply_a_job_that_may_have_been_refused_is_not_reported_as_stored() {
    let (proxy, fixture) = proxied().await;
    let producer = fixture.client.flow_producer();
    let lost = JobOptions::default().parent(ParentRef::new("nobody", format!("{}:q", fixture.prefix)).unwrap());
    let flows_of_two = || [FlowNode::new("q", "lossy", 1), FlowNode::new("q", "lossy", 2).options(lost.clone())];
    proxy.cut_after_request(flows());
    // The first is stored. Nobody can tell whether the second was refused, or has run and was removed.
    assert!(matches!(producer.add_bulk(flows_of_two()).await, Err(Error::OutcomeUnknown { .. })));
    proxy.cut_after_request(flows());
    // The flow whose parent is missing proves nothing, at either place.
    let [first, second] = flows_of_two();
    assert!(matches!(producer.add_bulk([second, first]).await, Err(Error::OutcomeUnknown { .. })));
    let counts = fixture.queue.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.get(JobState::WaitingChildren), counts.get(JobState::Waiting)), (1, 3));
}

#[tokio::test]
async fn a_flow_whose_jobs_and_events_vanish_is_never_stored_twice() {
    let (proxy, fixture) = proxied().await;
    // Neither the job nor its events are left when oxmq asks the server.
    proxy.cut_after_request(flows());
    let mut redis = fixture.redis.clone();
    let (events, prefix) = (fixture.key("events"), fixture.prefix.clone());
    let forget = async {
        crate::common::eventually::eventually("the flow is stored", || async {
            fixture.queue.get_job_counts(&[]).await.unwrap().get(JobState::WaitingChildren) == 2
        })
        .await;
        let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':q:*-*-*-*-*')) do redis.call('DEL', key) end
            for i = 1, 3000 do redis.call('XADD', KEYS[1], '*', 'event', 'waiting', 'jobId', 'x') end";
        redis::cmd("EVAL").arg(script).arg(1).arg(&events).arg(&prefix).exec_async(&mut redis).await.unwrap();
    };
    proxy.stall(std::time::Duration::from_millis(1));
    let add = fixture.client.flow_producer();
    let add = add.add(FlowNode::new("q", "lossy", 1).child(FlowNode::new("q", "lossy", 2)));
    let (added, ()) = tokio::join!(add, forget);
    // It depends on the race whether the job proves the outcome or it is unknown; a second flow is never added.
    match added {
        Ok(_) | Err(Error::OutcomeUnknown { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    let jobs = fixture.queue.get_job_counts(&[]).await.unwrap();
    assert_eq!(jobs.get(JobState::WaitingChildren), 2);
}

/// Every queue has each job once, whichever of them has the root, and however often the reply is lost.
#[tokio::test]
async fn a_lost_reply_makes_no_second_flow_in_any_of_its_queues() {
    let (proxy, fixture) = proxied().await;
    let far = format!("{}-far", fixture.prefix);
    let producer = fixture.client.flow_producer();
    let flow = |n: u32| {
        let below = (0..3).map(|m| FlowNode::new("parts", "lossy", m).prefix(&far));
        FlowNode::new("q", "lossy", n)
            .child(FlowNode::new("steps", "lossy", 1).children(below))
            .child(FlowNode::new("steps", "lossy", 2).options(JobOptions::default().job_id(format!("own-{n}"))))
    };
    for n in 0..8 {
        proxy.cut_after_request(flows().times(1 + u64::from(n % 2)));
        let added = producer.add_bulk([flow(2 * n), flow(2 * n + 1)]).await.unwrap();
        for root in &added {
            root.check().unwrap();
            assert_eq!(root.children()[0].children().len(), 3);
            assert!(root.children().iter().all(|child| child.outcome() == Ok(Added::Created)));
        }
    }
    assert!(proxy.counters().lost_replies >= 8);
    let mut redis = fixture.redis.clone();
    let mut count =
        async |verb: &str, key: String| -> usize { redis::cmd(verb).arg(key).query_async(&mut redis).await.unwrap() };
    assert_eq!(count("ZCARD", fixture.key("waiting-children")).await, 16 + 1);
    assert_eq!(count("ZCARD", format!("{}:steps:waiting-children", fixture.prefix)).await, 16);
    assert_eq!(count("LLEN", format!("{}:steps:wait", fixture.prefix)).await, 16);
    assert_eq!(count("LLEN", format!("{far}:parts:wait")).await, 48);
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_child_of_a_running_job() {
    let (proxy, fixture) = proxied().await;
    let job = fixture.queue.add("parent", serde_json::json!(1)).await.unwrap();
    for n in 0..6 {
        proxy.cut_after_request(flows().times(1 + n % 2));
        let child = FlowNode::new("parts", "lossy", n).child(FlowNode::new("parts", "lossy", n));
        let added = job.add_children([child, FlowNode::new("parts", "lossy", n)]).await.unwrap();
        added.iter().try_for_each(oxmq::flow::AddedNode::check).unwrap();
    }
    assert!(proxy.counters().lost_replies >= 6);
    assert_eq!(job.get_dependencies_count().await.unwrap().unprocessed, 12);
    let parts: oxmq::Queue = fixture.client.queue("parts").open().unwrap();
    let counts = parts.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.get(JobState::WaitingChildren), counts.get(JobState::Waiting)), (6, 12));
}

/// The first call may have found an owner, which has ended when the call is repeated.
#[tokio::test]
async fn a_lost_reply_of_a_root_that_is_deduplicated_creates_at_most_one() {
    let (proxy, fixture) = proxied().await;
    let producer = fixture.client.flow_producer();
    let once = || JobOptions::default().deduplication(oxmq::Deduplication::new("once"));
    let leaf = || FlowNode::new("q", "lossy", 1).options(once());
    proxy.cut_after_request(flows());
    let owner = producer.add(leaf()).await.unwrap();
    assert_eq!(owner.outcome(), Ok(Added::Created));
    let_old_servers_know().await;
    for n in 0..4 {
        proxy.cut_after_request(flows().times(1 + n % 2));
        let added = producer.add(leaf()).await.unwrap();
        assert_eq!((added.outcome(), added.id()), (Ok(Added::Deduplicated), owner.id()));
    }
    assert_eq!(proxy.counters().lost_replies, 7);
    assert_eq!(fixture.queue.get_job_counts(&[]).await.unwrap().get(JobState::Waiting), 2);
}
