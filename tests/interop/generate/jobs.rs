//! Steps about one job.

use proptest::prelude::*;
use proptest::sample::select;

use crate::interop::ops::*;
use crate::interop::scenarios::{Step, add, add_numbered, complete, fail, op};
use crate::interop::twin::BEGIN;

/// One of the few ids, or the job that was handed out last.
pub(super) fn id() -> impl Strategy<Value = String> {
    select(vec!["$last", "a", "b", "c"]).prop_map(str::to_owned)
}

/// Adds a job.
pub(super) fn new() -> impl Strategy<Value = Step> {
    let placed = (
        select(vec![Some("a"), Some("b"), Some("c"), None]),
        select(vec![0, 0, 0, 1_000, 5_000]),
        select(vec![0, 0, 1, 2]),
        any::<bool>(),
    );
    let tried = (select(vec![0_u32, 2, 3]), select(vec![None, Some(("fixed", 1_000)), Some(("exponential", 500))]));
    (placed, tried, dedup(), keep()).prop_map(|((id, delay, priority, lifo), (attempts, backoff), dedup, keep)| {
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
        if let Some(rules) = dedup {
            step = step.dedup("x", |d| *d = Deduplication { id: d.id.clone(), ..rules });
        }
        step.opts(|o| {
            o.remove_on_complete.clone_from(&keep);
            o.remove_on_fail = keep;
        })
    })
}

/// How a job is deduplicated, if it is. A window is much longer than any scenario, since Redis measures it by a clock
/// of its own.
fn dedup() -> impl Strategy<Value = Option<Deduplication>> {
    let rules = |replace, keep, ttl, extend| {
        Some(Deduplication {
            replace: Some(true).filter(|_| replace),
            keep_last_if_active: Some(true).filter(|_| keep),
            ttl: Some(900_000).filter(|_| ttl),
            extend: Some(true).filter(|_| extend),
            ..Deduplication::default()
        })
    };
    select(vec![
        None,
        None,
        None,
        rules(false, false, false, false),
        rules(true, false, false, false),
        rules(false, true, false, false),
        rules(false, false, true, false),
        rules(false, false, true, true),
        rules(true, false, true, true),
        rules(true, true, false, false),
    ])
}

/// How long a job is kept when it has ended.
fn keep() -> impl Strategy<Value = Option<Keep>> {
    let rules = |count, age, limit| Some(Keep::Rules(KeepRules { count, age, limit }));
    select(vec![
        None,
        None,
        Some(Keep::Remove(true)),
        Some(Keep::Count(1)),
        Some(Keep::Count(2)),
        rules(None, Some(2), None),
        rules(Some(2), Some(1), Some(1)),
        rules(Some(0), Some(1), None),
    ])
}

/// Ends a job.
pub(super) fn finish(id: impl Strategy<Value = String>) -> impl Strategy<Value = Step> {
    let how = (any::<bool>(), any::<bool>(), select(vec![false, false, true]));
    (id, how).prop_map(|(id, (ok, next, last))| {
        let step = if ok { complete(&id) } else { fail(&id) };
        let step = if next { step.and_fetch() } else { step };
        if last && !ok { step.unrecoverable() } else { step }
    })
}

/// Does with a job what only its worker may.
pub(super) fn held(id: impl Strategy<Value = String>) -> impl Strategy<Value = Step> {
    (id, 0..3_u8).prop_map(|(job, kind)| {
        let token = "t".to_owned();
        op(match kind {
            0 => Op::MoveToWait { job, token },
            1 => Op::MoveToDelayed { job, token, timestamp: BEGIN + 3_000 },
            _ => Op::ExtendLock { job, token, duration: 60_000 },
        })
    })
}

/// Does with a job what anybody may.
pub(super) fn one_job(id: impl Strategy<Value = String>) -> impl Strategy<Value = Step> {
    let priority =
        |job, priority, lifo| Op::ChangePriority { job, opts: PriorityOpts { priority: Some(priority), lifo } };
    let afresh = RetryOpts { reset_attempts_made: true, reset_attempts_started: true };
    (id, 0..18_u8).prop_map(move |(job, kind)| {
        op(match kind {
            0 => Op::Promote { job },
            1 => Op::ChangeDelay { job, delay: 2_000 },
            2 => priority(job, 1, None),
            3 => priority(job, 0, Some(true)),
            4 => Op::RetryJob { job, state: "failed".into(), opts: RetryOpts::default() },
            5 => Op::RetryJob { job, state: "completed".into(), opts: afresh },
            6 => Op::Remove { job, opts: RemoveOpts { remove_children: true } },
            7 => Op::UpdateProgress { job, progress: serde_json::json!(50) },
            8 => priority(job, 2, Some(true)),
            9 => Op::Remove { job, opts: RemoveOpts { remove_children: false } },
            10 => Op::RemoveUnprocessedChildren { job },
            11 => Op::UpdateData { job, data: serde_json::json!({ "u": 1 }) },
            12 => Op::Log { job, row: "l".into() },
            13 => Op::ChangeDelay { job, delay: 0 },
            14 => Op::RemoveJobDeduplicationKey { job },
            15 => Op::RemoveJob { job },
            16 => Op::IsFinished { job },
            _ => Op::GetFlow { job },
        })
    })
}
