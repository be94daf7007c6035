//! Tests of the plan, without a worker.

use super::closing::{AFTER_ABORT, GATHER};
use super::*;

const NOW_MS: u64 = 1_000_000;

fn plan() -> Plan {
    Plan::new(&WorkerOptions::default())
}

fn seen(slots: usize, pending: usize) -> Situation {
    let slots = Slots::own(slots);
    Situation { slots, pending, is_waiting: false, now_ms: NOW_MS, now: Instant::now() }
}

fn call(outcomes: usize, want: usize) -> Step {
    Step::Call { outcomes, want }
}

fn start(plan: &mut Plan, jobs: usize) {
    (0..jobs).for_each(|_| plan.started());
}

/// A plan that fetches ahead, with a first call that brought `got` of all the jobs that it may have.
fn ahead(slots: usize, prefetch: usize, got: usize) -> Plan {
    let mut plan = Plan::new(&WorkerOptions { prefetch, ..WorkerOptions::default() });
    let want = send(&mut plan, &seen(slots, 0));
    assert_eq!(want, slots + prefetch);
    plan.returned(want);
    start(&mut plan, got.min(slots));
    plan.holds(got.saturating_sub(slots));
    plan.learn(Learned { want, got, is_answered: true, ..Learned::default() }, Instant::now());
    plan
}

/// Sends what the plan says, which must be a call; returns how many jobs it asks for.
fn send(plan: &mut Plan, seen: &Situation) -> usize {
    match plan.next(seen) {
        Step::Call { want, .. } => {
            plan.called(want);
            want
        }
        other => panic!("{other:?}"),
    }
}

/// Makes a fetch that brings `got` jobs, which start.
fn fetch(plan: &mut Plan, slots: usize, got: usize, next_due: u64) -> bool {
    let want = send(plan, &seen(slots, 0));
    plan.returned(want);
    start(plan, got);
    plan.learn(Learned { want, got, next_due, limited_ms: 0, is_answered: true }, Instant::now())
}

#[test]
fn an_outcome_that_asks_for_patience_travels_without_a_wish() {
    let mut plan = plan();
    fetch(&mut plan, 1, 1, 0);
    plan.ended();
    let now = Instant::now();
    plan.limited(Duration::from_secs(10), now);
    assert_eq!(send(&mut plan, &seen(1, 1)), 0);
    // There is no second call beside it either.
    assert_eq!(plan.next(&seen(1, 0)), Step::Rest);
    plan.returned(0);
    assert!(plan.alarm().is_some_and(|at| at > now));
}

#[test]
fn an_idle_worker_asks_for_all_its_slots_at_once() {
    assert_eq!(plan().next(&seen(10, 0)), call(5, 10));
    // Many slots are filled by one call after the other.
    assert_eq!(plan().next(&seen(1_000, 0)), call(CALL_JOBS, CALL_JOBS));
    // With very many running jobs a call is smaller.
    assert_eq!(plan().next(&seen(10_000, 0)), call(20, 20));
}

#[test]
fn one_outcome_is_settled_at_once_and_those_that_follow_gather() {
    let mut plan = plan();
    fetch(&mut plan, 40, 40, 0);
    assert_eq!(plan.next(&seen(40, 0)), Step::Rest);
    plan.ended();
    assert_eq!(plan.next(&seen(40, 1)), call(20, 1));
    plan.called(1);
    // A share is 20 jobs; a second call is sent from half a share on.
    (0..9).for_each(|_| plan.ended());
    assert_eq!(plan.next(&seen(40, 9)), Step::Rest);
    plan.ended();
    assert_eq!(plan.next(&seen(40, 10)), call(20, 10));
    plan.called(10);
    // There are never more than two.
    (0..29).for_each(|_| plan.ended());
    assert_eq!(plan.next(&seen(40, 29)), Step::Rest);
    plan.returned(1);
    start(&mut plan, 1);
    // Outcomes above a share are left for the other call, and so are slots.
    assert_eq!(plan.next(&seen(40, 29)), call(20, 20));
    plan.called(20);
    plan.returned(10);
    start(&mut plan, 10);
    assert_eq!(plan.next(&seen(40, 9)), Step::Rest);
}

#[test]
fn jobs_that_are_asked_for_are_not_asked_for_again() {
    let mut plan = plan();
    assert_eq!(send(&mut plan, &seen(6, 0)), 6);
    assert_eq!(plan.next(&seen(6, 0)), Step::Rest);
    // The number of slots was raised while the call was under way.
    assert_eq!(send(&mut plan, &seen(20, 0)), 14);
    plan.returned(6);
    start(&mut plan, 6);
    plan.returned(14);
    assert_eq!(plan.next(&seen(20, 0)), call(10, 14));
    // Then it was lowered below the number of running jobs.
    assert_eq!(plan.next(&seen(2, 0)), Step::Rest);
}

#[test]
fn after_an_empty_look_it_waits_and_twice_as_long_after_the_next() {
    let mut plan = plan();
    let delay = plan.drain_delay;
    assert!(fetch(&mut plan, 4, 0, 0), "listeners hear of the first empty look");
    assert_eq!(plan.next(&seen(4, 0)), Step::Wait(delay));
    assert_eq!(plan.next(&Situation { is_waiting: true, ..seen(4, 0) }), Step::Rest);
    assert!(!plan.woken(Woken::TimeOver, Slots::own(4), NOW_MS));
    assert!(!fetch(&mut plan, 4, 0, 0), "and of no other");
    assert_eq!(plan.next(&seen(4, 0)), Step::Wait(delay * 2));
    plan.woken(Woken::TimeOver, Slots::own(4), NOW_MS);
    fetch(&mut plan, 4, 3, 0);
    assert_eq!(plan.next(&seen(4, 0)), Step::Wait(delay), "one slot is free, and the queue is empty");
    plan.woken(Woken::Broken, Slots::own(4), NOW_MS);
    assert_eq!(plan.next(&seen(4, 0)), call(2, 1));
}

#[test]
fn an_outcome_asks_for_a_job_also_while_the_queue_is_empty() {
    let mut plan = plan();
    fetch(&mut plan, 2, 1, 0);
    assert!(matches!(plan.next(&seen(2, 0)), Step::Wait(_)));
    plan.ended();
    assert_eq!(plan.next(&seen(2, 1)), call(1, 2));
}

#[test]
fn large_jobs_come_a_few_at_a_time() {
    let mut plan = plan();
    fetch(&mut plan, 4, 1, NOW_MS);
    assert_eq!(plan.next(&seen(4, 0)), call(2, 3));
}

#[test]
fn it_looks_when_the_next_delayed_job_is_due_and_waits_for_others_meanwhile() {
    let mut plan = plan();
    let after = |ms, seen: &Situation| Some(seen.now + Duration::from_millis(ms));
    fetch(&mut plan, 1, 0, NOW_MS + 70);
    let begun = seen(1, 0);
    let delay = plan.drain_delay;
    assert_eq!(plan.next(&begun), Step::Wait(delay + Duration::from_millis(70)));
    assert_eq!(plan.alarm(), after(70, &begun));
    assert!(plan.awaits_due_job());
    // The marker was popped; an earlier time replaces the known one, a later one does not.
    assert!(!plan.woken(Woken::Marker(1_000_050.0), Slots::own(1), NOW_MS));
    assert!(!plan.woken(Woken::Marker(1_000_090.0), Slots::own(1), NOW_MS));
    assert!(matches!(plan.next(&begun), Step::Wait(_)));
    let waiting = Situation { is_waiting: true, ..begun };
    assert_eq!(plan.next(&waiting), Step::Rest);
    assert_eq!(plan.alarm(), after(50, &begun));
    // The look for the delayed job does not end the wait.
    plan.on_alarm(begun.now + Duration::from_millis(49));
    assert_eq!(plan.next(&waiting), Step::Rest);
    plan.on_alarm(begun.now + Duration::from_millis(50));
    assert_eq!(plan.next(&waiting), call(1, 1));
    assert!(!plan.awaits_due_job() && plan.alarm().is_none());
}

#[test]
fn a_delayed_job_that_is_due_by_now_is_looked_for_at_once() {
    let mut plan = plan();
    fetch(&mut plan, 1, 0, NOW_MS + 50);
    assert_eq!(plan.next(&Situation { now_ms: NOW_MS + 50, ..seen(1, 0) }), call(1, 1));
}

#[test]
fn a_delayed_job_far_away_is_looked_for_now_and_then_since_clocks_differ() {
    let mut plan = plan();
    fetch(&mut plan, 1, 0, NOW_MS + 3_600_000);
    let begun = seen(1, 0);
    assert_eq!(plan.next(&begun), Step::Wait(LONGEST_DELAY_WAIT + plan.drain_delay));
    assert_eq!(plan.alarm(), Some(begun.now + LONGEST_DELAY_WAIT));
}

#[test]
fn without_a_free_slot_nobody_looks_for_delayed_jobs() {
    let mut plan = plan();
    fetch(&mut plan, 1, 0, NOW_MS + 50);
    assert_eq!(plan.next(&seen(0, 0)), Step::Rest);
    assert_eq!(plan.alarm(), None);
}

#[test]
fn a_marker_that_is_of_no_use_is_passed_on() {
    let mut plan = plan();
    fetch(&mut plan, 1, 0, 0);
    assert!(!plan.woken(Woken::Marker(0.0), Slots::own(1), NOW_MS));
    assert!(plan.woken(Woken::Interrupted, Slots::own(1), NOW_MS));
    fetch(&mut plan, 1, 1, 0);
    assert!(plan.woken(Woken::Marker(0.0), Slots::own(1), NOW_MS), "no slot is free");
    plan.pause();
    assert!(plan.woken(Woken::Marker(9e15), Slots::own(1), NOW_MS));
}

#[test]
fn a_rate_limit_stops_fetching_and_not_settling() {
    let mut plan = plan();
    let now = Instant::now();
    let want = send(&mut plan, &seen(4, 0));
    plan.returned(want);
    start(&mut plan, 1);
    plan.learn(Learned { want, got: 1, limited_ms: 500, is_answered: true, ..Learned::default() }, now);
    assert_eq!(plan.next(&seen(4, 0)), Step::Rest);
    assert_eq!(plan.alarm(), Some(now + Duration::from_millis(500)));
    plan.ended();
    assert_eq!(plan.next(&seen(4, 1)), call(2, 0));
    assert_eq!(plan.on_alarm(now + Duration::from_millis(499)), None);
    assert_eq!(plan.next(&seen(4, 0)), Step::Rest);
    plan.on_alarm(now + Duration::from_millis(500));
    assert_eq!(plan.next(&seen(4, 0)), call(2, 4));
    // However long the limit, the worker looks again after the longest pause of the options.
    plan.learn(Learned { limited_ms: u64::MAX, is_answered: true, ..Learned::default() }, now);
    plan.ask_limit_at = None;
    assert_eq!(plan.alarm(), Some(now + plan.longest_limit));
}

/// Only this worker keeps such a pause, so nobody tells it when that is taken back.
#[test]
fn a_worker_asks_whether_a_long_pause_still_lasts() {
    let seconds = Duration::from_secs;
    let (mut plan, now) = (plan(), Instant::now());
    plan.limited(seconds(20), now);
    for n in 1..4 {
        let at = now + seconds(5 * n);
        assert_eq!(plan.alarm(), Some(at));
        plan.on_alarm(at);
        assert_eq!(plan.next(&seen(4, 0)), Step::AskLimit);
        assert_eq!(plan.next(&seen(4, 0)), Step::Rest, "once");
        // Where the server does not say, the pause is kept. It never gets longer.
        plan.limit_lasts((n > 1).then_some(seconds(60)), at);
    }
    assert_eq!(plan.alarm(), Some(now + seconds(20)));
    plan.limit_lasts(Some(Duration::ZERO), now);
    assert!(matches!(plan.next(&seen(4, 0)), Step::Call { .. }));
    assert_eq!(plan.alarm(), None);
    // A short one is waited for.
    plan.limited(seconds(4), now);
    assert_eq!(plan.alarm(), Some(now + seconds(4)));
}

#[test]
fn only_a_job_that_asked_for_a_pause_makes_its_worker_wait_for_the_limiter() {
    let look = Duration::from_secs(5);
    assert_eq!(limited_ms(0, 900, None, true, look), 0);
    assert_eq!(limited_ms(70, 900, None, true, look), 70);
    let asked = Some(Duration::from_millis(500));
    assert_eq!(limited_ms(70, 900, asked, true, look), 900);
    assert_eq!(limited_ms(0, 0, asked, false, look), 500);
}

#[test]
fn a_limit_that_the_server_keeps_to_is_looked_at_again_soon() {
    let look = Duration::from_secs(5);
    assert_eq!(limited_ms(60_000, 60_000, None, true, look), 5_000);
    let asked = Some(Duration::from_secs(60));
    assert_eq!(limited_ms(60_000, 60_000, asked, true, look), 5_000);
    // The worker alone keeps to a pause, where there is no limit.
    assert_eq!(limited_ms(0, 60_000, asked, true, look), 60_000);
}

#[test]
fn after_a_refusal_outcomes_go_one_by_one() {
    let mut plan = plan();
    let now = Instant::now();
    fetch(&mut plan, 4, 4, 0);
    (0..3).for_each(|_| plan.ended());
    let want = send(&mut plan, &seen(4, 3));
    plan.returned(want);
    plan.refused(true, now);
    assert_eq!(plan.next(&seen(4, 3)), Step::Rest);
    plan.on_alarm(now + PAUSE_AFTER_REFUSAL);
    assert_eq!(plan.next(&seen(4, 3)), call(1, 0));
    plan.called(0);
    assert_eq!(plan.next(&seen(4, 2)), Step::Rest, "one at a time");
    plan.returned(0);
    plan.accepted(true);
    assert_eq!(plan.next(&seen(4, 2)), call(1, 0));
    plan.accepted(false);
    assert_eq!(plan.next(&seen(4, 0)), call(2, 3));
}

#[test]
fn a_call_whose_outcome_was_pieced_together_says_nothing_of_what_is_left() {
    let mut plan = plan();
    fetch(&mut plan, 2, 0, 0);
    plan.woken(Woken::TimeOver, Slots::own(2), NOW_MS);
    let want = send(&mut plan, &seen(2, 0));
    plan.returned(want);
    assert!(!plan.learn(Learned { want, ..Learned::default() }, Instant::now()));
    assert_eq!(plan.next(&seen(2, 0)), call(1, 2));
}

#[test]
fn a_paused_worker_settles_and_takes_nothing() {
    let mut plan = plan();
    fetch(&mut plan, 2, 1, 0);
    assert!(plan.pause() && !plan.pause());
    assert_eq!(plan.next(&seen(2, 0)), Step::Rest);
    plan.ended();
    assert_eq!(plan.next(&seen(2, 1)), call(1, 0));
    assert!(plan.starts_jobs(), "what was on its way may run");
    assert!(plan.resume() && !plan.resume());
    assert_eq!(plan.next(&seen(2, 0)), call(1, 2));
}

#[test]
fn a_closing_worker_puts_jobs_back_together_with_those_that_are_still_to_come() {
    let mut plan = plan();
    fetch(&mut plan, 5, 3, 0);
    plan.look_again();
    let want = send(&mut plan, &seen(5, 0));
    assert_eq!(want, 2);
    let now = Instant::now();
    plan.close(now);
    (0..2).for_each(|_| plan.ended());
    assert_eq!(plan.next(&seen(5, 2)), Step::Rest);
    // Once running jobs are told to stop, outcomes no longer wait for the call.
    assert_eq!(plan.on_alarm(now), Some(Force::Cancel));
    assert!(matches!(plan.next(&seen(5, 2)), Step::Call { want: 0, .. }));
    plan.returned(want);
    assert!(matches!(plan.next(&seen(5, 4)), Step::Call { want: 0, .. }));
}

#[test]
fn closing_waits_then_cancels_then_ends_then_gives_up() {
    let mut plan = plan();
    let now = Instant::now();
    let s = Duration::from_secs;
    fetch(&mut plan, 2, 2, 0);
    assert!(plan.close(now + s(30)) && !plan.close(now + s(60)));
    assert_eq!(plan.alarm(), Some(now + s(30)));
    assert!(!plan.close(now + s(10)));
    assert_eq!(plan.alarm(), Some(now + s(10)), "a second call may shorten the wait");
    assert!(!plan.starts_jobs() && !plan.is_closed(0, now));

    assert_eq!(plan.on_alarm(now + s(10)), Some(Force::Cancel));
    let graceful = now + s(10) + plan.cancel_grace;
    assert_eq!(plan.alarm(), Some(graceful));
    plan.ended();
    assert_eq!(plan.next(&seen(2, 1)), call(1, 0));
    assert!(!plan.is_closed(0, graceful));
    assert_eq!(plan.on_alarm(graceful), Some(Force::Abort));
    assert_eq!(plan.next(&seen(2, 1)), Step::Rest, "what goes back is gathered");
    let gathered = graceful + GATHER;
    assert!(plan.on_alarm(gathered).is_none() && !plan.is_closed(0, gathered));
    assert_eq!(plan.next(&seen(2, 1)), call(1, 0));
    assert!(plan.is_closed(0, gathered + AFTER_ABORT));
    plan.ended();
    assert!(plan.is_closed(0, gathered) && !plan.is_closed(1, gathered));
}

#[test]
fn a_call_takes_what_fits_and_one_at_least() {
    let fit = |sizes: &[usize], most| fitting(sizes.iter().copied(), most);
    assert_eq!(fit(&[], 5), 0);
    assert_eq!(fit(&[1, 1, 1], 2), 2);
    assert_eq!(fit(&[CALL_BYTES + 1, 1], 5), 1);
    assert_eq!(fit(&[CALL_BYTES - 1, 1, 1], 5), 2);
}

#[test]
fn after_a_lost_reply_it_asks_for_half_and_then_for_more_again() {
    let mut plan = plan();
    assert_eq!(send(&mut plan, &seen(20, 0)), 20);
    plan.returned(20);
    plan.came(20, 20, false);
    assert_eq!(plan.wanted(Slots::own(20)), 10);
    plan.came(10, 3, true);
    assert_eq!(plan.wanted(Slots::own(20)), 10, "it did not bring as many as it may");
    for _ in 0..10 {
        plan.came(plan.most, plan.most, true);
    }
    assert_eq!(plan.wanted(Slots::own(20)), 20);
    for _ in 0..9 {
        plan.came(plan.most, 0, false);
    }
    assert_eq!(plan.wanted(Slots::own(20)), 1);
}

#[test]
fn who_shares_its_slots_waits_for_work_without_any_and_wants_them_when_there_is_some() {
    let mut plan = plan();
    let shared = |now| Slots { now, all: 8, are_shared: true, is_block: false };
    let situation = |now| Situation { slots: shared(now), ..seen(8, 0) };
    assert_eq!(plan.wishes(8), 8);
    assert_eq!(plan.next(&situation(0)), Step::Rest, "it has to get some first");
    assert_eq!(send(&mut plan, &situation(3)), 3);
    assert_eq!((plan.used(false), plan.used(true), plan.wishes(8)), (3, 0, 5));
    plan.returned(3);
    plan.learn(Learned { want: 3, is_answered: true, ..Default::default() }, Instant::now());
    assert_eq!(plan.wishes(8), 0);
    assert!(matches!(plan.next(&situation(0)), Step::Wait(_)));
    // A marker that finds no free slot is passed on to another worker, and this one waits for slots.
    assert!(plan.woken(Woken::Marker(0.0), shared(0), NOW_MS));
    assert_eq!((plan.wishes(8), plan.next(&situation(0))), (8, Step::Rest));
    // The worker wants slots when a delayed job is due.
    plan.learn(Learned { want: 1, next_due: NOW_MS + 5, is_answered: true, ..Default::default() }, Instant::now());
    plan.fetch_if_due(shared(0), NOW_MS);
    assert_eq!(plan.wishes(8), 0);
    plan.fetch_if_due(shared(0), NOW_MS + 5);
    assert_eq!(plan.wishes(8), 8);
    plan.pause();
    assert_eq!(plan.wishes(8), 0);
}

#[test]
fn a_call_for_a_block_waits_a_moment_for_the_rest_of_it() {
    let mut plan = plan();
    let seen = |pending, now| Situation {
        slots: Slots { now: 8, all: 16, are_shared: true, is_block: true },
        pending,
        is_waiting: false,
        now_ms: 0,
        now,
    };
    let now = Instant::now();
    assert_eq!(plan.next(&seen(0, now)), Step::Call { outcomes: 16, want: 8 });
    plan.called(8);
    plan.returned(8);
    plan.learn(Learned { want: 8, got: 8, is_answered: true, ..Learned::default() }, now);
    start(&mut plan, 8);
    (0..3).for_each(|_| plan.ended());
    assert_eq!(plan.next(&seen(3, now)), Step::Rest);
    assert_eq!(plan.alarm(), Some(now + GATHER_CALL));
    // It sends when half of the jobs have ended, or the time is over, or nothing is left to wait for.
    assert_eq!(plan.next(&seen(3, now + GATHER_CALL)), Step::Call { outcomes: 16, want: 3 });
    assert_eq!(plan.alarm(), None);
    plan.ended();
    assert_eq!(plan.next(&seen(4, now)), Step::Call { outcomes: 16, want: 4 });
    plan.called(4);
    (0..4).for_each(|_| plan.ended());
    assert_eq!(plan.next(&seen(4, now)), Step::Rest, "one call at a time");
    plan.returned(4);
    assert_eq!(plan.next(&seen(1, now)), Step::Call { outcomes: 16, want: 8 });
}

#[test]
fn a_worker_that_fetches_ahead_asks_for_what_it_has_begun() {
    let mut plan = ahead(2, 6, 8);
    assert_eq!(plan.next(&seen(2, 0)), Step::Rest);
    // A job ends, and the next one begins before the call is sent.
    plan.ended();
    plan.started();
    plan.holds(5);
    assert_eq!(plan.next(&seen(2, 1)), call(4, 1));
    plan.called(1);
    // A second call carries half of a share, which follows from all jobs that it has.
    plan.ended();
    plan.started();
    plan.holds(4);
    assert_eq!(plan.next(&seen(2, 1)), Step::Rest);
    plan.ended();
    plan.started();
    plan.holds(3);
    assert_eq!(plan.next(&seen(2, 2)), call(4, 2));
}

#[test]
fn what_is_fetched_ahead_never_exceeds_the_bound() {
    let mut plan = ahead(1, 3, 4);
    // Jobs that cannot be sent yet are no room, but those that have ended are.
    plan.ended();
    assert_eq!(plan.wanted(Slots::own(1)), 1);
    plan.started();
    plan.holds(2);
    assert_eq!(plan.wanted(Slots::own(1)), 1);
    plan.called(1);
    assert_eq!(plan.wanted(Slots::own(1)), 0);
    plan.returned(1);
    plan.holds(9);
    assert_eq!(plan.wanted(Slots::own(1)), 0, "a lost reply may bring jobs late");
}

#[test]
fn without_a_free_slot_nobody_waits_for_jobs_that_others_could_begin() {
    let mut plan = ahead(2, 4, 2);
    assert_eq!(plan.next(&seen(2, 0)), Step::Rest, "the queue is empty, and no slot is free");
    assert!(plan.woken(Woken::Marker(0.0), Slots::own(2), NOW_MS), "the marker is for another worker");
    assert_eq!(plan.next(&seen(2, 0)), Step::Rest);
    // It asks for all that it may have when it stores an outcome.
    plan.ended();
    assert_eq!(plan.next(&seen(2, 1)), call(3, 5));
    plan.called(5);
    plan.returned(5);
    plan.learn(Learned { want: 5, is_answered: true, ..Learned::default() }, Instant::now());
    assert!(matches!(plan.next(&seen(2, 0)), Step::Wait(_)), "a slot is free");
    assert!(!plan.woken(Woken::Marker(0.0), Slots::own(2), NOW_MS));
    assert_eq!(plan.next(&seen(2, 0)), call(3, 5));
}

#[test]
fn what_was_fetched_ahead_is_put_back_by_whoever_stops_and_all_of_it_together() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    type Stop = fn(&mut Plan, Instant) -> bool;
    let stops: [Stop; 3] = [
        |plan, _| plan.pause(),
        |plan, now| plan.close(now + Duration::from_secs(30)),
        |plan, now| {
            plan.limited(Duration::from_secs(1), now);
            true
        },
    ];
    for stop in stops {
        let mut plan = ahead(2, 4, 6);
        assert_eq!(plan.ahead(), Ahead::Begin);
        plan.ended();
        assert_eq!(send(&mut plan, &seen(2, 1)), 1);
        assert!(stop(&mut plan, now));
        assert_eq!(plan.ahead(), Ahead::Gather, "a call may bring more");
        plan.returned(1);
        assert_eq!(plan.ahead(), Ahead::PutBack);
    }
    // The pause is over, or the worker goes on.
    let mut plan = ahead(2, 4, 6);
    plan.limited(second, now);
    plan.on_alarm(now + second);
    assert_eq!(plan.ahead(), Ahead::Begin);
    plan.pause();
    plan.resume();
    assert_eq!(plan.ahead(), Ahead::Begin);
    // A limit of the server, and its refusal of a call, do not concern jobs that it has handed out.
    plan.learn(Learned { limited_ms: 500, is_answered: true, ..Learned::default() }, now);
    plan.refused(false, now);
    assert_eq!(plan.ahead(), Ahead::Begin);
    // Nobody waits for a call any more when the time to close is over.
    plan.called(1);
    plan.close(now);
    assert_eq!(plan.ahead(), Ahead::Gather);
    plan.on_alarm(now);
    assert_eq!(plan.ahead(), Ahead::PutBack);
    assert!(!plan.is_quiet(0));
}
