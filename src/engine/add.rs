//! Adding: one job or many, and adds that travel together because they were called at the same time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::Engine;
use crate::clock::{epoch_ms, millis};
use crate::connection::{Backoff, Failure};
use crate::error::{Error, Result};
use crate::options::JobOptions;
use crate::script::add_jobs::{self, Dedup, Link, NewJob, Place, Placed};
use crate::telemetry::AddFigures;
use crate::wire::options::{parent_json, to_json};

/// What one call carries at most: Redis is held for about 12 µs per job, and for the copying of its bytes.
const CALL_JOBS: usize = 250;
const CALL_BYTES: usize = 1024 * 1024;

/// Calls of one bulk add on their way at once: one is prepared while another runs.
const CALLS_AT_ONCE: usize = 2;

impl Engine {
    /// Makes a job of its parts: defaults, checks, place. `data` is JSON.
    pub(crate) fn new_job(
        &self,
        name: String,
        data: String,
        options: JobOptions,
        defaults: &JobOptions,
    ) -> Result<NewJob> {
        let options = options.or_defaults(defaults);
        options.check()?;
        options.check_data(&data)?;
        let delay = options.delay.map_or(0, millis);
        let priority = options.priority.unwrap_or(0);
        let place = match (delay, priority, options.lifo) {
            (1.., _, _) => Place::Delayed,
            (_, 1.., _) => Place::Prioritized,
            (_, _, Some(true)) => Place::WaitFirst,
            _ => Place::Wait,
        };
        let deduplication = options.deduplication.as_ref().map(|deduplication| Dedup {
            id: deduplication.id.clone(),
            ttl: deduplication.ttl.map(millis).filter(|ttl| *ttl > 0),
            extend: deduplication.extend,
            replace: deduplication.replace,
            keep_last_if_active: deduplication.keep_last_if_active,
            reschedule: deduplication.reschedule,
        });
        let parent = options
            .parent
            .as_ref()
            .map(|parent| Link { key: parent.key(), json: parent_json(parent, options.on_child_failure) });
        Ok(NewJob {
            place,
            opts: to_json(&options),
            id: options.job_id.unwrap_or_default(),
            name,
            data,
            timestamp: options.timestamp.map_or_else(|| self.clock.now_ms(), epoch_ms),
            delay,
            priority,
            parent,
            in_flow: false,
            deduplication,
        })
    }

    /// Adds jobs in order, in as many calls as it takes; each call is atomic, and so is each job.
    ///
    /// One answer per job, in order.
    pub(crate) async fn add_all(&self, jobs: &[NewJob]) -> Vec<Result<Placed>> {
        let mut calls = Vec::new();
        let mut rest = jobs;
        while !rest.is_empty() {
            let (call, others) = rest.split_at(call_length(rest.iter().map(NewJob::size)));
            calls.push(call);
            rest = others;
        }
        let calls: Vec<_> = calls.into_iter().map(|call| self.add_call(call)).collect();
        let answers = futures::stream::iter(calls).buffered(CALLS_AT_ONCE);
        answers.collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    /// Adds the jobs of one call. A lost reply is asked for again where that cannot make a second job.
    async fn add_call(&self, jobs: &[NewJob]) -> Vec<Result<Placed>> {
        const OP: &str = "add_jobs";
        let deadline = tokio::time::Instant::now() + self.link.options().command_timeout;
        let mut backoff = Backoff::default();
        // Which jobs to send, and the answers so far; a job without one is sent again.
        let mut open: Vec<usize> = (0..jobs.len()).collect();
        let mut answers: Vec<Option<Result<Placed>>> = jobs.iter().map(|_| None).collect();
        // Whether a call was sent that nobody answered: what it may have done, no later failure undoes.
        let mut was_unknown = false;
        while !open.is_empty() {
            let bytes = open.iter().map(|&i| jobs[i].size()).sum();
            let args = add_jobs::args(open.iter().map(|&i| &jobs[i]), bytes);
            let failure = match add_jobs::SCRIPT.run(&self.link, &self.keys, &args).await {
                Ok(value) => {
                    match add_jobs::reply(value).filter(|placed| placed.len() == open.len()) {
                        Some(placed) => {
                            for (&i, placed) in open.iter().zip(placed) {
                                answers[i] = Some(accept(placed, &jobs[i]));
                            }
                        }
                        None => open.iter().for_each(|&i| answers[i] = Some(Err(Error::Reply { op: OP }))),
                    }
                    break;
                }
                Err(failure) => failure,
            };
            let in_time = tokio::time::Instant::now() < deadline;
            open.retain(|&i| {
                let again = in_time
                    && match failure {
                        Failure::NotApplied(_) => true,
                        Failure::Unknown(_) => jobs[i].is_repeatable(),
                        Failure::OutOfMemory | Failure::Server(_) => false,
                    };
                if !again {
                    let error = if was_unknown { Error::OutcomeUnknown { op: OP } } else { failure.to_error(OP) };
                    answers[i] = Some(Err(error));
                }
                again
            });
            was_unknown |= matches!(failure, Failure::Unknown(_));
            if !open.is_empty() {
                backoff.pause().await;
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(Error::Reply { op: OP }))).collect()
    }
}

fn accept(placed: Placed, job: &NewJob) -> Result<Placed> {
    match placed {
        Placed::Refused { reason } => Err(Error::refused(add_jobs::SCRIPT.name, job.id.clone(), reason)),
        placed => Ok(placed),
    }
}

/// How many of these fit into one call; at least one.
fn call_length(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fitting = sizes.take(CALL_JOBS).take_while(|size| {
        bytes += size;
        bytes <= CALL_BYTES
    });
    fitting.count().max(1)
}

/// Joins adds that are called at the same time into one call each.
///
/// The first goes at once, sent by its caller; those that come while a call is on its way form the next one. So an idle
/// producer waits for nothing, and a busy one shares the cost of a call among many jobs.
pub(crate) struct Coalescer {
    engine: Engine,
    figures: AddFigures,
    state: Mutex<Gathering>,
}

#[derive(Default)]
struct Gathering {
    jobs: Vec<NewJob>,
    callers: Vec<oneshot::Sender<Answer>>,
    /// Who sends: tasks, each of which takes what has gathered until nothing has, or a caller who came first.
    senders: usize,
}

/// How an add takes part: as the first, who sends it alone, or with those that a sender takes along.
#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
enum Entered {
    First(NewJob),
    Gathered { answer: oneshot::Receiver<Answer>, needs_sender: bool },
}

/// The job back, with what became of it.
type Answer = Result<(NewJob, Placed)>;

/// Calls of the coalescer on their way at once.
const SENDERS: usize = 2;

impl Coalescer {
    pub(crate) fn new(engine: Engine) -> Arc<Self> {
        let figures = AddFigures::new(engine.keys.queue());
        Arc::new(Self { engine, figures, state: Mutex::default() })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Adds one job. The add goes on if the caller gives up.
    pub(crate) async fn add(self: &Arc<Self>, job: NewJob) -> Answer {
        let answer = match self.enter(job) {
            Entered::First(job) => {
                return First { call: Some(Box::pin(Arc::clone(self).send_first(job))) }.await;
            }
            Entered::Gathered { answer, needs_sender } => {
                if needs_sender {
                    tokio::spawn(Arc::clone(self).send());
                }
                answer
            }
        };
        answer.await.unwrap_or(Err(Error::Closed))
    }

    fn enter(&self, job: NewJob) -> Entered {
        let mut state = self.lock();
        if state.senders == 0 {
            state.senders = 1;
            return Entered::First(job);
        }
        let (caller, answer) = oneshot::channel();
        state.jobs.push(job);
        state.callers.push(caller);
        // A second sender only for what the first, who is away, cannot take with it soon.
        let needs_sender = state.senders < SENDERS && state.jobs.len() >= 16;
        state.senders += usize::from(needs_sender);
        Entered::Gathered { answer, needs_sender }
    }

    /// Sends one job alone, and leaves what has gathered meanwhile to a task.
    async fn send_first(self: Arc<Self>, job: NewJob) -> Answer {
        let mut sending = Sending { coalescer: Arc::clone(&self), done: false };
        self.figures.sent(1);
        let placed = self.engine.add_call(std::slice::from_ref(&job)).await.pop();
        sending.done = true;
        if !self.retires() {
            tokio::spawn(Arc::clone(&self).send());
        }
        placed.unwrap_or(Err(Error::Closed)).map(|placed| (job, placed))
    }

    async fn send(self: Arc<Self>) {
        let mut sending = Sending { coalescer: Arc::clone(&self), done: false };
        loop {
            let (jobs, callers) = {
                let mut state = self.lock();
                if state.jobs.is_empty() {
                    state.senders -= 1;
                    sending.done = true;
                    return;
                }
                let n = call_length(state.jobs.iter().map(NewJob::size));
                if n == state.jobs.len() {
                    (std::mem::take(&mut state.jobs), std::mem::take(&mut state.callers))
                } else {
                    (state.jobs.drain(..n).collect(), state.callers.drain(..n).collect())
                }
            };
            self.figures.sent(jobs.len());
            let answers = self.engine.add_call(&jobs).await;
            for ((caller, job), answer) in callers.into_iter().zip(jobs).zip(answers) {
                // A caller who has given up does not want it.
                let _ = caller.send(answer.map(|placed| (job, placed)));
            }
            // Those who were answered run first, so that what they add next travels together.
            tokio::task::yield_now().await;
        }
    }

    /// Whether nothing has gathered, and the sender who asks is one no more.
    fn retires(&self) -> bool {
        let mut state = self.lock();
        let is_over = state.jobs.is_empty();
        state.senders -= usize::from(is_over);
        is_over
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Gathering> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The add of a caller who came first. It goes on as a task if the caller gives up.
struct First {
    /// Gone once it has ended.
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

/// A sender at work. If its runtime goes away under it, the next add starts another one.
struct Sending {
    coalescer: Arc<Coalescer>,
    done: bool,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.done {
            self.coalescer.lock().senders -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::engine::testing::queue;

    #[test]
    fn calls_are_bounded_in_jobs_and_bytes() {
        assert_eq!(call_length(std::iter::repeat_n(10, 1_000)), CALL_JOBS);
        assert_eq!(call_length(std::iter::repeat_n(CALL_BYTES / 2, 10)), 2);
        assert_eq!(call_length(std::iter::repeat_n(CALL_BYTES * 2, 10)), 1);
    }

    #[tokio::test]
    async fn an_add_goes_on_when_its_caller_gives_up() {
        let engine = queue().await;
        let coalescer = Coalescer::new(engine.clone());
        let job = |name: &str| {
            let options = JobOptions::default();
            engine.new_job(name.to_owned(), "{}".to_owned(), options.clone(), &options).unwrap()
        };
        // The first sends, two gather, and all but the last give up.
        let mut first = Box::pin(coalescer.add(job("first")));
        let mut second = Box::pin(coalescer.add(job("second")));
        let mut third = Box::pin(coalescer.add(job("third")));
        for add in [&mut first, &mut second, &mut third] {
            assert!(add.now_or_never().is_none());
        }
        drop((first, second));
        third.await.unwrap();
        assert_eq!(engine.int("LLEN @wait").await, 3);
        // And again: nobody is left who blocks the others.
        coalescer.add(job("fourth")).await.unwrap();
        assert_eq!(engine.int("LLEN @wait").await, 4);
    }
}
