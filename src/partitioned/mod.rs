//! One queue in many parts: [`Partitioned`], for more work than one Redis can take, with order kept within a key.
//!
//! A partitioned queue `mail` of 16 partitions is 16 ordinary queues, `mail-{0}` to `mail-{15}`. The number is the hash tag of
//! the name, so on a Redis Cluster the partitions lie on all masters. Node can add to any of them and work on any of them,
//! and each can be looked at and steered by itself: [`Partitioned::partition`].
//!
//! - **Adds** go to the partition of a key ([`Partitioned::add_by_key`]) or to one after the other
//!   ([`Partitioned::add`]).
//! - **One worker** ([`Partitioned::worker`]) works on all partitions with one `concurrency`. A partition that has no jobs costs
//!   what an idle worker costs; one that has all the jobs may use all slots; where many have jobs, each gets its share.
//! - **Steering, getters, counts and events** speak of all partitions. Ids are unique within a partition only, so what tells an
//!   id tells the partition too: [`InPartition`].
//! - **More partitions** can be had at any time: [`Partitioned::grow`].
//!
//! ```no_run
//! use oxmq::{Client, Halt, Job, Partitioned};
//!
//! # async fn demo() -> oxmq::Result<()> {
//! let client = Client::connect("redis://127.0.0.1:6379").await?;
//! let mails: Partitioned<String, ()> = client.partitioned("mail", 16).open().await?;
//! // All mails of a customer, in order.
//! mails.add_by_key("customer-7", "welcome", "ada@example.org".into()).await?;
//!
//! let send = async |job: Job<String, ()>| {
//!     println!("to {}", job.data());
//!     Ok::<_, Halt>(())
//! };
//! let worker = mails.worker(send).concurrency(64).start()?;
//! # worker.close().await;
//! # Ok(()) }
//! ```
//!
//! # The number of partitions
//!
//! It is stored in Redis, by whoever opens the queue first. From then on the stored number counts, whatever number the queue is
//! opened with, so that programs with an old configuration and with a new one agree: [`Partitioned::partitions`] tells it. It
//! is changed by [`grow`](Partitioned::grow) alone, and only upwards. Handles and workers read it again every five seconds
//! ([`PartitionedBuilder::refresh_interval`]): so long, and the time of a round trip, it takes until all of them know of new
//! partitions. No job is lost meanwhile: the old partitions are worked on as before, and jobs in the new ones wait for a worker
//! that knows of them.
//!
//! # Order
//!
//! Jobs of one key are in one partition, and start in the order in which they were added, as jobs of any queue do. That one has *ended*
//! when the next one starts takes one job at a time in each partition, over all workers, Node's too:
//! [`set_partition_concurrency(1)`](Partitioned::set_partition_concurrency). A job that is retried with a delay, or has a priority,
//! leaves the order by its own wish.
//!
//! Growing moves keys: from 16 to 24 partitions a third of them, all to new partitions, none between old ones. Jobs of such a key that
//! were added before are in the old partition, those added later in the new one, and nothing orders the two. Until all
//! producers know the new number, two of them may even take two partitions for one key. Where order across the change matters:
//! stop adding, wait until the queue is empty, grow, and go on adding after the refresh interval.
//!
//! # Limits
//!
//! Each partition is a queue with limits of its own in Redis, which Node's workers keep too; nothing counts over partitions that
//! may lie on several servers. So a limit for all is divided:
//! [`set_global_concurrency`](Partitioned::set_global_concurrency) and
//! [`set_global_rate_limit`](Partitioned::set_global_rate_limit) give each partition its share. Together they never allow more than was
//! said; a single busy partition gets no more than its share even if the others are empty. The `concurrency` of a worker is
//! not divided: it is one number, whose slots go where the jobs are.
//!
//! # Where it runs
//!
//! On one server or a cluster. On a cluster a prefix with a hash tag, as `{bull}`, is refused, since all partitions would lie in
//! one slot; on one server it does no harm.

mod add;
mod admin;
mod core;
mod events;
mod place;
mod read;
mod shares;
mod worker;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use self::core::{Core, MOST, partition_name};
pub use self::events::PartitionedEvents;
pub use self::worker::{PartitionedReport, PartitionedWorker, PartitionedWorkerEvents, Partitions};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::options::{HOUR, JobOptions, check_span};
use crate::queue::Queue;

/// Something of one partition: a job, its id, an event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct InPartition<T> {
    /// The number of the partition.
    pub partition: usize,
    /// What it is.
    pub item: T,
}

impl<T> InPartition<T> {
    fn new(partition: usize, item: T) -> Self {
        Self { partition, item }
    }
}

/// A queue in many partitions, with jobs of data `D` and results `R`. Cheap to clone. See the [module](self).
pub struct Partitioned<D = Value, R = Value> {
    core: Arc<Core>,
    defaults: Arc<JobOptions>,
    types: PhantomData<fn(D) -> R>,
}

impl Client {
    /// Begins to make the handle of a partitioned queue. `partitions` is how many there are to be if the queue is new, 1 to
    /// 1,024; for one that is there, the stored number counts. See the [module](crate::partitioned).
    ///
    /// ```no_run
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// let mails: oxmq::Partitioned<String, ()> = client.partitioned("mail", 16).open().await?;
    /// # let _ = mails;
    /// # Ok(()) }
    /// ```
    ///
    /// Not in BullMQ.
    pub fn partitioned<D, R>(&self, name: impl Into<String>, partitions: usize) -> PartitionedBuilder<D, R> {
        PartitionedBuilder {
            client: self.clone(),
            name: name.into(),
            partitions,
            defaults: JobOptions::default(),
            interval: Duration::from_secs(5),
            types: PhantomData,
        }
    }
}

/// A [`Partitioned`] to be. [`open`](Self::open) makes it.
#[must_use]
pub struct PartitionedBuilder<D = Value, R = Value> {
    client: Client,
    name: String,
    partitions: usize,
    defaults: JobOptions,
    interval: Duration,
    types: PhantomData<fn(D) -> R>,
}

impl<D, R> PartitionedBuilder<D, R> {
    /// Sets options for each job added through this handle, as
    /// [`QueueBuilder::default_job_options`](crate::queue::QueueBuilder::default_job_options).
    #[doc(alias = "defaultJobOptions")]
    pub fn default_job_options(mut self, options: JobOptions) -> Self {
        self.defaults = options;
        self
    }

    /// Sets how often the stored number of partitions is read, by which this handle, its clones and its workers learn that the queue
    /// has grown. Default: 5 s; 10 ms to an hour.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Makes the handle, and stores the number of partitions if the queue is new. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a name that is no name of a queue or holds a brace, for no partitions or more than 1,024,
    /// and on a cluster for a prefix with a hash tag; and those of the connection.
    pub async fn open(self) -> Result<Partitioned<D, R>> {
        let Self { client, name, partitions, defaults, interval, types } = self;
        if name.is_empty() || name.contains(['{', '}']) {
            return Err(Error::invalid("queue name", "of a partitioned queue it must not be empty or contain a brace"));
        }
        check_count(partitions)?;
        check_span("refresh_interval", interval, Duration::from_millis(10)..=HOUR)?;
        let first = client.core(&partition_name(&name, 0))?;
        if first.engine().link.is_cluster() && first.engine().keys.prefix().contains('{') {
            return Err(Error::invalid("prefix", "with a hash tag all partitions would be in one slot of the cluster"));
        }
        // The longest name has to be one as well.
        client.core(&partition_name(&name, MOST))?;
        let count = first.engine().found_partitions(partitions).await?;
        if count != partitions {
            tracing::info!(queue = name, stored = count, given = partitions, "the stored number of partitions counts");
        }
        let core = Core::new(client, name, count, interval)?;
        core.keep_fresh();
        Ok(Partitioned { core, defaults: Arc::new(defaults), types })
    }
}

fn check_count(partitions: usize) -> Result<()> {
    if (1..=MOST).contains(&partitions) {
        return Ok(());
    }
    Err(Error::invalid("partitions", "it must lie between 1 and 1,024"))
}

impl<D, R> Partitioned<D, R> {
    /// Returns its name, which the names of the partitions begin with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Tells how many partitions there are, as this handle knows. No round trip.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.core.keep_fresh();
        self.core.count()
    }

    /// Gives one partition: an ordinary queue. `None` if there is no such partition, as far as is known. No round trip.
    #[must_use]
    pub fn partition(&self, number: usize) -> Option<Queue<D, R>> {
        let known = self.core.queue(number).filter(|_| number < self.core.count());
        known.map(|core| Queue::with_defaults(core, Arc::clone(&self.defaults)))
    }

    /// Gives the partition that a key belongs to. No round trip.
    #[must_use]
    pub fn partition_of(&self, key: impl AsRef<[u8]>) -> Queue<D, R> {
        self.known(self.number_of(key))
    }

    /// Tells the number of the partition that a key belongs to. No round trip.
    #[must_use]
    pub fn number_of(&self, key: impl AsRef<[u8]>) -> usize {
        place::place_of(key.as_ref(), self.partitions())
    }

    /// Tells which partition a queue is, by the queue's name as a job tells it
    /// ([`JobRef::queue_name`](crate::JobRef::queue_name)). No round trip.
    #[must_use]
    pub fn number_of_queue(&self, name: impl AsRef<str>) -> Option<usize> {
        let number = name.as_ref().strip_prefix(self.name())?.strip_prefix("-{")?.strip_suffix('}')?;
        // One way to write a number.
        number.parse().ok().filter(|parsed: &usize| parsed.to_string() == number)
    }

    /// Another handle of the same queue.
    fn of(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), defaults: Arc::default(), types: PhantomData }
    }

    /// A partition whose number is known to exist.
    fn known(&self, number: usize) -> Queue<D, R> {
        let core = self.core.queue(number).unwrap_or_else(|| self.core.first());
        Queue::with_defaults(core, Arc::clone(&self.defaults))
    }
}

impl<D, R> Clone for Partitioned<D, R> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), defaults: Arc::clone(&self.defaults), types: PhantomData }
    }
}

impl<D, R> std::fmt::Debug for Partitioned<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.core.fmt(f)
    }
}

impl<D, R> std::fmt::Debug for PartitionedBuilder<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionedBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
