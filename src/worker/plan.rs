//! Decides what the loop does next: which call it sends and for how many jobs, how long it waits, and when it stops
//! waiting.
//!
//! The plan does no I/O: the time and the state of everything else are passed in, so that the policy can be tested
//! without Redis.
//!
//! The modes, and what ends each of them:
//!
//! - *running*: takes jobs. `pause` → paused, `close` → draining.
//! - *paused*: takes none, puts prefetched ones back, settles what ends. `resume` → running, `close` → draining.
//! - *draining*: takes none, puts prefetched ones back, waits for the running jobs. All settled → closed; the deadline → cancelling.
//! - *cancelling*: told all jobs to stop; after the grace their tasks are ended and the jobs handed back.
//!   All settled → closed; a second deadline → closed, with what is left given up.

mod closing;

use std::time::Duration;

use tokio::time::Instant;

pub(super) use closing::{Ahead, Force};

use super::wait::Woken;
use crate::clock::millis;
use crate::options::WorkerOptions;

/// How many outcomes, and how many jobs, one call carries at most: Redis is busy for about 2 ms.
const CALL_JOBS: usize = 100;
const CALL_BYTES: usize = 1024 * 1024;

/// How many calls are under way at once: Redis works on one while the jobs of the other run. For that they must not be
/// sent together, see [`sent`](crate::engine::sent). A worker whose slots come as a block sends one at a time: Redis works
/// on those of the other blocks meanwhile, and a call for a whole block costs less than two for its halves.
const CALLS_AT_ONCE: usize = 2;

/// How long a small call waits for more jobs of its block to end.
const GATHER_CALL: Duration = Duration::from_millis(5);

/// After how long at the latest the worker looks for a delayed job that it knows of; clocks differ.
const LONGEST_DELAY_WAIT: Duration = Duration::from_secs(10);

/// The pause after the server refused a call as a whole.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);

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
    /// All jobs were cancelled.
    Told,
    /// Their tasks were aborted. Jobs to put back are collected, so that they keep the order of their start.
    Gathering,
    /// What was collected is settled.
    Settling,
}

/// How many jobs may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    /// How many this worker has now.
    pub(super) now: usize,
    /// How many it has if no other queue's worker uses any; the size of calls follows from it.
    pub(super) all: usize,
    /// Whether they are [shared](super::slots) with other queues' workers. Then a worker that has none waits for the
    /// marker all the same, and asks for slots when it knows of a job.
    pub(super) are_shared: bool,
    /// Whether slots are passed on in blocks, and others wait for them. Then there is one call at a time, and a small one
    /// waits a moment for more, as Redis has calls of others to work on.
    pub(super) is_block: bool,
}

impl Slots {
    pub(super) fn own(slots: usize) -> Self {
        Self { now: slots, all: slots, are_shared: false, is_block: false }
    }
}

/// The state of everything that the plan does not hold itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) slots: Slots,
    /// How many ended attempts no call has taken yet.
    pub(super) pending: usize,
    /// Whether a wait for a marker is under way.
    pub(super) is_waiting: bool,
    /// The present time in ms of the worker's clock, by which delayed jobs are due.
    pub(super) now_ms: u64,
    /// The same moment on the monotonic clock.
    pub(super) now: Instant,
}

/// What the loop does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Send a call with up to `outcomes` outcomes, asking for `want` jobs.
    Call { outcomes: usize, want: usize },
    /// Wait for a marker, at most this long.
    Wait(Duration),
    /// Ask whether the pause that a job asked for still lasts.
    AskLimit,
    /// Do nothing until something happens.
    Rest,
}

/// What a reply tells about the queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Learned {
    /// How many jobs were asked for; and how many came.
    pub(super) want: usize,
    pub(super) got: usize,
    /// When the next delayed job is due; see [`Settled`](crate::script::settle::Settled::next_due).
    pub(super) next_due: u64,
    /// For how many ms to ask for no jobs.
    pub(super) limited_ms: u64,
    /// Whether a reply tells what is left in the queue; false if the result of the call had to be reconstructed.
    pub(super) is_answered: bool,
}

/// Decides when a worker calls Redis, for how many jobs it asks, and when it looks again.
pub(super) struct Plan {
    drain_delay: Duration,
    longest_limit: Duration,
    cancel_grace: Duration,
    mode: Mode,
    /// How many attempts run.
    running: usize,
    /// How many jobs may be fetched beyond the free slots.
    prefetch: usize,
    /// How many fetched jobs wait for a slot.
    prefetched: usize,
    /// Whether a processor asked for the pause that lasts until `not_before`, so that no prefetched job begins.
    holds_back: bool,
    /// How many calls are under way, of any kind.
    calls: usize,
    /// How many jobs the calls under way may bring.
    asked: usize,
    /// How many jobs one call asks for at most: after a lost reply half of what it asked for, then more with each
    /// complete reply.
    most: usize,
    /// Whether the last fetch brought fewer jobs than it asked for, so that the worker waits for a marker.
    drained: bool,
    /// How many fetches in a row found no job. Listeners hear of the first one; from the second on the worker is idle,
    /// and fetches half as often.
    empty_looks: u32,
    /// When the next delayed job is due, in ms of the worker's clock; 0 if none is known.
    next_due: u64,
    /// When to look for the delayed job at `next_due`. The wait for a marker goes on meanwhile: Redis ends a wait up to
    /// a tenth of a second late, and a job that is due should not be that late.
    look_at: Option<Instant>,
    /// No fetch before this time: a rate limit, or a server that refuses calls.
    not_before: Option<Instant>,
    /// When to ask whether the pause until `not_before` still lasts, if that is long: it may be taken back, and then
    /// nobody tells.
    ask_limit_at: Option<Instant>,
    /// Whether to ask now.
    asks_limit: bool,
    /// Whether outcomes are sent one by one, because the server refused them together.
    one_by_one: bool,
    /// Until when a small call waits for more of its block.
    gathers_until: Option<Instant>,
}

impl Plan {
    pub(super) fn new(options: &WorkerOptions) -> Self {
        Self {
            drain_delay: options.drain_delay,
            longest_limit: options.maximum_rate_limit_delay,
            cancel_grace: options.cancel_grace,
            mode: Mode::Running,
            running: 0,
            prefetch: options.prefetch,
            prefetched: 0,
            holds_back: false,
            calls: 0,
            asked: 0,
            most: usize::MAX,
            drained: false,
            empty_looks: 0,
            next_due: 0,
            look_at: None,
            not_before: None,
            ask_limit_at: None,
            asks_limit: false,
            one_by_one: false,
            gathers_until: None,
        }
    }

    /// Returns the next step; called again after each call that was sent.
    pub(super) fn next(&mut self, seen: &Situation) -> Step {
        self.fetch_if_due(seen.slots, seen.now_ms);
        if std::mem::take(&mut self.asks_limit) {
            return Step::AskLimit;
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

    /// Makes the worker fetch if a delayed job that it knows of is due.
    pub(super) fn fetch_if_due(&mut self, slots: Slots, now_ms: u64) {
        if self.next_due > 0 && self.next_due <= now_ms && self.looks_for_work(slots) {
            self.look_again();
        }
    }

    /// Returns whether jobs are wanted, and none is known that could be fetched.
    fn looks_for_work(&self, slots: Slots) -> bool {
        self.drained && if slots.are_shared { self.may_take() } else { self.may_take() && self.free(slots) > 0 }
    }

    /// Returns whether jobs may be taken now.
    fn may_take(&self) -> bool {
        self.mode == Mode::Running && self.not_before.is_none()
    }

    /// Returns how many slots are in use: running jobs and, unless their slots are lent to others, the jobs that calls
    /// under way may bring.
    pub(super) fn used(&self, are_lent: bool) -> usize {
        self.running + if are_lent { 0 } else { self.asked }
    }

    /// Returns whether calls are under way that may bring jobs.
    pub(super) fn asks(&self) -> bool {
        self.asked > 0
    }

    /// Returns how many more slots than it uses a worker wants that shares `all` with others; 0 if it knows of no job.
    pub(super) fn wishes(&self, all: usize) -> usize {
        if self.drained || self.one_by_one {
            return 0;
        }
        self.wanted(Slots { now: all, all, are_shared: true, is_block: false })
    }

    /// Returns how many outcomes the next call carries and how many jobs it asks for; `None` if no call is to be sent
    /// now.
    fn next_call(&mut self, seen: &Situation) -> Option<(usize, usize)> {
        let gathers_until = self.gathers_until.take();
        if self.running > 0 && matches!(self.mode, Mode::Cancelling { stage: Stage::Gathering, .. }) {
            return None;
        }
        // Jobs that are still to come go back as well, together with those that wait, so that all keep their order. Once
        // running jobs are cancelled time is short, and no outcome waits for a reply that may be lost.
        if self.asked > 0 && matches!(self.mode, Mode::Draining { .. }) {
            return None;
        }
        let want = if self.drained { 0 } else { self.wanted(seen.slots) };
        let at_once = if seen.slots.is_block { 1 } else { CALLS_AT_ONCE };
        if self.calls >= at_once || (seen.pending == 0 && want == 0) {
            return None;
        }
        if self.one_by_one {
            // One at a time, and none during the pause after a refusal.
            return (self.calls == 0 && self.not_before.is_none()).then_some((1, 0));
        }
        // Starts a second call only if it carries at least half a share: small batches cost Redis more than they gain.
        let all = seen.slots.all.saturating_add(self.prefetch);
        let share = all.div_ceil(at_once).min(call_jobs(all));
        let is_small = |share: usize| seen.pending.max(want) < share.div_ceil(2);
        if self.calls > 0 && is_small(share) {
            return None;
        }
        // The jobs of a block end at about the same time.
        if seen.slots.is_block && self.running > 0 && is_small(share.min(seen.slots.now)) {
            let until = gathers_until.unwrap_or(seen.now + GATHER_CALL);
            if seen.now < until {
                self.gathers_until = Some(until);
                return None;
            }
        }
        // No call carries more than its share of outcomes either, so that some are left for the other call. A call with
        // outcomes asks for jobs even if none were left: it costs nothing.
        let want = self.wanted(seen.slots);
        Some((share, if seen.pending > share { want.min(share) } else { want }))
    }

    /// Returns how many jobs to ask for: the free slots and what is prefetched beyond them, or 0 if no jobs may be taken
    /// now.
    fn wanted(&self, slots: Slots) -> usize {
        if !self.may_take() {
            return 0;
        }
        let room = self.prefetch.saturating_add(slots.now).saturating_sub(self.claimed());
        room.min(call_jobs(slots.all.saturating_add(self.prefetch))).min(self.most)
    }

    /// Returns how many slots no job will use that this worker knows of.
    fn free(&self, slots: Slots) -> usize {
        slots.now.saturating_sub(self.claimed())
    }

    /// Returns how many jobs run, wait for a slot, or may come.
    fn claimed(&self) -> usize {
        self.running + self.prefetched + self.asked
    }

    /// Returns how long it is until the next delayed job is due, or until the check that allows for clocks that differ.
    fn until_due(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.next_due.saturating_sub(now_ms)).min(LONGEST_DELAY_WAIT)
    }

    /// Returns how long to wait for a marker: longer than until the next delayed job is due, since the fetch at that
    /// moment makes one at the end of the wait unnecessary.
    fn block(&self, until_due: Option<Duration>) -> Duration {
        match until_due {
            Some(left) => left + self.drain_delay,
            None if self.empty_looks > 1 => self.drain_delay * 2,
            None => self.drain_delay,
        }
    }

    /// Records that there may be jobs now.
    pub(super) fn look_again(&mut self) {
        self.drained = false;
        self.next_due = 0;
        self.look_at = None;
    }

    /// Records that the number of slots was changed.
    pub(super) fn slots_changed(&mut self) {
        self.drained = false;
    }

    /// Records that a call was sent that may bring `want` jobs.
    pub(super) fn called(&mut self, want: usize) {
        self.calls += 1;
        self.asked += want;
    }

    /// Records that a call came back that might have brought `want` jobs.
    pub(super) fn returned(&mut self, want: usize) {
        self.calls -= 1;
        self.asked -= want;
    }

    /// Records that a call brought `got` of the `want` jobs it asked for; or that its reply was lost, perhaps because
    /// it was too large.
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

    /// Records that a call was carried out. Returns true if it was the first to find no job.
    pub(super) fn learn(&mut self, learned: Learned, now: Instant) -> bool {
        let Learned { want, got, next_due, limited_ms, is_answered } = learned;
        if limited_ms > 0 {
            self.rest_for(Duration::from_millis(limited_ms), now);
        }
        if !is_answered {
            self.drained = false;
        } else if want > 0 {
            // Large jobs come a few at a time; the reply then says that more can be fetched now.
            self.drained = got < want && (got == 0 || next_due == 0);
            self.next_due = next_due;
            self.empty_looks = if got > 0 { 0 } else { self.empty_looks.saturating_add(1) };
            return self.empty_looks == 1;
        }
        false
    }

    /// Records that the server accepted a call: outcomes are sent together again once none is left of those it had
    /// refused.
    pub(super) fn accepted(&mut self, has_pending: bool) {
        self.one_by_one &= has_pending;
    }

    /// Records that the server refused a call as a whole. After a pause outcomes are tried one by one, without asking
    /// for jobs.
    pub(super) fn refused(&mut self, has_pending: bool, now: Instant) {
        self.not_before = Some(now + PAUSE_AFTER_REFUSAL);
        self.ask_limit_at = None;
        self.one_by_one = has_pending;
    }

    pub(super) fn started(&mut self) {
        self.running += 1;
    }

    pub(super) fn ended(&mut self) {
        // An attempt that ended while the loop was started again may have been counted already.
        self.running = self.running.saturating_sub(1);
    }

    /// Returns how many attempts run.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Records how many prefetched jobs wait for a slot.
    pub(super) fn holds(&mut self, prefetched: usize) {
        self.prefetched = prefetched;
    }

    /// Starts again with `running` running jobs: calls that were under way are lost. Whether the worker is paused or
    /// closing is kept.
    pub(super) fn start_again(&mut self, running: usize) {
        self.running = running;
        (self.calls, self.asked) = (0, 0);
        self.look_again();
    }

    /// Records that a processor asked for a pause of the queue. Refused outcomes that are sent one by one do not wait
    /// for it: they have a pause of their own.
    pub(super) fn limited(&mut self, pause: Duration, now: Instant) {
        if !self.one_by_one {
            self.rest_for(Duration::from_millis(millis(pause)), now);
            self.holds_back = true;
        }
    }

    fn rest_for(&mut self, pause: Duration, now: Instant) {
        let pause = pause.min(self.longest_limit);
        self.not_before = Some(now + pause);
        self.ask_limit_at = (pause > self.drain_delay).then(|| now + self.drain_delay);
    }

    /// Records how long the pause still lasts that a job asked for; `None` if the server did not say.
    pub(super) fn limit_lasts(&mut self, left: Option<Duration>, now: Instant) {
        let Some(until) = self.not_before.filter(|_| !self.one_by_one) else { return };
        match left {
            Some(Duration::ZERO) => self.end_rest(),
            left => {
                let until = left.map_or(until, |left| until.min(now + left.min(self.longest_limit)));
                self.not_before = Some(until);
                self.ask_limit_at = Some(now + self.drain_delay).filter(|at| *at < until);
            }
        }
    }

    fn end_rest(&mut self) {
        (self.not_before, self.ask_limit_at) = (None, None);
        self.holds_back = false;
        self.drained = false;
    }

    /// Returns whether jobs that were handed out are started; otherwise they are put back.
    pub(super) fn starts_jobs(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::Paused)
    }

    /// Records that a wait for a marker has ended. Returns true if the marker has to be written again, for another
    /// worker.
    pub(super) fn woken(&mut self, woken: Woken, slots: Slots, now_ms: u64) -> bool {
        match woken {
            Woken::Marker(score) => {
                let due = whole_ms(score);
                if self.mode != Mode::Running {
                    return true;
                }
                if due > now_ms {
                    // The marker of a delayed job was popped, so this worker fetches when that job is due.
                    self.next_due = if self.next_due == 0 { due } else { due.min(self.next_due) };
                    return false;
                }
                // Another worker may be able to begin the job now, which this one would only keep.
                if self.prefetch > 0 && self.free(slots) == 0 {
                    return true;
                }
                self.look_again();
                self.wanted(slots) == 0
            }
            Woken::TimeOver | Woken::Broken => {
                self.look_again();
                false
            }
            // A marker that the server sent as the socket closed is lost, so it is written again.
            Woken::Interrupted => true,
        }
    }

    /// Returns whether this worker has popped the marker of a delayed job, so that it has to fetch when that job is
    /// due.
    pub(super) fn awaits_due_job(&self) -> bool {
        self.next_due > 0
    }
}

/// Returns how many outcomes of these sizes one call carries: at most `most`, and at least one if there is one.
pub(super) fn fitting(sizes: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = |(n, size): &(usize, usize)| {
        bytes = bytes.saturating_add(*size);
        *n == 0 || bytes <= CALL_BYTES
    };
    sizes.take(most).enumerate().take_while(fits).count()
}

/// Returns for how many ms the rate limit keeps this worker from fetching. The limiter may be running for other
/// reasons; the worker waits for it only if a job asked for a pause.
///
/// A limit may be taken back or raised, and nobody tells those whom it has stopped. So where the server keeps to it, the
/// worker asks again after `look`. A pause that a job asked for is kept by the worker alone, unless there is a limit too.
pub(super) fn limited_ms(
    said: u64,
    limiter_ttl_ms: u64,
    asked: Option<Duration>,
    is_answered: bool,
    look: Duration,
) -> u64 {
    let asked = asked.map_or(0, |pause| if is_answered { limiter_ttl_ms } else { millis(pause) });
    if said > 0 { said.max(asked).min(millis(look)) } else { asked }
}

/// Returns how much one call carries for a worker with `slots` slots: with very many running jobs it is costly to find
/// those that end.
fn call_jobs(slots: usize) -> usize {
    (200_000 / slots.max(1)).clamp(20, CALL_JOBS)
}

/// Returns the whole milliseconds of a marker's score.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn whole_ms(score: f64) -> u64 {
    score.clamp(0.0, 9e15) as u64
}

#[cfg(test)]
mod tests;
