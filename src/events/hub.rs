//! Waiting for jobs to finish: one reader of the event stream for all who wait on a queue.
//!
//! An answer comes from one of four sources, and whichever is first wins: a look at the job when the waiting begins, its
//! `completed` or `failed` event, for a job that is gone a look back in the stream, and a look at all jobs waited for
//! every few seconds. The last is for events that were trimmed away and jobs that were removed, so that nobody waits for
//! ever.
//!
//! The look at the job also says how far the event stream is at that moment. That is where the reader starts, if none
//! is running, so there is no moment that neither covers. Events up to there are older than what the look has found, and
//! are not heeded: they may tell of an earlier job of the same id.
//!
//! An id may be given again, after `FLUSHALL` or to a job whose id the user chose. Who waits knows which job is meant: by
//! its timestamp when looking at the job, and by an `added` event that came later when reading events.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::look_back::{Existed, look_back};
use super::restart::Restarts;
use crate::engine::Engine;
use crate::engine::events::{Batch, EventReader, Finished, Found};
use crate::error::{Error, Reason, Result, WithCauses};
use crate::failpoint;
use crate::sync::Lock;
use crate::wire::EventId;

const OP: &str = "wait_until_finished";

/// How long one read of the shared reader blocks.
const BLOCK: Duration = Duration::from_secs(10);

/// Jobs looked at in one call.
const CHUNK: usize = 500;

/// Events of one job that are remembered until the first look at it has been answered.
const EARLY: usize = 16;

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

/// The job that somebody waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited<'a> {
    pub(crate) id: &'a str,
    /// Its timestamp, if it is known.
    pub(crate) born: Option<i64>,
    /// When it was known to exist.
    pub(crate) seen: Option<std::time::Instant>,
}

impl<'a> From<&'a str> for Awaited<'a> {
    /// Whichever job has this id now.
    fn from(id: &'a str) -> Self {
        Self { id, born: None, seen: None }
    }
}

/// All who wait for a job of one queue. Cheap to clone; the last one that is dropped ends the reader.
#[derive(Clone)]
pub(crate) struct FinishHub(Arc<Hub>);

struct Hub {
    engine: Engine,
    pace: Pace,
    waiting: Arc<Waiting>,
    searches: Searches,
}

/// Those who look for a job that is gone. One of them looks for all, so that many who do so at once cost no more.
#[derive(Default)]
struct Searches {
    asked: Lock<Vec<Asked>>,
    turn: tokio::sync::Mutex<()>,
}

/// One search: for which job, and whom to tell.
struct Asked {
    job: (String, Existed),
    tell: oneshot::Sender<Option<Outcome>>,
}

/// What the callers and the reader's task share.
#[derive(Default)]
struct Waiting {
    state: Lock<State>,
    /// Wakes the task when `suspects` or `suspect_all` were set.
    urgent: Notify,
}

#[derive(Default)]
struct State {
    by_id: HashMap<String, Vec<Waiter>>,
    /// Numbers the waiters.
    serial: u64,
    /// Jobs to look at soon: somebody removed them, or their id was given again.
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
    /// The timestamp of the job that is meant, once it is known.
    born: Option<i64>,
    heard: Heard,
}

/// How events of its job are taken by a waiter.
enum Heard {
    /// It has not looked at the job yet, and does not know which of them concern it.
    Early(Vec<(EventId, Sign)>),
    /// The job had not finished after this event: what comes now concerns it.
    After(EventId),
    /// Its id was given to another job later than this event; the job itself is gone.
    Over(EventId),
}

/// What an event means to those who wait for its job.
#[derive(Debug, Clone)]
enum Sign {
    Finished(Outcome),
    /// There is a new job of this id.
    Added,
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
pub(super) enum Outcome {
    Completed(String),
    Failed(String),
    Refused(Reason),
}

/// What a look at a job means to one who waits for it.
enum Look {
    Over(Outcome),
    NotYet,
    /// The job is gone, or another one has its id.
    Gone,
}

impl Look {
    fn at(found: Found, born: Option<i64>) -> Self {
        let Found { finished, born: found } = found;
        match finished {
            Finished::Refused(Reason::MissingJob) => Self::Gone,
            Finished::Refused(reason) => Self::Over(Outcome::Refused(reason)),
            _ if born.is_some() && found.is_some() && born != found => Self::Gone,
            Finished::NotYet => Self::NotYet,
            Finished::Completed(json) => Self::Over(Outcome::completed(json)),
            Finished::Failed(reason) => Self::Over(Outcome::Failed(reason)),
        }
    }
}

const MISSING: Outcome = Outcome::Refused(Reason::MissingJob);

impl Outcome {
    /// Old peers leave the text of an absent value empty; as JSON that is null.
    pub(super) fn completed(json: String) -> Self {
        Self::Completed(if json.is_empty() { "null".to_owned() } else { json })
    }
}

impl FinishHub {
    pub(crate) fn new(engine: Engine) -> Self {
        Self::with_pace(engine, Pace::default())
    }

    pub(crate) fn with_pace(engine: Engine, pace: Pace) -> Self {
        Self(Arc::new(Hub { engine, pace, waiting: Arc::default(), searches: Searches::default() }))
    }

    /// Waits until the job has finished; returns the JSON that its processor returned.
    ///
    /// One round trip if it has finished already. Errors: [`Error::JobFailed`] with the stored reason, [`Error::Refused`]
    /// if there is no such job or it was removed, [`Error::Timeout`] when `ttl` is over, also if the server could not be
    /// asked until then, [`Error::Closed`] if the hub was closed, and what the server refuses for good.
    pub(crate) async fn wait_until_finished(
        &self,
        job: impl Into<Awaited<'_>>,
        ttl: Option<Duration>,
    ) -> Result<String> {
        let job = job.into();
        let outcome = match ttl {
            None => self.outcome(job).await?,
            Some(after) => match tokio::time::timeout(after, self.outcome(job)).await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(Error::Timeout { op: OP, after }),
            },
        };
        match outcome {
            Outcome::Completed(json) => Ok(json),
            Outcome::Failed(reason) => Err(Error::JobFailed { id: job.id.to_owned(), reason }),
            Outcome::Refused(reason) => Err(Error::refused(OP, job.id, reason)),
        }
    }

    /// Ends the reader; everybody who waits is told so. Whoever waits after this starts another one.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.0.waiting.stop(None);
    }

    async fn outcome(&self, job: Awaited<'_>) -> Result<Outcome> {
        let Hub { engine, pace, waiting, .. } = &*self.0;
        let mut ticket = Ticket::new(waiting, job.id);
        let ids = [job.id];
        loop {
            let before = waiting.running();
            let looked = tokio::select! {
                outcome = &mut ticket.answer => return outcome.map_err(|_| Error::Closed),
                looked = engine.read_finished(&ids) => looked,
            };
            let (newest, mut answers) = looked?;
            let Some(found) = answers.pop() else { return Ok(MISSING) };
            let born = job.born.or(found.born);
            match Look::at(found, job.born) {
                Look::Over(outcome) => return Ok(outcome),
                Look::Gone => {
                    let existed = job.seen.map_or(Existed::At(newest.ms()), Existed::Since);
                    if let Some(outcome) = self.look_back(job.id, existed).await? {
                        return Ok(outcome);
                    }
                    // Trimmed away, perhaps; but the reader may have it, once it has come as far as the stream was.
                    if let Some(reader) = before {
                        reader.reaches(newest, pace.poll).await;
                    }
                    return Ok(ticket.last_heard(newest).unwrap_or(MISSING));
                }
                Look::NotYet if self.attach(before.map(|reader| reader.number), newest) => {
                    return match ticket.listen(newest, born) {
                        None => (&mut ticket.answer).await.map_err(|_| Error::Closed),
                        Some(Sign::Finished(outcome)) => Ok(outcome),
                        Some(Sign::Added) => {
                            let found = self.look_back(job.id, Existed::At(newest.ms())).await?;
                            Ok(found.unwrap_or(MISSING))
                        }
                    };
                }
                // Somebody else started a reader meanwhile, and later in the stream than our look was.
                Look::NotYet => {}
            }
        }
    }

    /// How a job ended that is gone, as far as events still tell.
    async fn look_back(&self, id: &str, existed: Existed) -> Result<Option<Outcome>> {
        let Searches { asked, turn } = &self.0.searches;
        loop {
            let (tell, mut told) = oneshot::channel();
            asked.lock().push(Asked { job: (id.to_owned(), existed), tell });
            let _turn = tokio::select! {
                biased;
                outcome = &mut told => match outcome {
                    Ok(outcome) => return Ok(outcome),
                    // Whoever looked for us was called off, or could not ask.
                    Err(_) => continue,
                },
                turn = turn.lock() => turn,
            };
            match told.try_recv() {
                Ok(outcome) => return Ok(outcome),
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let searches = {
                let mut asked = asked.lock();
                // Ours is among the last.
                let rest = asked.len().saturating_sub(CHUNK);
                asked.split_off(rest)
            };
            let (jobs, tell): (Vec<_>, Vec<_>) = searches.into_iter().map(|Asked { job, tell }| (job, tell)).unzip();
            let outcomes = look_back(&self.0.engine, &jobs).await?;
            for (tell, outcome) in tell.into_iter().zip(outcomes) {
                // Whoever is not there any more does not care.
                let _ = tell.send(outcome);
            }
            if let Ok(outcome) = told.try_recv() {
                return Ok(outcome);
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

/// Reads events and looks at jobs, until nobody has waited for a while; goes on after a panic.
async fn run(engine: Engine, guard: Guard, start: EventId, position: watch::Sender<EventId>, pace: Pace) {
    let mut restarts = Restarts::new("event hub", &engine.keys);
    let (engine, guard, position) = (&engine, &guard, &position);
    let mut after = start;
    loop {
        let mut reader = EventReader::new(engine, BLOCK, Some(after));
        let reading = async {
            loop {
                failpoint::hit("event hub", &engine.keys);
                let batch = reader.next().await;
                guard.waiting.dispatch(&batch);
                position.send_replace(reader.position());
            }
        };
        let running = async {
            tokio::select! {
                () = reading => {}
                () = look_after(engine, guard, pace) => {}
            }
        };
        if restarts.run(running).await.is_ok() {
            return;
        }
        after = *position.borrow();
        // What an event was about that was in hand is found by a look.
        guard.waiting.suspect_all();
    }
}

async fn look_after(engine: &Engine, guard: &Guard, pace: Pace) {
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
            if let Err(error) = look_at(engine, waiting, ids, serial).await {
                tracing::debug!(error = %WithCauses(&error), "looking at the jobs waited for failed");
                // The reader comes back by itself, this look with the next tick.
                break;
            }
        }
    }
}

/// Looks at jobs, and answers those who waited for one of them before `serial` was given.
async fn look_at(engine: &Engine, waiting: &Waiting, ids: &[String], serial: u64) -> Result<()> {
    let (newest, answers) = engine.read_finished(ids).await?;
    let mut gone = Vec::new();
    {
        let mut state = waiting.lock();
        for (id, found) in ids.iter().zip(answers) {
            state.look(id, serial, newest, &found, &mut gone);
        }
    }
    // The events of jobs that removed themselves may be on their way, or were trimmed away before they came.
    let jobs: Vec<_> = gone.iter().map(|gone| (gone.id.clone(), Existed::At(gone.existed.ms()))).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let outcomes = look_back(engine, &jobs).await?;
    for (Gone { id, serial, .. }, outcome) in gone.iter().zip(outcomes) {
        waiting.answer(id, *serial, outcome.unwrap_or(MISSING));
    }
    Ok(())
}

/// One who waits for a job that is gone.
struct Gone {
    id: String,
    serial: u64,
    /// An event after which the job was there.
    existed: EventId,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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
            let id = text("jobId");
            if !state.by_id.contains_key(&*id) {
                continue;
            }
            let sign = match entry.field("event") {
                Some(b"completed") => Sign::Finished(Outcome::completed(text("returnvalue").into_owned())),
                Some(b"failed") => Sign::Finished(Outcome::Failed(text("failedReason").into_owned())),
                Some(b"added") => Sign::Added,
                Some(b"removed") => {
                    state.suspects.insert(id.into_owned());
                    urgent = true;
                    continue;
                }
                _ => continue,
            };
            urgent |= state.hear(&id, entry.id, &sign);
        }
        if urgent {
            self.urgent.notify_one();
        }
    }

    /// Any job may have finished unheard.
    fn suspect_all(&self) {
        self.lock().suspect_all = true;
        self.urgent.notify_one();
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

    /// Tells one who waits.
    fn answer(&self, id: &str, serial: u64, outcome: Outcome) {
        let waiter = self.lock().take(id, serial);
        if let Some(waiter) = waiter {
            waiter.tell(outcome);
        }
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
    /// Takes one who waits out.
    fn take(&mut self, id: &str, serial: u64) -> Option<Waiter> {
        let waiters = self.by_id.get_mut(id)?;
        let position = waiters.iter().position(|waiter| waiter.serial == serial)?;
        let waiter = waiters.swap_remove(position);
        self.forget_if_empty(id);
        Some(waiter)
    }

    fn forget_if_empty(&mut self, id: &str) {
        if self.by_id.get(id).is_some_and(Vec::is_empty) {
            self.by_id.remove(id);
            if self.by_id.is_empty() {
                self.idle_since = Some(Instant::now());
            }
        }
    }

    /// An event of a job has come. True if somebody has to look at the job now.
    fn hear(&mut self, id: &str, at: EventId, sign: &Sign) -> bool {
        let Some(waiters) = self.by_id.get_mut(id) else { return false };
        let mut has_gone = false;
        for waiter in waiters.extract_if(.., |waiter| waiter.heard.takes(at, sign, &mut has_gone)) {
            if let Sign::Finished(outcome) = sign {
                waiter.tell(outcome.clone());
            }
        }
        self.forget_if_empty(id);
        if has_gone {
            self.suspects.insert(id.to_owned());
        }
        has_gone
    }

    /// A look has found this. Those who wait since it was asked for and know which events concern them learn of it; for
    /// whom the job is gone, is put among the `gone`.
    fn look(&mut self, id: &str, serial: u64, newest: EventId, found: &Found, gone: &mut Vec<Gone>) {
        let Some(waiters) = self.by_id.get_mut(id) else { return };
        let answered = waiters.extract_if(.., |waiter| {
            if waiter.serial > serial {
                return false;
            }
            let existed = match &waiter.heard {
                Heard::Early(_) => return false,
                Heard::After(existed) | Heard::Over(existed) => *existed,
            };
            match Look::at(found.clone(), waiter.born) {
                Look::Over(_) if matches!(waiter.heard, Heard::After(_)) => true,
                Look::NotYet if matches!(waiter.heard, Heard::After(_)) => {
                    // Also where the stream went back: events of the future are not waited for.
                    waiter.heard = Heard::After(newest);
                    false
                }
                _ => {
                    gone.push(Gone { id: id.to_owned(), serial: waiter.serial, existed });
                    false
                }
            }
        });
        for waiter in answered {
            if let Look::Over(outcome) = Look::at(found.clone(), waiter.born) {
                waiter.tell(outcome);
            }
        }
        self.forget_if_empty(id);
    }
}

impl Waiter {
    fn tell(self, outcome: Outcome) {
        // Whoever is not there any more does not care.
        let _ = self.answer.send(outcome);
    }
}

impl Heard {
    /// Whether an event ends the waiting. Sets `has_gone` where it says that the job is gone.
    fn takes(&mut self, at: EventId, sign: &Sign, has_gone: &mut bool) -> bool {
        match self {
            Self::Early(early) => {
                if early.len() == EARLY {
                    early.remove(0);
                }
                early.push((at, sign.clone()));
                false
            }
            Self::After(after) if at > *after => match sign {
                Sign::Finished(_) => true,
                Sign::Added => {
                    *self = Self::Over(*after);
                    *has_gone = true;
                    false
                }
            },
            Self::After(_) | Self::Over(_) => false,
        }
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
        state.by_id.entry(id.to_owned()).or_default().push(Waiter {
            serial,
            answer: tell,
            born: None,
            heard: Heard::Early(Vec::new()),
        });
        Self { waiting, id, serial, answer }
    }

    /// The job had not finished at this event: from now on it is listened for what comes later. Returns what came already.
    fn listen(&self, newest: EventId, born: Option<i64>) -> Option<Sign> {
        let mut state = self.waiting.lock();
        let waiter = state.by_id.get_mut(self.id)?.iter_mut().find(|waiter| waiter.serial == self.serial)?;
        waiter.born = born;
        let heard = std::mem::replace(&mut waiter.heard, Heard::After(newest));
        let Heard::Early(early) = heard else { return None };
        early.into_iter().find(|(at, _)| *at > newest).map(|(_, sign)| sign)
    }

    /// How a job ended that is gone by now, if its end was heard of up to this event.
    fn last_heard(&self, newest: EventId) -> Option<Outcome> {
        let state = self.waiting.lock();
        let waiter = state.by_id.get(self.id)?.iter().find(|waiter| waiter.serial == self.serial)?;
        let Heard::Early(early) = &waiter.heard else { return None };
        match early.iter().rfind(|(at, _)| *at <= newest)? {
            (_, Sign::Finished(outcome)) => Some(outcome.clone()),
            (_, Sign::Added) => None,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        drop(self.waiting.lock().take(self.id, self.serial));
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
