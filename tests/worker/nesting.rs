//! Values that are nested too deep to be written: they harm their own job or call, and nothing else.

use std::mem::ManuallyDrop;
use std::time::Duration;

use futures::{StreamExt, stream};
use oxmq::{Error, FlowNode, Halt, Job, JobState, NewJob, Queue, Repeat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::common::fixture::Fixture;

/// More levels than the stack of any thread holds when they are written.
const LEVELS: usize = 200_000;

/// Arrays in arrays. It is not dropped, since a `Value` is dropped recursively.
struct Deep(ManuallyDrop<Value>);

impl Deep {
    fn of(levels: usize) -> Self {
        Self(ManuallyDrop::new((0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]))))
    }
}

impl Serialize for Deep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Deep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(ManuallyDrop::new(value)))
    }
}

/// Checks that it is said of this value that it is too deep.
fn refused<T>(what: &str, outcome: Result<T, Error>) {
    match outcome {
        Err(error @ Error::Json { .. }) => assert_eq!(
            error.to_string(),
            format!("the {what} cannot be written as JSON: it is nested more than 127 levels deep")
        ),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the {what} was written"),
    }
}

#[tokio::test]
async fn data_that_is_nested_too_deep_is_refused_and_nothing_else() {
    let fixture = Fixture::new().await;
    let queue: Queue<Deep> = fixture.client.queue(fixture.queue.name()).open().unwrap();
    let deep = || Deep::of(LEVELS);

    refused("data", queue.add("deep", deep()).await);
    refused("data", NewJob::new("deep", deep()).check());
    let jobs = || [NewJob::new("flat", Deep::of(1)), NewJob::new("deep", deep())];
    refused("data", queue.add_bulk(jobs()).await);
    let mut calls = std::pin::pin!(queue.add_stream(stream::iter(jobs())));
    let mut added = calls.next().await.unwrap().into_iter();
    let mut flat = added.next().unwrap().unwrap();
    refused("data", added.next().unwrap());
    refused("data", flat.update_data(deep()).await);
    refused("progress", flat.update_progress(&deep()).await);
    let parent = FlowNode::new(fixture.queue.name(), "parent", 1);
    let children = [FlowNode::new(fixture.queue.name(), "deep", deep())];
    let error = fixture.client.flow_producer().add(parent.children(children)).await.err().unwrap();
    let node = r#"node 1 (job "deep" of queue "q"): it is nested more than 127 levels deep"#;
    assert!(matches!(&error, Error::InvalidOption { option: "data", problem } if problem == node), "{error}");
    let scheduler = queue.upsert_job_scheduler("deep", Repeat::every(Duration::from_secs(3600)));
    refused("data", scheduler.data(deep()).await);

    assert_eq!(fixture.count(JobState::Waiting).await, 1);
    assert_eq!(queue.get_job(flat.id()).await.unwrap().unwrap().data_json(), "[null]");
}

#[tokio::test]
async fn a_result_that_is_nested_too_deep_fails_its_job_and_no_other() {
    let fixture = Fixture::new().await;
    let returning = |job: Job<usize, Deep>| async move { Ok::<_, Halt>(Deep::of(*job.data())) };
    let worker = fixture.client.worker(fixture.queue.name(), returning).concurrency(4).start().unwrap();
    for levels in [127, 128, LEVELS, 1] {
        fixture.queue.add("nested", json!(levels)).job_id(format!("{levels}-levels")).await.unwrap();
    }
    fixture.until(JobState::Completed, 2).await;
    fixture.until(JobState::Failed, 2).await;
    for id in ["128-levels".to_owned(), format!("{LEVELS}-levels")] {
        let reason = fixture.field(&id, "failedReason").await.unwrap();
        assert!(reason.contains("nested more than 127 levels deep"), "{reason}");
    }
    let deepest = fixture.queue.get_job("127-levels").await.unwrap().unwrap();
    let result = deepest.wait_until_finished(Duration::from_secs(60)).await.unwrap();
    assert_eq!(result.to_string(), format!("{}null{}", "[".repeat(127), "]".repeat(127)));
    worker.close().await;
}

#[tokio::test]
async fn a_result_that_another_program_nested_too_deep_says_how_it_can_be_read() {
    let fixture = Fixture::new().await;
    let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    let raw: Box<RawValue> = serde_json::from_str(&deep).unwrap();
    let returning = move |_: Job<Value, Box<RawValue>>| {
        let raw = raw.clone();
        async move { Ok::<_, Halt>(raw) }
    };
    let worker = fixture.client.worker(fixture.queue.name(), returning).start().unwrap();
    let job = fixture.queue.add("deep", json!(1)).await.unwrap();
    let error = job.wait_until_finished(Duration::from_secs(60)).await.unwrap_err().to_string();
    let expected = format!(
        "the result of job {} of {} is nested more than 127 levels deep at `{}…{}`, and can only be read as its text, \
         `Box<RawValue>`",
        job.id(),
        fixture.queue.name(),
        "[0]".repeat(6),
        "[0]".repeat(6)
    );
    assert_eq!(error, expected);
    let queue: Queue<Value, Box<RawValue>> = fixture.client.queue(fixture.queue.name()).open().unwrap();
    let job = queue.get_job(job.id()).await.unwrap().unwrap();
    assert_eq!(job.return_value().unwrap().unwrap().get(), deep);
    worker.close().await;
}
