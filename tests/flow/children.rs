//! Children that a processor adds to its own job, and waits for.

use std::time::Duration;

use oxmq::options::ParentRef;
use oxmq::{Error, FlowNode, Halt, Job, JobOptions, Queue};
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
