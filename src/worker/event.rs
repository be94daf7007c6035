//! What a worker tells its own process.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use super::failure::AttemptError;
use crate::error::{Error, FailureKind, WithCauses};
use crate::sync::Lock;
use crate::wire::{EventId, JsonText};

/// What happened in a worker. BullMQ: the events of the class `Worker`.
///
/// As JSON it has its name in `event`, errors as texts and spans of time in milliseconds.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum WorkerEvent {
    /// A job begins.
    Active {
        /// The job.
        job_id: String,
        /// Its name.
        name: String,
    },
    /// A job completed, and Redis knows it.
    Completed {
        /// The job.
        job_id: String,
        /// What its processor returned.
        #[serde(rename = "returnvalue")]
        return_value: JsonText,
    },
    /// An attempt failed, and Redis knows it.
    Failed {
        /// The job.
        job_id: String,
        /// Its name.
        name: String,
        /// Which attempt it was, as many as the job has used up; the first is 1.
        attempt: u32,
        /// How it came to fail.
        kind: FailureKind,
        /// What the processor returned, or what stands in for it.
        error: AttemptError,
        /// What is stored as the reason: the text of the error, without its causes but for this crate's own errors.
        failed_reason: String,
        /// Whether it will be tried again.
        will_retry: bool,
    },
    /// A job was put back because nobody held its lock.
    Stalled {
        /// The job.
        job_id: String,
    },
    /// The run of a job scheduler had vanished, so that it would have stopped; its next run was put back.
    SchedulerRevived {
        /// The scheduler.
        scheduler: String,
        /// The run that was put back.
        job_id: String,
    },
    /// A run of a job scheduler with [`Overlap::Skip`](crate::scheduler::Overlap::Skip) was removed unrun, since an earlier run has not
    /// ended.
    RunSkipped {
        /// The scheduler.
        scheduler: String,
        /// The run.
        job_id: String,
    },
    /// A running job may be somebody else's by now: its lock ran out or was taken over. Its outcome is dropped.
    LockLost {
        /// The job.
        job_id: String,
    },
    /// The queue had nothing more to hand out.
    Drained,
    /// Something went wrong that belongs to no attempt; the worker goes on.
    Error(#[serde(serialize_with = "as_text")] Arc<Error>),
    /// An id in the queue had no readable job behind it and was dropped.
    Ghost {
        /// The id.
        job_id: String,
    },
    /// The worker's loop did not get its turn for this long or longer: a processor computes or waits without `.await`.
    /// Locks are renewed all the same, but jobs are neither taken nor settled.
    RuntimeBlocked {
        /// How late it was when this was noticed.
        #[serde(serialize_with = "crate::clock::as_span")]
        at_least: std::time::Duration,
    },
    /// The server has been away for some seconds: it cannot be reached, or refuses to serve. The worker goes on as soon as
    /// it is back, and jobs that run go on meanwhile; their locks may run out.
    #[doc(alias = "ioredis:close")]
    Disconnected {
        /// What the last attempt met with.
        reason: String,
    },
    /// The server is back; follows each [`Disconnected`](Self::Disconnected).
    Reconnected {
        /// How long it was away.
        #[serde(serialize_with = "crate::clock::as_span")]
        after: std::time::Duration,
    },
    /// The server serves again, and lacks what it had told this worker before: a replica took over that was behind, or it began
    /// with an older copy of its data. What was acknowledged in between is gone, as added jobs and outcomes: jobs may be missing,
    /// run again, or have an id that another one had. Looked for once after each break, however short; what was trimmed
    /// from the queue's events meanwhile is not noticed, and a queue that was obliterated before a break looks as one that
    /// was lost.
    RolledBack {
        /// The newest event that this worker had heard of, which is gone.
        seen: EventId,
        /// The newest one before it that is still there: what happened after it, by the server's clock, is lost. `None` if
        /// the queue has no events at all, as on a server that began with nothing.
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
    /// The listener did not take its events quickly enough, and so many of the oldest in its buffer were dropped.
    Lagged {
        /// How many, since this was last told.
        missed: u64,
    },
}

fn as_text<S: serde::Serializer>(error: &Arc<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&std::collections::BTreeMap::from([("error", error.to_string())]), serializer)
}

/// A worker's events as they come, also as a [`Stream`].
///
/// The buffer is bounded by the worker's `event_buffer`, and grows only as it fills. A listener that is too slow misses the
/// oldest events, and a [`WorkerEvent::Lagged`] in their place says how many, as [`Delivery::Lagged`](crate::events::Delivery::Lagged)
/// does for the events of a queue.
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

/// What one listener has not taken yet.
#[derive(Default)]
struct Buffer(Lock<Held>);

#[derive(Default)]
struct Held {
    events: VecDeque<WorkerEvent>,
    /// Dropped since the listener was last told.
    lagged: u64,
    /// Dropped altogether.
    missed: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock()
    }

    fn push(&self, event: WorkerEvent, limit: usize) {
        let mut held = self.lock();
        if held.events.len() >= limit {
            held.events.pop_front();
            held.lagged += 1;
            held.missed += 1;
        }
        held.events.push_back(event);
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
        if let Some(event) = held.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if held.closed {
            return Poll::Ready(None);
        }
        held.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Wakes the listener, not under its lock.
fn wake(mut held: MutexGuard<'_, Held>) {
    let waker = held.waker.take();
    drop(held);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Where a worker's events go. Costs nothing while nobody listens.
#[derive(Clone)]
pub(crate) struct EventSink(Arc<Listeners>);

struct Listeners {
    limit: AtomicUsize,
    /// How many there are, so that nobody takes the lock for none.
    count: AtomicUsize,
    buffers: Lock<Vec<Arc<Buffer>>>,
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
        }))
    }

    /// How many events each listener may be behind; before the first event.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
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
        tracing::warn!(error = %WithCauses(&error), "worker");
        self.emit(|| WorkerEvent::Error(Arc::new(error)));
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
    use super::*;

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
}
