//! Job schedulers: protocol 05.

use super::*;

/// Schedulers.
pub fn scenarios() -> Vec<Scenario> {
    let upsert =
        |repeat: Repeat, template: Template| op(Op::UpsertJobScheduler { scheduler: "s".into(), repeat, template });
    let every = |ms: u64| Repeat { every: Some(ms), ..Repeat::default() };
    let cron = |pattern: &str| Repeat { pattern: Some(pattern.into()), ..Repeat::default() };
    let remove = || op(Op::RemoveJobScheduler { scheduler: "s".into() });
    let show = || op(Op::GetJobScheduler { scheduler: "s".into() });
    let list = || op(Op::GetJobSchedulers);
    let template = |priority: Option<i64>| Template {
        name: Some("tick".into()),
        data: Some(json!({ "n": 1 })),
        opts: Some(JobOpts { attempts: Some(3), priority, ..JobOpts::default() }),
    };
    let v5 = "it writes nrjid and data besides";
    vec![
        scenario(
            "every so often, the first at once",
            [upsert(every(60_000), template(None)), show(), list(), op(Op::GetJobSchedulersCount), counts()],
        ),
        scenario(
            "iterations follow one another",
            [
                upsert(every(60_000), template(None)),
                fetch(),
                show(),
                complete("$last"),
                wait(60_000),
                fetch(),
                complete("$last"),
                wait(180_000),
                fetch(),
                complete("$last"),
                show(),
            ],
        )
        .not_v5(v5),
        scenario(
            "by cron",
            [upsert(cron("*/5 * * * *"), template(None)), show(), wait(300_000), fetch(), complete("$last"), show()],
        )
        .not_v5(v5),
        scenario(
            "by cron in a time zone",
            [upsert(Repeat { tz: Some("America/New_York".into()), ..cron("0 9 * * *") }, Template::default()), show()],
        ),
        scenario(
            "by cron, the first at once",
            [
                upsert(Repeat { immediately: Some(true), ..cron("0 0 * * *") }, Template::default()),
                show(),
                fetch(),
                complete("$last"),
            ],
        )
        .not_v5(v5),
        scenario(
            "a limit of iterations",
            [
                upsert(Repeat { limit: Some(2), ..every(60_000) }, Template::default()),
                fetch(),
                complete("$last"),
                wait(60_000),
                fetch(),
                complete("$last"),
                wait(60_000),
                fetch(),
                counts(),
            ],
        )
        .not_v5(v5),
        scenario(
            "a limit counts anew with each upsert",
            [0, 1, 2]
                .into_iter()
                .flat_map(|_| {
                    let limited = || upsert(Repeat { limit: Some(2), ..every(60_000) }, Template::default());
                    [
                        limited(),
                        fetch(),
                        complete("$last"),
                        wait(60_000),
                        limited(),
                        fetch(),
                        complete("$last"),
                        wait(60_000),
                    ]
                })
                .chain([fetch(), complete("$last"), wait(60_000), fetch(), show(), counts()])
                .collect::<Vec<_>>(),
        )
        .not_v5(v5),
        scenario(
            "a start in the future",
            [
                upsert(Repeat { start_date: Some(BEGIN + 600_000), ..every(60_000) }, Template::default()),
                show(),
                wait(600_001),
                fetch(),
            ],
        )
        .not_v5(v5),
        scenario("limits of every kind together", limits_of_every_kind()).not_v5(v5),
        scenario(
            "an end in the past",
            [upsert(Repeat { end_date: Some(BEGIN - 1), ..every(60_000) }, Template::default()), counts()],
        ),
        scenario(
            "an end in the future",
            [
                upsert(Repeat { end_date: Some(BEGIN + 90_000), ..every(60_000) }, Template::default()),
                fetch(),
                complete("$last"),
                wait(60_000),
                fetch(),
                complete("$last"),
                counts(),
            ],
        )
        .not_v5(v5),
        scenario(
            "an upsert changes the interval",
            [upsert(every(60_000), template(None)), upsert(every(10_000), template(Some(2))), show(), counts()],
        ),
        scenario(
            "an upsert changes the template only",
            [
                upsert(every(60_000), template(None)),
                upsert(every(60_000), Template { name: Some("tock".into()), data: Some(json!(2)), opts: None }),
                show(),
                counts(),
            ],
        ),
        scenario(
            "an upsert while an iteration runs",
            [
                upsert(every(60_000), template(None)),
                fetch(),
                upsert(every(30_000), template(None)),
                complete("$last"),
                show(),
                counts(),
            ],
        )
        .not_v5(v5),
        scenario(
            "prioritized iterations",
            [upsert(every(60_000), template(Some(3))), fetch(), complete("$last"), wait(60_000), fetch()],
        )
        .not_v5(v5),
        scenario(
            "removal takes the next iteration",
            [upsert(every(60_000), template(None)), fetch(), remove(), remove(), show(), complete("$last"), counts()],
        )
        .not_v5(v5),
        scenario(
            "a failed iteration does not stop the next",
            [upsert(every(60_000), Template::default()), fetch(), fail("$last"), wait(60_000), fetch()],
        )
        .not_v5(v5),
        scenario(
            "interval and pattern exclude each other",
            [
                upsert(Repeat { every: Some(5), ..cron("* * * * *") }, Template::default()),
                upsert(Repeat::default(), Template::default()),
                upsert(cron("nonsense"), Template::default()),
                counts(),
            ],
        ),
        scenario(
            "an iteration whose slot is taken goes to the next",
            [redis("HSET {q}:repeat:s:1700000000001 name n"), upsert(every(60_000), template(None)), show(), counts()],
        ),
        scenario(
            "taken slots are passed over",
            [
                redis("HSET {q}:repeat:s:1700000000001 name n"),
                redis("HSET {q}:repeat:s:1700000060001 name n"),
                upsert(every(60_000), template(None)),
                show(),
                counts(),
            ],
        ),
        scenario(
            "too many taken slots refuse the scheduler",
            [
                (0..33).map(|i| redis(&format!("HSET {{q}}:repeat:s:{} name n", BEGIN + 1 + i * 60_000))).collect(),
                vec![upsert(every(60_000), template(None)), show(), counts()],
            ]
            .concat(),
        ),
        scenario(
            "by cron in a taken slot",
            [
                redis("HSET {q}:repeat:s:1700000100000 name n"),
                upsert(cron("*/5 * * * *"), template(None)),
                show(),
                counts(),
            ],
        ),
        scenario(
            "iterations with removal and backoff",
            [
                upsert(
                    every(60_000),
                    Template {
                        opts: Some(JobOpts {
                            attempts: Some(2),
                            backoff: Some(Backoff { kind: "fixed".into(), delay: Some(1_000), jitter: None }),
                            remove_on_complete: Some(Keep::Remove(true)),
                            ..JobOpts::default()
                        }),
                        ..Template::default()
                    },
                ),
                fetch(),
                fail("$last"),
                wait(2_000),
                fetch(),
                complete("$last"),
                show(),
                counts(),
            ],
        )
        .not_v5(v5),
        scenario(
            "an offset",
            [
                upsert(Repeat { offset: Some(1_234), ..every(60_000) }, template(None)),
                show(),
                wait(60_000),
                fetch(),
                show(),
                wait(200_000),
                fetch(),
                show(),
            ],
        )
        .not_v5(v5),
        scenario(
            "an upsert changes the offset only",
            [
                upsert(every(60_000), template(None)),
                upsert(Repeat { offset: Some(7), ..every(60_000) }, template(None)),
                show(),
                upsert(every(60_000), template(None)),
                show(),
            ],
        ),
        scenario(
            "from an interval to a pattern and back",
            [
                upsert(every(60_000), template(None)),
                upsert(cron("*/7 * * * *"), template(Some(1))),
                show(),
                upsert(every(30_000), Template::default()),
                show(),
                counts(),
            ],
        ),
        scenario(
            "an upsert after the runs have ended",
            [
                upsert(Repeat { limit: Some(1), ..every(60_000) }, template(None)),
                fetch(),
                complete("$last"),
                upsert(Repeat { limit: Some(1), ..every(60_000) }, template(None)),
                show(),
                wait(180_000),
                fetch(),
                complete("$last"),
                upsert(Repeat { limit: Some(1), ..every(60_000) }, template(None)),
                show(),
                counts(),
            ],
        ),
        scenario(
            "an upsert after missed slots",
            [
                upsert(every(60_000), template(None)),
                wait(130_000),
                upsert(every(60_000), template(None)),
                fetch(),
                upsert(every(60_000), template(None)),
                complete("$last"),
                show(),
                counts(),
            ],
        )
        .not_v5(v5),
        scenario(
            "an upsert by cron while an iteration runs",
            [
                upsert(Repeat { immediately: Some(true), ..cron("*/5 * * * *") }, template(None)),
                fetch(),
                upsert(cron("*/5 * * * *"), template(Some(4))),
                upsert(Repeat { immediately: Some(true), ..cron("*/5 * * * *") }, template(None)),
                complete("$last"),
                show(),
                counts(),
            ],
        )
        .not_v5(v5),
        scenario(
            "an upsert after the current iteration vanished",
            [
                upsert(every(60_000), template(None)),
                fetch(),
                complete("$last"),
                redis("DEL {q}:repeat:s:1700000060001"),
                upsert(every(60_000), template(None)),
                show(),
                counts(),
            ],
        )
        .not_v5(v5),
        scenario(
            "a deduplication in the template keeps no iteration back",
            [
                upsert(
                    every(60_000),
                    Template {
                        opts: Some(JobOpts {
                            deduplication: Some(Deduplication { id: "d".into(), ..Deduplication::default() }),
                            ..JobOpts::default()
                        }),
                        ..Template::default()
                    },
                ),
                upsert(every(60_000), Template::default()),
                show(),
                counts(),
            ],
        ),
        scenario(
            "defaults of the queue go into the template",
            [
                op(Op::SetQueue {
                    opts: QueueOpts {
                        default_job_options: Some(JobOpts { attempts: Some(4), ..JobOpts::default() }),
                        ..QueueOpts::default()
                    },
                }),
                upsert(every(60_000), Template::default()),
                show(),
            ],
        ),
        scenario(
            "data of all shapes in a template",
            [json!(null), json!({}), json!(""), json!(0), json!([]), json!({ "ü": [1.5] })]
                .map(|data| upsert(every(60_000), Template { data: Some(data), ..Template::default() }))
                .into_iter()
                .flat_map(|upsert| [upsert, show()])
                .collect::<Vec<_>>(),
        ),
        scenario(
            "removal leaves an iteration that may start",
            [upsert(every(60_000), template(None)), remove(), list(), fetch(), complete("$last"), counts()],
        ),
        scenario(
            "a repeatable job of version 5 becomes a scheduler by an upsert",
            [
                redis("ZADD {q}:repeat 1700000060000 s"),
                redis("HSET {q}:repeat:s name n every 60000"),
                redis("HSET {q}:repeat:s:1700000060000 name n data {} opts {} timestamp 1 delay 0 priority 0 rjk s"),
                redis("ZADD {q}:delayed 6963200245760000 repeat:s:1700000060000"),
                upsert(every(60_000), template(None)),
                show(),
                counts(),
            ],
        ),
        scenario(
            "an upsert in a paused queue",
            [upsert(every(60_000), template(None)), op(Op::Pause), upsert(every(60_000), template(None)), counts()],
        )
        .not_v5("it finds the iteration in `paused`")
        .not_oxmq("there is one pending run, in a paused queue too"),
        scenario(
            "two schedulers",
            [
                upsert(every(60_000), Template::default()),
                op(Op::UpsertJobScheduler {
                    scheduler: "r".into(),
                    repeat: every(30_000),
                    template: Template::default(),
                }),
                list(),
                op(Op::GetJobSchedulersCount),
                counts(),
            ],
        ),
        scenario(
            "the next iteration has name and data of the scheduler and the options of the one before",
            [
                upsert(every(60_000), template(Some(2))),
                redis("HSET {q}:repeat:s name tock data 7 every 30000 opts {}"),
                fetch(),
                show(),
                complete("$last"),
                wait(30_000),
                fetch(),
                get("$last"),
            ],
        )
        .not_v5(v5),
        scenario("an upsert in each state of the current iteration", upserts_in_each_state()).not_v5(v5),
    ]
}

/// Upserts that leave a scheduler as it is, change its interval or give it a pattern, in each state of its current run.
fn upserts_in_each_state() -> Vec<Step> {
    let every = |ms| Repeat { every: Some(ms), ..Repeat::default() };
    let cron = || Repeat { pattern: Some("*/7 * * * *".into()), ..Repeat::default() };
    let mut steps = Vec::new();
    for state in ["wait", "prioritized", "delayed", "active", "completed", "failed"] {
        for (n, change) in [every(60_000), every(45_000), cron()].into_iter().enumerate() {
            let scheduler = format!("{state}{n}");
            let upsert = |repeat| {
                op(Op::UpsertJobScheduler {
                    scheduler: scheduler.clone(),
                    repeat,
                    template: Template {
                        opts: Some(JobOpts { priority: (state == "prioritized").then_some(3), ..JobOpts::default() }),
                        ..Template::default()
                    },
                })
            };
            steps.push(upsert(Repeat {
                start_date: (state == "delayed").then_some(BEGIN + 86_400_000),
                limit: matches!(state, "completed" | "failed").then_some(1),
                ..every(60_000)
            }));
            steps.extend(match state {
                "active" => vec![fetch()],
                "completed" => vec![fetch(), complete("$last")],
                "failed" => vec![fetch(), fail("$last").unrecoverable()],
                _ => vec![],
            });
            steps.push(upsert(change));
            steps.push(op(Op::GetJobScheduler { scheduler: scheduler.clone() }));
            steps.push(counts());
            if state == "active" {
                steps.push(complete("$last"));
            }
            steps.push(op(Op::RemoveJobScheduler { scheduler: scheduler.clone() }));
            steps.push(op(Op::Drain { delayed: true }));
        }
    }
    steps
}

/// Upserts a scheduler for each third combination of limits, works for a while, upserts all again, and works on. All
/// combinations pass as well, and take three times as long.
fn limits_of_every_kind() -> Vec<Step> {
    let starts = [None, Some(BEGIN - 5_000), Some(BEGIN + 40_000)];
    let ends = [None, Some(BEGIN + 70_000)];
    let mut all = Vec::new();
    for (start_date, end_date, limit) in starts
        .into_iter()
        .flat_map(|start| ends.map(|end| (start, end)))
        .flat_map(|(start, end)| [None, Some(2)].map(|limit| (start, end, limit)))
    {
        let limits = Repeat { start_date, end_date, limit, ..Repeat::default() };
        for offset in [None, Some(250)] {
            all.push(Repeat { every: Some(30_000), offset, ..limits.clone() });
        }
        let cron = Repeat { pattern: Some("*/20 * * * * *".into()), tz: Some("UTC".into()), ..limits };
        if start_date.is_none() {
            all.push(Repeat { immediately: Some(true), ..cron.clone() });
        }
        all.push(cron);
    }
    let all: Vec<Repeat> = all.into_iter().step_by(3).collect();
    let upserts = || {
        all.iter().enumerate().map(|(n, repeat)| {
            let (scheduler, repeat) = (format!("s{n}"), repeat.clone());
            op(Op::UpsertJobScheduler { scheduler, repeat, template: Template::default() })
        })
    };
    let work = || (0..all.len()).flat_map(|_| [fetch(), complete("$last")]);
    let mut steps: Vec<Step> = upserts().collect();
    for _ in 0..2 {
        steps.extend(work());
        steps.push(wait(35_000));
    }
    steps.extend(upserts());
    steps.extend(work());
    steps.push(op(Op::GetJobSchedulers));
    steps
}
