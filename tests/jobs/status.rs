//! A job and its state in one answer, and the options with which it was stored.

use std::time::{Duration, UNIX_EPOCH};

use oxmq::{Backoff, JobState, KeepJobs, Queue};
use serde_json::{Value, json};

use crate::common::fixture::Fixture;

#[tokio::test]
async fn a_status_has_the_job_and_its_state() {
    let fixture = Fixture::new().await;
    let queue: Queue<u32, u64> = fixture.client.queue("q").open().unwrap();
    assert!(queue.get_job_status("1").await.unwrap().is_none());
    let added = queue.add("double", 21).await.unwrap();
    let status = added.get_status().await.unwrap().unwrap();
    assert_eq!((status.state, status.job.name(), *status.job.data()), (JobState::Waiting, "double", 21));
    assert_eq!((status.job.progress::<u8>().unwrap(), status.job.return_value().unwrap()), (None, None));

    let worker = fixture.client.manual_worker::<u32, u64>("q").open().unwrap();
    let job = worker.get_next_job("t").await.unwrap().unwrap();
    job.update_progress(&50).await.unwrap();
    let status = queue.get_job_status(job.id()).await.unwrap().unwrap();
    assert_eq!((status.state, status.job.progress().unwrap()), (JobState::Active, Some(50)));
    job.move_to_completed(&42, "t").await.unwrap();
    let status = queue.get_job_status(job.id()).await.unwrap().unwrap();
    assert!(status.state.is_finished());
    assert_eq!((status.state, status.job.return_value().unwrap()), (JobState::Completed, Some(42)));

    let delayed = queue.add("later", 1).delay(Duration::from_secs(3_600)).await.unwrap();
    assert_eq!(delayed.get_status().await.unwrap().unwrap().state, JobState::Delayed);
    // A job whose data has another type cannot be read as one of this queue, and the error says so.
    fixture.queue.job(delayed.id()).update_data(&json!("text")).await.unwrap();
    assert!(matches!(queue.get_job_status(delayed.id()).await, Err(oxmq::Error::Json { .. })));
    // A late write to a removed job leaves a hash that is no job.
    let mut redis = fixture.redis.clone();
    let _: () =
        redis::cmd("HSET").arg(fixture.key("ghost")).arg("progress").arg(1).query_async(&mut redis).await.unwrap();
    assert!(queue.get_job_status("ghost").await.unwrap().is_none());
    let _: () = redis::cmd("HSET")
        .arg(fixture.key("lost"))
        .arg("name")
        .arg("n")
        .arg("data")
        .arg(1)
        .arg("timestamp")
        .arg(1)
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(queue.get_job_status("lost").await.unwrap().unwrap().state, JobState::Unknown);
}

#[tokio::test]
async fn the_options_of_a_job_can_be_read() {
    let fixture = Fixture::new().await;
    let second = Duration::from_secs(1);
    let backoff = Backoff::exponential(second).jitter(0.5);
    fixture
        .queue
        .add("job", json!(1))
        .job_id("a")
        .attempts(5)
        .backoff(backoff.clone())
        .delay(60 * second)
        .priority(3)
        .timestamp(UNIX_EPOCH + 1_000_000 * second)
        .remove_on_complete(100)
        .remove_on_fail(KeepJobs::new().count(5).age(60 * second))
        .keep_logs(7)
        .stack_trace_limit(2)
        .timeout(9 * second)
        .start_by(UNIX_EPOCH + 2_000_000 * second)
        .expires_in(11 * second)
        .extra("tenant", "north")
        .await
        .unwrap();
    let job = fixture.queue.get_job("a").await.unwrap().unwrap();
    let opts = job.opts();
    assert_eq!((opts.attempts(), opts.backoff(), opts.delay()), (5, Some(&backoff), 60 * second));
    assert_eq!((opts.priority(), opts.lifo(), opts.job_id()), (3, false, Some("a")));
    assert_eq!(opts.timestamp(), Some(UNIX_EPOCH + 1_000_000 * second));
    assert_eq!(opts.remove_on_complete().and_then(KeepJobs::max_count), Some(100));
    let on_fail = opts.remove_on_fail().unwrap();
    assert_eq!((on_fail.max_count(), on_fail.max_age()), (Some(5), Some(60 * second)));
    assert_eq!((opts.keep_logs(), opts.stack_trace_limit()), (Some(7), Some(2)));
    assert_eq!((opts.timeout(), opts.expires_in()), (Some(9 * second), Some(11 * second)));
    assert_eq!(opts.start_by(), Some(UNIX_EPOCH + 2_000_000 * second));
    assert_eq!(opts.get::<String>("tenant").unwrap().as_deref(), Some("north"));
    assert_eq!(opts.get::<Value>("no such").unwrap(), None);
    assert!(opts.get::<u32>("tenant").is_err());
    assert_eq!((opts.parent(), opts.deduplication_id()), (None, None));

    let plain = fixture.queue.add("job", json!(1)).await.unwrap();
    let opts = plain.opts();
    assert_eq!((opts.attempts(), opts.backoff(), opts.delay(), opts.priority()), (0, None, Duration::ZERO, 0));
    assert_eq!((opts.job_id(), opts.timestamp(), opts.remove_on_complete()), (None, None, None));
}
