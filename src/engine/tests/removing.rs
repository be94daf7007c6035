//! Removed jobs and their relatives.

use std::sync::Arc;
use std::time::Duration;

use super::{family, refusal};
use crate::engine::Engine;
use crate::engine::testing::{named, queue};
use crate::error::Reason;
use crate::options::KeepJobs;
use crate::script::settle::{Ask, End, Outcome, Why};
use crate::state::JobState;

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
async fn locked_jobs_and_pending_runs_stay() {
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
    // The more elements were removed, the longer a scan of the hash answers nothing before it reaches those that are
    // left.
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
    // 12,000 jobs, and six children: at both ends and far from them.
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

/// The id of a parent has colons if it is the run of a scheduler, and the prefix of its queue may have some too.
#[tokio::test]
async fn a_parent_whose_id_has_colons_is_let_go_with_its_last_child() {
    let first = queue().await;
    for id in ["abc", "repeat:tick:1795000000000", "a:b:c", "a:b:"] {
        for prefix in ["", ":longer"] {
            let prefix = format!("{}{prefix}", first.keys.prefix());
            let parents = named(&prefix, "parents").await;
            let children = named(&prefix, "children").await;
            for way in ["remove", "drain", "clean", "obliterate", "separate", "drop", "forget"] {
                parents.redis("DEL @wait").await;
                family(&parents, id, &children, &["c"]).await;
                match way {
                    "remove" => assert!(children.remove("c", false).await.unwrap()),
                    "drain" => assert_eq!(children.drain(false).await.unwrap(), 1),
                    "clean" => {
                        let cleaned = children.clean(JobState::Waiting, Duration::ZERO, 0).await.unwrap();
                        assert_eq!(cleaned, ["c"]);
                    }
                    "obliterate" => children.obliterate(true).await.unwrap(),
                    "separate" => assert!(children.remove_child_dependency("c", &parents.keys.job(id)).await.unwrap()),
                    _ => fail_and_drop(&children, "c", way == "forget").await,
                }
                assert_eq!(parents.says("LRANGE @wait 0 -1").await, id, "{way}, {prefix}");
                assert_eq!(parents.int("ZCARD @waiting-children").await, 0, "{way}, {prefix}");
                children.redis("DEL @wait @active @failed @c @later").await;
            }
        }
    }
}

/// A queue whose prefix begins with the prefix and the name of another one.
#[tokio::test]
async fn a_parent_under_a_longer_prefix_is_let_go_too() {
    let children = queue().await;
    let parents = named(&format!("{}:longer", children.keys.prefix()), "parents").await;
    parents.open_queue(None).await.unwrap();
    family(&parents, "abc", &children, &["c"]).await;
    assert!(children.remove("c", false).await.unwrap());
    assert_eq!(parents.says("LRANGE @wait 0 -1").await, "abc");
}

/// Lets a job fail for good: it is dropped at once, or by the rule of the next one.
async fn fail_and_drop(queue: &Engine, id: &str, by_rule: bool) {
    queue.redis("DEL @wait").await;
    let keep = if by_rule { KeepJobs::new().count(1) } else { true.into() };
    let ids: &[&str] = if by_rule { &[id, "later"] } else { &[id] };
    for (start, id) in (1..).zip(ids) {
        if start > 1 {
            queue.store(id, &[]).await;
        }
        queue.redis(&format!("SET @{id}:lock t")).await;
        queue.redis(&format!("LPUSH @active {id}")).await;
        let why = Why { reason: "x".to_owned(), stacktrace: "[]".to_owned(), trace: String::new() };
        let end = End::Failed { why, keep: Some(keep), attempts: 1 };
        let outcome = Outcome { id: (*id).into(), token: "t".into(), start, end };
        let settled = queue.settle(&mut Ask::default(), &[outcome], || Arc::from("u"), &|_, _| true).await.unwrap();
        assert_eq!(settled.settled.codes, [Ok(0)]);
    }
}
