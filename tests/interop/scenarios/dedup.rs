//! Deduplication in all its modes: protocol 02 section 10.

use super::*;

/// Deduplication.
pub fn scenarios() -> Vec<Scenario> {
    let owner = || op(Op::GetDeduplicationJobId { deduplication: "x".into() });
    let release = || op(Op::RemoveDeduplicationKey { deduplication: "x".into() });
    let simple = |id: &str| add(id).dedup("x", |_| {});
    let throttle = |id: &str| add(id).dedup("x", |d| d.ttl = Some(600_000));
    let extend = |id: &str| {
        add(id).dedup("x", |d| {
            d.ttl = Some(900_000);
            d.extend = Some(true);
        })
    };
    let replace = |id: &str| add(id).dedup("x", |d| d.replace = Some(true));
    let debounce = |id: &str| {
        add(id).delay(60_000).dedup("x", |d| {
            d.ttl = Some(60_000);
            d.extend = Some(true);
            d.replace = Some(true);
        })
    };
    let keep_last = |id: &str| add(id).dedup("x", |d| d.keep_last_if_active = Some(true));
    let remove = |id: &str| op(Op::Remove { job: id.into(), opts: RemoveOpts { remove_children: true } });
    let debounced = "it announces debounced besides deduplicated";
    vec![
        scenario(
            "simple: a second job is dropped until the first completes",
            [
                simple("a"),
                simple("b"),
                owner(),
                fetch(),
                simple("c"),
                complete("a"),
                owner(),
                simple("d"),
                owner(),
                get("d"),
            ],
        )
        .not_v5(debounced),
        scenario(
            "simple: until the first fails for good",
            [simple("a").attempts(2), fetch(), fail("a"), simple("b"), fetch(), fail("a"), simple("c")],
        )
        .not_v5(debounced),
        scenario("simple: until the first is removed", [simple("a"), remove("a"), owner(), simple("b")]),
        scenario(
            "simple: until the key is removed",
            [simple("a"), release(), release(), owner(), simple("b"), owner()],
        ),
        scenario(
            "the job removes only its own key",
            [
                simple("a"),
                op(Op::RemoveJobDeduplicationKey { job: "a".into() }),
                op(Op::RemoveJobDeduplicationKey { job: "a".into() }),
                simple("b"),
                op(Op::RemoveJobDeduplicationKey { job: "a".into() }),
                owner(),
            ],
        ),
        scenario(
            "dropped jobs use up numbers",
            [add_numbered().dedup("x", |_| {}), add_numbered().dedup("x", |_| {}), add_numbered(), counts()],
        )
        .not_v5(debounced),
        scenario(
            "ids of deduplication may be anything",
            [add("a").dedup("p:q é", |_| {}), add("b").dedup("p:q é", |_| {}), get("a")],
        )
        .not_v5(debounced),
        scenario("an existing id goes before deduplication", [add("a"), simple("a"), owner()]),
        scenario(
            "throttle: the key outlives the job",
            [
                throttle("a"),
                fetch(),
                complete("a"),
                throttle("b"),
                owner(),
                redis("DEL {q}:de:x"),
                throttle("c"),
                owner(),
            ],
        )
        .not_v5(debounced),
        scenario("throttle: removal ends it", [throttle("a"), remove("a"), throttle("b")]),
        scenario("throttle hits a simple key", [simple("a"), throttle("b"), owner()]).not_v5(debounced),
        scenario(
            "extend: the key lives on",
            [throttle("a"), extend("b"), owner(), fetch(), complete("a"), extend("c")],
        )
        .not_v5(debounced),
        scenario("extend: the first one sets it", [extend("a"), extend("b"), owner()]).not_v5(debounced),
        scenario(
            "extend without a ttl is simple",
            [
                add("a").dedup("x", |d| d.extend = Some(true)),
                add("b").dedup("x", |d| d.extend = Some(true)),
                fetch(),
                complete("a"),
                owner(),
            ],
        )
        .not_v5(debounced),
        scenario(
            "replace: a delayed owner gives way",
            [replace("a").delay(60_000), replace("b").delay(30_000), owner(), get("a"), get("b"), counts()],
        )
        .not_v5(debounced),
        scenario("replace: by one that waits", [replace("a").delay(60_000), replace("b"), owner(), counts(), fetch()])
            .not_v5(debounced),
        scenario(
            "replace: a waiting owner stays, silently",
            [replace("a"), replace("b").delay(1_000), owner(), counts()],
        ),
        scenario("replace: an active owner stays, silently", [replace("a"), fetch(), replace("b"), owner(), counts()]),
        scenario(
            "replace keeps what is left of the ttl",
            [
                add("a").delay(60_000).dedup("x", |d| {
                    d.ttl = Some(600_000);
                    d.replace = Some(true);
                }),
                redis("PEXPIRE {q}:de:x 300000"),
                add("b").delay(60_000).dedup("x", |d| {
                    d.ttl = Some(600_000);
                    d.replace = Some(true);
                }),
            ],
        )
        .not_v5(debounced),
        scenario(
            "debounce: every add starts anew",
            [debounce("a"), debounce("b"), debounce("c"), owner(), wait(120_000), fetch(), complete("$last"), owner()],
        )
        .not_v5(debounced),
        scenario(
            "keep last: the last one runs after the active one",
            [
                keep_last("a"),
                fetch(),
                keep_last("b"),
                keep_last("c"),
                owner(),
                complete("a"),
                owner(),
                counts(),
                fetch(),
                complete("$last"),
                owner(),
            ],
        )
        .not_v5(debounced),
        scenario(
            "keep last: numbered jobs",
            [
                add_numbered().dedup("x", |d| d.keep_last_if_active = Some(true)),
                fetch(),
                add_numbered().dedup("x", |d| d.keep_last_if_active = Some(true)),
                complete("1"),
                counts(),
                fetch(),
            ],
        )
        .not_v5(debounced),
        scenario(
            "keep last: fetched with the finish",
            [keep_last("a"), fetch(), keep_last("b"), complete("a").and_fetch(), complete("$last").and_fetch()],
        )
        .not_v5(debounced),
        scenario(
            "keep last: after a failure",
            [keep_last("a"), fetch(), keep_last("b").priority(3), fail("a"), fetch()],
        )
        .not_v5(debounced),
        scenario(
            "keep last: with a delay",
            [keep_last("a"), fetch(), keep_last("b").delay(5_000), complete("a"), fetch(), wait(6_000), fetch()],
        )
        .not_v5(debounced),
        scenario(
            "keep last: the id was taken meanwhile",
            [
                keep_last("a"),
                fetch(),
                keep_last("b"),
                add("b").delay(60_000),
                complete("a"),
                get("b"),
                owner(),
                counts(),
            ],
        )
        .not_v5(debounced)
        .not_oxmq("the other job keeps its id, and the deduplication ends"),
        scenario(
            "keep last: the number was taken meanwhile",
            [
                add_numbered().dedup("x", |d| d.keep_last_if_active = Some(true)),
                fetch(),
                redis("HSET {q}:dn:x name n data {} opts {}"),
                redis("SET {q}:id 0"),
                complete("1"),
                counts(),
            ],
        )
        .not_oxmq("the next free number"),
        scenario(
            "keep last: a waiting owner drops the others",
            [keep_last("a"), keep_last("b"), fetch(), complete("a"), owner()],
        )
        .not_v5(debounced),
        scenario(
            "keep last: a retried owner keeps what is stashed",
            [keep_last("a").attempts(2), fetch(), keep_last("b"), fail("a"), fetch(), complete("a"), fetch()],
        )
        .not_v5(debounced),
        scenario(
            "keep last: the owner is removed",
            [keep_last("a"), fetch(), keep_last("b"), lose_lock("a"), remove("a"), owner(), counts()],
        )
        .not_v5(debounced),
        scenario(
            "keep last persists a key with a ttl",
            [throttle("a"), fetch(), keep_last("b"), complete("a"), owner(), fetch()],
        )
        .not_v5(debounced),
        scenario(
            "reschedule: a delayed owner gets a new time",
            [
                add("a").delay(60_000).dedup("x", |d| d.reschedule = Some(true)),
                add("b").delay(5_000).dedup("x", |d| d.reschedule = Some(true)),
                get("a"),
                wait(6_000),
                fetch(),
            ],
        )
        .not_v5("it knows no reschedule"),
        scenario(
            "reschedule without a delay is due now",
            [
                add("a").delay(60_000).dedup("x", |d| d.reschedule = Some(true)),
                add("b").dedup("x", |d| d.reschedule = Some(true)),
                get("a"),
                fetch(),
            ],
        )
        .not_v5("it knows no reschedule"),
        scenario(
            "reschedule of a waiting owner is simple",
            [
                add("a").dedup("x", |d| d.reschedule = Some(true)),
                add("b").delay(5_000).dedup("x", |d| d.reschedule = Some(true)),
                get("a"),
            ],
        )
        .not_v5(debounced),
        scenario(
            "a stale key is taken over",
            [simple("a"), redis("DEL {q}:a"), redis("DEL {q}:wait"), simple("b"), owner()],
        )
        .not_v5("it is not"),
        scenario(
            "a stale key with a ttl is not",
            [throttle("a"), redis("DEL {q}:a"), redis("DEL {q}:wait"), throttle("b"), owner()],
        )
        .not_v5(debounced),
        scenario(
            "a retry does not bring the key back",
            [
                simple("a"),
                fetch(),
                fail("a"),
                op(Op::RetryJob { job: "a".into(), state: "failed".into(), opts: RetryOpts::default() }),
                owner(),
                simple("b"),
            ],
        ),
        scenario("draining ends deduplication", [simple("a"), op(Op::Drain { delayed: true }), owner(), simple("b")]),
        scenario(
            "cleaning ends deduplication",
            [
                throttle("a"),
                fetch(),
                complete("a"),
                wait(1_000),
                op(Op::Clean { grace: 0, limit: 0, state: "completed".into() }),
                owner(),
            ],
        ),
        scenario("bulk is deduplicated too", [add_bulk([simple("a"), simple("b"), add("c")]), counts()])
            .not_v5(debounced),
        scenario(
            "a bulk that replaces a delayed job among others of its millisecond",
            [add_bulk([add("a").delay(1_000), replace("b").delay(1_000), replace("c").delay(1_000)]), counts()],
        )
        .frozen()
        .not_v5("`debounced` precedes `deduplicated`")
        .not_oxmq("a bulk looks at the order of a millisecond once, so the new job goes behind the others"),
    ]
}
