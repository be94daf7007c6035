//! BullMQ beside itself: shows that the scenarios work and that the comparison finds differences.

use std::sync::OnceLock;

use serde_json::json;

use super::generate::run_random;
use super::node_side::NodeSide;
use super::ops::{Op, Reply, Side};
use super::scenarios::{self, Scenario, TABLES, add, complete, counts, fail, fetch, get, op};
use super::twin::{Mismatch, Twin};
use crate::common::node::BullMq;
use crate::common::server::{RedisServer, connect};

async fn nodes(left: BullMq, right: BullMq) -> Twin<NodeSide, NodeSide> {
    // After each step all keys of both databases are looked through: on the server that all tests share, that takes minutes.
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    let server = SERVER.get_or_init(RedisServer::start);
    let left = NodeSide::start(left, &server.database(0)).await;
    Twin::new(left, NodeSide::start(right, &server.database(1)).await).await
}

fn all() -> Vec<Scenario> {
    TABLES.iter().flat_map(|(_, scenarios)| scenarios()).collect()
}

#[test]
fn scenarios_have_names_of_their_own() {
    let mut names: Vec<_> = all().iter().map(|s| s.name).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(names.len() >= 300, "{}", names.len());
    let shared = scenarios::for_oxmq(BullMq::V5).len();
    assert!(shared < scenarios::for_oxmq(BullMq::V6).len() && shared > names.len() / 2);
}

#[test]
fn every_operation_occurs_in_a_scenario() {
    let mut seen = std::collections::BTreeSet::new();
    for scenario in all() {
        for step in scenario.steps {
            if let scenarios::What::Op(op) = step.what {
                let json = serde_json::to_value(&op).expect("an operation is JSON");
                seen.insert(json["op"].as_str().expect("a tag").to_owned());
            }
        }
    }
    // For an unknown operation serde's error lists the names of all operations.
    let err = serde_json::from_value::<Op>(json!({ "op": "?" })).expect_err("no operation").to_string();
    let names: Vec<_> = err.split('`').skip(3).step_by(2).collect();
    let missing: Vec<_> = names.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(names.len() > 60 && missing.is_empty(), "{missing:?} of {}", names.len());
}

#[tokio::test]
async fn version_6_agrees_with_itself() {
    nodes(BullMq::V6, BullMq::V6).await.run_all(&all()).await;
}

#[tokio::test]
async fn version_5_agrees_where_no_difference_is_known() {
    let mut twin = nodes(BullMq::V5, BullMq::V6).await;
    let (same, other): (Vec<_>, Vec<_>) = all().into_iter().partition(|s| s.differs_v5.is_none());
    twin.run_all(&same).await;
    let mut agree = Vec::new();
    for scenario in &other {
        if twin.compare(&scenario.steps, scenario.tick).await.is_ok() {
            agree.push(scenario.name);
        }
    }
    assert!(agree.is_empty(), "these do not differ: {agree:#?}");
}

#[test]
fn version_6_agrees_with_itself_on_random_scenarios() {
    run_random(nodes(BullMq::V6, BullMq::V6), 30, 40);
}

/// A side with one fault.
struct Wrong<F> {
    inner: NodeSide,
    prefix: String,
    /// Changes an operation before it is executed.
    change: F,
    /// A command that follows every operation, `{q}` for the prefix of the queue.
    after: &'static str,
}

impl<F: Fn(&mut Op)> Side for Wrong<F> {
    fn name(&self) -> &str {
        "a wrong side"
    }

    fn redis_url(&self) -> &str {
        self.inner.redis_url()
    }

    async fn begin(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.prefix);
        self.inner.begin(prefix).await;
    }

    async fn set_clock(&mut self, now: i64) {
        self.inner.set_clock(now).await;
    }

    async fn run(&mut self, queue: &str, op: &Op) -> Reply {
        let mut op = op.clone();
        (self.change)(&mut op);
        let reply = self.inner.run(queue, &op).await;
        if !self.after.is_empty() {
            let mut words = self.after.split(' ');
            let mut command = redis::cmd(words.next().expect("a command"));
            for word in words {
                command.arg(word.replace("{q}", &format!("{}:{queue}", self.prefix)));
            }
            let mut connection = connect(self.inner.redis_url()).await;
            let _: redis::Value = command.query_async(&mut connection).await.expect("sent");
        }
        reply
    }
}

#[test]
fn a_random_run_shrinks_what_it_finds() {
    let later = |op: &mut Op| {
        if let Op::Add { job } = op {
            job.opts.delay = job.opts.delay.map(|delay| delay + 1);
        }
    };
    let twin = async {
        let Twin { left, right: inner, .. } = nodes(BullMq::V6, BullMq::V6).await;
        Twin::new(left, Wrong { inner, prefix: String::new(), change: later, after: "" }).await
    };
    let run = std::panic::AssertUnwindSafe(|| run_random(twin, 200, 20));
    let panicked = std::panic::catch_unwind(run).expect_err("a difference");
    let text = panicked.downcast_ref::<String>().expect("a text");
    let (_, steps) = text.split_once("\nof\n").expect("the steps");
    // One phrase of the generator at most, of the twenty steps that a scenario may have.
    assert!(steps.lines().count() <= 4, "{text}");
    assert!(steps.contains("\"delay\":1000"), "{text}");
}

struct Wrongs {
    left: Option<NodeSide>,
    right: Option<NodeSide>,
}

impl Wrongs {
    async fn find(&mut self, steps: &[scenarios::Step], change: impl Fn(&mut Op), after: &'static str) -> Mismatch {
        let (left, inner) = (self.left.take().expect("left"), self.right.take().expect("right"));
        let wrong = Wrong { inner, prefix: String::new(), change, after };
        let mut twin = Twin::new(left, wrong).await;
        let found = twin.compare(steps, 1).await.expect_err("a difference");
        (self.left, self.right) = (Some(twin.left), Some(twin.right.inner));
        found
    }
}

fn assert_about(mismatch: &Mismatch, index: usize, words: &[&str]) {
    let text = mismatch.to_string();
    assert_eq!(mismatch.index, index, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} not all in: {text}");
}

#[tokio::test]
async fn a_difference_is_found_at_its_step() {
    let same = |_: &mut Op| {};
    let Twin { left, right, .. } = nodes(BullMq::V6, BullMq::V6).await;
    let mut wrongs = Wrongs { left: Some(left), right: Some(right) };

    let later = |op: &mut Op| {
        if let Op::Add { job } = op {
            job.opts.delay = job.opts.delay.map(|delay| delay + 1);
        }
    };
    let found = wrongs.find(&[add("a"), add("b").delay(1_000)], later, "").await;
    assert_about(&found, 1, &["delayed: score of b", "field delay", "event", "marker"]);

    let found = wrongs.find(&[add("a"), counts()], same, "XTRIM {q}:events MAXLEN 1").await;
    assert_about(&found, 0, &["events: event 0", "added", "right"]);

    let found = wrongs.find(&[add("a").priority(1), counts()], same, "ZADD {q}:prioritized 5 a").await;
    assert_about(&found, 0, &["prioritized: score of a: left 4294967297.0, right 5.0"]);

    let shorter = |op: &mut Op| {
        if let Op::SetWorker { opts } = op {
            opts.lock_duration = Some(20_000);
        }
    };
    let steps = [scenarios::worker(|w| w.lock_duration = Some(60_000)), add("a"), fetch()];
    assert_about(&wrongs.find(&steps, shorter, "").await, 2, &["a:lock: ttl"]);

    let other_value = |op: &mut Op| {
        if let Op::MoveToCompleted { value, .. } = op {
            *value = json!("other");
        }
    };
    let found = wrongs.find(&[add("a"), fetch(), complete("a")], other_value, "").await;
    assert_about(&found, 2, &["field returnvalue", "events: event"]);

    let other_text = |op: &mut Op| {
        if let Op::MoveToFailed { message, .. } = op {
            message.push('!');
        }
    };
    let found = wrongs.find(&[add("a"), fetch(), fail("a")], other_text, "").await;
    assert_about(&found, 2, &["field failedReason", "field stacktrace"]);

    let other_job = |op: &mut Op| {
        if let Op::GetJob { job } = op {
            *job = "b".into();
        }
    };
    let found = wrongs.find(&[add("a"), add("b"), get("a")], other_job, "").await;
    assert_about(&found, 2, &["reply: left", "\"id\":\"a\"", "\"id\":\"b\""]);

    let refused = |op: &mut Op| {
        if let Op::Promote { job } = op {
            *job = "nobody".into();
        }
    };
    let steps = [add("a").delay(50), op(Op::Promote { job: "a".into() })];
    assert_about(&wrongs.find(&steps, refused, "").await, 1, &["reply: left null, right error Some(-3)"]);
}
