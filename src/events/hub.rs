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

mod searches;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::searches::Searches;
use self::waiting::{Gone, Look, Running, Sign, Ticket, Waiting};
use super::look_back::{Existed, look_back};
use super::restart::Restarts;
use crate::engine::Engine;
use crate::engine::events::EventReader;
use crate::error::{Error, Reason, Result, WithCauses};
use crate::failpoint;
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Completed(String),
    Failed(String),
    Refused(Reason),
}

const MISSING: Ending = Ending::Refused(Reason::MissingJob);

impl Ending {
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
            Ending::Completed(json) => Ok(json),
            Ending::Failed(reason) => Err(Error::JobFailed { id: job.id.to_owned(), reason }),
            Ending::Refused(reason) => Err(Error::refused(OP, job.id, reason)),
        }
    }

    /// Ends the reader; everybody who waits is told so. Whoever waits after this starts another one.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.0.waiting.stop(None);
    }

    async fn outcome(&self, job: Awaited<'_>) -> Result<Ending> {
        let Hub { engine, pace, waiting, searches } = &*self.0;
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
                    if let Some(outcome) = searches.look_back(engine, job.id, existed).await? {
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
                            let found = searches.look_back(engine, job.id, Existed::At(newest.ms())).await?;
                            Ok(found.unwrap_or(MISSING))
                        }
                    };
                }
                // Somebody else started a reader meanwhile, and later in the stream than our look was.
                Look::NotYet => {}
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
                // Where the events may not be read, looks at the jobs have to do.
                let Ok(batch) = reader.next().await else { continue };
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
