//! Applies the outcomes of attempts and takes jobs. The result is always known in the end, even if replies are lost.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Engine, Until};
use crate::connection::{CallFailure, Link, Pauses, without_secrets};
use crate::error::{Error, Reason, Result, WithCauses};
use crate::script;
use crate::script::recover_stalled::recover_stalled;
use crate::script::settle::{self, Ask, Handed, Outcome, Settled};
use crate::script::trace_outcomes::{Traced, trace_outcomes};
use crate::wire::job::JobId;

/// The result of a call, and the tokens of lost requests that the server may still carry out.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) settled: Settled,
    /// Tokens of requests whose reply was lost. A server that was only slow may hand out jobs under them later, so they
    /// have to be checked again.
    pub(crate) suspects: Vec<Arc<str>>,
    /// The token that the jobs are locked with.
    pub(crate) token: Arc<str>,
    /// When the request was sent that locked the jobs. Earlier requests may have failed for hours.
    pub(crate) sent: Instant,
    /// Whether a reply told what is left in the queue; false if the result had to be reconstructed.
    pub(crate) is_answered: bool,
    /// What the operator should know: why the result had to be reconstructed although the server answered, or that
    /// replies are too large.
    pub(crate) error: Option<Error>,
}

/// How often the reply with a single job may be lost, while small replies arrive, before the job is failed.
const MOST_LOST_FETCHES: u32 = 8;

/// How often the reply to one large outcome may be lost before the attempt is failed.
const MOST_LOST_RESULTS: u32 = 4;

/// How many jobs [`adopt_jobs`](script::adopt_jobs) is asked for while no reply was lost.
const ALL: usize = 1_000_000;

/// Jobs that were found under a token.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) jobs: Vec<Handed>,
    /// The time from which their locks count.
    pub(crate) sent: Instant,
    /// Why the jobs had to be asked for one by one: replies were lost again.
    pub(crate) complaint: Option<Error>,
}

impl Engine {
    /// Applies outcomes and takes jobs; repeated until the result of the call is known. After a lost reply it asks for
    /// half as many jobs, and waits longer.
    ///
    /// `token` returns a new token for each request. `is_held` tells whether the lock of the outcome at this position
    /// cannot have run out before a given moment. Only then does a missing job prove that its outcome was applied.
    ///
    /// # Errors
    ///
    /// The server refuses the call as such; nothing was changed.
    pub(crate) async fn settle(
        &self,
        ask: &mut Ask,
        outcomes: &[impl Borrow<Outcome> + Sync],
        token: impl FnMut() -> Arc<str>,
        is_held: &(impl Fn(usize, Instant) -> bool + Sync),
    ) -> Result<Settlement> {
        let decided = self.settle_on(&self.link, u32::MAX, ask, outcomes, token, is_held).await?;
        decided.ok_or(Error::Reply { op: "fetch_and_finish" })
    }

    /// Applies one large outcome on a connection of its own, so that nothing waits behind it. Returns `None` if it does
    /// not get through: it is larger than the server accepts, or its replies are lost again and again.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    pub(crate) async fn settle_apart(
        &self,
        link: &Link,
        ask: &mut Ask,
        outcome: &Outcome,
        token: impl FnMut() -> Arc<str>,
        is_held: &(impl Fn(usize, Instant) -> bool + Sync),
    ) -> Result<Option<Settlement>> {
        self.settle_on(link, MOST_LOST_RESULTS, ask, std::slice::from_ref(outcome), token, is_held).await
    }

    async fn settle_on(
        &self,
        link: &Link,
        most_losses: u32,
        ask: &mut Ask,
        outcomes: &[impl Borrow<Outcome> + Sync],
        mut token: impl FnMut() -> Arc<str>,
        is_held: &(impl Fn(usize, Instant) -> bool + Sync),
    ) -> Result<Option<Settlement>> {
        let wanted = ask.want;
        // The rare path is boxed, so that the future of every other call is smaller.
        let (mut patient, mut losses, mut refused) = (None, 0, None);
        let mut backoff = Pauses::default();
        let mut suspects = Vec::new();
        // When the first request was sent that may have been carried out.
        let mut first = None;
        loop {
            ask.token = token();
            let sent = Instant::now();
            let call = settle::settle(self.clock.now_ms(), ask, outcomes);
            match call.send(patient.as_ref().unwrap_or(link), &self.keys).await {
                Ok(mut settled) => {
                    let was_held = |i| is_held(i, first.unwrap_or(sent));
                    if !suspects.is_empty() {
                        Box::pin(self.forgive(&mut settled, outcomes, was_held)).await;
                    }
                    // A call that asked for fewer jobs than are wanted does not tell whether there are more.
                    let is_answered = ask.want == wanted;
                    let token = ask.token.clone();
                    return Ok(Some(Settlement { settled, suspects, token, sent, is_answered, error: None }));
                }
                Err(failure @ CallFailure::Server(_)) if most_losses < u32::MAX && failure.is_too_large() => {
                    return Ok(None);
                }
                Err(failure @ (CallFailure::Server(_) | CallFailure::Unreadable)) => {
                    let was_held = |i| is_held(i, first.unwrap_or(sent));
                    let error = failure.to_read_error("fetch_and_finish");
                    return Box::pin(self.salvage(ask, outcomes, was_held, suspects, error)).await.map(Some);
                }
                Err(CallFailure::NotApplied(_)) => {}
                Err(CallFailure::OutOfMemory) => self.link.outages().full(&mut refused),
                Err(CallFailure::Unknown(error)) => {
                    let error = without_secrets(&error);
                    tracing::debug!(queue = ?self.keys, %error, "the reply was lost; finding out what was done");
                    suspects.push(ask.token.clone());
                    let first = *first.get_or_insert(sent);
                    let resolved = Box::pin(self.resolve(ask, outcomes, |i| is_held(i, first))).await?;
                    if let Some((settled, adopted)) = resolved {
                        let (sent, token) = (adopted.sent, ask.token.clone());
                        let error = adopted.complaint;
                        return Ok(Some(Settlement { settled, suspects, token, sent, is_answered: false, error }));
                    }
                    losses += 1;
                    if losses >= most_losses {
                        return Ok(None);
                    }
                    patient = Some(link.patient(losses));
                    ask.want = ask.want.div_ceil(2);
                }
            }
            backoff.pause().await;
        }
    }

    /// Finds out what a call has done whose answer tells nothing: the script failed half-way, or its reply cannot be
    /// read.
    ///
    /// # Errors
    ///
    /// `error`, if nothing is found that it has done.
    pub(super) async fn salvage(
        &self,
        ask: &Ask,
        outcomes: &[impl Borrow<Outcome> + Sync],
        was_held: impl Fn(usize) -> bool,
        suspects: Vec<Arc<str>>,
        error: Error,
    ) -> Result<Settlement> {
        tracing::debug!(queue = ?self.keys, error = %WithCauses(&error), "a call failed but may have been carried out; finding out what it has done");
        match self.resolve(ask, outcomes, was_held).await {
            Ok(Some((settled, Adopted { sent, .. }))) => {
                let token = ask.token.clone();
                Ok(Settlement { settled, suspects, token, sent, is_answered: false, error: Some(error) })
            }
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// Finds out whether a call whose reply was lost was carried out; `None` if it was not, or not yet. A call is one
    /// atomic step, so one trace of it proves that all of it was carried out.
    async fn resolve(
        &self,
        ask: &Ask,
        outcomes: &[impl Borrow<Outcome> + Sync],
        was_held: impl Fn(usize) -> bool,
    ) -> Result<Option<(Settled, Adopted)>> {
        // Jobs are looked for first: if the call is carried out between the two reads, the second read shows it, and
        // the jobs are found when the token is checked again.
        let mut adopted = if ask.want > 0 {
            self.adopt(&ask.token, ask.lock_ms, &[]).await?
        } else {
            Adopted { jobs: Vec::new(), sent: Instant::now(), complaint: None }
        };
        let mut traces = match self.trace(outcomes, was_held).await {
            Ok(traces) => traces,
            // Jobs that were found are kept although this read failed.
            Err(_) if !adopted.jobs.is_empty() => vec![Traced::NotApplied; outcomes.len()],
            Err(error) => return Err(error),
        };
        // A job fetched by hand is settled under the token with which it is locked: a job that is still active under it
        // was not handed out by this call.
        adopted.jobs.retain(|job| {
            let is_ended = |(outcome, traced): (&Outcome, &Traced)| {
                *traced == Traced::NotApplied && outcome.token == ask.token && *outcome.id.as_ref() == *job.id()
            };
            !outcomes.iter().map(Borrow::borrow).zip(&traces).any(is_ended)
        });
        if ask.only_if_settled
            && !adopted.jobs.is_empty()
            && let [traced] = &mut traces[..]
        {
            *traced = Traced::Applied;
        }
        if adopted.jobs.is_empty() && !traces.contains(&Traced::Applied) {
            return Ok(None);
        }
        let codes = traces.iter().map(|traced| match traced {
            Traced::Applied => Ok(0),
            Traced::LockLost | Traced::Gone => Err(Reason::LockMismatch),
            // The call was carried out but refused this outcome; the caller sends it again to learn why.
            Traced::NotApplied => Err(Reason::Unknown(0)),
        });
        let jobs = std::mem::take(&mut adopted.jobs);
        Ok(Some((Settled { codes: codes.collect(), jobs, ..Settled::default() }, adopted)))
    }

    /// Corrects refusals: an earlier request whose reply was lost may have been carried out after the check, just
    /// before this one. Then this one was refused because that one had done it.
    async fn forgive(
        &self,
        settled: &mut Settled,
        outcomes: &[impl Borrow<Outcome> + Sync],
        was_held: impl Fn(usize) -> bool,
    ) {
        let is_late = |code: &Result<i64, Reason>| {
            use Reason::{LockMismatch, MissingJob, MissingLock, NotInState};
            matches!(code, Err(LockMismatch | MissingJob | MissingLock | NotInState))
        };
        if !settled.codes.iter().any(is_late) {
            return;
        }
        match self.trace(outcomes, was_held).await {
            Ok(traces) => {
                for (code, traced) in settled.codes.iter_mut().zip(traces) {
                    if is_late(code) && traced == Traced::Applied {
                        *code = Ok(0);
                    }
                }
            }
            // What this call has answered and handed out stays valid.
            Err(error) => {
                let error = WithCauses(&error);
                tracing::warn!(queue = ?self.keys, %error, "cannot find out what lost calls have done");
            }
        }
    }

    /// Finds out which outcomes were applied. A job that is missing was finished by its outcome if that still held its
    /// lock.
    async fn trace(
        &self,
        outcomes: &[impl Borrow<Outcome> + Sync],
        was_held: impl Fn(usize) -> bool,
    ) -> Result<Vec<Traced>> {
        if outcomes.is_empty() {
            return Ok(Vec::new());
        }
        let mut traces = self.call_until(Until::Decided, trace_outcomes(outcomes)).await?;
        for (i, traced) in traces.iter_mut().enumerate() {
            if *traced == Traced::Gone && was_held(i) {
                *traced = Traced::Applied;
            }
        }
        Ok(traces)
    }

    /// Returns the jobs that are locked with this token, without those that the caller knows. If the reply is lost they
    /// are asked for one by one; one whose reply never arrives is returned as [lost](Handed::lost).
    pub(crate) async fn adopt(&self, token: &str, lock_ms: u64, known: &[JobId]) -> Result<Adopted> {
        const OP: &str = "adopt_jobs";
        let (mut jobs, mut complaint, mut most) = (Vec::<Handed>::new(), None, ALL);
        // Connections break for other reasons too, so the first loss proves nothing.
        let mut lost_before = false;
        let mut suspect: Option<(Vec<u8>, u32)> = None;
        let mut refused = None;
        let mut backoff = Pauses::default();
        loop {
            let have = || known.iter().map(AsRef::<[u8]>::as_ref).chain(jobs.iter().map(Handed::id));
            let sent = Instant::now();
            match script::adopt_jobs(token, lock_ms, most, have()).send(&self.link, &self.keys).await {
                Ok(came) => {
                    let is_all = most == ALL || came.is_empty();
                    jobs.extend(came);
                    if is_all {
                        let complaint = complaint.filter(|_| jobs.len() > 1);
                        return Ok(Adopted { jobs, sent, complaint });
                    }
                    backoff = Pauses::default();
                    continue;
                }
                Err(failure @ (CallFailure::Server(_) | CallFailure::Unreadable)) => {
                    return Err(failure.to_read_error(OP));
                }
                Err(CallFailure::NotApplied(_)) => {}
                Err(CallFailure::OutOfMemory) => self.link.outages().full(&mut refused),
                Err(CallFailure::Unknown(_)) if most == ALL && !lost_before => lost_before = true,
                Err(CallFailure::Unknown(_)) if most == ALL => {
                    most = 1;
                    let source = "replies with jobs are lost, so they are asked for one by one: they may be larger than \
                                  the server's client-output-buffer-limit";
                    complaint = Some(Error::Redis { op: OP, cause: source.into() });
                }
                Err(CallFailure::Unknown(_)) => {
                    // If a small reply arrives, the connection is not the cause. The next job is the first of them.
                    let left = self.call_until(Until::Decided, script::find_adoptable(token, lock_ms, have())).await?;
                    let first = left.into_iter().next();
                    let before = suspect.take().filter(|(id, _)| Some(id) == first.as_ref());
                    suspect = first.map(|id| (id, before.map_or(1, |(_, times)| times + 1)));
                    if let Some((id, _)) = suspect.take_if(|(_, times)| *times >= MOST_LOST_FETCHES) {
                        jobs.push(Handed::Lost(id));
                    }
                }
            }
            backoff.pause().await;
        }
    }

    /// Writes the marker again, which a closing worker may have popped; gives up after `limit`.
    pub(crate) async fn wake_workers(&self, limit: Duration) {
        let run = async {
            // Redis 6.2 gives a marker to a socket whose end it has not read yet. When it answers this, it has read it.
            let _ = self.link.ping().await;
            script::wake_workers().send(&self.link, &self.keys).await
        };
        if let Ok(Err(failure)) = tokio::time::timeout(limit, run).await {
            tracing::debug!(queue = ?self.keys, ?failure, "the marker could not be written again");
        }
    }

    /// Runs one check for stalled jobs, in as many calls as needed; returns the ids that were put back.
    pub(crate) async fn recover_stalled(&self, interval: Duration, limit: u32) -> Result<Vec<String>> {
        let interval_ms = crate::clock::millis(interval);
        let (mut from, mut recovered) = (String::new(), Vec::new());
        loop {
            let call = recover_stalled(self.clock.now_ms(), interval_ms, limit, &from);
            let step = self.call(call).await?;
            recovered.extend(step.ids);
            if step.next.is_empty() {
                return Ok(recovered);
            }
            from = step.next;
        }
    }

    /// Renews locks; returns the ids whose lock is gone or has another token.
    pub(crate) async fn extend_locks(&self, lock_ms: u64, held: &[(impl AsRef<[u8]>, &str)]) -> Result<Vec<Vec<u8>>> {
        let call = script::extend_locks(lock_ms, held);
        call.send(&self.link, &self.keys).await.map_err(|failure| failure.to_error(call.op))
    }
}
