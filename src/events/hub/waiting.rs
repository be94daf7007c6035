//! Knows who waits for which job, and what each has heard of it.

use std::collections::{HashMap, HashSet};
use std::sync::MutexGuard;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::engine::events::{Batch, Finished, FoundJob};
use crate::error::Reason;
use crate::events::wait_end::WaitEnd;
use crate::sync::Lock;
use crate::wire::EventId;

/// How many events of one job are held until its first read was answered.
const EARLY: usize = 16;

/// The state that the callers and the reader's task share.
#[derive(Default)]
pub(super) struct Waiting {
    state: Lock<State>,
    /// Wakes the task when `suspects` or `suspect_all` was set.
    pub(super) urgent: Notify,
}

/// Who waits for which job, and what the reader has to do for them.
#[derive(Default)]
pub(super) struct State {
    pub(super) by_id: HashMap<String, Vec<Waiter>>,
    /// The last waiter's number.
    serial: u64,
    /// Jobs to read soon: somebody removed them, or their id was used again.
    suspects: HashSet<String>,
    /// Set if events may have been lost, so that any job may have finished.
    suspect_all: bool,
    pub(super) reader: Option<Running>,
    /// The last reader's number.
    pub(super) readers: u64,
    /// When the last waiter left.
    idle_since: Option<Instant>,
}

/// One caller that waits for a job.
pub(super) struct Waiter {
    serial: u64,
    answer: oneshot::Sender<WaitEnd>,
    /// The timestamp of the job that is meant, once it is known.
    born: Option<i64>,
    pub(super) heard: Heard,
}

/// How a waiter handles events of its job.
pub(super) enum Heard {
    /// The job was not read yet, so it is not known which events concern it.
    Early(Vec<(EventId, Sign)>),
    /// The job had not finished after this event: later events concern it.
    After(EventId),
    /// The job was removed, and its id was given to another job after this event.
    Over(EventId),
}

/// What an event means to those who wait for its job.
#[derive(Debug, Clone)]
pub(super) enum Sign {
    Finished(WaitEnd),
    /// A new job has this id.
    Added,
}

/// A reader of events that is running.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) number: u64,
    /// `None` while it is being started.
    pub(super) task: Option<AbortHandle>,
    /// The last event that was handed to the waiters.
    pub(super) position: watch::Receiver<EventId>,
}

impl Running {
    /// Waits until the reader has come as far as `newest`, or has ended, or the time is over.
    pub(super) async fn reaches(mut self, newest: EventId, limit: Duration) {
        // In all three cases there is nothing more to wait for.
        let _ = tokio::time::timeout(limit, self.position.wait_for(|position| *position >= newest)).await;
    }
}

/// What a read of a job means to one who waits for it.
pub(super) enum Look {
    Over(WaitEnd),
    NotYet,
    /// The job was removed, or another one has its id.
    Gone,
}

impl Look {
    pub(super) fn at(found: FoundJob, born: Option<i64>) -> Self {
        let FoundJob { finished, born: found } = found;
        match finished {
            Finished::Refused(Reason::MissingJob) => Self::Gone,
            Finished::Refused(reason) => Self::Over(WaitEnd::Refused(reason)),
            _ if born.is_some() && found.is_some() && born != found => Self::Gone,
            Finished::NotYet => Self::NotYet,
            Finished::Completed(json) => Self::Over(WaitEnd::completed(json)),
            Finished::Failed(reason) => Self::Over(WaitEnd::Failed(reason)),
        }
    }
}

/// One who waits for a job that was removed.
pub(super) struct Gone {
    pub(super) id: String,
    pub(super) serial: u64,
    /// An event after which the job existed.
    pub(super) existed: EventId,
}

impl Waiting {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn running(&self) -> Option<Running> {
        self.lock().reader.clone()
    }

    pub(super) fn dispatch(&self, batch: &Batch) {
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
                Some(b"completed") => Sign::Finished(WaitEnd::completed(text("returnvalue").into_owned())),
                Some(b"failed") => Sign::Finished(WaitEnd::Failed(text("failedReason").into_owned())),
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

    /// Marks all jobs: any of them may have finished unnoticed.
    pub(super) fn suspect_all(&self) {
        self.lock().suspect_all = true;
        self.urgent.notify_one();
    }

    /// Returns the jobs to read, and the number of the last one who waits for any of them.
    pub(super) fn to_look_at(&self, all: bool) -> (Vec<String>, u64) {
        let mut state = self.lock();
        let suspects = std::mem::take(&mut state.suspects);
        let ids = if std::mem::take(&mut state.suspect_all) || all {
            state.by_id.keys().cloned().collect()
        } else {
            suspects.into_iter().filter(|id| state.by_id.contains_key(id)).collect()
        };
        (ids, state.serial)
    }

    /// Answers one who waits.
    pub(super) fn answer(&self, id: &str, serial: u64, outcome: WaitEnd) {
        let waiter = self.lock().take(id, serial);
        if let Some(waiter) = waiter {
            waiter.tell(outcome);
        }
    }

    /// Returns whether the reader may end, since nobody has waited for a while. A caller that comes later starts
    /// another one.
    pub(super) fn leave(&self, number: u64, linger: Duration) -> bool {
        let mut state = self.lock();
        let ours = state.reader.as_ref().is_some_and(|reader| reader.number == number);
        let idle = state.by_id.is_empty() && state.idle_since.is_none_or(|since| since.elapsed() >= linger);
        if ours && idle {
            state.reader = None;
        }
        idle || !ours
    }

    /// Ends the reader with this number, or any reader, and the waiting of all who relied on it.
    pub(super) fn stop(&self, number: Option<u64>) {
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
    /// Removes one who waits.
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

    /// Handles an event of a job. Returns true if the job has to be read now.
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

    /// Handles the answer to a read. Those who waited when it was sent, and know which events concern them, are told.
    /// Those whose job was removed are added to `gone`.
    pub(super) fn look(&mut self, id: &str, serial: u64, newest: EventId, found: &FoundJob, gone: &mut Vec<Gone>) {
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
                    // This also holds if the stream has fallen back: its former later events are not waited for.
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
    fn tell(self, outcome: WaitEnd) {
        // Nobody receives it if the caller has gone.
        let _ = self.answer.send(outcome);
    }
}

impl Heard {
    /// Returns whether an event ends the waiting. Sets `has_gone` if it says that the job was removed.
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

/// A place among those who wait, given up by dropping it.
pub(super) struct Ticket<'a> {
    waiting: &'a Waiting,
    id: &'a str,
    serial: u64,
    pub(super) answer: oneshot::Receiver<WaitEnd>,
}

impl<'a> Ticket<'a> {
    pub(super) fn new(waiting: &'a Waiting, id: &'a str) -> Self {
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

    /// Records that the job had not finished at this event, so that later events concern it. Returns what came already.
    pub(super) fn listen(&self, newest: EventId, born: Option<i64>) -> Option<Sign> {
        let mut state = self.waiting.lock();
        let waiter = state.by_id.get_mut(self.id)?.iter_mut().find(|waiter| waiter.serial == self.serial)?;
        waiter.born = born;
        let heard = std::mem::replace(&mut waiter.heard, Heard::After(newest));
        let Heard::Early(early) = heard else { return None };
        early.into_iter().find(|(at, _)| *at > newest).map(|(_, sign)| sign)
    }

    /// Returns how a job ended that is removed by now, if its outcome was heard of up to this event.
    pub(super) fn last_heard(&self, newest: EventId) -> Option<WaitEnd> {
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
