//! A queue for one test.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::RedisServer;
use crate::client::Client;
use crate::clock::Clock;
use crate::connection::{ConnectOptions, Link};
use crate::engine::Engine;
use crate::keys::QueueKeys;
use crate::queue::Queue;
use crate::script;

/// A queue under a prefix that no other test uses, with a clock that only the test moves; its keys are deleted when it
/// is dropped.
///
/// It dereferences to a [`Queue`] of JSON values. Give the code under test its [`client`](Self::client): everything
/// that this adds or processes uses the test's prefix and clock.
///
/// ```no_run
/// use oxmq::testing::{Expected, TestQueue};
/// use oxmq::{Halt, Job, Queue};
/// use serde_json::json;
/// use std::time::Duration;
///
/// async fn sign_up(mails: &Queue<String, ()>, address: &str) -> oxmq::Result<()> {
///     mails.add("welcome", address.to_owned()).delay(Duration::from_secs(3600)).await?;
///     Ok(())
/// }
///
/// # async fn test() {
/// let queue = TestQueue::new("mails").await;
/// sign_up(&queue.typed(), "ada@example.org").await.unwrap();
/// queue.assert_enqueued([Expected::job("welcome", "ada@example.org").delay(Duration::from_secs(3600))]).await;
///
/// let drained = queue.drain(|_: Job<String, ()>| async { Ok::<_, Halt>(()) }).await;
/// assert_eq!(drained.completed, 1);
/// # }
/// ```
pub struct TestQueue {
    queue: Queue,
    client: Client,
    clock: Clock,
    prefix: String,
    options: ConnectOptions,
    /// Whether the keys of the prefix are deleted with it.
    cleans: bool,
}

impl TestQueue {
    /// Creates a queue on the [shared server](RedisServer::shared) of this process, or at the URL in the environment
    /// variable `OXMQ_TEST_REDIS`.
    pub async fn new(name: &str) -> Self {
        let url = std::env::var("OXMQ_TEST_REDIS");
        Self::at(&url.unwrap_or_else(|_| RedisServer::shared().url()), name).await
    }

    /// Creates a queue on the server at this URL.
    pub async fn at(url: &str, name: &str) -> Self {
        let options = ConnectOptions::from_url(url).expect("the URL of the tests' server");
        let clock = Clock::manual(Clock::system().now());
        let prefix = format!("test-{}", uuid::Uuid::new_v4().simple());
        let builder = Client::builder(options.clone()).prefix(&prefix).clock(clock.clone());
        let client = builder.connect().await.unwrap_or_else(|error| panic!("the tests' server: {error}"));
        let queue = client.queue(name).open().unwrap_or_else(|error| panic!("queue '{name}': {error}"));
        Self { queue, client, clock, prefix, options, cleans: true }
    }

    /// Returns another queue beside this one, with the same client, prefix and clock, to drain it and to assert what
    /// was added to it. Its keys are deleted with this queue.
    ///
    /// A flow over several queues is drained from its leaves to its root:
    ///
    /// ```no_run
    /// use oxmq::testing::TestQueue;
    /// use oxmq::{FlowNode, Halt, Job};
    ///
    /// async fn render(job: Job<String, usize>) -> Result<usize, Halt> {
    ///     Ok(job.data().len())
    /// }
    /// async fn assemble(job: Job<u32, usize>) -> oxmq::Result<usize> {
    ///     Ok(job.get_children_values::<usize>().await?.into_iter().map(|(_, letters)| letters).sum())
    /// }
    ///
    /// # async fn test() {
    /// let reports = TestQueue::new("reports").await;
    /// let parts = reports.beside("parts");
    /// let report = FlowNode::new("reports", "assemble", 2026).child(FlowNode::new("parts", "render", "intro"));
    /// reports.client().flow_producer().add(report).await.unwrap();
    /// assert_eq!(parts.drain(render).await.completed, 1);
    /// let drained = reports.drain(assemble).await;
    /// assert_eq!((drained.completed, drained.waiting_for_children), (1, 0));
    /// # }
    /// ```
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        let queue = self.client.queue(name).open().unwrap_or_else(|error| panic!("queue '{name}': {error}"));
        let Self { client, clock, prefix, options, .. } = self;
        let (client, clock, prefix, options) = (client.clone(), clock.clone(), prefix.clone(), options.clone());
        Self { queue, client, clock, prefix, options, cleans: false }
    }

    /// Returns the client that has created the queue; its other queues have the same prefix and clock.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the queue with types.
    #[must_use]
    pub fn typed<D, R>(&self) -> Queue<D, R> {
        self.client.queue(self.queue.name()).open().expect("the name was good before")
    }

    /// Returns the clock of the client. It stands still unless it is moved.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Deref for TestQueue {
    type Target = Queue<Value, Value>;

    fn deref(&self) -> &Self::Target {
        &self.queue
    }
}

impl Drop for TestQueue {
    fn drop(&mut self) {
        if !self.cleans {
            return;
        }
        let (options, prefix) = (self.options.clone(), self.prefix.clone());
        // The test's runtime may have a single thread, which is this one.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(remove(options, &prefix));
            }
        });
        let _ = removing.join();
    }
}

/// Deletes all keys of a prefix; does nothing if the server is gone.
async fn remove(options: ConnectOptions, prefix: &str) {
    let options = options.command_timeout(Duration::from_secs(2)).wait_for_server(false);
    let Ok(link) = Link::connect(Arc::new(options)).await else { return };
    let Ok(keys) = QueueKeys::new(prefix, "all") else { return };
    let engine = Engine::new(link, keys, Clock::system());
    let mut cursor = "0".to_owned();
    loop {
        let Ok((next, found)) = engine.call(script::scan_prefix("remove", prefix, &cursor, 1_000)).await else {
            return;
        };
        if !found.is_empty() && engine.call(script::unlink("remove", &found)).await.is_err() {
            return;
        }
        if next == "0" {
            return;
        }
        cursor = next;
    }
}

impl std::fmt::Debug for TestQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestQueue").field("queue", &self.queue).field("clock", &self.clock).finish_non_exhaustive()
    }
}
