//! Reads the events of a queue from where the reader stopped, across restarts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Delivery, EventsFrom};
use crate::engine::Engine;
use crate::engine::events::{Batch, EventReader, Refused};
use crate::error::{BoxError, Error, Result};
use crate::sync::Lock;
use crate::wire::{EventId, QueueEvent};

/// The longest name of a cursor, in bytes.
const LONGEST_NAME: usize = 256;

/// How long one read waits at the server.
const BLOCK: Duration = Duration::from_secs(10);

/// Where an [`EventCursor`] stores how far it has read. Default: in Redis, beside the queue.
///
/// A store of your own can keep the position where the effects of the events are stored, so that both are written in
/// one transaction: then an event that is read twice takes effect once.
///
/// ```no_run
/// use futures::future::BoxFuture;
/// use oxmq::error::BoxError;
/// use oxmq::events::{CursorStore, EventId};
/// # struct Database;
/// # impl Database {
/// #     async fn position(&self) -> std::io::Result<Option<String>> { Ok(None) }
/// #     async fn advance(&self, _: &str) -> std::io::Result<()> { Ok(()) }
/// # }
///
/// struct InDatabase(Database);
///
/// impl CursorStore for InDatabase {
///     fn load(&self) -> BoxFuture<'_, Result<Option<EventId>, BoxError>> {
///         Box::pin(async { Ok(self.0.position().await?.map(|id| id.parse()).transpose()?) })
///     }
///
///     fn save(&self, id: EventId) -> BoxFuture<'_, Result<(), BoxError>> {
///         Box::pin(async move { Ok(self.0.advance(&id.to_string()).await?) })
///     }
/// }
///
/// # async fn demo(client: oxmq::Client, database: Database) -> oxmq::Result<()> {
/// let cursor = client.event_cursor("mails", "mailer").store(InDatabase(database)).open().await?;
/// # drop(cursor);
/// # Ok(()) }
/// ```
pub trait CursorStore: Send + Sync + 'static {
    /// Reads the id that was saved last; `None` before the first.
    fn load(&self) -> BoxFuture<'_, Result<Option<EventId>, BoxError>>;

    /// Saves the id of an event; all events up to it are done. The position must never move back: if a later id is
    /// stored, that one stays.
    fn save(&self, id: EventId) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// Stores the position in a hash beside the queue's keys, which BullMQ's tools ignore.
struct InRedis {
    engine: Engine,
    name: String,
}

impl CursorStore for InRedis {
    fn load(&self) -> BoxFuture<'_, Result<Option<EventId>, BoxError>> {
        Box::pin(async { Ok(self.engine.load_cursor(&self.name).await?) })
    }

    fn save(&self, id: EventId) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move { Ok(self.engine.save_cursor(&self.name, id).await.map(drop)?) })
    }
}

/// Builds an [`EventCursor`]: where to begin, and where to store its position. [`open`](Self::open) opens it.
#[must_use]
pub struct EventCursorBuilder {
    engine: Result<Engine>,
    name: String,
    store: Option<Arc<dyn CursorStore>>,
    from: EventsFrom,
}

impl EventCursorBuilder {
    pub(crate) fn new(engine: Result<Engine>, name: String) -> Self {
        Self { engine, name, store: None, from: EventsFrom::Beginning }
    }

    /// Sets where to begin if nothing was acknowledged yet. Default: [`EventsFrom::Beginning`], the oldest event that
    /// exists.
    pub fn from(mut self, from: EventsFrom) -> Self {
        self.from = from;
        self
    }

    /// Sets where to store how far it has read. Default: in Redis, beside the queue.
    pub fn store(mut self, store: impl CursorStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Opens the cursor where it stopped. One round trip, and two the first time with [`EventsFrom::Now`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if a name breaks a rule, and errors of the connection or of the store.
    pub async fn open(self) -> Result<EventCursor> {
        let Self { engine, name, store, from } = self;
        let engine = engine?;
        if store.is_none() && !(1..=LONGEST_NAME).contains(&name.len()) {
            return Err(Error::invalid("cursor name", format!("it must have 1 to {LONGEST_NAME} bytes")));
        }
        let store = store.unwrap_or_else(|| Arc::new(InRedis { engine: engine.clone(), name }));
        let stored = store.load().await.map_err(|error| store_error("load_cursor", error))?;
        let start = stored.or(match from {
            EventsFrom::Now => None,
            EventsFrom::Beginning => Some(EventId::ZERO),
            EventsFrom::After(id) => Some(id),
        });
        let mut reader = match stored {
            Some(EventId::ZERO) => EventReader::after_empty(&engine, BLOCK),
            _ => EventReader::new(&engine, BLOCK, start),
        };
        if start.is_none() {
            // Events from here on are read even if this process ends before it has read any.
            let started = reader.start().await;
            let now = started.map_err(|Refused(cause)| Error::Redis { op: "read_events", cause })?;
            store.save(now).await.map_err(|error| store_error("save_cursor", error))?;
        }
        Ok(EventCursor {
            position: reader.position(),
            reading: Lock::new(read_on(reader)),
            store,
            read: VecDeque::new(),
        })
    }
}

impl fmt::Debug for EventCursorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventCursorBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads each event of a queue at least once, across restarts of the reader: it continues after the last event that was
/// [acknowledged](Self::ack).
///
/// It reads only on demand, so nothing is dropped, however slow the reader is. Only events that the queue's stream no
/// longer holds are lost; it holds 10,000 unless [`max_len_events`](crate::queue::QueueBuilder::max_len_events) says
/// otherwise. Then a [`Delivery::Gap`] takes their place, and again after each restart until a later event is
/// acknowledged. Read from the queue what the lost events may have told.
///
/// Before Redis 7 a server does not tell whether it has trimmed anything. There a cursor that began on an empty stream, and is
/// opened again before it has acknowledged an event, may report a `Gap` although nothing is missing.
///
/// Several processes may use one name; each reads all events. The furthest acknowledged event is where the next reader
/// begins.
///
/// ```no_run
/// use oxmq::events::{Delivery, QueueEvent};
/// use oxmq::Client;
///
/// # async fn publish(index: &str) -> oxmq::Result<()> { Ok(()) }
/// # async fn demo(client: Client) -> oxmq::Result<()> {
/// let mut cursor = client.event_cursor("indexes", "publisher").open().await?;
/// loop {
///     match cursor.recv().await {
///         Delivery::Event { id, event } => {
///             if let QueueEvent::Completed { return_value, .. } = event {
///                 publish(return_value.as_str()).await?; // twice, if we end before the next line
///             }
///             cursor.ack(id).await?;
///         }
///         missed => println!("{missed:?}: what matters is read from the queue"),
///     }
/// }
/// # }
/// ```
#[must_use]
pub struct EventCursor {
    /// The read under way, or the next one. It is kept here, so that a call that is dropped leaves it to the next one, with
    /// its connection.
    reading: Lock<Reading>,
    /// The event that was read last.
    position: EventId,
    store: Arc<dyn CursorStore>,
    /// Events that were read and not taken yet.
    read: VecDeque<Delivery>,
}

/// A read, and the reader that it is made by.
type Reading = BoxFuture<'static, (EventReader, Result<Batch, Refused>)>;

fn read_on(mut reader: EventReader) -> Reading {
    Box::pin(async move {
        let batch = reader.next().await;
        (reader, batch)
    })
}

impl EventCursor {
    /// Returns the next event, or the report of a gap. Waits without a limit, also while the server is away. If the
    /// server does not let us read, each call returns [`Delivery::Refused`].
    ///
    /// Cancel safe: the future can be dropped at any time without losing an event, and the next call goes on with the read that
    /// is under way.
    pub async fn recv(&mut self) -> Delivery {
        loop {
            if let Some(next) = self.read.pop_front() {
                return next;
            }
            let (reader, batch) = self.reading.get_mut().await;
            self.position = reader.position();
            *self.reading.get_mut() = read_on(reader);
            let batch = match batch {
                Ok(batch) => batch,
                Err(Refused(problem)) => return Delivery::Refused { problem: problem.to_string() },
            };
            if let (Some(after), Some(first)) = (batch.gap_after, batch.entries.first()) {
                self.read.push_back(Delivery::Gap { after, before: first.id, is_rollback: batch.is_rollback });
            }
            let events = batch.entries.into_iter();
            self.read.extend(events.map(|entry| {
                let (id, event) = (entry.id, QueueEvent::decode(entry.fields));
                Delivery::Event { id, event }
            }));
        }
    }

    /// Stores that all events up to this one are done: a cursor with this name continues after it. Never moves back.
    /// One round trip, safely repeated. Events that do not matter need no acknowledgement, since a later one covers
    /// them.
    ///
    /// The future does not borrow the cursor, so the next event can be awaited beside it.
    ///
    /// # Errors
    ///
    /// Errors of the connection, or of the store; then the event may be read again after a restart.
    pub fn ack(&self, id: EventId) -> impl Future<Output = Result<()>> + Send + use<> {
        let store = Arc::clone(&self.store);
        async move { store.save(id).await.map_err(|error| store_error("ack", error)) }
    }
}

/// Wraps the error of a user's store as the cause of ours.
fn store_error(op: &'static str, error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => *own,
        Err(cause) => Error::Redis { op, cause },
    }
}

impl fmt::Debug for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventCursor").field("position", &self.position).finish_non_exhaustive()
    }
}
