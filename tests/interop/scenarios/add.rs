//! Adding jobs: protocol 02.

use super::*;

/// Adding.
pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("a job is stored with data, options and events", [add("a"), get("a"), state("a")]),
        scenario("numbers are given in turn", [add_numbered(), add_numbered(), get("2")]),
        scenario("custom ids use up numbers too", [add("a"), add_numbered(), get("2")]),
        scenario("first in, first out", [vec![add("a"), add("b"), add("c")], fetches(3)].concat()),
        scenario("last in, first out", [vec![add("a"), add("b").lifo(), add("c").lifo()], fetches(3)].concat()),
        scenario(
            "priority orders, equal ones keep their turn",
            [
                vec![add("a").priority(5), add("b").priority(1), add("c").priority(5), add("d").priority(2_097_151)],
                fetches(5),
            ]
            .concat(),
        ),
        scenario("priority 0 is no priority", [add("a").priority(0), add("b").priority(1), fetch()]),
        scenario("waiting goes before prioritized", [add("a").priority(1), add("b"), fetch(), fetch()]),
        scenario("priority wins over lifo", [add("a").priority(3).lifo(), fetch()]),
        scenario(
            "the priority counter ends when the last is taken",
            [add("a").priority(3), add("b").priority(3), fetch(), fetch(), fetch(), add("c").priority(3)],
        ),
        scenario("a delayed job has a score and a marker", [add("a").delay(5_000), get("a"), state("a")]),
        scenario("delay 0 is none", [add("a").delay(0), get("a")]),
        scenario("a negative delay is none", [add("a").delay(-5), get("a")])
            .not_oxmq("a delay is a Duration, which is not negative"),
        scenario(
            "delayed jobs of one millisecond count up",
            [add("a").delay(1_000), add("b").delay(1_000), add("c").delay(500), add("d").delay(1_000)],
        )
        .frozen(),
        scenario(
            "the delay counts from the timestamp",
            [add("a").delay(5_000).opts(|o| o.timestamp = Some(BEGIN - 60_000)), fetch()],
        ),
        scenario("a timestamp is kept", [add("a").opts(|o| o.timestamp = Some(1_600_000_000_123)), get("a")]),
        scenario("timestamp 0 is now", [add("a").opts(|o| o.timestamp = Some(0)), get("a")])
            .not_oxmq("it is refused, as it would say something else in the hash than in the options"),
        scenario("delay and priority together", [add("a").delay(1_000).priority(7), wait(2_000), fetch()]),
        scenario(
            "lifo is forgotten by a delay",
            [add("a").delay(1_000).lifo(), add("b"), wait(2_000), fetch(), fetch()],
        ),
        scenario(
            "an id that exists changes nothing",
            [add("a").data(json!(1)), add("a").data(json!(2)).delay(5_000).priority(3), get("a"), fetch()],
        ),
        scenario(
            "an id that exists, whatever its state",
            [add("a"), fetch(), add("a"), complete("a"), add("a"), get("a")],
        ),
        scenario(
            "an id is free again after removal",
            [
                add("a"),
                op(Op::Remove { job: "a".into(), opts: RemoveOpts { remove_children: true } }),
                add("a").data(json!(2)),
                get("a"),
            ],
        ),
        scenario(
            "bulk is the sum of its parts",
            [add_bulk([add("a"), add("b").priority(2), add("c").delay(1_000), add("a"), add_numbered()]), counts()],
        ),
        scenario("an empty bulk is nothing", [add_bulk([])]),
        scenario(
            "bulk is checked before anything is sent",
            [add_bulk([add("a"), add("b").priority(-1).priority(2_097_152)]), counts()],
        ),
        scenario(
            "ids that look like numbers are refused",
            [add("5"), add("-5"), add("0"), add("05"), add("1.5"), add("+5"), counts()],
        ),
        scenario("an integer beyond 2^53 is no number", [add("9007199254740993"), counts()])
            .not_oxmq("every integer is refused: whether it is one must not depend on rounding"),
        scenario(
            "colons in ids are refused but for two",
            [add("a:b"), add("a:b:c"), add("a:b:c:d"), add("0:1:2"), counts()],
        ),
        scenario(
            "a number with many digits",
            [add("a")
                .opts(|o| o.backoff = Some(Backoff { kind: "fixed".into(), delay: Some(1), jitter: Some(1.0 / 3.0) }))],
        )
        .not_oxmq("options are stored as they were given"),
        scenario("an empty id is none", [add(""), counts()])
            .not_oxmq("it is refused: who gives an id wants to find the job by it"),
        scenario("an id that is a key of the queue", [add("a").delay(50), add("meta"), add("marker"), counts()])
            .not_oxmq("it is refused before it breaks the queue"),
        scenario("a priority out of range is refused", [add("a").priority(2_097_152), counts()]),
        scenario(
            "a size limit counts bytes",
            [
                add("a").data(json!("éé")).opts(|o| o.size_limit = Some(6)),
                add("b").data(json!("éé")).opts(|o| o.size_limit = Some(5)),
                add("c").data(json!("éé")).opts(|o| o.size_limit = Some(0)),
                counts(),
            ],
        ),
        scenario(
            "only one policy of a failing child",
            [
                add("a").opts(|o| {
                    o.fail_parent_on_failure = Some(true);
                    o.ignore_dependency_on_failure = Some(true);
                }),
                counts(),
            ],
        ),
        scenario(
            "a policy that is switched off is stored",
            [
                add("a").opts(|o| {
                    o.fail_parent_on_failure = Some(true);
                    o.ignore_dependency_on_failure = Some(false);
                }),
                get("a"),
            ],
        )
        .not_oxmq("a job has one policy, and nothing is stored of the others"),
        scenario(
            "jitter out of range is refused",
            [
                add("a")
                    .opts(|o| o.backoff = Some(Backoff { kind: "fixed".into(), delay: Some(1), jitter: Some(1.5) })),
                counts(),
            ],
        ),
        scenario(
            "a number that another job has",
            [add_numbered(), redis("DEL {q}:id"), add_numbered(), get("1"), get("2")],
        )
        .not_oxmq("the next free number is given, and the job that has it stays"),
        scenario(
            "data of any kind",
            [
                add("null").data(Json::Null),
                add("text").data(json!("a \"quoted\" text\n\u{1F980}")),
                add("number").data(json!(12.5)),
                add("bool").data(json!(false)),
                add("list").data(json!([1, [], {}, null])),
                add("deep").data(json!({ "a": { "b": { "c": [{}] } }, "": 1, "__proto__": 2 })),
                get("null"),
                get("text"),
                get("number"),
                get("bool"),
                get("list"),
                fetch(),
                fetch(),
                fetch(),
            ],
        ),
        scenario(
            "any name",
            [add("a").named(""), add("b").named("a b:c\u{e9}"), add("c").named("__default__"), get("a"), get("b")],
        ),
        scenario(
            "options are stored under short names",
            [
                add("a").opts(|o| {
                    o.attempts = Some(3);
                    o.backoff = Some(Backoff { kind: "exponential".into(), delay: Some(100), jitter: Some(0.5) });
                    o.remove_on_complete =
                        Some(Keep::Rules(KeepRules { age: Some(3600), count: Some(10), limit: None }));
                    o.remove_on_fail = Some(Keep::Count(5));
                    o.keep_logs = Some(10);
                    o.stack_trace_limit = Some(2);
                    o.fail_parent_on_failure = Some(true);
                    o.deduplication =
                        Some(Deduplication { id: "x".into(), ttl: Some(100_000), ..Deduplication::default() });
                    o.telemetry =
                        Some(Telemetry { metadata: Some("{\"traceparent\":\"00-1\"}".into()), omit_context: None });
                }),
                get("a"),
            ],
        ),
        scenario(
            "trace context can be left out",
            [
                add("a").opts(|o| o.telemetry = Some(Telemetry { metadata: None, omit_context: Some(true) })),
                add_bulk([add("b")
                    .opts(|o| o.telemetry = Some(Telemetry { metadata: Some("x".into()), omit_context: Some(true) }))]),
                get("a"),
                get("b"),
            ],
        ),
        scenario(
            "booleans for what is kept",
            [
                add("a").opts(|o| {
                    o.remove_on_complete = Some(Keep::Remove(true));
                    o.remove_on_fail = Some(Keep::Remove(false));
                }),
                get("a"),
            ],
        ),
        scenario(
            "defaults of the queue are merged, the id is not",
            [
                op(Op::SetQueue {
                    opts: QueueOpts {
                        default_job_options: Some(JobOpts {
                            job_id: Some("default".into()),
                            attempts: Some(5),
                            priority: Some(9),
                            ..JobOpts::default()
                        }),
                        streams: None,
                    },
                }),
                add_numbered(),
                add("a").attempts(2),
                get("1"),
                get("a"),
                add_bulk([add_numbered(), add("b").priority(1)]),
                get("b"),
            ],
        ),
        scenario(
            "the length of the event stream is set",
            [
                op(Op::SetQueue {
                    opts: QueueOpts {
                        default_job_options: None,
                        streams: Some(Streams { events: StreamLen { max_len: 77 } }),
                    },
                }),
                add("a"),
                op(Op::GetMeta),
            ],
        ),
        scenario(
            "adds to a paused queue wake nobody",
            [
                op(Op::Pause),
                add("a"),
                add("b").priority(1),
                add("c").delay(100),
                add("d").lifo(),
                counts(),
                op(Op::Resume),
                fetch(),
            ],
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "adds to a maxed queue wake nobody",
            [
                op(Op::SetGlobalConcurrency { concurrency: 1 }),
                add("a"),
                fetch(),
                add("b"),
                add("c").priority(1),
                op(Op::IsMaxed),
                fetch(),
            ],
        ),
        scenario("a parent that is missing refuses its child", [add("a").parent("nobody"), add_numbered(), counts()]),
        scenario(
            "a child is bound to its parent",
            [
                flow(node("p", [node("c", [])])),
                add("d").parent("p"),
                get("d"),
                op(Op::GetDependencies { job: "p".into() }),
            ],
        ),
        scenario(
            "an existing job becomes a child",
            [
                flow(node("p", [node("c", [])])),
                add("d"),
                add("d").parent("p"),
                get("d"),
                op(Op::GetDependencies { job: "p".into() }),
            ],
        ),
        scenario(
            "a child is not taken from its parent",
            [
                flow(node("p", [node("c", [])])),
                flow(node("r", [node("s", [])])),
                add("c").parent("r"),
                add("c"),
                add("c").parent("p"),
                get("c"),
            ],
        ),
        scenario(
            "a completed job becomes a processed child",
            [
                add("d"),
                fetch(),
                complete("d"),
                flow(node("p", [node("c", [])])),
                add("d").parent("p"),
                fetch(),
                complete("c"),
                op(Op::GetChildrenValues { job: "p".into() }),
                fetch(),
            ],
        ),
        scenario(
            "deduplication and parent exclude each other",
            [
                flow(node("p", [node("c", [])])),
                add("d").parent("p").dedup("x", |_| {}),
                add("e").dedup("", |_| {}),
                counts(),
            ],
        ),
    ]
}
