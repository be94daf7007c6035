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
    ]
}
