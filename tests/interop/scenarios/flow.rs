//! Parents and children: protocol 04.

use super::*;

/// Flows.
pub fn scenarios() -> Vec<Scenario> {
    let deps = |job: &str| op(Op::GetDependencies { job: job.into() });
    let deps_count = |job: &str| op(Op::GetDependenciesCount { job: job.into() });
    let values = |job: &str| op(Op::GetChildrenValues { job: job.into() });
    let ignored = |job: &str| op(Op::GetIgnoredChildrenFailures { job: job.into() });
    let wait_for = |job: &str, child: Option<&str>| {
        let child = child.map(|id| Parent { id: id.into(), queue: "{p}:q".into() });
        op(Op::MoveToWaitingChildren { job: job.into(), token: "t".into(), opts: WaitOpts { child } })
    };
    let wait_for_children = |job: &str| wait_for(job, None);
    let remove =
        |job: &str, remove_children: bool| op(Op::Remove { job: job.into(), opts: RemoveOpts { remove_children } });
    let pair = || flow(node("p", [node("c", []), node("d", [])]));
    let failing = |policy: fn(&mut JobOpts)| {
        vec![
            flow(node("p", [node("c", []).opts(policy), node("d", [])])),
            fetch(),
            fail("$last"),
            deps("p"),
            deps_count("p"),
            state("p"),
            counts(),
        ]
    };
    vec![
        scenario(
            "a parent waits for its children",
            [
                pair(),
                get("p"),
                get("c"),
                deps("p"),
                deps_count("p"),
                fetch(),
                complete("$last"),
                state("p"),
                values("p"),
                fetch(),
                complete("$last"),
                state("p"),
                values("p"),
                fetch(),
                complete("p"),
                deps("p"),
            ],
        ),
        scenario(
            "a flow is read as a tree",
            [
                flow(node("p", [node("m", [node("x", []), node("y", [])]), node("d", [])])),
                op(Op::GetFlow { job: "p".into() }),
                op(Op::GetFlow { job: "m".into() }),
            ],
        ),
        scenario(
            "three levels",
            [
                flow(node("p", [node("m", [node("x", [])])])),
                fetch(),
                complete("x").and_fetch(),
                complete("m").and_fetch(),
                complete("p").and_fetch(),
                values("p"),
                values("m"),
            ],
        ),
        scenario(
            "flows across queues",
            [
                flow(node("p", [node("c", []).queue("other"), node("d", []).queue("third")])),
                on("other", fetch()),
                on("other", complete("c")),
                on("third", fetch()),
                on("third", complete("d")),
                fetch(),
                complete("p"),
                values("p"),
            ],
        ),
        scenario("a root without children is a job", [flow(node("p", [])), get("p"), fetch(), complete("p")]),
        scenario(
            "a parent with a priority",
            [
                flow(node("p", [node("c", [])]).opts(|o| o.priority = Some(4))),
                fetch(),
                complete("c"),
                state("p"),
                fetch(),
            ],
        ),
        scenario(
            "a parent with a delay",
            [
                flow(node("p", [node("c", [])]).opts(|o| o.delay = Some(5_000))),
                fetch(),
                complete("c"),
                state("p"),
                fetch(),
                wait(6_000),
                fetch(),
            ],
        ),
        scenario(
            "children with options of their own",
            [
                flow(node(
                    "p",
                    [
                        node("c", []).opts(|o| o.priority = Some(2)),
                        node("d", []).opts(|o| o.delay = Some(1_000)),
                        node("e", []).opts(|o| o.attempts = Some(2)),
                    ],
                )),
                fetch(),
                fetch(),
                fail("$last"),
                fetch(),
                counts(),
            ],
        ),
        scenario(
            "several flows at once",
            [
                op(Op::FlowAddBulk {
                    flows: vec![node("p", [node("c", [])]), node("r", []), node("s", [node("x", []), node("y", [])])],
                }),
                counts(),
            ],
        ),
        scenario(
            "a parent cannot complete with pending children",
            [pair(), redis("ZREM {q}:waiting-children p"), redis("RPUSH {q}:wait p"), fetch(), complete("p"), get("p")],
        ),
        scenario("a failed child blocks its parent", failing(|_| {})),
        scenario(
            "a failed child is ignored",
            [
                failing(|o| o.ignore_dependency_on_failure = Some(true)),
                vec![ignored("p"), fetch(), complete("$last"), ignored("p"), fetch(), complete("p")],
            ]
            .concat(),
        ),
        scenario(
            "a failed child is forgotten",
            [
                failing(|o| o.remove_dependency_on_failure = Some(true)),
                vec![fetch(), complete("$last"), fetch(), deps("p")],
            ]
            .concat(),
        ),
        scenario(
            "a failed child fails its parent",
            [failing(|o| o.fail_parent_on_failure = Some(true)), vec![get("p"), fetch(), get("p")]].concat(),
        )
        .not_v5("fetching by hand fails the job by itself"),
        scenario(
            "a failed child lets its parent go on",
            [failing(|o| o.continue_parent_on_failure = Some(true)), vec![get("p"), fetch(), get("p"), ignored("p")]]
                .concat(),
        ),
        scenario(
            "the failure climbs",
            [
                flow(node(
                    "g",
                    [node("p", [node("c", []).opts(|o| o.fail_parent_on_failure = Some(true))])
                        .opts(|o| o.fail_parent_on_failure = Some(true))],
                )),
                fetch(),
                fail("c"),
                get("p"),
                fetch(),
                op(Op::MoveToFailed {
                    job: "p".into(),
                    token: "t".into(),
                    message: "child failed".into(),
                    kind: FailKind::Unrecoverable,
                    fetch_next: false,
                }),
                get("g"),
                counts(),
            ],
        )
        .not_v5("fetching by hand fails the job by itself"),
        scenario(
            "a repeated failure is not one yet",
            [
                flow(node(
                    "p",
                    [node("c", []).opts(|o| {
                        o.attempts = Some(2);
                        o.fail_parent_on_failure = Some(true);
                    })],
                )),
                fetch(),
                fail("c"),
                state("p"),
                fetch(),
                complete("c"),
                state("p"),
            ],
        ),
        scenario(
            "a failed child is retried for its parent",
            [
                pair(),
                fetch(),
                fail("$last"),
                op(Op::RetryJob { job: "$last".into(), state: "failed".into(), opts: RetryOpts::default() }),
                deps("p"),
                fetch(),
                complete("$last"),
                fetch(),
                complete("$last"),
                state("p"),
            ],
        ),
        scenario(
            "an ignored child is retried",
            [
                flow(node("p", [node("c", []).opts(|o| o.ignore_dependency_on_failure = Some(true)), node("d", [])])),
                fetch(),
                fetch(),
                fail("c"),
                op(Op::RetryJob { job: "c".into(), state: "failed".into(), opts: RetryOpts::default() }),
                deps("p"),
                complete("d"),
                state("p"),
            ],
        ),
        scenario(
            "all failed children are retried",
            [
                flow(node("p", [node("c", []).opts(|o| o.ignore_dependency_on_failure = Some(true)), node("d", [])])),
                fetch(),
                fetch(),
                fail("c"),
                op(Op::RetryJobs { opts: BulkOpts::default() }),
                deps("p"),
            ],
        )
        .not_v5("the parent does not get it back"),
        scenario(
            "a removed child releases its parent",
            [flow(node("p", [node("c", [])])), remove("c", true), state("p"), fetch()],
        ),
        scenario("one of two children is removed", [pair(), remove("c", true), deps("p"), state("p")]),
        scenario(
            "a parent is removed with its children",
            [flow(node("p", [node("c", [node("x", [])])])), remove("p", true), counts()],
        ),
        scenario("a parent is removed with two children", [pair(), remove("p", true), counts()]),
        scenario(
            "a parent cannot complete with a failed child",
            [
                flow(node("p", [node("c", []).opts(|o| o.fail_parent_on_failure = Some(true))])),
                fetch(),
                fail("c"),
                fetch(),
                complete("p"),
                get("p"),
                wait_for_children("p"),
                state("p"),
            ],
        )
        .not_v5("fetching by hand fails the job by itself"),
        scenario(
            "a parent is removed without its children",
            [pair(), remove("p", false), counts(), fetch(), complete("$last"), fetch(), complete("$last")],
        ),
        scenario("a locked child protects its parent", [pair(), fetch(), remove("p", true), counts()]),
        scenario(
            "unprocessed children are removed",
            [
                pair(),
                fetch(),
                complete("$last"),
                op(Op::RemoveUnprocessedChildren { job: "p".into() }),
                deps("p"),
                state("p"),
                counts(),
            ],
        ),
        scenario(
            "a child is set free",
            [
                pair(),
                op(Op::RemoveChildDependency { job: "c".into() }),
                get("c"),
                op(Op::RemoveChildDependency { job: "d".into() }),
                state("p"),
            ],
        ),
        scenario(
            "a child removed on completion stays in its parent",
            [
                flow(node("p", [node("c", []).opts(|o| o.remove_on_complete = Some(Keep::Remove(true)))])),
                fetch(),
                complete("c"),
                values("p"),
                fetch(),
                complete("p"),
            ],
        ),
        scenario(
            "a child removed on failure releases its parent",
            [
                flow(node("p", [node("c", []).opts(|o| o.remove_on_fail = Some(Keep::Remove(true)))])),
                fetch(),
                fail("c"),
                state("p"),
                deps("p"),
            ],
        ),
        scenario(
            "a job waits for children that it adds",
            [
                add("p"),
                fetch(),
                add("c").parent("p"),
                add("d").parent("p"),
                wait_for_children("p"),
                get("p"),
                fetch(),
                complete("$last"),
                fetch(),
                complete("$last"),
                fetch(),
                wait_for_children("p"),
                complete("p"),
                get("p"),
            ],
        ),
        scenario(
            "a job waits for one certain child",
            [
                add("p"),
                fetch(),
                add("c").parent("p"),
                add("d").parent("p"),
                fetch(),
                complete("c"),
                wait_for("p", Some("c")),
                wait_for("p", Some("nobody")),
                wait_for("p", Some("d")),
                get("p"),
                fetch(),
                complete("d"),
                fetch(),
                wait_for("p", Some("d")),
                complete("p"),
                get("p"),
            ],
        ),
        scenario(
            "waiting for children needs the lock",
            [
                add("p"),
                fetch(),
                add("c").parent("p"),
                wait_for_children("p").token("other"),
                lose_lock("p"),
                wait_for_children("p"),
                wait_for_children("nobody"),
            ],
        ),
        scenario(
            "a parent of a paused queue is released",
            [
                flow(node("p", [node("c", []).queue("other")])),
                op(Op::Pause),
                on("other", fetch()),
                on("other", complete("c")),
                state("p"),
                op(Op::Resume),
                fetch(),
            ],
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "a deduplicated root",
            [
                flow(
                    node("p", [])
                        .opts(|o| o.deduplication = Some(Deduplication { id: "x".into(), ..Deduplication::default() })),
                ),
                flow(
                    node("r", [])
                        .opts(|o| o.deduplication = Some(Deduplication { id: "x".into(), ..Deduplication::default() })),
                ),
                counts(),
            ],
        )
        .not_v5("it announces debounced besides deduplicated"),
        scenario(
            "a parent is not deduplicated",
            [
                flow(
                    node("p", [node("c", [])])
                        .opts(|o| o.deduplication = Some(Deduplication { id: "x".into(), ..Deduplication::default() })),
                ),
                counts(),
            ],
        )
        .not_v5("it is allowed"),
        scenario("a flow with a bad node adds nothing", [flow(node("p", [node("c", []), node("5", [])])), counts()]),
        scenario(
            "a flow below an existing parent",
            [
                pair(),
                flow(
                    node("x", [node("y", [])])
                        .opts(|o| o.parent = Some(Parent { id: "p".into(), queue: "{p}:q".into() })),
                ),
                deps("p"),
                get("x"),
            ],
        ),
        scenario(
            "a flow below a missing parent",
            [
                flow(
                    node("x", [node("y", [])])
                        .opts(|o| o.parent = Some(Parent { id: "nobody".into(), queue: "{p}:q".into() })),
                ),
                counts(),
            ],
        ),
        scenario(
            "a flow with a child that exists",
            [add("c"), flow(node("p", [node("c", [])])), get("c"), deps("p"), fetch(), complete("c"), state("p")],
        ),
        scenario(
            "a flow with a child that is completed",
            [add("c"), fetch(), complete("c"), flow(node("p", [node("c", [])])), deps("p"), state("p"), fetch()],
        )
        .not_v5("the parent is released by the add of the child"),
        scenario(
            "a child that has failed is added to its parent again",
            [
                failing(|o| o.ignore_dependency_on_failure = Some(true)),
                vec![
                    add("c").parent("p").opts(|o| o.ignore_dependency_on_failure = Some(true)),
                    deps("p"),
                    fetch(),
                    complete("$last"),
                    state("p"),
                ],
            ]
            .concat(),
        )
        .not_oxmq("it is done with; the parent would wait for it for ever"),
        scenario(
            "a child that was removed as it completed is added to its parent again",
            [
                flow(node("p", [node("c", []).opts(|o| o.remove_on_complete = Some(Keep::Remove(true)))])),
                fetch(),
                complete("c"),
                add("c").parent("p"),
                deps("p"),
                counts(),
            ],
        )
        .not_oxmq("its result is recorded, and it does not run again"),
        scenario(
            "jobs that are parents of each other are removed",
            [
                flow(node("a", [node("b", []), node("c", [])])),
                flow(node("c", [node("a", [])])),
                remove("c", true),
                counts(),
            ],
        )
        .not_oxmq("each is removed once; the script of Node does not come to an end"),
        scenario(
            "a parent without id and key beside the key of a parent",
            [
                flow(node("p", [node("c", [])])),
                redis("HSET {q}:c parent {}"),
                fetch(),
                complete("c"),
                get("c"),
                get("p"),
            ],
        )
        .not_oxmq("the child fails before it runs, and not after its parent was told"),
    ]
}
