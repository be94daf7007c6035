//! Operations that empty whole queues: drain, clean, obliterate, and the removal of orphaned jobs.

use std::time::Duration;

use super::{family, push};
use crate::engine::testing::{NOW, named, queue};
use crate::error::Error;
use crate::state::JobState;

#[tokio::test]
async fn a_drain_spares_pending_runs_and_nothing_else() {
    let queue = queue().await;
    push(&queue, "wait", &["repeat:s:5", "1", "2", "repeat:s:4"]).await;
    push(&queue, "paused", &["3"]).await;
    push(&queue, "active", &["4"]).await;
    queue.redis("ZADD @repeat 5 s").await;
    queue.store("5", &[("deid", "d")]).await;
    queue.redis("ZADD @prioritized 1 5").await;
    queue.redis("SET @de:d 5").await;
    queue.store("6", &[]).await;
    queue.redis("ZADD @delayed 1 6").await;
    assert_eq!(queue.drain(false).await.unwrap(), 5);
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "repeat:s:5");
    assert_eq!(queue.left().await, ["4", "6", "active", "delayed", "repeat", "repeat:s:5", "wait"]);
    assert_eq!(queue.drain(true).await.unwrap(), 1);
    assert_eq!(queue.left().await, ["4", "active", "repeat", "repeat:s:5", "wait"]);
}

#[tokio::test]
async fn a_large_drain_goes_in_steps() {
    let queue = queue().await;
    let fill = "for i = 1, 2500 do \
                redis.call('RPUSH', KEYS[1] .. 'wait', i) redis.call('HSET', KEYS[1] .. i, 'name', 'n') \
                redis.call('ZADD', KEYS[1] .. 'delayed', i, 'd' .. i) redis.call('HSET', KEYS[1] .. 'd' .. i, 'name', 'n') \
                if i % 100 == 0 then redis.call('ZADD', KEYS[1] .. 'repeat', i, 's' .. i) \
                redis.call('RPUSH', KEYS[1] .. 'wait', 'repeat:s' .. i .. ':' .. i) end end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    assert_eq!(queue.drain(true).await.unwrap(), 5_000);
    assert_eq!(queue.left().await, ["repeat", "wait"]);
    assert_eq!(queue.int("LLEN @wait").await, 25);
    assert!(queue.says("LRANGE @wait 0 1").await == "repeat:s100:100 repeat:s200:200");
}

#[tokio::test]
async fn a_drain_takes_parents_along_or_lets_them_go() {
    let queue = queue().await;
    let elsewhere = named(queue.keys.prefix(), "parents").await;
    family(&elsewhere, "far", &queue, &["1"]).await;
    family(&queue, "grand", &queue, &["near"]).await;
    family(&queue, "near", &queue, &["2"]).await;
    queue.redis("LREM @wait 1 near").await;
    queue.drain(false).await.unwrap();
    assert_eq!(queue.left().await, [""; 0]);
    assert_eq!(elsewhere.left().await, ["far", "marker", "wait"]);
}

#[tokio::test]
async fn a_clean_goes_by_age() {
    let queue = queue().await;
    for (id, age) in [("a", 10), ("b", 2_000), ("c", 3_000), ("d", 4_000)] {
        queue.store(id, &[("timestamp", &(NOW - age).to_string())]).await;
        queue.redis(&format!("LPUSH @wait {id}")).await;
        queue.redis(&format!("ZADD @completed {} z{id}", NOW - age)).await;
        queue.store(&format!("z{id}"), &[]).await;
    }
    assert_eq!(queue.clean(JobState::Waiting, Duration::from_millis(1_000), 2).await.unwrap(), ["c", "b"]);
    assert_eq!(queue.clean(JobState::Waiting, Duration::from_millis(1_000), 0).await.unwrap(), ["d"]);
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "a");
    assert_eq!(queue.clean(JobState::Completed, Duration::from_millis(2_500), 1).await.unwrap(), ["zd"]);
    assert_eq!(queue.clean(JobState::Completed, Duration::from_millis(0), 0).await.unwrap(), ["zc", "zb", "za"]);
    assert!(queue.clean(JobState::Failed, Duration::from_millis(0), 0).await.unwrap().is_empty());
    assert_eq!(queue.events().await, [2, 1, 1, 3, 0].map(|count| format!("event cleaned count {count}")));
    assert_eq!(queue.left().await, ["a", "events", "wait"]);
    assert!(queue.clean(JobState::Unknown, Duration::from_millis(0), 0).await.is_err());
}

#[tokio::test]
async fn a_clean_compares_numbers_and_looks_behind_young_jobs() {
    let queue = queue().await;
    queue.store("old", &[("timestamp", "999")]).await;
    queue.store("young", &[("timestamp", &NOW.to_string())]).await;
    queue.store("started", &[("processedOn", &NOW.to_string())]).await;
    queue.redis("ZADD @delayed 1 young 2 started 3 old 4 missing").await;
    assert_eq!(queue.clean(JobState::Delayed, Duration::from_millis(1_000), 1).await.unwrap(), ["old"]);
    assert_eq!(queue.clean(JobState::Delayed, Duration::from_millis(1_000), 0).await.unwrap(), ["missing"]);
    assert!(queue.clean(JobState::Delayed, Duration::from_millis(NOW * 2), 0).await.unwrap().is_empty());
    assert_eq!(queue.says("ZRANGE @delayed 0 -1").await, "young started");
    queue.redis("ZADD @prioritized 1 started").await;
    assert_eq!(queue.clean(JobState::Prioritized, Duration::from_millis(1_000), 0).await.unwrap(), ["started"]);
}

#[tokio::test]
async fn a_clean_spares_running_jobs_and_pending_runs() {
    let queue = queue().await;
    push(&queue, "active", &["1", "2"]).await;
    queue.redis("SET @1:lock t").await;
    assert_eq!(queue.clean(JobState::Active, Duration::from_millis(0), 0).await.unwrap(), ["2"]);
    queue.redis("ZADD @repeat 5 s").await;
    queue.store("repeat:s:5", &[("rjk", "s")]).await;
    queue.store("repeat:s:4", &[("rjk", "s")]).await;
    queue.redis("ZADD @delayed 1 repeat:s:5 2 repeat:s:4").await;
    assert_eq!(queue.clean(JobState::Delayed, Duration::from_millis(0), 0).await.unwrap(), ["repeat:s:4"]);
}

#[tokio::test]
async fn a_large_clean_goes_in_steps() {
    let queue = queue().await;
    let fill = "for i = 1, 3500 do \
                redis.call('LPUSH', KEYS[1] .. 'wait', i) \
                redis.call('HSET', KEYS[1] .. i, 'name', 'n', 'timestamp', i % 3 == 0 and '9000000000000' or '1') end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    let gone = queue.clean(JobState::Waiting, Duration::from_millis(0), 2_000).await.unwrap();
    assert_eq!(gone.len(), 2_000);
    assert_eq!(queue.clean(JobState::Waiting, Duration::from_millis(0), 0).await.unwrap().len(), 334);
    assert_eq!(queue.int("LLEN @wait").await, 1_166);
    assert_eq!(queue.says("LRANGE @wait -3 -1").await, "9 6 3");
    assert_eq!(queue.events().await, ["event cleaned count 2000", "event cleaned count 334"]);
    assert_eq!(queue.left().await.len(), 1_166 + 2);
}

#[tokio::test]
async fn an_obliterated_queue_is_gone() {
    let queue = queue().await;
    let elsewhere = named(queue.keys.prefix(), "parents").await;
    family(&elsewhere, "far", &queue, &["1", "2"]).await;
    family(&queue, "p", &elsewhere, &["c"]).await;
    push(&queue, "active", &["3"]).await;
    queue.redis("SET @3:lock t").await;
    push(&queue, "paused", &["4"]).await;
    for (n, set) in ["completed", "failed", "delayed", "prioritized"].into_iter().enumerate() {
        queue.store(&format!("z{n}"), &[("deid", set)]).await;
        queue.redis(&format!("ZADD @{set} 1 z{n}")).await;
        queue.redis(&format!("SET @de:{set} z{n}")).await;
    }
    queue.redis("ZADD @repeat 5 s").await;
    queue.redis("HSET @repeat:s name x").await;
    queue.redis("HSET @metrics:failed count 1").await;
    queue.redis("SET @id 9").await;
    queue.rate_limit(Duration::from_secs(60)).await.unwrap();
    let error = queue.obliterate(false).await.unwrap_err();
    assert!(matches!(error, Error::QueueState { problem: "the queue has active jobs", .. }), "{error}");
    assert!(queue.is_paused().await.unwrap());
    assert_eq!(queue.int("LLEN @active").await, 1);
    queue.obliterate(true).await.unwrap();
    assert_eq!(queue.left().await, [""; 0]);
    assert_eq!(elsewhere.says("LRANGE @wait 0 -1").await, "c far");
    queue.obliterate(false).await.unwrap();
    assert_eq!(queue.left().await, [""; 0]);
}

#[tokio::test]
async fn orphans_go_and_foreign_keys_stay() {
    let queue = queue().await;
    push(&queue, "wait", &["1"]).await;
    queue.store("lost", &[]).await;
    queue.redis("RPUSH @lost:logs x").await;
    queue.redis("RPUSH @tail:logs x").await;
    queue.redis("HSET @private setting 1").await;
    queue.redis("HSET @metrics:failed count 1").await;
    queue.redis("HSET @groups a 1").await;
    queue.store("repeat:s:5", &[]).await;
    let neighbour = named(&format!("{}:q", queue.keys.prefix()), "b").await;
    neighbour.redis("ZADD @failed 1 1").await;
    assert_eq!(queue.remove_orphaned_jobs(0).await.unwrap(), 2);
    assert_eq!(queue.left().await, ["1", "b:failed", "groups", "metrics:failed", "private", "repeat:s:5", "wait"]);
}

#[tokio::test]
async fn the_event_stream_is_cut() {
    let queue = queue().await;
    queue.pause().await.unwrap();
    assert_eq!(queue.trim_events(0).await.unwrap(), 1);
    assert_eq!(queue.int("XLEN @events").await, 0);
}

#[tokio::test]
async fn orphans_go_a_few_at_a_time_where_lists_are_long() {
    let queue = queue().await;
    let fill = "for i = 1, 30000 do redis.call('RPUSH', KEYS[1] .. 'wait', i) end \
                for i = 1, 40 do \
                  redis.call('HSET', KEYS[1] .. i, 'name', 'n', 'data', '{}') \
                  redis.call('HSET', KEYS[1] .. 'lost' .. i, 'name', 'n', 'data', '{}') \
                end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    assert_eq!(queue.remove_orphaned_jobs(7).await.unwrap(), 7);
    assert_eq!(queue.remove_orphaned_jobs(0).await.unwrap(), 33);
    assert_eq!(queue.left().await.len(), 41);
}
