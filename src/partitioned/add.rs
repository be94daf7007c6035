//! Adds jobs to a partitioned queue.

use futures::future::join_all;
use serde::Serialize;

use super::Partitioned;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::kind::JobKind;
use crate::queue::{Add, NewJob, Queue, sent_when_awaited};

impl<D, R> Partitioned<D, R> {
    /// Adds a job to the next partition in turn: jobs are spread over the partitions, without an order.
    ///
    /// Everything else is as with [`Queue::add`]. The job tells its partition:
    /// [`JobRef::queue_name`](crate::JobRef::queue_name), and [`number_of_queue`](Self::number_of_queue) for the
    /// number.
    ///
    /// Job ids and deduplications apply within a partition, so with them use a key: [`add_by_key`](Self::add_by_key).
    ///
    /// # Errors
    ///
    /// As [`Queue::add`].
    pub fn add(&self, name: impl Into<String>, data: D) -> Add<D, R>
    where
        D: Serialize,
    {
        self.next_partition().add(name, data)
    }

    /// Adds a job to the partition of a key. Jobs of one key are in one partition, and start in the order in which they
    /// were added; the [module](super#order) explains this order, and what growing does to it.
    ///
    /// Everything else is as with [`Queue::add`].
    ///
    /// # Errors
    ///
    /// As [`Queue::add`].
    pub fn add_by_key(&self, key: impl AsRef<[u8]>, name: impl Into<String>, data: D) -> Add<D, R>
    where
        D: Serialize,
    {
        self.partition_of(key).add(name, data)
    }

    /// Adds many jobs, each to the next partition in turn. The calls to the partitions are made at the same time;
    /// within a partition jobs are added in order, like with [`Queue::add_bulk`].
    ///
    /// The result has one item per job, in the order given.
    ///
    /// # Errors
    ///
    /// Awaiting it returns [`Error::InvalidOption`], which names the job by its position and name, or [`Error::Json`],
    /// if a job breaks a rule; then none was sent.
    pub fn add_bulk(&self, jobs: impl IntoIterator<Item = NewJob<D>>) -> PartitionedAddBulk<D, R> {
        self.core.keep_fresh();
        self.bulk(jobs.into_iter().map(|job| (self.core.next(), job)))
    }

    /// Adds many jobs, each to the partition of its key; everything else is as with [`add_bulk`](Self::add_bulk).
    ///
    /// # Errors
    ///
    /// As [`add_bulk`](Self::add_bulk).
    pub fn add_bulk_by_key<K: AsRef<[u8]>>(
        &self,
        jobs: impl IntoIterator<Item = (K, NewJob<D>)>,
    ) -> PartitionedAddBulk<D, R> {
        self.bulk(jobs.into_iter().map(|(key, job)| (self.number_of(key), job)))
    }

    fn bulk(&self, jobs: impl Iterator<Item = (usize, NewJob<D>)>) -> PartitionedAddBulk<D, R> {
        let mut parts: Vec<Part<D, R>> = Vec::new();
        // The position of each partition's part.
        let mut places = vec![None; self.core.count()];
        let mut jobs_in_all = 0;
        for (place, (number, job)) in jobs.enumerate() {
            // The queue may have grown since the number was determined.
            if number >= places.len() {
                places.resize(number + 1, None);
            }
            let part = *places[number].get_or_insert_with(|| {
                parts.push(Part { queue: self.known(number), places: Vec::new(), jobs: Vec::new() });
                parts.len() - 1
            });
            parts[part].places.push(place);
            parts[part].jobs.push(job);
            jobs_in_all = place + 1;
        }
        PartitionedAddBulk { parts, jobs: jobs_in_all }
    }
}

impl<D, R> Partitioned<D, R> {
    /// Adds a job of a kind to the next partition in turn, like [`Queue::push`].
    ///
    /// # Errors
    ///
    /// As [`Queue::push`].
    pub fn push<K: JobKind>(&self, job: K) -> Add<K, K::Output> {
        self.next_partition().push(job)
    }

    /// Adds a job of a kind to the partition of a key, like [`Queue::push`].
    ///
    /// # Errors
    ///
    /// As [`Queue::push`].
    pub fn push_by_key<K: JobKind>(&self, key: impl AsRef<[u8]>, job: K) -> Add<K, K::Output> {
        self.partition_of(key).push(job)
    }

    fn next_partition(&self) -> Queue<D, R> {
        self.core.keep_fresh();
        self.known(self.core.next())
    }
}

/// The jobs of one partition, and their positions among all jobs.
struct Part<D, R> {
    queue: Queue<D, R>,
    places: Vec<usize>,
    jobs: Vec<NewJob<D>>,
}

/// A bulk add to many partitions to be sent; await it.
#[must_use = "an add does nothing until it is awaited"]
pub struct PartitionedAddBulk<D, R> {
    parts: Vec<Part<D, R>>,
    jobs: usize,
}

sent_when_awaited!(PartitionedAddBulk => Vec<Result<Job<D, R>>>, |adds| async move {
    let check = |Part { queue, places, jobs }: Part<D, R>| {
        let checked = queue.add_bulk(jobs).checked(|at| places[at])?;
        Ok(async move { (places, checked.send().await) })
    };
    let calls = adds.parts.into_iter().map(check).collect::<Result<Vec<_>>>()?;
    let mut answers: Vec<Option<Result<Job<D, R>>>> = (0..adds.jobs).map(|_| None).collect();
    for (places, added) in join_all(calls).await {
        for (place, added) in places.into_iter().zip(added) {
            answers[place] = Some(added.map(|(job, _)| job));
        }
    }
    Ok(answers.into_iter().map(|answer| answer.unwrap_or(Err(Error::Reply { op: "add_bulk" }))).collect())
});
