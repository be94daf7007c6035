//! Administration: everything that changes a queue or a job and is neither an add nor a worker's business.

use std::collections::HashSet;
use std::time::Duration;

use redis::{Cmd, Value};

use super::{Engine, Repeat};
use crate::clock::millis;
use crate::error::{Error, Reason, Result};
use crate::keys::is_no_job;
use crate::options::{MAX_SAFE, SHORTEST, YEAR, check_delay, check_priority, check_rate_limit, check_span};
use crate::script::{Args, Script, admin, read, update};
use crate::state::JobState;

/// The most that one call of a script works on: two or three milliseconds of the server's time.
const MOST_PER_CALL: u32 = 200;

impl Engine {
    /// Writes what a queue says of itself when it is opened: our version, and the length of the event stream.
    ///
    /// Without `max_events` a length that is there stays, where Node overwrites it with its default. One round trip.
    pub(crate) async fn open_queue(&self, max_events: Option<u64>) -> Result<()> {
        let mut args = Args::default();
        args.text(concat!("bullmq:oxmq-", env!("CARGO_PKG_VERSION"))).maybe(max_events);
        self.run(&admin::OPEN, &args, Repeat::Safe).await.map(drop)
    }

    /// Lets no worker fetch from this queue; jobs that run go on. One round trip.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.run(&admin::PAUSE, &Args::default(), Repeat::Safe).await.map(drop)
    }

    /// Lets workers fetch again. One round trip; one more for every 1,000 jobs that a BullMQ 5 set aside, and the queue
    /// stays paused until all of those are back.
    pub(crate) async fn resume(&self) -> Result<()> {
        while self.number(&admin::RESUME, &Args::default(), Repeat::Safe).await? > 0 {}
        Ok(())
    }

    /// Lets at most `limit` jobs be active at once, over all workers. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for 0: pause the queue instead.
    pub(crate) async fn set_global_concurrency(&self, limit: u32) -> Result<()> {
        if limit == 0 {
            return Err(Error::invalid("concurrency", "it must be at least 1"));
        }
        self.tune(&[("concurrency", &limit.to_string())]).await.map(drop)
    }

    /// Ends the limit of [`set_global_concurrency`](Self::set_global_concurrency); says whether there was one.
    pub(crate) async fn remove_global_concurrency(&self) -> Result<bool> {
        Ok(self.tune(&[("concurrency", "")]).await? > 0)
    }

    /// Lets at most `max` jobs be fetched in each `window`, over all workers. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for no jobs, and for a window under a millisecond or over a year.
    pub(crate) async fn set_global_rate_limit(&self, max: u64, window: Duration) -> Result<()> {
        check_rate_limit("rate_limit", max, window)?;
        self.tune(&[("max", &max.to_string()), ("duration", &millis(window).to_string())]).await.map(drop)
    }

    /// Ends the limit of [`set_global_rate_limit`](Self::set_global_rate_limit); says whether there was one.
    pub(crate) async fn remove_global_rate_limit(&self) -> Result<bool> {
        Ok(self.tune(&[("max", ""), ("duration", "")]).await? > 0)
    }

    /// Lets workers that have a limit, their own or the queue's, fetch nothing for this time. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] under a millisecond and over a year.
    pub(crate) async fn rate_limit(&self, pause: Duration) -> Result<()> {
        check_span("rate_limit", pause, SHORTEST..=YEAR)?;
        let mut cmd = Cmd::new();
        // The largest number that Node can count to exhausts every limit.
        cmd.arg("SET").arg(self.keys.key("limiter")).arg(MAX_SAFE).arg("PX").arg(millis(pause));
        self.command("rate_limit", &cmd).await.map(drop)
    }

    /// Starts a new window of the rate limit, also of a manual one; says whether one was open. One round trip.
    pub(crate) async fn remove_rate_limit_key(&self) -> Result<bool> {
        Ok(self.number(&admin::REMOVE_RATE_LIMIT_KEY, &Args::default(), Repeat::Safe).await? == 1)
    }

    /// Lets a delayed job run now, by its priority. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::NotInState`] if it is not delayed.
    pub(crate) async fn promote(&self, id: &str) -> Result<()> {
        self.job_code(&admin::PROMOTE, id, &admin::texts(&[id]), Repeat::Never).await.map(drop)
    }

    /// Lets all delayed jobs run now, the earliest due first; says how many. One round trip for each 200 jobs.
    ///
    /// As in Node they go to `wait` whatever their priority, or `by_priority`.
    pub(crate) async fn promote_jobs(&self, by_priority: bool) -> Result<u64> {
        self.requeue(JobState::Delayed, "+inf", by_priority).await
    }

    /// Lets a delayed job become due after `delay` from now. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`], or [`Reason::NotInState`] if it is not delayed;
    /// [`Error::InvalidOption`] above 2^52 ms.
    pub(crate) async fn change_delay(&self, id: &str, delay: Duration) -> Result<()> {
        check_delay(delay)?;
        let mut args = Args::default();
        args.text(id).number(millis(delay)).number(self.clock.now_ms());
        self.job_code(&admin::DELAY, id, &args, Repeat::Safe).await.map(drop)
    }

    /// Gives a job another priority; `lifo` puts it before the others of that priority. A job that waits moves at
    /// once, others take it along. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`]; [`Error::InvalidOption`] above 2,097,151.
    pub(crate) async fn change_priority(&self, id: &str, priority: u32, lifo: bool) -> Result<()> {
        check_priority(priority)?;
        let mut args = Args::default();
        args.text(id).number(priority).flag(lifo);
        self.job_code(&admin::PRIORITY, id, &args, Repeat::Safe).await.map(drop)
    }

    /// Lets a failed or completed job run again, by its priority. One round trip.
    ///
    /// The attempts made stay as they are unless they are reset: a job that had used them up gets one more.
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
        let mut args = Args::default();
        args.text(id).text(state.as_str()).flag(reset_attempts_made).flag(reset_attempts_started);
        self.job_code(&admin::RETRY, id, &args, Repeat::Never).await.map(drop)
    }

    /// Lets all jobs run again that failed, or completed, up to `timestamp` (ms; now by default), the first finished
    /// first; says how many. One round trip for each 200 jobs.
    ///
    /// The moment is fixed at the start: a job that fails again during the call is not retried by it. As in Node the
    /// jobs go to `wait` whatever their priority, or `by_priority`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a state that is not finished.
    pub(crate) async fn retry_jobs(&self, state: JobState, timestamp: Option<u64>, by_priority: bool) -> Result<u64> {
        require_finished(state)?;
        let until = timestamp.unwrap_or_else(|| self.clock.now_ms());
        self.requeue(state, &until.to_string(), by_priority).await
    }

    /// Removes a job, with its children and theirs if asked to; says whether it did. False: a worker holds the job or
    /// one of its pending children. A job that does not exist counts as removed.
    ///
    /// One round trip, atomic, for up to 150 jobs. A larger family goes in steps, children first; a worker that
    /// takes one of the rest meanwhile stops it, and what has gone is gone.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::BelongsToScheduler`] for the pending iteration of a job scheduler.
    pub(crate) async fn remove(&self, id: &str, remove_children: bool) -> Result<bool> {
        self.remove_family(id, if remove_children { "tree" } else { "alone" }).await
    }

    /// Removes the pending children of a job and theirs, except those that run or have failed. The job stays, and is
    /// let go if nothing is left to wait for. Round trips as [`remove`](Self::remove).
    pub(crate) async fn remove_unprocessed_children(&self, id: &str) -> Result<()> {
        self.remove_family(id, "unprocessed").await.map(drop)
    }

    async fn remove_family(&self, id: &str, what: &str) -> Result<bool> {
        if is_no_job(id) {
            return Ok(true);
        }
        for step in 1_u64.. {
            let mut args = Args::default();
            args.text(id).text(what).number(step);
            match self.job_code(&admin::REMOVE, id, &args, Repeat::Safe).await? {
                2 => {}
                done => return Ok(done == 1),
            }
        }
        Ok(true)
    }

    /// Takes a pending child away from its parent; says whether the parent waited for it. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Reason::MissingJob`] or [`Reason::MissingParent`].
    pub(crate) async fn remove_child_dependency(&self, id: &str, parent_key: &str) -> Result<bool> {
        let args = admin::texts(&[id, parent_key]);
        Ok(self.job_code(&admin::REMOVE_CHILD, id, &args, Repeat::Never).await? == 1)
    }

    /// Removes all jobs that wait, with or without a priority, and if asked to the delayed ones; says how many. The
    /// pending iterations of job schedulers stay. One round trip for each 200 jobs.
    pub(crate) async fn drain(&self, delayed: bool) -> Result<u64> {
        let all = ["wait", "paused", "prioritized", "delayed"];
        let mut open = if delayed { &all[..] } else { &all[..3] };
        let (mut kept, mut removed) = (0, 0);
        while !open.is_empty() {
            let mut args = Args::default();
            args.number(kept);
            for name in open {
                args.text(name);
            }
            let reply = self.run(&admin::DRAIN, &args, Repeat::Safe).await?;
            let step = admin::drained(reply).filter(|step| step.done <= open.len());
            let step = step.ok_or(Error::OutcomeUnknown { op: admin::DRAIN.name })?;
            open = &open[step.done..];
            kept = step.kept;
            removed += step.removed;
        }
        Ok(removed)
    }

    /// Removes up to `limit` jobs of one state (0: all) that are older than `grace`, and names them.
    ///
    /// The age counts from the end of a finished job, else from its start or, if it never started, from its add. Jobs
    /// that run and the pending iterations of job schedulers stay. One round trip for each 200 jobs looked at.
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
            let mut args = Args::default();
            args.text(suffix).text(until.to_string()).number(limit.saturating_sub(gone)).number(kept).number(gone);
            let reply = self.run(&admin::CLEAN, &args, Repeat::Safe).await?;
            let step = admin::cleaned(reply).ok_or(Error::OutcomeUnknown { op: admin::CLEAN.name })?;
            removed.extend(step.ids);
            kept = step.kept;
            if step.done {
                return Ok(removed);
            }
        }
    }

    /// Pauses the queue and deletes it with everything in it, 200 jobs in each round trip.
    ///
    /// # Errors
    ///
    /// [`Error::QueueState`] if jobs are active and `force` is not set, or if somebody resumed the queue meanwhile. The
    /// pause stays in force.
    pub(crate) async fn obliterate(&self, force: bool) -> Result<()> {
        const OP: &str = "obliterate";
        self.pause().await?;
        let mut args = Args::default();
        args.number(MOST_PER_CALL).flag(force);
        loop {
            let problem = match self.run(&admin::OBLITERATE, &args, Repeat::Safe).await? {
                Value::Int(0) => return Ok(()),
                Value::Int(1) => continue,
                Value::Int(-1) => "the queue is not paused",
                Value::Int(-2) => "the queue has active jobs",
                _ => return Err(Error::OutcomeUnknown { op: OP }),
            };
            return Err(Error::QueueState { op: OP, problem });
        }
    }

    /// Shortens the event stream to about `keep` entries; says how many went. One round trip.
    pub(crate) async fn trim_events(&self, keep: u64) -> Result<u64> {
        const OP: &str = "trim_events";
        let mut cmd = Cmd::new();
        cmd.arg("XTRIM").arg(self.keys.events()).arg("MAXLEN").arg("~").arg(keep.min(MAX_SAFE));
        read::unsigned(&self.command(OP, &cmd).await?).ok_or(Error::OutcomeUnknown { op: OP })
    }

    /// Keeps the newest `keep` lines of a job's log, or none. One round trip.
    pub(crate) async fn clear_logs(&self, id: &str, keep: u64) -> Result<()> {
        const OP: &str = "clear_logs";
        let logs = self.keys.job(id) + ":logs";
        let mut cmd = Cmd::new();
        if keep == 0 {
            cmd.arg("DEL").arg(logs);
        } else {
            cmd.arg("LTRIM").arg(logs).arg(-i128::from(keep.min(MAX_SAFE))).arg(-1);
        }
        self.command(OP, &cmd).await.map(drop)
    }

    /// Ends a deduplication, whichever job it stands for; says whether there was one. One round trip.
    pub(crate) async fn remove_deduplication_key(&self, deduplication_id: &str) -> Result<bool> {
        self.delete("remove_deduplication_key", &format!("de:{deduplication_id}")).await
    }

    /// Ends a deduplication if this job stands for it; says whether it did. One round trip.
    pub(crate) async fn remove_deduplication_key_of(&self, id: &str, deduplication_id: &str) -> Result<bool> {
        let args = admin::texts(&[id, deduplication_id]);
        Ok(self.number(&admin::FREE_DEDUPLICATION, &args, Repeat::Safe).await? == 1)
    }

    /// Deletes jobs that are in no list and no set, up to `limit` of them (0: all); says how many.
    ///
    /// Scans the whole keyspace of the server. Holds the ids of all jobs that wait or run.
    pub(crate) async fn remove_orphaned_jobs(&self, limit: u64) -> Result<u64> {
        const OP: &str = "remove_orphaned_jobs";
        /// How many keys one step looks at.
        const KEYS_PER_STEP: u32 = 1_000;
        // What is in a list now need not be searched for there. The script looks again at all others: they may have
        // moved meanwhile.
        let lists = [JobState::Waiting, JobState::Paused, JobState::Active];
        let listed: HashSet<String> = self.get_ranges(&lists, 0, -1, true).await?.into_iter().collect();
        let pattern = glob(self.keys.base());
        let (mut cursor, mut removed) = ("0".to_owned(), 0);
        loop {
            let mut cmd = Cmd::new();
            cmd.arg("SCAN").arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PER_STEP);
            let (next, keys) = scanned(self.ask(OP, &cmd).await?).ok_or(Error::Reply { op: OP })?;
            let mut ids: Vec<String> = keys.iter().filter_map(|key| self.job_of(key)).collect();
            ids.retain(|id| !listed.contains(id));
            ids.sort_unstable();
            ids.dedup();
            let mut rest = &ids[..];
            while !rest.is_empty() && (limit == 0 || removed < limit) {
                let wanted = if limit == 0 { u64::MAX } else { limit - removed };
                let most = usize::try_from(wanted.min(MOST_PER_CALL.into())).unwrap_or(usize::MAX).min(rest.len());
                let reply = self.run(&admin::REMOVE_ORPHANS, &admin::texts(&rest[..most]), Repeat::Safe).await?;
                let step = admin::looked_at(reply).filter(|(seen, _)| (1..=most as u64).contains(seen));
                let (seen, deleted) = step.ok_or(Error::OutcomeUnknown { op: OP })?;
                removed += deleted;
                rest = &rest[usize::try_from(seen).unwrap_or(most)..];
            }
            if next == "0" || (limit > 0 && removed >= limit) {
                return Ok(removed);
            }
            cursor = next;
        }
    }

    /// The id of the job that a key may belong to.
    fn job_of(&self, key: &str) -> Option<String> {
        const PARTS: [&str; 6] = ["logs", "dependencies", "processed", "failed", "unsuccessful", "lock"];
        let suffix = key.strip_prefix(self.keys.base())?;
        let (id, part) = suffix.split_once(':').map_or((suffix, None), |(id, part)| (id, Some(part)));
        let is_part = part.is_none_or(|part| PARTS.contains(&part));
        (is_part && !id.is_empty() && !crate::keys::is_reserved(id)).then(|| id.to_owned())
    }

    async fn requeue(&self, state: JobState, until: &str, by_priority: bool) -> Result<u64> {
        let mut args = Args::default();
        args.text(state.as_str()).text(until).number(MOST_PER_CALL).flag(by_priority);
        let mut total = 0;
        loop {
            let reply = self.run(&admin::REQUEUE, &args, Repeat::Safe).await?;
            let (seen, moved) = admin::looked_at(reply).ok_or(Error::OutcomeUnknown { op: admin::REQUEUE.name })?;
            total += moved;
            if seen < u64::from(MOST_PER_CALL) {
                return Ok(total);
            }
        }
    }

    async fn tune(&self, fields: &[(&str, &str)]) -> Result<i64> {
        self.number(&admin::TUNE, &update::pairs(fields), Repeat::Safe).await
    }

    async fn delete(&self, op: &'static str, suffix: &str) -> Result<bool> {
        let mut cmd = Cmd::new();
        cmd.arg("DEL").arg(self.keys.key(suffix));
        Ok(self.command(op, &cmd).await? == Value::Int(1))
    }

    async fn number(&self, script: &Script, args: &Args, repeat: Repeat) -> Result<i64> {
        match self.run(script, args, repeat).await? {
            Value::Int(number) => Ok(number),
            _ => Err(Error::OutcomeUnknown { op: script.name }),
        }
    }

    async fn job_code(&self, script: &Script, id: &str, args: &Args, repeat: Repeat) -> Result<i64> {
        Self::check_id(script.name, id)?;
        let number = self.number(script, args, repeat).await?;
        Self::accept(script.name, id, Reason::from_code(number).map(|()| number))
    }
}

fn require_finished(state: JobState) -> Result<()> {
    if state.is_finished() {
        return Ok(());
    }
    Err(Error::invalid("state", "only completed and failed jobs can be retried"))
}

/// A `MATCH` pattern for every key that begins with `base`.
fn glob(base: &str) -> String {
    let mut pattern = String::with_capacity(base.len() + 8);
    for letter in base.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "*"
}

fn scanned(value: Value) -> Option<(String, Vec<String>)> {
    let [cursor, keys] = read::array(value)?.try_into().ok()?;
    let keys = read::array(keys)?.into_iter().filter_map(crate::script::string).collect();
    Some((crate::script::string(cursor)?, keys))
}
