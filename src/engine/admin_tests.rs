//! What the administrative operations leave in Redis, against a real server.

use std::time::Duration;

use redis::Value;

use super::testing::{NOW, named, queue};
use super::*;
use crate::state::JobState;

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Reason {
    result.unwrap_err().reason().unwrap()
}

/// A list with these ids from left to right.
async fn push(queue: &Engine, list: &str, ids: &[&str]) {
    for id in ids {
        queue.store(id, &[]).await;
        queue.redis(&format!("RPUSH @{list} {id}")).await;
    }
}

/// A parent that waits for children, with the children in `wait` of their queue.
async fn family(parents: &Engine, parent: &str, children: &Engine, ids: &[&str]) {
    let key = parents.keys.job(parent);
    parents.store(parent, &[]).await;
    parents.redis(&format!("ZADD @waiting-children 1 {parent}")).await;
    for id in ids {
        children.store(id, &[("parentKey", &key)]).await;
        children.redis(&format!("RPUSH @wait {id}")).await;
        children.redis(&format!("SADD {key}:dependencies @{id}")).await;
    }
}

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
    // Half-way the queue is still paused, so that nobody sees the order of one part only.
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
    // Behind the one that is due in the same millisecond.
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
    // They wait, and whoever fetches next takes them in that order.
    assert_eq!(queue.says("HGET @a priority").await, "3");
}

#[tokio::test]
async fn a_removed_job_leaves_nothing() {
    let queue = queue().await;
    for (id, place) in
        [("1", "RPUSH @wait 1"), ("2", "ZADD @delayed 1 2"), ("3", "RPUSH @paused 3"), ("4", "RPUSH @active 4")]
    {
        queue.store(id, &[("deid", id)]).await;
        queue.redis(place).await;
        queue.redis(&format!("SET @de:{id} {id}")).await;
        queue.redis(&format!("HSET @dn:{id} name x")).await;
        queue.redis(&format!("RPUSH @{id}:logs x")).await;
        assert!(queue.remove(id, true).await.unwrap());
    }
    assert_eq!(queue.left().await, ["events", "meta"]);
    assert_eq!(queue.says("HGETALL @meta").await, "opts.maxLenEvents 10000");
    let prev = ["wait", "delayed", "paused", "active"];
    let expected = (1..).zip(prev).map(|(id, prev)| format!("event removed jobId {id} prev {prev}"));
    assert_eq!(queue.events().await, expected.collect::<Vec<_>>());
    assert!(queue.remove("none", true).await.unwrap());
    assert_eq!(queue.int("XLEN @events").await, 4);
}

#[tokio::test]
async fn locked_jobs_and_pending_iterations_stay() {
    let queue = queue().await;
    family(&queue, "p", &queue, &["c"]).await;
    family(&queue, "c", &queue, &["g"]).await;
    queue.redis("SET @g:lock t").await;
    queue.store("repeat:s:5", &[("rjk", "s")]).await;
    queue.redis("ZADD @repeat 5 s").await;
    queue.redis("ZADD @delayed 1 repeat:s:5").await;
    let before = queue.dump().await;
    assert!(!queue.remove("p", true).await.unwrap());
    assert_eq!(refusal(queue.remove("repeat:s:5", true).await), Reason::BelongsToScheduler);
    assert_eq!(queue.dump().await, before);
    assert!(queue.remove("p", false).await.unwrap());
    assert_eq!(queue.int("EXISTS @p @p:dependencies").await, 0);
    queue.redis("ZADD @repeat 6 s").await;
    assert!(queue.remove("repeat:s:5", true).await.unwrap());
}

#[tokio::test]
async fn a_removed_tree_lets_its_parent_go() {
    let parents = queue().await;
    let children = named(parents.keys.prefix(), "children").await;
    family(&parents, "root", &parents, &["p"]).await;
    family(&parents, "p", &children, &["a", "b"]).await;
    parents.redis("LREM @wait 1 p").await;
    children.store("done", &[]).await;
    children.redis("ZADD @completed 1 done").await;
    parents.redis(&format!("HSET @p:processed {} 1", children.keys.job("done"))).await;
    assert!(parents.remove("p", true).await.unwrap());
    assert_eq!(children.left().await, ["events", "meta"]);
    assert_eq!(parents.says("LRANGE @wait 0 -1").await, "root");
    assert_eq!(parents.left().await, ["events", "marker", "meta", "root", "wait"]);
    assert_eq!(
        parents.events().await,
        [
            "event waiting jobId root prev waiting-children",
            "event waiting jobId p prev waiting-children",
            "event removed jobId p prev wait",
        ]
    );
    assert_eq!(children.events().await[0], "event removed jobId done prev completed");
}

#[tokio::test]
async fn a_large_family_is_removed_in_steps() {
    let queue = queue().await;
    let fill = "local b = KEYS[1] redis.call('HSET', b .. 'p', 'name', 'n', 'data', '{}') \
                redis.call('ZADD', b .. 'waiting-children', 1, 'p') \
                for i = 1, 2500 do \
                redis.call('HSET', b .. i, 'name', 'n', 'data', '{}', 'parentKey', b .. 'p') \
                if i > 1200 then redis.call('SADD', b .. 'p:dependencies', b .. i) redis.call('LPUSH', b .. 'wait', i) \
                else redis.call('HSET', b .. 'p:processed', b .. i, '1') redis.call('ZADD', b .. 'completed', i, i) end end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    assert!(queue.remove("p", true).await.unwrap());
    assert_eq!(queue.left().await, ["events", "marker", "meta"]);
    assert_eq!(queue.events().await.last().unwrap(), "event removed jobId p prev wait");
}

#[tokio::test]
async fn a_parent_goes_with_all_of_its_finished_children_however_many() {
    // The more are gone, the longer a scan of the hash answers nothing before it comes to those that are left.
    for n in [3_000, 10_000] {
        let queue = queue().await;
        let fill = format!(
            "local b = KEYS[1] redis.call('HSET', b .. 'p', 'name', 'n', 'data', '{{}}') \
             redis.call('ZADD', b .. 'completed', 1, 'p') for i = 1, {n} do \
             redis.call('HSET', b .. i, 'name', 'n', 'data', '{{}}', 'parentKey', b .. 'p') \
             redis.call('HSET', b .. 'p:processed', b .. i, '1') redis.call('ZADD', b .. 'completed', i, i) end"
        );
        queue.redis_words(&["EVAL", &fill, "1", queue.keys.base()]).await;
        assert!(queue.remove("p", true).await.unwrap());
        assert_eq!(queue.left().await, ["events", "meta"]);
    }
}

#[tokio::test]
async fn a_family_leaves_a_long_list_in_order() {
    let queue = queue().await;
    // 12,000 jobs, and six children at both ends and far from them.
    let fill = "for i = 1, 12000 do redis.call('RPUSH', KEYS[1] .. 'wait', i) end \
                redis.call('HSET', KEYS[1] .. 'p', 'name', 'n', 'data', '{}') \
                redis.call('ZADD', KEYS[1] .. 'waiting-children', 1, 'p') \
                for i, near in ipairs({ 1, 2, 3500, 6000, 8500, 12000 }) do \
                  local id = 'c' .. i \
                  redis.call('LINSERT', KEYS[1] .. 'wait', 'BEFORE', near, id) \
                  redis.call('HSET', KEYS[1] .. id, 'name', 'n', 'data', '{}', 'parentKey', KEYS[1] .. 'p') \
                  redis.call('SADD', KEYS[1] .. 'p:dependencies', KEYS[1] .. id) \
                end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    assert!(queue.remove("p", true).await.unwrap());
    let all: Vec<String> = (1..=12_000).map(|id| id.to_string()).collect();
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, all.join(" "));
    assert_eq!(queue.left().await, ["events", "marker", "meta", "wait"]);
    let mut events = queue.events().await;
    events.sort();
    let removed = |id: &str, prev: &str| format!("event removed jobId {id} prev {prev}");
    let children = (1..=6).map(|n| removed(&format!("c{n}"), "wait"));
    let rest: Vec<String> = events.iter().filter(|event| event.contains("jobId c")).cloned().collect();
    assert_eq!(rest, children.collect::<Vec<_>>());
}

#[tokio::test]
async fn only_children_that_wait_are_removed() {
    let queue = queue().await;
    family(&queue, "p", &queue, &["w", "run", "no", "sub"]).await;
    family(&queue, "sub", &queue, &["g"]).await;
    queue.redis("LREM @wait 1 sub").await;
    queue.redis("SET @run:lock t").await;
    queue.redis("LREM @wait 1 no").await;
    queue.redis("ZADD @failed 1 no").await;
    queue.remove_unprocessed_children("p").await.unwrap();
    let mut pending = queue.get_unprocessed_children("p").await.unwrap();
    pending.sort();
    assert_eq!(pending, ["no", "run"].map(|id| queue.keys.job(id)));
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "run");
    assert_eq!(queue.int("EXISTS @w @sub @g").await, 0);
    queue.redis("SREM @p:dependencies @no @run").await;
    family(&queue, "p", &queue, &["last"]).await;
    queue.remove_unprocessed_children("p").await.unwrap();
    assert_eq!(queue.get_state("p").await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn a_child_is_taken_away_from_its_parent() {
    let queue = queue().await;
    family(&queue, "p", &queue, &["c"]).await;
    let parent = queue.keys.job("p");
    assert_eq!(refusal(queue.remove_child_dependency("x", &parent).await), Reason::MissingJob);
    assert_eq!(refusal(queue.remove_child_dependency("c", "t:q:x").await), Reason::MissingParent);
    assert!(queue.remove_child_dependency("c", &parent).await.unwrap());
    assert!(!queue.remove_child_dependency("c", &parent).await.unwrap());
    assert_eq!(queue.int("HEXISTS @c parentKey").await, 0);
    assert_eq!(queue.says("LRANGE @wait 0 -1").await, "c p");
}

#[tokio::test]
async fn a_drain_spares_pending_iterations_and_nothing_else() {
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
async fn a_clean_spares_running_jobs_and_pending_iterations() {
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

/// Every operation that may write, on the queue of `a_key_of_a_wrong_type_leaves_everything_as_it_was`.
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
            // Of a type that none of the keys has.
            queue.redis(&format!("SETBIT {wrong} 7 1")).await;
            if matches!(wrong, "@pc" | "@de:d") {
                queue.redis(&format!("DEL {wrong}")).await;
                queue.redis(&format!("RPUSH {wrong} x")).await;
            }
            let before = queue.dump().await;
            // An operation that does not need the key may work; one that fails has written nothing.
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

#[tokio::test]
async fn a_counter_that_lags_is_overtaken_in_a_few_steps() {
    let queue = queue().await;
    let fill = "for i = 1, 50000 do redis.call('HSET', KEYS[1] .. i, 'name', 'n', 'data', '{}') end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    let job = ["w", "", "n", "{}", "{}", "1", "0", "0"];
    let call = Call::to(&crate::script::add_jobs::SCRIPT).texts([job, job, job].concat());
    queue.redis("CONFIG RESETSTAT").await;
    queue.call(call).await.unwrap();
    // Each number that is taken costs a step; without jumps there would be 50,000 of them.
    let stats = queue.says("INFO commandstats").await;
    let calls = stats.split("cmdstat_incrby:calls=").nth(1).unwrap().split(',').next().unwrap().parse::<u32>().unwrap();
    assert!(calls < 1_000, "{calls} steps");
    let waiting = queue.says("LRANGE @wait 0 -1").await;
    let ids: std::collections::BTreeSet<u64> = waiting.split(' ').map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| (50_001..200_000).contains(id)), "{ids:?}");
}
