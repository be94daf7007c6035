//! The loop: one task owns the state of a worker and talks to Redis for all of its jobs.
//!
//! Outcomes come in over a channel. Each turn takes all that have come, settles them and fetches as many jobs as there
//! are free slots, in one call. While calls are on their way the next outcomes gather: batches form by load alone, and
//! under full load Redis always has one call to work on while the jobs of the other one run.
//!
//! Modes, and what leads out of each:
//!
//! - *running*: takes jobs. `pause` → paused, `close` → draining.
//! - *paused*: takes none, settles what ends. `resume` → running, `close` → draining.
//! - *draining*: takes none, waits for the running jobs. All settled → closed; the deadline → cancelling.
//! - *cancelling*: told all jobs to stop; after the grace their tasks are ended and the jobs handed back.
//!   All settled → closed; a second deadline → closed, with what is left given up.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant as Deadline;

use super::event::WorkerEvent;
use super::perform::{Ended, ended, perform};
use super::wait::{Waiter, Woken};
use super::{Inner, Report};
use crate::clock::millis;
use crate::engine::{Decided, sent};
use crate::error::{Error, Reason};
use crate::job::{Attempt, CancelReason};
use crate::script::settle::{Ask, End, Handed};
use crate::telemetry::Outcome as Settled;

/// What a call takes at most, so that Redis is held for about 2 ms.
const CALL_JOBS: usize = 100;
const CALL_BYTES: usize = 1024 * 1024;

/// Calls on their way at once: Redis works on one while the other's jobs run. For that they must not be sent together,
/// see [`sent`].
const CALLS_AT_ONCE: usize = 2;

/// The longest wait for a delayed job that is known; clocks differ.
const LONGEST_DELAY_WAIT: Duration = Duration::from_secs(10);

/// The pause after the server refused a call as such.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// How often an outcome is sent alone before it is given up: what is wrong may be mended meanwhile.
const MOST_REFUSALS: u32 = 5;

/// When to look again for jobs that a lost request may hand out late: a server that was only slow does so at once, a
/// network that was down when its kernel tries again.
const LOOKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// What the handle asks of the loop.
pub(crate) enum Command {
    Pause(oneshot::Sender<()>),
    Resume,
    Close {
        within: Duration,
    },
    /// The concurrency was changed.
    Changed,
    /// Asked by [`Pulse`](super::pulse::Pulse).
    Answer,
}

enum Mode {
    Running,
    Paused,
    Draining { until: Deadline },
    Cancelling { until: Deadline, aborted: bool },
}

/// A call that came back, with what it was about.
struct Answered {
    ended: Vec<Ended>,
    want: usize,
    answer: crate::error::Result<Decided>,
}

pub(crate) struct Loop {
    worker: Arc<Inner>,
    commands: mpsc::Receiver<Command>,
    ends: mpsc::UnboundedReceiver<Ended>,
    /// Cloned into each attempt.
    end: mpsc::UnboundedSender<Ended>,
    waiter: Waiter,
    mode: Mode,
    calls: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Ended attempts that no call has taken yet.
    pending: VecDeque<Ended>,
    /// Attempts whose processor runs.
    running: usize,
    /// Whether jobs were started since the runtime last had a turn.
    has_started: bool,
    /// Jobs that calls on their way may bring.
    asked: usize,
    /// Whether the last fetch brought less than it wanted, so that it is time to wait for a marker.
    drained: bool,
    /// How many looks in a row found no job at all. Listeners hear of the first; from the second on the worker is idle,
    /// and looks half as often.
    empty_looks: u32,
    /// When the next delayed job is due, in ms of the worker's clock; 0 if none is known.
    next_due: u64,
    /// No fetch before this: the rate limit, or a server that refuses.
    not_before: Option<Deadline>,
    /// Settle the outcomes one by one: the server refused them together.
    one_by_one: bool,
    /// Tokens of calls whose reply was lost, and when to look for their jobs again.
    suspects: VecDeque<(Deadline, Arc<str>)>,
    pausing: Vec<oneshot::Sender<()>>,
    report: Report,
}

impl Loop {
    pub(crate) fn new(worker: Arc<Inner>, waiter: Waiter, commands: mpsc::Receiver<Command>) -> Self {
        let (end, ends) = mpsc::unbounded_channel();
        Self {
            worker,
            commands,
            ends,
            end,
            waiter,
            mode: Mode::Running,
            calls: FuturesUnordered::new(),
            pending: VecDeque::new(),
            running: 0,
            has_started: false,
            asked: 0,
            drained: false,
            empty_looks: 0,
            next_due: 0,
            not_before: None,
            one_by_one: false,
            suspects: VecDeque::new(),
            pausing: Vec::new(),
            report: Report::default(),
        }
    }

    /// Works until closed.
    pub(crate) async fn run(mut self) -> Report {
        let mut came = Vec::new();
        let mut handle_lives = true;
        loop {
            // Jobs that end at once do so now, so that their outcomes are on their way to Redis before the next reply is
            // looked at.
            if std::mem::take(&mut self.has_started) {
                tokio::task::yield_now().await;
                while let Ok(ended) = self.ends.try_recv() {
                    self.ended(ended);
                }
            }
            self.turn();
            if self.is_closed() {
                break;
            }
            let alarm = self.alarm();
            tokio::select! {
                _ = self.ends.recv_many(&mut came, 1024) => came.drain(..).for_each(|ended| self.ended(ended)),
                Some(answered) = self.calls.next(), if !self.calls.is_empty() => self.answered(answered),
                woken = self.waiter.woken(), if self.waiter.is_waiting => self.woken(woken),
                command = self.commands.recv(), if handle_lives => match command {
                    Some(command) => self.command(command),
                    None => {
                        // The handle was dropped: no new jobs, and those that run may end.
                        handle_lives = false;
                        self.close(self.worker.options.shutdown_timeout);
                    }
                },
                () = sleep_until(alarm), if alarm.is_some() => self.ring(),
            }
        }
        self.finish().await
    }

    fn ended(&mut self, ended: Ended) {
        self.running -= 1;
        self.pending.push_back(ended);
    }

    /// Sends what can be sent, and waits for work if there is nothing to do.
    fn turn(&mut self) {
        while self.calls.len() < CALLS_AT_ONCE {
            let want = self.wanted();
            let fetches = want > 0 && !self.drained;
            if self.pending.is_empty() && !fetches {
                break;
            }
            if self.one_by_one {
                // One at a time, and none in the pause after a refusal.
                if self.calls.is_empty() && self.not_before.is_none() {
                    self.call(1, 0);
                }
                break;
            }
            // A second call only for a fair share of the slots: small batches cost Redis more than they gain.
            let slots = self.worker.concurrency.load(Ordering::Relaxed);
            let share = slots.div_ceil(CALLS_AT_ONCE).min(call_jobs(slots));
            if !self.calls.is_empty() && self.pending.len().max(if fetches { want } else { 0 }) < share.div_ceil(2) {
                break;
            }
            // No call takes more than its share of outcomes either, so that something is left for the other one.
            self.call(share, if self.pending.len() > share { want.min(share) } else { want });
        }
        if self.waits_for_work() {
            let block = match self.next_due {
                0 if self.empty_looks > 1 => self.worker.options.drain_delay * 2,
                0 => self.worker.options.drain_delay,
                due => {
                    let ms = due.saturating_sub(self.now());
                    Duration::from_millis(ms).min(LONGEST_DELAY_WAIT)
                }
            };
            if block.is_zero() {
                self.drained = false;
                self.next_due = 0;
                return self.turn();
            }
            self.waiter.wait(block);
        }
        if self.running == 0 && self.pending.is_empty() && self.calls.is_empty() {
            for paused in self.pausing.drain(..) {
                let _ = paused.send(());
            }
        }
    }

    /// How many jobs to ask for: the free slots, unless no jobs are to be taken now.
    fn wanted(&self) -> usize {
        if !matches!(self.mode, Mode::Running) || self.not_before.is_some() {
            return 0;
        }
        let slots = self.worker.concurrency.load(Ordering::Relaxed);
        slots.saturating_sub(self.running + self.asked).min(call_jobs(slots))
    }

    fn waits_for_work(&self) -> bool {
        self.drained && self.wanted() > 0 && self.calls.is_empty() && !self.waiter.is_waiting
    }

    /// Sends one call with up to `most` outcomes, as they fit, and the wish for `want` jobs.
    fn call(&mut self, most: usize, want: usize) {
        let mut bytes = 0;
        let fitting = self.pending.iter().take(most).take_while(|ended| {
            bytes += ended.outcome.size();
            bytes <= CALL_BYTES
        });
        let n = fitting.count().max(usize::from(!self.pending.is_empty()));
        let ended: Vec<Ended> = self.pending.drain(..n).collect();
        self.asked += want;
        let worker = Arc::clone(&self.worker);
        self.calls.push(sent(async move { settle(&worker, ended, want).await }));
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { ended, want, answer } = answered;
        self.asked -= want;
        let Decided { settled, suspects, token, sent, is_answered } = match answer {
            Ok(decided) => decided,
            Err(error) => return self.refused(ended, want, error),
        };
        self.one_by_one &= !self.pending.is_empty();
        if !suspects.is_empty() {
            self.suspect(suspects);
        }
        let pause = ended.iter().filter_map(|ended| ended.pause).max();
        self.settled(ended, &settled.codes);
        for job_id in settled.ghosts {
            tracing::warn!(%job_id, queue = ?self.worker.queue.engine().keys, "an id without a readable job was dropped");
            self.worker.events.emit(|| WorkerEvent::Ghost { job_id });
        }
        // The limiter may be running for other reasons; only a job that asked for it makes this worker wait for it.
        let asked = pause.map_or(0, |pause| if is_answered { settled.limiter_ttl_ms } else { millis(pause) });
        let limited = settled.limited_ms.max(asked);
        if limited > 0 {
            let pause = Duration::from_millis(limited).min(self.worker.options.maximum_rate_limit_delay);
            self.not_before = Some(Deadline::now() + pause);
        }
        if !is_answered {
            self.drained = false;
        } else if want > 0 {
            let got = settled.jobs.len();
            // Large jobs come a few at a time, with the moment at which more can be had: now.
            self.drained = got < want && (got == 0 || settled.next_due == 0);
            self.next_due = settled.next_due;
            if got > 0 {
                self.empty_looks = 0;
            } else {
                self.empty_looks = self.empty_looks.saturating_add(1);
                if self.empty_looks == 1 {
                    self.worker.events.emit(|| WorkerEvent::Drained);
                }
            }
        }
        self.start(settled.jobs, &token, sent);
    }

    /// Tokens of lost replies: requests that are carried out late, when a server or a network wakes up, hand out jobs
    /// under them.
    fn suspect(&mut self, tokens: Vec<Arc<str>>) {
        for token in tokens {
            self.suspects.extend(LOOKS.map(|after| (Deadline::now() + after, Arc::clone(&token))));
        }
        self.suspects.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    /// What Redis said to each outcome.
    fn settled(&mut self, ended: Vec<Ended>, codes: &[Result<i64, Reason>]) {
        let mut freed = Vec::with_capacity(ended.len());
        for (mut ended, code) in ended.into_iter().zip(codes) {
            match code {
                Ok(code) => {
                    // No child is pending, so there is nothing to wait for: the job runs on from the front.
                    if *code == 1 && matches!(ended.outcome.end, End::Children { .. }) {
                        ended.outcome.end = End::Waiting;
                        self.pending.push_back(ended);
                        continue;
                    }
                    freed.push(ended.slot);
                    self.note(ended);
                }
                Err(reason) => match self.after_refusal(ended, *reason) {
                    Some(Ok(again)) => self.pending.push_back(again),
                    Some(Err(slot)) => freed.push(slot),
                    None => {}
                },
            }
        }
        self.worker.locks.let_go(freed.into_iter());
    }

    /// Counts and announces an outcome that Redis has taken.
    fn note(&mut self, ended: Ended) {
        let (events, figures) = (&self.worker.events, &self.worker.figures);
        let id = ended.outcome.id;
        let job_id = || id.to_string();
        match ended.outcome.end {
            End::Completed { value, .. } => {
                self.worker.counters.completed.fetch_add(1, Ordering::Relaxed);
                figures.count(Settled::Completed);
                events.emit(|| WorkerEvent::Completed { job_id: job_id(), return_value: value });
            }
            End::Failed { why, .. } => {
                self.worker.counters.failed.fetch_add(1, Ordering::Relaxed);
                figures.count(Settled::Failed);
                events.emit(|| WorkerEvent::Failed { job_id: job_id(), reason: why.reason, will_retry: false });
            }
            End::Retry { why, .. } | End::Delayed { why: Some(why), .. } => {
                self.worker.counters.retried.fetch_add(1, Ordering::Relaxed);
                figures.count(Settled::Retried);
                events.emit(|| WorkerEvent::Failed { job_id: job_id(), reason: why.reason, will_retry: true });
            }
            End::Waiting if ended.handed_back => {
                figures.count(Settled::HandedBack);
                self.report.handed_back.push(job_id());
            }
            End::Delayed { .. } | End::Waiting | End::Children { .. } => {
                figures.count(Settled::Moved);
                self.report.moved += 1;
            }
        }
    }

    /// What to do with an outcome that Redis refused: an outcome to settle instead, or the slot to free; `None` if that
    /// is under way.
    fn after_refusal(&mut self, ended: Ended, reason: Reason) -> Option<Result<Ended, usize>> {
        let slot = ended.slot;
        let id = ended.outcome.id.to_string();
        match reason {
            // A request was carried out whose reply was lost, and left this one alone; ask again why.
            Reason::Unknown(0) => return Some(Ok(ended)),
            // A parent cannot complete yet, or not any more: that is how this attempt ends.
            Reason::PendingDependencies | Reason::FailedChildren
                if matches!(ended.outcome.end, End::Completed { .. } | End::Children { .. }) =>
            {
                self.worker.events.error(Error::refused("settle", id, reason));
                self.fail_instead(ended, reason);
                return None;
            }
            Reason::MissingLock | Reason::LockMismatch | Reason::NotInState => {
                self.lose(id.clone());
                if ended.attempt.cancel(CancelReason::LockLost) {
                    let job_id = id.clone();
                    self.worker.events.emit(|| WorkerEvent::LockLost { job_id });
                }
            }
            _ => self.lose(id.clone()),
        }
        self.worker.events.error(Error::refused("settle", id, reason));
        Some(Err(slot))
    }

    /// Ends an attempt as failed that was to complete; the job's own attempts and backoff decide what comes next.
    fn fail_instead(&mut self, mut ended: Ended, reason: Reason) {
        let worker = Arc::clone(&self.worker);
        self.calls.push(Box::pin(async move {
            let id = Arc::clone(&ended.outcome.id);
            let is_final = reason == Reason::FailedChildren;
            let text = if is_final {
                format!("Cannot complete job {id} because it has at least one failed child. moveToFinished")
            } else {
                format!("Job {id} has pending dependencies. moveToFinished")
            };
            // Read again, since only few jobs come here and the outcome does not hold the options.
            let raw = worker.queue.engine().get_job(&id).await.ok().flatten().unwrap_or_default();
            ended.outcome.end = super::verdict::fail(&raw, &text.into(), is_final, &worker.options).end;
            settle(&worker, vec![ended], 0).await
        }));
    }

    fn lose(&mut self, id: String) {
        self.worker.figures.count(Settled::Lost);
        self.report.lost.push(id);
    }

    /// The server refused the whole call. After a pause outcomes are tried one by one, without asking for jobs; one that
    /// is refused again and again is given up, and its job comes back when its lock has run out.
    fn refused(&mut self, mut ended: Vec<Ended>, want: usize, error: Error) {
        self.not_before = Some(Deadline::now() + PAUSE_AFTER_REFUSAL);
        if let ([alone], 0) = (&mut ended[..], want) {
            alone.refusals += 1;
            if alone.refusals >= MOST_REFUSALS {
                let (id, slot) = (alone.outcome.id.to_string(), alone.slot);
                self.lose(id);
                self.worker.locks.let_go([slot].into_iter());
                ended.clear();
            }
        }
        self.pending.extend(ended);
        self.one_by_one = !self.pending.is_empty();
        self.worker.events.error(error);
    }

    /// Starts jobs that were handed out; a worker that takes none any more hands them back.
    fn start(&mut self, jobs: Vec<Handed>, token: &Arc<str>, sent: Instant) {
        if jobs.is_empty() {
            return;
        }
        let attempts: Vec<Arc<Attempt>> = jobs
            .iter()
            .map(|job| Arc::new(Attempt::new(String::from_utf8_lossy(&job.id).into(), Arc::clone(token))))
            .collect();
        let slots = self.worker.locks.hold(attempts.iter().cloned(), sent);
        let takes_jobs = matches!(self.mode, Mode::Running | Mode::Paused);
        let mut tasks = Vec::with_capacity(jobs.len());
        for ((job, attempt), slot) in jobs.into_iter().zip(attempts).zip(slots) {
            if takes_jobs {
                self.running += 1;
                self.has_started = true;
                let task = perform(Arc::clone(&self.worker), job, attempt, slot, self.end.clone());
                tasks.push((slot, tokio::spawn(task).abort_handle()));
            } else {
                self.pending.push_back(ended(attempt, slot, 0, End::Waiting, true));
            }
        }
        self.worker.locks.attach(tasks.into_iter());
    }

    fn woken(&mut self, woken: Woken) {
        match woken {
            Woken::Marker(score) => {
                let due = whole_ms(score);
                if !matches!(self.mode, Mode::Running) {
                    // Not this one's any more; `wake_workers` writes both kinds again.
                    self.pass_marker_on();
                } else if due > self.now() {
                    // The marker of a delayed job: it was taken, so this worker looks when it is due.
                    self.next_due = if self.next_due == 0 { due } else { due.min(self.next_due) };
                } else {
                    self.drained = false;
                    self.next_due = 0;
                    if self.wanted() == 0 {
                        self.pass_marker_on();
                    }
                }
            }
            Woken::TimeOver | Woken::Broken => {
                self.drained = false;
                self.next_due = 0;
            }
            // What the server handed out as the socket closed is lost, so it is written again.
            Woken::Interrupted => self.pass_marker_on(),
        }
    }

    /// Lets another worker have a marker that this one cannot use.
    fn pass_marker_on(&self) {
        let engine = self.worker.queue.engine().clone();
        tokio::spawn(async move { engine.wake_workers(engine.link.options().command_timeout).await });
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Pause(done) => {
                if matches!(self.mode, Mode::Running) {
                    self.mode = Mode::Paused;
                    self.waiter.interrupt();
                    self.worker.events.emit(|| WorkerEvent::Paused);
                }
                self.pausing.push(done);
            }
            Command::Resume => {
                if matches!(self.mode, Mode::Paused) {
                    self.mode = Mode::Running;
                    self.drained = false;
                    self.worker.events.emit(|| WorkerEvent::Resumed);
                }
                // Whoever still waits for the running jobs of a pause that is over would wait for ever.
                for paused in self.pausing.drain(..) {
                    let _ = paused.send(());
                }
            }
            Command::Close { within } => self.close(within),
            Command::Changed => self.drained = false,
            Command::Answer => self.worker.pulse.answer(),
        }
    }

    fn close(&mut self, within: Duration) {
        let until = Deadline::now() + within.min(Duration::from_secs(365 * 24 * 3600));
        match &mut self.mode {
            Mode::Running | Mode::Paused => {
                self.worker.events.emit(|| WorkerEvent::Closing);
                self.mode = Mode::Draining { until };
                self.waiter.interrupt();
                // Nobody looks for these later.
                for token in self.suspects.drain(..).map(|(_, token)| token).collect::<HashSet<_>>() {
                    self.look_for(token);
                }
            }
            // A second call may shorten the wait.
            Mode::Draining { until: sooner } => *sooner = until.min(*sooner),
            Mode::Cancelling { .. } => {}
        }
    }

    fn alarm(&self) -> Option<Deadline> {
        let closing = match self.mode {
            Mode::Draining { until } | Mode::Cancelling { until, .. } => Some(until),
            Mode::Running | Mode::Paused => None,
        };
        let look = self.suspects.front().map(|(at, _)| *at);
        [closing, self.not_before, look].into_iter().flatten().min()
    }

    fn ring(&mut self) {
        let now = Deadline::now();
        if self.not_before.is_some_and(|at| at <= now) {
            self.not_before = None;
            self.drained = false;
        }
        while self.suspects.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, token)) = self.suspects.pop_front() {
                self.look_for(token);
            }
        }
        match self.mode {
            Mode::Draining { until } if until <= now => {
                self.worker.locks.cancel_all(&CancelReason::Shutdown);
                self.mode = Mode::Cancelling { until: now + self.worker.options.cancel_grace, aborted: false };
            }
            Mode::Cancelling { until, aborted: false } if until <= now => {
                // Tasks that wait for something end here and hand their job back; those that compute go on.
                self.worker.locks.abort_all();
                self.mode = Mode::Cancelling { until: now + Duration::from_millis(400), aborted: true };
            }
            _ => {}
        }
    }

    /// Looks once more for jobs that were handed out under the token of a lost reply.
    fn look_for(&mut self, token: Arc<str>) {
        let worker = Arc::clone(&self.worker);
        let known = self.worker.locks.ids();
        self.calls.push(Box::pin(async move {
            let lock_ms = millis(worker.options.lock_duration);
            let found = worker.queue.engine().adopt(&token, lock_ms, &known).await;
            let answer = found.map(|(jobs, sent)| {
                let settled = crate::script::settle::Settled { jobs, ..Default::default() };
                Decided { settled, suspects: Vec::new(), token, sent, is_answered: true }
            });
            Answered { ended: Vec::new(), want: 0, answer }
        }));
    }

    fn is_closed(&self) -> bool {
        let quiet = self.running == 0 && self.pending.is_empty() && self.calls.is_empty();
        match self.mode {
            Mode::Draining { .. } => quiet,
            Mode::Cancelling { until, aborted } => quiet || (aborted && until <= Deadline::now()),
            Mode::Running | Mode::Paused => false,
        }
    }

    async fn finish(mut self) -> Report {
        drop(self.calls);
        // A marker of a delayed job that this worker has taken is as good as lost, too.
        let has_marker = self.waiter.close().await || self.next_due > 0;
        self.report.counts = self.worker.counters.read();
        self.report.abandoned = self.worker.locks.ids();
        // Nobody renews the locks of what is given up, so that others can have it soon.
        self.worker.locks.clear();
        if has_marker {
            self.worker.queue.engine().wake_workers(Duration::from_millis(400)).await;
        }
        for paused in self.pausing.drain(..) {
            let _ = paused.send(());
        }
        self.worker.events.emit(|| WorkerEvent::Closed);
        self.report
    }

    fn now(&self) -> u64 {
        self.worker.queue.engine().clock.now_ms()
    }
}

/// Settles outcomes and takes jobs, until it is known what became of it.
async fn settle(worker: &Inner, ended: Vec<Ended>, want: usize) -> Answered {
    let options = &worker.options;
    let mut ask = Ask::of(options, want);
    let (rests, outcomes): (Vec<_>, Vec<_>) = ended
        .into_iter()
        .map(|ended| ((ended.slot, ended.handed_back, ended.pause, ended.refusals, ended.attempt), ended.outcome))
        .unzip();
    let answer = worker.queue.engine().settle(&mut ask, &outcomes, || worker.tokens.next()).await;
    if let Ok(decided) = &answer {
        worker.figures.settled(outcomes.len(), decided.settled.jobs.len());
    }
    let ended = rests.into_iter().zip(outcomes).map(|((slot, handed_back, pause, refusals, attempt), outcome)| Ended {
        slot,
        outcome,
        handed_back,
        pause,
        refusals,
        attempt,
    });
    Answered { ended: ended.collect(), want, answer }
}

/// What a call takes at most of a worker with so many slots: among many running jobs those that end have to be looked for.
fn call_jobs(slots: usize) -> usize {
    (200_000 / slots.max(1)).clamp(20, CALL_JOBS)
}

async fn sleep_until(at: Option<Deadline>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The whole milliseconds of a marker's score.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn whole_ms(score: f64) -> u64 {
    score.clamp(0.0, 9e15) as u64
}
