//! Settles jobs by hand, which were fetched with [`ManualWorker`](crate::ManualWorker).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CancelReason, Fetched, Fetching, Host, Job, JobCore, cancel_watch};
use crate::clock::{LATEST, epoch_ms, from_epoch_ms, millis};
use crate::engine::Settlement;
use crate::error::{Error, Halt, JobPlace, Reason, Result, WithCauses};
use crate::options::{SHORTEST, WorkerOptions, YEAR, check_span};
use crate::queue::QueueCore;
use crate::scheduler::Turn;
use crate::script::settle::{Ask, End, Handed, Outcome, Settled};
use crate::wire::job::{RawJob, Undecodable};
use crate::wire::{JsonText, json};
use crate::worker::failure::{Fault, Unread};
use crate::worker::stopping::timed_out;
use crate::worker::verdict::{self, Verdict};

impl<D, R> Job<D, R> {
    /// Completes the job with a result. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the lock is not held with this token, if children are pending or failed, or if the job is
    /// not active; nothing was changed. [`Error::OutcomeUnknown`] if no reply came, the job does not exist any more,
    /// and its lock may have run out before: then either this call or a later worker has finished and removed it.
    ///
    /// BullMQ: `Job.moveToCompleted`.
    #[doc(alias = "moveToCompleted")]
    pub async fn move_to_completed(&self, result: &R, token: &str) -> Result<()>
    where
        R: Serialize,
    {
        self.end("move_to_completed", self.completed(result, token)?, token, 0).await.map(drop)
    }

    /// Completes the job and fetches the next one, locked with the same token. One round trip for both.
    ///
    /// If the future is dropped before it is ready, both go on, and the next job goes back to the front of the queue.
    ///
    /// # Errors
    ///
    /// As [`move_to_completed`](Self::move_to_completed).
    ///
    /// BullMQ: `Job.moveToCompleted` with `fetchNext`.
    pub async fn move_to_completed_and_fetch(&self, result: &R, token: &str) -> Result<Fetched<D, R>>
    where
        R: Serialize + 'static,
        D: DeserializeOwned + Send + 'static,
    {
        self.end_and_fetch("move_to_completed", self.completed(result, token)?.into(), token).await
    }

    /// Fails or moves the job: the error decides, with the job's attempts and backoff. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the lock is not held with this token or the job is not active; nothing was changed.
    /// [`Error::OutcomeUnknown`] as [`move_to_completed`](Self::move_to_completed).
    ///
    /// BullMQ: `Job.moveToFailed`.
    #[doc(alias = "moveToFailed")]
    pub async fn move_to_failed(&self, error: impl Into<Halt>, token: &str) -> Result<()> {
        self.end("move_to_failed", self.failed(error.into(), token), token, 0).await.map(drop)
    }

    /// Does the same as [`move_to_failed`](Self::move_to_failed), and fetches the next job, locked with the same token.
    /// One round trip for both.
    ///
    /// If the future is dropped before it is ready, both go on, and the next job goes back to the front of the queue.
    ///
    /// # Errors
    ///
    /// As [`move_to_failed`](Self::move_to_failed).
    ///
    /// BullMQ: `Job.moveToFailed` with `fetchNext`.
    pub async fn move_to_failed_and_fetch(&self, error: impl Into<Halt>, token: &str) -> Result<Fetched<D, R>>
    where
        R: 'static,
        D: DeserializeOwned + Send + 'static,
    {
        self.end_and_fetch("move_to_failed", self.failed(error.into(), token), token).await
    }

    /// Delays the active job until `at`, without using up an attempt. A moment that has passed means now. One round
    /// trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] as [`move_to_failed`](Self::move_to_failed).
    ///
    /// BullMQ: `Job.moveToDelayed`.
    #[doc(alias = "moveToDelayed")]
    pub async fn move_to_delayed(&self, at: SystemTime, token: &str) -> Result<()> {
        let delay = epoch_ms(at).min(LATEST).saturating_sub(self.core.queue.engine().clock.now_ms());
        self.end("move_to_delayed", End::Delayed { why: None, delay, counts: false }, token, 0).await.map(drop)
    }

    /// Puts the active job back at the front of the queue, without using up an attempt; returns for how long the
    /// queue's rate limit still applies, zero if it does not. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] as [`move_to_failed`](Self::move_to_failed).
    ///
    /// BullMQ: `Job.moveToWait`.
    #[doc(alias = "moveToWait")]
    pub async fn move_to_wait(&self, token: &str) -> Result<Duration> {
        let decided = self.end("move_to_wait", End::Waiting, token, 0).await?;
        Ok(Duration::from_millis(decided.settled.limiter_ttl_ms))
    }

    /// Makes the active job wait for its children; returns false if none is pending, and then the job stays active. One
    /// round trip.
    ///
    /// In a processor this ends the attempt, as all `move_to_…` methods do: what the processor returns is then ignored,
    /// so that `Err(Halt::WaitingChildren)` after it does no harm, like `WaitingChildrenError` in BullMQ.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] as [`move_to_failed`](Self::move_to_failed), and with
    /// [`Reason::FailedChildren`] if a child failed that fails its parent.
    ///
    /// BullMQ: `Job.moveToWaitingChildren`.
    #[doc(alias = "moveToWaitingChildren")]
    pub async fn move_to_waiting_children(&self, token: &str) -> Result<bool> {
        self.wait_for(String::new(), token).await
    }

    /// Does the same as [`move_to_waiting_children`](Self::move_to_waiting_children) if this child is pending, given by
    /// its full key `<prefix>:<queue>:<id>`, as [`get_dependencies`](crate::JobRef::get_dependencies) returns it;
    /// returns false if not. The job runs again when none of its children is pending.
    ///
    /// # Errors
    ///
    /// As [`move_to_waiting_children`](Self::move_to_waiting_children).
    ///
    /// BullMQ: `Job.moveToWaitingChildren` with `child`.
    #[doc(alias = "moveToWaitingChildren")]
    pub async fn move_to_waiting_child(&self, child_key: &str, token: &str) -> Result<bool> {
        if child_key.is_empty() {
            return Err(Error::invalid("child_key", "it must not be empty"));
        }
        self.wait_for(child_key.to_owned(), token).await
    }

    async fn wait_for(&self, child: String, token: &str) -> Result<bool> {
        let decided = self.end("move_to_waiting_children", End::Children { child }, token, 0).await?;
        Ok(decided.settled.codes.first() == Some(&Ok(0)))
    }

    /// Renews the lock for `life` from now; returns false if it is not held with this token. One round trip.
    ///
    /// If the job was [cancelled](crate::JobRef::cancel), [`cancellation`](Self::cancellation) has fired when this
    /// returns. So a program that renews a lock between two steps of its work can check
    /// [`cancel_reason`](Self::cancel_reason) there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for less than a millisecond and more than a year.
    ///
    /// BullMQ: `Job.extendLock`.
    #[doc(alias = "extendLock")]
    pub async fn extend_lock(&self, token: &str, life: Duration) -> Result<bool> {
        check_span("life", life, SHORTEST..=YEAR)?;
        let attempt = self.core.attempt.as_deref().filter(|attempt| **attempt.token() == *token);
        let sent = Instant::now();
        if let Some(attempt) = attempt {
            // The new life may be shorter than the old one, and the reply may be lost.
            attempt.locked_until(sent + (life - life / 10));
        }
        let engine = self.core.queue.engine();
        let watched = self.core.attempt.iter().filter(|attempt| **attempt.token() == *token);
        let watched: Vec<_> = watched.filter(|attempt| attempt.cancel_reason().is_none()).cloned().collect();
        let locks = [(self.id(), token)];
        let renewing = engine.extend_locks(millis(life), &locks);
        let (lost, _) = tokio::join!(renewing, cancel_watch::tell(engine, &watched));
        let lost = lost?;
        if let Some(attempt) = attempt {
            if lost.is_empty() {
                attempt.locked(sent, life);
            } else {
                attempt.locked_until(sent);
            }
        }
        Ok(lost.is_empty())
    }

    /// Settles the job by a verdict.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn end_as(&self, verdict: Verdict, token: &str) -> Result<()> {
        self.end("drain", verdict, token, 0).await.map(drop)
    }

    async fn end_and_fetch(&self, op: &'static str, verdict: Verdict, token: &str) -> Result<Fetched<D, R>>
    where
        R: 'static,
        D: DeserializeOwned + Send + 'static,
    {
        let (core, token) = (Arc::clone(&self.core), token.to_owned());
        let call = async move {
            let decided = core.end(op, verdict, &token, 1).await?;
            next(op, &core.queue, &core.host(), decided).await
        };
        Fetching::new(call).await
    }

    async fn end(&self, op: &'static str, end: impl Into<Verdict>, token: &str, want: usize) -> Result<Settlement> {
        self.core.end(op, end.into(), token, want).await
    }

    fn completed(&self, result: &R, token: &str) -> Result<End>
    where
        R: Serialize,
    {
        let value = JsonText::written("returnvalue", result)?;
        let mut end = verdict::decide(&self.core.raw, Ok(value), &self.core.host().options).end;
        if let End::Completed { made, .. } = &mut end
            && self.core.attempt.as_ref().is_none_or(|attempt| **attempt.token() != *token)
        {
            // If the job was not handed out under this token, it is not known how many attempts it has made.
            *made = None;
        }
        Ok(end)
    }

    fn failed(&self, halt: Halt, token: &str) -> Verdict {
        let attempt = self.core.attempt.as_ref().filter(|attempt| **attempt.token() == *token);
        let told = attempt.and_then(|attempt| attempt.cancel_reason());
        let (raw, host) = (&self.core.raw, self.core.host());
        let limit = raw.options.timeout.or(host.options.timeout).filter(|_| told == Some(&CancelReason::Timeout));
        let halt = match limit {
            Some(limit) => timed_out(limit, Some(halt)),
            None => halt,
        };
        verdict::conclude(raw, Ok(Err(halt)), told, &host.options)
    }
}

impl JobCore {
    fn host(&self) -> Arc<Host> {
        self.host.clone().unwrap_or_default()
    }

    /// Ends the attempt as was decided.
    pub(super) async fn end(&self, op: &'static str, verdict: Verdict, token: &str, want: usize) -> Result<Settlement> {
        let (queue, raw, host) = (&self.queue, &self.raw, self.host());
        // A worker whose processor settles the job itself has to know: then it has nothing to send.
        let attempt = self.attempt.as_deref().filter(|attempt| **attempt.token() == *token);
        let ending = attempt.and_then(super::Attempt::ending).map(|ending| {
            let (end, failure) = (verdict.end.clone(), verdict.failure.clone());
            (ending, Box::new(super::OwnEnd { end, failure, handed_back: verdict.handed_back }))
        });
        let hand = Hand { op, queue, options: &host.options, token, attempt };
        let decided = conclude(hand, raw, verdict, want).await?;
        if decided.settled.codes.first() == Some(&Ok(0)) {
            match (ending, attempt) {
                (Some((ending, own)), _) => ending.settle(own),
                (None, Some(by_hand)) => by_hand.end(),
                (None, None) => {}
            }
        }
        Ok(decided)
    }
}

/// The result of a call by hand.
pub(crate) struct Called {
    pub(crate) decided: Settlement,
    /// Whether a refused outcome may have been applied: replies were lost, the job does not exist any more, and its
    /// lock may have run out before.
    is_in_doubt: bool,
}

/// Makes one call by hand, within twice the deadline of a command, since after a lost reply its result has to be found
/// out. `is_held` tells whether the lock of the outcome was certainly held at a moment.
pub(crate) async fn settle(
    op: &'static str,
    queue: &QueueCore,
    options: &WorkerOptions,
    outcomes: &[Outcome],
    want: usize,
    token: &str,
    is_held: impl Fn(Instant) -> bool + Sync,
) -> Result<Called> {
    let engine = queue.engine();
    let mut ask = Ask { only_if_settled: !outcomes.is_empty(), ..Ask::of(options, want) };
    // It is only called if the job of an outcome does not exist any more.
    let is_gone = AtomicBool::new(false);
    let is_held = |_: usize, at: Instant| {
        let held = is_held(at);
        if !held {
            is_gone.store(true, Ordering::Relaxed);
        }
        held
    };
    let call = engine.settle(&mut ask, outcomes, || token.into(), &is_held);
    let Ok(decided) = tokio::time::timeout(engine.link.options().command_timeout * 2, call).await else {
        return Err(Error::OutcomeUnknown { op });
    };
    let decided = decided?;
    let is_in_doubt = is_gone.into_inner() && decided.settled.codes.iter().any(Result::is_err);
    Ok(Called { decided, is_in_doubt })
}

/// Returns the job that a call has handed out. A job that no processor could run is failed, as by a worker, and the
/// next one is fetched in the same step.
pub(crate) async fn next<D: DeserializeOwned, R>(
    op: &'static str,
    queue: &Arc<QueueCore>,
    host: &Arc<Host>,
    mut decided: Settlement,
) -> Result<Fetched<D, R>> {
    let mut failed = Vec::new();
    loop {
        let Settlement { settled: Settled { jobs, limited_ms, next_due, ghosts, .. }, token, sent, .. } = decided;
        for job_id in ghosts {
            tracing::warn!(job_id, queue = ?queue.engine().keys, "an id without a readable job was removed from the queue");
        }
        let next_due = Some(next_due).filter(|due| *due > 0).map(from_epoch_ms);
        let fetched = |job, unrun| Fetched { job, limited_for: Duration::from_millis(limited_ms), next_due, unrun };
        let Some(handed) = jobs.into_iter().next() else { return Ok(fetched(None, failed)) };
        let unrun = match admit(handed, queue, host, &token, sent).await {
            Ok(job) => return Ok(fetched(Some(job), failed)),
            Err(unrun) => unrun,
        };
        let Some((name, unrun)) = unrun else {
            decided = settle(op, queue, &host.options, &[], 1, &token, |_| false).await?.decided;
            continue;
        };
        let probe = super::Attempt::by_hand(unrun.id.clone(), Arc::clone(&token));
        probe.locked(sent, host.options.lock_duration);
        let outcomes = std::slice::from_ref(&unrun);
        decided = settle(op, queue, &host.options, outcomes, 1, &token, |at| probe.was_held(at)).await?.decided;
        if let Some(Err(reason)) = decided.settled.codes.first() {
            // Another worker has it by now; the next job is fetched without an outcome to store.
            tracing::warn!(job_id = unrun.id.to_string(), %reason, "a job that cannot be run could not be failed");
            decided = settle(op, queue, &host.options, &[], 1, &token, |_| false).await?.decided;
        } else if let End::Failed { why, .. } = unrun.end {
            failed.push((name, why.reason));
        }
    }
}

/// Returns a job that was handed out, typed; or its outcome if it cannot be run; or nothing if it was removed.
///
/// As in a worker, a scheduler creates its next run first.
async fn admit<D: DeserializeOwned, R>(
    handed: Handed,
    queue: &Arc<QueueCore>,
    host: &Arc<Host>,
    token: &Arc<str>,
    sent: Instant,
) -> Result<Job<D, R>, Option<(String, Outcome)>> {
    let unrun = |id: &[u8], raw: &RawJob, verdict: Verdict| {
        log(queue, raw, &verdict);
        let (id, token) = (id.into(), Arc::clone(token));
        Some((raw.name().to_owned(), Outcome { id, token, start: raw.attempts_started, end: verdict.end }))
    };
    let raw = match decode(handed, queue, &host.options) {
        Ok(raw) => raw,
        Err(mut undecodable) => {
            undecodable.partial.attempts_started = undecodable.partial.attempts_started.saturating_add(1);
            return Err(unrun(
                &undecodable.id_bytes,
                &undecodable.partial,
                verdict::undecodable(&undecodable, &host.options),
            ));
        }
    };
    if let Some(key) = raw.repeat_job_key() {
        let advanced = crate::scheduler::advance(queue.engine(), key, &raw, token).await;
        queue.mend_settings().await;
        match advanced {
            Ok(Turn::Run) => {}
            Ok(Turn::Skipped) => return Err(None),
            Err(error) => {
                tracing::warn!(error = %WithCauses(&error), "no next run of the scheduler could be created; the job is handed out all the same")
            }
        }
    }
    if !host.options.hands_out_deferred_failures
        && let Some(verdict) = crate::worker::unrun::unrun(queue.engine(), &raw, raw.processed_on, &host.options).await
    {
        return Err(unrun(raw.id().as_bytes(), &raw, verdict));
    }
    match json::read("data", raw.data())
        .map_err(|error: Error| error.of_job(JobPlace::new(raw.id(), queue.engine().keys.queue())))
    {
        Ok(data) => {
            let attempt = Arc::new(super::Attempt::by_hand(raw.id().into(), Arc::clone(token)));
            attempt.locked(sent, host.options.lock_duration);
            queue.watch_cancels(&attempt);
            let (queue, host) = (Arc::clone(queue), Some(Arc::clone(host)));
            let seen = super::JobIdentity { born: raw.timestamp, at: None };
            Ok(Job::new(Arc::new(JobCore { queue, raw, attempt: Some(attempt), host, seen }), data))
        }
        Err(error) => {
            let error = Halt::failed(Unread(error));
            Err(unrun(raw.id().as_bytes(), &raw, verdict::decide(&raw, Err(error), &host.options)))
        }
    }
}

/// Returns a job that is settled with the options of the worker that fetched it.
pub(crate) fn held<D: DeserializeOwned, R>(queue: &Arc<QueueCore>, host: &Arc<Host>, raw: RawJob) -> Result<Job<D, R>> {
    let seen = super::JobIdentity { born: raw.timestamp, at: None };
    let core = JobCore { queue: Arc::clone(queue), raw, attempt: None, host: Some(Arc::clone(host)), seen };
    Job::read(Arc::new(core))
}

/// Fails an attempt at a job, whatever of its hash can be read.
pub(crate) async fn fail_stored(
    queue: &QueueCore,
    options: &WorkerOptions,
    id: &str,
    token: &str,
    halt: Halt,
) -> Result<()> {
    const OP: &str = "move_to_failed";
    let (raw, verdict) = match queue.engine().get_stored_job(id).await? {
        None => return Err(Error::refused(OP, id, Reason::MissingJob)),
        Some(Ok(raw)) => {
            let verdict = verdict::decide(&raw, Err(halt), options);
            (raw, verdict)
        }
        Some(Err(undecodable)) => {
            let verdict = match halt {
                Halt::Failed(error) | Halt::Unrecoverable(error) => {
                    verdict::failed(&undecodable.partial, Fault::unrecoverable(error), options)
                }
                // A job that cannot be read would only come back if it were moved.
                _ => verdict::undecodable(&undecodable, options),
            };
            (*undecodable.partial, verdict)
        }
    };
    let hand = Hand { op: OP, queue, options, token, attempt: None };
    conclude(hand, &raw, verdict, 0).await.map(drop)
}

/// A caller that settles a job by hand.
struct Hand<'a> {
    op: &'static str,
    queue: &'a QueueCore,
    options: &'a WorkerOptions,
    token: &'a str,
    /// `None` if the job was not handed out under the token: then the age of the lock is not known.
    attempt: Option<&'a super::Attempt>,
}

/// Applies a verdict: first what it asks of the queue, then the outcome.
async fn conclude(hand: Hand<'_>, raw: &RawJob, verdict: Verdict, want: usize) -> Result<Settlement> {
    let Hand { op, queue, options, token, attempt } = hand;
    log(queue, raw, &verdict);
    let Verdict { end, rate_limit, .. } = verdict;
    if let Some(pause) = rate_limit {
        queue.engine().rate_limit(pause).await?;
    }
    // A call that asks for a pause does not fetch a job as well.
    let want = if rate_limit.is_some() { 0 } else { want };
    let mut outcome = Outcome { id: raw.id().into(), token: token.into(), start: raw.attempts_started, end };
    let waits = matches!(outcome.end, End::Children { .. });
    let is_held = |at| attempt.is_some_and(|attempt| attempt.was_held(at));
    let mut called = settle(op, queue, options, std::slice::from_ref(&outcome), want, token, is_held).await?;
    if waits && called.decided.settled.codes.first() == Some(&Ok(1)) && op == "move_to_failed" {
        // No child is pending, so there is nothing to wait for: as in a worker, the job is put back at the front.
        outcome.end = End::Waiting;
        called = settle(op, queue, options, std::slice::from_ref(&outcome), want, token, is_held).await?;
    }
    let Called { decided, is_in_doubt } = called;
    match decided.settled.codes.first() {
        Some(Err(_)) if is_in_doubt => Err(Error::OutcomeUnknown { op }),
        Some(Err(reason)) => Err(Error::refused(op, raw.id(), *reason)),
        _ => Ok(decided),
    }
}

/// Logs a failure, as a worker does.
fn log(queue: &QueueCore, raw: &RawJob, verdict: &Verdict) {
    let keys = &queue.engine().keys;
    if let Some(failure) = &verdict.failure {
        failure.log(keys.queue(), raw.id(), &verdict.end);
    }
    if let Some(complaint) = &verdict.complaint {
        let error = WithCauses(complaint);
        tracing::warn!(job_id = raw.id(), queue = ?keys, %error, "a rule for the next attempt could not be followed");
    }
}

/// Reads a job as it was handed out, and sets the fields that the fetch has written.
fn decode(handed: Handed, queue: &QueueCore, options: &WorkerOptions) -> Result<RawJob, Undecodable> {
    let mut raw = handed.decode()?;
    raw.attempts_started = raw.attempts_started.saturating_add(1);
    raw.processed_on = i64::try_from(queue.engine().clock.now_ms()).ok();
    // A worker without a name leaves the name of an earlier one.
    if options.name.is_some() {
        raw.set_processed_by(options.name.clone());
    }
    Ok(raw)
}
