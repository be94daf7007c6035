//! The loop: one task owns the state of a worker and talks to Redis for all of its jobs.
//!
//! Outcomes come in over a channel. Each turn takes all that have come, stores them and fetches as many jobs as there
//! are free slots, in one call. While calls are under way the next outcomes gather: the size of a batch follows from
//! the load, and under full load Redis always works on one call while the jobs of the other run.
//!
//! [`plan`](super::plan) decides what to call, when and for how many jobs, and lists the modes of a worker; the loop
//! carries it out.

mod calls;
mod prefetched;
mod spare;
mod taking;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant as Deadline;

use self::spare::Spare;
use super::event::WorkerEvent;
use super::losses::Losses;
use super::panics::catch;
use super::perform::{EndedAttempt, Taken};
use super::plan::{Force, Plan, Situation, Slots, Step};
use super::settle::{Answered, settle_apart};
use super::slots::{Asked, SlotShare};
use super::tally::Tally;
use super::wait::{Waiter, Woken};
use super::{WorkerCore, supervise};
use crate::connection::Pauses;
use crate::failpoint;
use crate::job::CancelReason;

/// From this size on, in bytes, an outcome is sent in a call and on a connection of its own, so that no fetch waits
/// behind it.
const LARGE: usize = 256 * 1024;

/// What the handle tells the loop.
pub(crate) enum Command {
    Pause(oneshot::Sender<()>),
    Resume,
    Close {
        until: Deadline,
    },
    /// The concurrency was changed.
    Changed,
    /// Sent by the [`Watchdog`](super::watchdog::Watchdog), which expects an answer.
    Answer,
}

/// The state of a worker's loop, which alone starts attempts and calls Redis for outcomes and new jobs.
pub(crate) struct Loop {
    worker: Arc<WorkerCore>,
    commands: mpsc::Receiver<Command>,
    handle_lives: bool,
    ended_rx: mpsc::UnboundedReceiver<EndedAttempt>,
    /// Cloned into each attempt.
    ended_tx: mpsc::UnboundedSender<EndedAttempt>,
    waiter: Waiter,
    plan: Plan,
    /// Set if the slots are shared with other queues' workers.
    share: Option<SlotShare>,
    /// Set if slots are shared, while calls are under way that may bring jobs; renewed with each call that comes back.
    asked: Option<Asked>,
    losses: Losses,
    tally: Tally,
    calls: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Ended attempts that no call has taken yet.
    pending: VecDeque<EndedAttempt>,
    /// Ended attempts with a large outcome, which are sent one at a time.
    large: VecDeque<EndedAttempt>,
    is_large_underway: bool,
    has_panicked: bool,
    /// Whether jobs may end at once that were started, or told of closing, since the loop last yielded to the runtime.
    has_started: bool,
    /// How many jobs were taken so far.
    taken: u64,
    pausing: Vec<oneshot::Sender<()>>,
    spare: Spare,
    /// Fetched jobs that wait for a slot; in the order in which they were taken.
    prefetched: VecDeque<Taken>,
    /// Asks how long a pause still lasts.
    limit_asked: Option<BoxFuture<'static, Option<Duration>>>,
}

impl Loop {
    pub(crate) fn new(
        worker: Arc<WorkerCore>,
        waiter: Waiter,
        commands: mpsc::Receiver<Command>,
        share: Option<SlotShare>,
    ) -> Self {
        let (ended_tx, ended_rx) = mpsc::unbounded_channel();
        Self {
            plan: Plan::new(&worker.host.options),
            share,
            asked: None,
            losses: Losses::default(),
            tally: Tally::new(Arc::clone(&worker)),
            worker,
            commands,
            handle_lives: true,
            ended_rx,
            ended_tx,
            waiter,
            calls: FuturesUnordered::new(),
            pending: VecDeque::new(),
            large: VecDeque::new(),
            is_large_underway: false,
            has_panicked: false,
            has_started: false,
            taken: 0,
            pausing: Vec::new(),
            spare: Spare::default(),
            prefetched: VecDeque::new(),
            limit_asked: None,
        }
    }

    /// Runs until closed, and continues after a panic. However it ends, its jobs are given up.
    pub(crate) async fn run(mut self) {
        let _abandons = Abandons(Arc::clone(&self.worker));
        let mut backoff = Pauses::default();
        while let Err(panic) = catch(self.work()).await {
            supervise::report(&self.worker.events, "worker loop", panic);
            self.has_panicked = true;
            backoff.pause().await;
        }
        self.finish().await;
    }

    /// Starts again after a panic. Calls that were under way are lost, and their jobs come back when their locks have
    /// run out. Running jobs go on.
    fn start_again(&mut self) {
        self.calls = FuturesUnordered::new();
        self.is_large_underway = false;
        self.spare = Spare::default();
        self.limit_asked = None;
        while let Ok(ended) = self.ended_rx.try_recv() {
            self.on_ended(ended);
        }
        let unsettled = self.pending.iter().chain(&self.large).map(|ended| ended.slot).collect();
        let (lost, running) = self.worker.locks.release_all_but(&unsettled);
        lost.into_iter().for_each(|id| self.tally.lost(id));
        self.note_prefetched();
        self.plan.start_again(running.saturating_sub(self.prefetched.len()));
        self.asked = None;
    }

    async fn work(&mut self) {
        if self.has_panicked {
            self.start_again();
            self.has_panicked = false;
        }
        let mut came = Vec::new();
        loop {
            failpoint::hit("worker loop", &self.worker.queue.engine().keys);
            if std::mem::take(&mut self.has_started) {
                self.let_short_jobs_end().await;
            }
            self.turn();
            if self.plan.is_closed(self.unsettled(), Deadline::now()) {
                break;
            }
            let look = self.asked.and_then(|asked| asked.next_look());
            let gives_at = self.share.as_ref().and_then(SlotShare::gives_at);
            let alarm = [self.plan.alarm(), self.losses.next_look(), look, gives_at].into_iter().flatten().min();
            tokio::select! {
                _ = self.ended_rx.recv_many(&mut came, 1024) => came.drain(..).for_each(|ended| self.on_ended(ended)),
                Some(answered) = self.calls.next(), if !self.calls.is_empty() => self.on_answer(answered),
                woken = self.waiter.woken(), if self.waiter.is_waiting => self.on_woken(woken),
                command = self.commands.recv(), if self.handle_lives => match command {
                    Some(command) => self.on_command(command),
                    None => {
                        // The handle was dropped: no new jobs are taken, and running ones may end.
                        self.handle_lives = false;
                        self.worker.is_dropped.store(self.plan.starts_jobs(), Ordering::Relaxed);
                        self.close(super::until(self.worker.host.options.shutdown_timeout));
                    }
                },
                () = sleep_until(alarm), if alarm.is_some() => self.on_alarm(),
                () = self.worker.locks.told(), if !self.prefetched.is_empty() => self.end_cancelled(),
                () = slots_came(self.share.as_ref()), if self.share.is_some() => {}
                left = answered(&mut self.limit_asked), if self.limit_asked.is_some() => {
                    self.limit_asked = None;
                    self.plan.limit_lasts(left, Deadline::now());
                }
            }
        }
    }

    /// Lets jobs that end at once run, so that their outcomes are sent before the next reply is handled. For a block of
    /// slots it goes on as long as more of them end: other threads run some, and one call for all of them costs less. So it
    /// does when the worker closes: jobs that wait for their turn end at once, and keep their order if they go back together.
    async fn let_short_jobs_end(&mut self) {
        loop {
            tokio::task::yield_now().await;
            let before = self.pending.len();
            while let Ok(ended) = self.ended_rx.try_recv() {
                self.on_ended(ended);
            }
            let is_block = self.share.as_ref().is_some_and(SlotShare::is_block);
            let goes_on = is_block || !self.plan.starts_jobs();
            if !goes_on || self.pending.len() == before {
                break;
            }
        }
    }

    /// Sends what can be sent, and waits for the marker if there is nothing to do.
    fn turn(&mut self) {
        if !self.is_large_underway
            && let Some(ended) = self.large.pop_front()
        {
            self.is_large_underway = true;
            self.calls.push(Box::pin(settle_apart(Arc::clone(&self.worker), ended)));
        }
        self.begin_prefetched();
        loop {
            let seen = Situation {
                slots: self.slots(0),
                pending: self.pending.len(),
                is_waiting: self.waiter.is_waiting,
                now_ms: self.now(),
                now: Deadline::now(),
            };
            match self.plan.next(&seen) {
                Step::Call { outcomes, want } => self.settle_and_fetch(outcomes, want),
                Step::AskLimit => self.ask_limit(),
                Step::Wait(block) => break self.waiter.wait(block),
                Step::Rest => break,
            }
        }
        if self.plan.is_quiet(self.unsettled()) {
            self.answer_pauses();
        }
    }

    fn on_ended(&mut self, ended: EndedAttempt) {
        self.plan.ended();
        if let Some(pause) = ended.pause {
            // Set before the call, so that not even the call that carries this outcome brings a job.
            self.plan.limited(pause, Deadline::now());
        }
        if ended.is_gone {
            return self.worker.locks.release([ended.slot].into_iter());
        }
        if ended.is_settled {
            self.worker.locks.release([ended.slot].into_iter());
            return self.tally.record(ended);
        }
        if ended.outcome.size() > LARGE {
            self.large.push_back(ended);
        } else {
            self.pending.push_back(ended);
        }
    }

    /// Returns how many ended attempts are not settled and not part of a counted call.
    fn unsettled(&self) -> usize {
        self.pending.len() + self.large.len() + usize::from(self.is_large_underway)
    }

    fn on_woken(&mut self, woken: Woken) {
        // One slot is enough to find out whether the marker is right.
        let slots = self.slots(1);
        if self.plan.woken(woken, slots, self.now()) {
            // The marker may belong to another worker; `wake_workers` writes both of its members.
            let engine = self.worker.queue.engine().clone();
            tokio::spawn(async move { engine.wake_workers(engine.link.options().command_timeout).await });
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Pause(done) => {
                if self.plan.pause() {
                    self.worker.is_paused.store(true, Ordering::Relaxed);
                    self.waiter.interrupt();
                    self.worker.events.emit(|| WorkerEvent::Paused);
                }
                self.pausing.push(done);
            }
            Command::Resume => {
                if self.plan.resume() {
                    self.worker.is_paused.store(false, Ordering::Relaxed);
                    self.worker.events.emit(|| WorkerEvent::Resumed);
                }
                // Callers that wait for the running jobs of a pause that is over would wait for ever.
                self.answer_pauses();
            }
            Command::Close { until } => self.close(until),
            Command::Changed => self.plan.slots_changed(),
            Command::Answer => self.worker.watchdog.answer(),
        }
    }

    fn close(&mut self, until: Deadline) {
        if self.plan.close(until) {
            self.worker.events.emit(|| WorkerEvent::Closing);
            self.worker.host.closing.cancel();
            self.has_started = true;
            self.waiter.interrupt();
            for token in self.losses.take_all() {
                self.look_for(token);
            }
        }
    }

    fn on_alarm(&mut self) {
        let now = Deadline::now();
        if let Some(asked) = &mut self.asked {
            asked.look(now);
        }
        while let Some(token) = self.losses.due(now) {
            self.look_for(token);
        }
        match self.plan.on_alarm(now) {
            Some(Force::Cancel) => {
                self.worker.locks.cancel_all(&CancelReason::Shutdown);
            }
            Some(Force::Abort) => self.worker.locks.abort_all(),
            None => {}
        }
    }

    fn answer_pauses(&mut self) {
        for paused in self.pausing.drain(..) {
            let _ = paused.send(());
        }
    }

    async fn finish(mut self) {
        self.worker.watchdog.closed();
        self.calls.clear();
        // The marker of a delayed job that this worker has popped would be lost too.
        let has_marker = self.waiter.close().await || self.plan.awaits_due_job();
        self.worker.abandon();
        if has_marker {
            self.worker.queue.engine().wake_workers(Duration::from_millis(400)).await;
        }
        self.answer_pauses();
        self.worker.events.emit(|| WorkerEvent::Closed);
    }

    /// Returns how many jobs may run at once. Shared slots are claimed first: those that the plan wants, and at least
    /// `least`.
    fn slots(&mut self, least: usize) -> Slots {
        let Some(share) = &mut self.share else { return Slots::own(self.worker.concurrency.load(Ordering::Relaxed)) };
        let all = share.total();
        let none = Slots { now: 0, all, are_shared: true, is_block: false };
        let are_lent = self.asked.is_some_and(|asked| asked.are_slots_lent());
        self.plan.fetch_if_due(none, self.worker.queue.engine().clock.now_ms());
        // While the server does not answer, it would not answer a second call either.
        let wishes = if are_lent { 0 } else { self.plan.wishes(all).max(least) };
        let now = share.claim(self.plan.used(are_lent), wishes);
        Slots { now, is_block: share.is_block(), ..none }
    }

    fn now(&self) -> u64 {
        self.worker.queue.engine().clock.now_ms()
    }
}

/// Gives up the jobs of a loop when it ends, even if its runtime is shut down.
struct Abandons(Arc<WorkerCore>);

impl Drop for Abandons {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Waits for the answer to a call, if one is under way.
async fn answered<T>(call: &mut Option<BoxFuture<'static, T>>) -> T {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

async fn slots_came(share: Option<&SlotShare>) {
    match share {
        Some(share) => share.woken().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Deadline>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
