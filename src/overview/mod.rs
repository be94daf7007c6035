//! Summaries of all queues of a server: which queues exist, how many jobs wait and since when, how fast they are
//! processed.
//!
//! [`Client::find_queues`](crate::Client::find_queues) finds the names of queues,
//! [`Client::get_queue_overview`](crate::Client::get_queue_overview) returns a [`QueueOverview`] of one, and
//! [`Client::get_all_workers`](crate::Client::get_all_workers) lists the workers of all.

mod find;
mod times;

use std::collections::HashMap;
use std::time::SystemTime;

use futures::future::join_all;
use futures::stream::{FuturesOrdered, StreamExt};

pub use find::FindQueues;
pub use times::{JobTimes, MinuteCounts};

use crate::client::Client;
use crate::clock::from_epoch_ms;
use crate::engine::{ClientInfo, workers_by_queue};
use crate::error::Result;
use crate::script::run_id;
use crate::script::summarize_queue::Summary;
use crate::state::JobCounts;

/// For how many minutes an overview has the numbers of finished jobs.
const MINUTES: u32 = 60;

/// How many completed and how many failed jobs are looked at for the times that they took.
const RECENT: u32 = 10;

/// How many queues are read at the same time, unless the server is away.
const AT_ONCE: usize = 32;

/// The present state of a queue.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// let mails = client.get_queue_overview("mails").await?;
/// println!("{} wait, {} failed in the last hour", mails.waiting(), mails.last_hour.failed);
/// if let Some(oldest) = &mails.oldest_waiting {
///     println!("job {} since {:?}", oldest.id, oldest.added_at);
/// }
/// println!("they wait for {:?}, and run for {:?}", mails.times.wait_median, mails.times.run_median);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueOverview {
    /// Its name.
    pub name: String,
    /// How many jobs it has in each state.
    pub counts: JobCounts,
    /// Whether it is paused for all workers.
    pub is_paused: bool,
    /// The job that has waited longest among the next jobs.
    pub oldest_waiting: Option<OldestJob>,
    /// When the first delayed job is due; a moment in the past means that no worker takes it.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub next_due: Option<SystemTime>,
    /// How many jobs finished in the last minute, counting those that are kept.
    pub last_minute: FinishedCounts,
    /// How many jobs finished in the last hour, counting those that are kept.
    pub last_hour: FinishedCounts,
    /// When the last job completed, among those that are kept.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub last_completed: Option<SystemTime>,
    /// When the last job failed for good, among those that are kept.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub last_failed: Option<SystemTime>,
    /// How many job schedulers there are.
    pub schedulers: u64,
    /// How many jobs completed in each minute, if a worker collects metrics.
    pub completed: MinuteCounts,
    /// How many jobs failed for good in each minute, if a worker collects metrics.
    pub failed: MinuteCounts,
    /// How long the last finished jobs waited and ran; jobs that are removed when they finish are not included.
    pub times: JobTimes,
    /// How many jobs may be active at once, over all workers.
    pub global_concurrency: Option<u64>,
    /// Which library wrote the queue's settings last, with its version, such as `bullmq:5.81.5`.
    pub version: Option<String>,
}

/// How many jobs finished in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FinishedCounts {
    /// How many completed.
    pub completed: u64,
    /// How many failed for good.
    pub failed: u64,
}

impl FinishedCounts {
    fn new([completed, failed]: [u64; 2]) -> Self {
        Self { completed, failed }
    }
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OldestJob {
    /// Its id.
    pub id: String,
    /// When it was added.
    #[serde(serialize_with = "crate::clock::as_ms")]
    pub added_at: SystemTime,
}

impl QueueOverview {
    fn new(name: &str, now: u64, summary: Summary) -> Self {
        Self {
            name: name.to_owned(),
            counts: summary.counts,
            is_paused: summary.is_paused,
            oldest_waiting: summary.oldest.map(|(id, since)| OldestJob { id, added_at: from_epoch_ms(since) }),
            next_due: summary.due.map(from_epoch_ms),
            last_minute: FinishedCounts::new(summary.last_minute),
            last_hour: FinishedCounts::new(summary.last_hour),
            last_completed: summary.last[0].map(from_epoch_ms),
            last_failed: summary.last[1].map(from_epoch_ms),
            schedulers: summary.schedulers,
            completed: MinuteCounts::new(now, MINUTES as usize, summary.completed),
            failed: MinuteCounts::new(now, MINUTES as usize, summary.failed),
            times: JobTimes::of(&summary.recent),
            global_concurrency: summary.concurrency,
            version: summary.version,
        }
    }

    /// Returns how many jobs wait for a worker, with and without a priority.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.counts.waiting + self.counts.paused + self.counts.prioritized
    }
}

impl Client {
    /// Finds the queues under this client's prefix, page by page.
    ///
    /// A queue exists once its settings were written, which every library does when it opens one. Queues are found by a
    /// scan of the server's keys, in steps of about a millisecond: on a server with ten million keys that takes some
    /// ten seconds, so keep the names.
    ///
    /// ```no_run
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// for name in client.find_queues().all().await? {
    ///     let overview = client.get_queue_overview(&name).await?;
    ///     println!("{name}: {} wait", overview.waiting());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn find_queues(&self) -> FindQueues {
        FindQueues::new(self)
    }

    /// Reads the present state of a queue: counts, oldest job, rates and times. One round trip, read at one moment,
    /// with some fifty commands however many jobs there are.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a name that no queue can have.
    pub async fn get_queue_overview(&self, queue: &str) -> Result<QueueOverview> {
        let core = self.core(queue)?;
        let summary = core.engine().summarize(MINUTES, RECENT).await?;
        Ok(QueueOverview::new(queue, core.engine().clock.now_ms(), summary))
    }

    /// Reads the present state of many queues, in the order of their names; each has a result of its own. One round
    /// trip each, many of them at the same time. While the server is away this takes about twice as long as one call, however
    /// many queues there are.
    pub async fn get_queue_overviews(&self, queues: &[String]) -> Vec<Result<QueueOverview>> {
        // Collected first: a closure over borrowed names would keep the future from being `Send`.
        let calls: Vec<_> = queues.iter().map(|queue| self.get_queue_overview(queue)).collect();
        all_of(calls).await
    }

    /// Lists the connected workers of all queues, by queue, of this client's database only. One round trip, to all masters of a cluster at once; those
    /// that do not answer are left out, which is logged.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`](crate::Error::NotPermitted) if the user may not list clients.
    pub async fn get_all_workers(&self) -> Result<HashMap<String, Vec<ClientInfo>>> {
        workers_by_queue(&self.server_engine()?).await
    }

    /// Returns the run id of the server; on a cluster those of all masters. A server gets another one at each start, so two
    /// calls that differ tell that between them a server was restarted, or another one has taken over: what the former had
    /// not stored or replicated is lost. Empty if no server tells. One round trip, to all masters at once.
    ///
    /// ```no_run
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// let before = client.get_run_ids().await?;
    /// // … a long read …
    /// if client.get_run_ids().await? != before {
    ///     println!("the server was restarted meanwhile");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`](crate::Error::NotPermitted) if the user may not call `INFO`; on a cluster also errors of a
    /// single master.
    ///
    /// Not in BullMQ.
    pub async fn get_run_ids(&self) -> Result<Vec<String>> {
        let servers = self.server_engine()?.everywhere();
        let asked = servers.iter().map(|server| server.call_command("INFO", run_id()));
        let mut ids: Vec<String> =
            join_all(asked).await.into_iter().filter_map(Result::transpose).collect::<Result<_>>()?;
        ids.sort_unstable();
        Ok(ids)
    }
}

/// Makes these calls, [`AT_ONCE`] at a time, and returns their results in order. Once one has found the server away, the
/// others are made all together: one after the other each would wait for it anew.
async fn all_of<T>(calls: Vec<impl Future<Output = Result<T>>>) -> Vec<Result<T>> {
    let (mut calls, mut at_once) = (calls.into_iter(), AT_ONCE);
    let (mut underway, mut answers) = (FuturesOrdered::new(), Vec::new());
    loop {
        let free = at_once.saturating_sub(underway.len());
        underway.extend(calls.by_ref().take(free));
        let Some(answer) = underway.next().await else { return answers };
        if matches!(&answer, Err(error) if error.is_retryable()) {
            at_once = usize::MAX;
        }
        answers.push(answer);
    }
}
