//! Keys of a wrong type: an operation that fails has written nothing, and a job is removed whatever its relatives are.

use std::time::Duration;

use super::{family, push};
use crate::engine::Engine;
use crate::engine::testing::queue;
use crate::error::Result;
use crate::state::JobState;

/// Calls an operation by its name, on the queue of `a_key_of_a_wrong_type_leaves_everything_as_it_was`. Every operation
/// that may write is here.
async fn call(queue: &Engine, operation: &str) -> Result<()> {
    let parent = queue.keys.job("p");
    match operation {
        "pause" => queue.pause().await,
        "resume" => queue.resume().await,
        "open" => queue.open_queue(None).await,
        "tune" => queue.set_global_concurrency(3).await,
        "promote" => queue.promote("1").await,
        "promote all" => queue.promote_jobs(false).await.map(drop),
        "delay" => queue.change_delay("1", Duration::from_millis(5)).await,
        "priority" => queue.change_priority("1", 5, false).await,
        "retry" => queue.retry_job("1", JobState::Failed, false, false).await,
        "retry all" => queue.retry_jobs(JobState::Failed, None, false).await.map(drop),
        "remove" => queue.remove("p", true).await.map(drop),
        "unprocessed" => queue.remove_unprocessed_children("p").await,
        "child" => queue.remove_child_dependency("1", &parent).await.map(drop),
        "drain" => queue.drain(true).await.map(drop),
        "clean" => queue.clean(JobState::Failed, Duration::from_millis(0), 0).await.map(drop),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_key_of_a_wrong_type_leaves_everything_as_it_was() {
    const OPERATIONS: [&str; 15] = [
        "pause",
        "resume",
        "open",
        "tune",
        "promote",
        "promote all",
        "delay",
        "priority",
        "retry",
        "retry all",
        "remove",
        "unprocessed",
        "child",
        "drain",
        "clean",
    ];
    let places = [
        "RPUSH @wait 1",
        "RPUSH @paused 1",
        "ZADD @delayed 1 1",
        "ZADD @failed 1 1",
        "ZADD @completed 1 other",
        "ZADD @prioritized 1 other",
        "ZADD @marker 0 0",
        "ZADD @waiting-children 1 p",
        "SADD @p:dependencies @1",
        "ZADD @p:unsuccessful 1 @1",
        "XADD @events * event x",
        "HSET @meta opts.maxLenEvents 9",
        "HSET @p:processed a 1",
        "SET @pc 1",
        "SET @de:d 1",
    ];
    for wrong in places.map(|place| place.split(' ').nth(1).unwrap()).into_iter().chain(["@1", "@p"]) {
        for operation in OPERATIONS {
            let queue = queue().await;
            queue.store("p", &[]).await;
            queue.store("1", &[("parentKey", &queue.keys.job("p")), ("deid", "d"), ("priority", "1")]).await;
            for place in places {
                queue.redis(place).await;
            }
            queue.redis(&format!("DEL {wrong}")).await;
            // A type that none of the keys has.
            queue.redis(&format!("SETBIT {wrong} 7 1")).await;
            if matches!(wrong, "@pc" | "@de:d") {
                queue.redis(&format!("DEL {wrong}")).await;
                queue.redis(&format!("RPUSH {wrong} x")).await;
            }
            let before = queue.dump().await;
            // An operation that does not need the key may succeed; one that fails has written nothing.
            if call(&queue, operation).await.is_err() {
                let left = queue.dump().await;
                let keys: Vec<_> = left.iter().filter(|entry| !before.contains(entry)).map(|(key, _)| key).collect();
                assert_eq!(left.len(), before.len(), "{operation} with a wrong {wrong}");
                assert!(keys.is_empty(), "{operation} with a wrong {wrong}: {keys:?}");
            } else if operation != "open" {
                assert!(!matches!(wrong, "@meta" | "@wait" | "@marker"), "{operation} with a wrong {wrong}");
            }
        }
    }
}

#[tokio::test]
async fn a_failed_call_writes_nothing() {
    let queue = queue().await;
    family(&queue, "p", &queue, &["1", "2"]).await;
    queue.redis("ZADD @failed 1 1").await;
    queue.redis("DEL @p:dependencies").await;
    queue.redis("SET @p:dependencies text").await;
    let before = queue.dump().await;
    assert!(queue.remove("1", true).await.is_err());
    assert!(queue.remove("p", true).await.is_err());
    assert!(queue.retry_job("1", JobState::Failed, false, false).await.is_err());
    assert_eq!(queue.dump().await, before);
}

#[tokio::test]
async fn relatives_of_a_wrong_type_keep_nobody_in_the_queue() {
    for way in 0..3 {
        let queue = queue().await;
        family(&queue, "p", &queue, &["1", "2"]).await;
        push(&queue, "wait", &["3", "4"]).await;
        queue.redis("DEL @p:dependencies @4").await;
        queue.redis("SET @p:dependencies text").await;
        queue.redis("SET @4 text").await;
        match way {
            0 => drop(queue.drain(true).await.unwrap()),
            1 => drop(queue.clean(JobState::Waiting, Duration::ZERO, 0).await.unwrap()),
            _ => {
                queue.redis("DEL @wait").await;
                queue.redis("ZADD @failed 1 1 2 2 3 3 4 4").await;
                queue.retry_jobs(JobState::Failed, None, false).await.unwrap();
                assert_eq!(queue.int("ZCARD @failed").await, 0);
                assert_eq!(queue.says("LRANGE @wait 0 -1").await, "3 2 1");
            }
        }
        if way < 2 {
            assert_eq!((queue.int("LLEN @wait").await, queue.int("EXISTS @1 @2 @3").await), (0, 0), "{way}");
        }
        assert_eq!(queue.int("EXISTS @p @p:dependencies").await, 2);
        assert_eq!(queue.int("STRLEN @p:dependencies").await, 4);
    }
}
