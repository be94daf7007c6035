//! What the loop does next: which call it sends, for how much, how long it waits, when it stops waiting for jobs.
//!
//! Pure: the time and what others hold are told to it, so that the policy can be tested without Redis.
//!
//! Modes, and what leads out of each:
//!
//! - *running*: takes jobs. `pause` → paused, `close` → draining.
//! - *paused*: takes none, settles what ends. `resume` → running, `close` → draining.
//! - *draining*: takes none, waits for the running jobs. All settled → closed; the deadline → cancelling.
//! - *cancelling*: told all jobs to stop; after the grace their tasks are ended and the jobs handed back.
//!   All settled → closed; a second deadline → closed, with what is left given up.

use std::time::Duration;

use tokio::time::Instant;

use super::wait::Woken;
use crate::clock::millis;
use crate::options::WorkerOptions;

/// What a call takes at most, so that Redis is held for about 2 ms.
const CALL_JOBS: usize = 100;
const CALL_BYTES: usize = 1024 * 1024;

/// Calls on their way at once: Redis works on one while the other's jobs run. For that they must not be sent together,
/// see [`sent`](crate::engine::sent).
const CALLS_AT_ONCE: usize = 2;

/// After how long at the latest it looks for a delayed job that is known; clocks differ.
const LONGEST_DELAY_WAIT: Duration = Duration::from_secs(10);

/// The pause after the server refused a call as such.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// How long tasks that were ended have to hand their jobs back, and how long the calls that settle this have.
const GATHER: Duration = Duration::from_millis(100);
const AFTER_ABORT: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    Paused,
    Draining { until: Instant },
    Cancelling { until: Instant, stage: Stage },
}

/// How far cancelling has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All jobs were told to stop.
    Told,
    /// Their tasks were ended: what goes back is gathered, so that it can go back in the order of its start.
    Gathering,
    /// What has been gathered is settled.
    Settling,
}

/// What the plan does not hold itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// How many jobs may run at once.
    pub(super) slots: usize,
    /// Ended attempts that no call has taken yet.
    pub(super) pending: usize,
    /// Whether a wait for a marker is under way.
    pub(super) is_waiting: bool,
    /// Now, in ms of the worker's clock, by which delayed jobs are due.
    pub(super) now_ms: u64,
    /// The same moment.
    pub(super) now: Instant,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Send a call with up to so many outcomes, and the wish for so many jobs.
    Call { outcomes: usize, want: usize },
    /// Wait for a marker, at most this long.
    Wait(Duration),
    /// Let something happen first.
    Rest,
}

/// What a reply says of the queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Learned {
    /// Jobs that were asked for, and that came.
    pub(super) want: usize,
    pub(super) got: usize,
    /// When the next delayed job is due; see [`Settled`](crate::script::settle::Settled::next_due).
    pub(super) next_due: u64,
    /// For how many ms no job is to be asked for.
    pub(super) limited_ms: u64,
    /// False where the outcome of a call was pieced together: it says nothing of what is left.
    pub(super) is_answered: bool,
}

/// What is to be done to the running jobs of a worker that closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    /// Tell all of them to stop.
    Cancel,
    /// End their tasks.
    Abort,
}

pub(super) struct Plan {
    drain_delay: Duration,
    longest_limit: Duration,
    cancel_grace: Duration,
    mode: Mode,
    /// Attempts whose processor runs.
    running: usize,
    /// Calls on their way, whatever they are about.
    calls: usize,
    /// Jobs that calls on their way may bring.
    asked: usize,
    /// What one call asks for at most: half of what a lost reply was to bring, then more with each reply that comes whole.
    most: usize,
    /// Whether the last fetch brought less than it wanted, so that it is time to wait for a marker.
    drained: bool,
    /// How many looks in a row found no job at all. Listeners hear of the first; from the second on the worker is idle,
    /// and looks half as often.
    empty_looks: u32,
    /// When the next delayed job is due, in ms of the worker's clock; 0 if none is known.
    next_due: u64,
    /// When to look for the delayed job at `next_due`. The wait for a marker goes on meanwhile: Redis ends a wait up to a
    /// tenth of a second after its time, and a job that is due should not be that late.
    look_at: Option<Instant>,
    /// No fetch before this: the rate limit, or a server that refuses.
    not_before: Option<Instant>,
    /// Settle the outcomes one by one: the server refused them together.
    one_by_one: bool,
}

impl Plan {
    pub(super) fn new(options: &WorkerOptions) -> Self {
        Self {
            drain_delay: options.drain_delay,
            longest_limit: options.maximum_rate_limit_delay,
            cancel_grace: options.cancel_grace,
            mode: Mode::Running,
            running: 0,
            calls: 0,
            asked: 0,
            most: usize::MAX,
            drained: false,
            empty_looks: 0,
            next_due: 0,
            look_at: None,
            not_before: None,
            one_by_one: false,
        }
    }

    /// The next step; asked again after each call that was sent.
    pub(super) fn next(&mut self, seen: &Situation) -> Step {
        if self.looks_for_work(seen.slots) && self.next_due > 0 && self.next_due <= seen.now_ms {
            self.look_again();
        }
        if let Some((outcomes, want)) = self.next_call(seen) {
            return Step::Call { outcomes, want };
        }
        let looks_for_work = self.looks_for_work(seen.slots);
        let left = (looks_for_work && self.next_due > 0).then(|| self.until_due(seen.now_ms));
        self.look_at = left.map(|left| seen.now + left);
        if looks_for_work && self.calls == 0 && !seen.is_waiting {
            return Step::Wait(self.block(left));
        }
        Step::Rest
    }

    /// Whether jobs are wanted and none is known that could be fetched.
    fn looks_for_work(&self, slots: usize) -> bool {
        self.drained && self.wanted(slots) > 0
    }

    /// How many outcomes the next call takes and how many jobs it asks for; `None` if none is to be sent now.
    fn next_call(&self, seen: &Situation) -> Option<(usize, usize)> {
        if self.running > 0 && matches!(self.mode, Mode::Cancelling { stage: Stage::Gathering, .. }) {
            return None;
        }
        let want = if self.drained { 0 } else { self.wanted(seen.slots) };
        if self.calls >= CALLS_AT_ONCE || (seen.pending == 0 && want == 0) {
            return None;
        }
        if self.one_by_one {
            // One at a time, and none in the pause after a refusal.
            return (self.calls == 0 && self.not_before.is_none()).then_some((1, 0));
        }
        // Starts a second call only if it carries at least half a share: small batches cost Redis more than they gain.
        let share = seen.slots.div_ceil(CALLS_AT_ONCE).min(call_jobs(seen.slots));
        if self.calls > 0 && seen.pending.max(want) < share.div_ceil(2) {
            return None;
        }
        // No call takes more than its share of outcomes either, so that something is left for the other one. With
        // outcomes on their way a call asks for jobs also where none were left: it costs nothing.
        let want = self.wanted(seen.slots);
        Some((share, if seen.pending > share { want.min(share) } else { want }))
    }

    /// How many jobs to ask for: the free slots, unless no jobs are to be taken now.
    fn wanted(&self, slots: usize) -> usize {
        if self.mode != Mode::Running || self.not_before.is_some() {
            return 0;
        }
        slots.saturating_sub(self.running + self.asked).min(call_jobs(slots)).min(self.most)
    }

    /// How long it is until the next delayed job is due, or to the look that corrects a clock that differs.
    fn until_due(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.next_due.saturating_sub(now_ms)).min(LONGEST_DELAY_WAIT)
    }

    /// How long to wait for a marker: longer than until the next delayed job is due, as the look at that moment makes the one
    /// at the end of the wait needless.
    fn block(&self, until_due: Option<Duration>) -> Duration {
        match until_due {
            Some(left) => left + self.drain_delay,
            None if self.empty_looks > 1 => self.drain_delay * 2,
            None => self.drain_delay,
        }
    }

    /// There may be work now.
    pub(super) fn look_again(&mut self) {
        self.drained = false;
        self.next_due = 0;
        self.look_at = None;
    }

    /// The number of slots was changed.
    pub(super) fn slots_changed(&mut self) {
        self.drained = false;
    }

    /// A call was sent that may bring so many jobs.
    pub(super) fn called(&mut self, want: usize) {
        self.calls += 1;
        self.asked += want;
    }

    /// A call came back that might have brought so many jobs.
    pub(super) fn returned(&mut self, want: usize) {
        self.calls -= 1;
        self.asked -= want;
    }

    /// A call brought so many of the jobs it had asked for; or its reply was lost, perhaps since it was too large.
    pub(super) fn came(&mut self, want: usize, got: usize, is_whole: bool) {
        if want == 0 {
            return;
        }
        if !is_whole {
            self.most = want.min(self.most).div_ceil(2).max(1);
        } else if self.most < usize::MAX && got > 0 && got >= self.most {
            let more = self.most + (self.most / 16).max(1);
            self.most = if more >= CALL_JOBS { usize::MAX } else { more };
        }
    }

    /// A call was carried out. True if it was the first to find that there is no job.
    pub(super) fn learn(&mut self, learned: Learned, now: Instant) -> bool {
        let Learned { want, got, next_due, limited_ms, is_answered } = learned;
        if limited_ms > 0 {
            self.not_before = Some(now + Duration::from_millis(limited_ms).min(self.longest_limit));
        }
        if !is_answered {
            self.drained = false;
        } else if want > 0 {
            // Large jobs come a few at a time, with the moment at which more can be had: now.
            self.drained = got < want && (got == 0 || next_due == 0);
            self.next_due = next_due;
            self.empty_looks = if got > 0 { 0 } else { self.empty_looks.saturating_add(1) };
            return self.empty_looks == 1;
        }
        false
    }

    /// The server accepted a call: outcomes go together again once none is left of those it had refused.
    pub(super) fn accepted(&mut self, has_pending: bool) {
        self.one_by_one &= has_pending;
    }

    /// The server refused a call as such. After a pause outcomes are tried one by one, without asking for jobs.
    pub(super) fn refused(&mut self, has_pending: bool, now: Instant) {
        self.not_before = Some(now + PAUSE_AFTER_REFUSAL);
        self.one_by_one = has_pending;
    }

    pub(super) fn started(&mut self, jobs: usize) {
        self.running += jobs;
    }

    pub(super) fn ended(&mut self) {
        // One that ended as the loop was started again may have been counted out then.
        self.running = self.running.saturating_sub(1);
    }

    /// Begins anew with so many running jobs: calls that were on their way are gone. Whether the worker is paused or
    /// closes stays.
    pub(super) fn start_again(&mut self, running: usize) {
        self.running = running;
        (self.calls, self.asked) = (0, 0);
        self.look_again();
    }

    /// A job asked for patience. While refused outcomes go one by one, their pause is the only one: they are not to wait.
    pub(super) fn limited(&mut self, pause: Duration, now: Instant) {
        if !self.one_by_one {
            self.not_before = Some(now + Duration::from_millis(millis(pause)).min(self.longest_limit));
        }
    }

    /// Whether jobs that were handed out are to be started; else they go back.
    pub(super) fn starts_jobs(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::Paused)
    }

    /// A wait for a marker has ended. True if the marker is to be written again, for another worker.
    pub(super) fn woken(&mut self, woken: Woken, slots: usize, now_ms: u64) -> bool {
        match woken {
            Woken::Marker(score) => {
                let due = whole_ms(score);
                if self.mode != Mode::Running {
                    return true;
                }
                if due > now_ms {
                    // The marker of a delayed job: it was taken, so this worker looks when it is due.
                    self.next_due = if self.next_due == 0 { due } else { due.min(self.next_due) };
                    return false;
                }
                self.look_again();
                self.wanted(slots) == 0
            }
            Woken::TimeOver | Woken::Broken => {
                self.look_again();
                false
            }
            // What the server handed out as the socket closed is lost, so it is written again.
            Woken::Interrupted => true,
        }
    }

    /// Whether this worker has taken the marker of a delayed job, and is to look when it is due.
    pub(super) fn awaits_due_job(&self) -> bool {
        self.next_due > 0
    }

    /// Takes no jobs from now on; false if that was so before.
    pub(super) fn pause(&mut self) -> bool {
        let runs = self.mode == Mode::Running;
        if runs {
            self.mode = Mode::Paused;
        }
        runs
    }

    /// Takes jobs again; false if the worker was not paused.
    pub(super) fn resume(&mut self) -> bool {
        let is_paused = self.mode == Mode::Paused;
        if is_paused {
            self.mode = Mode::Running;
            self.drained = false;
        }
        is_paused
    }

    /// Takes no jobs any more, and waits for those that run until then; false if that was so before. A second call may
    /// shorten the wait.
    pub(super) fn close(&mut self, until: Instant) -> bool {
        match &mut self.mode {
            Mode::Running | Mode::Paused => {
                self.mode = Mode::Draining { until };
                return true;
            }
            Mode::Draining { until: sooner } => *sooner = until.min(*sooner),
            Mode::Cancelling { .. } => {}
        }
        false
    }

    /// When [`on_alarm`](Self::on_alarm) is to be called.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let closing = match self.mode {
            Mode::Draining { until } | Mode::Cancelling { until, .. } => Some(until),
            Mode::Running | Mode::Paused => None,
        };
        [closing, self.not_before, self.look_at].into_iter().flatten().min()
    }

    /// Ends what was to last until now; what that means for the running jobs.
    pub(super) fn on_alarm(&mut self, now: Instant) -> Option<Force> {
        if self.not_before.is_some_and(|at| at <= now) {
            self.not_before = None;
            self.drained = false;
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_again();
        }
        match self.mode {
            Mode::Draining { until } if until <= now => {
                self.mode = Mode::Cancelling { until: now + self.cancel_grace, stage: Stage::Told };
                Some(Force::Cancel)
            }
            Mode::Cancelling { until, stage: Stage::Told } if until <= now => {
                // Tasks that wait for something end here and hand their job back; those that compute go on.
                self.mode = Mode::Cancelling { until: now + GATHER, stage: Stage::Gathering };
                Some(Force::Abort)
            }
            Mode::Cancelling { until, stage: Stage::Gathering } if until <= now => {
                self.mode = Mode::Cancelling { until: now + AFTER_ABORT, stage: Stage::Settling };
                None
            }
            _ => None,
        }
    }

    /// Whether nothing runs and nothing is on its way.
    pub(super) fn is_quiet(&self, pending: usize) -> bool {
        self.running == 0 && pending == 0 && self.calls == 0
    }

    /// Whether the worker is closed.
    pub(super) fn is_closed(&self, pending: usize, now: Instant) -> bool {
        match self.mode {
            Mode::Draining { .. } => self.is_quiet(pending),
            Mode::Cancelling { until, stage } => self.is_quiet(pending) || (stage == Stage::Settling && until <= now),
            Mode::Running | Mode::Paused => false,
        }
    }
}

/// How many outcomes of these sizes one call takes: at most `most`, and one at least if there is one.
pub(super) fn fitting(sizes: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = |(n, size): &(usize, usize)| {
        bytes = bytes.saturating_add(*size);
        *n == 0 || bytes <= CALL_BYTES
    };
    sizes.take(most).enumerate().take_while(fits).count()
}

/// How long the rate limit keeps this worker from fetching, in ms. The limiter may be running for other reasons; only a
/// job that asked for a pause makes this worker wait for it.
pub(super) fn limited_ms(said: u64, limiter_ttl_ms: u64, asked: Option<Duration>, is_answered: bool) -> u64 {
    said.max(asked.map_or(0, |pause| if is_answered { limiter_ttl_ms } else { millis(pause) }))
}

/// What a call takes at most of a worker with so many slots: among many running jobs those that end have to be looked for.
fn call_jobs(slots: usize) -> usize {
    (200_000 / slots.max(1)).clamp(20, CALL_JOBS)
}

/// The whole milliseconds of a marker's score.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn whole_ms(score: f64) -> u64 {
    score.clamp(0.0, 9e15) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000;

    fn plan() -> Plan {
        Plan::new(&WorkerOptions::default())
    }

    fn seen(slots: usize, pending: usize) -> Situation {
        Situation { slots, pending, is_waiting: false, now_ms: NOW_MS, now: Instant::now() }
    }

    fn call(outcomes: usize, want: usize) -> Step {
        Step::Call { outcomes, want }
    }

    /// Sends what the plan says, which must be a call for so many jobs.
    fn send(plan: &mut Plan, seen: &Situation) -> usize {
        match plan.next(seen) {
            Step::Call { want, .. } => {
                plan.called(want);
                want
            }
            other => panic!("{other:?}"),
        }
    }

    /// A fetch that brings so many jobs, which start.
    fn fetch(plan: &mut Plan, slots: usize, got: usize, next_due: u64) -> bool {
        let want = send(plan, &seen(slots, 0));
        plan.returned(want);
        plan.started(got);
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
        // Nor is there a call besides it.
        assert_eq!(plan.next(&seen(1, 0)), Step::Rest);
        plan.returned(0);
        assert!(plan.alarm().is_some_and(|at| at > now));
    }

    #[test]
    fn an_idle_worker_asks_for_all_its_slots_at_once() {
        assert_eq!(plan().next(&seen(10, 0)), call(5, 10));
        // Many slots are filled a call at a time.
        assert_eq!(plan().next(&seen(1_000, 0)), call(CALL_JOBS, CALL_JOBS));
        // Among very many running jobs a call is smaller.
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
        // A share is 20 jobs; a second call is worth it from half of that on.
        (0..9).for_each(|_| plan.ended());
        assert_eq!(plan.next(&seen(40, 9)), Step::Rest);
        plan.ended();
        assert_eq!(plan.next(&seen(40, 10)), call(20, 10));
        plan.called(10);
        // There are never more than two.
        (0..29).for_each(|_| plan.ended());
        assert_eq!(plan.next(&seen(40, 29)), Step::Rest);
        plan.returned(1);
        plan.started(1);
        // What is more than a share is left for the other call, and so are the slots.
        assert_eq!(plan.next(&seen(40, 29)), call(20, 20));
        plan.called(20);
        plan.returned(10);
        plan.started(10);
        assert_eq!(plan.next(&seen(40, 9)), Step::Rest);
    }

    #[test]
    fn jobs_that_are_asked_for_are_not_asked_for_again() {
        let mut plan = plan();
        assert_eq!(send(&mut plan, &seen(6, 0)), 6);
        assert_eq!(plan.next(&seen(6, 0)), Step::Rest);
        // More slots, set while the call is on its way.
        assert_eq!(send(&mut plan, &seen(20, 0)), 14);
        plan.returned(6);
        plan.started(6);
        plan.returned(14);
        assert_eq!(plan.next(&seen(20, 0)), call(10, 14));
        // And fewer than run.
        assert_eq!(plan.next(&seen(2, 0)), Step::Rest);
    }

    #[test]
    fn after_an_empty_look_it_waits_and_twice_as_long_after_the_next() {
        let mut plan = plan();
        let delay = plan.drain_delay;
        assert!(fetch(&mut plan, 4, 0, 0), "listeners hear of the first empty look");
        assert_eq!(plan.next(&seen(4, 0)), Step::Wait(delay));
        assert_eq!(plan.next(&Situation { is_waiting: true, ..seen(4, 0) }), Step::Rest);
        assert!(!plan.woken(Woken::TimeOver, 4, NOW_MS));
        assert!(!fetch(&mut plan, 4, 0, 0), "and of no other");
        assert_eq!(plan.next(&seen(4, 0)), Step::Wait(delay * 2));
        plan.woken(Woken::TimeOver, 4, NOW_MS);
        fetch(&mut plan, 4, 3, 0);
        assert_eq!(plan.next(&seen(4, 0)), Step::Wait(delay), "one slot is free, and the queue is empty");
        plan.woken(Woken::Broken, 4, NOW_MS);
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
        // Its marker was taken; a sooner one counts, a later one does not.
        assert!(!plan.woken(Woken::Marker(1_000_050.0), 1, NOW_MS));
        assert!(!plan.woken(Woken::Marker(1_000_090.0), 1, NOW_MS));
        assert!(matches!(plan.next(&begun), Step::Wait(_)));
        let waiting = Situation { is_waiting: true, ..begun };
        assert_eq!(plan.next(&waiting), Step::Rest);
        assert_eq!(plan.alarm(), after(50, &begun));
        // The look does not end the wait.
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
        assert!(!plan.woken(Woken::Marker(0.0), 1, NOW_MS));
        assert!(plan.woken(Woken::Interrupted, 1, NOW_MS));
        fetch(&mut plan, 1, 1, 0);
        assert!(plan.woken(Woken::Marker(0.0), 1, NOW_MS), "no slot is free");
        plan.pause();
        assert!(plan.woken(Woken::Marker(9e15), 1, NOW_MS));
    }

    #[test]
    fn a_rate_limit_stops_fetching_and_not_settling() {
        let mut plan = plan();
        let now = Instant::now();
        let want = send(&mut plan, &seen(4, 0));
        plan.returned(want);
        plan.started(1);
        plan.learn(Learned { want, got: 1, limited_ms: 500, is_answered: true, ..Learned::default() }, now);
        assert_eq!(plan.next(&seen(4, 0)), Step::Rest);
        assert_eq!(plan.alarm(), Some(now + Duration::from_millis(500)));
        plan.ended();
        assert_eq!(plan.next(&seen(4, 1)), call(2, 0));
        assert_eq!(plan.on_alarm(now + Duration::from_millis(499)), None);
        assert_eq!(plan.next(&seen(4, 0)), Step::Rest);
        plan.on_alarm(now + Duration::from_millis(500));
        assert_eq!(plan.next(&seen(4, 0)), call(2, 4));
        // However long the limit, it looks again after the longest pause of the options.
        plan.learn(Learned { limited_ms: u64::MAX, is_answered: true, ..Learned::default() }, now);
        assert_eq!(plan.alarm(), Some(now + plan.longest_limit));
    }

    #[test]
    fn only_a_job_that_asked_for_a_pause_makes_its_worker_wait_for_the_limiter() {
        assert_eq!(limited_ms(0, 900, None, true), 0);
        assert_eq!(limited_ms(70, 900, None, true), 70);
        let asked = Some(Duration::from_millis(500));
        assert_eq!(limited_ms(70, 900, asked, true), 900);
        assert_eq!(limited_ms(0, 0, asked, false), 500);
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
        plan.woken(Woken::TimeOver, 2, NOW_MS);
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
        assert_eq!(plan.wanted(20), 10);
        plan.came(10, 3, true);
        assert_eq!(plan.wanted(20), 10, "it did not bring as many as it may");
        for _ in 0..10 {
            plan.came(plan.most, plan.most, true);
        }
        assert_eq!(plan.wanted(20), 20);
        for _ in 0..9 {
            plan.came(plan.most, 0, false);
        }
        assert_eq!(plan.wanted(20), 1);
    }
}
