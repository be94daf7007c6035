//! Waiting for jobs to finish: one reader of the event stream for all who wait on a queue.
//!
//! An answer comes from one of three sources, and whichever is first wins: a look at the job when the waiting begins,
//! its `completed` or `failed` event, and a look at all jobs waited for every few seconds. The last is for events that
//! were trimmed away and jobs that were removed, so that nobody waits for ever.
//!
//! The look at the job also says how far the event stream is at that moment. That is where the reader starts, if none
//! is running, so there is no moment that neither covers. It also tells a job that was removed before anybody waited
//! from one that completed and removed itself a moment ago, whose event is still on its way.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::engine::Engine;
use crate::engine::events::{Batch, EventReader, Finished};
use crate::error::{Error, Reason, Result};
use crate::wire::EventId;

const OP: &str = "wait_until_finished";

/// How long one read of the shared reader blocks.
const BLOCK: Duration = Duration::from_secs(10);

/// Jobs looked at in one call.
const CHUNK: usize = 500;

/// How often the jobs waited for are looked at, and how long a reader stays when nobody waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) poll: Duration,
    pub(crate) linger: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { poll: Duration::from_secs(5), linger: Duration::from_secs(10) }
    }
}

/// All who wait for a job of one queue. Cheap to clone; the last one that is dropped ends the reader.
#[derive(Clone)]
pub(crate) struct FinishHub(Arc<Hub>);

struct Hub {
    engine: Engine,
    pace: Pace,
    waiting: Arc<Waiting>,
}

/// What the callers and the reader's task share.
#[derive(Default)]
struct Waiting {
    state: Mutex<State>,
    /// Wakes the task when `suspects` or `suspect_all` were set.
    urgent: Notify,
}

#[derive(Default)]
struct State {
    by_id: HashMap<String, Vec<Waiter>>,
    /// Numbers the waiters, so that an answer found a while ago does not reach those who came since.
    serial: u64,
    /// Jobs to look at soon: somebody removed them.
    suspects: HashSet<String>,
    /// Events may have been lost, so any job may have finished.
    suspect_all: bool,
    reader: Option<Running>,
    /// Numbers the readers.
    readers: u64,
    /// When the last waiter left.
    idle_since: Option<Instant>,
}

struct Waiter {
    serial: u64,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Clone)]
struct Running {
    number: u64,
    /// Absent for the moment in which it is started.
    task: Option<AbortHandle>,
    /// The last event that was handed to the waiters.
    position: watch::Receiver<EventId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Completed(String),
    Failed(String),
    Refused(Reason),
}

impl Outcome {
    fn of(finished: Finished) -> Option<Self> {
        match finished {
            Finished::NotYet => None,
            Finished::Completed(json) => Some(Self::completed(json)),
            Finished::Failed(reason) => Some(Self::Failed(reason)),
            Finished::Refused(reason) => Some(Self::Refused(reason)),
        }
    }

    /// Old peers leave the text of an absent value empty; as JSON that is null.
    fn completed(json: String) -> Self {
        Self::Completed(if json.is_empty() { "null".to_owned() } else { json })
    }
}

impl FinishHub {
    pub(crate) fn new(engine: Engine) -> Self {
        Self::with_pace(engine, Pace::default())
    }

    pub(crate) fn with_pace(engine: Engine, pace: Pace) -> Self {
        Self(Arc::new(Hub { engine, pace, waiting: Arc::default() }))
    }

    /// Waits until the job has finished; returns the JSON that its processor returned.
    ///
    /// One round trip if it has finished already. Errors: [`Error::JobFailed`] with the stored reason, [`Error::Refused`]
    /// if there is no such job or it was removed, [`Error::Timeout`] when `ttl` is over, [`Error::Closed`] if the hub was
    /// closed, and those of the first look at the job. Later failures of the connection are waited for.
    pub(crate) async fn wait_until_finished(&self, id: &str, ttl: Option<Duration>) -> Result<String> {
        let outcome = match ttl {
            None => self.outcome(id).await?,
            Some(after) => match tokio::time::timeout(after, self.outcome(id)).await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(Error::Timeout { op: OP, after }),
            },
        };
        match outcome {
            Outcome::Completed(json) => Ok(json),
            Outcome::Failed(reason) => Err(Error::JobFailed { id: id.to_owned(), reason }),
            Outcome::Refused(reason) => Err(Error::refused(OP, id, reason)),
        }
    }

    /// Ends the reader; everybody who waits is told so. Whoever waits after this starts another one.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.0.waiting.stop(None);
    }

    async fn outcome(&self, id: &str) -> Result<Outcome> {
        let Hub { engine, pace, waiting } = &*self.0;
        let mut ticket = Ticket::new(waiting, id);
        let ids = [id];
        loop {
            let before = waiting.running();
            let looked = tokio::select! {
                outcome = &mut ticket.answer => return outcome.map_err(|_| Error::Closed),
                looked = engine.read_finished(&ids) => looked,
            };
            let (newest, mut answers) = looked?;
            match answers.pop().and_then(Outcome::of) {
                Some(missing @ Outcome::Refused(Reason::MissingJob)) => {
                    // Its event may be on its way: the reader has it once it has come as far as the stream was.
                    if let Some(reader) = waiting.running() {
                        tokio::select! {
                            biased;
                            outcome = &mut ticket.answer => return outcome.map_err(|_| Error::Closed),
                            () = reader.reaches(newest, pace.poll) => {}
                        }
                    }
                    return Ok(ticket.answer.try_recv().unwrap_or(missing));
                }
                Some(outcome) => return Ok(outcome),
                None if self.attach(before.map(|reader| reader.number), newest) => {
                    return (&mut ticket.answer).await.map_err(|_| Error::Closed);
                }
                // Somebody else started a reader meanwhile, and later in the stream than our look was.
                None => {}
            }
        }
    }

    /// Whether the reader will tell of all that happens after `newest`: the one that ran `before` our look does, and so
    /// does the one that is started here.
    fn attach(&self, before: Option<u64>, newest: EventId) -> bool {
        let waiting = &self.0.waiting;
        let mut state = waiting.lock();
        if let Some(reader) = &state.reader {
            return Some(reader.number) == before;
        }
        state.readers += 1;
        let number = state.readers;
        let (position, seen) = watch::channel(newest);
        state.reader = Some(Running { number, task: None, position: seen });
        drop(state);
        // Not under the lock: a runtime that shuts down drops the task here and now, and its guard takes the lock.
        let guard = Guard { waiting: Arc::clone(waiting), number };
        let task = tokio::spawn(run(self.0.engine.clone(), guard, newest, position, self.0.pace)).abort_handle();
        let mut state = waiting.lock();
        match &mut state.reader {
            Some(reader) if reader.number == number => reader.task = Some(task),
            _ => {
                drop(state);
                task.abort();
            }
        }
        true
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.waiting.stop(None);
    }
}

impl Running {
    /// Waits until the reader has come so far, or is gone, or the time is over.
    async fn reaches(mut self, newest: EventId, limit: Duration) {
        // Over means: do not wait longer. All three do.
        let _ = tokio::time::timeout(limit, self.position.wait_for(|position| *position >= newest)).await;
    }
}

/// Reads events and looks at jobs, until nobody has waited for a while.
async fn run(engine: Engine, guard: Guard, start: EventId, position: watch::Sender<EventId>, pace: Pace) {
    let mut reader = EventReader::new(&engine, BLOCK, Some(start));
    let reading = async {
        loop {
            let batch = reader.next().await;
            guard.waiting.dispatch(&batch);
            position.send_replace(reader.position());
        }
    };
    tokio::select! {
        () = reading => {}
        () = look_after(&engine, &guard, position.subscribe(), pace) => {}
    }
}

async fn look_after(engine: &Engine, guard: &Guard, position: watch::Receiver<EventId>, pace: Pace) {
    let waiting = &guard.waiting;
    let mut tick = Instant::now() + pace.poll;
    loop {
        let due = tokio::select! {
            () = sleep_until(tick) => true,
            () = waiting.urgent.notified() => false,
        };
        if due {
            tick = Instant::now() + pace.poll;
            if waiting.leave(guard.number, pace.linger) {
                return;
            }
        }
        let (ids, serial) = waiting.to_look_at(due);
        for ids in ids.chunks(CHUNK) {
            let (newest, answers) = match engine.read_finished(ids).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::debug!(%error, "looking at the jobs waited for failed");
                    // The reader comes back by itself, this look with the next tick.
                    break;
                }
            };
            let outcomes: Vec<_> =
                ids.iter().zip(answers).filter_map(|(id, answer)| Some((id, Outcome::of(answer)?))).collect();
            let missing = |outcome: &Outcome| *outcome == Outcome::Refused(Reason::MissingJob);
            if outcomes.iter().any(|(_, outcome)| missing(outcome)) {
                // As in `outcome`: the event of a job that removed itself may be on its way.
                let reached = async |mut position: watch::Receiver<EventId>| {
                    let _ = position.wait_for(|position| *position >= newest).await;
                };
                tokio::select! {
                    () = reached(position.clone()) => {}
                    () = sleep(pace.poll) => {}
                }
            }
            for (id, outcome) in outcomes {
                waiting.answer(id, serial, &outcome);
            }
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Option<Running> {
        self.lock().reader.clone()
    }

    fn dispatch(&self, batch: &Batch) {
        let mut state = self.lock();
        if state.by_id.is_empty() {
            return;
        }
        let mut urgent = batch.gap_after.is_some();
        state.suspect_all |= urgent;
        for entry in &batch.entries {
            let text = |name| entry.field(name).map(String::from_utf8_lossy).unwrap_or_default();
            let Some(event @ (b"completed" | b"failed" | b"removed")) = entry.field("event") else { continue };
            let id = text("jobId");
            if event == b"removed" {
                if state.by_id.contains_key(&*id) {
                    state.suspects.insert(id.into_owned());
                    urgent = true;
                }
            } else if let Some(waiters) = state.remove(&id) {
                let outcome = if event == b"completed" {
                    Outcome::completed(text("returnvalue").into_owned())
                } else {
                    Outcome::Failed(text("failedReason").into_owned())
                };
                tell(waiters, &outcome);
            }
        }
        if urgent {
            self.urgent.notify_one();
        }
    }

    /// The jobs that are due for a look, and the number of the last who waits for one of them.
    fn to_look_at(&self, all: bool) -> (Vec<String>, u64) {
        let mut state = self.lock();
        let suspects = std::mem::take(&mut state.suspects);
        let ids = if std::mem::take(&mut state.suspect_all) || all {
            state.by_id.keys().cloned().collect()
        } else {
            suspects.into_iter().filter(|id| state.by_id.contains_key(id)).collect()
        };
        (ids, state.serial)
    }

    /// Tells those who waited when the answer was found.
    fn answer(&self, id: &str, serial: u64, outcome: &Outcome) {
        let mut state = self.lock();
        let Some(waiters) = state.remove(id) else { return };
        let (told, later): (Vec<_>, Vec<_>) = waiters.into_iter().partition(|waiter| waiter.serial <= serial);
        if !later.is_empty() {
            state.by_id.insert(id.to_owned(), later);
        }
        drop(state);
        tell(told, outcome);
    }

    /// Whether the reader may go: nobody has waited for a while. Whoever comes after this starts another one.
    fn leave(&self, number: u64, linger: Duration) -> bool {
        let mut state = self.lock();
        let ours = state.reader.as_ref().is_some_and(|reader| reader.number == number);
        let idle = state.by_id.is_empty() && state.idle_since.is_none_or(|since| since.elapsed() >= linger);
        if ours && idle {
            state.reader = None;
        }
        idle || !ours
    }

    /// Ends the reader of this number, or whichever there is, and the waiting of all who relied on it.
    fn stop(&self, number: Option<u64>) {
        let mut state = self.lock();
        if number.is_some() && state.reader.as_ref().map(|reader| reader.number) != number {
            return;
        }
        let reader = state.reader.take();
        let waiters = std::mem::take(&mut state.by_id);
        drop(state);
        if let Some(task) = reader.and_then(|reader| reader.task) {
            task.abort();
        }
        // Dropping their senders tells them.
        drop(waiters);
    }
}

impl State {
    fn remove(&mut self, id: &str) -> Option<Vec<Waiter>> {
        let waiters = self.by_id.remove(id)?;
        if self.by_id.is_empty() {
            self.idle_since = Some(Instant::now());
        }
        Some(waiters)
    }
}

fn tell(waiters: Vec<Waiter>, outcome: &Outcome) {
    for waiter in waiters {
        // Whoever is not there any more does not care.
        let _ = waiter.answer.send(outcome.clone());
    }
}

/// A place among those who wait; given up when dropped.
struct Ticket<'a> {
    waiting: &'a Waiting,
    id: &'a str,
    serial: u64,
    answer: oneshot::Receiver<Outcome>,
}

impl<'a> Ticket<'a> {
    fn new(waiting: &'a Waiting, id: &'a str) -> Self {
        let (tell, answer) = oneshot::channel();
        let mut state = waiting.lock();
        state.serial += 1;
        let serial = state.serial;
        state.by_id.entry(id.to_owned()).or_default().push(Waiter { serial, answer: tell });
        Self { waiting, id, serial, answer }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.waiting.lock();
        let Some(waiters) = state.by_id.get_mut(self.id) else { return };
        waiters.retain(|waiter| waiter.serial != self.serial);
        if waiters.is_empty() {
            state.remove(self.id);
        }
    }
}

/// Ends the waiting when the task is gone in another way than by `leave`: a panic, or a runtime that was shut down.
struct Guard {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.waiting.stop(Some(self.number));
    }
}

#[cfg(test)]
mod tests;
