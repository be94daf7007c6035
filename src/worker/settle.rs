//! The calls of a worker's loop, and what the answer to an outcome means.

use std::sync::Arc;

use super::WorkerCore;
use super::failure::Fault;
use super::perform::EndedAttempt;
use super::verdict;
use crate::clock::millis;
use crate::engine::{Adopted, Settlement};
use crate::error::{Reason, Result};
use crate::script::settle::{Ask, End, Settled};
use crate::wire::job::{JobId, RawJob};

/// A call that came back, with what was sent.
pub(super) struct Answered {
    pub(super) ended: Vec<EndedAttempt>,
    /// How many jobs it asked for.
    pub(super) want: usize,
    /// Whether it was a call for one large outcome, which the plan does not count.
    pub(super) is_apart: bool,
    pub(super) answer: Result<Settlement>,
}

/// What follows from the answer to an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowUp {
    /// Redis has stored it.
    Taken,
    /// The attempt is sent again, with its present outcome.
    Settle,
    /// The job cannot complete; its attempt fails with this reason.
    Fail(Reason),
    /// It is dropped.
    Drop(Reason),
}

impl FollowUp {
    pub(super) fn of(ended: &mut EndedAttempt, answer: std::result::Result<i64, Reason>) -> Self {
        let end = &mut ended.outcome.end;
        match answer {
            // No child is pending, so there is nothing to wait for: the job is put back at the front.
            Ok(1) if matches!(end, End::Children { .. }) => {
                *end = End::Waiting;
                Self::Settle
            }
            Ok(_) => Self::Taken,
            // An earlier request was carried out that did not include this outcome; it is sent again to learn why.
            Err(Reason::Unknown(0)) => Self::Settle,
            // A parent cannot complete yet, or cannot complete at all any more.
            Err(reason @ (Reason::PendingDependencies | Reason::FailedChildren))
                if matches!(end, End::Completed { .. } | End::Children { .. }) =>
            {
                Self::Fail(reason)
            }
            Err(reason) => Self::Drop(reason),
        }
    }
}

/// Sends outcomes and fetches jobs, until the result is known.
pub(super) async fn settle(worker: &WorkerCore, ended: Vec<EndedAttempt>, want: usize) -> Answered {
    let mut ask = Ask::of(&worker.host.options, want);
    let is_held = |i: usize, at| ended.get(i).is_some_and(|ended| worker.locks.was_held(ended.slot, at));
    let answer = worker.queue.engine().settle(&mut ask, &ended, || worker.tokens.next(), &is_held).await;
    if let Ok(decided) = &answer {
        worker.figures.settled(ended.len(), decided.settled.jobs.len());
    }
    Answered { ended, want, is_apart: false, answer }
}

/// Sends one large outcome on a connection for large outcomes, so that nothing waits behind it. If it does not get
/// through, the attempt fails for that.
pub(super) async fn settle_apart(worker: Arc<WorkerCore>, mut ended: EndedAttempt) -> Answered {
    let mut ask = Ask::of(&worker.host.options, 0);
    let engine = worker.queue.engine();
    let slot = ended.slot;
    let is_held = |_: usize, at| worker.locks.was_held(slot, at);
    let answer = engine.settle_apart(&worker.large, &mut ask, &ended.outcome, || worker.tokens.next(), &is_held).await;
    match answer {
        Ok(Some(decided)) => {
            worker.figures.settled(1, 0);
            Answered { ended: vec![ended], want: 0, is_apart: true, answer: Ok(decided) }
        }
        Err(error) => Answered { ended: vec![ended], want: 0, is_apart: true, answer: Err(error) },
        Ok(None) => {
            let text = format!(
                "the outcome of {} bytes could not be stored: it is larger than the server (proto-max-bulk-len) or the \
                 network lets pass",
                ended.outcome.size()
            );
            if let Err(error) = fail(&worker, &mut ended, Fault::unrecoverable(text)).await {
                return Answered { ended: vec![ended], want: 0, is_apart: true, answer: Err(error) };
            }
            Answered { is_apart: true, ..settle(&worker, vec![ended], 0).await }
        }
    }
}

/// Fails an attempt that was to complete; the job's attempts and backoff decide what follows. If the job cannot be read
/// now, the attempt keeps its outcome, and comes here again once that was refused again.
pub(super) async fn fail_instead(worker: Arc<WorkerCore>, mut ended: EndedAttempt, reason: Reason) -> Answered {
    let id = ended.outcome.id.to_string();
    let command =
        if matches!(ended.outcome.end, End::Children { .. }) { "moveToWaitingChildren" } else { "moveToFinished" };
    let fault = verdict::relatives(&id, reason, command).unwrap_or_else(|| Fault::error(reason.to_string()));
    match fail(&worker, &mut ended, fault).await {
        Ok(()) => settle(&worker, vec![ended], 0).await,
        Err(error) => Answered { ended: vec![ended], want: 0, is_apart: false, answer: Err(error) },
    }
}

/// Turns an outcome into a failure. A job that was removed meanwhile has no options any more, and its outcome is
/// refused.
///
/// # Errors
///
/// The job could not be read, so it is unknown whether it is to be tried again; the outcome is unchanged.
async fn fail(worker: &WorkerCore, ended: &mut EndedAttempt, fault: Fault) -> Result<()> {
    let id = ended.outcome.id.to_string();
    // The job is read again: this is rare, and the outcome does not hold its options.
    let verdict = match worker.queue.engine().get_stored_job(&id).await? {
        Some(Ok(raw)) => verdict::failed(&raw, fault, &worker.host.options),
        Some(Err(undecodable)) => verdict::undecodable(&undecodable, &worker.host.options),
        None => verdict::failed(&RawJob::default(), fault, &worker.host.options),
    };
    if let Some(failure) = &verdict.failure {
        failure.log(worker.queue.engine().keys.queue(), &id, &verdict.end);
    }
    (ended.outcome.end, ended.failure) = (verdict.end, verdict.failure);
    Ok(())
}

/// Looks once more for jobs that were handed out under the token of a lost reply.
pub(super) async fn look_for(worker: Arc<WorkerCore>, token: Arc<str>, known: Vec<JobId>) -> Answered {
    let lock_ms = millis(worker.host.options.lock_duration);
    let found = worker.queue.engine().adopt(&token, lock_ms, &known).await;
    let answer = found.map(|Adopted { jobs, sent, complaint }| {
        let settled = Settled { jobs, ..Default::default() };
        Settlement { settled, suspects: Vec::new(), token, sent, is_answered: true, error: complaint }
    });
    Answered { ended: Vec::new(), want: 0, is_apart: false, answer }
}
