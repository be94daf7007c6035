//! What a worker tells its own process.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::failure::{AttemptError, FailureKind};
use crate::error::Error;

/// What happened in a worker. BullMQ: the events of the class `Worker`.
#[derive(Debug, Clone)]
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
        /// Its result, as JSON.
        return_value: String,
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
        /// What is stored as the reason: the text of the error, without its causes.
        reason: String,
        /// Whether it will be tried again.
        will_retry: bool,
    },
    /// A job was put back because nobody held its lock.
    Stalled {
        /// The job.
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
    Error(Arc<Error>),
    /// An id in the queue had no readable job behind it and was dropped.
    Ghost {
        /// The id.
        job_id: String,
    },
    /// The worker's loop did not get its turn for this long or longer: a processor computes or waits without `.await`.
    /// Locks are renewed all the same, but jobs are neither taken nor settled.
    RuntimeBlocked {
        /// How late it was when this was noticed.
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
        after: std::time::Duration,
    },
    /// The worker takes no new jobs.
    Paused,
    /// The worker takes jobs again.
    Resumed,
    /// The worker has begun to close.
    Closing,
    /// The worker is closed. The last event.
    Closed,
}

/// A worker's events as they come.
///
/// The buffer is bounded: a receiver that is too slow misses the oldest events, and is told how many.
#[derive(Debug)]
pub struct WorkerEvents {
    receiver: broadcast::Receiver<WorkerEvent>,
    missed: u64,
}

impl WorkerEvents {
    pub(crate) fn new(receiver: broadcast::Receiver<WorkerEvent>) -> Self {
        Self { receiver, missed: 0 }
    }

    /// The next event; `None` when the worker is closed and all events were received.
    pub async fn recv(&mut self) -> Option<WorkerEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many events were dropped so far because this receiver was too slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// Where a worker's events go. Costs nothing while nobody listens.
#[derive(Debug, Clone)]
pub(crate) struct EventSink(broadcast::Sender<WorkerEvent>);

impl EventSink {
    pub(crate) fn new(buffer: usize) -> Self {
        Self(broadcast::Sender::new(buffer))
    }

    pub(crate) fn emit(&self, event: impl FnOnce() -> WorkerEvent) {
        if self.0.receiver_count() > 0 {
            // The last receiver may have gone in between, which is as good as never having been there.
            let _ = self.0.send(event());
        }
    }

    pub(crate) fn error(&self, error: Error) {
        tracing::warn!(%error, "worker");
        self.emit(|| WorkerEvent::Error(Arc::new(error)));
    }

    pub(crate) fn subscribe(&self) -> WorkerEvents {
        WorkerEvents::new(self.0.subscribe())
    }
}
