//! Steps about parents and their children, in this queue and another, and about schedulers.

use proptest::prelude::*;
use proptest::sample::select;

use super::jobs::id;
use crate::interop::ops::*;
use crate::interop::scenarios::{Step, add, add_numbered, complete, fail, fetch, flow, node, on, op};

/// What the failure of a child does to its parent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Policy {
    None,
    Fail,
    Ignore,
    Remove,
    Continue,
}

impl Policy {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        select(vec![Self::None, Self::Fail, Self::Ignore, Self::Remove, Self::Continue])
    }

    pub(super) fn set(self, o: &mut JobOpts) {
        match self {
            Self::None => {}
            Self::Fail => o.fail_parent_on_failure = Some(true),
            Self::Ignore => o.ignore_dependency_on_failure = Some(true),
            Self::Remove => o.remove_dependency_on_failure = Some(true),
            Self::Continue => o.continue_parent_on_failure = Some(true),
        }
    }
}

/// Adds families, and asks for them.
pub(super) fn family() -> impl Strategy<Value = Step> {
    (id(), 0..14_u8, Policy::any()).prop_map(|(job, kind, policy)| {
        let child = |id| node(id, []).opts(|o| policy.set(o));
        let wait_for =
            |child| Op::MoveToWaitingChildren { job: job.clone(), token: "t".to_owned(), opts: WaitOpts { child } };
        match kind {
            0 | 1 => flow(node("a", [child("b")])),
            2 => {
                flow(node("a", [child("b"), child("c").opts(|o| o.delay = Some(1_000))]).opts(|o| o.priority = Some(1)))
            }
            3 => flow(node("c", [node("a", [child("b")])])),
            4 => add("c").parent("a").opts(|o| policy.set(o)),
            5 => op(wait_for(None)),
            6 => op(Op::RemoveChildDependency { job }),
            7 => op(Op::GetDependencies { job }),
            8 => {
                let passing = child("b").opts(|o| {
                    o.remove_on_complete = Some(Keep::Remove(true));
                    o.remove_on_fail = Some(Keep::Remove(true));
                });
                flow(node("a", [passing, child("c")]).opts(|o| {
                    o.attempts = Some(2);
                    o.delay = Some(1_000);
                }))
            }
            9 => op(Op::GetChildrenValues { job }),
            10 => op(Op::GetIgnoredChildrenFailures { job }),
            11 => op(Op::GetDependenciesCount { job }),
            12 => add_numbered().parent("a").opts(|o| policy.set(o)),
            _ => op(wait_for(Some(Parent { id: "b".into(), queue: "{p}:q".into() }))),
        }
    })
}

/// Adds children to another queue, and works on that.
pub(super) fn elsewhere() -> impl Strategy<Value = Step> {
    (0..8_u8, Policy::any()).prop_map(|(kind, policy)| {
        let there = |id| {
            let mut child = node(id, []).opts(|o| policy.set(o));
            child.queue_name = "r".into();
            child
        };
        match kind {
            0 | 1 => flow(node("a", [there("b"), there("d")])),
            2 => on("r", fetch()),
            3 => on("r", complete("$last")),
            4 => on("r", fail("$last").unrecoverable()),
            5 => on("r", op(Op::Drain { delayed: true })),
            6 => on("r", op(Op::Remove { job: "b".into(), opts: RemoveOpts { remove_children: true } })),
            _ => on("r", op(Op::RetryJob { job: "b".into(), state: "failed".into(), opts: RetryOpts::default() })),
        }
    })
}

/// Makes, removes and reads schedulers.
pub(super) fn scheduled() -> impl Strategy<Value = Step> {
    let kinds = (select(vec!["s", "r"]), 0..8_u8, select(vec![60_000_u64, 1_000]), select(vec![None, Some(2)]));
    kinds.prop_map(|(scheduler, kind, every, priority)| {
        let scheduler = scheduler.to_owned();
        let mut repeat = Repeat { every: Some(every), ..Repeat::default() };
        match kind {
            0 => return op(Op::RemoveJobScheduler { scheduler }),
            1 => return op(Op::GetJobScheduler { scheduler }),
            2 => return op(Op::GetJobSchedulers),
            3 => repeat = Repeat { pattern: Some("*/2 * * * * *".into()), tz: Some("UTC".into()), ..Repeat::default() },
            4 => repeat.offset = Some(250),
            5 => repeat.limit = Some(2),
            _ => {}
        }
        let opts = Some(JobOpts { priority, ..JobOpts::default() });
        op(Op::UpsertJobScheduler { scheduler, repeat, template: Template { opts, ..Template::default() } })
    })
}
