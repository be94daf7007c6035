//! All queues of a server at a glance: which there are, how many jobs wait where and since when, how fast they go.

mod find;
mod times;

use std::collections::HashMap;
use std::time::SystemTime;

use futures::stream::{self, StreamExt};

pub use find::FindQueues;
pub use times::{JobTimes, MinuteCounts};

use crate::client::Client;
use crate::clock::from_epoch_ms;
use crate::engine::{ClientInfo, workers_by_queue};
use crate::error::Result;
use crate::script::summarize_queue::Summary;
use crate::state::JobCounts;

/// Of how many minutes an overview has the numbers of finished jobs.
const MINUTES: u32 = 60;

/// Of each kind of end so many jobs are looked at for the times that they took.
const RECENT: u32 = 10;

/// So many queues are asked at once.
const AT_ONCE: usize = 32;

/// What a queue does at this moment.
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
    /// The job that has waited longest, of those that come next.
    pub oldest_waiting: Option<OldestJob>,
    /// When the first delayed job is due; a moment that has passed means that no worker takes it.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub next_due: Option<SystemTime>,
    /// How many jobs finished within the last minute, of those that are kept.
    pub last_minute: FinishedCounts,
    /// How many jobs finished within the last hour, of those that are kept.
    pub last_hour: FinishedCounts,
    /// When the last job completed, of those that are kept.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub last_completed: Option<SystemTime>,
    /// When the last job failed for good, of those that are kept.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub last_failed: Option<SystemTime>,
    /// How many job schedulers there are.
    pub schedulers: u64,
    /// How many jobs completed in each minute, if a worker counts them.
    pub completed: MinuteCounts,
    /// How many jobs failed for good in each minute, if a worker counts them.
    pub failed: MinuteCounts,
    /// How long the jobs that finished last waited and ran; those that are removed when they finish are not among them.
    pub times: JobTimes,
    /// The most jobs that may be active at once over all workers.
    pub global_concurrency: Option<u64>,
    /// Which library wrote the queue's settings last, and its version, as `bullmq:5.81.5`.
    pub version: Option<String>,
}

/// How many jobs finished in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FinishedCounts {
    /// With success.
    pub completed: u64,
    /// For good without success.
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
    /// A queue is there once its settings were written, which every library does when it opens one. They are found by a
    /// scan of the server's keys, in steps of about a millisecond: on a server with ten million keys that takes some ten
    /// seconds, so keep the names.
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

    /// Reads what a queue does at this moment: counts, oldest job, rates and times. One round trip, one moment, some fifty
    /// commands however many jobs there are.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a name that no queue can have.
    pub async fn get_queue_overview(&self, queue: &str) -> Result<QueueOverview> {
        let core = self.core(queue)?;
        let summary = core.engine().summarize(MINUTES, RECENT).await?;
        Ok(QueueOverview::new(queue, core.engine().clock.now_ms(), summary))
    }

    /// Reads what many queues do, in the order of their names; each has an answer of its own. A round trip for each, many of
    /// them at once.
    pub async fn get_queue_overviews(&self, queues: &[String]) -> Vec<Result<QueueOverview>> {
        // Made at once: a closure over borrowed names would keep the future from being `Send`.
        let calls: Vec<_> = queues.iter().map(|queue| self.get_queue_overview(queue)).collect();
        stream::iter(calls).buffered(AT_ONCE).collect().await
    }

    /// Lists the workers of all queues that are connected to the server, by their queue. One round trip, to all masters of a cluster at
    /// once; those that do not answer are left out, and told in the log.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`](crate::Error::NotPermitted) if the user may not list clients.
    pub async fn get_all_workers(&self) -> Result<HashMap<String, Vec<ClientInfo>>> {
        workers_by_queue(&self.server_engine()?).await
    }
}
