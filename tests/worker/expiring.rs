//! Jobs that nobody has begun in time.

use std::time::{Duration, UNIX_EPOCH};

use oxmq::client::Clock;
use oxmq::error::FailureKind;
use oxmq::job::RetryOptions;
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Deduplication, FlowNode, Halt, Job, JobOptions, JobState, Queue};
use serde_json::{Value, json};

use crate::common::fixture::{Fixture, PATIENCE};
use crate::common::server::{fresh_prefix, shared_server};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY_MS: i64 = 86_400_000;

async fn runs(_: Job<Value, Value>) -> Result<Value, Halt> {
    Ok(json!(1))
}

/// Lets jobs look as if they had been added so much earlier.
async fn age(fixture: &Fixture, ids: &[&str], ms: i64) {
    let mut redis = fixture.redis.clone();
    for id in ids {
        let age = redis::cmd("HINCRBY").arg(fixture.key(id)).arg("timestamp").arg(-ms).to_owned();
        let () = age.query_async(&mut redis).await.unwrap();
    }
}

async fn assert_run(fixture: &Fixture, ids: &[&str]) {
    for id in ids {
        let states = (fixture.field(id, "returnvalue").await, fixture.field(id, "failedReason").await);
        assert_eq!(states, (Some("1".to_owned()), None), "{id}");
    }
}

async fn assert_expired(fixture: &Fixture, ids: &[&str]) {
    for id in ids {
        let reason = fixture.field(id, "failedReason").await;
        assert_eq!(reason.as_deref(), Some("the job expired: no worker had begun it in time"), "{id}");
    }
}

#[tokio::test]
async fn a_job_not_started_in_time_fails_without_running() {
    let fixture = Fixture::new().await;
    let short = Duration::from_millis(1);
    let span = fixture.queue.add("job", json!(1)).attempts(3).expires_in(short).await.unwrap();
    let moment = fixture.queue.add("job", json!(1)).start_by(UNIX_EPOCH + Duration::from_secs(1)).await.unwrap();
    let in_time = fixture.queue.add("job", json!(1)).expires_in(Duration::from_secs(3_600)).await.unwrap();
    // The time counts from when the delay is over.
    let hour = Duration::from_secs(3_600);
    let delayed = fixture.queue.add("job", json!(1)).delay(Duration::from_millis(50)).expires_in(hour).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await; // time itself: it is past by the clock that counts
    let worker = fixture.worker(runs).start().unwrap();
    let mut events = worker.events();
    fixture.until(JobState::Completed, 2).await;
    fixture.until(JobState::Failed, 2).await;
    assert_expired(&fixture, &[span.id(), moment.id()]).await;
    assert_run(&fixture, &[in_time.id(), delayed.id()]).await;
    worker.close().await;
    let mut expired = 0;
    while let Some(event) = events.recv().await {
        expired +=
            usize::from(matches!(event, WorkerEvent::Failed { kind: FailureKind::Expired, will_retry: false, .. }));
    }
    assert_eq!(expired, 2);
}

/// Later attempts are not bound by it.
#[tokio::test]
async fn a_job_started_in_time_does_not_expire() {
    let (prefix, clock) = (fresh_prefix(), Clock::manual(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    let client = Client::builder(ConnectOptions::from_url(&shared_server().url()).unwrap());
    let client = client.prefix(prefix).clock(clock.clone()).connect().await.unwrap();
    let span = Duration::from_secs(60);
    let fails = move |job: Job<Value, Value>| {
        let is_first = job.attempts_made() == 0;
        if is_first {
            clock.advance(span * 2);
        }
        async move { if is_first { Err(Halt::failed("once")) } else { Ok(json!(1)) } }
    };
    let worker = client.worker("q", fails).start().unwrap();
    let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
    let job = queue.add("job", json!(1)).attempts(2).expires_in(span).await.unwrap();
    assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!(1));
    worker.close().await;
}

/// Whatever makes a delayed job ready says when: the span counts from then, not from its first delay.
#[tokio::test]
async fn expires_in_counts_from_the_end_of_the_delay() {
    let fixture = Fixture::new().await;
    let queue = &fixture.queue;
    let add = |span| queue.add("job", json!(1)).delay(HOUR).expires_in(span);
    let (later, earlier, promoted) =
        (add(MINUTE).await.unwrap(), add(MINUTE).await.unwrap(), add(MINUTE).await.unwrap());
    let again = add(MINUTE).deduplication(Deduplication::new("d").reschedule()).await.unwrap();
    age(&fixture, &[later.id(), earlier.id(), promoted.id(), again.id()], DAY_MS).await;
    later.change_delay(Duration::from_millis(20)).await.unwrap();
    promoted.promote().await.unwrap();
    let soon = Duration::from_millis(1);
    queue.add("job", json!(1)).delay(soon).deduplication(Deduplication::new("d").reschedule()).await.unwrap();
    // Its delay was over a day ago, when no worker was there.
    let mut redis = fixture.redis.clone();
    let due = redis::cmd("ZINCRBY").arg(fixture.key("delayed")).arg(-DAY_MS * 4_096).arg(earlier.id()).to_owned();
    let () = due.query_async(&mut redis).await.unwrap();
    let worker = fixture.worker(runs).start().unwrap();
    fixture.until(JobState::Completed, 3).await;
    fixture.until(JobState::Failed, 1).await;
    assert_run(&fixture, &[later.id(), promoted.id(), again.id()]).await;
    assert_expired(&fixture, &[earlier.id()]).await;
    worker.close().await;
}

/// A job that is ready earlier than its delay said expires earlier, too.
#[tokio::test]
async fn a_job_that_is_promoted_may_expire_before_its_delay_would_be_over() {
    let fixture = Fixture::new().await;
    let add = || fixture.queue.add("job", json!(1)).delay(HOUR).expires_in(Duration::from_millis(1));
    let (changed, promoted, together) = (add().await.unwrap(), add().await.unwrap(), add().await.unwrap());
    changed.change_delay(Duration::from_millis(1)).await.unwrap();
    promoted.promote().await.unwrap();
    // Those that have no span are as they were.
    let plain = fixture.queue.add("job", json!(1)).delay(HOUR).await.unwrap();
    changed.change_delay(HOUR).await.unwrap();
    plain.promote().await.unwrap();
    assert_eq!(fixture.field(plain.id(), "oxmq:ready").await, None);
    fixture.queue.promote_jobs().await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await; // time itself: the span is past by the clock that counts
    let worker = fixture.worker(runs).start().unwrap();
    fixture.until(JobState::Failed, 3).await;
    fixture.until(JobState::Completed, 1).await;
    assert_expired(&fixture, &[changed.id(), promoted.id(), together.id()]).await;
    worker.close().await;
}

#[tokio::test]
async fn expires_in_of_a_parent_counts_from_its_last_child() {
    let fixture = Fixture::new().await;
    let flows = fixture.client.flow_producer();
    let parent = || FlowNode::new("q", "parent", 1).options(JobOptions::default().expires_in(MINUTE));
    let child = || FlowNode::new("other", "child", 1);
    let done = flows.add(parent().child(child())).await.unwrap();
    let delayed = parent().options(JobOptions::default().expires_in(MINUTE).delay(Duration::from_millis(20)));
    let delayed = flows.add(delayed.child(child())).await.unwrap();
    let removed = flows.add(parent().child(FlowNode::new("gone", "child", 1))).await.unwrap();
    age(&fixture, &[done.id(), delayed.id(), removed.id()], DAY_MS).await;
    let gone: Queue<Value, Value> = fixture.client.queue("gone").open().unwrap();
    gone.drain().await.unwrap();
    let children = fixture.client.worker("other", runs).start().unwrap();
    let worker = fixture.worker(runs).start().unwrap();
    fixture.until(JobState::Completed, 3).await;
    assert_run(&fixture, &[done.id(), delayed.id(), removed.id()]).await;
    for worker in [children, worker] {
        worker.close().await;
    }
}

/// A job that is retried as if it had never been started is bound by its span again, from then on.
#[tokio::test]
async fn expires_in_counts_from_a_retry() {
    let fixture = Fixture::new().await;
    let fails = async |_: Job<Value, Value>| Err::<Value, _>(Halt::failed("no"));
    let worker = fixture.worker(fails).start().unwrap();
    let add = |span| fixture.queue.add("job", json!(1)).expires_in(span);
    let (one, late, many) = (add(HOUR).await.unwrap(), add(HOUR).await.unwrap(), add(HOUR).await.unwrap());
    fixture.until(JobState::Failed, 3).await;
    worker.close().await;
    age(&fixture, &[one.id(), late.id(), many.id()], DAY_MS).await;
    let afresh = RetryOptions::default().reset_attempts_started(true);
    for job in [&one, &late] {
        job.retry(JobState::Failed, afresh).await.unwrap();
    }
    fixture.queue.retry_jobs(JobState::Failed, None).await.unwrap();
    let mut redis = fixture.redis.clone();
    let noted = redis::cmd("HINCRBY").arg(fixture.key(late.id())).arg("oxmq:retried").arg(-DAY_MS).to_owned();
    let () = noted.query_async(&mut redis).await.unwrap();
    let worker = fixture.worker(runs).start().unwrap();
    fixture.until(JobState::Completed, 2).await;
    fixture.until(JobState::Failed, 1).await;
    assert_run(&fixture, &[one.id(), many.id()]).await;
    assert_expired(&fixture, &[late.id()]).await;
    worker.close().await;
}
