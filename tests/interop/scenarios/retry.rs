//! Failing attempts, backoff, and retrying by hand: protocol 03 E, 06 section 7.

use super::*;

/// Retrying.
pub fn scenarios() -> Vec<Scenario> {
    let retry = |job: &str, state: &str, made: bool, started: bool| {
        op(Op::RetryJob {
            job: job.into(),
            state: state.into(),
            opts: RetryOpts { reset_attempts_made: made, reset_attempts_started: started },
        })
    };
    let retry_all =
        |state: &str| op(Op::RetryJobs { opts: BulkOpts { state: Some(state.into()), ..BulkOpts::default() } });
    let failed = |ids: &[&str]| -> Vec<Step> { ids.iter().flat_map(|id| [add(id), fetch(), fail(id)]).collect() };
    vec![
        scenario(
            "an attempt is repeated at once",
            [
                add("a").attempts(3),
                fetch(),
                fail("a"),
                get("a"),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                get("a"),
                state("a"),
            ],
        ),
        scenario(
            "a job that failed once completes",
            [add("a").attempts(2), fetch(), fail("a"), fetch(), complete("a"), get("a")],
        ),
        scenario(
            "a repeated job waits behind the others",
            [add("a").attempts(2), fetch(), add("b"), fail("a"), fetch(), fetch()],
        ),
        scenario(
            "a repeated lifo job is next",
            [add("a").attempts(2).lifo(), fetch(), add("b"), fail("a"), fetch(), fetch()],
        ),
        scenario(
            "a repeated prioritized job goes behind its class",
            [add("a").attempts(2).priority(3), fetch(), add("b").priority(3), fail("a"), fetch(), fetch()],
        ),
        scenario(
            "an immediate retry fetches nothing",
            [add("a").attempts(2), add("b"), fetch(), fail("a").and_fetch(), counts()],
        ),
        scenario(
            "an immediate retry promotes what is due",
            [add("a").attempts(2), add("b").delay(1_000), fetch(), wait(2_000), fail("a")],
        ),
        scenario(
            "fixed backoff",
            [
                add("a").attempts(3).backoff("fixed", 1_000),
                fetch(),
                fail("a"),
                fetch(),
                wait(999),
                fetch(),
                wait(2),
                fetch(),
                fail("a"),
                get("a"),
            ],
        ),
        scenario(
            "exponential backoff",
            [
                add("a").attempts(5).backoff("exponential", 1_000),
                fetch(),
                fail("a"),
                wait(1_000),
                fetch(),
                fail("a"),
                wait(2_000),
                fetch(),
                fail("a"),
                wait(4_000),
                fetch(),
                fail("a"),
                get("a"),
            ],
        ),
        scenario("backoff 0 is none", [add("a").attempts(3).backoff("fixed", 0), fetch(), fail("a"), fetch()]),
        scenario(
            "a delayed retry fetches the next job",
            [add("a").attempts(2).backoff("fixed", 1_000), add("b"), fetch(), fail("a").and_fetch(), complete("$last")],
        )
        .not_oxmq("the marker for the retry is written also when another job was fetched"),
        scenario(
            "a refused retry promotes nothing",
            [add("a").attempts(2), fetch(), add("b").delay(1_000), wait(2_000), fail("a").token("other"), counts()],
        )
        .not_oxmq("a refusal leaves everything as it was"),
        scenario(
            "a refused failure fetches nothing",
            [add("a").attempts(2), add("b"), fetch(), fail("a").token("other").and_fetch(), counts()],
        ),
        scenario(
            "a delayed retry finds nothing next",
            [add("a").attempts(2).backoff("fixed", 1_000), fetch(), fail("a").and_fetch()],
        ),
        scenario(
            "a custom backoff",
            [
                worker(|w| {
                    w.backoff_table.insert("mine".into(), vec![1_000, 0, -1]);
                }),
                add("a")
                    .attempts(9)
                    .opts(|o| o.backoff = Some(Backoff { kind: "mine".into(), delay: None, jitter: None })),
                fetch(),
                fail("a"),
                wait(2_000),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                get("a"),
            ],
        ),
        scenario(
            "an unrecoverable failure is final",
            [add("a").attempts(5), fetch(), fail("a").unrecoverable(), get("a")],
        ),
        scenario("the last attempt exhausts", [add("a").attempts(1), fetch(), fail("a"), get("a")]),
        scenario(
            "stack traces are limited",
            [
                add("a").attempts(4).opts(|o| o.stack_trace_limit = Some(2)),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                get("a"),
            ],
        ),
        scenario(
            "no stack traces at all",
            [add("a").attempts(2).opts(|o| o.stack_trace_limit = Some(0)), fetch(), fail("a"), get("a")],
        ),
        scenario(
            "a retry needs the lock",
            [add("a").attempts(3), fetch(), fail("a").token("other"), lose_lock("a"), fail("a"), get("a")],
        ),
        scenario(
            "a delayed retry needs the lock",
            [
                add("a").attempts(3).backoff("fixed", 1_000),
                fetch(),
                fail("a").token("other"),
                lose_lock("a"),
                fail("a"),
                get("a"),
            ],
        ),
        scenario(
            "retry after the queue was paused",
            [add("a").attempts(3), fetch(), op(Op::Pause), fail("a"), op(Op::Resume), fetch()],
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "a failed job is retried by hand",
            [failed(&["a"]), vec![retry("a", "failed", false, false), get("a"), fetch(), complete("a"), get("a")]]
                .concat(),
        ),
        scenario(
            "a completed job is retried by hand",
            [add("a"), fetch(), complete("a"), retry("a", "completed", false, false), get("a"), fetch(), complete("a")],
        ),
        scenario(
            "attempts can be reset",
            [
                add("a").attempts(2),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                retry("a", "failed", true, true),
                get("a"),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                get("a"),
            ],
        ),
        scenario(
            "one more attempt without a reset",
            [
                add("a").attempts(2),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                retry("a", "failed", false, true),
                fetch(),
                fail("a"),
                state("a"),
            ],
        ),
        scenario(
            "a prioritized job is retried with its priority",
            [add("a").priority(5), fetch(), fail("a"), retry("a", "failed", false, false), fetch()],
        )
        .not_v5("it goes to wait"),
        scenario(
            "a lifo job is retried first",
            [add("a").lifo(), fetch(), fail("a"), add("b"), retry("a", "failed", false, false), fetch()],
        ),
        scenario(
            "a retry in the wrong state",
            [
                vec![add("b"), retry("b", "failed", false, false), retry("nobody", "failed", false, false)],
                failed(&["a"]).into_iter().filter(|s| *s != fetch()).take(1).collect(),
                vec![fetch(), complete("b"), retry("b", "failed", false, false), get("b")],
            ]
            .concat(),
        ),
        scenario(
            "a retried job of a paused queue",
            [failed(&["a"]), vec![op(Op::Pause), retry("a", "failed", false, false), op(Op::Resume), fetch()]].concat(),
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "all failed jobs are retried",
            [failed(&["a", "b", "c"]), vec![retry_all("failed"), counts()], fetches(3)].concat(),
        ),
        scenario(
            "all completed jobs are retried",
            [
                add("a"),
                add("b").priority(4),
                fetch(),
                fetch(),
                complete("a"),
                complete("b"),
                retry_all("completed"),
                counts(),
                fetch(),
                get("b"),
            ],
        ),
        scenario(
            "retrying all works in rounds",
            [
                failed(&["a", "b", "c", "d", "e"]),
                vec![
                    op(Op::RetryJobs {
                        opts: BulkOpts { state: Some("failed".into()), count: Some(2), timestamp: None },
                    }),
                    counts(),
                ],
            ]
            .concat(),
        ),
        scenario(
            "retrying all up to a time",
            [
                failed(&["a"]),
                vec![wait(10_000)],
                failed(&["b"]),
                vec![
                    op(Op::RetryJobs {
                        opts: BulkOpts { state: Some("failed".into()), count: None, timestamp: Some(BEGIN + 5_000) },
                    }),
                    counts(),
                ],
            ]
            .concat(),
        ),
        scenario("retrying none", [retry_all("failed"), retry_all("completed")]),
        scenario(
            "a backoff that the worker does not know",
            [add("a").attempts(2).backoff("mine", 1_000), fetch(), fail("a"), state("a")],
        )
        .not_oxmq("the job is tried again after its delay, and not left active"),
        scenario(
            "a failure without a message",
            [
                add("a"),
                fetch(),
                op(Op::MoveToFailed {
                    job: "a".into(),
                    token: "t".into(),
                    message: String::new(),
                    kind: FailKind::Error,
                    fetch_next: false,
                }),
            ],
        )
        .not_oxmq("there is a reason always: waiting callers of Node cannot do with an empty one"),
        scenario(
            "a negative limit of stack traces",
            [
                add("a"),
                redis(r#"HSET {q}:a opts {"attempts":3,"stackTraceLimit":-1}"#),
                fetch(),
                fail("a"),
                fetch(),
                fail("a"),
                get("a"),
            ],
        )
        .not_oxmq("a number below none limits nothing"),
    ]
}
