//! Steps about all of a queue: bulk changes, limits, the options of its worker, what is read of it, and what happens by
//! itself.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::jobs::id;
use crate::interop::ops::*;
use crate::interop::scenarios::{Step, expire_check, lose_lock, op, redis};
use crate::interop::twin::BEGIN;

/// A window or a pause that outlasts any scenario, since Redis measures it by a clock of its own.
const LONG: u64 = 900_000;

/// Changes many jobs, a limit or the worker, or asks about the whole queue.
pub(super) fn all() -> impl Strategy<Value = Step> {
    let changes = prop_oneof![6 => select(bulk()), 1 => select(seldom())];
    prop_oneof![4 => changes, 2 => select(limits()), 1 => select(workers()), 2 => select(questions())].prop_map(op)
}

fn clean(state: &str, grace: i64, limit: u64) -> Op {
    Op::Clean { grace, limit, state: state.into() }
}

fn bulk() -> Vec<Op> {
    let first = NewJob { name: "x".into(), data: json!(1), opts: JobOpts::default() };
    let second = NewJob { name: "y".into(), data: json!(2), opts: JobOpts { priority: Some(1), ..JobOpts::default() } };
    vec![
        Op::AddBulk { jobs: vec![first, second] },
        Op::Pause,
        Op::Resume,
        Op::PromoteJobs { opts: BulkOpts::default() },
        Op::RetryJobs { opts: BulkOpts::default() },
        Op::RetryJobs { opts: BulkOpts { state: Some("completed".into()), ..BulkOpts::default() } },
        Op::Drain { delayed: false },
        Op::Drain { delayed: true },
        clean("completed", 0, 2),
        clean("failed", 0, 0),
        clean("failed", 2_000, 1),
        clean("wait", 0, 1),
        clean("delayed", 0, 0),
        clean("prioritized", 0, 0),
        clean("prioritized", 500, 1),
        clean("active", 0, 0),
        Op::RemoveDeduplicationKey { deduplication: "x".into() },
        Op::RemoveOrphanedJobs,
    ]
}

/// What would end most of a scenario, or is a small variation of the others.
fn seldom() -> Vec<Op> {
    vec![
        clean("paused", 0, 0),
        clean("completed", 1_000, 3),
        clean("delayed", 0, 1),
        Op::Obliterate { opts: ObliterateOpts { force: true, count: None } },
        Op::Obliterate { opts: ObliterateOpts { force: false, count: Some(1) } },
        Op::RetryJobs { opts: BulkOpts { state: Some("failed".into()), count: Some(1), timestamp: None } },
        Op::RetryJobs {
            opts: BulkOpts { state: Some("completed".into()), count: None, timestamp: Some(BEGIN + 1_000) },
        },
        Op::PromoteJobs { opts: BulkOpts { count: Some(1), ..BulkOpts::default() } },
    ]
}

fn limits() -> Vec<Op> {
    vec![
        Op::SetGlobalConcurrency { concurrency: 1 },
        Op::SetGlobalConcurrency { concurrency: 2 },
        Op::RemoveGlobalConcurrency,
        Op::RemoveGlobalConcurrency,
        Op::SetGlobalRateLimit { max: 2, duration: LONG },
        Op::RemoveGlobalRateLimit,
        Op::RemoveRateLimitKey,
        Op::RateLimit { ms: LONG },
    ]
}

fn workers() -> Vec<Op> {
    let limited = WorkerOpts { limiter: Some(Limiter { max: 1, duration: LONG }), ..WorkerOpts::default() };
    let counting =
        WorkerOpts { metrics: Some(Metrics { max_data_points: 3 }), name: Some("w".into()), ..WorkerOpts::default() };
    let strict = WorkerOpts {
        max_stalled_count: Some(0),
        remove_on_complete: Some(KeepRules { count: Some(1), age: None, limit: None }),
        max_started_attempts: Some(2),
        ..WorkerOpts::default()
    };
    [limited, counting, strict, WorkerOpts::default()].map(|opts| Op::SetWorker { opts }).to_vec()
}

fn questions() -> Vec<Op> {
    let names = |states: &[&str]| states.iter().map(|&state| state.to_owned()).collect::<Vec<_>>();
    let every = ["active", "completed", "delayed", "failed", "prioritized", "wait", "waiting-children"];
    vec![
        Op::GetJobs { states: names(&["wait", "prioritized", "failed"]), start: 0, end: -1, asc: true },
        Op::GetJobs { states: names(&["completed", "delayed"]), start: 1, end: 2, asc: false },
        Op::GetJobCounts { states: names(&every) },
        Op::GetCountsPerPriority { priorities: vec![0, 1, 2] },
        Op::GetMetrics { state: "completed".into() },
        Op::Count,
        Op::IsMaxed,
        Op::IsPaused,
        Op::GetRateLimitTtl { max: None },
        Op::GetGlobalRateLimit,
        Op::GetMeta,
        Op::GetDeduplicationJobId { deduplication: "x".into() },
    ]
}

/// Reads a page of states or of a job's log.
pub(super) fn page() -> impl Strategy<Value = Step> {
    let states = select(vec![
        vec!["wait"],
        vec!["completed"],
        vec!["failed"],
        vec!["delayed"],
        vec!["prioritized"],
        vec!["active"],
        vec!["wait", "paused"],
        vec!["waiting-children"],
        vec!["active", "wait", "failed", "completed"],
    ]);
    (states, -4_i64..5, -4_i64..5, any::<bool>(), 0..3_u8, id()).prop_map(|(states, start, end, asc, kind, job)| {
        let states = states.into_iter().map(str::to_owned).collect();
        op(match kind {
            0 => Op::GetRanges { states, start, end, asc },
            1 => Op::GetJobs { states, start, end, asc },
            _ => Op::GetJobLogs { job, start, end, asc },
        })
    })
}

/// Lets locks end, and looks for jobs that have stalled.
pub(super) fn stall() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(op(Op::StalledCheck)),
        2 => Just(expire_check()),
        2 => id().prop_map(|id| lose_lock(&id)),
        // As a waiting worker does. Whether an operation writes a marker shows only if there is none.
        5 => Just(redis("ZPOPMIN {q}:marker")),
    ]
}
