//! Reads all partitions together.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{InPartition, Partitioned};
use crate::engine::{ClientInfo, REPORTED};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::queue::{Order, QueueCore};
use crate::state::{JobCounts, JobState};

impl<D, R> Partitioned<D, R> {
    /// Counts the jobs of all partitions in each of these states; without states, in all but `paused`. One round trip
    /// per partition, at the same time, so not all at exactly one moment.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if some could not be read;
    /// [`get_job_counts_by_partition`](Self::get_job_counts_by_partition) returns the counts of the others.
    ///
    /// BullMQ: `Queue.getJobCounts`, of each partition.
    #[doc(alias = "getJobCounts")]
    pub async fn get_job_counts(&self, states: &[JobState]) -> Result<JobCounts> {
        let counts = self.core.each("get_job_counts", 0..self.partitions(), count_in(states)).await?;
        let mut sum = JobCounts::default();
        for state in JobState::ALL {
            sum.set(state, counts.iter().map(|counts| counts.get(state)).sum());
        }
        Ok(sum)
    }

    /// Counts the jobs of each partition like [`get_job_counts`](Self::get_job_counts), by the number of the partition.
    /// A partition that cannot be read is an `Err`.
    pub async fn get_job_counts_by_partition(&self, states: &[JobState]) -> Vec<Result<JobCounts>> {
        let count = count_in(states);
        let all = (0..self.partitions()).filter_map(|partition| Some(count(partition, self.core.queue(partition)?)));
        futures::future::join_all(all).await
    }

    /// Counts the waiting jobs of all partitions, like [`Queue::count`](crate::Queue::count).
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if some could not be read.
    pub async fn count(&self) -> Result<u64> {
        let count = |_, queue: Arc<QueueCore>| async move { crate::Queue::<D, R>::new(queue).count().await };
        Ok(self.core.each("count", 0..self.partitions(), count).await?.into_iter().sum())
    }

    /// Returns whether every partition is paused.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if some could not be read.
    #[doc(alias = "isPaused")]
    pub async fn is_paused(&self) -> Result<bool> {
        let is_paused = |_, queue: Arc<QueueCore>| async move { queue.engine().is_paused().await };
        Ok(self.core.each("is_paused", 0..self.partitions(), is_paused).await?.into_iter().all(|is_paused| is_paused))
    }

    /// Finds all jobs with this id: at most one in each partition, where ids are unique. One round trip per partition,
    /// at the same time. If you know the partition, ask only that one: `partition(number)` and
    /// [`Queue::get_job`](crate::Queue::get_job).
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if some could not be read.
    ///
    /// BullMQ: `Queue.getJob`, of each partition.
    #[doc(alias = "getJob")]
    pub async fn find_jobs(&self, id: &str) -> Result<Vec<InPartition<Job<D, R>>>>
    where
        D: DeserializeOwned,
    {
        let get = |partition, queue: Arc<QueueCore>| async move {
            let job = crate::Queue::new(queue).get_job(id).await?;
            Ok(job.map(|job| InPartition::new(partition, job)))
        };
        Ok(self.core.each("get_job", 0..self.partitions(), get).await?.into_iter().flatten().collect())
    }

    /// Reads `count` jobs from position `start` on, over all partitions: first the first job of each partition, by
    /// number, then the second of each, and so on, in the order of [`Queue::get_jobs`](crate::Queue::get_jobs). A job
    /// that cannot be read is an `Err`.
    ///
    /// Each partition is asked for its first `start + count` jobs, so pages far behind are costly; for these read one
    /// partition after the other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if `start + count` is more than 100,000; [`Error::Partitions`] if some could not be
    /// read.
    ///
    /// BullMQ: `Queue.getJobs`, of each partition.
    #[doc(alias = "getJobs")]
    pub async fn get_jobs(
        &self,
        states: &[JobState],
        start: usize,
        count: usize,
        order: Order,
    ) -> Result<Vec<InPartition<Result<Job<D, R>>>>>
    where
        D: DeserializeOwned,
    {
        let last = start.checked_add(count).and_then(|end| i64::try_from(end).ok()).filter(|end| *end <= FARTHEST);
        let farthest = || {
            let option = if count > usize::try_from(FARTHEST).unwrap_or(usize::MAX) { "count" } else { "start" };
            Error::invalid(option, "start and count together must be at most 100,000")
        };
        let last = last.ok_or_else(farthest)? - 1;
        if count == 0 {
            return Ok(Vec::new());
        }
        let get = |partition, queue: Arc<QueueCore>| async move {
            let jobs = crate::Queue::<D, R>::new(queue).get_jobs(states, 0, last, order).await?;
            Ok(jobs.into_iter().enumerate().map(move |(rank, job)| (rank, InPartition::new(partition, job))))
        };
        let read = self.core.each("get_jobs", 0..self.partitions(), get).await?;
        let mut jobs: Vec<_> = read.into_iter().flatten().collect();
        jobs.sort_by_key(|(rank, job)| (*rank, job.partition));
        Ok(jobs.into_iter().skip(start).take(count).map(|(_, job)| job).collect())
    }

    /// Lists the workers of each partition, including Node's; see [`Queue::get_workers`](crate::Queue::get_workers). A
    /// worker over all partitions is listed once in each.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if some could not be read.
    ///
    /// BullMQ: `Queue.getWorkers`, of each partition.
    #[doc(alias = "getWorkers")]
    pub async fn get_workers(&self) -> Result<Vec<InPartition<ClientInfo>>> {
        let get = |partition, queue: Arc<QueueCore>| async move {
            let workers = crate::Queue::<D, R>::new(queue).get_workers().await?;
            Ok(workers.into_iter().map(move |worker| InPartition::new(partition, worker)))
        };
        Ok(self.core.each("get_workers", 0..self.partitions(), get).await?.into_iter().flatten().collect())
    }
}

/// The last position that a page may reach.
const FARTHEST: i64 = 100_000;

fn count_in(
    states: &[JobState],
) -> impl Fn(usize, Arc<QueueCore>) -> futures::future::BoxFuture<'static, Result<JobCounts>> + use<> {
    let states: Arc<[JobState]> = if states.is_empty() { REPORTED.as_slice().into() } else { states.into() };
    move |_, queue| {
        let states = Arc::clone(&states);
        Box::pin(async move { queue.engine().get_job_counts(&states).await })
    }
}
