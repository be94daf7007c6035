//! Random scenarios over few ids, so that much happens to each of them.

use std::cell::RefCell;
use std::future::Future;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::ops::*;
use super::scenarios::{
    Step, add, add_numbered, complete, expire_check, fail, fetch, flow, get, lose_lock, node, op, redis, state, wait,
};
use super::twin::{BEGIN, Mismatch, Twin, What};

/// A sequence of about `most` steps; shrinks towards fewer and simpler ones.
///
/// Half of it is phrases, steps that make sense one after the other, so that enough of them succeed; the rest is
/// anything, for the refusals.
pub fn random_scenario(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(phrase(), 1..=most)
        .prop_map(move |phrases| phrases.into_iter().flatten().take(most).collect())
}

fn phrase() -> impl Strategy<Value = Vec<Step>> {
    let one = step().prop_map(|step| vec![step]);
    let worked = (any::<bool>(), new(), finish(Just("$last".to_owned())))
        .prop_map(|(added, new, finish)| if added { vec![new, fetch(), finish] } else { vec![fetch(), finish] });
    let held = (held(Just("$last".to_owned())), any::<bool>())
        .prop_map(|(held, again)| if again { vec![fetch(), held, fetch()] } else { vec![fetch(), held] });
    // Something is done to a job in the state that the operation is for.
    let handled = (select(vec!["a", "b", "c"]), new(), select(vec![0, 0, 1_000]), one_job(Just("{id}".to_owned())))
        .prop_map(|(id, new, delay, then)| {
            let add = new.opts(|o| {
                o.job_id = Some(id.to_owned());
                o.delay = (delay > 0).then_some(delay);
                o.deduplication = None;
            });
            let text = |step: &Step| match &step.what {
                What::Op(op) => serde_json::to_string(op).expect("an operation is JSON"),
                what => unreachable!("{what:?} is no operation"),
            };
            let then = op(serde_json::from_str(&text(&then).replace("{id}", id)).expect("still one"));
            match then.what {
                What::Op(Op::RetryJob { ref state, .. }) => {
                    let end = if state == "failed" { fail("$last").unrecoverable() } else { complete("$last") };
                    let mut then = then;
                    if let What::Op(Op::RetryJob { job, .. }) = &mut then.what {
                        "$last".clone_into(job);
                    }
                    vec![add, fetch(), end, then]
                }
                _ => vec![add, then],
            }
        });
    prop_oneof![6 => one, 4 => worked, 1 => held, 2 => handled]
}

/// As [`random_scenario`], without most of what BullMQ 5 does otherwise than 6: pausing, deduplication, bulk retries, and
/// the failure of parents.
pub fn random_scenario_for_5(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let differs = |step: &Step| match &step.what {
        What::Op(Op::Add { job }) => job.opts.deduplication.is_some(),
        What::Op(Op::Pause | Op::Resume | Op::RetryJobs { .. }) => true,
        What::Op(Op::FlowAdd { flow }) => flow_has_policy(flow),
        _ => false,
    };
    random_scenario(most).prop_map(move |steps| steps.into_iter().filter(|step| !differs(step)).collect())
}

fn flow_has_policy(node: &FlowNode) -> bool {
    node.opts.fail_parent_on_failure.is_some() || node.children.iter().any(flow_has_policy)
}

/// What to do with a step after which the sides differ.
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub enum Amend {
    /// It is a difference: the run fails.
    No,
    /// A known difference; another step is played instead.
    Replace(Step),
    /// A known difference; the scenario goes on without the step.
    Remove,
}

/// The default seed: the same in each run, so that only a change can make a run fail. Longer runs look for what this
/// one does not reach: `TWIN_SEED=$RANDOM TWIN_CASES=1000`.
const SEED: u64 = 20_261_124;

/// Lets two sides play `cases` random scenarios of up to `most` steps. `TWIN_CASES` and `TWIN_SEED` (a number) in the
/// environment overrule and repeat.
///
/// # Panics
///
/// At the first difference, with the smallest scenario found that shows it.
pub fn run_random<L: Side, R: Side>(twin: impl Future<Output = Twin<L, R>>, cases: u32, most: usize) {
    run_random_but(twin, random_scenario(most), cases, async |_: &[Step], _: &Mismatch| Amend::No);
}

/// As [`run_random`], with scenarios of a kind and differences that are known; how many were played.
///
/// # Panics
///
/// As [`run_random`].
pub fn run_random_but<L: Side, R: Side>(
    twin: impl Future<Output = Twin<L, R>>,
    scenarios: impl Strategy<Value = Vec<Step>>,
    cases: u32,
    amend: impl AsyncFn(&[Step], &Mismatch) -> Amend,
) -> u32 {
    let from_env = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = from_env("TWIN_SEED").unwrap_or(SEED);
    let cases = from_env("TWIN_CASES").and_then(|n| u32::try_from(n).ok()).unwrap_or(cases);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let twin = RefCell::new(runtime.block_on(twin));
    let result = TestRunner::new_with_rng(config, rng).run(&scenarios, |mut steps| {
        let mut twin = twin.borrow_mut();
        runtime.block_on(async {
            // Boxed: the stack of a test is small, and these hold much.
            while let Err(mismatch) = Box::pin(twin.compare(&steps, 1)).await {
                match Box::pin(amend(&steps, &mismatch)).await {
                    Amend::No => return Err(TestCaseError::fail(mismatch.to_string())),
                    Amend::Replace(step) => steps[mismatch.index] = step,
                    Amend::Remove => drop(steps.remove(mismatch.index)),
                }
            }
            Ok(())
        })
    });
    match result {
        Ok(()) => cases,
        Err(TestError::Fail(why, steps)) => {
            let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
            panic!("TWIN_SEED={seed}: {why}\nof\n  {}", steps.join("\n  "));
        }
        Err(err) => panic!("TWIN_SEED={seed}: {err}"),
    }
}

fn id() -> impl Strategy<Value = String> {
    select(vec!["$last", "a", "b", "c"]).prop_map(str::to_owned)
}

fn new() -> impl Strategy<Value = Step> {
    let placed = (
        select(vec![Some("a"), Some("b"), Some("c"), None]),
        select(vec![0, 0, 0, 1_000, 5_000]),
        select(vec![0, 0, 1, 2]),
        any::<bool>(),
    );
    let tried = (select(vec![0_u32, 2, 3]), select(vec![None, Some(("fixed", 1_000)), Some(("exponential", 500))]));
    let dedup = select(vec![None, None, None, Some(0_u8), Some(1), Some(2)]);
    let keep = select(vec![None, None, Some(Keep::Remove(true)), Some(Keep::Count(1))]);
    (placed, tried, dedup, keep).prop_map(|((id, delay, priority, lifo), (attempts, backoff), dedup, keep)| {
        let mut step = id.map_or_else(add_numbered, add);
        if delay > 0 {
            step = step.delay(delay);
        }
        if priority > 0 {
            step = step.priority(priority);
        }
        if lifo {
            step = step.lifo();
        }
        if attempts > 0 {
            step = step.attempts(attempts);
        }
        if let Some((kind, delay)) = backoff {
            step = step.backoff(kind, delay);
        }
        if let Some(mode) = dedup {
            step = step.dedup("x", |d| {
                d.replace = (mode == 1).then_some(true);
                d.keep_last_if_active = (mode == 2).then_some(true);
            });
        }
        step.opts(|o| {
            o.remove_on_complete.clone_from(&keep);
            o.remove_on_fail = keep;
        })
    })
}

fn finish(id: impl Strategy<Value = String>) -> impl Strategy<Value = Step> {
    let how = (any::<bool>(), any::<bool>(), select(vec![false, false, true]));
    (id, how).prop_map(|(id, (ok, next, last))| {
        let step = if ok { complete(&id) } else { fail(&id) };
        let step = if next { step.and_fetch() } else { step };
        if last && !ok { step.unrecoverable() } else { step }
    })
}

fn held(id: impl Strategy<Value = String>) -> impl Strategy<Value = Step> {
    (id, 0..3_u8).prop_map(|(job, kind)| {
        let token = "t".to_owned();
        op(match kind {
            0 => Op::MoveToWait { job, token },
            1 => Op::MoveToDelayed { job, token, timestamp: BEGIN + 3_000 },
            _ => Op::ExtendLock { job, token, duration: 60_000 },
        })
    })
}

fn one_job(id: impl Strategy<Value = String>) -> impl Strategy<Value = Step> {
    (id, 0..9_u8).prop_map(|(job, kind)| {
        op(match kind {
            8 => Op::ChangePriority { job, opts: PriorityOpts { priority: Some(2), lifo: Some(true) } },
            0 => Op::Promote { job },
            1 => Op::ChangeDelay { job, delay: 2_000 },
            2 => Op::ChangePriority { job, opts: PriorityOpts { priority: Some(1), lifo: None } },
            3 => Op::ChangePriority { job, opts: PriorityOpts { priority: Some(0), lifo: Some(true) } },
            4 => Op::RetryJob { job, state: "failed".into(), opts: RetryOpts::default() },
            5 => Op::RetryJob {
                job,
                state: "completed".into(),
                opts: RetryOpts { reset_attempts_made: true, reset_attempts_started: true },
            },
            6 => Op::Remove { job, opts: RemoveOpts { remove_children: true } },
            _ => Op::UpdateProgress { job, progress: serde_json::json!(50) },
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    let family = (id(), 0..8_u8, select(vec![0_u8, 1, 2, 3, 4])).prop_map(|(job, kind, policy)| {
        let policy = move |o: &mut JobOpts| match policy {
            1 => o.fail_parent_on_failure = Some(true),
            2 => o.ignore_dependency_on_failure = Some(true),
            3 => o.remove_dependency_on_failure = Some(true),
            4 => o.continue_parent_on_failure = Some(true),
            _ => {}
        };
        match kind {
            0 | 1 => flow(node("a", [node("b", []).opts(policy)])),
            2 => flow(node("a", [node("b", []).opts(policy), node("c", [])])),
            3 => flow(node("c", [node("a", [node("b", []).opts(policy)])])),
            4 => add("c").parent("a").opts(policy),
            5 => op(Op::MoveToWaitingChildren { job, token: "t".to_owned(), opts: WaitOpts::default() }),
            6 => op(Op::RemoveChildDependency { job }),
            _ => op(Op::GetDependencies { job }),
        }
    });
    let all = select(vec![
        Op::Pause,
        Op::Resume,
        Op::PromoteJobs { opts: BulkOpts::default() },
        Op::RetryJobs { opts: BulkOpts::default() },
        Op::Drain { delayed: false },
        Op::Clean { grace: 0, limit: 2, state: "completed".into() },
        Op::SetGlobalConcurrency { concurrency: 1 },
        Op::RemoveGlobalConcurrency,
        Op::RemoveDeduplicationKey { deduplication: "x".into() },
    ])
    .prop_map(op);
    let stall = prop_oneof![
        3 => Just(op(Op::StalledCheck)),
        2 => Just(expire_check()),
        2 => id().prop_map(|id| lose_lock(&id)),
        // As a waiting worker does. Whether an operation writes a marker shows only if there is none.
        5 => Just(redis("ZPOPMIN {q}:marker")),
    ];
    let scheduled = (select(vec!["s", "r"]), 0..8_u8, select(vec![60_000_u64, 1_000]), select(vec![None, Some(2)]))
        .prop_map(|(scheduler, kind, every, priority)| {
            let scheduler = scheduler.to_owned();
            let mut repeat = Repeat { every: Some(every), ..Repeat::default() };
            match kind {
                0 => return op(Op::RemoveJobScheduler { scheduler }),
                1 => return op(Op::GetJobScheduler { scheduler }),
                2 => return op(Op::GetJobSchedulers),
                3 => {
                    repeat =
                        Repeat { pattern: Some("*/2 * * * * *".into()), tz: Some("UTC".into()), ..Repeat::default() }
                }
                4 => repeat.offset = Some(250),
                5 => repeat.limit = Some(2),
                _ => {}
            }
            let opts = Some(JobOpts { priority, ..JobOpts::default() });
            op(Op::UpsertJobScheduler { scheduler, repeat, template: Template { opts, ..Template::default() } })
        });
    let read = (id(), any::<bool>()).prop_map(|(id, whole)| if whole { get(&id) } else { state(&id) });
    prop_oneof![
        6 => new(),
        5 => Just(fetch()),
        3 => finish(id()),
        2 => select(vec![500_i64, 1_000, 5_000]).prop_map(wait),
        1 => held(id()),
        2 => one_job(id()),
        2 => all,
        2 => family,
        2 => scheduled,
        4 => stall,
        1 => read,
    ]
}
