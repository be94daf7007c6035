//! Reads, counts and changes the jobs of a queue that match a filter.

mod bulk;

use futures::Stream;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;

pub use bulk::{BulkAction, BulkOutcome, BulkReport, BulkRun, BulkStep};

use super::Queue;
use crate::engine::{JobsCursor, Scan};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::options::JobFilter;
use crate::state::{JobState, Order};

/// How many steps one page makes at most, however little it finds: some 10,000 jobs are looked at, in about 20 ms.
const STEPS_PER_PAGE: usize = 20;

impl<D, R> Queue<D, R> {
    /// Selects jobs of this queue by a filter, or all of a state: to read them, to count them, or to change each.
    ///
    /// However many there are, this goes in steps that each take about a millisecond of the server's time; it can be
    /// stopped after each step and continued later. Nothing is sent before one of its methods is awaited.
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
    /// use std::time::Duration;
    /// use oxmq::options::JobFilter;
    ///
    /// let report = queue.jobs(JobFilter::failed().name("mail")).retry().await?;
    /// println!("{} run again", report.done);
    ///
    /// let old = JobFilter::completed().older_than(Duration::from_secs(86_400));
    /// queue.jobs(old).remove().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// BullMQ has this without a filter only: `Queue.retryJobs`, `Queue.promoteJobs`, `Queue.clean`.
    #[doc(alias = "retryJobs")]
    #[doc(alias = "search")]
    pub fn jobs(&self, filter: impl Into<JobFilter>) -> Jobs<D, R> {
        Jobs { queue: self.clone(), filter: filter.into(), order: None, limit: None, cursor: None }
    }
}

/// The jobs of a queue that match a filter. Created by [`Queue::jobs`].
///
/// Jobs may change while they are read: a job that changes its state may be found in both states or in neither, and a
/// job in a list that changes quickly may be found twice.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// use oxmq::options::JobFilter;
///
/// let failed = queue.jobs(JobFilter::failed().name("receipt"));
/// println!("{} receipts have failed", failed.clone().count().await?);
/// failed.retry().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is looked for until one of its methods is awaited"]
pub struct Jobs<D, R> {
    queue: Queue<D, R>,
    filter: JobFilter,
    order: Option<Order>,
    limit: Option<u64>,
    cursor: Option<JobsCursor>,
}

/// One page of the jobs that match a filter. Created by [`Jobs::page`].
#[derive(Debug)]
#[non_exhaustive]
pub struct JobsPage<D, R> {
    /// The jobs; one that cannot be read is an `Err`.
    pub jobs: Vec<Result<Job<D, R>>>,
    /// The id of each job, in the same order, including those that cannot be read.
    pub ids: Vec<String>,
    /// The state in which each job was found, in the same order.
    pub states: Vec<JobState>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<JobsCursor>,
    /// How many jobs have been looked at for this page and those before it.
    pub looked_at: u64,
}

impl<D, R> Jobs<D, R> {
    /// Sets the order in which jobs are read. [`Ascending`](Order::Ascending): what runs next, is due first or has
    /// finished first. Default: ascending in sorted sets; in lists of waiting or active jobs the job added last comes
    /// first, since in that order no job is skipped while workers take others. Actions always use the default order.
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// Limits how many jobs are taken. Default: all.
    ///
    /// It holds also where a reply is lost: what such a call was to take away counts as
    /// [`unknown`](super::BulkReport::unknown), and against the limit.
    pub fn limit(mut self, jobs: u64) -> Self {
        self.limit = Some(jobs);
        self
    }

    /// Continues where an earlier search with the same filter and order has stopped.
    pub fn resume(mut self, cursor: JobsCursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    fn scan(&self, order: Option<Order>) -> Result<Scan> {
        self.queue.core.engine().scan(self.filter.clone(), order, self.cursor.clone())
    }

    /// Counts the jobs. One round trip per 500 jobs of the states.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a filter that breaks a rule.
    pub async fn count(self) -> Result<u64> {
        let mut scan = self.scan(None)?;
        let limit = self.limit.unwrap_or(u64::MAX);
        let mut count = 0;
        while !scan.is_done() && count < limit {
            count += scan.count_step(self.queue.core.engine(), limit - count).await?;
        }
        Ok(count)
    }

    /// Reads a page of at most `most` jobs; at least 1.
    ///
    /// A page ends early if little is found: it looks at some 10,000 jobs, in up to 20 round trips, and
    /// [`next`](JobsPage::next) tells where to continue. So an empty page need not be the last one.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count).
    pub async fn page(self, most: u32) -> Result<JobsPage<D, R>>
    where
        D: DeserializeOwned,
    {
        let mut scan = self.scan(self.order)?;
        let most = u64::from(most.max(1)).min(self.limit.unwrap_or(u64::MAX));
        let (mut jobs, mut ids, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..STEPS_PER_PAGE {
            let missing = most.saturating_sub(jobs.len() as u64);
            if missing == 0 {
                break;
            }
            let Some(found) = scan.jobs_step(self.queue.core.engine(), missing).await? else { break };
            states.extend(std::iter::repeat_n(found.state, found.items.len()));
            for raw in found.items {
                ids.push(match &raw {
                    Ok(raw) => raw.id().to_owned(),
                    Err(undecodable) => undecodable.partial.id().to_owned(),
                });
                jobs.push(raw.map_err(Error::from).and_then(|raw| self.queue.read_job(raw)));
            }
        }
        let next = Some(scan.cursor().clone()).filter(|_| !scan.is_done());
        Ok(JobsPage { jobs, ids, states, next, looked_at: scan.cursor().looked_at() })
    }

    /// Reads the jobs one after the other; a job that cannot be read is an error, and others follow. One round trip per
    /// 100 jobs found or 500 looked at, on demand.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count), and errors of the connection; such an error is the last item.
    pub fn stream(self) -> impl Stream<Item = Result<Job<D, R>>> + Send + use<D, R>
    where
        D: DeserializeOwned + Send + 'static,
        R: 'static,
    {
        let (queue, left) = (self.queue.clone(), self.limit.unwrap_or(u64::MAX));
        let scan = stream::once(std::future::ready(self.scan(self.order)));
        scan.map_ok(move |scan| {
            stream::try_unfold((scan, queue.clone(), left), |(mut scan, queue, left)| async move {
                let found = match left {
                    0 => None,
                    _ => scan.jobs_step(queue.core.engine(), left).await?,
                };
                let chunk = found.map(|found| {
                    let jobs: Vec<Result<Job<D, R>>> =
                        found.items.into_iter().map(|raw| queue.read_job(raw?)).collect();
                    let left = left.saturating_sub(jobs.len() as u64);
                    (stream::iter(jobs), (scan, queue, left))
                });
                Ok::<_, crate::error::Error>(chunk)
            })
            .try_flatten()
        })
        .try_flatten()
        .boxed()
    }

    /// Counts the jobs of the filter's states, whatever else it says: that many a search looks at, which is useful for
    /// a progress bar. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    pub async fn count_candidates(&self) -> Result<u64> {
        self.filter.check()?;
        self.queue.core.engine().count_places(&self.filter).await
    }
}
