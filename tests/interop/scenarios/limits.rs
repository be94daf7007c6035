//! Rate limits, global concurrency, pausing: protocol 03 G, 06 sections 1 and 2.

use super::*;

/// Why a marker is there that Node does not write.
const WOKEN: &str = "the marker is written, so that idle workers need not wait for their own time-out";

/// Limits.
pub fn scenarios() -> Vec<Scenario> {
    let limited = |max: u64| worker(|w| w.limiter = Some(Limiter { max, duration: 60_000 }));
    let ttl = |max: Option<u64>| op(Op::GetRateLimitTtl { max });
    let paused = "waiting jobs of a paused queue are in the list paused";
    vec![
        scenario(
            "so many in a window",
            [vec![limited(2), add("a"), add("b"), add("c")], fetches(3), vec![ttl(Some(2)), expire_limiter(), fetch()]]
                .concat(),
        ),
        scenario(
            "a limit holds for the next job too",
            [limited(1), add("a"), add("b"), fetch(), complete("a").and_fetch(), expire_limiter(), fetch()],
        ),
        scenario(
            "a limited fetch promotes nevertheless",
            [limited(1), add("a"), add("b").delay(1_000), fetch(), wait(2_000), fetch(), state("b")],
        ),
        scenario(
            "the limit of the queue",
            [
                op(Op::SetGlobalRateLimit { max: 1, duration: 60_000 }),
                op(Op::GetGlobalRateLimit),
                op(Op::GetMeta),
                add("a"),
                add("b"),
                fetch(),
                fetch(),
                ttl(None),
                op(Op::RemoveGlobalRateLimit),
                op(Op::GetGlobalRateLimit),
                fetch(),
            ],
        ),
        scenario(
            "max is the queue's, duration the worker's",
            [
                worker(|w| w.limiter = Some(Limiter { max: 10, duration: 600_000 })),
                op(Op::SetGlobalRateLimit { max: 1, duration: 60_000 }),
                add("a"),
                add("b"),
                fetch(),
                fetch(),
            ],
        ),
        scenario(
            "a queue is limited by hand",
            [
                limited(5),
                add("a"),
                op(Op::RateLimit { ms: 60_000 }),
                ttl(None),
                ttl(Some(5)),
                fetch(),
                op(Op::RemoveRateLimitKey),
                op(Op::RemoveRateLimitKey),
                fetch(),
            ],
        ),
        scenario(
            "a limit by hand without any max is none",
            [add("a"), op(Op::RateLimit { ms: 60_000 }), ttl(None), fetch()],
        ),
        scenario(
            "a worker limits and gives back",
            [
                limited(5),
                add("a"),
                add("b"),
                fetch(),
                op(Op::WorkerRateLimit { ms: 60_000 }),
                op(Op::MoveToWait { job: "a".into(), token: "t".into() }),
                fetch(),
                expire_limiter(),
                fetch(),
            ],
        ),
        scenario(
            "a limiter without an end",
            [limited(1), add("a"), add("b"), add("c"), fetch(), redis("PERSIST {q}:limiter"), fetch(), fetch()],
        )
        .not_oxmq("its window begins anew: the limit would be off for ever"),
        scenario(
            "ending a window wakes a worker",
            [
                limited(5),
                add("a"),
                op(Op::RateLimit { ms: 60_000 }),
                take_marker(),
                op(Op::RemoveRateLimitKey),
                fetch(),
            ],
        )
        .not_oxmq(WOKEN),
        scenario(
            "a free place wakes a worker",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                add("b"),
                fetch(),
                take_marker(),
                complete("a"),
                fetch(),
            ],
        )
        .not_oxmq(WOKEN),
        scenario(
            "going back with a priority wakes a worker",
            [add("a").priority(2), fetch(), take_marker(), op(Op::MoveToWait { job: "a".into(), token: "t".into() })],
        )
        .not_oxmq(WOKEN),
        scenario(
            "another priority in front wakes a worker",
            [
                add("a"),
                take_marker(),
                op(Op::ChangePriority { job: "a".into(), opts: PriorityOpts { priority: Some(2), lifo: Some(true) } }),
            ],
        )
        .not_oxmq(WOKEN),
        scenario("no limiter, no time", [ttl(None), ttl(Some(3))]),
        scenario(
            "a deferred failure is not counted",
            [limited(1), add("a"), add("b"), redis("HSET {q}:a defa why"), fetch(), fetch(), fetch()],
        )
        .not_v5("it is counted, and fetching by hand fails the job by itself"),
        scenario(
            "only so many at a time",
            [
                op(Op::SetGlobalConcurrency { concurrency: 2 }),
                op(Op::GetGlobalConcurrency),
                op(Op::IsMaxed),
                add("a"),
                add("b"),
                add("c"),
                fetch(),
                fetch(),
                op(Op::IsMaxed),
                fetch(),
                complete("a"),
                fetch(),
            ],
        ),
        scenario(
            "finishing makes room for the next",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                add("b"),
                fetch(),
                complete("a").and_fetch(),
                complete("$last").and_fetch(),
            ],
        ),
        scenario(
            "no more limit of concurrency",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                add("b"),
                fetch(),
                fetch(),
                op(Op::RemoveGlobalConcurrency),
                op(Op::GetGlobalConcurrency),
                fetch(),
            ],
        ),
        scenario(
            "a retry in a maxed queue",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a").attempts(2),
                add("b"),
                fetch(),
                fail("a"),
                fetch(),
            ],
        ),
        scenario(
            "going back in a maxed queue",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                add("b"),
                fetch(),
                op(Op::MoveToWait { job: "a".into(), token: "t".into() }),
                fetch(),
            ],
        ),
        scenario(
            "a due job of a maxed queue",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                add("b").delay(1_000),
                fetch(),
                wait(2_000),
                fetch(),
            ],
        ),
        scenario(
            "pause and resume",
            [
                op(Op::IsPaused),
                op(Op::Pause),
                op(Op::IsPaused),
                op(Op::Pause),
                op(Op::GetMeta),
                op(Op::Resume),
                op(Op::IsPaused),
                op(Op::Resume),
            ],
        ),
        scenario(
            "jobs stay in wait while paused",
            [add("a"), add("b").priority(2), op(Op::Pause), counts(), state("a"), op(Op::Resume), fetch()],
        )
        .not_v5(paused),
        scenario("resume wakes for delayed jobs", [add("a").delay(60_000), op(Op::Pause), op(Op::Resume)]),
        scenario(
            "resume merges the list of version 5",
            [
                redis("RPUSH {q}:paused a b c"),
                add("d"),
                redis("HSET {q}:meta paused 1"),
                op(Op::Resume),
                op(Op::GetRanges { states: vec!["wait".into()], start: 0, end: -1, asc: true }),
            ],
        )
        .not_v5("it overwrites wait"),
        scenario(
            "resume takes over the list of version 5",
            [
                redis("RPUSH {q}:paused a b c"),
                redis("HSET {q}:meta paused 1"),
                op(Op::Resume),
                op(Op::GetRanges { states: vec!["wait".into()], start: 0, end: -1, asc: true }),
            ],
        ),
        scenario(
            "resume of a maxed queue",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                add("b"),
                fetch(),
                op(Op::Pause),
                op(Op::Resume),
            ],
        )
        .not_v5(paused),
        scenario(
            "active jobs finish while paused",
            [add("a"), add("b"), fetch(), op(Op::Pause), complete("a"), counts()],
        )
        .not_v5(paused),
        scenario(
            "a limiter that holds text",
            [
                redis("HSET {q}:meta max 1 duration 1000"),
                redis("SET {q}:limiter x PX 60000"),
                add("a"),
                add("b"),
                fetch(),
            ],
        )
        .not_oxmq("Node's fetch fails after it has made the job active; here a new window begins"),
        scenario("a limit without a time", [redis("HSET {q}:meta max 1"), add("a"), add("b"), fetch(), fetch()])
            .not_oxmq("it is no limit; counting without an end would lock the queue"),
    ]
}
