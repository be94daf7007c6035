//! Controls a queue.

use std::time::{Duration, SystemTime};

use super::Queue;
use crate::clock::epoch_ms;
use crate::error::Result;
use crate::state::JobState;
use crate::wire::EventId;

impl<D, R> Queue<D, R> {
    /// Pauses the queue for all workers: running jobs go on, and no more are taken. One round trip.
    ///
    /// If workers of BullMQ 5 use the queue, pause and resume it only from oxmq or BullMQ 6: version 5 loses jobs when
    /// both do.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.pause`.
    pub async fn pause(&self) -> Result<()> {
        self.core.engine().pause().await
    }

    /// Resumes the queue. Jobs that BullMQ 5 keeps in `paused` run first. One round trip, and one more per 1,000 of
    /// those.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.resume`.
    pub async fn resume(&self) -> Result<()> {
        self.core.engine().resume().await
    }

    /// Limits how many jobs may be active at once, over all workers. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for 0.
    ///
    /// BullMQ: `Queue.setGlobalConcurrency`.
    #[doc(alias = "setGlobalConcurrency")]
    pub async fn set_global_concurrency(&self, jobs: u32) -> Result<()> {
        self.core.engine().set_global_concurrency(jobs).await
    }

    /// Removes the limit of [`set_global_concurrency`](Self::set_global_concurrency), and returns whether there was
    /// one. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.removeGlobalConcurrency`.
    #[doc(alias = "removeGlobalConcurrency")]
    pub async fn remove_global_concurrency(&self) -> Result<bool> {
        self.core.engine().remove_global_concurrency().await
    }

    /// Limits how many jobs may be fetched in each `window`, over all workers. One round trip.
    ///
    /// A worker that has a limiter of its own keeps to this `max` in windows of its own length, as in BullMQ; so let no worker of
    /// such a queue have one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a `max` of 0, and for a window under a millisecond or
    /// over a year.
    ///
    /// BullMQ: `Queue.setGlobalRateLimit`.
    #[doc(alias = "setGlobalRateLimit")]
    pub async fn set_global_rate_limit(&self, max: u64, window: Duration) -> Result<()> {
        self.core.engine().set_global_rate_limit(max, window).await
    }

    /// Removes the limit of [`set_global_rate_limit`](Self::set_global_rate_limit), and returns whether there was one.
    /// One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.removeGlobalRateLimit`.
    #[doc(alias = "removeGlobalRateLimit")]
    pub async fn remove_global_rate_limit(&self) -> Result<bool> {
        self.core.engine().remove_global_rate_limit().await
    }

    /// Stops the fetching of workers that have a rate limit, their own or the queue's, for `pause`. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for less than a millisecond and more than a year.
    ///
    /// BullMQ: `Queue.rateLimit`.
    #[doc(alias = "rateLimit")]
    pub async fn rate_limit(&self, pause: Duration) -> Result<()> {
        self.core.engine().rate_limit(pause).await
    }

    /// Ends the current window of the rate limit, or a manual one, and returns whether one was open. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.removeRateLimitKey`.
    #[doc(alias = "removeRateLimitKey")]
    pub async fn remove_rate_limit_key(&self) -> Result<bool> {
        self.core.engine().remove_rate_limit_key().await
    }

    /// Makes all delayed jobs ready now, the earliest due first, and returns how many. As in Node their priority is
    /// ignored: they come before all prioritized jobs. [`promote_jobs_by_priority`](Self::promote_jobs_by_priority)
    /// obeys it.
    ///
    /// One round trip per 200 jobs.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.promoteJobs`.
    #[doc(alias = "promoteJobs")]
    pub async fn promote_jobs(&self) -> Result<u64> {
        self.core.engine().promote_jobs(false).await
    }

    /// Does the same as [`promote_jobs`](Self::promote_jobs), but places each job by its priority, like
    /// [`JobRef::promote`](crate::JobRef::promote); within a priority the earliest due comes first.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: none; `Queue.promoteJobs` ignores the priority.
    pub async fn promote_jobs_by_priority(&self) -> Result<u64> {
        self.core.engine().promote_jobs(true).await
    }

    /// Makes all jobs ready again that failed, or completed, up to a moment (now by default), and returns how many. As
    /// in Node their priority is ignored: they come before all prioritized jobs.
    /// [`retry_jobs_by_priority`](Self::retry_jobs_by_priority) obeys it.
    ///
    /// One round trip per 200 jobs.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a state that is not finished.
    ///
    /// BullMQ: `Queue.retryJobs`.
    #[doc(alias = "retryJobs")]
    pub async fn retry_jobs(&self, state: JobState, until: Option<SystemTime>) -> Result<u64> {
        self.core.engine().retry_jobs(state, until.map(epoch_ms), false).await
    }

    /// Does the same as [`retry_jobs`](Self::retry_jobs), but places each job by its priority, like
    /// [`JobRef::retry`](crate::JobRef::retry); within a priority the first finished comes first.
    ///
    /// # Errors
    ///
    /// As [`retry_jobs`](Self::retry_jobs).
    ///
    /// BullMQ: none; `Queue.retryJobs` ignores the priority.
    pub async fn retry_jobs_by_priority(&self, state: JobState, until: Option<SystemTime>) -> Result<u64> {
        self.core.engine().retry_jobs(state, until.map(epoch_ms), true).await
    }

    /// Removes all waiting and prioritized jobs, and returns how many. Delayed jobs and the next runs of job schedulers
    /// stay. One round trip per 200 jobs.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.drain`.
    pub async fn drain(&self) -> Result<u64> {
        self.core.engine().drain(false).await
    }

    /// Removes the delayed jobs too; everything else is as with [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.drain` with `delayed: true`.
    pub async fn drain_with_delayed(&self) -> Result<u64> {
        self.core.engine().drain(true).await
    }

    /// Removes up to `limit` jobs of a state (0: all) that are older than `grace`, and returns their ids.
    ///
    /// The age of a finished job counts from its end, of another from its start, or if it never started from its add.
    /// Running jobs and the next runs of job schedulers stay. One round trip per 200 jobs looked at.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for [`JobState::Unknown`].
    ///
    /// BullMQ: `Queue.clean`.
    pub async fn clean(&self, grace: Duration, limit: u64, state: JobState) -> Result<Vec<String>> {
        self.core.engine().clean(state, grace, limit).await
    }

    /// Pauses the queue and deletes everything in it. One round trip per 200 jobs.
    ///
    /// # Errors
    ///
    /// [`Error::QueueState`](crate::Error::QueueState) if jobs are active, or if somebody resumed the queue meanwhile;
    /// the queue stays paused.
    ///
    /// BullMQ: `Queue.obliterate`.
    pub async fn obliterate(&self) -> Result<()> {
        self.core.obliterate(false).await
    }

    /// Does the same as [`obliterate`](Self::obliterate), even if jobs are active: their workers lose them.
    ///
    /// # Errors
    ///
    /// [`Error::QueueState`](crate::Error::QueueState) if somebody resumed the queue meanwhile; the queue stays paused.
    ///
    /// BullMQ: `Queue.obliterate` with `force: true`.
    pub async fn obliterate_by_force(&self) -> Result<()> {
        self.core.obliterate(true).await
    }

    /// Trims the event stream to about `keep` entries, and returns how many were removed. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.trimEvents`.
    #[doc(alias = "trimEvents")]
    pub async fn trim_events(&self, keep: u64) -> Result<u64> {
        self.core.engine().trim_events(keep).await
    }

    /// Ends a deduplication, whichever job it stands for, and returns whether there was one. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.removeDeduplicationKey`.
    #[doc(alias = "removeDeduplicationKey")]
    #[doc(alias = "removeDebounceKey")]
    pub async fn remove_deduplication_key(&self, deduplication_id: &str) -> Result<bool> {
        self.core.engine().remove_deduplication_key(deduplication_id).await
    }

    /// Deletes jobs that are in no list and no set, at most `limit` of them (0: all), and returns how many. Scans all
    /// keys of the server.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.removeOrphanedJobs`.
    #[doc(alias = "removeOrphanedJobs")]
    pub async fn remove_orphaned_jobs(&self, limit: u64) -> Result<u64> {
        self.core.engine().remove_orphaned_jobs(limit).await
    }

    /// Writes a custom event into the queue's stream; all values are text. One round trip, never repeated.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for names that would do harm in Node.
    ///
    /// BullMQ: `QueueEventsProducer.publishEvent`.
    #[doc(alias = "publishEvent")]
    #[doc(alias = "QueueEventsProducer")]
    pub async fn publish_event(&self, name: &str, fields: &[(&str, &str)]) -> Result<EventId> {
        let id = self.core.engine().publish_event(name, fields).await?;
        self.core.mend_settings().await;
        Ok(id)
    }
}
