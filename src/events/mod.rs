//! Listening to a queue: its event stream as a [`Stream`], and waiting for a job to finish.

mod buffer;
mod builder;
mod cursor;
mod hub;
mod listeners;
mod look_back;
mod restart;
#[cfg(test)]
mod testing;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::buffer::Buffer;
use self::builder::EventsOptions;
pub use self::builder::{EventsFrom, QueueEventsBuilder};
pub use self::cursor::{CursorStore, EventCursor, EventCursorBuilder};
pub(crate) use self::hub::{Awaited, FinishHub};
use self::listeners::Listeners;
use self::restart::Restarts;
use crate::engine::Engine;
use crate::engine::events::EventReader;
use crate::error::{Error, Result};
use crate::failpoint;
pub use crate::wire::{EventId, JsonText, QueueEvent};

/// What a listener is told.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use oxmq::events::{Delivery, QueueEvent};
///
/// let mut events = client.queue_events("mails").start()?;
/// while let Some(delivery) = events.recv().await {
///     match delivery {
///         Delivery::Event { id, event: QueueEvent::Completed { job_id, .. } } => println!("{id}: {job_id} completed"),
///         Delivery::Gap { .. } | Delivery::Lagged { .. } => println!("some were missed: read what matters from the queue"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "delivery", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Delivery {
    /// Something happened in the queue.
    Event {
        /// Its place in the stream; [`EventsFrom::After`] goes on from there.
        id: EventId,
        /// What happened.
        event: QueueEvent,
    },
    /// Events between these two may have been trimmed away before they were read: the stream holds only so many, and
    /// the listener was disconnected, or too far behind. Or the server has lost its latest data, and what it has now
    /// goes on from an earlier state. What matters should be read again from the queue.
    Gap {
        /// The last event that was seen.
        after: EventId,
        /// The next one, which follows.
        before: EventId,
        /// Whether it is certain that the server has lost its latest data, as a replica that took over and was behind: what it
        /// had acknowledged before is gone as well, jobs and outcomes. BullMQ has no word for it.
        is_rollback: bool,
    },
    /// The listener did not take its events quickly enough, and so many of the oldest in its buffer were dropped.
    Lagged {
        /// How many, since this was last told.
        missed: u64,
    },
    /// The task that reads the events panicked, which is a fault of this library or of a log subscriber, and was started
    /// again after the last event that was read. Nothing is lost by it; it is also told in the log.
    Restarted {
        /// The text of the panic.
        problem: String,
    },
}

impl Delivery {
    /// The event, if this is one.
    #[must_use]
    pub fn into_event(self) -> Option<QueueEvent> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Gap { .. } | Self::Lagged { .. } | Self::Restarted { .. } => None,
        }
    }
}

/// The events of one queue, whoever causes them: in this process, another one, or Node.
///
/// A task reads them on a connection of its own, under the name by which dashboards count the listeners of a queue.
/// Connection failures are not reported, since nothing is lost by them: the reader comes back as soon as the server
/// does, and goes on after the last event it saw. Where events were lost nevertheless, a [`Delivery::Gap`] or
/// [`Delivery::Lagged`] stands in their place. Events that cannot be read as BullMQ's are delivered as far as they can.
///
/// Dropping it ends the task and closes the connection at once.
///
/// # Example
///
/// ```no_run
/// use oxmq::events::{Delivery, QueueEvent};
/// use oxmq::QueueEvents;
///
/// # async fn demo(mut events: QueueEvents) -> oxmq::Result<()> {
/// // What happens from here on will be heard.
/// events.ready().await?;
/// while let Some(delivery) = events.recv().await {
///     match delivery {
///         Delivery::Event { event: QueueEvent::Completed { job_id, return_value, .. }, .. } => {
///             println!("{job_id}: {}", return_value.as_str());
///         }
///         Delivery::Gap { .. } | Delivery::Lagged { .. } => println!("some were missed"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
///
/// BullMQ: `QueueEvents`.
#[must_use = "dropping it ends the listening"]
pub struct QueueEvents {
    buffer: Arc<Buffer>,
    ready: watch::Receiver<Option<EventId>>,
    /// Gone once this was closed.
    reading: Option<Arc<Reading>>,
}

/// The task that reads, for all who listen to it; it ends with the last of them.
struct Reading {
    listeners: Arc<Listeners>,
    task: JoinHandle<()>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl QueueEvents {
    /// Begins to listen. The options have been checked; the place to begin is found out by the task.
    fn open(engine: Engine, options: EventsOptions) -> Self {
        let start = match options.from {
            EventsFrom::Now => None,
            EventsFrom::Beginning => Some(EventId::ZERO),
            EventsFrom::After(id) => Some(id),
        };
        let listeners = Arc::new(Listeners::new(options.buffer));
        let buffer = listeners.add();
        let (told, ready) = watch::channel(None);
        let closing = Closing(Arc::clone(&listeners));
        let task = tokio::spawn(async move {
            let mut restarts = Restarts::new("queue events", &engine.keys);
            // After what has been delivered, or is about to be.
            let mut after = start;
            let told = &told;
            loop {
                let mut reader = EventReader::new(&engine, options.block, after);
                let reading = async {
                    let start = reader.start().await;
                    after = Some(start);
                    if told.borrow().is_none() {
                        told.send_replace(Some(start));
                    }
                    loop {
                        failpoint::hit("queue events", &engine.keys);
                        let batch = reader.next().await;
                        closing.0.push(batch);
                        after = Some(reader.position());
                    }
                };
                match restarts.run(reading).await {
                    Ok(()) => return,
                    Err(problem) => closing.0.restarted(&problem),
                }
            }
        });
        Self { buffer, ready, reading: Some(Arc::new(Reading { listeners, task })) }
    }

    /// Another listener to the same events, from the next one on that is read: with a buffer of its own, and without another
    /// connection. What one of them does not take in time the others do not miss.
    ///
    /// The reading ends when the last of them is dropped or closed. A listener of one that was closed hears nothing.
    ///
    /// ```no_run
    /// # async fn demo(events: oxmq::QueueEvents) {
    /// let mut failures = events.subscribe();
    /// tokio::spawn(async move {
    ///     while let Some(delivery) = failures.recv().await {
    ///         if let Some(oxmq::events::QueueEvent::Failed { job_id, .. }) = delivery.into_event() {
    ///             println!("{job_id} failed");
    ///         }
    ///     }
    /// });
    /// # }
    /// ```
    ///
    /// BullMQ: any number of listeners on one `QueueEvents`.
    pub fn subscribe(&self) -> Self {
        let buffer = match &self.reading {
            Some(reading) => reading.listeners.add(),
            None => Listeners::closed(),
        };
        Self { buffer, ready: self.ready.clone(), reading: self.reading.clone() }
    }

    /// Waits until it is known where to begin; returns the event after which that is.
    ///
    /// Everything that happens after this will be delivered, with [`EventsFrom::Now`] too. Waits as long as the server
    /// cannot be reached.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if this was closed before.
    #[doc(alias = "waitUntilReady")]
    pub async fn ready(&self) -> Result<EventId> {
        self.readiness().await
    }

    /// The same, without holding on to this listener.
    pub(crate) fn readiness(&self) -> impl Future<Output = Result<EventId>> + Send + use<> {
        let mut ready = self.ready.clone();
        async move {
            let start = ready.wait_for(Option::is_some).await.map_err(|_| Error::Closed)?;
            (*start).ok_or(Error::Closed)
        }
    }

    /// The next event, or word of those that were missed; `None` after [`close`](Self::close).
    ///
    /// The future can be dropped at any time without losing an event.
    #[doc(alias = "once")]
    #[doc(alias = "off")]
    pub async fn recv(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|cx| self.buffer.poll(cx)).await
    }

    /// How many events were dropped so far because they were not taken quickly enough.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.buffer.missed()
    }

    /// Stops listening. What was read already can still be taken. The last of the [subscribers](Self::subscribe) closes the
    /// connection, also in the midst of a read.
    #[doc(alias = "disconnect")]
    pub async fn close(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        reading.listeners.remove(&self.buffer);
        self.buffer.close();
        if let Ok(mut last) = Arc::try_unwrap(reading) {
            last.task.abort();
            // The error says that it was aborted.
            let _ = (&mut last.task).await;
        }
    }
}

impl Stream for QueueEvents {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.buffer.poll(cx)
    }
}

impl fmt::Debug for QueueEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueEvents").field("missed", &self.missed()).finish_non_exhaustive()
    }
}

/// Tells the listeners when the task is gone, however it went.
struct Closing(Arc<Listeners>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
