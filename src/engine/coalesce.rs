//! Joins adds that are called at the same time into one call to Redis.

mod first;

use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::runtime::{self, Handle};
use tokio::sync::{Notify, oneshot};

use self::first::{Back, Carried, First, Parked};
use super::add::call_length;
use super::{Engine, LONGEST_CALL, sent};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::script::add_jobs::{Addition, Placed};
use crate::sync::Lock;
use crate::telemetry::AddFigures;

/// How many calls are under way at once: Redis works on one while the callers of the other add their next jobs.
const CALLS_AT_ONCE: usize = 2;

/// How many adds must have gathered to start a second call beside another; fewer adds are not split between two calls.
const WORTH_A_CALL: usize = 16;

/// Joins adds that are called at the same time into one call.
///
/// The first add is sent at once, by its caller; those that come while a call is under way form the next one. So an
/// idle producer waits for nothing, and a busy one shares the cost of a call among many jobs. Nobody waits for a caller:
/// it may keep its future and not poll it. So as soon as a second one has come, a task does all the sending.
pub(crate) struct Coalescer {
    engine: Engine,
    figures: AddFigures,
    state: Lock<Gathering>,
    /// Notified when enough adds have gathered for a second call.
    enough: Notify,
}

#[derive(Default)]
struct Gathering {
    jobs: Vec<Addition>,
    callers: Vec<Caller>,
    sender: Sender,
    /// The call of the first caller, while it is not being polled.
    parked: Option<Parked>,
    /// What tasks will say of calls that they took from their callers, by the ticket of the caller.
    carried: Vec<(u64, oneshot::Receiver<Back>)>,
    /// The runtime of the sender. A task of the same runtime cannot stand still while the caller does not.
    home: Option<runtime::Id>,
    /// How many jobs are under way.
    sent: usize,
    /// The next caller's number.
    tickets: u64,
}

impl Sender {
    /// Reports whether the caller with this ticket sends.
    fn is_first(self, ticket: u64) -> bool {
        matches!(self, Self::First(owner) | Self::Called(owner) if owner == ticket)
    }
}

impl Gathering {
    /// Returns the task that has to be started for what has gathered. A call stays in the runtime in which it began, where
    /// its timers are.
    fn start(&mut self, is_stranger: bool) -> Option<Start> {
        let is_enough = self.jobs.len() >= WORTH_A_CALL;
        let carried = match self.sender {
            Sender::First(ticket) if !is_stranger => match self.parked.take() {
                Some(parked) => {
                    let (carried, told) = parked.carry();
                    self.carried.push(told);
                    Some(carried)
                }
                None => {
                    self.sender = Sender::Called(ticket);
                    return None;
                }
            },
            Sender::First(_) | Sender::Called(_) if is_enough => None,
            Sender::Nobody => None,
            Sender::First(_) | Sender::Called(_) | Sender::Task => return None,
        };
        self.sender = Sender::Task;
        Some(Start(carried))
    }
}

/// A caller that waits for a job that was gathered.
struct Caller {
    ticket: u64,
    reply: oneshot::Sender<Reply>,
}

/// What a caller is told about a job that was gathered.
enum Reply {
    Done(Answer),
    /// The sender is gone, and sending the job is safe: it was not sent, or may be sent twice.
    Orphaned(Addition),
}

/// Who sends what has gathered.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// The next caller sends.
    #[default]
    Nobody,
    /// The caller with this ticket sends one job. When another caller comes, a task takes over.
    First(u64),
    /// Another caller has come while the one with this ticket was polling its call. When the poll ends, a task takes
    /// over; also when enough has gathered.
    Called(u64),
    /// A task sends until nothing has gathered and nothing is under way.
    Task,
}

/// How an add is handled.
enum Entered {
    First { job: Addition, ticket: u64 },
    Gathered { reply: oneshot::Receiver<Reply>, ticket: u64, start: Option<Start>, is_stranger: bool },
}

/// A task that has to be started, with the call that is under way.
struct Start(Option<Carried>);

/// The job, returned to its caller, and its outcome.
type Answer = Result<(Addition, Placed)>;

/// Jobs that are sent together, and the callers that wait for them; none once they are answered.
#[derive(Default)]
struct Batch {
    jobs: Vec<Addition>,
    callers: Vec<Caller>,
}

impl Drop for Batch {
    /// Reached with callers left only if the task that carried the batch ended with its runtime.
    fn drop(&mut self) {
        for (caller, job) in std::mem::take(&mut self.callers).into_iter().zip(std::mem::take(&mut self.jobs)) {
            let reply = if job.is_repeatable() { Reply::Orphaned(job) } else { Reply::Done(Err(unknown())) };
            let _ = caller.reply.send(reply);
        }
    }
}

fn unknown() -> Error {
    Error::OutcomeUnknown { op: "add" }
}

impl Coalescer {
    pub(crate) fn new(engine: Engine) -> Arc<Self> {
        let figures = AddFigures::new(engine.keys.queue());
        Arc::new(Self { engine, figures, state: Lock::default(), enough: Notify::new() })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Adds one job. The add goes on if the caller gives up. If the runtime that carries it ends, the caller gets the
    /// job back.
    pub(crate) async fn add(self: &Arc<Self>, job: Addition) -> Answer {
        let mut job = job;
        loop {
            match self.enter(job) {
                Entered::First { job, ticket } => {
                    let call = Box::pin(Arc::clone(self).send_first(job, ticket));
                    return First::new(Arc::clone(self), ticket, call).await;
                }
                Entered::Gathered { reply, ticket, start, is_stranger } => {
                    if let Some(Start(carried)) = start {
                        self.start_task(carried);
                    }
                    let reply = if is_stranger { self.outlive(reply, ticket).await } else { reply.await };
                    match reply {
                        Ok(Reply::Done(answer)) => return answer,
                        Ok(Reply::Orphaned(orphan)) => job = orphan,
                        Err(_) => return Err(unknown()),
                    }
                }
            }
        }
    }

    fn enter(&self, job: Addition) -> Entered {
        let here = Handle::try_current().ok().map(|runtime| runtime.id());
        let mut state = self.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        // A call that is still parked belongs to a runtime that stands still, and keeps its place.
        if state.sender == Sender::Nobody && state.parked.is_none() {
            state.sender = Sender::First(ticket);
            state.home = here;
            state.sent += 1;
            return Entered::First { job, ticket };
        }
        let (caller, reply) = oneshot::channel();
        state.jobs.push(job);
        state.callers.push(Caller { ticket, reply: caller });
        let is_stranger = state.home != here;
        let start = state.start(is_stranger);
        if start.is_none() && state.sender == Sender::Task && state.jobs.len() >= WORTH_A_CALL {
            self.enough.notify_one();
        }
        Entered::Gathered { reply, ticket, is_stranger: start.is_none() && is_stranger, start }
    }

    /// Waits for a sender in another runtime, which may stand still for ever, for example a single-threaded one that
    /// nobody drives. After a deadline a task of this runtime sends what was not sent; what was sent has an unknown
    /// outcome.
    async fn outlive(
        self: &Arc<Self>,
        mut reply: oneshot::Receiver<Reply>,
        ticket: u64,
    ) -> Result<Reply, oneshot::error::RecvError> {
        let timeout = self.engine.link.options().command_timeout;
        if let Ok(reply) = tokio::time::timeout(timeout, &mut reply).await {
            return reply;
        }
        let takes_over = {
            let mut state = self.lock();
            let is_unsent = state.callers.iter().any(|caller| caller.ticket == ticket);
            if is_unsent {
                // If the other sender wakes again, it finds nothing left to send.
                state.sender = Sender::Task;
            }
            is_unsent
        };
        if takes_over {
            self.start_task(None);
        }
        match tokio::time::timeout(timeout.saturating_mul(LONGEST_CALL), reply).await {
            Ok(reply) => reply,
            Err(_) => Ok(Reply::Done(Err(unknown()))),
        }
    }

    /// Starts the task that sends what has gathered. If its runtime ends before it starts, the guard notices.
    fn start_task(self: &Arc<Self>, carried: Option<Carried>) {
        let sending = Sending { coalescer: Arc::clone(self), who: Sender::Task };
        self.lock().home = Handle::try_current().ok().map(|runtime| runtime.id());
        tokio::spawn(Arc::clone(self).send(sending, carried));
    }

    /// Sends one job alone, and leaves what has gathered meanwhile to a task.
    async fn send_first(self: Arc<Self>, job: Addition, ticket: u64) -> Answer {
        let mut sending = Sending { coalescer: Arc::clone(&self), who: Sender::First(ticket) };
        self.figures.sent(1);
        let placed = self.engine.add_one(&job).await;
        let needs_task = {
            let mut state = self.lock();
            sending.who = Sender::Nobody;
            state.sent = state.sent.saturating_sub(1);
            let is_last = state.sender.is_first(ticket);
            let needs_task = is_last && !state.jobs.is_empty();
            if is_last {
                state.sender = if needs_task { Sender::Task } else { Sender::Nobody };
            }
            needs_task
        };
        if needs_task {
            self.start_task(None);
        }
        placed.map(|placed| (job, placed))
    }

    /// Sends what has gathered, until nothing has, beside a call that is under way.
    async fn send(self: Arc<Self>, mut sending: Sending, carried: Option<Carried>) {
        let mut calls = FuturesUnordered::new();
        calls.extend(carried.map(|call| sent(call.map(|()| (Batch::default(), Vec::new())))));
        loop {
            failpoint::hit("adds' sender", &self.engine.keys);
            while calls.len() < CALLS_AT_ONCE
                && let Some(batch) = self.take(calls.is_empty())
            {
                calls.push(sent(Arc::clone(&self).call(batch)));
            }
            if calls.is_empty() {
                sending.who = Sender::Nobody;
                return;
            }
            tokio::select! {
                Some((batch, answers)) = calls.next() => self.answer(batch, answers).await,
                () = self.enough.notified(), if calls.len() < CALLS_AT_ONCE => {}
            }
        }
    }

    /// Gives the results of a call to those who wait for them.
    async fn answer(&self, mut batch: Batch, answers: Vec<Result<Placed>>) {
        {
            let mut state = self.lock();
            state.sent = state.sent.saturating_sub(batch.jobs.len());
        }
        let (callers, jobs) = (std::mem::take(&mut batch.callers), std::mem::take(&mut batch.jobs));
        for ((caller, job), answer) in callers.into_iter().zip(jobs).zip(answers) {
            // A caller that has given up does not receive it.
            let _ = caller.reply.send(Reply::Done(answer.map(|placed| (job, placed))));
        }
        // Those who were answered run first, so that their next adds are sent together.
        tokio::task::yield_now().await;
    }

    /// Takes the jobs of the next call: all that have gathered if they are few, otherwise at most half of all adds
    /// under way. `None` if there are none, or too few for a second call. If no call is under way, the task ends.
    fn take(&self, is_only: bool) -> Option<Batch> {
        let mut state = self.lock();
        let gathered = state.jobs.len();
        if gathered == 0 && is_only {
            state.sender = Sender::Nobody;
        }
        if gathered == 0 || (!is_only && gathered < WORTH_A_CALL) {
            return None;
        }
        let share = (gathered + state.sent).div_ceil(CALLS_AT_ONCE).max(WORTH_A_CALL);
        let n = call_length(state.jobs.iter().take(share).map(Addition::size));
        state.sent += n;
        let (jobs, callers) = if n == gathered {
            (std::mem::take(&mut state.jobs), std::mem::take(&mut state.callers))
        } else {
            (state.jobs.drain(..n).collect(), state.callers.drain(..n).collect())
        };
        Some(Batch { jobs, callers })
    }

    async fn call(self: Arc<Self>, batch: Batch) -> (Batch, Vec<Result<Placed>>) {
        self.figures.sent(batch.jobs.len());
        let answers = self.engine.add_call(&batch.jobs).await;
        (batch, answers)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Gathering> {
        self.state.lock()
    }
}

/// A sender at work. If its runtime ends, what has gathered is returned to the callers, and the first of them to call
/// again becomes the sender.
struct Sending {
    coalescer: Arc<Coalescer>,
    /// [`Sender::Nobody`] once it has ended normally.
    who: Sender,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.who == Sender::Nobody {
            return;
        }
        if std::thread::panicking() {
            // The logging itself may be what panics: a log subscriber is not ours.
            let told = std::panic::catch_unwind(|| {
                tracing::error!(task = "adds' sender", "an inner task panicked; what it has not sent is sent again");
            });
            let _ = told.map_err(std::mem::forget);
        }
        let orphans = {
            let mut state = self.coalescer.lock();
            let is_sender = match self.who {
                Sender::First(ticket) => {
                    state.sent = state.sent.saturating_sub(1);
                    state.sender.is_first(ticket)
                }
                who => {
                    state.sent = 0;
                    state.sender == who
                }
            };
            if !is_sender {
                return;
            }
            state.sender = Sender::Nobody;
            (std::mem::take(&mut state.callers), std::mem::take(&mut state.jobs))
        };
        // None of these jobs was sent. One of their callers becomes the sender.
        for (caller, job) in orphans.0.into_iter().zip(orphans.1) {
            let _ = caller.reply.send(Reply::Orphaned(job));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;
    use crate::engine::testing::queue;
    use crate::options::JobOptions;

    fn job(engine: &Engine, name: &str) -> Addition {
        let options = JobOptions::default();
        engine.new_job(name.to_owned(), "{}".to_owned(), options.clone(), &options).unwrap()
    }

    async fn soon<T>(wait: impl Future<Output = T>) -> T {
        tokio::time::timeout(std::time::Duration::from_secs(30), wait).await.expect("it ends")
    }

    #[tokio::test]
    async fn an_add_goes_on_when_its_caller_gives_up() {
        let engine = queue().await;
        let coalescer = Coalescer::new(engine.clone());
        // The first caller sends, two gather, and all but the last give up.
        let mut first = Box::pin(coalescer.add(job(&engine, "first")));
        let mut second = Box::pin(coalescer.add(job(&engine, "second")));
        let mut third = Box::pin(coalescer.add(job(&engine, "third")));
        for add in [&mut first, &mut second, &mut third] {
            assert!(add.now_or_never().is_none());
        }
        drop((first, second));
        third.await.unwrap();
        assert_eq!(engine.int("LLEN @wait").await, 3);
        // A further add works too: nothing is left that blocks it.
        coalescer.add(job(&engine, "fourth")).await.unwrap();
        assert_eq!(engine.int("LLEN @wait").await, 4);
    }

    #[tokio::test]
    async fn an_add_that_nobody_polls_keeps_nobody() {
        let engine = queue().await;
        let coalescer = Coalescer::new(engine.clone());
        // In the first rounds the reply comes while nobody polls the add, in the later ones perhaps before.
        for round in 0..20 {
            let mut first = Box::pin(coalescer.add(job(&engine, "first")));
            assert!(first.as_mut().now_or_never().is_none());
            if round >= 10 {
                tokio::task::yield_now().await;
            }
            let other = tokio::spawn({
                let (coalescer, job) = (Arc::clone(&coalescer), job(&engine, "other"));
                async move { coalescer.add(job).await }
            });
            soon(coalescer.add(job(&engine, "own"))).await.unwrap();
            soon(other).await.unwrap().unwrap();
            // The one that was kept has its answer too, and may be dropped instead.
            if round % 2 == 0 {
                first.await.unwrap();
            }
        }
        assert_eq!(engine.int("LLEN @wait").await, 60);
        assert!(coalescer.lock().parked.is_none());
        assert!(coalescer.lock().carried.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn adds_of_a_loop_that_also_keeps_one_are_answered() {
        let engine = queue().await;
        let coalescer = Coalescer::new(engine.clone());
        let loops = (0..4).map(|_| {
            let (coalescer, engine) = (Arc::clone(&coalescer), engine.clone());
            tokio::spawn(async move {
                let mut kept = Box::pin(coalescer.add(job(&engine, "kept")));
                for _ in 0..100 {
                    if let Some(answer) = kept.as_mut().now_or_never() {
                        answer.unwrap();
                        kept = Box::pin(coalescer.add(job(&engine, "kept")));
                    }
                    soon(coalescer.add(job(&engine, "own"))).await.unwrap();
                }
            })
        });
        for ended in join_all(loops).await {
            ended.unwrap();
        }
    }

    #[tokio::test]
    async fn adds_outlive_the_panic_of_their_sender() {
        let engine = queue().await;
        let coalescer = Coalescer::new(engine.clone());
        for round in 1..=3 {
            failpoint::arm("adds' sender", &engine.keys);
            // No call was under way when the task died, so all jobs are sent again.
            for answer in join_all((0..40).map(|_| coalescer.add(job(&engine, "n")))).await {
                answer.unwrap();
            }
            assert!(!failpoint::is_armed("adds' sender", &engine.keys));
            assert_eq!(engine.int("LLEN @wait").await, 40 * round);
        }
        coalescer.add(job(&engine, "last")).await.unwrap();
    }

    #[tokio::test]
    async fn adds_at_the_same_time_come_in_order() {
        let engine = queue().await;
        let coalescer = Coalescer::new(engine.clone());
        for count in [1, 2, 15, 16, 17, 100, 700] {
            let adds = (0..count).map(|_| coalescer.add(job(&engine, "n")));
            let ids: Vec<i64> = join_all(adds)
                .await
                .into_iter()
                .map(|answer| match answer.unwrap().1 {
                    Placed::Created { id } => id.parse().unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(ids.is_sorted(), "{ids:?}");
        }
        // The task ends after those that it has answered have continued.
        while coalescer.lock().sender != Sender::Nobody {
            tokio::task::yield_now().await;
        }
        assert_eq!(coalescer.lock().sent, 0);
    }
}
