//! Does the same on two sides and compares, after each step, the answers and all that is stored.

use std::fmt;

use redis::aio::MultiplexedConnection;

use super::ops::{Op, Reply, Side};
use crate::common::dump::{Dump, remove_all};
use crate::common::server::{connect, fresh_prefix};

/// When every scenario begins: 2023-11-14 22:13:20 UTC.
pub const BEGIN: i64 = 1_700_000_000_000;

/// One step of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The queue it is about.
    pub queue: String,
    /// What is done.
    pub what: What,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "most steps are operations")]
pub enum What {
    /// An operation. A job `$last` is the one that was handed to a worker last.
    Op(Op),
    /// Time passes, ms.
    Advance(i64),
    /// A command sent to Redis on behalf of nobody, e.g. to let a lock expire; `{q}` is the queue's key prefix.
    Redis(Vec<String>),
}

impl Step {
    /// With `$last` replaced by the id of a job.
    fn with_last(&self, last: &str) -> Self {
        let what = match &self.what {
            What::Op(op) => {
                let text = serde_json::to_string(op).expect("an operation is JSON");
                What::Op(serde_json::from_str(&text.replace("$last", last)).expect("still an operation"))
            }
            What::Redis(words) => What::Redis(words.iter().map(|word| word.replace("$last", last)).collect()),
            What::Advance(ms) => What::Advance(*ms),
        };
        Self { queue: self.queue.clone(), what }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Op(op) => {
                let text = serde_json::to_string(op).map_err(|_| fmt::Error)?;
                write!(f, "{text} on {}", self.queue)
            }
            What::Advance(ms) => write!(f, "{ms} ms pass"),
            What::Redis(words) => write!(f, "redis {} on {}", words.join(" "), self.queue),
        }
    }
}

/// Steps with a name.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Says which rule it checks.
    pub name: &'static str,
    /// What is done.
    pub steps: Vec<Step>,
    /// How many ms pass at each operation, so that no two times are equal by accident.
    pub tick: i64,
    /// Why BullMQ 5 does something else than 6, if it does.
    pub differs_v5: Option<&'static str>,
    /// Why oxmq does something else than BullMQ on purpose, if it does.
    pub differs_oxmq: Option<&'static str>,
}

/// Where two sides parted.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Index of the step.
    pub index: usize,
    /// The step, for reading.
    pub step: String,
    /// Whether both sides refused the step.
    pub refused: bool,
    /// What differs, a line each.
    pub differences: Vec<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after step {}, {}:", self.index, self.step)?;
        self.differences.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Two sides, each with a database of its own.
pub struct Twin<L, R> {
    /// One side.
    pub left: L,
    /// The other side.
    pub right: R,
    redis: [MultiplexedConnection; 2],
}

impl<L: Side, R: Side> Twin<L, R> {
    /// Brings two sides together.
    pub async fn new(left: L, right: R) -> Self {
        assert_ne!(left.redis_url(), right.redis_url(), "the sides share a database");
        let redis = [connect(left.redis_url()).await, connect(right.redis_url()).await];
        Self { left, right, redis }
    }

    /// Does all steps on both sides.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub async fn compare(&mut self, steps: &[Step], tick: i64) -> Result<(), Mismatch> {
        let prefix = fresh_prefix();
        self.left.begin(&prefix).await;
        self.right.begin(&prefix).await;
        let result = self.compare_under(&prefix, steps, tick).await;
        for redis in &mut self.redis {
            remove_all(redis, &prefix).await;
        }
        result
    }

    async fn compare_under(&mut self, prefix: &str, steps: &[Step], tick: i64) -> Result<(), Mismatch> {
        let mut now = BEGIN;
        let mut last = String::from("$last");
        for (index, step) in steps.iter().enumerate() {
            let step = step.with_last(&last);
            let mut differences = Vec::new();
            let mut refused = false;
            match &step.what {
                What::Advance(ms) => {
                    now += ms;
                    continue;
                }
                What::Redis(command) => {
                    for redis in &mut self.redis {
                        send(redis, command, &format!("{prefix}:{}", step.queue)).await;
                    }
                }
                What::Op(op) => {
                    now += tick;
                    self.left.set_clock(now).await;
                    self.right.set_clock(now).await;
                    let l = self.left.run(&step.queue, op).await;
                    let r = self.right.run(&step.queue, op).await;
                    if let Some(id) = l.fetched() {
                        last = id;
                    }
                    if tracing() {
                        eprintln!("  {step}\n    -> {}", shown(&l));
                    }
                    refused = matches!((&l, &r), (Reply::Err { .. }, Reply::Err { .. }));
                    if l != r {
                        differences.push(format!("reply: left {}, right {}", shown(&l), shown(&r)));
                    }
                }
            }
            let [left, right] = &mut self.redis;
            let (l, r) = (Dump::take(left, prefix).await, Dump::take(right, prefix).await);
            differences.extend(Dump::diff(&l, &r));
            if !differences.is_empty() {
                return Err(Mismatch { index, step: step.to_string(), refused, differences });
            }
        }
        Ok(())
    }

    /// Does a scenario on both sides.
    ///
    /// # Panics
    ///
    /// At the first difference, saying where and what.
    pub async fn run(&mut self, scenario: &Scenario) {
        self.run_all(std::slice::from_ref(scenario)).await;
    }

    /// Does scenarios one after the other.
    ///
    /// # Panics
    ///
    /// In the end, if the sides differed in any of them, with all that differed.
    pub async fn run_all(&mut self, scenarios: &[Scenario]) {
        let mut parted = Vec::new();
        for scenario in scenarios {
            if tracing() {
                eprintln!("{:?}", scenario.name);
            }
            if let Err(mismatch) = self.compare(&scenario.steps, scenario.tick).await {
                parted.push(format!("{:?} {mismatch}", scenario.name));
            }
        }
        assert!(
            parted.is_empty(),
            "left {}, right {} differ in {} of {} scenarios\n\n{}\n",
            self.left.name(),
            self.right.name(),
            parted.len(),
            scenarios.len(),
            parted.join("\n\n"),
        );
    }
}

/// Does a scenario on two sides; see [`Twin::run`].
pub async fn run_twin(scenario: &Scenario, left: impl Side, right: impl Side) {
    Twin::new(left, right).await.run(scenario).await;
}

/// With `TWIN_TRACE` in the environment every step and its answer is printed (`--nocapture`).
fn tracing() -> bool {
    std::env::var_os("TWIN_TRACE").is_some()
}

fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Ok(value) => value.to_string(),
        Reply::Err { code, message } => format!("error {code:?} {message:?}"),
    }
}

async fn send(redis: &mut MultiplexedConnection, command: &[String], queue: &str) {
    let mut words = command.iter().map(|word| word.replace("{q}", queue));
    let mut request = redis::cmd(&words.next().expect("a command"));
    words.for_each(|word| {
        request.arg(word);
    });
    let _: redis::Value = request.query_async(redis).await.expect("a command that Redis takes");
}
