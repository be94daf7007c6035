//! Draining, cleaning, obliterating, removing, logs: protocol 06.

use super::*;

/// Administration.
pub fn scenarios() -> Vec<Scenario> {
    let clean = |grace: i64, limit: u64, state: &str| op(Op::Clean { grace, limit, state: state.into() });
    let remove = |job: &str| op(Op::Remove { job: job.into(), opts: RemoveOpts { remove_children: true } });
    let remove_job = |job: &str| op(Op::RemoveJob { job: job.into() });
    let obliterate = |force: bool, count: Option<u64>| op(Op::Obliterate { opts: ObliterateOpts { force, count } });
    let log = |job: &str, row: &str, keep: Option<u64>| op(Op::AddJobLog { job: job.into(), row: row.into(), keep });
    let logs = |job: &str, start: i64, end: i64, asc: bool| op(Op::GetJobLogs { job: job.into(), start, end, asc });
    let everywhere = || {
        vec![
            add("done"),
            add("broken"),
            add("busy"),
            fetch(),
            complete("done"),
            fetch(),
            fail("broken"),
            fetch(),
            add("w1"),
            add("w2"),
            add("p1").priority(3),
            add("d1").delay(60_000),
            flow(node("p", [node("c", [])])),
        ]
    };
    vec![
        scenario(
            "draining leaves delayed jobs",
            [everywhere(), vec![op(Op::Drain { delayed: false }), counts()]].concat(),
        ),
        scenario(
            "draining takes delayed jobs too",
            [everywhere(), vec![op(Op::Drain { delayed: true }), counts()]].concat(),
        ),
        scenario("draining nothing", [op(Op::Drain { delayed: true }), add("a"), fetch()]),
        scenario("draining takes the logs", [add("a"), log("a", "x", None), op(Op::Drain { delayed: false })]),
        scenario(
            "draining leaves the next iteration of a scheduler",
            [
                op(Op::UpsertJobScheduler {
                    scheduler: "s".into(),
                    repeat: Repeat { every: Some(60_000), ..Repeat::default() },
                    template: Template::default(),
                }),
                add("d").delay(5_000),
                op(Op::Drain { delayed: true }),
                counts(),
            ],
        ),
        scenario(
            "cleaning by grace",
            [
                add("a"),
                add("b"),
                fetch(),
                fetch(),
                complete("a"),
                wait(10_000),
                complete("b"),
                clean(5_000, 0, "completed"),
                counts(),
                clean(0, 0, "completed"),
                counts(),
            ],
        ),
        scenario(
            "cleaning up to a limit",
            [
                add("a"),
                add("b"),
                add("c"),
                fetch(),
                fetch(),
                fetch(),
                fail("a"),
                fail("b"),
                fail("c"),
                wait(1_000),
                clean(0, 2, "failed"),
                counts(),
            ],
        ),
        scenario(
            "cleaning what waits",
            [
                add("a"),
                add("b"),
                add("c"),
                wait(1_000),
                clean(0, 2, "wait"),
                counts(),
                clean(0, 0, "waiting"),
                counts(),
            ],
        ),
        scenario("cleaning what is too young", [add("a"), clean(60_000, 0, "wait"), counts()]),
        scenario(
            "cleaning delayed jobs",
            [
                add("a").delay(5_000),
                add("b").delay(1_000),
                wait(1_000),
                clean(0, 1, "delayed"),
                counts(),
                clean(0, 0, "delayed"),
                counts(),
            ],
        ),
        scenario(
            "cleaning prioritized jobs",
            [add("a").priority(5), add("b").priority(1), wait(1_000), clean(0, 1, "prioritized"), counts()],
        ),
        scenario(
            "cleaning active jobs spares the locked",
            [add("a"), add("b"), fetch(), fetch(), lose_lock("b"), wait(1_000), clean(0, 0, "active"), counts()],
        ),
        scenario("cleaning nothing is announced", [clean(0, 0, "completed"), clean(0, 0, "wait")]),
        scenario(
            "cleaning spares the next iteration of a scheduler",
            [
                op(Op::UpsertJobScheduler {
                    scheduler: "s".into(),
                    repeat: Repeat { every: Some(60_000), ..Repeat::default() },
                    template: Template::default(),
                }),
                add("d").delay(5_000),
                wait(1_000),
                clean(0, 0, "delayed"),
                counts(),
            ],
        ),
        scenario(
            "cleaning a child removes its parent",
            [flow(node("p", [node("c", [])])), wait(1_000), clean(0, 0, "wait"), counts()],
        ),
        scenario(
            "cleaning a child in another queue releases its parent",
            [
                flow(node("p", [node("c", []).queue("other")])),
                wait(1_000),
                on("other", clean(0, 0, "wait")),
                counts(),
                fetch(),
            ],
        ),
        scenario(
            "removing, from wherever",
            [everywhere(), ["done", "broken", "w1", "w2", "p1", "d1", "nobody"].map(remove).to_vec(), vec![counts()]]
                .concat(),
        ),
        scenario(
            "a locked job is not removed",
            [add("a"), fetch(), remove("a"), remove_job("a"), lose_lock("a"), remove("a"), counts()],
        ),
        scenario("removing takes logs and keys", [add("a").dedup("x", |_| {}), log("a", "x", None), remove_job("a")]),
        scenario("removing from a paused queue", [add("a"), op(Op::Pause), remove("a"), op(Op::Resume)])
            .not_v5("prev is paused"),
        scenario(
            "a pending iteration is not removed",
            [
                op(Op::UpsertJobScheduler {
                    scheduler: "s".into(),
                    repeat: Repeat { every: Some(60_000), ..Repeat::default() },
                    template: Template::default(),
                }),
                remove("repeat:s:1700000000001"),
                remove("repeat:s:1700000040000"),
                remove("repeat:s:1699999980000"),
                counts(),
            ],
        ),
        scenario(
            "obliterating everything",
            [
                add("done"),
                add("broken"),
                fetch(),
                complete("done"),
                fetch(),
                fail("broken"),
                add("w1"),
                add("w2").dedup("x", |_| {}),
                add("p1").priority(3),
                add("d1").delay(60_000),
                obliterate(false, None),
                counts(),
                add_numbered(),
            ],
        ),
        scenario(
            "obliterating stops at active jobs",
            [
                add("a"),
                add("b"),
                fetch(),
                obliterate(false, None),
                op(Op::IsPaused),
                counts(),
                obliterate(true, None),
                counts(),
            ],
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "obliterating in rounds",
            [(0..7).map(|i| add(&format!("j{i}"))).collect(), vec![obliterate(false, Some(3)), counts()]].concat(),
        ),
        scenario("obliterating nothing", [obliterate(false, None)]),
        scenario(
            "logs are counted and kept",
            [
                add("a").opts(|o| o.keep_logs = Some(2)),
                op(Op::Log { job: "a".into(), row: "one".into() }),
                op(Op::Log { job: "a".into(), row: "two".into() }),
                op(Op::Log { job: "a".into(), row: "three".into() }),
                logs("a", 0, -1, true),
                log("a", "four", None),
                log("a", "five", Some(3)),
                logs("a", 0, -1, false),
                log("nobody", "x", None),
            ],
        ),
        scenario(
            "logs by page",
            [
                add("a"),
                log("a", "1", None),
                log("a", "2", None),
                log("a", "3", None),
                logs("a", 0, 1, true),
                logs("a", 1, 2, false),
                logs("a", -2, -1, true),
                logs("a", 5, 9, true),
                logs("nobody", 0, -1, true),
            ],
        ),
        scenario(
            "logs are cleared",
            [
                add("a"),
                log("a", "1", None),
                log("a", "2", None),
                log("a", "3", None),
                op(Op::ClearLogs { job: "a".into(), keep: Some(1) }),
                logs("a", 0, -1, true),
                op(Op::ClearLogs { job: "a".into(), keep: None }),
                logs("a", 0, -1, true),
            ],
        ),
        scenario(
            "orphans are removed",
            [
                add("a"),
                add("b"),
                log("b", "x", None),
                redis("LREM {q}:wait 0 b"),
                add("c").delay(1_000),
                add("d").priority(1),
                op(Op::RemoveOrphanedJobs),
                op(Op::RemoveOrphanedJobs),
                counts(),
            ],
        ),
        scenario("events are trimmed", [add("a"), add("b"), op(Op::TrimEvents { max: 0 }), add("c")]),
        scenario(
            "retrying all finds an id without a job",
            [redis("ZADD {q}:failed 5 ghost"), add("a"), op(Op::RetryJobs { opts: BulkOpts::default() }), counts()],
        )
        .not_oxmq("an id without a job is dropped"),
        scenario(
            "promoting all finds an id without a job",
            [redis("ZADD {q}:delayed 4096 ghost"), op(Op::PromoteJobs { opts: BulkOpts::default() }), counts()],
        )
        .not_oxmq("an id without a job is dropped"),
        scenario(
            "draining spares the next iteration of a scheduler",
            [
                redis("ZADD {q}:repeat 5 s"),
                redis("HSET {q}:repeat:s:5 name n data {} opts {} timestamp 5 delay 0 priority 0 rjk s"),
                add("a"),
                add("b"),
                redis("LPUSH {q}:wait repeat:s:5"),
                op(Op::Drain { delayed: false }),
                counts(),
            ],
        )
        .not_oxmq("what is removed leaves the list, not as many as are removed from its end"),
        scenario(
            "draining the last child of a parent, whose deduplication is another's",
            [
                flow(node("p", [node("c", [])])),
                redis("HSET {q}:c deid x"),
                redis("SET {q}:de:x other"),
                op(Op::Drain { delayed: false }),
                counts(),
            ],
        )
        .not_oxmq("a deduplication is ended by its owner only"),
        scenario(
            "cleaning compares ages",
            [
                add("a").opts(|o| o.timestamp = Some(999)),
                op(Op::Clean { grace: 1_000, limit: 10, state: "wait".into() }),
            ],
        )
        .not_oxmq("as numbers, not as texts"),
        scenario(
            "cleaning looks behind young jobs",
            [
                add("young").delay(1_000),
                add("old").delay(90_000).opts(|o| o.timestamp = Some(BEGIN - 60_000)),
                op(Op::Clean { grace: 10_000, limit: 1, state: "delayed".into() }),
            ],
        )
        .not_oxmq("the limit is of those removed, not of those looked at"),
        scenario(
            "obliterating a limited queue",
            [
                op(Op::SetGlobalRateLimit { max: 1, duration: 60_000 }),
                add("a"),
                fetch(),
                complete("a"),
                obliterate(false, None),
            ],
        )
        .not_oxmq("nothing stays, the limiter neither"),
        scenario(
            "obliterating a parent of another queue's children",
            [flow(node("p", [node("c", []).queue("other")])), obliterate(false, None)],
        )
        .not_oxmq("nothing stays, a parent that waits neither"),
        scenario(
            "obliterating a deduplicated job that has finished",
            [
                add("a").dedup("x", |d| d.ttl = Some(60_000)),
                fetch(),
                complete("a"),
                obliterate(false, None),
                op(Op::GetDeduplicationJobId { deduplication: "x".into() }),
            ],
        ),
        scenario(
            "orphans are jobs",
            [redis("SET {q}:mine x"), redis("HSET {q}:metrics:failed count 1"), op(Op::RemoveOrphanedJobs)],
        )
        .not_oxmq("only what looks like a job is deleted"),
        scenario(
            "a limit that is taken back wakes a worker",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                add("b"),
                fetch(),
                take_marker(),
                op(Op::RemoveGlobalConcurrency),
            ],
        )
        .not_oxmq("the marker is written, so that idle workers need not wait for their own time-out"),
        scenario(
            "opening a queue again without a length of its stream",
            [
                op(Op::SetQueue {
                    opts: QueueOpts {
                        streams: Some(Streams { events: StreamLen { max_len: 500 } }),
                        ..QueueOpts::default()
                    },
                }),
                op(Op::SetQueue { opts: QueueOpts::default() }),
                op(Op::GetMeta),
            ],
        )
        .not_oxmq("the length that somebody has set stays"),
    ]
}
