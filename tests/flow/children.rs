//! Children that a processor adds to its own job, and waits for.

use std::time::Duration;

use oxmq::flow::AddedNode;
use oxmq::options::{OnChildFailure, ParentRef};
use oxmq::{Error, FlowNode, Halt, Job, JobOptions, Queue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::common::fixture::{Fixture, Ledger};

#[tokio::test]
async fn a_processor_adds_children_waits_for_them_and_goes_on_with_their_results() {
    let fixture = Fixture::new().await;
    let ran = Ledger::default();
    let noted = ran.clone();
    let split = move |job: Job<Vec<u64>, u64>| {
        let noted = noted.clone();
        async move {
            noted.note(format!("parent {}", job.attempts_started()));
            if job.get_dependencies_count().await? == Default::default() {
                let parts = job.data().iter().enumerate();
                let children =
                    parts.map(|(n, part)| FlowNode::new("parts", "square", part).job_id(format!("{}-{n}", job.id())));
                let added = job.add_children(children).await?;
                assert_eq!(added.len(), 3);
                // A step that runs again adds nothing again.
                let again =
                    job.add_child(FlowNode::new("parts", "square", 2).job_id(format!("{}-0", job.id()))).await?;
                assert_eq!(again.outcome(), Ok(oxmq::queue::Added::Existing));
                return Err(Halt::WaitingChildren);
            }
            Ok(job.get_children_values::<u64>().await?.into_iter().map(|(_, square)| square).sum())
        }
    };
    let parents: Queue<Vec<u64>, u64> = fixture.client.queue("parents").open().unwrap();
    let boss = fixture.client.worker("parents", split).start().unwrap();
    let hands = fixture
        .client
        .worker("parts", |job: Job<u64, u64>| async move { Ok::<_, Halt>(job.data() * job.data()) })
        .start()
        .unwrap();
    let job = parents.add("sum", vec![2, 3, 4]).await.unwrap();
    assert_eq!(job.wait_until_finished(Duration::from_secs(60)).await.unwrap(), 29);
    assert_eq!(ran.lines(), ["parent 1", "parent 2"]);
    boss.close().await;
    hands.close().await;
}

#[tokio::test]
async fn a_child_has_no_other_parent_than_its_job() {
    let fixture = Fixture::new().await;
    let job = fixture.queue.add("parent", Value::Null).await.unwrap();
    let other =
        FlowNode::new("q", "child", 0).options(JobOptions::default().parent(ParentRef::new("x", "bull:q").unwrap()));
    assert!(matches!(job.add_child(other).await, Err(Error::InvalidOption { option: "parent", .. })));
    assert!(job.add_children([]).await.unwrap().is_empty());
    job.remove().await.unwrap();
    assert!(matches!(job.add_child(FlowNode::new("q", "child", 0)).await, Err(Error::Refused { .. })));
}

const POLICIES: [OnChildFailure; 4] = [
    OnChildFailure::FailParent,
    OnChildFailure::ContinueParent,
    OnChildFailure::IgnoreDependency,
    OnChildFailure::RemoveDependency,
];

#[derive(Clone, Serialize, Deserialize)]
struct FanOut {
    parts: Vec<String>,
    /// Which of the policies.
    policy: usize,
    is_added: bool,
}

/// As the guide has it.
async fn fan_out(mut job: Job<FanOut, usize>) -> Result<usize, Halt> {
    let mut fan = job.data().clone();
    if !fan.is_added {
        for (n, chunk) in fan.parts.chunks(2).enumerate() {
            let nodes = chunk.iter().enumerate().map(|(i, part)| {
                let node = FlowNode::new("parts", "work", part).job_id(format!("{}-{n}-{i}", job.id()));
                node.on_child_failure(POLICIES[fan.policy])
            });
            job.add_children(nodes).await?.iter().try_for_each(AddedNode::check)?;
        }
        fan.is_added = true;
        job.update_data(fan).await?;
    }
    if job.get_dependencies_count().await?.unprocessed > 0 {
        return Err(Halt::WaitingChildren);
    }
    Ok(job.get_children_values::<Value>().await?.len())
}

#[tokio::test]
async fn a_fan_out_ends_when_it_has_no_parts_and_when_parts_fail_by_each_policy() {
    let [fail, go_on, ignore, remove] = [0, 1, 2, 3];
    let fixture = Fixture::new().await;
    let parents: Queue<FanOut, usize> = fixture.client.queue("parents").open().unwrap();
    let work = |job: Job<String, ()>| async move {
        if job.data() == "bad" { Err(Halt::unrecoverable("bad")) } else { Ok(()) }
    };
    // More starts than it can need: a job that is fetched again and again fails.
    let boss = fixture.client.worker("parents", fan_out).concurrency(5).max_started_attempts(9).start().unwrap();
    let hands = fixture.client.worker("parts", work).start().unwrap();
    let good = |n: usize| vec!["good".to_owned(); n];
    let cases = [
        (Vec::new(), ignore, Some(0)),
        (vec!["bad".into(); 3], remove, Some(0)),
        ([good(4), vec!["bad".into()]].concat(), remove, Some(4)),
        ([vec!["bad".into()], good(4)].concat(), ignore, Some(4)),
        ([vec!["bad".into()], good(4)].concat(), go_on, Some(4)),
        ([good(4), vec!["bad".into()]].concat(), fail, None),
    ];
    let jobs = cases.into_iter().map(|(parts, policy, expected)| {
        let queue = &parents;
        async move {
            let job = queue.add("fan-out", FanOut { parts, policy, is_added: false }).await.unwrap();
            let ended = job.wait_until_finished(Duration::from_secs(60)).await;
            assert_eq!(ended.as_ref().ok().copied(), expected, "{policy:?}: {ended:?}");
        }
    });
    futures::future::join_all(jobs).await;
    boss.close().await;
    hands.close().await;
}
