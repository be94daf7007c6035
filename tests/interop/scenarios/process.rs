//! Taking, locking and finishing jobs: protocol 03 A to D.

use super::*;

/// Processing.
pub fn scenarios() -> Vec<Scenario> {
    let extend = |job: &str| op(Op::ExtendLock { job: job.into(), token: "t".into(), duration: 90_000 });
    let to_wait = |job: &str| op(Op::MoveToWait { job: job.into(), token: "t".into() });
    vec![
        scenario("nothing to take", [fetch(), add("a"), fetch(), fetch()]),
        scenario(
            "a job is taken and completed",
            [add("a"), fetch(), get("a"), state("a"), complete("a"), get("a"), state("a")],
        ),
        scenario(
            "drained comes with the last job",
            [add("a"), add("b"), fetch(), fetch(), complete("a"), complete("b")],
        ),
        scenario(
            "drained comes with the last fetch",
            [add("a"), add("b"), fetch(), complete("a").and_fetch(), complete("$last").and_fetch()],
        ),
        scenario(
            "no drained while a job is delayed",
            [add("a"), add("b").delay(60_000), fetch(), complete("a").and_fetch()],
        ),
        scenario(
            "drained despite delayed if nothing is asked for",
            [add("a"), add("b").delay(60_000), fetch(), complete("a")],
        ),
        scenario(
            "completing fetches a prioritized job",
            [add("a"), add("b").priority(4), fetch(), complete("a").and_fetch(), complete("$last")],
        ),
        scenario(
            "completing promotes what is due",
            [
                add("a"),
                add("b").delay(1_000),
                add("c").delay(1_000).priority(2),
                fetch(),
                wait(2_000),
                complete("a").and_fetch(),
                complete("$last").and_fetch(),
            ],
        ),
        scenario(
            "results of any kind",
            [
                add("a"),
                add("b"),
                add("c"),
                add("d"),
                fetch(),
                fetch(),
                fetch(),
                fetch(),
                complete_with("a", Json::Null),
                complete_with("b", json!("text")),
                complete_with("c", json!([1, {}, []])),
                complete_with("d", json!(0)),
                get("a"),
                get("b"),
                get("c"),
                get("d"),
            ],
        ),
        scenario("a failure without attempts is final", [add("a"), fetch(), fail("a"), get("a"), state("a")]),
        scenario(
            "failing fetches the next job",
            [add("a"), add("b"), fetch(), fail("a").and_fetch(), complete("$last").and_fetch()],
        ),
        scenario("a job that is not active cannot be finished", [add("a"), complete("a"), fail("a"), get("a")]),
        scenario("a missing job cannot be finished", [complete("nobody"), fail("nobody"), counts()]),
        scenario(
            "a finished job cannot be finished again",
            [add("a"), fetch(), complete("a"), complete("a"), fail("a"), get("a")],
        ),
        scenario(
            "a lost lock refuses the finish",
            [add("a"), fetch(), lose_lock("a"), complete("a"), fail("a"), get("a")],
        ),
        scenario(
            "another's lock refuses the finish",
            [add("a"), fetch(), complete("a").token("other"), fail("a").token("other"), complete("a")],
        ),
        scenario(
            "a stolen lock refuses the old owner",
            [add("a"), fetch(), steal_lock("a"), complete("a"), extend("a"), complete("a").token("thief")],
        ),
        scenario(
            "a job out of active loses its lock in vain",
            [add("a"), fetch(), redis("LREM {q}:active 0 a"), complete("a"), get("a")],
        )
        .not_oxmq("a refusal leaves everything as it was, the lock too"),
        scenario(
            "locks are renewed by their owner",
            [add("a"), fetch(), extend("a"), extend("a").token("other"), lose_lock("a"), extend("a")],
        ),
        scenario(
            "many locks are renewed at once",
            [
                add("a"),
                add("b"),
                add("c"),
                fetch(),
                fetch().token("u"),
                fetch(),
                lose_lock("c"),
                op(Op::ExtendLocks {
                    jobs: ["a", "b", "c"].map(str::to_owned).to_vec(),
                    tokens: ["t", "t", "t"].map(str::to_owned).to_vec(),
                    duration: 90_000,
                }),
            ],
        ),
        scenario(
            "the lock lives as long as the worker says",
            [worker(|w| w.lock_duration = Some(120_000)), add("a"), fetch()],
        ),
        scenario(
            "a named worker leaves its name",
            [worker(|w| w.name = Some("ada".into())), add("a"), fetch(), get("a"), complete("a"), get("a")],
        ),
        scenario(
            "a job goes back to wait, next to run",
            [add("a"), add("b"), fetch(), to_wait("a"), get("a"), fetch(), get("a")],
        ),
        scenario(
            "a prioritized job goes back to the front of its class",
            [add("a").priority(3), add("b").priority(3), fetch(), to_wait("a"), fetch(), fetch()],
        ),
        scenario(
            "going back needs the lock",
            [add("a"), fetch(), to_wait("a").token("other"), lose_lock("a"), to_wait("a"), to_wait("nobody")],
        ),
        scenario("a paused queue hands out nothing", [add("a"), op(Op::Pause), fetch(), op(Op::Resume), fetch()])
            .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario("no drained while paused", [add("a"), fetch(), op(Op::Pause), complete("a").and_fetch()]),
        scenario(
            "delayed jobs are promoted while paused",
            [add("a").delay(1_000), op(Op::Pause), wait(2_000), fetch(), state("a")],
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "progress is stored and announced",
            [
                add("a"),
                fetch(),
                op(Op::UpdateProgress { job: "a".into(), progress: json!(42) }),
                op(Op::UpdateProgress { job: "a".into(), progress: json!({ "step": [1, 2] }) }),
                op(Op::UpdateProgress { job: "a".into(), progress: json!("half") }),
                op(Op::UpdateProgress { job: "a".into(), progress: json!(true) }),
                get("a"),
                op(Op::UpdateProgress { job: "nobody".into(), progress: json!(1) }),
                complete("a"),
                op(Op::UpdateProgress { job: "a".into(), progress: json!(100) }),
            ],
        ),
        scenario(
            "data is replaced in any state",
            [
                add("a"),
                op(Op::UpdateData { job: "a".into(), data: json!({ "new": 1 }) }),
                fetch(),
                complete("a"),
                op(Op::UpdateData { job: "a".into(), data: Json::Null }),
                get("a"),
                op(Op::UpdateData { job: "nobody".into(), data: json!(1) }),
            ],
        ),
        scenario(
            "metrics count by the minute",
            [
                vec![worker(|w| w.metrics = Some(Metrics { max_data_points: 5 }))],
                (0..7).map(|i| add(&format!("j{i}"))).collect(),
                fetches(7),
                vec![
                    complete("j0"),
                    complete("j1"),
                    wait(60_000),
                    complete("j2"),
                    complete("j3"),
                    wait(180_000),
                    complete("j4"),
                    wait(600_000),
                    complete("j5"),
                    fail("j6"),
                ],
                vec![
                    op(Op::GetMetrics { state: "completed".into() }),
                    op(Op::GetMetrics { state: "failed".into() }),
                    op(Op::ExportPrometheusMetrics { globals: [("host".to_owned(), "a\"b\\c\nd".to_owned())].into() }),
                ],
            ]
            .concat(),
        )
        .not_v5("the text for Prometheus counts the state paused too"),
        scenario(
            "metrics of retries are not counted",
            [
                worker(|w| w.metrics = Some(Metrics { max_data_points: 5 })),
                add("a").attempts(2),
                fetch(),
                fail("a"),
                op(Op::GetMetrics { state: "failed".into() }),
                fetch(),
                fail("a"),
                op(Op::GetMetrics { state: "failed".into() }),
            ],
        ),
        scenario(
            "finishing tells who waits",
            [
                add("a"),
                op(Op::IsFinished { job: "a".into() }),
                fetch(),
                complete("a"),
                op(Op::IsFinished { job: "a".into() }),
                add("b"),
                fetch(),
                fail("b"),
                op(Op::IsFinished { job: "b".into() }),
                op(Op::IsFinished { job: "nobody".into() }),
            ],
        ),
        scenario(
            "a job without a hash is a ghost",
            [redis("LPUSH {q}:wait ghost"), fetch(), complete("ghost"), get("ghost")],
        )
        .not_oxmq("an id without a job is dropped"),
        scenario(
            "moving a job to wait that is locked and not active",
            [add("a"), redis("SET {q}:a:lock t PX 60000"), to_wait("a"), get("a"), counts()],
        )
        .not_oxmq("nothing was moved, so it is refused"),
    ]
}
