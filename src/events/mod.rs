//! Listens to a queue: its event stream as a [`Stream`], whoever causes the events.
//!
//! | to … | use |
//! | --- | --- |
//! | follow a queue from now on | [`QueueEvents`], from [`Client::queue_events`](crate::Client::queue_events) |
//! | miss nothing while the program is not running | [`EventCursor`], from [`Client::event_cursor`](crate::Client::event_cursor) |
//! | wait for one job | [`JobRef::wait_until_finished`](crate::JobRef::wait_until_finished) |
//! | follow a worker of the same process | [`WorkerEvents`](crate::worker::WorkerEvents) |
//!
//! Both listeners hand out [`Delivery`]s: a [`QueueEvent`], or that some were missed.

mod buffer;
mod builder;
mod cursor;
mod hub;
mod listeners;
mod look_back;
mod restart;
#[cfg(test)]
mod testing;
mod wait_end;

use crate::sync::spawn;
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
use crate::engine::events::{EventReader, Refused};
use crate::error::{Error, Result};
use crate::failpoint;
pub use crate::wire::{EventId, JsonText, QueueEvent};

/// What a listener receives.
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
    /// An event of the queue.
    Event {
        /// Its position in the stream; [`EventsFrom::After`] continues after it.
        id: EventId,
        /// The event.
        event: QueueEvent,
    },
    /// Events between these two may have been trimmed away before they were read: the stream holds a limited number,
    /// and the listener was disconnected or too far behind. Or the server has lost its latest data, and continues from
    /// an earlier state. Read again from the queue what matters.
    Gap {
        /// The last event that was read.
        after: EventId,
        /// The next event, which follows.
        before: EventId,
        /// Whether the server has certainly lost its latest data, for example because a replica that was behind took
        /// over. Then jobs and outcomes that it had acknowledged are lost too. BullMQ does not report this.
        is_rollback: bool,
    },
    /// The listener took its events too slowly, and the oldest in its buffer were dropped.
    Lagged {
        /// How many were dropped since the last `Lagged`.
        missed: u64,
    },
    /// The task that reads the events panicked, by a fault of this library or of a log subscriber, and was started
    /// again after the last event that was read. No event is lost. It is also logged.
    Restarted {
        /// The message of the panic.
        problem: String,
    },
    /// The server does not let us read the queue's events: the user lacks a permission, or the key of the stream holds
    /// something else. Reported once, also in the log. The reader keeps trying, and continues when the cause was
    /// mended.
    Refused {
        /// The error of the server.
        problem: String,
    },
}

impl Delivery {
    /// Returns the event, if this is one.
    #[must_use]
    pub fn into_event(self) -> Option<QueueEvent> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Gap { .. } | Self::Lagged { .. } | Self::Restarted { .. } | Self::Refused { .. } => None,
        }
    }
}

/// Receives the events of one queue, whoever causes them: this process, another one, or Node.
///
/// A task reads them on a connection of its own, under the name by which dashboards count the listeners of a queue. Where
/// a client listens to many queues, further listeners [share connections](crate::client::ClientBuilder::own_connections).
/// Connection failures are not reported, since no event is lost by them: the reader reconnects when the server is back,
/// and continues after the last event it read. If events were lost nevertheless, a [`Delivery::Gap`] or
/// [`Delivery::Lagged`] takes their place. Events that are not in BullMQ's form are delivered as far as they can be
/// read.
///
/// Dropping it ends the task and closes its connection at once.
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
    ready: watch::Receiver<Readiness>,
    /// `None` once this was closed.
    reading: Option<Arc<Reading>>,
}

/// Whether it is known where the reading begins.
#[derive(Debug, Clone)]
enum Readiness {
    Unknown,
    From(EventId),
    /// The server does not let us read.
    Refused(Arc<str>),
}

impl Readiness {
    /// Records that the server lets us read; returns whether it did not before.
    fn is_mended(&mut self, start: EventId) -> bool {
        let was_refused = matches!(self, Self::Refused(_));
        if was_refused {
            *self = Self::From(start);
        }
        was_refused
    }
}

/// Why no event will ever come.
#[derive(Debug, Clone)]
pub(crate) enum NotReady {
    Closed,
    Refused(Arc<str>),
}

impl From<NotReady> for Error {
    fn from(why: NotReady) -> Self {
        match why {
            NotReady::Closed => Self::Closed,
            NotReady::Refused(problem) => Self::Redis { op: "read_events", cause: (*problem).into() },
        }
    }
}

/// The task that reads, for all its listeners; it ends with the last of them.
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
    /// Starts to listen. The options have been checked; the task finds out where to begin.
    fn open(engine: Engine, options: EventsOptions) -> Self {
        let start = match options.from {
            EventsFrom::Now => None,
            EventsFrom::Beginning => Some(EventId::ZERO),
            EventsFrom::After(id) => Some(id),
        };
        let listeners = Arc::new(Listeners::new(options.buffer));
        let buffer = listeners.add();
        let (told, ready) = watch::channel(Readiness::Unknown);
        let closing = Closing(Arc::clone(&listeners));
        let task = spawn(async move {
            let mut restarts = Restarts::new("queue events", &engine.keys);
            // The position after what was delivered, or is about to be.
            let mut after = start;
            let mut is_refused = false;
            let (told, is_refused) = (&told, &mut is_refused);
            loop {
                let mut reader = EventReader::new(&engine, options.block, after);
                let reading = async {
                    let mut was_start_refused = false;
                    loop {
                        failpoint::hit("queue events", &engine.keys);
                        let start = match reader.start().await {
                            Ok(start) => start,
                            Err(refused) => {
                                tell_refusal(&closing.0, told, &refused, is_refused);
                                was_start_refused = true;
                                continue;
                            }
                        };
                        if after.is_none() {
                            after = Some(start);
                        }
                        if std::mem::take(&mut was_start_refused) {
                            told.send_if_modified(|ready| ready.is_mended(start));
                        }
                        told.send_if_modified(|ready| {
                            let is_news = matches!(ready, Readiness::Unknown);
                            if is_news {
                                *ready = Readiness::From(start);
                            }
                            is_news
                        });
                        match reader.next().await {
                            Ok(batch) => {
                                told.send_if_modified(|ready| ready.is_mended(start));
                                closing.0.push(batch);
                                after = Some(reader.position());
                                *is_refused = false;
                            }
                            Err(refused) => tell_refusal(&closing.0, told, &refused, is_refused),
                        }
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

    /// Creates another listener to the same events, from the next one on that is read, with a buffer of its own and
    /// without another connection. A slow listener makes no other one miss events.
    ///
    /// The reading ends when the last listener is dropped or closed. A subscriber of a closed listener hears nothing.
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

    /// Waits until it is known where to begin, and returns the event after which that is.
    ///
    /// Everything that happens after this will be delivered, with [`EventsFrom::Now`] too. Waits without a limit while
    /// the server cannot be reached.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if this was closed before; [`Error::Redis`] if the server does not let us read the events, as
    /// in [`Delivery::Refused`].
    #[doc(alias = "waitUntilReady")]
    pub async fn ready(&self) -> Result<EventId> {
        Ok(self.readiness().await?)
    }

    /// Does the same, without borrowing this listener.
    pub(crate) fn readiness(&self) -> impl Future<Output = std::result::Result<EventId, NotReady>> + Send + use<> {
        let mut ready = self.ready.clone();
        async move {
            let known = ready.wait_for(|ready| !matches!(ready, Readiness::Unknown)).await;
            match known.map(|known| known.clone()) {
                Ok(Readiness::From(start)) => Ok(start),
                Ok(Readiness::Refused(problem)) => Err(NotReady::Refused(problem)),
                Ok(Readiness::Unknown) | Err(_) => Err(NotReady::Closed),
            }
        }
    }

    /// Waits for the next event, or for the report of missed events; `None` after [`close`](Self::close).
    ///
    /// The future can be dropped at any time without losing an event.
    #[doc(alias = "once")]
    #[doc(alias = "off")]
    pub async fn recv(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|cx| self.buffer.poll(cx)).await
    }

    /// Returns how many events were dropped so far because they were taken too slowly.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.buffer.missed()
    }

    /// Stops listening. Events that were read already can still be taken. The last of the
    /// [subscribers](Self::subscribe) closes the connection, even during a read.
    #[doc(alias = "disconnect")]
    pub async fn close(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        reading.listeners.remove(&self.buffer);
        self.buffer.close();
        if let Ok(mut last) = Arc::try_unwrap(reading) {
            last.task.abort();
            // The only error is that it was aborted.
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

/// Logs once that the server does not let us read.
fn tell_refusal(
    listeners: &Listeners,
    ready: &watch::Sender<Readiness>,
    Refused(problem): &Refused,
    is_told: &mut bool,
) {
    if std::mem::replace(is_told, true) {
        return;
    }
    let problem = problem.to_string();
    tracing::warn!(target: "oxmq::events", problem, "the server does not let us read the events of a queue");
    listeners.refused(&problem);
    ready.send_replace(Readiness::Refused(problem.into()));
}

/// Tells the listeners when the task ends, for whatever reason.
struct Closing(Arc<Listeners>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod tests;
