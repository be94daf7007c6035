//! Operations that move jobs: pause and resume, promotions, delays, priorities and retries.

use std::time::Duration;

use redis::Value;

use super::{push, refusal};
use crate::engine::testing::{NOW, queue};
use crate::error::Reason;
use crate::state::JobState;

#[tokio::test]
async fn a_pause_leaves_the_jobs_where_they_are() {
    let queue = queue().await;
    push(&queue, "wait", &["1"]).await;
    queue.redis("ZADD @marker 0 0").await;
    queue.pause().await.unwrap();
    queue.pause().await.unwrap();
    assert!(queue.is_paused().await.unwrap());
    assert_eq!(queue.left().await, ["1", "events", "meta", "wait"]);
    assert_eq!(queue.events().await, ["event paused", "event paused"]);
    queue.resume().await.unwrap();
    assert!(!queue.is_paused().await.unwrap());
    assert_eq!(queue.says("ZRANGE @marker 0 -1 WITHSCORES").await, "0 0");
    assert_eq!(queue.events().await[2..], ["event resumed"]);
}

#[tokio::test]
async fn resume_puts_back_what_an_older_version_set_aside() {
    let queue = queue().await;
    let fill = "for i = 1, 7001 do redis.call('RPUSH', KEYS[1] .. 'paused', i) end \
                redis.call('RPUSH', KEYS[1] .. 'wait', 'a', 'b')";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    queue.pause().await.unwrap();
    // Half-way the queue is still paused, so that no worker sees only part of the order.
    queue.call(crate::script::resume()).await.unwrap();
    assert!(queue.is_paused().await.unwrap());
    queue.resume().await.unwrap();
    assert_eq!(queue.int("HEXISTS @meta paused").await, 0);
    let Value::Array(ids) = queue.redis("LRANGE @wait 0 -1").await else { panic!() };
    let ids: Vec<String> = ids.into_iter().map(|id| crate::script::reply::string(id).unwrap()).collect();
    let expected: Vec<String> = ["a".into(), "b".into()].into_iter().chain((1..=7001).map(|n| n.to_string())).collect();
    assert_eq!(ids, expected);
    assert_eq!(queue.events().await, ["event paused", "event resumed"]);
    assert_eq!(queue.left().await, ["events", "marker", "wait"]);
}

#[tokio::test]
async fn a_delayed_job_is_promoted_by_its_priority() {
    let queue = queue().await;
    queue.store("1", &[("delay", "500")]).await;
    queue.store("2", &[("delay", "500"), ("priority", "3")]).await;
    queue.redis("ZADD @delayed 1 1 2 2").await;
    queue.promote("1").await.unwrap();
    queue.promote("2").await.unwrap();
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "1");
    assert_eq!(queue.says("ZRANGE @prioritized 0 -1 WITHSCORES").await, "2 12884901889");
    assert_eq!(queue.says("HGET @1 delay").await, "0");
    assert_eq!(queue.events().await, ["event waiting jobId 1 prev delayed", "event waiting jobId 2 prev delayed"]);
    assert_eq!(refusal(queue.promote("1").await), Reason::NotInState);
    assert_eq!(refusal(queue.promote("none").await), Reason::NotInState);
}

#[tokio::test]
async fn a_delay_counts_from_now() {
    let queue = queue().await;
    queue.store("1", &[]).await;
    assert_eq!(refusal(queue.change_delay("1", Duration::from_millis(5)).await), Reason::NotInState);
    assert_eq!(refusal(queue.change_delay("2", Duration::from_millis(5)).await), Reason::MissingJob);
    let score = (NOW + 5) * 4096;
    queue.redis(&format!("ZADD @delayed 7 1 {score} other")).await;
    queue.change_delay("1", Duration::from_millis(5)).await.unwrap();
    // Its place is behind the job that is due in the same millisecond.
    let after = format!("{} {}", score + 1, score + 1);
    assert_eq!(queue.says(&format!("ZRANGEBYSCORE @delayed {after}")).await, "1");
    assert_eq!(queue.says("HGET @1 delay").await, "5");
    assert_eq!(queue.events().await, [format!("event delayed jobId 1 delay {}", NOW + 5)]);
    assert_eq!(queue.says("ZRANGE @marker 0 -1 WITHSCORES").await, format!("1 {}", NOW + 5));
}

#[tokio::test]
async fn a_priority_moves_what_waits() {
    let queue = queue().await;
    push(&queue, "wait", &["1", "2"]).await;
    queue.store("done", &[]).await;
    queue.change_priority("1", 5, false).await.unwrap();
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "2");
    assert_eq!(queue.says("ZRANGE @prioritized 0 -1 WITHSCORES").await, "1 21474836481");
    queue.change_priority("2", 5, true).await.unwrap();
    assert_eq!(queue.says("ZRANGE @prioritized 0 -1").await, "2 1");
    assert_eq!(queue.says("ZSCORE @prioritized 2").await, "21474836480");
    queue.change_priority("1", 0, false).await.unwrap();
    queue.change_priority("2", 0, true).await.unwrap();
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "1 2");
    queue.change_priority("done", 9, false).await.unwrap();
    assert_eq!(queue.says("HGET @done priority").await, "9");
    assert_eq!(refusal(queue.change_priority("none", 1, false).await), Reason::MissingJob);
    assert!(queue.change_priority("1", 2_097_152, false).await.is_err());
}

#[tokio::test]
async fn a_retry_goes_by_priority_and_order() {
    let queue = queue().await;
    let finished = [("finishedOn", "2"), ("processedOn", "1"), ("failedReason", "no"), ("atm", "3"), ("ats", "4")];
    for (id, more) in [("1", ("priority", "2")), ("2", ("opts", r#"{"lifo":true}"#)), ("3", ("stc", "1"))] {
        queue.store(id, &finished).await;
        queue.store(id, &[more]).await;
        queue.redis(&format!("ZADD @failed {id} {id}")).await;
    }
    push(&queue, "wait", &["old"]).await;
    queue.retry_job("1", JobState::Failed, false, false).await.unwrap();
    queue.retry_job("2", JobState::Failed, true, false).await.unwrap();
    queue.retry_job("3", JobState::Failed, true, true).await.unwrap();
    assert_eq!(queue.says("ZRANGE @prioritized 0 -1 WITHSCORES").await, "1 8589934593");
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "3 old 2");
    assert_eq!(queue.says("HMGET @1 finishedOn processedOn failedReason atm ats").await, "nil nil nil 3 4");
    assert_eq!(queue.says("HMGET @2 atm ats").await, "nil 4");
    assert_eq!(queue.says("HMGET @3 atm ats stc").await, "nil nil 1");
    assert_eq!(queue.events().await[0], "event waiting jobId 1 prev failed");
    assert_eq!(refusal(queue.retry_job("1", JobState::Failed, false, false).await), Reason::NotInState);
    assert_eq!(refusal(queue.retry_job("x", JobState::Failed, false, false).await), Reason::MissingJob);
    assert!(queue.retry_job("1", JobState::Active, false, false).await.is_err());
}

#[tokio::test]
async fn a_retried_child_is_pending_again() {
    let queue = queue().await;
    let parent = queue.keys.job("p");
    queue.store("p", &[]).await;
    for (id, state, record) in [
        ("1", "failed", "ZADD @p:unsuccessful 1"),
        ("2", "failed", "HSET @p:failed"),
        ("3", "completed", "HSET @p:processed"),
    ] {
        queue.store(id, &[("parentKey", &parent)]).await;
        queue.redis(&format!("ZADD @{state} 1 {id}")).await;
        let tail = if record.starts_with('Z') { "" } else { " x" };
        queue.redis(&format!("{record} @{id}{tail}")).await;
    }
    queue.retry_job("1", JobState::Failed, false, false).await.unwrap();
    assert_eq!(queue.retry_jobs(JobState::Failed, None, false).await.unwrap(), 1);
    assert_eq!(queue.retry_jobs(JobState::Completed, None, false).await.unwrap(), 1);
    let mut pending = queue.get_unprocessed_children("p").await.unwrap();
    pending.sort();
    assert_eq!(pending, ["1", "2", "3"].map(|id| queue.keys.job(id)));
    assert_eq!(queue.int("EXISTS @p:unsuccessful @p:failed @p:processed").await, 0);
}

#[tokio::test]
async fn many_jobs_are_retried_in_steps_and_in_order() {
    let queue = queue().await;
    let fill = "for i = 1, 2500 do redis.call('ZADD', KEYS[1] .. 'failed', i, i) \
                redis.call('HSET', KEYS[1] .. i, 'name', 'n', 'data', '{}', 'failedReason', 'x', 'priority', '4') end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    queue.redis("ZADD @failed 7.5 ghost").await;
    assert_eq!(queue.retry_jobs(JobState::Failed, Some(2_400), false).await.unwrap(), 2_400);
    assert_eq!((queue.int("ZCARD @failed").await, queue.int("LLEN @wait").await), (100, 2_400));
    assert_eq!(queue.says("LRANGE @wait -2 -1").await, "2 1");
    assert_eq!(queue.says("HMGET @7 failedReason priority").await, "nil 4");
    assert_eq!(queue.int("XLEN @events").await, 2_400);
    assert_eq!(queue.says("ZRANGE @marker 0 -1").await, "0");
}

#[tokio::test]
async fn all_delayed_jobs_are_promoted() {
    let queue = queue().await;
    for id in ["1", "2", "3"] {
        queue.store(id, &[("delay", "9")]).await;
        queue.redis(&format!("ZADD @delayed {}{id} {id}", NOW * 4096)).await;
    }
    assert_eq!(queue.promote_jobs(false).await.unwrap(), 3);
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "3 2 1");
    assert_eq!(queue.events().await[0], "event waiting jobId 1 prev delayed");
}

#[tokio::test]
async fn jobs_that_go_back_by_priority_stand_where_it_puts_them() {
    let queue = queue().await;
    for state in ["delayed", "failed", "completed"] {
        queue.redis("DEL @wait @prioritized @marker @pc").await;
        queue.redis("ZADD @prioritized 8589934592 before").await;
        for (id, priority) in [("a", "3"), ("b", "0"), ("c", "1"), ("d", "3"), ("e", "nan")] {
            queue.store(id, &[("priority", priority)]).await;
            queue.redis(&format!("ZADD @{state} {} {id}", id.as_bytes()[0])).await;
        }
        queue.redis(&format!("ZADD @{state} 98.5 ghost")).await;
        let moved = match state {
            "delayed" => queue.promote_jobs(true).await,
            "failed" => queue.retry_jobs(JobState::Failed, None, true).await,
            _ => queue.retry_jobs(JobState::Completed, None, true).await,
        };
        assert_eq!(moved.unwrap(), 5, "{state}");
        assert_eq!(queue.says("LRANGE @wait 0 -1").await, "e b", "{state}");
        assert_eq!(queue.says("ZRANGE @prioritized 0 -1").await, "c before a d", "{state}");
        assert_eq!(queue.int(&format!("EXISTS @{state}")).await, 0);
        assert_eq!(queue.says("ZRANGE @marker 0 -1").await, "0", "{state}");
    }
    // They wait, and the next worker takes them in that order.
    assert_eq!(queue.says("HGET @a priority").await, "3");
}
