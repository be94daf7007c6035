//! Runs one attempt, from the job as it was handed out to its outcome. A panic in here cannot stop the worker.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use super::WorkerCore;
use super::event::WorkerEvent;
use super::failure::AttemptFailure;
use super::panics::catch;
use super::stopping::within;
use super::unrun::unrun;
use super::verdict::{self, Verdict};
use crate::job::{Attempt, JobCore, JobIdentity};
use crate::scheduler::{self, Turn};
use crate::script::settle::{End, Handed, Outcome};
use crate::telemetry::{self, Stopwatch};
use crate::wire::job::{RawJob, UndecodableKind};

/// An attempt that has ended, on its way to Redis.
#[derive(Debug)]
pub(crate) struct EndedAttempt {
    pub(crate) slot: usize,
    /// The number of the job, in the order in which this worker took them; jobs are put back in the order of their
    /// start.
    pub(crate) order: u64,
    pub(crate) outcome: Outcome,
    /// Whether the processor has settled the job itself, so that nothing is left to send.
    pub(crate) is_settled: bool,
    /// Whether the job was removed before it ran: nothing is sent, and nothing counted.
    pub(crate) is_gone: bool,
    /// Whether the job is put back because the worker closes.
    pub(crate) handed_back: bool,
    /// Set if the processor asked for a pause of the queue (a rate limit).
    pub(crate) pause: Option<Duration>,
    /// How often the server has refused a call that carried only this outcome.
    pub(crate) refusals: u32,
    pub(crate) attempt: Arc<Attempt>,
    /// The failure for listeners, if the attempt failed.
    pub(crate) failure: Option<Box<AttemptFailure>>,
}

impl Borrow<Outcome> for EndedAttempt {
    fn borrow(&self) -> &Outcome {
        &self.outcome
    }
}

impl EndedAttempt {
    pub(crate) fn new(
        attempt: Arc<Attempt>,
        slot: usize,
        order: u64,
        start: u32,
        end: End,
        failure: Option<Box<AttemptFailure>>,
    ) -> Self {
        attempt.end();
        let settled = attempt.settled().cloned();
        let is_settled = settled.is_some();
        let (end, failure, handed_back) =
            settled.map_or((end, failure, false), |own| (own.end, own.failure, own.handed_back));
        let outcome = Outcome { id: attempt.id().clone(), token: Arc::clone(attempt.token()), start, end };
        Self {
            slot,
            order,
            outcome,
            is_settled,
            is_gone: false,
            handed_back,
            pause: None,
            refusals: 0,
            attempt,
            failure,
        }
    }

    /// Creates the outcome of an attempt whose job is put back because the worker closes.
    pub(crate) fn handed_back(attempt: Arc<Attempt>, slot: usize, order: u64, start: u32) -> Self {
        let ended = Self::new(attempt, slot, order, start, End::Waiting, None);
        Self { handed_back: !ended.is_settled || ended.handed_back, ..ended }
    }
}

/// A job that was handed out to a worker and has not begun.
pub(crate) struct Taken {
    pub(crate) job: Handed,
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) slot: usize,
    pub(crate) order: u64,
    /// When it was fetched, in ms of the worker's clock, if it waited for a slot since.
    pub(crate) prefetched_at: Option<u64>,
}

impl Taken {
    /// Puts it back at the front of the queue.
    pub(crate) fn put_back(self) -> EndedAttempt {
        EndedAttempt::handed_back(self.attempt, self.slot, self.order, 0)
    }
}

/// Runs one attempt and sends its outcome. If the task is dropped or aborted, even before it was first polled, the job
/// is put back.
pub(crate) fn perform(
    worker: Arc<WorkerCore>,
    taken: Taken,
    ended: mpsc::UnboundedSender<EndedAttempt>,
) -> impl Future<Output = ()> + Send {
    let Taken { job: handed, attempt, slot, order, prefetched_at } = taken;
    let mut unfinished = Unfinished { slot, order, start: 0, attempt: Some(Arc::clone(&attempt)), ended };
    async move {
        let mut verdict = match handed.decode() {
            Ok(raw) => {
                let (core, begun) = started(&worker, raw, &attempt, prefetched_at);
                let raw = &core.raw;
                unfinished.start = raw.attempts_started;
                if let Some(key) = raw.repeat_job_key() {
                    // The rare path is boxed, so that the task of every other attempt is smaller.
                    let is_cancelled = prefetched_at.is_some() && attempt.cancel_reason().is_some();
                    match Box::pin(schedule_next(&worker, key, raw, &attempt, is_cancelled)).await {
                        Some(Turn::Run) => {}
                        Some(Turn::Skipped) => return unfinished.vanish(),
                        None => return,
                    }
                }
                if let Some(told) = attempt.cancel_reason().filter(|_| prefetched_at.is_some()) {
                    verdict::cancelled_before(&core.raw, told, &worker.host.options)
                } else {
                    measured(&worker, core, begun, &attempt).await
                }
            }
            Err(undecodable) => {
                let raw = &undecodable.partial;
                unfinished.start = raw.attempts_started.saturating_add(1);
                if undecodable.kind == UndecodableKind::Ghost {
                    worker.events.emit(|| WorkerEvent::Ghost { job_id: raw.id().to_owned() });
                }
                verdict::undecodable(&undecodable, &worker.host.options)
            }
        };
        if let Some(failure) = &verdict.failure {
            failure.log(worker.queue.engine().keys.queue(), &attempt.id().to_string(), &verdict.end);
        }
        if let Some(complaint) = verdict.complaint.take() {
            worker.events.error(complaint);
        }
        unfinished.finish(verdict);
    }
}

/// Makes of a fetched job, which is as it was before this start, what the processor sees. Also returns when it begins, in
/// ms: for the server that was when it was fetched.
fn started(
    worker: &WorkerCore,
    mut raw: RawJob,
    attempt: &Arc<Attempt>,
    prefetched_at: Option<u64>,
) -> (Arc<JobCore>, Option<i64>) {
    let engine = worker.queue.engine();
    raw.attempts_started = raw.attempts_started.saturating_add(1);
    let now = engine.clock.now_ms();
    let begun = i64::try_from(now).ok();
    raw.processed_on = i64::try_from(prefetched_at.unwrap_or(now)).ok();
    if let Some(option) = raw.options.odd {
        let queue = &engine.keys;
        tracing::warn!(job_id = raw.id(), ?queue, option, "an option of the job cannot be read; it is ignored");
    }
    let seen = JobIdentity { born: raw.timestamp, at: None };
    let core = JobCore {
        queue: Arc::clone(&worker.queue),
        raw,
        attempt: Some(Arc::clone(attempt)),
        host: Some(Arc::clone(&worker.host)),
        seen,
    };
    (Arc::new(core), begun)
}

/// Runs an attempt within its span, and counts how long the job has waited and how long it ran.
async fn measured(worker: &Arc<WorkerCore>, core: Arc<JobCore>, begun: Option<i64>, attempt: &Arc<Attempt>) -> Verdict {
    let raw = &core.raw;
    if raw.attempts_started == 1 {
        worker.figures.waited_from(raw.ready_at(), begun);
    }
    let queue = worker.queue.engine().keys.queue();
    let span = telemetry::job(queue, worker.host.options.name.as_deref(), worker.tokens.worker(), raw);
    let wants_trace = !raw.options.omit_context;
    let watch = Stopwatch::start();
    let mut verdict = attempt_job(worker, core, begun, attempt).instrument(span.clone()).await;
    worker.figures.ran(&watch);
    if !span.is_disabled() {
        conclude(&span, &mut verdict.end, wants_trace);
    }
    verdict
}

/// Writes the outcome into the attempt's span, and the span's context into the outcome if it failed.
fn conclude(span: &Span, end: &mut End, wants_trace: bool) {
    let (outcome, why) = match end {
        End::Completed { .. } => ("completed", None),
        End::Failed { why, .. } => ("failed", Some(why)),
        End::Retry { why, .. } | End::Delayed { why: Some(why), .. } => ("retried", Some(why)),
        End::Delayed { .. } => ("delayed", None),
        End::Waiting => ("waiting", None),
        End::Children { .. } => ("waiting-children", None),
    };
    telemetry::ended(span, outcome, why.as_ref().map(|why| &*why.reason));
    if let Some(why) = why
        && wants_trace
        && let Some(trace) = telemetry::inject(span)
    {
        why.trace = trace;
    }
}

/// Creates the next run of the scheduler that this job is a run of. If that is impossible, the job is processed all the
/// same, and the error is reported; Node leaves such a job active for ever.
///
/// Returns `None` if the attempt was cancelled meanwhile; then the job is put back. A run that was cancelled before it began
/// is not, and there is a next one all the same.
async fn schedule_next(
    worker: &WorkerCore,
    key: &str,
    raw: &RawJob,
    attempt: &Attempt,
    is_cancelled: bool,
) -> Option<Turn> {
    let advanced = tokio::select! {
        advanced = scheduler::advance(worker.queue.engine(), key, raw, attempt.token()) => advanced,
        () = attempt.cancellation().cancelled(), if !is_cancelled => return None,
    };
    worker.queue.mend_settings().await;
    let turn = advanced.unwrap_or_else(|error| {
        worker.events.error(error);
        Turn::Run
    });
    if turn == Turn::Skipped {
        worker.figures.run_skipped();
        worker.events.emit(|| WorkerEvent::RunSkipped { scheduler: key.to_owned(), job_id: raw.id().to_owned() });
    }
    Some(turn)
}

async fn attempt_job(
    worker: &Arc<WorkerCore>,
    core: Arc<JobCore>,
    begun: Option<i64>,
    attempt: &Arc<Attempt>,
) -> Verdict {
    let raw = &core.raw;
    if let Some(verdict) = unrun(worker.queue.engine(), raw, begun, &worker.host.options).await {
        return verdict;
    }
    worker.events.emit(|| WorkerEvent::Active { job_id: raw.id().to_owned(), name: raw.name().to_owned() });
    let limit = raw.options.timeout.or(worker.host.options.timeout);
    let processor = Arc::clone(&worker.processor.0);
    let deciding = async {
        let running = {
            let core = Arc::clone(&core);
            // The call itself is inside: a processor may panic before it has returned a future.
            catch(async move { processor.call(core).await })
        };
        let ran = match limit {
            None => running.await,
            Some(limit) => Box::pin(within(running, limit, worker.host.options.cancel_grace, Some(attempt))).await,
        };
        // The error is the user's, and its `Display` is called in here.
        verdict::conclude(&core.raw, ran, attempt.cancel_reason(), &worker.host.options)
    };
    // Dropping the rest of a late processor may panic, and so may the `Display` of an error.
    let mut verdict = catch(deciding).await.unwrap_or_else(|panic| {
        verdict::conclude(&core.raw, Err(panic), attempt.cancel_reason(), &worker.host.options)
    });
    if let Some(settled) = attempt.settled() {
        if verdict.failure.take().is_some() {
            tracing::warn!(
                id = core.raw.id(),
                "the processor had settled the job itself; its later failure is ignored"
            );
        }
        verdict.end = settled.end.clone();
    }
    if verdict.rate_limit.is_some() && worker.host.options.limiter.is_none() {
        static TOLD: std::sync::Once = std::sync::Once::new();
        TOLD.call_once(|| {
            let queue = worker.queue.engine().keys.queue();
            tracing::warn!(queue, "`Halt::RateLimited` holds back workers with a limiter, and this one has none");
        });
    }
    if let Some(pause) = verdict.rate_limit
        && let Err(error) = Box::pin(worker.queue.engine().rate_limit(pause)).await
    {
        worker.events.error(error);
    }
    verdict
}

/// An attempt whose outcome was not sent yet.
struct Unfinished {
    slot: usize,
    order: u64,
    start: u32,
    attempt: Option<Arc<Attempt>>,
    /// Holds at most one outcome per running attempt, so the worker's concurrency bounds it.
    ended: mpsc::UnboundedSender<EndedAttempt>,
}

impl Unfinished {
    fn finish(mut self, verdict: Verdict) {
        let Verdict { end, rate_limit, failure, handed_back, .. } = verdict;
        if let Some(attempt) = self.attempt.take() {
            let ended = EndedAttempt::new(attempt, self.slot, self.order, self.start, end, failure);
            let handed_back = if ended.is_settled { ended.handed_back } else { handed_back };
            self.send(EndedAttempt { pause: rate_limit, handed_back, ..ended });
        }
    }

    /// Ends the attempt of a job that was removed before it ran.
    fn vanish(mut self) {
        if let Some(attempt) = self.attempt.take() {
            let ended = EndedAttempt::new(attempt, self.slot, self.order, self.start, End::Waiting, None);
            self.send(EndedAttempt { is_gone: true, ..ended });
        }
    }

    fn send(&self, end: EndedAttempt) {
        // Nobody receives it if the loop has given the worker up; then the lock runs out.
        let _ = self.ended.send(end);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.send(EndedAttempt::handed_back(attempt, self.slot, self.order, self.start));
        }
    }
}
