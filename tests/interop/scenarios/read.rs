//! Getters: protocol 06 sections 9 to 11.

use super::*;

/// Reading.
pub fn scenarios() -> Vec<Scenario> {
    let texts = |states: &[&str]| -> Vec<String> { states.iter().map(|&s| s.to_owned()).collect() };
    let jobs =
        |states: &[&str], start: i64, end: i64, asc: bool| op(Op::GetJobs { states: texts(states), start, end, asc });
    let ranges =
        |states: &[&str], start: i64, end: i64, asc: bool| op(Op::GetRanges { states: texts(states), start, end, asc });
    let is = |job: &str, state: &str| op(Op::IsInState { job: job.into(), state: state.into() });
    let five = || -> Vec<Step> { (1..=5).map(|i| add(&format!("w{i}"))).collect() };
    let pages: &[(i64, i64)] = &[(0, -1), (0, 1), (1, 3), (3, 10), (-3, -1), (0, -2), (-1, -1), (2, 1), (5, 10)];
    let states = ["Completed", "Failed", "Delayed", "Active", "Waiting", "WaitingChildren"];
    vec![
        scenario(
            "pages of a list",
            [
                five(),
                pages
                    .iter()
                    .flat_map(|&(s, e)| {
                        [
                            jobs(&["wait"], s, e, true),
                            jobs(&["wait"], s, e, false),
                            ranges(&["wait"], s, e, true),
                            ranges(&["wait"], s, e, false),
                        ]
                    })
                    .collect(),
            ]
            .concat(),
        ),
        scenario(
            "pages of a sorted set",
            [
                five(),
                (1..=5).flat_map(|i| [fetch(), complete(&format!("w{i}"))]).collect(),
                pages
                    .iter()
                    .flat_map(|&(s, e)| {
                        [
                            jobs(&["completed"], s, e, true),
                            jobs(&["completed"], s, e, false),
                            ranges(&["completed"], s, e, true),
                        ]
                    })
                    .collect(),
            ]
            .concat(),
        ),
        scenario(
            "several states in one list",
            [
                add("a"),
                add("b").delay(5_000),
                add("c").priority(2),
                add("d"),
                fetch(),
                jobs(&["wait", "delayed", "prioritized", "active"], 0, -1, true),
                jobs(&["active", "wait", "active"], 0, -1, false),
                jobs(&["waiting", "wait"], 0, -1, true),
                ranges(&["delayed", "wait"], 0, -1, true),
            ],
        ),
        scenario(
            "ids without a hash are left out",
            [
                five(),
                vec![
                    redis("DEL {q}:w2"),
                    jobs(&["wait"], 0, -1, true),
                    jobs(&["wait"], 0, 2, true),
                    ranges(&["wait"], 0, -1, true),
                ],
            ]
            .concat(),
        ),
        scenario(
            "counts of some states",
            [
                add("a"),
                add("b").delay(5_000),
                add("c").priority(2),
                add("d"),
                fetch(),
                complete("a"),
                op(Op::GetJobCounts { states: texts(&["wait", "delayed", "completed"]) }),
                op(Op::Count),
                counts(),
            ],
        ),
        scenario("a count of schedulers", [op(Op::GetJobCounts { states: texts(&["repeat"]) })])
            .not_oxmq("it is no state of a job"),
        scenario("counts of all states", [add("a"), op(Op::GetJobCounts { states: vec![] })])
            .not_v5("it counts paused too"),
        scenario(
            "a legacy marker is not counted",
            [redis("RPUSH {q}:wait 0:5"), counts(), add("a"), counts(), fetch()],
        ),
        scenario(
            "counts by priority",
            [
                add("a"),
                add("b").priority(2),
                add("c").priority(2),
                add("d").priority(2_097_151),
                op(Op::GetCountsPerPriority { priorities: vec![0, 2, 7, 2, 2_097_151] }),
            ],
        ),
        scenario(
            "the state of a job, wherever it is",
            [
                vec![
                    add("done"),
                    add("broken"),
                    add("busy"),
                    fetch(),
                    complete("done"),
                    fetch(),
                    fail("broken"),
                    fetch(),
                    add("w"),
                    add("p").priority(3),
                    add("d").delay(60_000),
                    flow(node("parent", [node("c", [])])),
                ],
                ["done", "broken", "busy", "w", "p", "d", "parent", "c", "nobody"].map(state).to_vec(),
                ["done", "broken", "busy", "w", "p", "d", "parent"]
                    .iter()
                    .flat_map(|job| states.map(|s| is(job, s)))
                    .collect(),
            ]
            .concat(),
        ),
        scenario(
            "a job in the list of version 5 waits",
            [
                redis("RPUSH {q}:paused a"),
                redis("HSET {q}:a name n data {} opts {} timestamp 5 delay 0 priority 0"),
                state("a"),
                is("a", "Waiting"),
                get("a"),
            ],
        ),
        scenario(
            "a page behind many ids without a job",
            [
                (0..8).map(|i| redis(&format!("RPUSH {{q}}:wait ghost{i}"))).collect(),
                vec![
                    redis("LPUSH {q}:wait a"),
                    redis("HSET {q}:a name n data {} opts {} timestamp 5 delay 0 priority 0"),
                ],
                vec![op(Op::GetJobs { states: texts(&["wait"]), start: 0, end: 0, asc: true })],
            ]
            .concat(),
        )
        .not_oxmq("the page is filled however many there are"),
        scenario(
            "one job that cannot be read",
            [
                add("a"),
                redis("LPUSH {q}:wait b"),
                redis("HSET {q}:b name n data {} opts oops timestamp 5 delay 0 priority 0"),
                op(Op::GetJobs { states: texts(&["wait"]), start: 0, end: -1, asc: true }),
            ],
        )
        .not_oxmq("the others are listed"),
        scenario(
            "ranges of several lists",
            [
                redis("RPUSH {q}:paused b a"),
                redis("RPUSH {q}:wait d c"),
                op(Op::GetRanges { states: texts(&["paused", "waiting"]), start: 0, end: -1, asc: true }),
            ],
        )
        .not_v5("its order is right")
        .not_oxmq("each is in its order"),
        scenario(
            "numbers that are missing",
            [redis("RPUSH {q}:wait a"), redis("HSET {q}:a name n data {} opts {} timestamp 5"), get("a")],
        )
        .not_oxmq("they are read as 0, not as something that is no number"),
        scenario(
            "a missing job",
            [
                get("nobody"),
                state("nobody"),
                op(Op::IsFinished { job: "nobody".into() }),
                op(Op::GetJobLogs { job: "nobody".into(), start: 0, end: -1, asc: true }),
            ],
        ),
        scenario(
            "a job with few fields is read with defaults",
            [
                redis("HSET {q}:a name n timestamp 5 delay 0 priority 0"),
                get("a"),
                redis(
                    "HSET {q}:b name n data [1] opts {\"kl\":3,\"other\":true} timestamp 5 delay 7 priority 2 ats 3 atm 2 stc 1 progress 5 pb w",
                ),
                get("b"),
                redis("HSET {q}:c name n attemptsMade 4 atm 2 timestamp 5 delay 0 priority 0 stacktrace nonsense"),
                get("c"),
            ],
        ),
        scenario(
            "metrics of nobody",
            [op(Op::GetMetrics { state: "completed".into() }), op(Op::GetMetrics { state: "failed".into() })],
        ),
        scenario(
            "the settings of a queue",
            [
                op(Op::GetMeta),
                op(Op::SetGlobalConcurrency { concurrency: 7 }),
                op(Op::SetGlobalRateLimit { max: 3, duration: 1_000 }),
                op(Op::Pause),
                op(Op::GetMeta),
                redis("HSET {q}:meta mine kept"),
                op(Op::Resume),
                op(Op::GetMeta),
            ],
        ),
        scenario(
            "text for Prometheus",
            [add("a"), add("b").delay(100), op(Op::ExportPrometheusMetrics { globals: [].into() })],
        )
        .not_v5("it counts paused too"),
    ]
}
