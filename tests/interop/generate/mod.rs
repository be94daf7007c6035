//! Random scenarios over few ids, so that much happens to each of them.
//!
//! - `phrases`: steps that make sense one after the other, and the scenarios made of them.
//! - `jobs`: what is done to one job.
//! - `families`: parents, children and schedulers.
//! - `trees`: scenarios about trees of jobs over several queues.
//! - `queues`: what is done to all of a queue, by its worker and by the clock, and what is read.

use std::cell::RefCell;
use std::future::Future;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

pub use self::phrases::random_scenario;
pub use self::trees::random_trees;

use super::ops::*;
use super::scenarios::Step;
use super::twin::{Mismatch, Twin, What};

mod families;
mod jobs;
mod phrases;
mod queues;
mod trees;

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
