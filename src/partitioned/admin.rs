//! Controls all partitions, and adds more.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{InPartition, Partitioned, check_count, shares};
use crate::clock::{epoch_ms, millis};
use crate::engine::{GlobalConcurrency, PartitionSetting, PartitionSettings};
use crate::error::{Error, Result};
use crate::options::check_rate_limit;
use crate::queue::QueueCore;
use crate::state::JobState;

/// How often settings are written again because another program has changed them, or the number of partitions,
/// meanwhile.
const MOST_ROUNDS: usize = 10;

impl<D, R> Partitioned<D, R> {
    /// Raises the number of partitions to at least `partitions`, and returns the number that is set then. Keys that
    /// move lose their order across the change; the [module](super#order) explains how to keep it.
    ///
    /// The settings of all partitions are first applied to the new ones, and limits are divided anew, so that all
    /// together never allow more than before. Handles and workers learn of the new number within their [refresh
    /// interval](super::PartitionedBuilder::refresh_interval). One round trip per partition, at the same time, and some
    /// more.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for 0 or more than 1,024 partitions, and if a limit cannot be divided among so many;
    /// then nothing was changed. [`Error::Partitions`] if the limits could not be written to some: the number may not
    /// have been changed, and some partitions have the smaller share already. Another call continues, and so does the
    /// next [worker](Self::worker) that starts anywhere.
    pub async fn grow(&self, partitions: usize) -> Result<usize> {
        check_count(partitions)?;
        let settings = self.settings().await?;
        let count = settings.count.unwrap_or_default();
        if partitions <= count {
            self.core.learn(count)?;
            // An earlier call to grow may not have been completed.
            self.tell_until_settled("grow", None, 0, usize::MAX).await?;
            return Ok(count);
        }
        shares::check(&settings, partitions)?;
        self.store(PartitionSetting::Growing(Some(partitions))).await?;
        // Before anybody uses the new partitions, the present ones get smaller shares, and the new ones all settings.
        self.core.make_queues(partitions)?;
        self.tell("grow", None, &settings, partitions, count).await?;
        let grown = self.core.first().engine().grow_partitions(partitions).await?;
        self.core.learn(grown)?;
        self.tell_until_settled("grow", Some(settings), partitions, count).await?;
        self.store(PartitionSetting::Growing(None)).await?;
        Ok(grown)
    }

    /// Pauses all partitions for all workers, including partitions that are added later. One round trip each, at the
    /// same time, and some more. If another program resumes them meanwhile, all partitions end in the state of the
    /// later call.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if some could not be paused; the others are.
    ///
    /// BullMQ: `Queue.pause`, of each partition.
    pub async fn pause(&self) -> Result<()> {
        self.set_paused("pause", true).await
    }

    /// Resumes all partitions, including those that were paused individually.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if some could not be resumed; the others are.
    ///
    /// BullMQ: `Queue.resume`, of each partition.
    pub async fn resume(&self) -> Result<()> {
        self.set_paused("resume", false).await
    }

    /// Limits how many jobs may be active at once in all partitions together, over all workers, including Node's. Each
    /// partition gets its share, so this must be at least the number of partitions; the [module](super#limits) explains
    /// why. Replaces [`set_partition_concurrency`](Self::set_partition_concurrency).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a number below that of the partitions; [`Error::Partitions`] if it could not be
    /// written to some.
    ///
    /// BullMQ: `Queue.setGlobalConcurrency`, of each partition.
    #[doc(alias = "setGlobalConcurrency")]
    pub async fn set_global_concurrency(&self, jobs: u32) -> Result<()> {
        self.limit_concurrency("set_global_concurrency", GlobalConcurrency::Total(jobs)).await
    }

    /// Limits how many jobs may be active at once in each partition, over all workers, including Node's: with 1 the
    /// jobs of a key run strictly one after the other. Replaces
    /// [`set_global_concurrency`](Self::set_global_concurrency).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for 0; [`Error::Partitions`] if it could not be written to some.
    pub async fn set_partition_concurrency(&self, jobs: u32) -> Result<()> {
        if jobs == 0 {
            return Err(Error::invalid("set_partition_concurrency", "it must be at least 1"));
        }
        self.limit_concurrency("set_partition_concurrency", GlobalConcurrency::Each(jobs)).await
    }

    /// Removes the limits of [`set_global_concurrency`](Self::set_global_concurrency) and
    /// [`set_partition_concurrency`](Self::set_partition_concurrency).
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if it could not be written to some.
    ///
    /// BullMQ: `Queue.removeGlobalConcurrency`, of each partition.
    #[doc(alias = "removeGlobalConcurrency")]
    pub async fn remove_global_concurrency(&self) -> Result<()> {
        // Written as if there were a limit, so that the limit of a single partition is removed too.
        let told = PartitionSettings { concurrency: Some(GlobalConcurrency::Each(1)), ..self.settings().await? };
        self.store(PartitionSetting::Concurrency(None)).await?;
        self.tell_until_settled("remove_global_concurrency", Some(told), 0, usize::MAX).await
    }

    /// Limits how many jobs may be fetched from all partitions together in each window, over all workers, including
    /// Node's. Each partition gets its share, so `max` must be at least the number of partitions; the
    /// [module](super#limits) explains why.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a `max` below the number of partitions, and for a window under a millisecond or
    /// over a year; [`Error::Partitions`] if it could not be written to some.
    ///
    /// BullMQ: `Queue.setGlobalRateLimit`, of each partition.
    #[doc(alias = "setGlobalRateLimit")]
    pub async fn set_global_rate_limit(&self, max: u64, window: Duration) -> Result<()> {
        check_rate_limit("set_global_rate_limit", max, window)?;
        let limit = Some((max, millis(window)));
        let settings = PartitionSettings { rate_limit: limit, ..self.settings().await? };
        shares::check(&settings, settings.count.unwrap_or_default().max(self.core.count()))?;
        self.store(PartitionSetting::RateLimit(limit)).await?;
        self.tell_until_settled("set_global_rate_limit", None, 0, usize::MAX).await
    }

    /// Removes the limit of [`set_global_rate_limit`](Self::set_global_rate_limit).
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if it could not be written to some.
    ///
    /// BullMQ: `Queue.removeGlobalRateLimit`, of each partition.
    #[doc(alias = "removeGlobalRateLimit")]
    pub async fn remove_global_rate_limit(&self) -> Result<()> {
        // Written as if there were a limit, so that the limit of a single partition is removed too.
        let told = PartitionSettings { rate_limit: Some((1, 1)), ..self.settings().await? };
        self.store(PartitionSetting::RateLimit(None)).await?;
        self.tell_until_settled("remove_global_rate_limit", Some(told), 0, usize::MAX).await
    }

    /// Removes all waiting jobs of each partition, like [`Queue::drain`](crate::Queue::drain), and returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if it failed for some; the others are drained.
    pub async fn drain(&self) -> Result<u64> {
        self.drain_all("drain", false).await
    }

    /// Removes the delayed jobs too; everything else is as with [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain).
    pub async fn drain_with_delayed(&self) -> Result<u64> {
        self.drain_all("drain_with_delayed", true).await
    }

    /// Removes up to `limit` jobs of a state from each partition (0: all) that are older than `grace`, like
    /// [`Queue::clean`](crate::Queue::clean), and returns their ids.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if it failed for some; the others are cleaned.
    pub async fn clean(&self, grace: Duration, limit: u64, state: JobState) -> Result<Vec<InPartition<String>>> {
        let clean = |partition, queue: Arc<QueueCore>| async move {
            let ids = queue.engine().clean(state, grace, limit).await?;
            Ok(ids.into_iter().map(move |id| InPartition::new(partition, id)))
        };
        Ok(self.core.each("clean", 0..self.partitions(), clean).await?.into_iter().flatten().collect())
    }

    /// Makes all jobs ready again that failed, or completed, up to a moment (now by default), like
    /// [`Queue::retry_jobs`](crate::Queue::retry_jobs) in each partition, and returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if it failed for some; the others are done.
    #[doc(alias = "retryJobs")]
    pub async fn retry_jobs(&self, state: JobState, until: Option<SystemTime>) -> Result<u64> {
        let until = until.map(epoch_ms);
        let retry = |_, queue: Arc<QueueCore>| async move { queue.engine().retry_jobs(state, until, false).await };
        Ok(self.core.each("retry_jobs", 0..self.partitions(), retry).await?.into_iter().sum())
    }

    /// Makes all delayed jobs ready now, like [`Queue::promote_jobs`](crate::Queue::promote_jobs) in each partition,
    /// and returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] if it failed for some; the others are done.
    #[doc(alias = "promoteJobs")]
    pub async fn promote_jobs(&self) -> Result<u64> {
        let promote = |_, queue: Arc<QueueCore>| async move { queue.engine().promote_jobs(false).await };
        Ok(self.core.each("promote_jobs", 0..self.partitions(), promote).await?.into_iter().sum())
    }

    /// Pauses all partitions, deletes them with everything in them, and at last deletes the stored number of
    /// partitions. Open handles keep the number that they know; open the queue again for another number.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`] names the partitions that have active jobs; then nothing was deleted, and all are paused, or not,
    /// as before. It also names those for which the connection failed; then the others may be deleted, and another call
    /// goes on.
    pub async fn obliterate(&self) -> Result<()> {
        self.obliterate_all("obliterate", false).await
    }

    /// Does the same as [`obliterate`](Self::obliterate), even if jobs are active: their workers lose them.
    ///
    /// # Errors
    ///
    /// As [`obliterate`](Self::obliterate).
    pub async fn obliterate_by_force(&self) -> Result<()> {
        self.obliterate_all("obliterate_by_force", true).await
    }

    async fn drain_all(&self, op: &'static str, with_delayed: bool) -> Result<u64> {
        let drain = |_, queue: Arc<QueueCore>| async move { queue.engine().drain(with_delayed).await };
        Ok(self.core.each(op, 0..self.partitions(), drain).await?.into_iter().sum())
    }

    async fn obliterate_all(&self, op: &'static str, by_force: bool) -> Result<()> {
        self.core.refresh().await?;
        if !by_force {
            self.refuse_if_active(op).await?;
        }
        let obliterate = |_, queue: Arc<QueueCore>| async move { queue.obliterate(by_force).await };
        self.core.each(op, 0..self.core.count(), obliterate).await?;
        self.core.first().engine().forget_partitions().await
    }
}

impl<D, R> Partitioned<D, R> {
    /// Pauses all partitions and checks that none has active jobs; if one has, undoes the pause.
    async fn refuse_if_active(&self, op: &'static str) -> Result<()> {
        let pause_and_look = |_, queue: Arc<QueueCore>| async move {
            queue.engine().pause().await?;
            match queue.engine().get_job_counts(&[JobState::Active]).await?.total() {
                0 => Ok(()),
                _ => Err(Error::QueueState { op, problem: "the queue has active jobs" }),
            }
        };
        let looked = self.core.each(op, 0..self.core.count(), pause_and_look).await;
        if looked.is_err() && !self.settings().await?.is_paused {
            let resume = |_, queue: Arc<QueueCore>| async move { queue.engine().resume().await };
            self.core.each(op, 0..self.core.count(), resume).await?;
        }
        looked.map(drop)
    }
}

/// How settings reach all partitions, even while another program changes them or adds partitions.
///
/// A change of a setting first stores the setting, and then reads the number of partitions. Growing first stores the
/// number, and then reads the settings. So one of the two sees what the other has done, and writes it to the
/// partitions.
impl<D, R> Partitioned<D, R> {
    /// Completes an attempt to grow that another program has begun and not completed. One round trip if there is none.
    pub(super) async fn finish_growing(&self) -> Result<()> {
        if let Some(partitions) = self.settings().await?.growing {
            self.grow(partitions).await?;
            self.store(PartitionSetting::Growing(None)).await?;
        }
        Ok(())
    }

    async fn settings(&self) -> Result<PartitionSettings> {
        self.core.first().engine().load_partitions().await
    }

    /// Stores a setting for partitions that are added later.
    async fn store(&self, setting: PartitionSetting) -> Result<()> {
        self.core.first().engine().save_partition_setting(setting).await
    }

    async fn limit_concurrency(&self, op: &'static str, limit: GlobalConcurrency) -> Result<()> {
        let settings = PartitionSettings { concurrency: Some(limit), ..self.settings().await? };
        shares::check(&settings, settings.count.unwrap_or_default().max(self.core.count()))?;
        self.store(PartitionSetting::Concurrency(Some(limit))).await?;
        self.tell_until_settled(op, None, 0, usize::MAX).await
    }

    /// Pauses or resumes all partitions, including those added meanwhile, until all are in the state of the latest
    /// call.
    async fn set_paused(&self, op: &'static str, is_paused: bool) -> Result<()> {
        self.store(PartitionSetting::Paused(is_paused)).await?;
        let (mut told, mut done) = (None, 0);
        for _ in 0..MOST_ROUNDS {
            let settings = self.settings().await?;
            self.core.learn(settings.count.unwrap_or_default())?;
            let (is_paused, count) = (settings.is_paused, self.core.count());
            if told != Some(is_paused) {
                done = 0;
            }
            if count <= done {
                return Ok(());
            }
            let act = |_, queue: Arc<QueueCore>| async move {
                if is_paused { queue.engine().pause().await } else { queue.engine().resume().await }
            };
            self.core.each(op, done..count, act).await?;
            (told, done) = (Some(is_paused), count);
        }
        Err(Error::QueueState { op, problem: "others keep changing the settings of the partitions" })
    }

    /// Writes the limits to all partitions until neither these nor the number of partitions have changed meanwhile.
    /// `told` is what they have been told already, if that is known, and `of` how many partitions; from `new` on they
    /// are new.
    async fn tell_until_settled(
        &self,
        op: &'static str,
        mut told: Option<PartitionSettings>,
        mut of: usize,
        new: usize,
    ) -> Result<()> {
        for _ in 0..MOST_ROUNDS {
            let settings = self.settings().await?;
            self.core.learn(settings.count.unwrap_or_default())?;
            let count = self.core.count();
            let is_told = told.as_ref().is_some_and(|told| {
                (told.concurrency, told.rate_limit, told.is_paused)
                    == (settings.concurrency, settings.rate_limit, settings.is_paused)
            });
            if is_told && count == of {
                return Ok(());
            }
            self.tell(op, told.as_ref(), &settings, count, new).await?;
            (told, of) = (Some(settings), count);
        }
        Err(Error::QueueState { op, problem: "others keep changing the settings of the partitions" })
    }

    /// Writes the limits to `of` partitions, and to those from `new` on whether they are paused.
    async fn tell(
        &self,
        op: &'static str,
        told: Option<&PartitionSettings>,
        settings: &PartitionSettings,
        of: usize,
        new: usize,
    ) -> Result<()> {
        let had_concurrency = told.is_some_and(|told| told.concurrency.is_some());
        let had_rate_limit = told.is_some_and(|told| told.rate_limit.is_some());
        let was_paused = told.is_some_and(|told| told.is_paused);
        let tell = |partition, queue: Arc<QueueCore>| async move {
            let (engine, limits) = (queue.engine(), shares::limits(settings, partition, of));
            match limits.concurrency {
                Some(jobs) => engine.set_global_concurrency(jobs).await?,
                None if had_concurrency => _ = engine.remove_global_concurrency().await?,
                None => {}
            }
            match limits.rate_limit {
                Some((max, window)) => engine.set_global_rate_limit(max, Duration::from_millis(window)).await?,
                None if had_rate_limit => _ = engine.remove_global_rate_limit().await?,
                None => {}
            }
            match (partition >= new, settings.is_paused) {
                (true, true) => engine.pause().await,
                (true, false) if was_paused => engine.resume().await,
                _ => Ok(()),
            }
        };
        self.core.each(op, 0..of, tell).await.map(drop)
    }
}
