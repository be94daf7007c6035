//! What becomes of parents whose children fail, are retried, shared with other parents, or gone: protocol 04.

use super::*;

/// Families in trouble.
pub fn scenarios() -> Vec<Scenario> {
    let deps = |job: &str| op(Op::GetDependencies { job: job.into() });
    let deps_count = |job: &str| op(Op::GetDependenciesCount { job: job.into() });
    let values = |job: &str| op(Op::GetChildrenValues { job: job.into() });
    let ignored = |job: &str| op(Op::GetIgnoredChildrenFailures { job: job.into() });
    let remove =
        |job: &str, remove_children: bool| op(Op::Remove { job: job.into(), opts: RemoveOpts { remove_children } });
    let pair = || flow(node("p", [node("c", []), node("d", [])]));
    let retry =
        |job: &str, from: &str| op(Op::RetryJob { job: job.into(), state: from.into(), opts: RetryOpts::default() });
    vec![
        scenario(
            "the policy of a child is read from its link",
            [
                flow(node("p", [node("c", []).opts(|o| o.fail_parent_on_failure = Some(true)), node("d", [])])),
                redis(r#"HSET {q}:c parent {"id":"p","queueKey":"{q}","idof":true}"#),
                fetch(),
                fail("c"),
                deps("p"),
                state("p"),
            ],
        ),
        scenario(
            "a child that its parent no longer waits for moves nothing",
            [
                flow(node("p", [node("c", []), node("d", []).opts(|o| o.fail_parent_on_failure = Some(true))])),
                redis("DEL {q}:p:dependencies"),
                fetch(),
                complete("c"),
                fetch(),
                fail("d"),
                deps("p"),
                get("p"),
                state("p"),
            ],
        ),
        scenario(
            "results of children are stored as JSON and failures as text",
            [
                flow(node("p", [node("c", []), node("d", []).opts(|o| o.ignore_dependency_on_failure = Some(true))])),
                fetch(),
                complete_with("c", json!(null)),
                fetch(),
                op(Op::MoveToFailed {
                    job: "d".into(),
                    token: "t".into(),
                    message: "\"quoted\" [text".into(),
                    kind: FailKind::Error,
                    fetch_next: false,
                }),
                values("p"),
                ignored("p"),
                deps("p"),
                state("p"),
            ],
        ),
        scenario(
            "a parent that a removed child lets go is next, whatever its delay and priority",
            [
                flow(node("p", [node("c", [])]).opts(|o| {
                    o.priority = Some(5);
                    o.delay = Some(5_000);
                })),
                add("x"),
                remove("c", true),
                get("p"),
                state("p"),
                fetch(),
            ],
        ),
        scenario(
            "children fail a parent that has a delay",
            [
                flow(
                    node("p", ["c", "d"].map(|id| node(id, []).opts(|o| o.fail_parent_on_failure = Some(true)))).opts(
                        |o| {
                            o.priority = Some(2);
                            o.delay = Some(5_000);
                        },
                    ),
                ),
                fetch(),
                fail("c"),
                get("p"),
                state("p"),
                fetch(),
                fail("d"),
                get("p"),
                state("p"),
            ],
        ),
        scenario(
            "a retried child does not call back its parent",
            [
                flow(node("p", [node("c", []).opts(|o| o.fail_parent_on_failure = Some(true)), node("d", [])])),
                fetch(),
                fail("c"),
                retry("c", "failed"),
                get("p"),
                deps("p"),
                state("p"),
                fetch(),
                state("p"),
            ],
        )
        .not_v5("fetching by hand fails the job by itself"),
        scenario(
            "a parent that a child has failed is retried after its child",
            [
                flow(
                    node("p", [node("c", []).opts(|o| o.fail_parent_on_failure = Some(true))])
                        .opts(|o| o.attempts = Some(5)),
                ),
                fetch(),
                fail("c"),
                fetch(),
                op(Op::MoveToFailed {
                    job: "p".into(),
                    token: "t".into(),
                    message: "child failed".into(),
                    kind: FailKind::Unrecoverable,
                    fetch_next: false,
                }),
                get("p"),
                retry("c", "failed"),
                fetch(),
                complete("c"),
                retry("p", "failed"),
                fetch(),
                complete("p"),
                values("p"),
            ],
        )
        .not_v5("fetching by hand fails the job by itself"),
        scenario(
            "a completed parent that a child has failed cannot complete again",
            [
                add("p"),
                fetch(),
                complete("p"),
                add("c").parent("p").opts(|o| o.fail_parent_on_failure = Some(true)),
                fetch(),
                fail("c"),
                get("p"),
                retry("p", "completed"),
                fetch(),
                complete("p"),
                get("p"),
            ],
        )
        .not_v5("fetching by hand fails the job by itself"),
        scenario(
            "a completed child beside a new one does not release the parent",
            [
                add("c"),
                fetch(),
                complete("c"),
                flow(node("p", [node("c", []), node("d", [])])),
                deps("p"),
                state("p"),
                fetch(),
                complete("d"),
                state("p"),
            ],
        )
        .not_v5("the parent is released by the add of the child"),
        scenario(
            "a child of another parent keeps the new one waiting",
            [
                pair(),
                flow(node("r", [node("c", [])])),
                get("r"),
                deps("r"),
                state("r"),
                flow(node("s", [node("d", []), node("e", [])])),
                fetch(),
                fetch(),
                fetch(),
                complete("e"),
                deps("s"),
                state("s"),
            ],
        ),
        scenario(
            "a root that exists keeps its state",
            [add("p"), pair(), get("p"), state("p"), deps("p"), fetch(), complete("p"), get("p")],
        ),
        scenario(
            "children that are gone",
            [
                flow(node(
                    "p",
                    [
                        node("c", []),
                        node("d", []),
                        node("e", []).opts(|o| {
                            o.fail_parent_on_failure = Some(true);
                            o.remove_on_fail = Some(Keep::Remove(true));
                        }),
                    ],
                )),
                redis("DEL {q}:c"),
                redis("LREM {q}:wait 0 c"),
                fetch(),
                fetch(),
                fail("e"),
                op(Op::GetFlow { job: "p".into() }),
                deps("p"),
                deps_count("p"),
                get("p"),
                op(Op::RemoveUnprocessedChildren { job: "p".into() }),
                deps("p"),
                complete("d"),
                remove("p", true),
                counts(),
            ],
        ),
        scenario(
            "a parent that waits for no child",
            [
                add("p"),
                redis("LREM {q}:wait 0 p"),
                redis("ZADD {q}:waiting-children 1 p"),
                state("p"),
                deps("p"),
                retry("p", "failed"),
                op(Op::Promote { job: "p".into() }),
                add("c").parent("p"),
                fetch(),
                complete("c"),
                state("p"),
            ],
        ),
    ]
}
