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

/// How long a small call waits for more jobs of its block to end.
const GATHER_CALL: Duration = Duration::from_millis(5);

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

/// How many jobs may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    /// As many as this, now.
    pub(super) now: usize,
    /// As many as this if no other queue's worker had some of them: the measure of a call.
    pub(super) all: usize,
    /// Whether they are [shared](super::slots) with other queues' workers: then one that has none waits for work all the same,
    /// and asks for slots when it knows of some.
    pub(super) are_shared: bool,
    /// Whether they go round in blocks, and others wait: then calls are worth a moment's patience, as Redis has others to carry
    /// out.
    pub(super) is_block: bool,
}

impl Slots {
    pub(super) fn own(slots: usize) -> Self {
        Self { now: slots, all: slots, are_shared: false, is_block: false }
    }
}

/// What the plan does not hold itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) slots: Slots,
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
            calls: 0,
            asked: 0,
            most: usize::MAX,
            drained: false,
            empty_looks: 0,
            next_due: 0,
            look_at: None,
            not_before: None,
            one_by_one: false,
            gathers_until: None,
        }
    }

    /// The next step; asked again after each call that was sent.
    pub(super) fn next(&mut self, seen: &Situation) -> Step {
        self.heed_due(seen.slots, seen.now_ms);
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

    /// Looks for jobs if one is due that was known as delayed.
    pub(super) fn heed_due(&mut self, slots: Slots, now_ms: u64) {
        if self.next_due > 0 && self.next_due <= now_ms && self.looks_for_work(slots) {
            self.look_again();
        }
    }

    /// Whether jobs are wanted and none is known that could be fetched.
    fn looks_for_work(&self, slots: Slots) -> bool {
        self.drained && if slots.are_shared { self.may_take() } else { self.wanted(slots) > 0 }
    }

    /// Whether jobs are to be taken at all now.
    fn may_take(&self) -> bool {
        self.mode == Mode::Running && self.not_before.is_none()
    }

    /// How many slots are in use: running jobs and, unless they are lent to others, those that calls on their way may bring.
    pub(super) fn used(&self, are_lent: bool) -> usize {
        self.running + if are_lent { 0 } else { self.asked }
    }

    /// Whether calls are on their way that may bring jobs.
    pub(super) fn asks(&self) -> bool {
        self.asked > 0
    }

    /// How many more slots than it uses a worker wants that shares `all` with others; none while it knows of no job.
    pub(super) fn wishes(&self, all: usize) -> usize {
        if self.drained || self.one_by_one {
            return 0;
        }
        self.wanted(Slots { now: all, all, are_shared: true, is_block: false })
    }

    /// How many outcomes the next call takes and how many jobs it asks for; `None` if none is to be sent now.
    fn next_call(&mut self, seen: &Situation) -> Option<(usize, usize)> {
        let gathers_until = self.gathers_until.take();
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
        let share = seen.slots.all.div_ceil(CALLS_AT_ONCE).min(call_jobs(seen.slots.all));
        let is_small = |share: usize| seen.pending.max(want) < share.div_ceil(2);
        if self.calls > 0 && is_small(share) {
            return None;
        }
        // The jobs of a block end together, more or less.
        if seen.slots.is_block && self.running > 0 && is_small(share.min(seen.slots.now)) {
            let until = gathers_until.unwrap_or(seen.now + GATHER_CALL);
            if seen.now < until {
                self.gathers_until = Some(until);
                return None;
            }
        }
        // No call takes more than its share of outcomes either, so that something is left for the other one. With
        // outcomes on their way a call asks for jobs also where none were left: it costs nothing.
        let want = self.wanted(seen.slots);
        Some((share, if seen.pending > share { want.min(share) } else { want }))
    }

    /// How many jobs to ask for: the free slots, unless no jobs are to be taken now.
    fn wanted(&self, slots: Slots) -> usize {
        if !self.may_take() {
            return 0;
        }
        slots.now.saturating_sub(self.running + self.asked).min(call_jobs(slots.all)).min(self.most)
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
    pub(super) fn woken(&mut self, woken: Woken, slots: Slots, now_ms: u64) -> bool {
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
        [closing, self.not_before, self.look_at, self.gathers_until].into_iter().flatten().min()
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
mod tests;
