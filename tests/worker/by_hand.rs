//! One table of rules; a worker that runs by itself and a manual worker must both obey each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures::stream::{self, StreamExt};
use oxmq::error::Reason;
use oxmq::options::Retry;
use oxmq::worker::{ManualWorkerBuilder, WorkerBuilder};
use oxmq::{Halt, Job, JobState, ManualWorker};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, PATIENCE};
use crate::common::server::RedisServer;

/// The type of data of all rules; a rule may store other data.
type Numbers = BTreeMap<String, i64>;
type Handler = fn(u32) -> Result<Value, Halt>;
type ByHand = ManualWorkerBuilder<Numbers, Value>;
type Options = (fn(WorkerBuilder) -> WorkerBuilder, fn(ByHand) -> ByHand);

/// Calls the same setters on both builders.
macro_rules! on_both {
    (|$worker:ident| $set:expr) => {
        (|$worker| $set, |$worker| $set)
    };
}

struct Rule {
    what: &'static str,
    /// The `opts` of the job, and commands for its key `@` before it is fetched.
    opts: &'static str,
    before: &'static [&'static str],
    options: Options,
    /// The result of the processor in its first, second … run.
    handler: Handler,
    /// How often it runs, the state that the job ends in, and some fields of its hash; empty for none.
    runs: u32,
    state: &'static str,
    fields: &'static [(&'static str, &'static str)],
}

const OK: Handler = |_| Ok(json!(1));
const FAILS: Handler = |run| Err(Halt::failed(format!("no {run}")));

fn first(run: u32, halt: Halt) -> Result<Value, Halt> {
    if run == 1 { Err(halt) } else { Ok(json!(run)) }
}

fn rules() -> Vec<Rule> {
    let rule = |what, opts, before, handler, runs, state, fields| Rule {
        what,
        opts,
        before,
        options: on_both!(|worker| worker),
        handler,
        runs,
        state,
        fields,
    };
    let with = |options, rule: Rule| Rule { options, ..rule };
    vec![
        rule("a result completes", "{}", &[], OK, 1, "completed", &[("returnvalue", "1"), ("atm", "1"), ("ats", "1")]),
        rule("the only attempt is final", "{}", &[], FAILS, 1, "failed", &[("failedReason", "no 1"), ("atm", "1")]),
        rule(
            "attempts are spent",
            r#"{"attempts":3}"#,
            &[],
            FAILS,
            3,
            "failed",
            &[("failedReason", "no 3"), ("atm", "3")],
        ),
        rule(
            "a backoff is waited for",
            r#"{"attempts":2,"backoff":{"type":"fixed","delay":5}}"#,
            &[],
            FAILS,
            2,
            "failed",
            &[("atm", "2"), ("delay", "0")],
        ),
        rule(
            "stack traces are capped",
            r#"{"attempts":3,"stackTraceLimit":1}"#,
            &[],
            FAILS,
            3,
            "failed",
            &[("stacktrace", r#"["Error: no 3"]"#)],
        ),
        rule(
            "an unrecoverable failure is final",
            r#"{"attempts":3}"#,
            &[],
            |_| Err(Halt::unrecoverable("never")),
            1,
            "failed",
            &[("failedReason", "never"), ("atm", "1")],
        ),
        rule(
            "waiting costs no attempt",
            "{}",
            &[],
            |run| first(run, Halt::Waiting),
            2,
            "completed",
            &[("atm", "1"), ("ats", "2")],
        ),
        rule(
            "a delay costs no attempt",
            "{}",
            &[],
            |run| first(run, Halt::Delayed(Duration::from_millis(5))),
            2,
            "completed",
            &[("atm", "1"), ("ats", "2")],
        ),
        rule(
            "without children there is nothing to wait for",
            "{}",
            &[],
            |run| first(run, Halt::WaitingChildren),
            2,
            "completed",
            &[("atm", "1"), ("ats", "2")],
        ),
        with(
            on_both!(|worker| worker.limiter(100, Duration::from_secs(1))),
            rule(
                "a limit is waited for",
                "{}",
                &[],
                |run| first(run, Halt::RateLimited(Duration::from_millis(50))),
                2,
                "completed",
                &[("atm", "1"), ("ats", "2")],
            ),
        ),
        with(
            on_both!(|worker| worker.max_started_attempts(2)),
            rule("few starts are allowed", r#"{"attempts":9}"#, &[], FAILS, 2, "failed", &[("atm", "2"), ("ats", "2")]),
        ),
        with(
            on_both!(|worker| worker.max_started_attempts(2)),
            rule(
                "it was started too often",
                r#"{"attempts":9}"#,
                &["HSET @ ats 2"],
                OK,
                0,
                "failed",
                &[("failedReason", "job started more than allowable limit"), ("ats", "3"), ("atm", "1")],
            ),
        ),
        rule(
            "a deferred failure is final",
            r#"{"attempts":9}"#,
            &["HSET @ defa why"],
            OK,
            0,
            "failed",
            &[("failedReason", "why"), ("defa", ""), ("atm", "1"), ("ats", "1")],
        ),
        with(
            on_both!(|worker| worker.max_stalled_count(0)),
            rule(
                "a job stalls too often",
                r#"{"attempts":9}"#,
                &["DEL %wait", "LPUSH %active j", "SADD %stalled j", "HSET @ ats 1"],
                OK,
                0,
                "failed",
                &[("failedReason", "job stalled more than allowable limit"), ("defa", ""), ("stc", "1")],
            ),
        ),
        rule("data is no JSON", r#"{"attempts":9}"#, &[r#"HSET @ data {"x":NaN}"#], OK, 0, "failed", &[("atm", "1")]),
        rule(
            "data has half a character",
            r#"{"attempts":9}"#,
            &[r#"HSET @ data {"x":"\ud800"}"#],
            OK,
            0,
            "failed",
            // It is a text, where a number is wanted, so it may be of a type that another worker knows.
            &[("atm", "9")],
        ),
        rule("options cannot be read", r#"{"attempts":{}}"#, &[], OK, 0, "failed", &[("atm", "1"), ("ats", "1")]),
        rule(
            "a parent link cannot be read",
            r#"{"attempts":9}"#,
            &["HSET @ parent [1]"],
            OK,
            0,
            "failed",
            &[("atm", "1"), ("ats", "1")],
        ),
        rule(
            "data of another type is tried again",
            r#"{"attempts":3}"#,
            &[r#"HSET @ data "text""#],
            OK,
            0,
            "failed",
            &[("atm", "3"), ("ats", "3")],
        ),
        with(
            on_both!(|worker| worker.retry_mistyped_data(false)),
            rule(
                "data of another type is final where that is said",
                r#"{"attempts":3}"#,
                &[r#"HSET @ data "text""#],
                OK,
                0,
                "failed",
                &[("atm", "1"), ("ats", "1")],
            ),
        ),
        rule(
            "a backoff that nobody knows is its delay",
            r#"{"attempts":2,"backoff":{"type":"mine","delay":5}}"#,
            &[],
            FAILS,
            2,
            "failed",
            &[("atm", "2"), ("delay", "0")],
        ),
        with(
            on_both!(|worker| worker.backoff_strategy(|_| Retry::Never)),
            rule(
                "a strategy may end the attempts",
                r#"{"attempts":9,"backoff":{"type":"mine"}}"#,
                &[],
                FAILS,
                1,
                "failed",
                &[("atm", "1")],
            ),
        ),
        rule(
            "a failed child is final",
            r#"{"attempts":3}"#,
            &["ZADD @:unsuccessful 1 c"],
            OK,
            1,
            "failed",
            &[("failedReason", "Cannot complete job j because it has at least one failed child. moveToFinished")],
        ),
        rule(
            "pending children cost an attempt",
            r#"{"attempts":2}"#,
            &["SADD @:dependencies c"],
            OK,
            2,
            "failed",
            &[("failedReason", "Job j has pending dependencies. moveToFinished"), ("atm", "2")],
        ),
        with(
            on_both!(|worker| worker.remove_on_complete(true)),
            rule("a completed job is removed", "{}", &[], OK, 1, "gone", &[]),
        ),
        with(
            on_both!(|worker| worker.remove_on_fail(true)),
            rule("a failed job is removed", "{}", &[], FAILS, 1, "gone", &[]),
        ),
        rule("the job's own rule comes first", r#"{"removeOnFail":true}"#, &["HSET @ defa why"], OK, 0, "gone", &[]),
    ]
}

/// Prepares the queue with the job `j` of the rule, and `good` behind it.
async fn prepared(rule: &Rule) -> Fixture {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let job = "HSET @ name job data {\"n\":1} timestamp 1600000000000 delay 0 priority 0 opts";
    let opts = format!("{job} {}", rule.opts);
    for line in [opts.as_str(), "LPUSH %wait j"].into_iter().chain(rule.before.iter().copied()) {
        let words = line.split(' ').map(|word| word.replace('@', &fixture.key("j")).replace('%', &fixture.key("")));
        let mut cmd = redis::Cmd::new();
        words.for_each(|word| _ = cmd.arg(word));
        cmd.query_async::<redis::Value>(&mut redis).await.unwrap();
    }
    fixture
}

async fn state(fixture: &Fixture) -> &'static str {
    let states = [("failed", JobState::Failed), ("completed", JobState::Completed)];
    for (name, state) in states {
        if fixture.count(state).await > 0 {
            return name;
        }
    }
    if fixture.field("j", "name").await.is_none() { "gone" } else { "somewhere" }
}

async fn by_itself(rule: &Rule, fixture: &Fixture) -> u32 {
    let runs = Arc::new(AtomicU32::new(0));
    let (handler, counted) = (rule.handler, Arc::clone(&runs));
    let processor = move |_: Job<Numbers, Value>| {
        let result = handler(counted.fetch_add(1, Ordering::SeqCst) + 1);
        async move { result }
    };
    let worker = fixture.client.worker("q", processor).name("me").drain_delay(Duration::from_millis(50));
    let worker = rule.options.0(worker).start().unwrap();
    eventually(rule.what, || async { state(fixture).await == rule.state }).await;
    worker.close().await;
    runs.load(Ordering::SeqCst)
}

async fn by_hand(rule: &Rule, fixture: &Fixture) -> u32 {
    let worker = fixture.client.manual_worker("q").name("me").drain_delay(Duration::from_millis(50));
    let worker = rule.options.1(worker).open().unwrap();
    worker.move_stalled_jobs_to_wait().await.unwrap();
    let mut runs = 0;
    eventually(rule.what, || async {
        state(fixture).await == rule.state || fixture.count(JobState::Waiting).await > 0
    })
    .await;
    let deadline = Instant::now() + PATIENCE;
    while state(fixture).await != rule.state && Instant::now() < deadline {
        let Some(job) = worker.get_next_job_within("t", Duration::from_secs(2)).await.unwrap() else { continue };
        runs += 1;
        match (rule.handler)(runs) {
            Ok(value) => match job.move_to_completed(&value, "t").await {
                Ok(()) => {}
                // The job has unfinished children; the error says what to do.
                Err(refused) => job.move_to_failed(refused, "t").await.unwrap(),
            },
            Err(halt) => job.move_to_failed(halt, "t").await.unwrap(),
        }
    }
    runs
}

#[tokio::test]
async fn a_worker_and_a_hand_keep_the_same_rules() {
    // Each on keys of its own; they wait more than they compute.
    stream::iter(rules())
        .for_each_concurrent(8, |rule| async move {
            let mut hashes = Vec::new();
            for hand in [false, true] {
                let fixture = prepared(&rule).await;
                let runs = if hand { by_hand(&rule, &fixture).await } else { by_itself(&rule, &fixture).await };
                let what = format!("{}, {}", rule.what, if hand { "by hand" } else { "by itself" });
                assert_eq!((state(&fixture).await, runs), (rule.state, rule.runs), "{what}");
                for (field, value) in rule.fields {
                    assert_eq!(fixture.field("j", field).await.unwrap_or_default(), *value, "{what}: {field}");
                }
                let mut redis = fixture.redis.clone();
                let mut hash: BTreeMap<String, String> =
                    redis::cmd("HGETALL").arg(fixture.key("j")).query_async(&mut redis).await.unwrap();
                hash.retain(|field, _| !["processedOn", "finishedOn"].contains(&field.as_str()));
                assert_eq!(fixture.locks().await, 0, "{what}");
                hashes.push(hash);
            }
            assert_eq!(hashes[0], hashes[1], "{}", rule.what);
        })
        .await;
}

#[tokio::test]
async fn one_fetch_fails_jobs_that_cannot_run_and_returns_the_next() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    for _ in 0..2 {
        let ids = fixture.add_many(7).await;
        for (id, (field, value)) in ids.iter().zip([
            ("data", r#"{"x":NaN}"#),
            ("data", r#"{"x":"\ud800"}"#),
            ("opts", r#"{"attempts":{}}"#),
            ("defa", "why"),
            ("data", r#""text""#),
            ("parent", "[1]"),
        ]) {
            redis::cmd("HSET").arg(fixture.key(id)).arg(field).arg(value).exec_async(&mut redis).await.unwrap();
        }
    }
    let worker: ManualWorker<Numbers, Value> = fixture.client.manual_worker("q").open().unwrap();
    let job = worker.get_next_job("t").await.unwrap().unwrap();
    assert_eq!(job.data()["n"], 6);
    // A fetch together with the end of another job does the same.
    let fetched = job.move_to_completed_and_fetch(&json!(1), "t").await.unwrap();
    let job = fetched.job.unwrap();
    assert_eq!(job.data()["n"], 6);
    assert!(job.move_to_failed_and_fetch("no", "t").await.unwrap().job.is_none());
    assert_eq!((fixture.count(JobState::Failed).await, fixture.count(JobState::Active).await), (13, 0));
    assert_eq!(fixture.locks().await, 0);
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_ended_by_its_id() {
    let fixture = Fixture::new().await;
    let id = fixture.queue.add("job", json!({ "n": 1 })).attempts(5).await.unwrap().id().to_owned();
    let worker: ManualWorker<Numbers, Value> = fixture.client.manual_worker("q").open().unwrap();
    worker.get_next_job("t").await.unwrap().unwrap();
    // Somebody breaks the job while it is active.
    let mut redis = fixture.redis.clone();
    redis::cmd("HSET").arg(fixture.key(&id)).arg("opts").arg("[").exec_async(&mut redis).await.unwrap();
    assert!(worker.get_job(&id).await.is_err());
    let refused = worker.move_to_failed(&id, "other", "broken").await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::LockMismatch));
    worker.move_to_failed(&id, "t", "broken").await.unwrap();
    assert_eq!(fixture.field(&id, "failedReason").await.as_deref(), Some("broken"));
    assert_eq!(fixture.count(JobState::Failed).await, 1);
    let missing = worker.move_to_failed("none", "t", "broken").await.unwrap_err();
    assert_eq!(missing.reason(), Some(Reason::MissingJob));
}

#[tokio::test]
async fn every_end_drops_a_deferred_failure() {
    let fixture = Fixture::new().await;
    let worker: ManualWorker<Numbers, Value> =
        fixture.client.manual_worker("q").hand_out_deferred_failures(true).open().unwrap();
    let mut redis = fixture.redis.clone();
    for (end, stays) in [("complete", false), ("fail", false), ("retry", false), ("delay", false), ("wait", true)] {
        let id = fixture.queue.add("job", json!({ "n": 1 })).attempts(2).await.unwrap().id().to_owned();
        redis::cmd("HSET").arg(fixture.key(&id)).arg("defa").arg("why").exec_async(&mut redis).await.unwrap();
        let job = worker.get_next_job("t").await.unwrap().unwrap();
        assert_eq!(job.deferred_failure(), Some("why"), "{end}");
        match end {
            "complete" => job.move_to_completed(&json!(1), "t").await.unwrap(),
            "fail" => job.move_to_failed(Halt::unrecoverable("no"), "t").await.unwrap(),
            "retry" => job.move_to_failed("no", "t").await.unwrap(),
            "delay" => job.move_to_delayed(UNIX_EPOCH + Duration::from_secs(9_000_000_000), "t").await.unwrap(),
            _ => drop(job.move_to_wait("t").await.unwrap()),
        }
        // A job that only moves back is unchanged.
        assert_eq!(fixture.field(&id, "defa").await.is_some(), stays, "{end}");
        fixture.queue.drain_with_delayed().await.unwrap();
    }
    // A failure that a child has caused stays, too: the next fetch carries it out.
    let id = fixture.queue.add("job", json!({ "n": 1 })).attempts(2).await.unwrap().id().to_owned();
    let job = worker.get_next_job("t").await.unwrap().unwrap();
    redis::cmd("HSET").arg(fixture.key(&id)).arg("defa").arg("child").exec_async(&mut redis).await.unwrap();
    let unsuccessful = fixture.key(&format!("{id}:unsuccessful"));
    redis::cmd("ZADD").arg(unsuccessful).arg(1).arg("c").exec_async(&mut redis).await.unwrap();
    job.move_to_failed("no", "t").await.unwrap();
    assert_eq!(fixture.field(&id, "defa").await.as_deref(), Some("child"));
}

#[tokio::test]
async fn a_rate_limited_end_by_hand_fetches_nothing() {
    let fixture = Fixture::new().await;
    fixture.add_many(2).await;
    let worker: ManualWorker<Numbers, Value> = fixture.client.manual_worker("q").open().unwrap();
    let job = worker.get_next_job("t").await.unwrap().unwrap();
    let fetched = job.move_to_failed_and_fetch(Halt::RateLimited(Duration::from_secs(60)), "t").await.unwrap();
    assert!(fetched.job.is_none());
    assert_eq!((fixture.count(JobState::Active).await, fixture.count(JobState::Waiting).await), (0, 2));
}

#[tokio::test]
async fn a_wait_by_hand_that_ends_gives_the_marker_back() {
    let fixture = Fixture::new().await;
    let worker: ManualWorker<Numbers, Value> = fixture.client.manual_worker("q").open().unwrap();
    fixture.queue.add("job", json!({ "n": 1 })).delay(Duration::from_secs(60)).await.unwrap();
    assert!(worker.get_next_job_within("t", Duration::from_millis(50)).await.unwrap().is_none());
    let mut redis = fixture.redis.clone();
    let markers: usize = redis::cmd("ZCARD").arg(fixture.key("marker")).query_async(&mut redis).await.unwrap();
    assert_eq!(markers, 1);
}

/// The server checks once a second whether a blocking call has timed out, unless a command arrives. So the waiting
/// worker sends one itself.
#[tokio::test]
async fn a_wait_by_hand_sends_a_command_of_its_own_to_end_on_time() {
    let server = RedisServer::start_with(&["--hz", "1"]);
    let fixture = Fixture::on(&server).await;
    let worker: ManualWorker<Value, Value> = fixture.client.manual_worker("q").open().unwrap();
    for _ in 0..5 {
        assert!(worker.get_next_job_within("t", Duration::from_millis(30)).await.unwrap().is_none());
    }
    let mut redis = fixture.redis.clone();
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
    // Nothing else sends this command here. Sometimes the server may check at the right moment by chance.
    assert!(stats.contains("cmdstat_exists:"), "{stats}");
}
