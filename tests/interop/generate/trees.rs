//! Trees of up to three levels over three queues, children that running jobs add in a fourth one, and what is done to each
//! of their jobs.
//!
//! A job of a level always has the id of that level, so no job stands above itself; jobs of two trees may share children.

use proptest::prelude::*;
use proptest::sample::select;

use super::families::Policy;
use crate::interop::ops::*;
use crate::interop::scenarios::{
    Step, add, complete, counts, expire_check, fail, fetch, flow, get, lose_lock, node, on, op, state, wait,
};
use crate::interop::twin::What;

const QUEUES: [&str; 4] = ["q", "r", "s", "t"];
const ROOTS: [&str; 2] = ["a", "b"];
const CHILDREN: [&str; 3] = ["c", "d", "e"];
const GRANDCHILDREN: [&str; 4] = ["f", "g", "h", "i"];
/// What a running job adds. These are in the last queue, and have no children.
const ADDED: [&str; 3] = ["j", "k", "l"];

/// A sequence of about `most` steps about trees; shrinks towards fewer and simpler ones.
pub fn random_trees(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let phrase = prop_oneof![
        3 => planted(),
        6 => worked(),
        4 => any_job().prop_flat_map(one_job).prop_map(|step| vec![step]),
        1 => any_job().prop_map(|(queue, id)| vec![on(queue, complete(id))]),
        2 => steps_of_a_job(),
        1 => (any_job(), 0..4_u8).prop_map(|((queue, id), kind)| vec![on(queue, match kind {
            0 => lose_lock(id),
            1 => expire_check(),
            _ => op(Op::StalledCheck),
        })]),
        2 => (select(QUEUES.to_vec()), select(of_queue())).prop_map(|(queue, what)| vec![on(queue, op(what))]),
        1 => select(vec![500_i64, 1_500]).prop_map(|ms| vec![wait(ms)]),
    ];
    proptest::collection::vec(phrase, 1..=most)
        .prop_map(move |phrases| phrases.into_iter().flatten().take(most).collect())
}

/// The queue and the id of a job. Most jobs of a level are in the same queue, so that something happens to each of them.
fn any_job() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        (Just("q"), select(ROOTS.to_vec())),
        (select(vec!["r", "r", "r", "q"]), select(CHILDREN.to_vec())),
        (select(vec!["s", "s", "s", "q"]), select(GRANDCHILDREN.to_vec())),
        (Just("t"), select(ADDED.to_vec())),
    ]
}

fn options() -> impl Strategy<Value = JobOpts> {
    let kept = || select(vec![None, None, None, Some(Keep::Remove(true)), Some(Keep::Count(1))]);
    let placed = (select(vec![None, None, None, Some(1_000)]), select(vec![None, None, None, Some(1), Some(2)]));
    (Policy::any(), placed, select(vec![None, None, Some(2)]), kept(), kept()).prop_map(
        |(policy, (delay, priority), attempts, remove_on_complete, remove_on_fail)| {
            let mut opts =
                JobOpts { delay, priority, attempts, remove_on_complete, remove_on_fail, ..JobOpts::default() };
            policy.set(&mut opts);
            opts
        },
    )
}

/// Nodes with these ids, some or all of them.
fn nodes(ids: &'static [&'static str], queues: Vec<&'static str>, most: usize) -> impl Strategy<Value = Vec<FlowNode>> {
    let each = (select(queues), options()).prop_map(|(queue, opts)| node("", []).queue(queue).opts(|o| *o = opts));
    proptest::collection::vec(each, 0..=most).prop_map(move |mut nodes| {
        for (id, node) in ids.iter().zip(&mut nodes) {
            node.opts.job_id = Some((*id).to_owned());
        }
        nodes
    })
}

fn tree() -> impl Strategy<Value = FlowNode> {
    let children = nodes(&CHILDREN, vec!["r", "r", "r", "q"], CHILDREN.len());
    let grandchildren = nodes(&GRANDCHILDREN, vec!["s", "s", "s", "q"], GRANDCHILDREN.len());
    (select(ROOTS.to_vec()), options(), children, grandchildren, 0..3_usize).prop_map(
        |(id, opts, mut children, grandchildren, spread)| {
            for (n, below) in grandchildren.into_iter().enumerate() {
                let at = n * spread;
                let most = children.len().max(1);
                if let Some(child) = children.get_mut(at % most) {
                    child.children.push(below);
                }
            }
            node(id, children).opts(|o| *o = JobOpts { job_id: Some(id.to_owned()), ..opts })
        },
    )
}

/// Adds a tree, two of them, one beside a root that is deduplicated, or a child to a tree.
fn planted() -> impl Strategy<Value = Vec<Step>> {
    (tree(), 0..6_u8, any_job(), Policy::any()).prop_map(|(tree, kind, (queue, above), policy)| {
        let is_leaf = tree.children.is_empty();
        vec![match kind {
            0 => {
                let other = if tree.opts.job_id.as_deref() == Some("a") { "b" } else { "a" };
                let once = Deduplication { id: "x".into(), ..Deduplication::default() };
                let alone = node(other, []).opts(|o| o.deduplication = Some(once));
                op(Op::FlowAddBulk { flows: vec![tree, alone] })
            }
            1 if is_leaf => {
                let once = Deduplication { id: "x".into(), replace: Some(true), ..Deduplication::default() };
                flow(tree.opts(|o| o.deduplication = Some(once)))
            }
            // Below a job of the level above.
            2 if ROOTS.contains(&above) => on(
                "r",
                add("e").opts(|o| {
                    o.parent = Some(Parent { id: above.into(), queue: format!("{{p}}:{queue}") });
                    policy.set(o);
                }),
            ),
            2 if CHILDREN.contains(&above) => on(
                "s",
                add("i").opts(|o| {
                    o.parent = Some(Parent { id: above.into(), queue: format!("{{p}}:{queue}") });
                    policy.set(o);
                }),
            ),
            _ => flow(tree),
        }]
    })
}

fn wait_for_children() -> Step {
    op(Op::MoveToWaitingChildren { job: "$last".into(), token: "t".into(), opts: WaitOpts { child: None } })
}

/// A running job adds children and waits for them, or ends without waiting.
fn steps_of_a_job() -> impl Strategy<Value = Vec<Step>> {
    let children = proptest::collection::vec((select(ADDED.to_vec()), options()), 1..=2);
    (select(QUEUES[..3].to_vec()), children, 0..6_u8).prop_map(|(queue, children, kind)| {
        let mut steps = vec![on(queue, fetch())];
        for (id, opts) in children {
            let parent = Parent { id: "$last".into(), queue: format!("{{p}}:{queue}") };
            let child = add(id).opts(|o| *o = JobOpts { job_id: Some(id.to_owned()), parent: Some(parent), ..opts });
            steps.push(on("t", child));
        }
        let end = match kind {
            0 => complete("$last"),
            1 => fail("$last"),
            _ => wait_for_children(),
        };
        steps.push(on(queue, end));
        steps
    })
}

/// Takes a job of a queue and ends it, or lets it wait for its children.
fn worked() -> impl Strategy<Value = Vec<Step>> {
    (select(QUEUES.to_vec()), 0..10_u8).prop_map(|(queue, kind)| {
        let end = match kind {
            0..3 => complete("$last"),
            3 | 4 => fail("$last"),
            5 => fail("$last").unrecoverable(),
            6 => wait_for_children(),
            7 => complete("$last").and_fetch(),
            8 => fail("$last").and_fetch(),
            _ => return vec![on(queue, fetch())],
        };
        vec![on(queue, fetch()), on(queue, end)]
    })
}

/// Does with a job what anybody may.
fn one_job((queue, id): (&'static str, &'static str)) -> impl Strategy<Value = Step> {
    let job = id.to_owned();
    let retry = |state: &str, reset| Op::RetryJob {
        job: id.to_owned(),
        state: state.into(),
        opts: RetryOpts { reset_attempts_made: reset, reset_attempts_started: reset },
    };
    let remove = |remove_children| Op::Remove { job: id.to_owned(), opts: RemoveOpts { remove_children } };
    let choices = vec![
        op(retry("failed", false)),
        op(retry("failed", true)),
        op(retry("completed", false)),
        op(remove(true)),
        op(remove(false)),
        op(Op::RemoveChildDependency { job: job.clone() }),
        op(Op::RemoveUnprocessedChildren { job: job.clone() }),
        op(Op::Promote { job: job.clone() }),
        op(Op::ChangeDelay { job: job.clone(), delay: 2_000 }),
        op(Op::ChangePriority { job: job.clone(), opts: PriorityOpts { priority: Some(3), lifo: None } }),
        op(Op::GetFlow { job: job.clone() }),
        op(Op::GetDependencies { job: job.clone() }),
        op(Op::GetDependenciesCount { job: job.clone() }),
        op(Op::GetChildrenValues { job: job.clone() }),
        op(Op::GetIgnoredChildrenFailures { job }),
        get(id),
        state(id),
    ];
    select(choices).prop_map(move |step| on(queue, step))
}

fn of_queue() -> Vec<Op> {
    let clean = |state: &str| Op::Clean { grace: 0, limit: 0, state: state.into() };
    let What::Op(count) = counts().what else { unreachable!("counting is an operation") };
    vec![
        count,
        Op::Drain { delayed: true },
        Op::Drain { delayed: false },
        clean("completed"),
        clean("failed"),
        clean("wait"),
        clean("delayed"),
        Op::RetryJobs { opts: BulkOpts::default() },
        Op::RetryJobs { opts: BulkOpts { state: Some("completed".into()), ..BulkOpts::default() } },
        Op::PromoteJobs { opts: BulkOpts::default() },
        Op::Pause,
        Op::Resume,
        Op::Obliterate { opts: ObliterateOpts { force: true, count: None } },
    ]
}
