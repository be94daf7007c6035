//! One queue in many partitions: [`Partitioned`], for more work than one Redis server can do, with order kept per key.
//!
//! A partitioned queue `mail` with 16 partitions is 16 ordinary queues, `mail-{0}` to `mail-{15}`. The number is the
//! hash tag of the name, so on a Redis Cluster the partitions are spread over all masters. Node can add to and process
//! each of them, and each can be inspected and controlled by itself: [`Partitioned::partition`].
//!
//! - **Adds** go to the partition of a key ([`Partitioned::add_by_key`]) or to the partitions in turn
//!   ([`Partitioned::add`]).
//! - **One worker** ([`Partitioned::worker`]) works on all partitions with one `concurrency`. A partition without jobs
//!   costs what an idle worker costs; a partition that has all the jobs may use all slots; if many have jobs, each gets
//!   its share.
//! - **Controls, getters, counts and events** cover all partitions. Ids are unique only within a partition, so where an
//!   id is returned, its partition is too: [`InPartition`].
//! - **More partitions** can be added at any time: [`Partitioned::grow`].
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
//! It is stored in Redis by the program that opens the queue first. From then on the stored number applies, whatever
//! number the queue is opened with, so that programs with an old and a new configuration agree;
//! [`Partitioned::partitions`] returns it. It is changed only by [`grow`](Partitioned::grow), and only upwards. Handles
//! and workers read it again every five seconds ([`PartitionedBuilder::refresh_interval`]), so after that time, and a
//! round trip, all of them know new partitions. No job is lost meanwhile: the old partitions are processed as before,
//! and jobs in the new ones wait for a worker that knows these.
//!
//! # Order
//!
//! Jobs of one key are in one partition, and start in the order in which they were added, as in any queue. To have one
//! job *ended* before the next one starts, run one job at a time in each partition, over all workers, including Node's:
//! [`set_partition_concurrency(1)`](Partitioned::set_partition_concurrency). A job that is retried with a delay, or has
//! a priority, leaves that order.
//!
//! Growing moves keys: from 16 to 24 partitions a third of them, all to new partitions, none between old ones. Jobs of
//! such a key that were added before are in the old partition, later ones in the new partition, and there is no order
//! between the two. Until all producers know the new number, two of them may even use different partitions for one key.
//! If order across the change matters: stop adding, wait until the queue is empty, grow, and continue to add after the
//! refresh interval.
//!
//! # Limits
//!
//! Each partition is a queue with limits of its own in Redis, which Node's workers obey too; no limit can count across
//! partitions, which may be on several servers. So a limit for all is divided:
//! [`set_global_concurrency`](Partitioned::set_global_concurrency) and
//! [`set_global_rate_limit`](Partitioned::set_global_rate_limit) give each partition its share. Together they never
//! allow more than the limit; a single busy partition gets no more than its share even if the others are empty. The
//! `concurrency` of a worker is not divided: its slots are used where the jobs are.
//!
//! # Where it runs
//!
//! On one server or a cluster. On a cluster a prefix with a hash tag, such as `{bull}`, is refused, since all
//! partitions would be in one slot; on one server it does no harm.

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

/// An item of one partition: a job, its id, an event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct InPartition<T> {
    /// The number of the partition.
    pub partition: usize,
    /// The item.
    pub item: T,
}

impl<T> InPartition<T> {
    fn new(partition: usize, item: T) -> Self {
        Self { partition, item }
    }
}

/// A queue in many partitions, with jobs of data `D` and results `R`. Cheap to clone. See the [module](self).
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// let mails: oxmq::Partitioned<String, ()> = client.partitioned("mail", 16).open().await?;
/// // All mails of a customer, in order.
/// let job = mails.add_by_key("customer-7", "welcome", "ada@example.org".into()).await?;
/// println!("job {} of {}", job.id(), job.queue_name());
/// # Ok(()) }
/// ```
pub struct Partitioned<D = Value, R = Value> {
    core: Arc<Core>,
    defaults: Arc<JobOptions>,
    types: PhantomData<fn(D) -> R>,
}

impl Client {
    /// Returns the builder of a partitioned queue's handle. `partitions` is the number for a new queue, 1 to 1,024; for
    /// an existing queue the stored number applies. See the [module](crate::partitioned).
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

/// Builds a [`Partitioned`]; [`open`](Self::open) opens it.
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
    /// Sets the default options of jobs added through this handle, like
    /// [`QueueBuilder::default_job_options`](crate::queue::QueueBuilder::default_job_options).
    #[doc(alias = "defaultJobOptions")]
    pub fn default_job_options(mut self, options: JobOptions) -> Self {
        self.defaults = options;
        self
    }

    /// Sets how often the stored number of partitions is read, by which this handle, its clones and its workers learn
    /// that the queue has grown. Default: 5 s; 10 ms to an hour.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Opens the handle, and stores the number of partitions if the queue is new. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a name that no queue can have or that contains a brace, for 0 or more than 1,024
    /// partitions, and on a cluster for a prefix with a hash tag; and errors of the connection.
    pub async fn open(self) -> Result<Partitioned<D, R>> {
        let Self { client, name, partitions, defaults, interval, types } = self;
        if name.is_empty() || name.contains(['{', '}']) {
            return Err(Error::invalid(
                "queue name",
                "the name of a partitioned queue must not be empty or contain a brace",
            ));
        }
        check_count(partitions)?;
        check_span("refresh_interval", interval, Duration::from_millis(10)..=HOUR)?;
        let first = client.core(&partition_name(&name, 0))?;
        if first.engine().link.is_cluster() && first.engine().keys.prefix().contains('{') {
            return Err(Error::invalid("prefix", "with a hash tag all partitions would be in one slot of the cluster"));
        }
        // The longest name of a partition has to be valid too.
        client.core(&partition_name(&name, MOST))?;
        let count = first.engine().found_partitions(partitions).await?;
        if count != partitions {
            tracing::info!(
                queue = name,
                stored = count,
                given = partitions,
                "the queue is opened with another number of partitions than the stored one, which is used"
            );
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
    /// Returns its name, with which the names of the partitions begin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Returns how many partitions there are, as this handle knows. No round trip.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.core.keep_fresh();
        self.core.count()
    }

    /// Returns one partition: an ordinary queue. `None` if there is no such partition, as far as known. No round trip.
    #[must_use]
    pub fn partition(&self, number: usize) -> Option<Queue<D, R>> {
        let known = self.core.queue(number).filter(|_| number < self.core.count());
        known.map(|core| Queue::with_defaults(core, Arc::clone(&self.defaults)))
    }

    /// Returns the partition that a key belongs to. No round trip.
    #[must_use]
    pub fn partition_of(&self, key: impl AsRef<[u8]>) -> Queue<D, R> {
        self.known(self.number_of(key))
    }

    /// Returns the number of the partition that a key belongs to. No round trip.
    #[must_use]
    pub fn number_of(&self, key: impl AsRef<[u8]>) -> usize {
        place::place_of(key.as_ref(), self.partitions())
    }

    /// Returns the number of a partition, by its queue name as a job has it
    /// ([`JobRef::queue_name`](crate::JobRef::queue_name)). No round trip.
    #[must_use]
    pub fn number_of_queue(&self, name: impl AsRef<str>) -> Option<usize> {
        let number = name.as_ref().strip_prefix(self.name())?.strip_prefix("-{")?.strip_suffix('}')?;
        // Only the canonical form of a number is accepted.
        number.parse().ok().filter(|parsed: &usize| parsed.to_string() == number)
    }

    /// Returns another handle of the same queue.
    fn of(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), defaults: Arc::default(), types: PhantomData }
    }

    /// Returns a partition whose number is known to exist.
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
