//! Reads a queue: its jobs, their states, counts and metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use super::Queue;
use crate::clock::epoch_ms;
use crate::engine::{ClientInfo, Metrics, QueueMeta, REPORTED};
use crate::error::Result;
use crate::job::{Job, JobRef, JobStatus};
use crate::state::{JobCounts, JobState, Order};
use crate::telemetry;
use crate::wire::job::RawJob;

impl<D, R> Queue<D, R> {
    pub(crate) fn read_job(&self, raw: RawJob) -> Result<Job<D, R>>
    where
        D: DeserializeOwned,
    {
        Job::read_now(&self.core, raw)
    }

    /// Returns a handle of a job by its id, for everything that can be done without reading the job. No round trip:
    /// each of its calls finds out whether the job exists.
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue<String, u64>) -> oxmq::Result<()> {
    /// queue.job("7").promote().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn job(&self, id: impl Into<String>) -> JobRef<D, R> {
        JobRef::to(Arc::clone(&self.core), id.into())
    }

    /// Reads the job with this id; `None` if there is none. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Undecodable`](crate::Error::Undecodable) or [`Error::Json`](crate::Error::Json) if it cannot be read.
    ///
    /// BullMQ: `Queue.getJob`.
    #[doc(alias = "getJob")]
    pub async fn get_job(&self, id: &str) -> Result<Option<Job<D, R>>>
    where
        D: DeserializeOwned,
    {
        self.core.engine().get_job(id).await?.map(|raw| self.read_job(raw)).transpose()
    }

    /// Reads a job and its state, at one moment; `None` if there is none. One round trip. This is what an API needs to
    /// report on a job, with progress and result.
    ///
    /// In a very long list of waiting jobs the search for the state takes Redis some ms, as
    /// [`JobRef::get_state`](crate::JobRef::get_state) says.
    ///
    /// # Errors
    ///
    /// As [`get_job`](Self::get_job).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue<String, u64>) -> oxmq::Result<()> {
    /// let Some(status) = queue.get_job_status("report-7").await? else { return Ok(()) };
    /// println!("{} since {:?}", status.state, status.job.processed_on());
    /// # Ok(()) }
    /// ```
    ///
    /// BullMQ: `Queue.getJob` and `Job.getState`.
    pub async fn get_job_status(&self, id: &str) -> Result<Option<JobStatus<D, R>>>
    where
        D: DeserializeOwned,
    {
        self.job(id).get_status().await
    }

    /// Reads the jobs at the positions `start` to `end` of each state, both inclusive, in the order of the states; each
    /// job once. Without states: all but `paused`.
    ///
    /// With [`Ascending`](Order::Ascending), position 0 is what comes next: the next to run, the earliest due, the
    /// first finished. With [`Descending`](Order::Descending) it is the other end. Negative positions count from the
    /// end of that order. A job that cannot be read is an `Err`.
    ///
    /// One round trip and one snapshot for up to 200 positions and 1 MB; more are read in several steps.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getJobs`.
    #[doc(alias = "getJobs")]
    #[doc(alias = "getActive")]
    #[doc(alias = "getCompleted")]
    #[doc(alias = "getDelayed")]
    #[doc(alias = "getFailed")]
    #[doc(alias = "getPrioritized")]
    #[doc(alias = "getWaiting")]
    #[doc(alias = "getWaitingChildren")]
    pub async fn get_jobs(
        &self,
        states: &[JobState],
        start: i64,
        end: i64,
        order: Order,
    ) -> Result<Vec<Result<Job<D, R>>>>
    where
        D: DeserializeOwned,
    {
        let states = if states.is_empty() { &REPORTED } else { states };
        let raws = self.core.engine().get_jobs(states, start, end, order.is_ascending()).await?;
        Ok(raws.into_iter().map(|raw| self.read_job(raw?)).collect())
    }

    /// Reads the ids at the positions `start` to `end` of each state, each id once, counted as by
    /// [`get_jobs`](Self::get_jobs), including ids without a job. One round trip for up to 2,500.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getRanges`.
    #[doc(alias = "getRanges")]
    pub async fn get_ranges(&self, states: &[JobState], start: i64, end: i64, order: Order) -> Result<Vec<String>> {
        self.core.engine().get_ranges(states, start, end, order.is_ascending()).await
    }

    /// Counts the jobs in each of these states; without states, in all but `paused`. One round trip, read at one
    /// moment.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getJobCounts`.
    #[doc(alias = "getJobCounts")]
    #[doc(alias = "getActiveCount")]
    #[doc(alias = "getCompletedCount")]
    #[doc(alias = "getFailedCount")]
    #[doc(alias = "getPrioritizedCount")]
    #[doc(alias = "getWaitingCount")]
    #[doc(alias = "getWaitingChildrenCount")]
    #[doc(alias = "getJobCountByTypes")]
    pub async fn get_job_counts(&self, states: &[JobState]) -> Result<JobCounts> {
        let states = if states.is_empty() { &REPORTED } else { states };
        self.core.engine().get_job_counts(states).await
    }

    /// Counts the jobs in each of these states like [`get_job_counts`](Self::get_job_counts), and reports the numbers
    /// to the recorder of the `metrics` facade: as the gauge `oxmq_queue_jobs` with the labels `queue` and `state`.
    /// Call it as often as your metrics are collected. Without the feature `metrics` the counts are only returned. One
    /// round trip, read at one moment.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.recordJobCountsMetric`, whose gauge is `bullmq.queue.jobs`.
    #[doc(alias = "recordJobCountsMetric")]
    pub async fn record_job_counts_metric(&self, states: &[JobState]) -> Result<JobCounts> {
        let counts = self.get_job_counts(states).await?;
        let states = if states.is_empty() { &REPORTED } else { states };
        telemetry::job_counts(self.name(), states.iter().map(|state| (state.as_str(), counts.get(*state))));
        Ok(counts)
    }

    /// Counts the jobs that are waiting, prioritized, delayed, or waiting for children. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.count`.
    pub async fn count(&self) -> Result<u64> {
        use JobState::{Delayed, Prioritized, Waiting, WaitingChildren};
        let counts = self.core.engine().get_job_counts(&[Waiting, Delayed, Prioritized, WaitingChildren]).await?;
        Ok(counts.total())
    }

    /// Counts the delayed jobs. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getDelayedCount`.
    #[doc(alias = "getDelayedCount")]
    pub async fn get_delayed_count(&self) -> Result<u64> {
        Ok(self.core.engine().get_job_counts(&[JobState::Delayed]).await?.get(JobState::Delayed))
    }

    /// Counts the delayed jobs that are due before this moment. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// Not in BullMQ.
    pub async fn get_delayed_count_before(&self, before: SystemTime) -> Result<u64> {
        self.core.engine().get_delayed_count(epoch_ms(before)).await
    }

    /// Reads when these jobs are due, one answer for each id; `None` for a job that is not delayed. One round trip.
    ///
    /// The fields of a job do not tell this: [`Job::delay`](crate::Job::delay) counts from the add, but after a retry, a
    /// move or a change of the delay from that moment.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// Not in BullMQ.
    pub async fn get_due(&self, ids: &[&str]) -> Result<Vec<Option<SystemTime>>> {
        self.core.engine().get_due(ids).await
    }

    /// Counts the ready jobs of each priority; 0 is for jobs without one. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getCountsPerPriority`.
    #[doc(alias = "getCountsPerPriority")]
    pub async fn get_counts_per_priority(&self, priorities: &[u32]) -> Result<Vec<(u32, u64)>> {
        self.core.engine().get_counts_per_priority(priorities).await
    }

    /// Returns whether the queue is paused for all workers. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.isPaused`.
    #[doc(alias = "isPaused")]
    pub async fn is_paused(&self) -> Result<bool> {
        self.core.engine().is_paused().await
    }

    /// Returns whether as many jobs are active as the global concurrency allows. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.isMaxed`.
    #[doc(alias = "isMaxed")]
    pub async fn is_maxed(&self) -> Result<bool> {
        self.core.engine().is_maxed().await
    }

    /// Reads the queue's settings. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getMeta`.
    #[doc(alias = "getMeta")]
    pub async fn get_meta(&self) -> Result<QueueMeta> {
        self.core.engine().get_meta().await
    }

    /// Reads `<library>:<version>`, as whoever opened the queue last has written it. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getVersion`.
    #[doc(alias = "getVersion")]
    pub async fn get_version(&self) -> Result<Option<String>> {
        self.core.engine().get_version().await
    }

    /// Reads how many jobs completed or failed in each minute; they are counted only while a worker collects metrics.
    /// Positions as in [`get_jobs`](Self::get_jobs); 0 is the newest minute. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a state that is neither completed nor failed.
    ///
    /// BullMQ: `Queue.getMetrics`.
    #[doc(alias = "getMetrics")]
    pub async fn get_metrics(&self, state: JobState, start: i64, end: i64) -> Result<Metrics> {
        self.core.engine().get_metrics(state, start, end).await
    }

    /// Writes the queue's counts as text for Prometheus, with these labels on each line. Three round trips.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.exportPrometheusMetrics`.
    #[doc(alias = "exportPrometheusMetrics")]
    pub async fn export_prometheus_metrics(&self, labels: &[(&str, &str)]) -> Result<String> {
        self.core.engine().export_prometheus_metrics(labels).await
    }

    /// Reads how many jobs may be active at once, over all workers. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getGlobalConcurrency`.
    #[doc(alias = "getGlobalConcurrency")]
    pub async fn get_global_concurrency(&self) -> Result<Option<u64>> {
        self.core.engine().get_global_concurrency().await
    }

    /// Reads the global rate limit: how many jobs, and the window. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getGlobalRateLimit`.
    #[doc(alias = "getGlobalRateLimit")]
    pub async fn get_global_rate_limit(&self) -> Result<Option<(u64, Duration)>> {
        let limit = self.core.engine().get_global_rate_limit().await?;
        Ok(limit.map(|(max, window)| (max, Duration::from_millis(window))))
    }

    /// Returns for how long the rate limit allows no fetch, with a limit of `max` jobs per window. Without `max` the
    /// queue's global limit applies, and without that any window that is open. `None` if jobs may be fetched now. One
    /// round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getRateLimitTtl`.
    #[doc(alias = "getRateLimitTtl")]
    pub async fn get_rate_limit_ttl(&self, max: Option<u64>) -> Result<Option<Duration>> {
        let left = self.core.engine().get_rate_limit_ttl(max).await?;
        Ok(u64::try_from(left).ok().filter(|ms| *ms > 0).map(Duration::from_millis))
    }

    /// Returns the id of the job that a deduplication id stands for. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getDeduplicationJobId`.
    #[doc(alias = "getDeduplicationJobId")]
    #[doc(alias = "getDebounceJobId")]
    pub async fn get_deduplication_job_id(&self, deduplication_id: &str) -> Result<Option<String>> {
        self.core.engine().get_deduplication_job_id(deduplication_id).await
    }

    /// Lists the connected listeners to this queue's events, of Node and oxmq. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`](crate::Error::NotPermitted) if the user may not list clients.
    ///
    /// BullMQ: `Queue.getQueueEvents`.
    #[doc(alias = "getQueueEvents")]
    pub async fn get_queue_events(&self) -> Result<Vec<ClientInfo>> {
        self.core.engine().get_queue_events().await
    }

    /// Lists the connected workers of this queue, of Node and oxmq. One round trip.
    ///
    /// As in BullMQ, those of a queue of this name in another database of the server are among them, with their `db`;
    /// [`Client::get_all_workers`](crate::Client::get_all_workers) leaves them out.
    ///
    /// They are recognized by the names of their connections, which may hold printable ASCII only: Node's workers under
    /// a prefix with a space or another character have no name, and are not found. Those of oxmq are. A worker of oxmq that
    /// shares connections with others ([`own_connections`](crate::client::ClientBuilder::own_connections)) is listed by one of those:
    /// `addr` and `age` are those of that connection.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`](crate::Error::NotPermitted) if the user may not list clients.
    ///
    /// BullMQ: `Queue.getWorkers`.
    #[doc(alias = "getWorkers")]
    #[doc(alias = "getWorkersCount")]
    pub async fn get_workers(&self) -> Result<Vec<ClientInfo>> {
        self.core.engine().get_workers().await
    }
}
