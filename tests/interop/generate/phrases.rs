//! Phrases, steps that make sense one after the other, and the scenarios made of them.

use proptest::prelude::*;
use proptest::sample::select;

use super::families::{elsewhere, family, scheduled};
use super::jobs::{finish, held, id, new, one_job};
use super::queues::{all, page, stall};
use crate::interop::ops::*;
use crate::interop::scenarios::{Step, complete, fail, fetch, get, op, state, wait};
use crate::interop::twin::What;

/// A sequence of about `most` steps; shrinks towards fewer and simpler ones.
///
/// Half of it is phrases, steps that make sense one after the other, so that enough of them succeed; the rest is
/// anything, for the refusals. Workers get their options first: a job belongs to the worker that has fetched it and ends by the options
/// of that one, while the side of Node ends it by those of the latest.
pub fn random_scenario(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(phrase(), 1..=most).prop_map(move |phrases| {
        let sets_worker = |step: &Step| matches!(step.what, What::Op(Op::SetWorker { .. }));
        let (mut steps, others): (Vec<_>, Vec<_>) = phrases.into_iter().flatten().take(most).partition(sets_worker);
        steps.extend(others);
        steps
    })
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

/// Any one step.
fn step() -> impl Strategy<Value = Step> {
    let read = (id(), any::<bool>()).prop_map(|(id, whole)| if whole { get(&id) } else { state(&id) });
    prop_oneof![
        6 => new(),
        5 => Just(fetch()),
        3 => finish(id()),
        2 => select(vec![500_i64, 1_000, 5_000]).prop_map(wait),
        1 => held(id()),
        2 => one_job(id()),
        4 => all(),
        4 => family(),
        2 => scheduled(),
        4 => stall(),
        1 => read,
        2 => page(),
        3 => elsewhere(),
    ]
}
