//! The client of a server, from which queues and workers are created.
//!
//! Begin with [`Client::connect`]. A program needs one client, which it clones; everything else is created from it:
//! [`queue`](Client::queue), [`worker`](Client::worker), [`manual_worker`](Client::manual_worker),
//! [`flow_producer`](Client::flow_producer), [`queue_events`](Client::queue_events) and
//! [`event_cursor`](Client::event_cursor). [`Client::builder`] sets the prefix of the keys, and [`ConnectOptions`] what
//! concerns the connection: TLS, sentinels, a cluster, how long to wait.

use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use crate::clock::Clock;
pub use crate::connection::{Address, ConnectOptions};
use crate::connection::{Link, Surveyor};
use crate::engine::stream_waits::StreamWaits;
use crate::engine::{self, Engine, look};
use crate::error::Result;
use crate::events::{EventCursorBuilder, QueueEventsBuilder};
use crate::flow::FlowProducer;
use crate::keys::{DEFAULT_PREFIX, QueueKeys};
use crate::queue::{Directory, QueueBuilder, QueueCore};
use crate::worker::{LockKeeper, ManualWorkerBuilder, Processor, SharedLooks, SharedWaits, WorkerBuilder};

/// A connection to a server, shared by everything that is created from it. Cheap to clone.
///
/// All queues of a client share one connection. Each worker has one more to wait on, and so does each queue whose
/// events are read.
///
/// # Example
///
/// ```no_run
/// # async fn demo() -> oxmq::Result<()> {
/// use oxmq::{Client, Halt, Job, Queue};
///
/// let client = Client::connect("redis://127.0.0.1:6379").await?;
/// let queue: Queue<String, usize> = client.queue("texts").open()?;
/// let worker = client.worker("texts", |job: Job<String, usize>| async move { Ok::<_, Halt>(job.data().len()) }).start()?;
/// queue.add("count", "how long?".into()).await?;
/// # worker.close().await;
/// # Ok(()) }
/// ```
///
/// # Runtimes
///
/// A client may be used from several tokio runtimes, even at the same time, for example as a static of many
/// `#[tokio::test]`s. The shared connection lives in the runtime that opened it. If that runtime ends, calls under way
/// are answered as after any broken connection; the next call of another runtime opens a new connection, and adds that
/// had not been sent are sent from there. A runtime that exists but is not driven, such as a single-threaded one
/// between two `block_on`s, looks like a silent server: calls from other runtimes wait for it no longer than their
/// deadline. A worker belongs to the runtime in which it was started.
#[derive(Clone)]
pub struct Client(Arc<ClientCore>);

struct ClientCore {
    queues: Arc<Directory>,
    /// Asks again how the server is set up, as long as the client exists.
    _surveyor: Arc<Surveyor>,
    locks: LockKeeper,
    waits: Arc<SharedWaits>,
    stalled_looks: Arc<SharedLooks>,
    scheduler_looks: Arc<SharedLooks>,
}

/// Builds a client from [`ConnectOptions`] and the settings that its queues share.
///
/// ```no_run
/// # async fn demo() -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::{Client, ConnectOptions};
///
/// let connect = ConnectOptions::from_url("redis://:secret@10.0.0.1:6379/2")?.command_timeout(Duration::from_secs(10));
/// let client = Client::builder(connect).prefix("shop").connect().await?;
/// # drop(client);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientBuilder {
    connect: ConnectOptions,
    prefix: String,
    clock: Clock,
    long_way: bool,
    /// `None` for the default, which depends on the server.
    own_connections: Option<usize>,
}

impl ClientBuilder {
    /// Sets the prefix of all keys, which must be the same in Node. Default: `bull`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the source of timestamps. Default: the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how many workers of this client wait for jobs on a connection of their own, under the name by which Node's
    /// `getWorkers` sees them. Further workers, while idle, share one connection per 256 workers, and one more that lists
    /// their names: [`Queue::get_workers`](crate::Queue::get_workers) reads it, Node does not. So a thousand idle workers
    /// use a handful of connections. A busy worker opens one of its own. Default: 32.
    ///
    /// Sharing needs the permission for `CLIENT UNBLOCK`; without it each worker has a connection of its own.
    ///
    /// On a cluster, unless the prefix has a hash tag such as `{bull}`, one read can wait only for the keys of one slot. So
    /// there the default is 128, and for further workers the client has one connection more to each node, on which the
    /// node tells it which of their queues has changed (`CLIENT TRACKING`). Where that is not permitted they look for jobs
    /// twice a second, and more often while they are busy: **then a job in an idle queue of such a worker starts up to
    /// half a second later**. Raise the number to the number of queues or partitions if that is too late.
    ///
    /// The same number of **listeners** to events have a connection of their own, by which dashboards count them. Further
    /// ones share one connection per 256 of them; on a cluster without a hash tag in the prefix they are told of events,
    /// or look, in the same way. They miss no event and no gap by that.
    pub fn own_connections(mut self, workers: usize) -> Self {
        self.own_connections = Some(workers);
        self
    }

    /// Makes scripts skip the short way for a single job, which is slower; for tests of batches.
    #[doc(hidden)]
    pub fn long_way(mut self, on: bool) -> Self {
        self.long_way = on;
        self
    }

    /// Connects to the server.
    ///
    /// It then asks once how the server is set up, in one round trip, and logs a warning if its `maxmemory-policy`
    /// evicts keys, if the user may write but lacks a command that scripts write with (from Redis 7 on), or if the
    /// system's clock differs from the server's by more than a second. A server that does not tell is accepted. In a
    /// cluster it asks every master that may have this client's keys. After a break it asks again, since another server
    /// may have taken over, and warns of what is new.
    ///
    /// # Errors
    ///
    /// [`Error::Redis`](crate::Error::Redis) if the server cannot be reached or refuses the credentials,
    /// [`Error::ServerVersion`](crate::Error::ServerVersion) if it is older than 6.2,
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a bad prefix, address or option.
    pub async fn connect(self) -> Result<Client> {
        QueueKeys::new(&self.prefix, "q")?;
        self.connect.check()?;
        let mut link = Link::connect(Arc::new(self.connect)).await?;
        if self.long_way {
            link.take_long_way();
        }
        let surveyor = Surveyor::new(&link, format!("{}:", self.prefix), &engine::WRITES, &self.clock);
        surveyor.begin().await;
        // The queues of a cluster are in many slots, unless the prefix has a hash tag.
        let over_slots = link.is_cluster() && link.for_keys(&format!("{}:", self.prefix)).is_err();
        let queues = Directory::new(link, self.prefix, self.clock, StreamWaits::new(self.own_connections, over_slots));
        Ok(Client(Arc::new(ClientCore {
            queues,
            _surveyor: surveyor,
            locks: LockKeeper::default(),
            waits: SharedWaits::new(self.own_connections, over_slots),
            stalled_looks: SharedLooks::new(look::ACTIVE),
            scheduler_looks: SharedLooks::new(look::SCHEDULERS),
        })))
    }
}

impl Client {
    /// Connects to the server at a URL, with the defaults of all options. See [`ConnectOptions::from_url`] for its
    /// forms.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder(ConnectOptions::from_url(url)?).connect().await
    }

    /// Returns the builder of a client with options.
    pub fn builder(connect: ConnectOptions) -> ClientBuilder {
        ClientBuilder {
            connect,
            prefix: DEFAULT_PREFIX.to_owned(),
            clock: Clock::system(),
            long_way: false,
            own_connections: None,
        }
    }

    /// Sends a `PING` to the server, for readiness probes. One round trip.
    ///
    /// In a cluster it asks every master, all at once; if the prefix has a hash tag, only the master of its slot. It does
    /// not tell whether writes work: a replica, or a server whose memory is full, answers too.
    ///
    /// # Errors
    ///
    /// [`Error::Redis`](crate::Error::Redis) if no answer comes within the `command_timeout`, or the server is loading
    /// its data, or does not allow this user the command.
    #[doc(alias = "waitUntilReady")]
    pub async fn ping(&self) -> Result<()> {
        let servers = self.0.queues.link.everywhere_for(&format!("{}:", self.0.queues.prefix));
        let answers = futures::future::join_all(servers.iter().map(Link::ping)).await;
        answers.into_iter().collect()
    }

    /// Returns the builder of a queue's handle, with the data of its jobs as `D` and their results as `R`.
    ///
    /// ```no_run
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// let mails: oxmq::Queue<String, ()> = client.queue("mails").open()?;
    /// # let _ = mails;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "Queue")]
    pub fn queue<D, R>(&self, name: impl AsRef<str>) -> QueueBuilder<D, R> {
        QueueBuilder::new(self.core(name.as_ref()))
    }

    /// Returns the builder of a worker, which runs the jobs of this queue with this processor.
    #[doc(alias = "Worker")]
    pub fn worker<M>(&self, queue: impl Into<String>, processor: impl Processor<M>) -> WorkerBuilder {
        WorkerBuilder::new(self.clone(), queue.into(), processor.erase(()))
    }

    /// Returns a producer of flows: trees of jobs, in which a parent waits for its children.
    #[must_use]
    pub fn flow_producer(&self) -> FlowProducer {
        FlowProducer::new(Arc::clone(&self.0.queues))
    }

    /// Returns the builder of a listener to the events of a queue, whoever causes them.
    #[doc(alias = "QueueEvents")]
    pub fn queue_events(&self, queue: impl AsRef<str>) -> QueueEventsBuilder {
        QueueEventsBuilder::new(self.core(queue.as_ref()).map(|core| core.engine().clone()))
    }

    /// Returns the builder of an event reader that continues where it stopped, across restarts: it delivers each event
    /// at least once, until it is acknowledged.
    ///
    /// Its position is stored under its `name`, in Redis beside the queue unless [`store`](EventCursorBuilder::store)
    /// is set.
    pub fn event_cursor(&self, queue: impl AsRef<str>, name: impl Into<String>) -> EventCursorBuilder {
        EventCursorBuilder::new(self.core(queue.as_ref()).map(|core| core.engine().clone()), name.into())
    }

    /// Deletes the stored position of the cursors with this name; returns whether there was one. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) if the queue's name breaks a rule, and errors of the
    /// connection.
    pub async fn remove_event_cursor(&self, queue: impl AsRef<str>, name: &str) -> Result<bool> {
        self.core(queue.as_ref())?.engine().remove_cursor(name).await
    }

    /// Returns the builder of a worker without a processor, which fetches jobs one at a time on demand.
    pub fn manual_worker<D: DeserializeOwned + Send + 'static, R: 'static>(
        &self,
        queue: impl AsRef<str>,
    ) -> ManualWorkerBuilder<D, R> {
        ManualWorkerBuilder::new(self.core(queue.as_ref()))
    }

    /// Returns what all handles of one queue share.
    pub(crate) fn core(&self, name: &str) -> Result<Arc<QueueCore>> {
        self.0.queues.queue(&self.0.queues.prefix, name)
    }

    /// Returns an engine for what concerns the server and not one queue.
    pub(crate) fn server_engine(&self) -> Result<Engine> {
        self.0.queues.server_engine()
    }

    /// Returns the prefix of its queues' keys.
    #[cfg(feature = "dashboard")]
    pub(crate) fn prefix(&self) -> &str {
        &self.0.queues.prefix
    }

    /// Returns what listeners share that have no connection of their own.
    #[cfg(feature = "dashboard")]
    pub(crate) fn listeners_without_own(&self) -> Arc<StreamWaits> {
        self.0.queues.streams.without_own()
    }

    pub(crate) fn shared_waits(&self) -> &Arc<SharedWaits> {
        &self.0.waits
    }

    pub(crate) fn stalled_looks(&self) -> &Arc<SharedLooks> {
        &self.0.stalled_looks
    }

    pub(crate) fn scheduler_looks(&self) -> &Arc<SharedLooks> {
        &self.0.scheduler_looks
    }

    pub(crate) fn lock_keeper(&self) -> &LockKeeper {
        &self.0.locks
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("server", self.0.queues.link.options())
            .field("prefix", &self.0.queues.prefix)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;
    use crate::job::Job;
    use crate::queue::Queue;

    async fn client(prefix: &str) -> Client {
        let options = testing::queue().await.link.options().clone();
        Client::builder(options).prefix(prefix).connect().await.unwrap()
    }

    #[tokio::test]
    async fn queues_that_no_handle_uses_are_let_go() {
        let client = client("freed").await;
        let held: Vec<Queue> =
            (0..1_500).map(|number| client.queue(format!("held {number}")).open().unwrap()).collect();
        for number in 0..20_000 {
            let _: Queue = client.queue(format!("q{number}")).open().unwrap();
            assert!(client.0.queues.len() <= 2 * held.len());
        }
        for queue in &held {
            assert!(Arc::strong_count(&client.core(queue.name()).unwrap()) > 2, "{}", queue.name());
        }
    }

    #[tokio::test]
    async fn workers_and_listeners_are_found_whatever_the_prefix_holds() {
        let client = client("my app é").await;
        let queue: Queue = client.queue("mails").open().unwrap();
        let process = async |_: Job<serde_json::Value, ()>| Ok::<(), crate::Error>(());
        let plain = client.worker("mails", process).start().unwrap();
        let named = client.worker("mails", process).name("the 1st").start().unwrap();
        let listener = client.queue_events("mails").start().unwrap();
        listener.ready().await.unwrap();
        assert_eq!(queue.get_queue_events().await.unwrap().len(), 1);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while queue.get_workers().await.unwrap().len() < 2 {
            assert!(std::time::Instant::now() < deadline, "{:?}", queue.get_workers().await);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        plain.close().await;
        named.close().await;
    }
}
