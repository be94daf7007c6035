//! Joins adds that are called at the same time into one call to Redis.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::runtime::{self, Handle};
use tokio::sync::{Notify, oneshot};

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
/// idle producer waits for nothing, and a busy one shares the cost of a call among many jobs.
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
    /// The runtime of the sender. A caller in the same runtime cannot outlive a sender that stands still.
    home: Option<runtime::Id>,
    /// How many jobs are under way.
    sent: usize,
    /// The next caller's number.
    tickets: u64,
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

/// Who sends what has gathered. *Nobody*: the next caller sends. *First*: a caller sends one job; when that is done, or
/// enough has gathered meanwhile, a task takes over. *Task*: a task sends until nothing has gathered and nothing is
/// under way.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Sender {
    #[default]
    Nobody,
    First,
    Task,
}

/// How an add is handled.
enum Entered {
    First(Addition),
    Gathered { reply: oneshot::Receiver<Reply>, ticket: u64, needs_task: bool, is_stranger: bool },
}

/// The job, returned to its caller, and its outcome.
type Answer = Result<(Addition, Placed)>;

/// Jobs that are sent together, and the callers that wait for them; none once they are answered.
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
    Error::OutcomeUnknown { op: "add_jobs" }
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
                Entered::First(job) => return First { call: Some(Box::pin(Arc::clone(self).send_first(job))) }.await,
                Entered::Gathered { reply, ticket, needs_task, is_stranger } => {
                    if needs_task {
                        self.start_task();
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
        if state.sender == Sender::Nobody {
            state.sender = Sender::First;
            state.home = here;
            state.sent += 1;
            return Entered::First(job);
        }
        let (caller, reply) = oneshot::channel();
        state.tickets += 1;
        let ticket = state.tickets;
        state.jobs.push(job);
        state.callers.push(Caller { ticket, reply: caller });
        let is_enough = state.jobs.len() >= WORTH_A_CALL;
        let needs_task = is_enough && state.sender == Sender::First;
        if needs_task {
            state.sender = Sender::Task;
        } else if is_enough {
            self.enough.notify_one();
        }
        Entered::Gathered { reply, ticket, needs_task, is_stranger: !needs_task && state.home != here }
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
            self.start_task();
        }
        match tokio::time::timeout(timeout.saturating_mul(LONGEST_CALL), reply).await {
            Ok(reply) => reply,
            Err(_) => Ok(Reply::Done(Err(unknown()))),
        }
    }

    /// Starts the task that sends what has gathered. If its runtime ends before it starts, the guard notices.
    fn start_task(self: &Arc<Self>) {
        let sending = Sending { coalescer: Arc::clone(self), who: Sender::Task };
        self.lock().home = Handle::try_current().ok().map(|runtime| runtime.id());
        tokio::spawn(Arc::clone(self).send(sending));
    }

    /// Sends one job alone, and leaves what has gathered meanwhile to a task.
    async fn send_first(self: Arc<Self>, job: Addition) -> Answer {
        let mut sending = Sending { coalescer: Arc::clone(&self), who: Sender::First };
        self.figures.sent(1);
        let placed = self.engine.add_call(std::slice::from_ref(&job)).await.pop();
        let needs_task = {
            let mut state = self.lock();
            sending.who = Sender::Nobody;
            state.sent = state.sent.saturating_sub(1);
            let is_last = state.sender == Sender::First;
            let needs_task = is_last && !state.jobs.is_empty();
            if is_last {
                state.sender = if needs_task { Sender::Task } else { Sender::Nobody };
            }
            needs_task
        };
        if needs_task {
            self.start_task();
        }
        placed.unwrap_or(Err(Error::Closed)).map(|placed| (job, placed))
    }

    /// Sends what has gathered, until nothing has.
    async fn send(self: Arc<Self>, mut sending: Sending) {
        let mut calls = FuturesUnordered::new();
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

/// The add of the first caller. It goes on as a task if the caller gives up.
struct First {
    /// `None` once the call has ended.
    call: Option<BoxFuture<'static, Answer>>,
}

impl Future for First {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = self.call.as_mut().map_or(Poll::Ready(Err(Error::Closed)), |call| call.as_mut().poll(cx));
        if answer.is_ready() {
            self.call = None;
        }
        answer
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(call) = self.call.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(call);
        }
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
            state.sent = if self.who == Sender::Task { 0 } else { state.sent.saturating_sub(1) };
            if state.sender != self.who {
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
