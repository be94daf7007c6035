//! Delayed jobs, promotion, changing delay and priority: protocol 03 E.5 and H.

use super::*;

/// Delays.
pub fn scenarios() -> Vec<Scenario> {
    let promote = |job: &str| op(Op::Promote { job: job.into() });
    let change = |job: &str, delay: i64| op(Op::ChangeDelay { job: job.into(), delay });
    let to_delayed =
        |job: &str, at: i64| op(Op::MoveToDelayed { job: job.into(), token: "t".into(), timestamp: BEGIN + at });
    let prioritize = |job: &str, priority: u32, lifo: bool| {
        op(Op::ChangePriority { job: job.into(), opts: PriorityOpts { priority: Some(priority), lifo: Some(lifo) } })
    };
    let promote_all = || op(Op::PromoteJobs { opts: BulkOpts::default() });
    vec![
        scenario(
            "a delayed job is taken when due, not before",
            [add("a").delay(1_000), wait(998), fetch(), fetch(), get("a")],
        ),
        scenario(
            "an empty fetch says when the next is due",
            [add("a").delay(10_000), add("b").delay(5_000), fetch(), wait(5_000), fetch(), fetch()],
        ),
        scenario(
            "a job due before time began",
            [
                redis("HSET {q}:a name n data 1 opts {} timestamp -1000000 delay 5 priority 0"),
                redis("ZADD {q}:delayed -4095979520 a"),
                add("b"),
                fetch(),
                fetch(),
            ],
        )
        .not_oxmq("it is due, and in front of all others it hides when the next one is"),
        scenario(
            "a job due after the end of time",
            [
                redis("HSET {q}:a name n data 1 opts {} timestamp 5 delay 100000000000000000000 priority 0"),
                redis("ZADD {q}:delayed 409600000000000000000000 a"),
                add("b"),
                fetch(),
                complete("b"),
                add("c").delay(1_000),
                wait(2_000),
                fetch(),
            ],
        ),
        scenario(
            "a job whose priority the options do not tell",
            [add("a"), redis("HSET {q}:a priority 3"), fetch(), complete("a")],
        ),
        scenario(
            "due jobs run in the order of their times",
            [
                add("a").delay(3_000),
                add("b").delay(1_000),
                add("c").delay(2_000),
                wait(5_000),
                fetch(),
                fetch(),
                fetch(),
            ],
        ),
        scenario(
            "due jobs of one time keep their order",
            [
                add("a").delay(1_000),
                add("b").delay(1_000),
                add("c").delay(1_000),
                wait(5_000),
                fetch(),
                fetch(),
                fetch(),
            ],
        )
        .frozen(),
        scenario(
            "due jobs go behind those that wait",
            [add("a").delay(1_000), add("b"), wait(2_000), fetch(), fetch()],
        ),
        scenario(
            "a due job with priority",
            [add("a").delay(1_000).priority(3), add("b").priority(2), wait(2_000), fetch(), fetch()],
        ),
        scenario("promoted by hand", [add("a").delay(60_000), promote("a"), get("a"), fetch(), complete("a")]),
        scenario(
            "promoted by hand with priority",
            [add("a").delay(60_000).priority(3), promote("a"), get("a"), fetch()],
        ),
        scenario(
            "only delayed jobs are promoted",
            [add("a"), promote("a"), promote("nobody"), add("b").delay(100), promote("b"), promote("b")],
        ),
        scenario(
            "promoted in a paused queue",
            [add("a").delay(60_000), op(Op::Pause), promote("a"), op(Op::Resume), fetch()],
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "all are promoted",
            [
                add("a").delay(3_000),
                add("b").delay(1_000).priority(2),
                add("c").delay(2_000),
                promote_all(),
                counts(),
                fetch(),
                fetch(),
                fetch(),
            ],
        ),
        scenario(
            "promoting all works in rounds",
            [
                add("a").delay(3_000),
                add("b").delay(1_000),
                add("c").delay(2_000),
                op(Op::PromoteJobs { opts: BulkOpts { count: Some(2), ..BulkOpts::default() } }),
                counts(),
            ],
        ),
        scenario("promoting none", [promote_all(), add("a"), promote_all()]),
        scenario(
            "a delay is changed, from now",
            [add("a").delay(60_000), wait(10_000), change("a", 1_000), get("a"), wait(2_000), fetch()],
        ),
        scenario(
            "a delay is changed to a longer one",
            [add("a").delay(1_000), add("b").delay(2_000), change("a", 60_000), wait(5_000), fetch(), fetch()],
        ),
        scenario("a delay is changed to none", [add("a").delay(60_000), change("a", 0), fetch()]),
        scenario("a delay changed within its millisecond counts up", [add("a").delay(5_000), change("a", 5_000)])
            .frozen(),
        scenario(
            "only delayed jobs change their delay",
            [add("a"), change("a", 5), change("nobody", 5), fetch(), change("a", 5), get("a")],
        ),
        scenario(
            "a worker delays its job",
            [
                add("a").attempts(2),
                fetch(),
                to_delayed("a", 5_000),
                get("a"),
                fetch(),
                wait(6_000),
                fetch(),
                get("a"),
                complete("a"),
            ],
        ),
        scenario(
            "a worker delays its job to the past",
            [add("a"), fetch(), to_delayed("a", -5_000), get("a"), fetch()],
        ),
        scenario(
            "delaying needs the lock",
            [
                add("a"),
                fetch(),
                to_delayed("a", 5_000).token("other"),
                lose_lock("a"),
                to_delayed("a", 5_000),
                to_delayed("nobody", 5_000),
                get("a"),
            ],
        ),
        scenario(
            "delaying needs the job in active",
            [add("a"), redis("SET {q}:a:lock t PX 60000"), to_delayed("a", 5_000), get("a")],
        )
        .not_oxmq("a refusal leaves everything as it was, the lock too"),
        scenario(
            "a waiting job gets a priority",
            [add("a"), add("b"), prioritize("a", 5, false), get("a"), fetch(), fetch()],
        ),
        scenario(
            "a prioritized job gets another one",
            [add("a").priority(5), add("b").priority(3), prioritize("a", 1, false), fetch(), get("a")],
        ),
        scenario(
            "a prioritized job loses its priority",
            [add("a").priority(5), add("b"), prioritize("a", 0, false), fetch(), fetch()],
        ),
        scenario(
            "a prioritized job becomes the next to run",
            [add("a").priority(5), add("b"), prioritize("a", 0, true), fetch(), fetch()],
        ),
        scenario(
            "a job goes to the front of its class",
            [add("a").priority(5), add("b").priority(5), prioritize("b", 5, true), fetch(), fetch()],
        ),
        scenario(
            "a job goes behind its class",
            [add("a").priority(5), add("b").priority(5), prioritize("a", 5, false), fetch(), fetch()],
        ),
        scenario(
            "a delayed job remembers its new priority",
            [add("a").delay(1_000), prioritize("a", 5, false), wait(2_000), fetch(), get("a")],
        ),
        scenario(
            "an active job remembers its new priority",
            [add("a").attempts(2), fetch(), prioritize("a", 5, false), fail("a"), fetch()],
        ),
        scenario("a missing job has no priority", [prioritize("nobody", 5, false)]),
        scenario(
            "priority changes in a paused queue",
            [add("a").priority(5), op(Op::Pause), prioritize("a", 2, false), op(Op::Resume), fetch()],
        ),
        scenario("a due id without a job", [redis("ZADD {q}:delayed 4096 ghost"), add("a"), fetch(), get("ghost")])
            .not_oxmq("an id without a job is dropped"),
    ]
}
