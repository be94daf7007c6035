//! What is kept of finished jobs: protocol 03 D.3.

use super::*;

/// Keeping.
pub fn scenarios() -> Vec<Scenario> {
    let finished = |ids: &[&str], keep: Option<Keep>| -> Vec<Step> {
        ids.iter()
            .flat_map(|id| [add(id).opts(|o| o.remove_on_complete = keep.clone()), fetch(), complete(id)])
            .collect()
    };
    let broken = |ids: &[&str], keep: Option<Keep>| -> Vec<Step> {
        ids.iter().flat_map(|id| [add(id).opts(|o| o.remove_on_fail = keep.clone()), fetch(), fail(id)]).collect()
    };
    let rules =
        |count: Option<i64>, age: Option<u64>, limit: Option<u64>| Some(Keep::Rules(KeepRules { count, age, limit }));
    let worker_keeps = |count: i64| {
        worker(|w| {
            w.remove_on_complete = Some(KeepRules { count: Some(count), ..KeepRules::default() });
            w.remove_on_fail = Some(KeepRules { count: Some(count), ..KeepRules::default() });
        })
    };
    vec![
        scenario(
            "a failed child that is dropped for a newer one releases its parent",
            [
                flow(node("p", [node("c", [])])),
                add("b").opts(|o| o.remove_on_fail = Some(Keep::Count(1))),
                fetch(),
                fail("$last"),
                fetch(),
                fail("$last"),
                state("p"),
                counts(),
            ],
        ),
        scenario("all are kept", finished(&["a", "b", "c"], None)),
        scenario("none is kept", finished(&["a", "b"], Some(Keep::Remove(true)))),
        scenario("false keeps all", finished(&["a", "b"], Some(Keep::Remove(false)))),
        scenario("the newest two are kept", finished(&["a", "b", "c", "d"], Some(Keep::Count(2)))),
        scenario(
            "count 0 keeps none, but leaves the old",
            [finished(&["a"], None), finished(&["b"], Some(Keep::Count(0)))].concat(),
        ),
        scenario(
            "failed jobs are kept by the same rules",
            [broken(&["a", "b", "c"], Some(Keep::Count(1))), broken(&["d"], Some(Keep::Remove(true)))].concat(),
        ),
        scenario(
            "old ones go by age",
            [finished(&["a", "b"], None), vec![wait(60_000)], finished(&["c"], rules(None, Some(30), None))].concat(),
        ),
        scenario("age 0 keeps not even the job itself", finished(&["a"], rules(None, Some(0), None))),
        scenario(
            "age and count together",
            [
                finished(&["a", "b"], None),
                vec![wait(60_000)],
                finished(&["c", "d", "e"], rules(Some(2), Some(30), None)),
            ]
            .concat(),
        ),
        scenario(
            "so many at a time by age",
            [
                finished(&["a", "b", "c", "d"], None),
                vec![wait(60_000)],
                finished(&["e"], rules(None, Some(30), Some(2))),
            ]
            .concat(),
        ),
        scenario("empty rules keep all", finished(&["a", "b"], rules(None, None, None))),
        scenario(
            "the worker has rules of its own",
            [vec![worker_keeps(1)], finished(&["a", "b"], None), broken(&["c", "d"], None)].concat(),
        ),
        scenario(
            "the job's rules win",
            [vec![worker_keeps(0)], finished(&["a", "b"], Some(Keep::Remove(false)))].concat(),
        ),
        scenario(
            "a removed job takes its logs with it",
            [
                add("a").opts(|o| o.remove_on_complete = Some(Keep::Remove(true))),
                op(Op::AddJobLog { job: "a".into(), row: "line".into(), keep: None }),
                fetch(),
                complete("a"),
                get("a"),
            ],
        ),
        scenario(
            "evicted jobs take their logs with them",
            [
                add("a"),
                op(Op::AddJobLog { job: "a".into(), row: "line".into(), keep: None }),
                fetch(),
                complete("a"),
                add("b").opts(|o| o.remove_on_complete = Some(Keep::Count(1))),
                fetch(),
                complete("b"),
            ],
        ),
        scenario(
            "a repeated failure removes nothing",
            [
                add("a").attempts(2).opts(|o| o.remove_on_fail = Some(Keep::Remove(true))),
                fetch(),
                fail("a"),
                get("a"),
                fetch(),
                fail("a"),
                get("a"),
            ],
        ),
        scenario(
            "evicted jobs keep their deduplication key",
            [
                add("a")
                    .dedup("x", |d| d.ttl = Some(600_000))
                    .opts(|o| o.remove_on_complete = Some(Keep::Remove(true))),
                fetch(),
                complete("a"),
                add("b").dedup("x", |d| d.ttl = Some(600_000)),
            ],
        )
        .not_v5("it announces debounced besides deduplicated"),
    ]
}
