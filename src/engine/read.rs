//! Reads jobs, counts, states, settings, logs and metrics. Nothing here changes a job.

use std::collections::HashSet;
use std::time::SystemTime;

use super::client_info::{self, ClientInfo};
use super::{Engine, prometheus};
use crate::error::{Error, Reason, Result};
use crate::keys::is_no_job;
use crate::options::MAX_SAFE;
use crate::script::count_children::ChildCounts;
use crate::script::get_children::{ChildKind, ChildPage};
use crate::script::get_meta::QueueMeta;
use crate::script::get_metrics::Metrics;
use crate::script::list_jobs::{ReadSpan, Span};
use crate::script::read_finished::{Finished, read_finished};
use crate::script::{self, Call, list_ids, list_jobs};
use crate::state::{JobCounts, JobState};
use crate::wire::job::{RawJob, Undecodable, UndecodableKind};

/// How many positions one call looks at. Reading an id costs a fraction of reading a job.
const JOBS_PER_CALL: u32 = 200;
const IDS_PER_CALL: u32 = 2_500;

impl Engine {
    /// Returns the job with this id; `None` if there is none. One round trip.
    ///
    /// A hash without name and data, which a late write leaves of a removed job, is no job.
    pub(crate) async fn get_job(&self, id: &str) -> Result<Option<RawJob>> {
        Ok(self.get_stored_job(id).await?.transpose()?)
    }

    /// Returns a job as [`get_job`](Self::get_job) does, and what can be read of one that cannot be decoded.
    pub(crate) async fn get_stored_job(&self, id: &str) -> Result<Option<Result<RawJob, Undecodable>>> {
        if is_no_job(id) {
            return Ok(None);
        }
        let fields = self.call(script::get_job(&self.keys, id)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        match RawJob::from_pairs(id.as_bytes().to_vec(), fields) {
            Err(ghost) if ghost.kind == UndecodableKind::Ghost => Ok(None),
            decoded => Ok(Some(decoded)),
        }
    }

    /// Returns a job as [`get_job`](Self::get_job) does, and its state, both read at one moment. One round trip.
    pub(crate) async fn get_status(&self, id: &str) -> Result<Option<(JobState, RawJob)>> {
        if is_no_job(id) {
            return Ok(None);
        }
        let Some((state, fields)) = self.call(script::get_status(id)).await? else { return Ok(None) };
        match RawJob::from_pairs(id.as_bytes().to_vec(), fields) {
            Err(ghost) if ghost.kind == UndecodableKind::Ghost => Ok(None),
            decoded => Ok(Some((state, decoded?))),
        }
    }

    /// Returns the jobs at the positions `start` to `end` of each state, in the order of the states; each job once.
    ///
    /// Ascending, position 0 is what comes next: the next to run, the earliest due, the first finished. Descending, it
    /// is the other end. Negative positions count from the end of that order. Ids without a job are skipped; if neither
    /// position is negative, later jobs take their places. A job that cannot be decoded is an `Err`.
    ///
    /// One round trip and one snapshot for up to 200 positions and 1 MB. More are read in several steps: a job that
    /// moves meanwhile may be missed.
    pub(crate) async fn get_jobs(
        &self,
        states: &[JobState],
        start: i64,
        end: i64,
        ascending: bool,
    ) -> Result<Vec<Result<RawJob, Undecodable>>> {
        let mut spans = spans(states, start, end);
        if let (Ok(first), Ok(last)) = (u64::try_from(start), u64::try_from(end)) {
            spans.retain(|_| last >= first);
            for span in &mut spans {
                span.want = Some((last - first).saturating_add(1));
            }
        }
        let mut seen = HashSet::new();
        let mut jobs = Vec::new();
        for (id, fields) in self.list(spans, |spans| list_jobs(ascending, JOBS_PER_CALL, spans)).await? {
            if !seen.insert(id.clone()) {
                continue;
            }
            match RawJob::from_pairs(id, fields) {
                Err(ghost) if ghost.kind == UndecodableKind::Ghost => {}
                job => jobs.push(job),
            }
        }
        Ok(jobs)
    }

    /// Returns the ids at the positions `start` to `end` of each state, counted as by [`get_jobs`](Self::get_jobs),
    /// including ids without a job. One round trip for up to 2,500.
    pub(crate) async fn get_ranges(
        &self,
        states: &[JobState],
        start: i64,
        end: i64,
        ascending: bool,
    ) -> Result<Vec<String>> {
        let spans = spans(states, start, end);
        let mut ids = self.list(spans, |spans| list_ids(ascending, IDS_PER_CALL, spans)).await?;
        let mut seen = HashSet::with_capacity(ids.len());
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids)
    }

    /// Reads spans to their ends, one after the other in the answer.
    async fn list<T>(&self, mut spans: Vec<Span>, ask: impl Fn(&[Span]) -> Call<Vec<ReadSpan<T>>>) -> Result<Vec<T>> {
        let mut groups: Vec<Vec<T>> = spans.iter().map(|_| Vec::new()).collect();
        let mut open: Vec<usize> = (0..spans.len()).collect();
        while !open.is_empty() {
            let asked: Vec<Span> = open.iter().map(|&span| spans[span].clone()).collect();
            let pages = self.call(ask(&asked)).await?;
            let mut still_open = Vec::new();
            for (i, ReadSpan { rest, items }) in open.into_iter().zip(pages) {
                let span = &mut spans[i];
                let found = u64::try_from(items.len()).unwrap_or(u64::MAX);
                span.want = span.want.map(|want| want.saturating_sub(found));
                groups[i].extend(items);
                if let Some((first, last)) = rest {
                    (span.first, span.last) = (first, last);
                    still_open.push(i);
                }
            }
            open = still_open;
        }
        Ok(groups.into_iter().flatten().collect())
    }

    /// Returns the hash of a job as text; empty if there is none.
    pub(crate) async fn get_fields(&self, id: &str) -> Result<Vec<(String, String)>> {
        if is_no_job(id) {
            return Ok(Vec::new());
        }
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields = self.call(script::get_job(&self.keys, id)).await?;
        Ok(fields.into_iter().map(|(name, value)| (lossy(name), lossy(value))).collect())
    }

    /// Returns the state of a job. One round trip; for a job in none of the sorted sets, a search of the lists.
    pub(crate) async fn get_state(&self, id: &str) -> Result<JobState> {
        self.call(script::get_state(id)).await
    }

    /// Returns how many jobs there are in each of these states; 0 for the others. One round trip, read at one moment.
    pub(crate) async fn get_job_counts(&self, states: &[JobState]) -> Result<JobCounts> {
        let states = distinct(states);
        let names: Vec<&str> = states.iter().filter_map(|state| state.suffix()).collect();
        let numbers = self.call(script::count_jobs(&names)).await?;
        let mut counts = JobCounts::default();
        for (state, number) in states.into_iter().zip(numbers) {
            counts.set(state, number);
        }
        Ok(counts)
    }

    /// Returns when these jobs are due; `None` for a job that is not delayed.
    pub(crate) async fn get_due(&self, ids: &[&str]) -> Result<Vec<Option<SystemTime>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.call(script::get_due(&self.keys, ids)).await
    }

    /// Returns how many jobs are due before `timestamp`, in ms. One round trip.
    pub(crate) async fn get_delayed_count(&self, timestamp: u64) -> Result<u64> {
        self.call(script::get_delayed_count(&self.keys, timestamp)).await
    }

    /// Returns how many jobs are ready in each priority, in order, each priority once; 0 is for jobs without one. One
    /// round trip.
    pub(crate) async fn get_counts_per_priority(&self, priorities: &[u32]) -> Result<Vec<(u32, u64)>> {
        let mut seen = HashSet::new();
        let priorities: Vec<u32> = priorities.iter().copied().filter(|priority| seen.insert(*priority)).collect();
        let counts = self.call(script::count_priorities(&priorities)).await?;
        Ok(priorities.into_iter().zip(counts).collect())
    }

    /// Returns whether a job has finished, and its outcome; both of the same moment. One round trip.
    pub(crate) async fn is_finished(&self, id: &str) -> Result<Finished> {
        if is_no_job(id) {
            return Ok(Finished::Refused(Reason::MissingJob));
        }
        let (_, found) = self.call(read_finished(&[id])).await?;
        found.into_iter().next().map(|found| found.finished).ok_or(Error::Reply { op: "wait_until_finished" })
    }

    /// Returns whether the queue is paused for all workers. One round trip.
    pub(crate) async fn is_paused(&self) -> Result<bool> {
        self.call(script::is_paused(&self.keys)).await
    }

    /// Returns whether as many jobs are active as the global concurrency allows. One round trip.
    pub(crate) async fn is_maxed(&self) -> Result<bool> {
        self.call(script::is_maxed()).await
    }

    /// Returns lines of a job's log, and how many there are. Position 0 is the oldest line, or the newest if not
    /// `ascending`. One round trip, read at one moment.
    pub(crate) async fn get_job_logs(
        &self,
        id: &str,
        start: i64,
        end: i64,
        ascending: bool,
    ) -> Result<(Vec<String>, u64)> {
        let (first, last) = if ascending { (start, end) } else { (!end, !start) };
        let (mut lines, stored) = self.call(script::get_job_logs(id, first, last)).await?;
        if !ascending {
            lines.reverse();
        }
        Ok((lines, stored))
    }

    /// Returns how many jobs completed or failed in each minute, newest first; they are counted only while a worker
    /// collects metrics. One round trip, read at one moment.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a state that is neither `Completed` nor `Failed`.
    pub(crate) async fn get_metrics(&self, kind: JobState, start: i64, end: i64) -> Result<Metrics> {
        if !kind.is_finished() {
            return Err(Error::invalid("state", "metrics are kept of completed and failed jobs"));
        }
        self.call(script::get_metrics(kind, start, end)).await
    }

    /// Returns the queue's settings. One round trip.
    pub(crate) async fn get_meta(&self) -> Result<QueueMeta> {
        self.call(script::get_meta(&self.keys)).await
    }

    /// Returns `<library>:<version>`, as whoever opened the queue last has written it. One round trip.
    pub(crate) async fn get_version(&self) -> Result<Option<String>> {
        self.call(script::get_version(&self.keys)).await
    }

    /// Returns how many jobs may be active at once, over all workers. One round trip.
    pub(crate) async fn get_global_concurrency(&self) -> Result<Option<u64>> {
        self.call(script::get_global_concurrency(&self.keys)).await
    }

    /// Returns how many jobs may be fetched, and in how many ms, over all workers. One round trip.
    pub(crate) async fn get_global_rate_limit(&self) -> Result<Option<(u64, u64)>> {
        self.call(script::get_global_rate_limit(&self.keys)).await
    }

    /// Returns for how many ms the rate limit allows no fetch, with a limit of `max` jobs per window. Without `max` the
    /// queue's global limit applies, and without that the answer is the `PTTL` of the limiter. One round trip.
    pub(crate) async fn get_rate_limit_ttl(&self, max: Option<u64>) -> Result<i64> {
        self.call(script::get_rate_limit_ttl(max)).await
    }

    /// Returns whether a job has become ready since `since`, in ms, as far as its newest events tell. One round trip.
    pub(crate) async fn find_ready(&self, id: &str, since: i64) -> Result<Option<bool>> {
        self.call(script::find_ready(id, since)).await
    }

    /// Returns the job that a deduplication id stands for at present. One round trip.
    pub(crate) async fn get_deduplication_job_id(&self, deduplication_id: &str) -> Result<Option<String>> {
        self.call(script::get_deduplication_job_id(&self.keys, deduplication_id)).await
    }

    /// Returns how many children a job has. One round trip, read at one moment.
    pub(crate) async fn get_dependencies_count(&self, id: &str) -> Result<ChildCounts> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(notes) = &self.notes {
            let (processed, unprocessed) = notes.counts();
            return Ok(ChildCounts { processed, unprocessed, failed: 0, ignored: 0 });
        }
        self.call(script::count_children(id)).await
    }

    /// Returns the results of a job's completed children: their job keys and JSON. One round trip.
    pub(crate) async fn get_children_values(&self, id: &str) -> Result<Vec<(String, String)>> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(notes) = &self.notes {
            return Ok(notes.values.clone());
        }
        self.call(script::get_children_values(&self.keys, id)).await
    }

    /// Returns the children whose failure the parent ignores: their job keys and reasons. One round trip.
    pub(crate) async fn get_ignored_children_failures(&self, id: &str) -> Result<Vec<(String, String)>> {
        self.call(script::get_ignored_children_failures(&self.keys, id)).await
    }

    /// Returns the job keys of a job's pending children. One round trip.
    pub(crate) async fn get_unprocessed_children(&self, id: &str) -> Result<Vec<String>> {
        self.call(script::get_unprocessed_children(&self.keys, id)).await
    }

    /// Returns the job keys of the children whose failure fails the job. One round trip.
    pub(crate) async fn get_failed_children(&self, id: &str) -> Result<Vec<String>> {
        self.call(script::get_failed_children(&self.keys, id, 0, -1)).await
    }

    /// Returns about `count` children of one kind, from `cursor` on, which is 0 for the first page. One round trip.
    ///
    /// `count` is only a hint: small families are returned whole. A child that changes between two pages may be in both
    /// or in neither.
    pub(crate) async fn get_children_page(
        &self,
        id: &str,
        kind: ChildKind,
        cursor: u64,
        count: u32,
    ) -> Result<ChildPage> {
        let (keys, count) = (&self.keys, u64::from(count.max(1)));
        match kind {
            ChildKind::Processed => self.call(script::scan_processed(keys, id, cursor, count)).await,
            ChildKind::Ignored => self.call(script::scan_ignored(keys, id, cursor, count)).await,
            ChildKind::Unprocessed => self.call(script::scan_unprocessed(keys, id, cursor, count)).await,
            ChildKind::Failed => self.get_failed_page(id, cursor, count).await,
        }
    }

    /// Reads a page of a sorted set, in its order: here the cursor is a position, which must leave room for the count.
    async fn get_failed_page(&self, id: &str, cursor: u64, count: u64) -> Result<ChildPage> {
        let first = cursor.min(MAX_SAFE);
        let next = first + count;
        let bound = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
        let found = self.call(script::get_failed_children(&self.keys, id, bound(first), bound(next - 1))).await?;
        let next = if (found.len() as u64) < count { 0 } else { next };
        Ok(ChildPage { next, children: found.into_iter().map(|key| (key, None)).collect() })
    }

    /// Returns the connected workers of this queue, of every library. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`] where the server has no `CLIENT LIST`, or the user may not call it.
    pub(crate) async fn get_workers(&self) -> Result<Vec<ClientInfo>> {
        let name = self.keys.client_name();
        let named = format!("{name}:w:");
        self.clients("get_workers", |client| client == name || client.starts_with(&named)).await
    }

    /// Returns the workers of this queue that are connected to its database, and not to another one with a queue of this
    /// name. One round trip.
    ///
    /// # Errors
    ///
    /// As [`get_workers`](Self::get_workers).
    #[cfg(feature = "dashboard")]
    pub(crate) async fn get_own_workers(&self) -> Result<Vec<ClientInfo>> {
        let mut workers = self.get_workers().await?;
        workers.retain(|worker| worker.is_in(self.link.options().db));
        Ok(workers)
    }

    /// Returns the connected event readers of this queue. One round trip.
    ///
    /// # Errors
    ///
    /// As [`get_workers`](Self::get_workers).
    pub(crate) async fn get_queue_events(&self) -> Result<Vec<ClientInfo>> {
        let name = self.keys.reader_client_name();
        self.clients("get_queue_events", |client| client == name).await
    }

    /// Returns the queue's metrics in the text format of Prometheus, as Node does. Three round trips.
    ///
    /// `labels` are added to every metric. The totals stay 0 unless a worker collects metrics.
    pub(crate) async fn export_prometheus_metrics(&self, labels: &[(&str, &str)]) -> Result<String> {
        let counts = self.get_job_counts(&prometheus::REPORTED).await?;
        let completed = self.get_metrics(JobState::Completed, 0, 0).await?.count;
        let failed = self.get_metrics(JobState::Failed, 0, 0).await?.count;
        Ok(prometheus::text(self.keys.queue(), &counts, completed, failed, labels))
    }

    async fn clients(&self, op: &'static str, is_ours: impl Fn(&str) -> bool) -> Result<Vec<ClientInfo>> {
        let clients = self.list_clients(op).await?;
        let each = clients.lines().flat_map(client_info::each_worker);
        Ok(each.filter_map(|line| client_info::read(&line, self.keys.queue(), &is_ours)).collect())
    }
}

fn distinct(states: &[JobState]) -> Vec<JobState> {
    let mut seen = HashSet::new();
    states.iter().copied().filter(|state| state.suffix().is_some() && seen.insert(*state)).collect()
}

fn spans(states: &[JobState], start: i64, end: i64) -> Vec<Span> {
    let names = distinct(states).into_iter().filter_map(JobState::suffix);
    names.map(|name| Span { name, first: start, last: end, want: None }).collect()
}
