//! Children that a processor adds to its own job and waits for.

use std::time::Duration;

use oxmq::flow::AddedNode;
use oxmq::options::{OnChildFailure, ParentRef};
use oxmq::queue::Added;
use oxmq::{Error, FlowNode, Halt, Job, JobOptions, JobState, NewJob, Queue};
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
                // A step that runs again adds no second child.
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
async fn a_child_added_by_a_job_cannot_name_another_parent() {
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
    /// Index of the policy.
    policy: usize,
    is_added: bool,
}

/// Runs a parent as the guide shows it.
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
    // More starts than it can need, so that a job that is fetched again and again fails.
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

/// Fetches the next job of `parts` under this token.
async fn next_part(fixture: &Fixture, token: &str) -> Job<Value, Value> {
    let parts = fixture.client.manual_worker::<Value, Value>("parts").open().unwrap();
    parts.get_next_job(token).await.unwrap().unwrap()
}

/// Counts the children that the parent waits for.
async fn pending(fixture: &Fixture, parent: &str) -> u64 {
    redis::cmd("SCARD")
        .arg(fixture.key(&format!("{parent}:dependencies")))
        .query_async(&mut fixture.redis.clone())
        .await
        .unwrap()
}

/// Adds a child again in three ways, in a flow, by an add of its own and with the whole flow, and returns what became
/// of it.
async fn add_again(
    fixture: &Fixture,
    parent: &Job<Value, Value>,
    child: &dyn Fn() -> FlowNode,
    options: JobOptions,
) -> [Added; 3] {
    let in_flow = parent.add_child(child()).await.unwrap().outcome().unwrap();
    let queue: Queue<Value, Value> = fixture.client.queue("parts").open().unwrap();
    let link = ParentRef::new(parent.id(), format!("{}:q", fixture.prefix)).unwrap();
    let alone = queue.add_bulk([NewJob::new("part", Value::Null).options(options.parent(link))]).outcomes().await;
    let alone = alone.unwrap().remove(0).unwrap().1;
    let flow = FlowNode::new("q", "parent", Value::Null).job_id(parent.id()).child(child());
    let whole = fixture.client.flow_producer().add(flow).await.unwrap().children()[0].outcome().unwrap();
    [in_flow, alone, whole]
}

#[tokio::test]
async fn a_child_that_has_failed_is_not_waited_for_when_its_step_runs_again() {
    let fixture = Fixture::new().await;
    for policy in [
        Some(OnChildFailure::FailParent),
        Some(OnChildFailure::ContinueParent),
        Some(OnChildFailure::IgnoreDependency),
        Some(OnChildFailure::RemoveDependency),
        None,
    ] {
        for is_removed in [false, true] {
            let what = format!("{policy:?}, removed: {is_removed}");
            let own = format!("parent-{policy:?}-{is_removed}");
            let parent = fixture.queue.add("parent", Value::Null).job_id(own).await.unwrap();
            let id = format!("{}-0", parent.id());
            let mut options = JobOptions::default().job_id(&id);
            if is_removed {
                options = options.remove_on_fail(true);
            }
            if let Some(policy) = policy {
                options = options.on_child_failure(policy);
            }
            let child = || FlowNode::new("parts", "part", Value::Null).options(options.clone());
            assert_eq!(parent.add_child(child()).await.unwrap().outcome(), Ok(Added::Created), "{what}");
            next_part(&fixture, "t").await.move_to_failed("no", "t").await.unwrap();

            let leaves_a_record = policy.is_some_and(|policy| policy != OnChildFailure::RemoveDependency);
            if is_removed && !leaves_a_record {
                // Nothing is known of the child any more, so this is a new one.
                assert_eq!(parent.add_child(child()).await.unwrap().outcome(), Ok(Added::Created), "{what}");
                next_part(&fixture, "t").await.move_to_failed("no", "t").await.unwrap();
                continue;
            }
            assert_eq!(
                add_again(&fixture, &parent, &child, options.clone()).await,
                [const { Added::Existing }; 3],
                "{what}"
            );
            // A child without a policy holds its parent until it is retried or removed.
            assert_eq!(pending(&fixture, parent.id()).await, u64::from(policy.is_none()), "{what}");
        }
    }
    let parts: Queue = fixture.client.queue("parts").open().unwrap();
    assert_eq!(parts.get_job_counts(&[]).await.unwrap().get(JobState::Waiting), 0);
}

#[tokio::test]
async fn a_child_that_ended_and_was_removed_and_its_own_children_do_not_run_again() {
    let fixture = Fixture::new().await;
    let parent = fixture.queue.add("parent", Value::Null).job_id("parent").await.unwrap();
    let options = JobOptions::default().job_id("child").remove_on_complete(true);
    let below = || FlowNode::new("parts", "below", Value::Null).options(options.clone().job_id("below"));
    let child = || FlowNode::new("parts", "part", Value::Null).options(options.clone()).child(below());
    parent.add_child(child()).await.unwrap();
    for _ in 0..2 {
        next_part(&fixture, "t").await.move_to_completed(&Value::from(1), "t").await.unwrap();
    }
    assert_eq!(add_again(&fixture, &parent, &child, options.clone()).await, [const { Added::Existing }; 3]);
    let again = parent.add_child(child()).await.unwrap();
    assert_eq!(again.children()[0].outcome(), Ok(Added::Existing));
    assert_eq!(pending(&fixture, parent.id()).await, 0);
    let left: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{}:parts:*", fixture.prefix))
        .query_async(&mut fixture.redis.clone())
        .await
        .unwrap();
    assert!(
        left.iter().all(|key| !key.ends_with(":child") && !key.ends_with(":below") && !key.ends_with(":wait")),
        "{left:?}"
    );
    // A later parent with another id gets a child of its own.
    let other = fixture.queue.add("parent", Value::Null).await.unwrap();
    let child = FlowNode::new("parts", "part", Value::Null).job_id("child");
    assert_eq!(other.add_child(child).await.unwrap().outcome(), Ok(Added::Created));
    assert_eq!(pending(&fixture, other.id()).await, 1);
}
