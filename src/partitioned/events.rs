//! Merges the events of all partitions into one stream.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, Shared, try_join_all};
use futures::stream::{SelectAll, StreamExt};
use futures::{Stream, stream};
use tokio::sync::watch;

use super::core::Core;
use super::{InPartition, Partitioned};
use crate::error::Result;
use crate::events::{Delivery, EventsFrom, NotReady, QueueEvents, QueueEventsBuilder};

/// Several partitions' streams as one; each item tells its partition.
pub(super) type Merged<S> = SelectAll<Numbered<S>>;

/// The stream of one partition.
pub(super) struct Numbered<S> {
    partition: usize,
    stream: S,
}

impl<S> Numbered<S> {
    pub(super) fn new(partition: usize, stream: S) -> Self {
        Self { partition, stream }
    }
}

impl<S: Stream + Unpin> Stream for Numbered<S> {
    type Item = InPartition<S::Item>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let partition = self.partition;
        self.stream.poll_next_unpin(cx).map(|item| item.map(|item| InPartition::new(partition, item)))
    }
}

impl<D, R> Partitioned<D, R> {
    /// Starts to listen to the events of all partitions, from now on; [`ready`](PartitionedEvents::ready) tells when
    /// this has begun. The first partitions have a connection each, like [`QueueEvents`]; further ones
    /// [share some](crate::client::ClientBuilder::own_connections).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) never, for a handle that was opened.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// BullMQ: `QueueEvents`, of each partition.
    #[doc(alias = "QueueEvents")]
    pub fn events(&self) -> Result<PartitionedEvents> {
        self.core.keep_fresh();
        let mut events = PartitionedEvents {
            grown: self.core.watch(),
            core: Arc::clone(&self.core),
            ready: Vec::new(),
            merged: Merged::new(),
        };
        events.listen_to_new(EventsFrom::Now)?;
        Ok(events)
    }
}

/// Receives the events of all partitions, whoever causes them, each with the number of its partition. Events of one
/// partition are in order; there is no order between partitions.
///
/// Partitions that are added later are read from their first event on. For each partition the same applies to gaps and
/// slow listeners as for [`QueueEvents`].
///
/// ```no_run
/// # async fn demo(mails: oxmq::Partitioned<String, ()>) -> oxmq::Result<()> {
/// let mut events = mails.events()?;
/// events.ready().await?;
/// while let Some(told) = events.recv().await {
///     println!("partition {}: {:?}", told.partition, told.item);
/// }
/// # Ok(()) }
/// ```
#[must_use = "dropping it ends the listening"]
pub struct PartitionedEvents {
    core: Arc<Core>,
    grown: watch::Receiver<usize>,
    /// Resolves for each partition when it is ready.
    ready: Vec<Shared<BoxFuture<'static, std::result::Result<(), NotReady>>>>,
    merged: Merged<QueueEvents>,
}

impl PartitionedEvents {
    /// Waits until it is known for each partition where to begin: everything that happens after that will be delivered.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) if this was closed before; [`Error::Redis`](crate::Error::Redis) if a server does not let us read.
    #[doc(alias = "waitUntilReady")]
    pub async fn ready(&self) -> Result<()> {
        Ok(try_join_all(self.ready.iter().cloned()).await.map(drop)?)
    }

    /// Waits for the next event of any partition, or for the report of missed events. `None` if there is nothing to
    /// listen to.
    ///
    /// The future can be dropped at any time without losing an event.
    pub async fn recv(&mut self) -> Option<InPartition<Delivery>> {
        loop {
            tokio::select! {
                next = self.merged.next() => return next,
                changed = self.grown.changed() => {
                    changed.ok()?;
                    if let Err(error) = self.listen_to_new(EventsFrom::Beginning) {
                        tracing::warn!(%error, "the events of a new partition cannot be read");
                    }
                }
            }
        }
    }

    /// Turns this into a stream of the same events.
    pub fn into_stream(self) -> impl Stream<Item = InPartition<Delivery>> + Send {
        stream::unfold(self, |mut events| async move { Some((events.recv().await?, events)) })
    }

    fn listen_to_new(&mut self, from: EventsFrom) -> Result<()> {
        let count = *self.grown.borrow_and_update();
        for partition in self.ready.len()..count {
            let Some(queue) = self.core.queue(partition) else { break };
            let events = QueueEventsBuilder::new(Ok(queue.engine().clone())).from(from).start()?;
            let ready = events.readiness();
            self.ready.push(async move { ready.await.map(drop) }.boxed().shared());
            self.merged.push(Numbered::new(partition, events));
        }
        Ok(())
    }
}

impl std::fmt::Debug for PartitionedEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionedEvents").field("partitions", &self.ready.len()).finish_non_exhaustive()
    }
}
