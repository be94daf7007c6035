//! The events that a worker sends to listeners in its own process.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use super::attempt_error::AttemptError;
use crate::error::{Error, FailureKind, Reason, WithCauses};
use crate::sync::Lock;
use crate::wire::{EventId, JsonText};

/// An event in a worker, as [`WorkerEvents`] hands it out. BullMQ: the events of the class `Worker`.
///
/// As JSON it has its name in `event`, errors as text and durations in milliseconds.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum WorkerEvent {
    /// A job was started.
    Active {
        /// The job.
        job_id: String,
        /// Its name.
        name: String,
    },
    /// A job completed, and Redis has stored it.
    Completed {
        /// The job.
        job_id: String,
        /// What its processor returned.
        #[serde(rename = "returnvalue")]
        return_value: JsonText,
    },
    /// An attempt failed, and Redis has stored it.
    Failed {
        /// The job.
        job_id: String,
        /// Its name.
        name: String,
        /// The number of the attempt, counting those that the job has used up; the first is 1.
        attempt: u32,
        /// How the attempt failed.
        kind: FailureKind,
        /// The error that the processor returned, or one that stands for a panic or a timeout.
        error: AttemptError,
        /// The stored reason: the text of the error. Only errors of this crate include their causes.
        failed_reason: String,
        /// Whether the job will be tried again.
        will_retry: bool,
    },
    /// A job was put back because its lock was gone.
    Stalled {
        /// The job.
        job_id: String,
    },
    /// A job scheduler had stopped because its run had vanished; its next run was put back.
    SchedulerRevived {
        /// The scheduler.
        scheduler: String,
        /// The run that was put back.
        job_id: String,
    },
    /// A run of a job scheduler with [`Overlap::Skip`](crate::scheduler::Overlap::Skip) was removed without being run,
    /// since an earlier run has not ended.
    RunSkipped {
        /// The scheduler.
        scheduler: String,
        /// The run.
        job_id: String,
    },
    /// Another worker may have taken over a running job: its lock ran out or was taken. The outcome of this attempt is
    /// dropped.
    #[doc(alias = "lockRenewalFailed")]
    LockLost {
        /// The job.
        job_id: String,
    },
    /// The queue had no more jobs to hand out.
    Drained,
    /// An error that belongs to no attempt; the worker goes on.
    Error(#[serde(serialize_with = "as_text")] Arc<Error>),
    /// An id in the queue had no readable job and was removed.
    Ghost {
        /// The id.
        job_id: String,
    },
    /// The worker's loop was not polled for at least this long: a processor computes or blocks without `.await`. Locks
    /// are still renewed, but no jobs are taken and no outcomes stored.
    RuntimeBlocked {
        /// How late the loop was when this was noticed.
        #[serde(serialize_with = "crate::clock::as_span")]
        at_least: std::time::Duration,
    },
    /// The server has been away for some seconds: it cannot be reached, or refuses to serve. The worker continues when
    /// it is back. Running jobs go on meanwhile, but their locks may run out.
    #[doc(alias = "ioredis:close")]
    Disconnected {
        /// The error of the last attempt.
        reason: String,
    },
    /// The server is back. Follows each [`Disconnected`](Self::Disconnected).
    Reconnected {
        /// How long it was away.
        #[serde(serialize_with = "crate::clock::as_span")]
        after: std::time::Duration,
    },
    /// The server is back, but lacks data that it had before: a replica that was behind has taken over, or the server
    /// was started with an older copy. What was acknowledged in between is lost, both added jobs and outcomes: jobs may
    /// be missing, may run again, or may have an id that another job had.
    ///
    /// This is checked once after each break of the connection. It is not noticed if the queue's events were trimmed
    /// meanwhile. A queue that was obliterated before the break looks like one that was lost, unless
    /// `INFO` is permitted and says that the server has run since, and was never a replica.
    RolledBack {
        /// The newest event that this worker knew of, which is gone.
        seen: EventId,
        /// The newest event before it that still exists: everything later, by the server's clock, is lost. `None` if
        /// the queue has no events at all, as on an empty server.
        kept: Option<EventId>,
    },
    /// The worker takes no new jobs.
    Paused,
    /// The worker takes jobs again.
    Resumed,
    /// The worker has begun to close.
    Closing,
    /// The worker is closed. The last event.
    Closed,
    /// The listener took its events too slowly, and the oldest in its buffer were dropped.
    Lagged {
        /// How many were dropped since the last `Lagged`.
        missed: u64,
    },
}

fn as_text<S: serde::Serializer>(error: &Arc<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&std::collections::BTreeMap::from([("error", error.to_string())]), serializer)
}

/// How many bytes of results and reasons one listener may be behind.
const MAX_BYTES: usize = 64 << 20;

impl WorkerEvent {
    /// Returns how many bytes of memory the texts of the event need that may be large.
    fn bytes(&self) -> usize {
        match self {
            Self::Completed { return_value, .. } => return_value.as_str().len(),
            Self::Failed { failed_reason, .. } => failed_reason.len(),
            _ => 0,
        }
    }
}

/// Receives a worker's events as they happen; also a [`Stream`].
///
/// The buffer is limited by the worker's `event_buffer` and to 64 MiB of results and reasons, and grows only as it fills. A
/// listener that is too slow misses the oldest events; a [`WorkerEvent::Lagged`] in their place says how many, as
/// [`Delivery::Lagged`](crate::events::Delivery::Lagged) does for the events of a queue.
///
/// ```no_run
/// # async fn demo(worker: oxmq::Worker) {
/// use oxmq::worker::WorkerEvent;
///
/// let mut events = worker.events();
/// while let Some(event) = events.recv().await {
///     match event {
///         WorkerEvent::Failed { job_id, error, will_retry: false, .. } => println!("{job_id} failed for good: {error}"),
///         WorkerEvent::LockLost { job_id } => println!("{job_id} may run twice"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[must_use = "dropping it ends the listening"]
pub struct WorkerEvents {
    buffer: Arc<Buffer>,
    sink: Weak<Listeners>,
}

impl WorkerEvents {
    /// Waits for the next event; `None` when the worker is closed and all events were received.
    ///
    /// The future can be dropped at any time without losing an event.
    pub async fn recv(&mut self) -> Option<WorkerEvent> {
        std::future::poll_fn(|cx| self.buffer.poll(cx)).await
    }

    /// Returns how many events were dropped so far because this receiver was too slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.buffer.lock().missed
    }
}

impl Stream for WorkerEvents {
    type Item = WorkerEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WorkerEvent>> {
        self.buffer.poll(cx)
    }
}

impl Drop for WorkerEvents {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.upgrade() {
            sink.leave(&self.buffer);
        }
    }
}

impl std::fmt::Debug for WorkerEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerEvents").field("missed", &self.missed()).finish_non_exhaustive()
    }
}

/// The events that one listener has not taken yet.
#[derive(Default)]
struct Buffer(Lock<Held>);

#[derive(Default)]
struct Held {
    events: VecDeque<WorkerEvent>,
    /// How many bytes their results and reasons have.
    bytes: usize,
    /// How many were dropped since the listener was last told.
    lagged: u64,
    /// How many were dropped in all.
    missed: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl Held {
    fn take(&mut self) -> Option<WorkerEvent> {
        let event = self.events.pop_front()?;
        self.bytes -= event.bytes();
        Some(event)
    }
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock()
    }

    fn push(&self, event: WorkerEvent, limit: usize) {
        let mut held = self.lock();
        held.bytes += event.bytes();
        held.events.push_back(event);
        // The newest one is kept, however large.
        while held.events.len() > 1 && (held.events.len() > limit || held.bytes > MAX_BYTES) {
            held.take();
            held.lagged += 1;
            held.missed += 1;
        }
        wake(held);
    }

    fn close(&self) {
        let mut held = self.lock();
        held.closed = true;
        wake(held);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<WorkerEvent>> {
        let mut held = self.lock();
        if held.lagged > 0 {
            return Poll::Ready(Some(WorkerEvent::Lagged { missed: std::mem::take(&mut held.lagged) }));
        }
        if let Some(event) = held.take() {
            return Poll::Ready(Some(event));
        }
        if held.closed {
            return Poll::Ready(None);
        }
        held.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Wakes the listener after releasing the lock.
fn wake(mut held: MutexGuard<'_, Held>) {
    let waker = held.waker.take();
    drop(held);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The sender of a worker's events. Costs nothing while nobody listens.
#[derive(Clone)]
pub(crate) struct EventSink(Arc<Listeners>);

struct Listeners {
    limit: AtomicUsize,
    /// The number of listeners, so that no lock is taken if there are none.
    count: AtomicUsize,
    buffers: Lock<Vec<Arc<Buffer>>>,
    /// Whose events they are, for the log: the queue and the name of the worker. Set when it starts.
    of: OnceLock<(String, Option<String>)>,
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Buffer>>> {
        self.buffers.lock()
    }

    fn leave(&self, buffer: &Arc<Buffer>) {
        let mut buffers = self.lock();
        buffers.retain(|other| !Arc::ptr_eq(other, buffer));
        self.count.store(buffers.len(), Ordering::Relaxed);
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for buffer in self.lock().iter() {
            buffer.close();
        }
    }
}

impl EventSink {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Listeners {
            limit: AtomicUsize::new(limit),
            count: AtomicUsize::new(0),
            buffers: Lock::default(),
            of: OnceLock::new(),
        }))
    }

    /// Sets how many events each listener may be behind; called before the first event.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Sets whose events these are, for the log; called before the first event.
    pub(crate) fn set_worker(&self, queue: &str, name: Option<&str>) {
        let _ = self.0.of.set((queue.to_owned(), name.map(str::to_owned)));
    }

    pub(crate) fn emit(&self, event: impl FnOnce() -> WorkerEvent) {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let event = event();
        let limit = self.0.limit.load(Ordering::Relaxed);
        let buffers = self.0.lock();
        if let Some((last, others)) = buffers.split_last() {
            for buffer in others {
                buffer.push(event.clone(), limit);
            }
            last.push(event, limit);
        }
    }

    pub(crate) fn error(&self, error: Error) {
        self.warn(&error, None);
        self.emit(|| WorkerEvent::Error(Arc::new(error)));
    }

    /// Tells listeners that an operation was refused for each of some jobs. The log has one line for each reason, with how
    /// many jobs there are and the first of them.
    pub(crate) fn refused(&self, op: &'static str, mut jobs: Vec<(String, Reason)>) {
        while let Some((_, reason)) = jobs.first() {
            let reason = *reason;
            let (alike, others) = jobs.into_iter().partition::<Vec<_>, _>(|(_, other)| *other == reason);
            jobs = others;
            let many = Some(alike.len()).filter(|jobs| *jobs > 1);
            for (place, (id, _)) in alike.into_iter().enumerate() {
                let error = Error::refused(op, id, reason);
                if place == 0 {
                    self.warn(&error, many);
                }
                self.emit(|| WorkerEvent::Error(Arc::new(error)));
            }
        }
    }

    fn warn(&self, error: &Error, jobs: Option<usize>) {
        let of = self.0.of.get();
        let (queue, name) = (of.map(|of| &*of.0), of.and_then(|of| of.1.as_deref()));
        tracing::warn!(queue, name, jobs, error = %WithCauses(error), "worker");
    }

    pub(crate) fn subscribe(&self) -> WorkerEvents {
        let buffer = Arc::new(Buffer::default());
        let mut buffers = self.0.lock();
        buffers.push(Arc::clone(&buffer));
        self.0.count.store(buffers.len(), Ordering::Relaxed);
        drop(buffers);
        WorkerEvents { buffer, sink: Arc::downgrade(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    macro_rules! kinds {
        ($($kind:ident),*) => {
            const KINDS: &[&str] = &[$(stringify!($kind)),*];

            /// Returns the name of the variant; an event that is not listed does not compile.
            fn kind(event: &WorkerEvent) -> &'static str {
                match event {
                    $(WorkerEvent::$kind { .. } => stringify!($kind),)*
                }
            }
        };
    }

    kinds!(
        Active,
        Completed,
        Failed,
        Stalled,
        SchedulerRevived,
        RunSkipped,
        LockLost,
        Drained,
        Error,
        Ghost,
        RuntimeBlocked,
        Disconnected,
        Reconnected,
        RolledBack,
        Paused,
        Resumed,
        Closing,
        Closed,
        Lagged
    );

    /// What a line of a log or a message to another program looks like; others read it.
    #[test]
    fn events_are_written_as_they_always_were() {
        let job_id = || "7".to_owned();
        let second = Duration::from_secs(1);
        let error: crate::error::BoxError = "broken".into();
        let failed = WorkerEvent::Failed {
            job_id: job_id(),
            name: "mail".into(),
            attempt: 2,
            kind: FailureKind::Timeout,
            error: error.into(),
            failed_reason: "broken".into(),
            will_retry: true,
        };
        let cases = [
            (
                WorkerEvent::Active { job_id: job_id(), name: "mail".into() },
                json!({ "event": "active", "jobId": "7", "name": "mail" }),
            ),
            (
                WorkerEvent::Completed { job_id: job_id(), return_value: JsonText::new(r#"{"n":1}"#) },
                json!({ "event": "completed", "jobId": "7", "returnvalue": { "n": 1 } }),
            ),
            (
                failed,
                json!({ "event": "failed", "jobId": "7", "name": "mail", "attempt": 2, "kind": "Timeout", "error": "broken", "failedReason": "broken", "willRetry": true }),
            ),
            (WorkerEvent::Stalled { job_id: job_id() }, json!({ "event": "stalled", "jobId": "7" })),
            (
                WorkerEvent::SchedulerRevived { scheduler: "s".into(), job_id: job_id() },
                json!({ "event": "schedulerRevived", "scheduler": "s", "jobId": "7" }),
            ),
            (
                WorkerEvent::RunSkipped { scheduler: "s".into(), job_id: job_id() },
                json!({ "event": "runSkipped", "scheduler": "s", "jobId": "7" }),
            ),
            (WorkerEvent::LockLost { job_id: job_id() }, json!({ "event": "lockLost", "jobId": "7" })),
            (WorkerEvent::Drained, json!({ "event": "drained" })),
            (
                WorkerEvent::Error(Arc::new(Error::Closed)),
                json!({ "event": "error", "error": Error::Closed.to_string() }),
            ),
            (WorkerEvent::Ghost { job_id: job_id() }, json!({ "event": "ghost", "jobId": "7" })),
            (WorkerEvent::RuntimeBlocked { at_least: second }, json!({ "event": "runtimeBlocked", "atLeast": 1_000 })),
            (WorkerEvent::Disconnected { reason: "away".into() }, json!({ "event": "disconnected", "reason": "away" })),
            (WorkerEvent::Reconnected { after: second }, json!({ "event": "reconnected", "after": 1_000 })),
            (
                WorkerEvent::RolledBack { seen: EventId::new(7, 1), kept: None },
                json!({ "event": "rolledBack", "seen": "7-1", "kept": null }),
            ),
            (WorkerEvent::Paused, json!({ "event": "paused" })),
            (WorkerEvent::Resumed, json!({ "event": "resumed" })),
            (WorkerEvent::Closing, json!({ "event": "closing" })),
            (WorkerEvent::Closed, json!({ "event": "closed" })),
            (WorkerEvent::Lagged { missed: 3 }, json!({ "event": "lagged", "missed": 3 })),
        ];
        let mut seen = BTreeSet::new();
        for (event, expected) in cases {
            assert_eq!(serde_json::to_value(&event).unwrap(), expected);
            seen.insert(kind(&event));
        }
        assert_eq!(seen, KINDS.iter().copied().collect(), "each kind of event has a case");
    }

    #[tokio::test]
    async fn a_buffer_without_bounds_costs_nothing_and_a_slow_listener_is_told_what_it_missed() {
        let sink = EventSink::new(usize::MAX);
        sink.emit(|| panic!("nobody listens"));
        let (mut endless, mut slow) = (sink.subscribe(), sink.subscribe());
        sink.emit(|| WorkerEvent::Paused);
        assert!(matches!(endless.recv().await, Some(WorkerEvent::Paused)));
        drop(endless);
        sink.set_limit(2);
        for _ in 0..2 {
            sink.emit(|| WorkerEvent::Drained);
        }
        assert!(matches!(slow.recv().await, Some(WorkerEvent::Lagged { missed: 1 })));
        drop(sink);
        assert!(matches!(slow.recv().await, Some(WorkerEvent::Drained)));
        assert!(matches!(slow.recv().await, Some(WorkerEvent::Drained)));
        assert!(slow.recv().await.is_none());
        assert_eq!(slow.missed(), 1);
    }

    #[tokio::test]
    async fn large_results_are_bounded_by_their_bytes() {
        let sink = EventSink::new(1_000);
        let mut slow = sink.subscribe();
        let large = JsonText::new(format!("\"{}\"", "x".repeat(MAX_BYTES / 4)));
        for n in 0..9 {
            sink.emit(|| WorkerEvent::Completed { job_id: n.to_string(), return_value: large.clone() });
        }
        // Three of them fit.
        assert!(matches!(slow.recv().await, Some(WorkerEvent::Lagged { missed: 6 })));
        for n in 6..9 {
            let event = slow.recv().await;
            assert!(matches!(&event, Some(WorkerEvent::Completed { job_id, .. }) if *job_id == n.to_string()));
        }
        assert_eq!(slow.buffer.lock().bytes, 0);
        // One that is too large alone is told nevertheless.
        let huge = JsonText::new(format!("\"{}\"", "x".repeat(MAX_BYTES)));
        sink.emit(|| WorkerEvent::Completed { job_id: "huge".to_owned(), return_value: huge });
        assert!(matches!(slow.recv().await, Some(WorkerEvent::Completed { .. })));
    }
}
