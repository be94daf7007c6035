//! Random scenarios over few ids, so that much happens to each of them.

use std::cell::RefCell;
use std::future::Future;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::ops::*;
use super::scenarios::{
    Step, add, add_numbered, complete, expire_check, fail, fetch, get, lose_lock, op, state, wait,
};
use super::twin::Twin;

/// A sequence of up to `most` steps; shrinks towards fewer and simpler ones.
pub fn random_scenario(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..=most)
}

/// Lets two sides play `cases` random scenarios of up to `most` steps. `TWIN_CASES` and `TWIN_SEED` (a number) in the
/// environment overrule and repeat.
///
/// # Panics
///
/// At the first difference, with the smallest scenario found that shows it.
pub fn run_random<L: Side, R: Side>(
    twin: impl Future<Output = Twin<L, R>>,
    cases: u32,
    most: usize,
) {
    let from_env = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seed = from_env("TWIN_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = from_env("TWIN_CASES")
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(cases);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let twin = RefCell::new(runtime.block_on(twin));
    let result = TestRunner::new_with_rng(config, rng).run(&random_scenario(most), |steps| {
        let compared = runtime.block_on(twin.borrow_mut().compare(&steps, 1));
        compared.map_err(|mismatch| TestCaseError::fail(mismatch.to_string()))
    });
    match result {
        Ok(()) => {}
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
    let tried = (
        select(vec![0_u32, 2, 3]),
        select(vec![
            None,
            Some(("fixed", 1_000)),
            Some(("exponential", 500)),
        ]),
    );
    let dedup = select(vec![None, None, None, Some(0_u8), Some(1), Some(2)]);
    let keep = select(vec![
        None,
        None,
        Some(Keep::Remove(true)),
        Some(Keep::Count(1)),
    ]);
    (placed, tried, dedup, keep).prop_map(
        |((id, delay, priority, lifo), (attempts, backoff), dedup, keep)| {
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
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let finish =
        (id(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(id, ok, next, last)| {
            let step = if ok { complete(&id) } else { fail(&id) };
            let step = if next { step.and_fetch() } else { step };
            if last && !ok {
                step.unrecoverable()
            } else {
                step
            }
        });
    let held = (id(), 0..3_u8).prop_map(|(job, kind)| {
        let token = "t".to_owned();
        op(match kind {
            0 => Op::MoveToWait { job, token },
            1 => Op::MoveToDelayed {
                job,
                token,
                timestamp: super::twin::BEGIN + 3_000,
            },
            _ => Op::ExtendLock {
                job,
                token,
                duration: 60_000,
            },
        })
    });
    let one = (id(), 0..8_u8).prop_map(|(job, kind)| {
        op(match kind {
            0 => Op::Promote { job },
            1 => Op::ChangeDelay { job, delay: 2_000 },
            2 => Op::ChangePriority {
                job,
                opts: PriorityOpts {
                    priority: Some(1),
                    lifo: None,
                },
            },
            3 => Op::ChangePriority {
                job,
                opts: PriorityOpts {
                    priority: Some(0),
                    lifo: Some(true),
                },
            },
            4 => Op::RetryJob {
                job,
                state: "failed".into(),
                opts: RetryOpts::default(),
            },
            5 => Op::RetryJob {
                job,
                state: "completed".into(),
                opts: RetryOpts {
                    reset_attempts_made: true,
                    reset_attempts_started: true,
                },
            },
            6 => Op::Remove {
                job,
                opts: RemoveOpts {
                    remove_children: true,
                },
            },
            _ => Op::UpdateProgress {
                job,
                progress: serde_json::json!(50),
            },
        })
    });
    let all = select(vec![
        Op::Pause,
        Op::Resume,
        Op::PromoteJobs {
            opts: BulkOpts::default(),
        },
        Op::RetryJobs {
            opts: BulkOpts::default(),
        },
        Op::Drain { delayed: false },
        Op::Clean {
            grace: 0,
            limit: 2,
            state: "completed".into(),
        },
        Op::SetGlobalConcurrency { concurrency: 1 },
        Op::RemoveGlobalConcurrency,
        Op::RemoveDeduplicationKey {
            deduplication: "x".into(),
        },
    ])
    .prop_map(op);
    let stall = prop_oneof![
        3 => Just(op(Op::StalledCheck)),
        2 => Just(expire_check()),
        2 => id().prop_map(|id| lose_lock(&id)),
    ];
    let read =
        (id(), any::<bool>()).prop_map(|(id, whole)| if whole { get(&id) } else { state(&id) });
    prop_oneof![
        6 => new(),
        5 => Just(fetch()),
        5 => finish,
        2 => select(vec![500_i64, 1_000, 5_000]).prop_map(wait),
        1 => held,
        2 => one,
        1 => all,
        2 => stall,
        1 => read,
    ]
}
