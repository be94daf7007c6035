//! What happens to jobs that a deduplication sets aside.

use std::time::Duration;

use oxmq::{Deduplication, JobState};
use serde_json::{Value, json};

use crate::common::fixture::Fixture;

#[tokio::test]
async fn a_job_that_was_set_aside_overwrites_no_other_job() {
    let fixture = Fixture::new().await;
    let manual = fixture.client.manual_worker::<Value, Value>("q").open().unwrap();
    let last = || Deduplication::new("d").keep_last_if_active();
    let add = |what: &'static str| fixture.queue.add("job", json!(what));

    add("owner").deduplication(last()).await.unwrap();
    let owner = manual.get_next_job("t").await.unwrap().unwrap();
    add("set aside").job_id("a").deduplication(last()).await.unwrap();
    add("other").job_id("a").delay(Duration::from_secs(600)).await.unwrap();
    owner.move_to_completed(&json!(1), "t").await.unwrap();
    assert_eq!(fixture.field("a", "data").await.unwrap(), json!("other").to_string());
    assert_eq!(fixture.count(JobState::Delayed).await, 1);
    assert!(manual.get_next_job("t").await.unwrap().is_none());

    // The deduplication has ended. The counter lags behind, so numbers that are taken are skipped.
    let owner = add("owner").deduplication(last()).await.unwrap();
    let active = manual.get_next_job("t").await.unwrap().unwrap();
    add("set aside").deduplication(last()).await.unwrap();
    redis::pipe()
        .set(fixture.key("id"), 0)
        .hset(fixture.key("dn:d"), "jid", owner.id())
        .exec_async(&mut fixture.redis.clone())
        .await
        .unwrap();
    active.move_to_completed(&json!(1), "t").await.unwrap();
    let next = manual.get_next_job("t").await.unwrap().unwrap();
    assert_eq!(*next.data(), json!("set aside"));
    assert!(fixture.field(owner.id(), "data").await.unwrap().contains("owner"));
}
