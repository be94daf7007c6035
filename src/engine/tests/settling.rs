//! Compares many outcomes in one call with the same outcomes one by one.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::testing::{NOW, queue};
use crate::error::{Error, Reason};
use crate::options::KeepJobs;
use crate::script::settle::{Ask, End, Keep, Outcome, Why};
use crate::wire::JsonText;

/// A call without outcomes.
const NONE: &[Outcome] = &[];

fn done(id: &str, token: &str) -> Outcome {
    done_under(None, id, token)
}

fn done_under(keep: Keep, id: &str, token: &str) -> Outcome {
    let end = End::Completed { value: JsonText::new(format!("\"{id}\"")), keep, made: Some(3) };
    Outcome { id: id.into(), token: token.into(), start: 1, end }
}

/// Creates a queue with this many active jobs, the first of which started first.
async fn active(count: usize) -> Engine {
    let engine = queue().await;
    engine.redis("HSET @meta opts.maxLenEvents 10000").await;
    for n in 0..count {
        engine.store(&format!("j{n}"), &[("ats", "1"), ("atm", "2")]).await;
        engine.redis(&format!("SET @j{n}:lock t")).await;
        engine.redis(&format!("LPUSH @active j{n}")).await;
    }
    engine
}

async fn settle(engine: &Engine, outcomes: &[Outcome]) -> Vec<Result<i64, Reason>> {
    let decided = engine.settle(&mut Ask::default(), outcomes, || Arc::from("u"), &|_, _| true).await.unwrap();
    decided.settled.codes
}

/// Returns everything that the queue holds, as texts.
async fn contents(engine: &Engine, count: usize) -> Vec<String> {
    let mut all = vec![
        engine.says("LRANGE @active 0 -1").await,
        engine.says("ZRANGE @completed 0 -1 WITHSCORES").await,
        engine.left().await.join(" "),
        engine.says("LRANGE @wait 0 -1").await,
    ];
    for set in ["prioritized", "delayed", "failed", "marker"] {
        all.push(engine.says(&format!("ZRANGE @{set} 0 -1 WITHSCORES")).await);
    }
    for n in 0..count {
        all.push(engine.says(&format!("HGETALL @j{n}")).await);
    }
    all.extend(engine.events().await);
    all.iter().map(|text| text.replace(engine.keys.base(), "@")).collect()
}

type Codes = Vec<Result<i64, Reason>>;

/// Applies the outcomes in one call, and in another queue one by one; returns the codes and the contents of each.
async fn both_ways(count: usize, outcomes: &[Outcome], prepare: impl AsyncFn(&Engine)) -> [(Codes, Vec<String>); 2] {
    let (together, alone) = (active(count).await, active(count).await);
    prepare(&together).await;
    prepare(&alone).await;
    let codes = settle(&together, outcomes).await;
    let mut codes_alone = Vec::new();
    for outcome in outcomes {
        codes_alone.extend(settle(&alone, std::slice::from_ref(outcome)).await);
    }
    [(codes, contents(&together, count).await), (codes_alone, contents(&alone, count).await)]
}

#[tokio::test]
async fn jobs_end_together_as_they_end_one_by_one() {
    // Of 1 to 60 jobs out of 90: in the order in which they started, in reverse, and in no order.
    for count in [1, 2, 3, 8, 25, 60] {
        let orders: [Box<dyn Fn(usize) -> usize>; 3] =
            [Box::new(|n| n), Box::new(|n| 89 - n), Box::new(|n| (n * 37 + 11) % 90)];
        for order in orders {
            let outcomes: Vec<Outcome> = (0..count).map(|n| done(&format!("j{}", order(n)), "t")).collect();
            let [together, alone] = both_ways(90, &outcomes, async |_: &Engine| {}).await;
            assert_eq!(together, alone);
            assert_eq!(together.0, vec![Ok(0); count]);
            assert_eq!(together.1[0].split(' ').count(), 90 - count);
        }
    }
}

#[tokio::test]
async fn jobs_are_kept_or_deleted_together_as_they_are_one_by_one() {
    let aged = KeepJobs::new().age(Duration::from_secs(60)).limit(7);
    let rules = [None, Some(true.into()), Some(4_u32.into()), Some(aged), Some(true.into())];
    // Neighbours under the same rule, and rules that change with each job.
    for neighbours in [1, 6, 30] {
        let outcomes: Vec<Outcome> =
            (0..60).map(|n| done_under(rules[n / neighbours % 5], &format!("j{n}"), "t")).collect();
        let prepare = async |engine: &Engine| {
            for n in 0..8 {
                engine.store(&format!("old{n}"), &[]).await;
                engine.redis(&format!("ZADD @completed {n} old{n}")).await;
            }
            engine.redis("RPUSH @j1:logs line").await;
            engine.redis("RPUSH @old1:logs line").await;
            engine.redis("SADD @stalled j2 j80").await;
        };
        let [together, alone] = both_ways(90, &outcomes, prepare).await;
        assert_eq!(together, alone);
        assert_eq!(together.0, vec![Ok(0); 60]);
        // Only the last one comes to no rule that deletes it.
        assert_eq!(together.1[2].contains("j1:logs"), neighbours == 30);
    }
}

/// The n-th of several attempts that fail in every way: with and without a reason, to be made again at once, first, or
/// after a delay that counts as an attempt or not, or for good under different rules.
fn failure(n: u64, id: &str) -> Outcome {
    let why = Why {
        reason: if n % 11 == 5 { String::new() } else { format!("no {n}") },
        stacktrace: format!("[\"at {n}\"]"),
        trace: if n % 7 == 3 { "trace".to_owned() } else { String::new() },
    };
    let every = |step: u64| n.is_multiple_of(step);
    let end = match n % 5 {
        0 | 1 => End::Retry { why, lifo: every(3) },
        2 | 3 => End::Delayed { why: (!every(4)).then_some(why), delay: 1000 * (1 + n % 3), counts: every(2) },
        4 if every(3) => End::Failed { why, keep: None, attempts: 1 },
        4 if every(2) => End::Failed { why, keep: Some(true.into()), attempts: 3 },
        _ => End::Failed { why, keep: Some(2_u32.into()), attempts: 4 },
    };
    Outcome { id: id.into(), token: "t".into(), start: 1, end }
}

#[tokio::test]
async fn attempts_fail_together_as_they_fail_one_by_one() {
    let prepare = async |engine: &Engine| {
        for n in (0..60).step_by(4) {
            engine.redis(&format!("HSET @j{n} priority {}", n % 3)).await;
        }
        engine.redis("SADD @stalled j2 j80").await;
        engine.store("early", &[]).await;
        engine.redis("ZADD @delayed 4096 early").await;
    };
    for from_the_end in [false, true] {
        let place = |n| if from_the_end { 59 - n } else { n };
        let mut outcomes: Vec<Outcome> = (0..60).map(|n| failure(n, &format!("j{}", place(n)))).collect();
        let [together, alone] = both_ways(70, &outcomes, prepare).await;
        assert_eq!(together, alone);
        assert_eq!(together.0, vec![Ok(0); 60]);
        // Among others, and with what is handled by itself: a child, a planned failure, a lock of another worker, and an
        // attempt that is named twice.
        outcomes[30] = done(&format!("j{}", place(30)), "t");
        outcomes[31] = done_under(Some(true.into()), &format!("j{}", place(31)), "t");
        outcomes[16].token = "another's".into();
        outcomes.push(failure(2, "j1"));
        let prepare = async |engine: &Engine| {
            prepare(engine).await;
            engine.redis("HSET @j12 parentKey @mum").await;
            engine.redis("HSET @j22 defa planned").await;
            engine.redis("LREM @active 1 j5").await;
        };
        let [mut together, mut alone] = both_ways(70, &outcomes, prepare).await;
        assert_eq!(together.0[16], Err(Reason::LockMismatch));
        assert_eq!(together.0[if from_the_end { 54 } else { 5 }], Err(Reason::NotInState));
        // The second of two outcomes of one job; its lock was there when the call began.
        assert_eq!((together.0[60], alone.0[60]), (Err(Reason::NotInState), Err(Reason::MissingLock)));
        together.0[60] = alone.0[60];
        // Those that are handled by themselves come after the others.
        let sort = |all: &mut Vec<String>| {
            for set in [3, 5] {
                let mut ids: Vec<&str> = all[set].split(' ').filter(|word| word.starts_with('j')).collect();
                ids.sort_unstable();
                all[set] = ids.join(" ");
            }
            all.sort();
        };
        sort(&mut together.1);
        sort(&mut alone.1);
        assert_eq!(together, alone);
    }
}

#[tokio::test]
async fn one_that_is_refused_leaves_its_neighbours_alone() {
    let mut outcomes: Vec<Outcome> = (0..30).rev().map(|n| done(&format!("j{n}"), "t")).collect();
    outcomes[3].token = "another's".into();
    outcomes.push(done("j7", "t"));
    outcomes.push(done("gone", "t"));
    let prepare = async |engine: &Engine| {
        engine.redis("LREM @active 1 j5").await;
        engine.redis("DEL @j9:lock").await;
        engine.redis("HSET @j12 parentKey @mum").await;
        engine.store("mum", &[]).await;
        engine.redis("ZADD @waiting-children 1 mum").await;
        engine.redis("SADD @mum:dependencies @j12").await;
    };
    // With a missing job among them the bulk path is not taken, and each is handled alone.
    for count in [31, 32] {
        let [mut together, mut alone] = both_ways(40, &outcomes[..count], prepare).await;
        let codes = &together.0;
        assert_eq!(codes[3], Err(Reason::LockMismatch));
        assert_eq!(codes[29 - 9], Err(Reason::MissingLock));
        assert_eq!(codes[29 - 5], Err(Reason::NotInState));
        // The second of two outcomes of one job; its lock was there when the call began.
        assert_eq!((codes[30], alone.0[30]), (Err(Reason::NotInState), Err(Reason::MissingLock)));
        assert_eq!(codes.iter().filter(|code| code.is_ok()).count(), 27);
        assert_eq!(together.1[0].split(' ').count(), 40 - 27 - 1);
        together.0[30] = alone.0[30];
        // The child is finished after the others.
        together.1.sort();
        alone.1.sort();
        assert_eq!(together, alone);
    }
}

#[tokio::test]
async fn a_check_of_thousands_recovers_the_dead_and_marks_the_others() {
    let engine = active(2_500).await;
    let check = async || {
        let mut ids = engine.recover_stalled(Duration::from_secs(30), 1).await.unwrap();
        engine.redis("DEL @stalled-check").await;
        ids.sort();
        ids
    };
    assert!(check().await.is_empty());
    assert_eq!(engine.int("SCARD @stalled").await, 2_500);
    let mut dead: Vec<String> = (0..2_500).step_by(7).map(|n| format!("j{n}")).collect();
    dead.sort();
    for id in &dead {
        engine.redis(&format!("DEL @{id}:lock")).await;
    }
    assert_eq!(check().await, dead);
    assert_eq!(dead.len(), 358);
    assert_eq!(engine.int("SCARD @stalled").await, 2_500 - 358);
    assert_eq!(engine.int("LLEN @active").await, 2_500 - 358);
    assert_eq!(engine.int("LLEN @wait").await, 358);
    assert!(check().await.is_empty());
}

#[tokio::test]
async fn large_jobs_are_handed_out_a_few_at_a_time_and_in_order() {
    let engine = queue().await;
    engine.redis("HSET @meta opts.maxLenEvents 10000").await;
    let data = format!("\"{}\"", "x".repeat(200_000));
    for n in 0..8 {
        engine.store(&format!("j{n}"), &[]).await;
        engine.redis(&format!("HSET @j{n} data {data}")).await;
        let place = if n < 4 { format!("LPUSH @wait j{n}") } else { format!("ZADD @prioritized {n} j{n}") };
        engine.redis(&place).await;
    }
    let mut ids = Vec::new();
    for more in [true, true, false] {
        let mut ask = Ask { want: 20, lock_ms: 30_000, ..Ask::default() };
        let settled = engine.settle(&mut ask, NONE, || Arc::from("u"), &|_, _| true).await.unwrap().settled;
        assert_eq!(settled.next_due, if more { NOW } else { 0 });
        ids.extend(settled.jobs.into_iter().map(|job| job.decode().unwrap().id().to_owned()));
    }
    assert_eq!(ids, (0..8).map(|n| format!("j{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_new_rule_drops_a_long_history_with_the_calls_to_come() {
    let engine = active(3).await;
    for n in 0..1_000 {
        engine.store(&format!("old{n}"), &[]).await;
        engine.redis(&format!("ZADD @completed {n} old{n}")).await;
    }
    for (id, left) in [("j0", 701), ("j1", 402), ("j2", 103)] {
        let end = End::Completed { value: JsonText::new("1"), keep: Some(5_u32.into()), made: None };
        let outcome = Outcome { id: id.into(), token: "t".into(), start: 1, end };
        assert_eq!(settle(&engine, &[outcome]).await, [Ok(0)]);
        assert_eq!(engine.int("ZCARD @completed").await, left);
    }
}

#[tokio::test]
async fn a_fetch_promotes_some_of_many_due_jobs_and_the_next_one_goes_on() {
    let engine = queue().await;
    engine.redis("HSET @meta opts.maxLenEvents 10000").await;
    for n in 0..450 {
        engine.store(&format!("j{n:03}"), &[]).await;
        engine.redis(&format!("ZADD @delayed {n} j{n:03}")).await;
    }
    for (delayed, waiting) in [(250, 199), (50, 398), (0, 447)] {
        let mut ask = Ask { want: 1, lock_ms: 30_000, ..Ask::default() };
        let settled = engine.settle(&mut ask, NONE, || Arc::from("u"), &|_, _| true).await.unwrap().settled;
        assert_eq!(settled.jobs.len(), 1);
        assert_eq!((engine.int("ZCARD @delayed").await, engine.int("LLEN @wait").await), (delayed, waiting));
    }
}

#[tokio::test]
async fn a_limiter_without_an_end_gets_one() {
    let engine = queue().await;
    for n in 0..3 {
        engine.store(&format!("j{n}"), &[]).await;
        engine.redis(&format!("LPUSH @wait j{n}")).await;
    }
    engine.redis("SET @limiter 7").await;
    let fetch = async || {
        let mut ask = Ask { want: 5, lock_ms: 30_000, limit: Some((2, 60_000)), ..Ask::default() };
        engine.settle(&mut ask, NONE, || Arc::from("u"), &|_, _| true).await.unwrap().settled
    };
    let settled = fetch().await;
    assert_eq!((settled.jobs.len(), settled.limited_ms), (0, 60_000));
    assert!((1..=60_000).contains(&engine.int("PTTL @limiter").await));
    engine.redis("DEL @limiter").await;
    assert_eq!(fetch().await.jobs.len(), 2);
}

#[tokio::test]
async fn six_fields_that_are_not_those_of_a_fresh_job_are_all_read() {
    // By the short and the long way, and from both places.
    for (long_way, place) in [(false, "LPUSH @wait"), (true, "LPUSH @wait"), (true, "ZADD @prioritized 1")] {
        let mut engine = queue().await;
        if long_way {
            engine.link.take_long_way();
        }
        engine.redis("HSET @meta opts.maxLenEvents 10000").await;
        for (id, fields) in [
            ("made", "delay 0 attemptsMade 2"),
            ("spent", "priority 0 atm 2"),
            ("deferred", "delay 0 defa why"),
            ("run", "priority 0 rjk s"),
            ("urgent", "delay 0 priority 3"),
        ] {
            engine.redis(&format!("HSET @{id} name n data 1 opts {{}} timestamp 5 {fields}")).await;
            engine.redis(&format!("{place} {id}")).await;
            let mut ask = Ask { want: 1, lock_ms: 30_000, ..Ask::default() };
            let mut settled = engine.settle(&mut ask, NONE, || Arc::from("u"), &|_, _| true).await.unwrap().settled;
            let job = settled.jobs.remove(0).decode().unwrap();
            assert_eq!(job.id(), id);
            let made = if matches!(id, "made" | "spent") { 2 } else { 0 };
            assert_eq!((job.attempts_made, job.priority), (made, if id == "urgent" { 3 } else { 0 }), "{id} {place}");
            assert_eq!(job.deferred_failure(), (id == "deferred").then_some("why"));
            assert_eq!(job.repeat_job_key(), (id == "run").then_some("s"));
        }
    }
}

#[tokio::test]
async fn a_job_that_has_failed_before_is_handed_out_as_its_hash_has_it() {
    let plain =
        "name n data 1 opts {} timestamp 5 priority 2 delay 7 atm 1 ats 3 failedReason why stacktrace [] processedOn 6";
    let long = "x".repeat(70_000);
    for (place, more) in [
        ("LPUSH @wait", ""),
        ("ZADD @prioritized 1", "pb w"),
        ("LPUSH @wait", "pb \u{e9}"),
        ("LPUSH @wait", "parentKey @mum"),
        ("LPUSH @wait", "deid d"),
        ("LPUSH @wait", "defa planned"),
        ("LPUSH @wait", "stc 2"),
        ("LPUSH @wait", "pb w stc 2"),
        ("LPUSH @wait", "pb w atm x"),
        ("LPUSH @wait", "ats -1"),
        ("LPUSH @wait", "ats 4294967295"),
        ("LPUSH @wait", &format!("pb {long}")),
        ("LPUSH @wait", &format!("stacktrace {long}")),
        ("LPUSH @wait", &format!("pb w data {long}")),
    ] {
        let engine = queue().await;
        engine.redis("HSET @meta opts.maxLenEvents 10000").await;
        engine.redis(format!("HSET @7 {plain} {more}").trim()).await;
        engine.redis(&format!("{place} 7")).await;
        let mut stored = engine.get_job("7").await.unwrap().unwrap();
        let mut ask = Ask { want: 1, lock_ms: 30_000, ..Ask::default() };
        let mut settled = engine.settle(&mut ask, NONE, || Arc::from("u"), &|_, _| true).await.unwrap().settled;
        let mut job = settled.jobs.remove(0).decode().unwrap();
        // The fetch sets it; what it was before is not told of every job.
        (stored.processed_on, job.processed_on) = (None, None);
        let what = &more[..more.len().min(30)];
        assert_eq!(job, stored, "{what}");
        let started = engine.says("HGET @7 ats").await;
        let expected = stored.attempts_started.saturating_add(1).to_string();
        assert_eq!(started, if what == "ats -1" { "1" } else { &*expected }, "{what}");
    }
}

#[tokio::test]
async fn no_score_makes_a_reply_unreadable() {
    for (score, is_due) in [
        ("-inf", true),
        ("-1.7e308", true),
        ("-4096", true),
        ("-1", true),
        ("0", true),
        ("4.096e23", false),
        ("1.7e308", false),
        ("inf", false),
    ] {
        let engine = queue().await;
        engine.redis("HSET @meta opts.maxLenEvents 10000").await;
        engine.store("odd", &[]).await;
        engine.redis(&format!("ZADD @delayed {score} odd")).await;
        let mut ask = Ask { want: 1, lock_ms: 30_000, ..Ask::default() };
        let settled = engine.settle(&mut ask, NONE, || Arc::from("u"), &|_, _| true).await.unwrap().settled;
        assert_eq!(settled.jobs.len(), usize::from(is_due), "{score}");
        assert!(is_due || settled.next_due > NOW, "{score}: {}", settled.next_due);
    }
}

#[tokio::test]
async fn what_a_call_has_done_is_found_though_its_answer_tells_nothing() {
    let engine = active(2).await;
    engine.store("next", &[]).await;
    engine.redis("LPUSH @wait next").await;
    let outcomes = [done("j0", "t"), done("j1", "t")];
    let ask = Ask { want: 1, token: Arc::from("u"), lock_ms: 30_000, ..Ask::default() };
    let salvage = async || {
        let error = Error::Reply { op: "fetch_and_finish" };
        engine.salvage(&ask, &outcomes, |_| true, Vec::new(), error).await
    };
    // Nothing was applied.
    assert!(matches!(salvage().await, Err(Error::Reply { .. })));
    let args = crate::script::settle::args(NOW, &ask, &outcomes);
    crate::script::settle::SCRIPT.run(&engine.link, &engine.keys, &args).await.unwrap();
    let decided = salvage().await.unwrap();
    assert_eq!(decided.settled.codes, [Ok(0), Ok(0)]);
    assert_eq!(decided.settled.jobs[0].id(), b"next");
    assert!(!decided.is_answered && decided.error.is_some());
}

#[tokio::test]
async fn a_script_that_fails_half_way_has_done_what_it_has_done() {
    let engine = active(2).await;
    let outcomes = [done("j0", "t"), done("j1", "t")];
    // As if the script had failed after the first outcome.
    settle(&engine, &outcomes[..1]).await;
    let error = Error::Reply { op: "fetch_and_finish" };
    let decided = engine.salvage(&Ask::default(), &outcomes, |_| true, Vec::new(), error).await.unwrap();
    assert_eq!(decided.settled.codes, [Ok(0), Err(Reason::Unknown(0))]);
}

#[tokio::test]
async fn a_job_that_is_gone_was_finished_only_by_who_still_had_its_lock() {
    for (was_held, expected) in [(true, Ok(0)), (false, Err(Reason::LockMismatch))] {
        let engine = active(2).await;
        let outcomes = [done("gone", "t"), done("j0", "t")];
        settle(&engine, &outcomes[1..]).await;
        let error = Error::Reply { op: "fetch_and_finish" };
        let decided = engine.salvage(&Ask::default(), &outcomes, |_| was_held, Vec::new(), error).await.unwrap();
        assert_eq!(decided.settled.codes, [expected, Ok(0)]);
    }
}
