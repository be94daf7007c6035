//! What the doctor tells of parents that can never run, and of a server on which it finds no queue.

use oxmq::{FlowNode, JobState, NewJob};

use super::doctor::spoil;
use super::*;

/// Returns what `oxmq doctor q` reports with these further words.
async fn report(on: &Fixture, words: &str) -> Value {
    let ran = oxmq(on, &format!("doctor q --pause 1ms --keys 0 --json {words}")).await;
    assert!(matches!(ran.code, 0 | 6), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// Returns the findings about the queue, by kind.
async fn kinds(on: &Fixture) -> Vec<String> {
    let report = report(on, "").await;
    let found = report["findings"].as_array().unwrap().iter().filter(|finding| !finding["queue"].is_null());
    found.map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// Returns the finding about parents, which must be there.
async fn stuck(on: &Fixture) -> Value {
    let report = report(on, "").await;
    let mut found = report["findings"].as_array().unwrap().iter();
    found.find(|finding| finding["kind"] == "stuck-parents").unwrap_or_else(|| panic!("{report}")).clone()
}

/// Tries to mend what is found, and returns how many parents were released.
async fn mended(on: &Fixture) -> Value {
    report(on, "--fix --yes").await["mended"][0]["mended"].clone()
}

const NONE: [String; 0] = [];

/// Adds a parent with this many children to `q`.
async fn flow(on: &Fixture, children: usize) {
    let child = |n: usize| FlowNode::new("q", "child", json!({ "n": n })).job_id(format!("c{n}"));
    let parent = FlowNode::new("q", "parent", json!({})).job_id("p").children((0..children).map(child));
    on.client.flow_producer().add(parent).await.unwrap();
}

/// Lets the children with these numbers fail, and the others complete.
async fn end_all(on: &Fixture, children: usize, fails: impl Fn(u64) -> bool + Clone + Send + Sync + 'static) {
    let work = move |job: Job<Value, ()>| {
        let fails = job.data()["n"].as_u64().is_some_and(&fails);
        async move { if fails { Err("no") } else { Ok(()) } }
    };
    let worker = on.worker(work).concurrency(50).start().unwrap();
    eventually("all children have ended", || async {
        let counts = on.queue.get_job_counts(&[]).await.unwrap();
        counts.completed + counts.failed == children as u64
    })
    .await;
    worker.close().await;
}

#[tokio::test]
async fn a_parent_of_a_failed_child_without_a_policy_is_reported_and_not_released() {
    let on = Fixture::new().await;
    flow(&on, 2).await;
    assert_eq!(kinds(&on).await, NONE, "its children wait for a worker");
    end_all(&on, 2, |n| n == 1).await;
    let finding = stuck(&on).await;
    assert_eq!((&finding["count"], &finding["examples"]), (&json!(1), &json!(["p"])));
    assert!(finding["detail"].as_str().unwrap().contains("1 with a failed child"), "{finding}");
    assert_eq!(mended(&on).await, 0);
    let ran = oxmq(&on, "doctor q --pause 1ms --keys 0 --fix --yes").await;
    assert!(ran.out.contains("stuck-parents, 0 of 1: ") && ran.out.contains("retry or remove"), "{ran:?}");
    assert!(on.queue.job("c1").retry(JobState::Failed, Default::default()).await.is_ok());
    assert_eq!(kinds(&on).await, NONE);
}

#[tokio::test]
async fn one_child_that_is_gone_or_has_failed_is_reported_while_others_wait() {
    let on = Fixture::new().await;
    flow(&on, 3).await;
    spoil(&on, &["DEL @c0", "LREM @wait 0 c0"]).await;
    let finding = stuck(&on).await;
    assert!(finding["detail"].as_str().unwrap().contains("1 with a child that is gone"), "{finding}");
    assert_eq!(mended(&on).await, 0, "two children may still run");
    let told = oxmq(&on, "flow q p").await.ok();
    assert!(told.contains("c0, which does not exist any more") && told.contains("nothing will release it"), "{told}");
    spoil(&on, &["SREM @p:dependencies @c0"]).await;
    assert_eq!(kinds(&on).await, NONE);
    spoil(&on, &["LREM @wait 0 c1", "ZADD @failed 5 c1", "HSET @c1 failedReason no finishedOn 5"]).await;
    let finding = stuck(&on).await;
    assert!(finding["detail"].as_str().unwrap().contains("1 with a failed child"), "{finding}");
}

#[tokio::test]
async fn one_failed_child_among_very_many_is_found() {
    const CHILDREN: usize = 900;
    let on = Fixture::new().await;
    flow(&on, CHILDREN).await;
    assert_eq!(kinds(&on).await, NONE);
    // The others wait: a sample of a few hundred would most often miss it.
    spoil(&on, &["LREM @wait 0 c7", "ZADD @failed 5 c7", "HSET @c7 failedReason no finishedOn 5"]).await;
    assert_eq!(kinds(&on).await, ["stuck-parents"]);
    spoil(&on, &["ZREM @failed c7", "LPUSH @wait c7"]).await;
    let told = report(&on, "--places 100").await["leftOut"].to_string();
    assert!(told.contains("q: some children of 1 parent were not looked up"), "{told}");
    end_all(&on, CHILDREN, |_| true).await;
    assert_eq!(kinds(&on).await, ["stuck-parents"]);
}

/// Of very many missing children a call takes a thousand.
#[tokio::test]
async fn a_parent_of_thousands_of_missing_children_is_released() {
    let on = Fixture::new().await;
    let orphan = async |exists: bool| {
        let text = "redis.call('DEL', KEYS[1] .. 'wait')
                    redis.call('HSET', KEYS[1] .. 'p', 'name', 'p', 'data', '{}', 'opts', '{}', 'timestamp', '1')
                    redis.call('ZADD', KEYS[1] .. 'waiting-children', 1, 'p')
                    for n = 1, 2500 do redis.call('SADD', KEYS[1] .. 'p:dependencies', KEYS[1] .. 'gone-' .. n) end
                    if ARGV[1] == '1' then redis.call('SADD', KEYS[1] .. 'p:dependencies', KEYS[1] .. 'meta') end";
        let mut eval = redis::cmd("EVAL");
        eval.arg(text).arg(1).arg(on.key("")).arg(u8::from(exists));
        eval.exec_async(&mut on.redis.clone()).await.unwrap();
    };
    orphan(false).await;
    assert_eq!(mended(&on).await, 1);
    assert_eq!(on.queue.job("p").get_state().await.unwrap(), JobState::Waiting);
    assert!(!kinds(&on).await.contains(&"stuck-parents".to_owned()));
    // One that exists, here any key, holds it back.
    orphan(true).await;
    assert_eq!(mended(&on).await, 0);
    assert_eq!(on.queue.job("p").get_state().await.unwrap(), JobState::WaitingChildren);
    // One that nothing holds back any more.
    orphan(false).await;
    spoil(&on, &["DEL @p:dependencies"]).await;
    assert_eq!(mended(&on).await, 1);
    assert_eq!(on.queue.job("p").get_state().await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn a_parent_of_parents_is_reported_for_what_is_lost_below() {
    let on = Fixture::new().await;
    let leaf = FlowNode::new("q", "leaf", json!({})).job_id("leaf");
    let middle = FlowNode::new("q", "middle", json!({})).job_id("middle").child(leaf);
    let sibling = FlowNode::new("q", "sibling", json!({})).job_id("sibling");
    let top = FlowNode::new("q", "top", json!({})).job_id("top").child(middle).child(sibling);
    on.client.flow_producer().add(top).await.unwrap();
    assert_eq!(kinds(&on).await, NONE);
    spoil(&on, &["DEL @leaf", "LREM @wait 0 leaf"]).await;
    assert_eq!(stuck(&on).await["count"], 2);
}

/// A cron job that watches the exit code must not take a misspelt prefix for health.
#[tokio::test]
async fn a_doctor_without_a_queue_does_not_say_that_nothing_is_wrong() {
    let server = crate::common::server::RedisServer::start_with(&["--slowlog-log-slower-than", "-1"]);
    let on = Fixture::on(&server).await;
    on.queue.add_bulk([NewJob::new("job", json!({}))]).await.unwrap();
    assert_eq!(oxmq_at(&server.url(), &on, "doctor --pause 1ms").await.code, 0);
    let typo = ["--prefix", "typo", "doctor", "--pause", "1ms"];
    let at = async |words: &[&str]| {
        let mut command = command();
        command.args(["--url", &server.url()]).args(words);
        tokio::task::spawn_blocking(move || ran(&mut command, "")).await.unwrap()
    };
    let ran = at(&typo).await;
    assert!(ran.code == 3 && ran.err.contains("no queue under the prefix 'typo'"), "{ran:?}");
    assert!(!ran.out.contains("nothing is wrong"), "{ran:?}");
    let ran = at(&[&typo[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.code == 3 && report["findings"] == json!([]), "{ran:?}");
    // What is wrong with the server is told all the same.
    let mut redis = server.connection().await;
    let set = redis::cmd("CONFIG").arg(&["SET", "maxmemory-policy", "allkeys-lru"]).exec_async(&mut redis).await;
    set.unwrap();
    let ran = at(&typo).await;
    assert!(ran.code == 3 && ran.out.contains("eviction"), "{ran:?}");
}

/// Each lost job is searched for in the whole list of those that wait: in a long one not very many are.
#[tokio::test]
async fn very_many_lost_jobs_of_a_long_list_are_found_in_part() {
    let server = crate::common::server::RedisServer::start();
    let on = Fixture::on(&server).await;
    let fill = "for n = 1, 200000 do redis.call('RPUSH', KEYS[1] .. 'wait', 'waits-' .. n) end
                for n = 1, 2500 do redis.call('HSET', KEYS[1] .. 'lost-' .. n, 'name', 'job', 'data', '{}', 'timestamp', '1') end";
    redis::cmd("EVAL").arg(fill).arg(1).arg(on.key("")).exec_async(&mut on.redis.clone()).await.unwrap();
    let ran = oxmq_at(&server.url(), &on, "doctor q --json --pause 1ms --places 10").await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let lost = findings.iter().find(|finding| finding["kind"] == "lost-jobs").unwrap();
    let found = lost["count"].as_u64().unwrap();
    assert!((1_000..2_500).contains(&found), "{found}");
    assert!(report["leftOut"].to_string().contains("further jobs in no list"), "{}", report["leftOut"]);
}
