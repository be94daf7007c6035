//! Jobs whose worker is gone: protocol 03 F.

use super::*;

/// Stalling.
pub fn scenarios() -> Vec<Scenario> {
    let check = || op(Op::StalledCheck);
    let stalls = |job: &str| vec![check(), expire_check(), lose_lock(job), check(), expire_check()];
    vec![
        scenario("nothing stalls", [check(), check(), expire_check(), check()]),
        scenario(
            "the first check marks, the second moves",
            [vec![add("a"), fetch()], stalls("a"), vec![get("a"), state("a"), fetch(), complete("a")]].concat(),
        ),
        scenario("one check suppresses the next", [add("a"), fetch(), check(), lose_lock("a"), check(), state("a")]),
        scenario(
            "the check is suppressed as long as the worker says",
            [worker(|w| w.stalled_interval = Some(120_000)), check()],
        ),
        scenario("a job with a lock is left alone", [add("a"), fetch(), check(), expire_check(), check(), state("a")]),
        scenario(
            "a renewed lock takes the mark away",
            [
                add("a"),
                fetch(),
                check(),
                expire_check(),
                op(Op::ExtendLock { job: "a".into(), token: "t".into(), duration: 60_000 }),
                lose_lock("a"),
                check(),
                state("a"),
            ],
        ),
        scenario("a finish takes the mark away", [add("a"), fetch(), check(), complete("a"), expire_check(), check()]),
        scenario(
            "a job that stalls too often fails at the next fetch",
            [
                vec![add("a").attempts(5), fetch()],
                stalls("a"),
                vec![fetch()],
                stalls("a"),
                vec![
                    get("a"),
                    fetch(),
                    op(Op::MoveToFailed {
                        job: "a".into(),
                        token: "t".into(),
                        message: "job stalled more than allowable limit".into(),
                        kind: FailKind::Unrecoverable,
                        fetch_next: false,
                    }),
                    get("a"),
                ],
            ]
            .concat(),
        )
        .not_v5("fetching by hand fails the job by itself"),
        scenario(
            "no stall is allowed",
            [vec![worker(|w| w.max_stalled_count = Some(0)), add("a"), fetch()], stalls("a"), vec![get("a")]].concat(),
        ),
        scenario(
            "many stalls are allowed",
            [
                vec![worker(|w| w.max_stalled_count = Some(3)), add("a"), fetch()],
                stalls("a"),
                vec![fetch()],
                stalls("a"),
                vec![get("a")],
            ]
            .concat(),
        ),
        scenario(
            "a stalled job goes first, whatever its priority",
            [vec![add("a").priority(9), fetch(), add("b").priority(1), add("c")], stalls("a"), fetches(3)].concat(),
        ),
        scenario(
            "a job stalls in a paused queue",
            [vec![add("a"), fetch(), op(Op::Pause)], stalls("a"), vec![op(Op::Resume), fetch()]].concat(),
        )
        .not_v5("waiting jobs of a paused queue are in the list paused"),
        scenario(
            "a stalled job of a maxed queue",
            [
                vec![op(Op::SetGlobalConcurrency { concurrency: 1 }), add("a"), fetch(), add("b")],
                stalls("a"),
                fetches(2),
            ]
            .concat(),
        ),
        scenario(
            "an active id without a hash stalls",
            [redis("LPUSH {q}:active ghost"), check(), expire_check(), check(), get("ghost")],
        )
        .not_oxmq("an id without a job is dropped"),
        scenario(
            "an iteration of a scheduler may stall for ever",
            [vec![
                worker(|w| w.max_stalled_count = Some(0)),
                op(Op::UpsertJobScheduler {
                    scheduler: "s".into(),
                    repeat: Repeat { every: Some(60_000), ..Repeat::default() },
                    template: Template::default(),
                }),
                wait(60_000),
                fetch(),
                check(),
                expire_check(),
                lose_lock("$last"),
                check(),
                fetch(),
            ]]
            .concat(),
        )
        .not_v5("iterations are made in another order"),
    ]
}
