//! Administration: everything that changes a queue or a job and is neither an add nor part of a worker.

use std::collections::HashSet;
use std::time::Duration;

use super::Engine;
use crate::clock::millis;
use crate::error::{Error, Result};
use crate::keys::is_no_job;
use crate::options::{SHORTEST, YEAR, check_delay, check_priority, check_rate_limit, check_span};
use crate::script::cancel_job::{self, Cancellation, cancel_job};
use crate::script::obliterate::Obliterated;
use crate::script::remove_job::{Family, Removal};
use crate::script::{self, change_delay, change_priority, promote_job, remove_child, retry_job};
use crate::state::JobState;

/// How many jobs one call works on at most: two or three milliseconds of the server's time.
const MOST_PER_CALL: u32 = 200;

/// How many attempts one call checks for cancellation.
const CANCELS_AT_ONCE: usize = 1_000;

impl Engine {
    /// Writes the queue's version and the cap of its event stream, as is done when a queue is opened.
    ///
    /// Without `max_events` an existing cap stays; Node overwrites it with its default. One round trip.
    pub(crate) async fn open_queue(&self, max_events: Option<u64>) -> Result<()> {
        self.call(script::open_queue(concat!("bullmq:oxmq-", env!("CARGO_PKG_VERSION")), max_events)).await
    }

    /// Pauses the queue: no worker fetches from it, and running jobs go on. One round trip.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.call(script::pause()).await
    }

    /// Resumes the queue. One round trip, and one more for every 1,000 jobs that BullMQ 5 keeps in `paused`; the queue
    /// stays paused until all of those are back in `wait`.
    pub(crate) async fn resume(&self) -> Result<()> {
        while self.call(script::resume()).await? > 0 {}
        Ok(())
    }

    /// Limits how many jobs may be active at once, over all workers. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for 0: pause the queue instead.
    pub(crate) async fn set_global_concurrency(&self, limit: u32) -> Result<()> {
        if limit == 0 {
            return Err(Error::invalid("set_global_concurrency", "it must be at least 1"));
        }
        self.call(script::set_concurrency(Some(limit))).await.map(drop)
    }

    /// Removes the limit of [`set_global_concurrency`](Self::set_global_concurrency); returns whether there was one.
    pub(crate) async fn remove_global_concurrency(&self) -> Result<bool> {
        Ok(self.call(script::set_concurrency(None)).await? > 0)
    }

    /// Limits how many jobs may be fetched in each `window`, over all workers. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a `max` of 0, and for a window under a millisecond or over a year.
    pub(crate) async fn set_global_rate_limit(&self, max: u64, window: Duration) -> Result<()> {
        check_rate_limit("set_global_rate_limit", max, window)?;
        self.call(script::set_rate_limit(Some((max, millis(window))))).await.map(drop)
    }

    /// Removes the limit of [`set_global_rate_limit`](Self::set_global_rate_limit); returns whether there was one.
    pub(crate) async fn remove_global_rate_limit(&self) -> Result<bool> {
        Ok(self.call(script::set_rate_limit(None)).await? > 0)
    }

    /// Stops the fetching of workers that have a rate limit, their own or the queue's, for this time. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for less than a millisecond and for more than a year.
    pub(crate) async fn rate_limit(&self, pause: Duration) -> Result<()> {
        check_span("rate_limit", pause, SHORTEST..=YEAR)?;
        self.call(script::rate_limit(&self.keys, millis(pause))).await
    }

    /// Ends the current window of the rate limit, or a manual one; returns whether one was open. One round trip.
    pub(crate) async fn remove_rate_limit_key(&self) -> Result<bool> {
        self.call(script::remove_rate_limit_key()).await
    }

    /// Fails a job without another attempt, and asks a worker that runs it to stop. One round trip.
    pub(crate) async fn cancel(&self, id: &str, reason: &str) -> Result<Cancellation> {
        if is_no_job(id) {
            return Ok(Cancellation::NotFound);
        }
        self.call(cancel_job(id, reason)).await
    }

    /// Returns which of these attempts, given by id and token, are to stop: their positions, and the reasons. One round
    /// trip per 1,000 attempts; a single small one if the queue has no requests.
    pub(crate) async fn find_cancelled(&self, attempts: &[(impl AsRef<[u8]>, &str)]) -> Result<Vec<(usize, String)>> {
        if attempts.len() > 1 && self.call(cancel_job::count_cancels(&self.keys)).await? == 0 {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (n, asked) in attempts.chunks(CANCELS_AT_ONCE).enumerate() {
            let call = cancel_job::read_cancels(&self.keys, asked.iter().map(|(id, _)| id));
            for (i, (value, (_, token))) in self.call(call).await?.iter().zip(asked).enumerate() {
                let reason = value.as_deref().and_then(|value| cancel_job::request(value, token));
                found.extend(reason.map(|reason| (n * CANCELS_AT_ONCE + i, reason.to_owned())));
            }
        }
        Ok(found)
    }

    /// Makes a delayed job ready now, placed by its priority. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::NotInState`] if it is not delayed.
    pub(crate) async fn promote(&self, id: &str) -> Result<()> {
        self.call_job(id, promote_job(id, self.clock.now_ms())).await
    }

    /// Makes all delayed jobs ready now, the earliest due first; returns how many. One round trip per 200 jobs.
    ///
    /// As in Node they go to `wait` whatever their priority; with `by_priority` each is placed by its priority.
    pub(crate) async fn promote_jobs(&self, by_priority: bool) -> Result<u64> {
        self.requeue(JobState::Delayed, "+inf", by_priority).await
    }

    /// Changes the delay of a delayed job to `delay` from now. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`], or [`Reason::NotInState`] if it is not delayed;
    /// [`Error::InvalidOption`] for more than 2^52 ms.
    pub(crate) async fn change_delay(&self, id: &str, delay: Duration) -> Result<()> {
        check_delay(delay)?;
        self.call_job(id, change_delay(id, millis(delay), self.clock.now_ms())).await
    }

    /// Changes the priority of a job; `lifo` puts it before the others of that priority. A job that is ready moves at
    /// once; any other job uses the priority when it becomes ready. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`]; [`Error::InvalidOption`] for more than 2,097,151.
    pub(crate) async fn change_priority(&self, id: &str, priority: u32, lifo: bool) -> Result<()> {
        check_priority(priority)?;
        self.call_job(id, change_priority(id, priority, lifo)).await
    }

    /// Makes a failed or completed job ready again, placed by its priority. One round trip.
    ///
    /// The attempts made stay as they are unless they are reset: a job that had used up its attempts gets one more.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`], or [`Reason::NotInState`] if it is not in `state`;
    /// [`Error::InvalidOption`] for a state that is not finished.
    pub(crate) async fn retry_job(
        &self,
        id: &str,
        state: JobState,
        reset_attempts_made: bool,
        reset_attempts_started: bool,
    ) -> Result<()> {
        require_finished(state)?;
        let now = self.clock.now_ms();
        self.call_job(id, retry_job(id, state, reset_attempts_made, reset_attempts_started, now)).await
    }

    /// Makes all jobs ready again that failed, or completed, up to `timestamp` (ms; now by default), the first finished
    /// first; returns how many. One round trip per 200 jobs.
    ///
    /// The moment is fixed at the start: a job that fails again during the call is not retried by it. As in Node the
    /// jobs go to `wait` whatever their priority; with `by_priority` each is placed by its priority.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a state that is not finished.
    pub(crate) async fn retry_jobs(&self, state: JobState, timestamp: Option<u64>, by_priority: bool) -> Result<u64> {
        require_finished(state)?;
        let until = timestamp.unwrap_or_else(|| self.clock.now_ms());
        self.requeue(state, &until.to_string(), by_priority).await
    }

    /// Removes a job, with all its descendants if asked to. Returns false if a worker runs the job or one of its
    /// pending children. A job that does not exist counts as removed.
    ///
    /// One round trip, atomic, for up to 150 jobs. A larger family is removed in steps, children first; a worker that
    /// takes one of the remaining jobs stops the removal, and the jobs removed so far stay removed.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::BelongsToScheduler`] for the next run of a job scheduler.
    pub(crate) async fn remove(&self, id: &str, remove_children: bool) -> Result<bool> {
        self.remove_family(id, if remove_children { Family::Tree } else { Family::Alone }).await
    }

    /// Removes a job with its children and theirs as [`remove`](Self::remove) does, if each is in a queue in which that is
    /// permitted; `may` is asked by the base key of each queue that has one. Answers whether it did, and the base keys of the
    /// queues in which jobs went; or of one in which it is not permitted: then nothing was removed, or of a family of more
    /// than 150 only some.
    ///
    /// One round trip, and one more for each other queue.
    #[cfg(feature = "dashboard")]
    pub(crate) async fn remove_permitted(
        &self,
        id: &str,
        may: impl Fn(&str) -> bool,
    ) -> Result<std::result::Result<(bool, Vec<String>), String>> {
        let (mut permitted, mut step) = (vec![self.keys.base().to_owned()], 1);
        if is_no_job(id) {
            return Ok(Ok((true, permitted)));
        }
        loop {
            match self.call_job(id, script::remove_job(id, Family::Tree, step, &permitted)).await? {
                Removal::InPart => step += 1,
                Removal::Forbidden(base) if may(&base) && !permitted.contains(&base) => permitted.push(base),
                Removal::Forbidden(base) => return Ok(Err(base)),
                done => return Ok(Ok((done == Removal::Removed, permitted))),
            }
        }
    }

    /// Removes the pending descendants of a job, except those that run or have failed. The job stays, and is released
    /// if nothing is left to wait for. Round trips as [`remove`](Self::remove).
    pub(crate) async fn remove_unprocessed_children(&self, id: &str) -> Result<()> {
        self.remove_family(id, Family::Unprocessed).await.map(drop)
    }

    async fn remove_family(&self, id: &str, family: Family) -> Result<bool> {
        if is_no_job(id) {
            return Ok(true);
        }
        for step in 1_u64.. {
            match self.call_job(id, script::remove_job(id, family, step, &[])).await? {
                Removal::InPart => {}
                done => return Ok(done == Removal::Removed),
            }
        }
        Ok(true)
    }

    /// Separates a pending child from its parent; returns whether the parent waited for it. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`] or [`Reason::MissingParent`].
    pub(crate) async fn remove_child_dependency(&self, id: &str, parent_key: &str) -> Result<bool> {
        self.call_job(id, remove_child(id, parent_key)).await
    }

    /// Removes all waiting and prioritized jobs, and if asked to the delayed ones; returns how many. The next runs of
    /// job schedulers stay. One round trip per 200 jobs.
    pub(crate) async fn drain(&self, delayed: bool) -> Result<u64> {
        let all = ["wait", "paused", "prioritized", "delayed"];
        let mut open = if delayed { &all[..] } else { &all[..3] };
        let (mut kept, mut removed) = (0, 0);
        while !open.is_empty() {
            let step = self.call(script::drain(kept, open)).await?;
            open = &open[step.done..];
            kept = step.kept;
            removed += step.removed;
        }
        Ok(removed)
    }

    /// Removes up to `limit` jobs of one state (0: all) that are older than `grace`, and returns their ids.
    ///
    /// The age of a finished job counts from its end, of another from its start, or if it never started from its add.
    /// Running jobs and the next runs of job schedulers stay. One round trip per 200 jobs looked at.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for `Unknown`.
    pub(crate) async fn clean(&self, state: JobState, grace: Duration, limit: u64) -> Result<Vec<String>> {
        let Some(suffix) = state.suffix() else {
            return Err(Error::invalid("state", "there is no such set of jobs"));
        };
        let until = i128::from(self.clock.now_ms()) - i128::from(millis(grace));
        let limit = if limit == 0 { i64::MAX.unsigned_abs() } else { limit };
        let (mut kept, mut removed) = (0, Vec::new());
        loop {
            let gone = u64::try_from(removed.len()).unwrap_or(u64::MAX);
            let step = self.call(script::clean(suffix, until, limit.saturating_sub(gone), kept, gone)).await?;
            removed.extend(step.ids);
            kept = step.kept;
            if step.done {
                return Ok(removed);
            }
        }
    }

    /// Pauses the queue and deletes everything in it. One round trip per 200 jobs.
    ///
    /// # Errors
    ///
    /// [`Error::QueueState`] if jobs are active and `force` is not set, or if somebody resumed the queue meanwhile. The
    /// pause stays in force.
    pub(crate) async fn obliterate(&self, force: bool) -> Result<()> {
        self.pause().await?;
        loop {
            let problem = match self.call(script::obliterate(MOST_PER_CALL, force)).await? {
                Obliterated::Wholly => return Ok(()),
                Obliterated::InPart => continue,
                Obliterated::IsNotPaused => "the queue is not paused",
                Obliterated::HasActive => "the queue has active jobs",
            };
            return Err(Error::QueueState { op: "obliterate", problem });
        }
    }

    /// Trims the event stream to about `keep` entries; returns how many were removed. One round trip.
    pub(crate) async fn trim_events(&self, keep: u64) -> Result<u64> {
        self.call(script::trim_events(&self.keys, keep)).await
    }

    /// Trims a job's log to the newest `keep` lines; 0 deletes it. One round trip.
    pub(crate) async fn clear_logs(&self, id: &str, keep: u64) -> Result<()> {
        self.call(script::clear_logs(&self.keys, id, keep)).await
    }

    /// Ends a deduplication, whichever job it stands for; returns whether there was one. One round trip.
    pub(crate) async fn remove_deduplication_key(&self, deduplication_id: &str) -> Result<bool> {
        self.call(script::remove_deduplication_key(&self.keys, deduplication_id)).await
    }

    /// Ends a deduplication if this job stands for it; returns whether it did. One round trip.
    pub(crate) async fn remove_deduplication_key_of(&self, id: &str, deduplication_id: &str) -> Result<bool> {
        self.call(script::free_deduplication(id, deduplication_id)).await
    }

    /// Deletes jobs that are in no list and no set, up to `limit` of them (0: all); returns how many.
    ///
    /// Scans all keys of the server, and holds the ids of all waiting and active jobs in memory.
    pub(crate) async fn remove_orphaned_jobs(&self, limit: u64) -> Result<u64> {
        /// How many keys one step of the scan looks at.
        const KEYS_PER_STEP: u32 = 1_000;
        // An id that is in a list now need not be searched for there. The script checks all others again: they may have
        // moved meanwhile.
        let lists = [JobState::Waiting, JobState::Paused, JobState::Active];
        let listed: HashSet<String> = self.get_ranges(&lists, 0, -1, true).await?.into_iter().collect();
        let (mut cursor, mut removed) = ("0".to_owned(), 0);
        loop {
            let (next, keys) = self
                .call_command("SCAN", script::scan_keys("remove_orphaned_jobs", &self.keys, &cursor, KEYS_PER_STEP))
                .await?;
            let mut ids: Vec<String> = keys.iter().filter_map(|key| self.job_of(key)).collect();
            ids.retain(|id| !listed.contains(id));
            ids.sort_unstable();
            ids.dedup();
            let mut rest = &ids[..];
            while !rest.is_empty() && (limit == 0 || removed < limit) {
                let wanted = if limit == 0 { u64::MAX } else { limit - removed };
                let most = usize::try_from(wanted.min(MOST_PER_CALL.into())).unwrap_or(usize::MAX).min(rest.len());
                let (seen, deleted) = self.call(script::remove_orphans(&rest[..most])).await?;
                removed += deleted;
                rest = &rest[usize::try_from(seen).unwrap_or(most)..];
            }
            if next == "0" || (limit > 0 && removed >= limit) {
                return Ok(removed);
            }
            cursor = next;
        }
    }

    /// Returns the id of the job that a key may belong to.
    pub(crate) fn job_of(&self, key: &str) -> Option<String> {
        const PARTS: [&str; 6] = ["logs", "dependencies", "processed", "failed", "unsuccessful", "lock"];
        let suffix = key.strip_prefix(self.keys.base())?;
        let (id, part) = suffix.split_once(':').map_or((suffix, None), |(id, part)| (id, Some(part)));
        let is_part = part.is_none_or(|part| PARTS.contains(&part));
        (is_part && !id.is_empty() && !crate::keys::is_reserved(id)).then(|| id.to_owned())
    }

    async fn requeue(&self, state: JobState, until: &str, by_priority: bool) -> Result<u64> {
        let mut total = 0;
        loop {
            let now = self.clock.now_ms();
            let (seen, moved) = self.call(script::requeue_jobs(state, until, MOST_PER_CALL, by_priority, now)).await?;
            total += moved;
            if seen < u64::from(MOST_PER_CALL) {
                return Ok(total);
            }
        }
    }
}

fn require_finished(state: JobState) -> Result<()> {
    if state.is_finished() {
        return Ok(());
    }
    Err(Error::invalid("state", "only completed and failed jobs can be retried"))
}
