//! Waits for jobs to finish, with one reader of the event stream for all that wait on a queue.
//!
//! A result comes from the first of four sources: a read of the job when the waiting begins; its `completed` or
//! `failed` event; for a removed job a search back in the stream; and a read of all awaited jobs every few seconds. The
//! last one covers events that were trimmed and jobs that were removed, so that nobody waits for ever.
//!
//! The read of the job also returns the newest event at that moment. The reader starts there, if none runs, so no
//! moment is missed. Earlier events are ignored: they are older than what the read has found, and may be about an
//! earlier job with the same id.
//!
//! An id may be used again, after `FLUSHALL` or for a job whose id the user chose. The caller knows which job is meant:
//! by its timestamp when the job is read, and by a later `added` event in the stream.

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
use super::wait_end::{MISSING, WaitEnd};
use crate::engine::Engine;
use crate::engine::events::EventReader;
use crate::error::{Error, JobPlace, Result, WithCauses};
use crate::failpoint;
use crate::sync::spawn;
use crate::wire::EventId;

const OP: &str = "wait_until_finished";

/// How long one read of the shared reader blocks.
const BLOCK: Duration = Duration::from_secs(10);

/// How many jobs one call reads.
const CHUNK: usize = 500;

/// How often the awaited jobs are read, and how long a reader stays when nobody waits.
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

/// A job that a caller waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited<'a> {
    pub(crate) id: &'a str,
    /// Its timestamp, if it is known.
    pub(crate) born: Option<i64>,
    /// When it was known to exist.
    pub(crate) seen: Option<std::time::Instant>,
}

impl<'a> From<&'a str> for Awaited<'a> {
    /// Means whichever job has this id now.
    fn from(id: &'a str) -> Self {
        Self { id, born: None, seen: None }
    }
}

/// All callers that wait for a job of one queue. Cheap to clone; dropping the last clone ends the reader.
#[derive(Clone)]
pub(crate) struct FinishHub(Arc<Hub>);

struct Hub {
    engine: Engine,
    pace: Pace,
    waiting: Arc<Waiting>,
    searches: Searches,
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
    /// One round trip if it has finished already. Errors: [`Error::JobFailed`] with the stored reason;
    /// [`Error::Refused`] if the job does not exist or was removed; [`Error::Timeout`] when `ttl` is over, even if the
    /// server could not be asked; [`Error::Closed`] if the hub was closed; and errors of the server that are final.
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
                Err(_) => {
                    let place = JobPlace::new(job.id, self.0.engine.keys.queue());
                    return Err(Error::Timeout { op: OP, after, job: None }.of_job(place));
                }
            },
        };
        match outcome {
            WaitEnd::Completed(json) => Ok(json),
            WaitEnd::Failed(reason) => Err(Error::JobFailed { id: job.id.to_owned(), reason }),
            WaitEnd::Refused(reason) => Err(Error::refused(OP, job.id, reason)),
        }
    }

    /// Ends the reader and tells everybody who waits. A caller that waits after this starts another one.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.0.waiting.stop(None);
    }

    async fn outcome(&self, job: Awaited<'_>) -> Result<WaitEnd> {
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
                    // Its event was perhaps trimmed; but the reader may have it, once it has come as far as the stream
                    // was.
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
                // Another caller has started a reader meanwhile, later in the stream than our read.
                Look::NotYet => {}
            }
        }
    }

    /// Returns whether the reader will see everything after `newest`: the one that ran `before` our read does, and so
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
        // Spawned without the lock: a runtime that shuts down drops the task at once, and its guard takes the lock.
        let guard = Guard { waiting: Arc::clone(waiting), number };
        let task = spawn(run(self.0.engine.clone(), guard, newest, position, self.0.pace)).abort_handle();
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

/// Reads events and jobs until nobody has waited for a while; continues after a panic.
async fn run(engine: Engine, guard: Guard, start: EventId, position: watch::Sender<EventId>, pace: Pace) {
    let mut restarts = Restarts::new("event hub", &engine.keys);
    let (engine, guard, position) = (&engine, &guard, &position);
    let mut after = start;
    loop {
        let mut reader = EventReader::new(engine, BLOCK, Some(after));
        let reading = async {
            loop {
                failpoint::hit("event hub", &engine.keys);
                // If the events may not be read, reading the jobs has to be enough.
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
        // The event that was being handled may have been about any job, so all are read.
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
                tracing::debug!(error = %WithCauses(&error), "the awaited jobs could not be read");
                // The reader reconnects by itself, and the next tick repeats this read.
                break;
            }
        }
    }
}

/// Reads jobs, and answers those who waited for one of them before `serial` was assigned.
async fn look_at(engine: &Engine, waiting: &Waiting, ids: &[String], serial: u64) -> Result<()> {
    let (newest, answers) = engine.read_finished(ids).await?;
    let mut gone = Vec::new();
    {
        let mut state = waiting.lock();
        for (id, found) in ids.iter().zip(answers) {
            state.look(id, serial, newest, &found, &mut gone);
        }
    }
    // The events of jobs that removed themselves may be under way, or were trimmed before they came.
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

/// Ends the waiting if the task ends in another way than by `leave`: by a panic, or with its runtime.
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
