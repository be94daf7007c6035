//! Reading: jobs, counts, states, settings, logs, figures. Nothing here changes a job.

use std::collections::HashSet;
use std::fmt::Write;

use redis::{Cmd, Value};

use super::Engine;
use crate::error::{Error, Reason, Result};
use crate::keys::is_no_job;
use crate::options::MAX_SAFE;
use crate::script::Args;
use crate::script::Repeat;
use crate::script::read::{self, Minutes, Page, Span};
use crate::script::reply::{self, string};
use crate::state::{JobCounts, JobState};
use crate::wire::job::{Pair, RawJob, Undecodable, UndecodableKind};

/// How many positions one call looks at; ids alone cost a fraction of jobs.
const JOBS_PER_CALL: u32 = 200;
const IDS_PER_CALL: u32 = 2_500;

/// The states that a queue's figures are made of, in Node's order.
pub(crate) const REPORTED: [JobState; 7] = [
    JobState::Active,
    JobState::Completed,
    JobState::Delayed,
    JobState::Failed,
    JobState::Prioritized,
    JobState::Waiting,
    JobState::WaitingChildren,
];

/// Whether a job has run to its end, and what came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finished {
    /// There is no such job.
    Missing,
    NotYet,
    /// JSON; `None` if nothing was stored.
    Completed(Option<String>),
    /// The stored reason.
    Failed(Option<String>),
}

/// The queue's settings, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) concurrency: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) duration: Option<u64>,
    pub(crate) max_len_events: Option<u64>,
    /// Whether the field says `1`; any other value pauses the queue all the same (see `is_paused`).
    pub(crate) paused: bool,
    pub(crate) version: Option<String>,
    /// Fields that we know nothing about.
    pub(crate) others: Vec<(String, String)>,
}

/// How many children a job has, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildCounts {
    /// Not finished.
    pub unprocessed: u64,
    /// Failed, and the parent fails.
    pub failed: u64,
    /// Failed, and the parent goes on.
    pub ignored: u64,
    /// Completed.
    pub processed: u64,
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildKind {
    /// It completed.
    Processed,
    /// It has not finished.
    Unprocessed,
    /// It failed, and the parent goes on.
    Ignored,
    /// It failed, and fails the parent.
    Failed,
}

/// Some children of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildPage {
    /// Where the next page begins; 0 when there is none.
    pub next: u64,
    /// Job keys, with the result (JSON) of a processed child or the reason of an ignored one.
    pub children: Vec<(String, Option<String>)>,
}

/// One client of the server, as `CLIENT LIST` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Every field in the server's order. `name` is the queue's; `rawname` the client's own.
    pub fields: Vec<(String, String)>,
}

impl ClientInfo {
    /// The value of one field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }
}

impl Engine {
    /// The job with this id; `None` if there is none. One round trip.
    ///
    /// What a late write leaves of a removed job, a hash without name and data, is no job.
    pub(crate) async fn get_job(&self, id: &str) -> Result<Option<RawJob>> {
        Ok(self.get_stored_job(id).await?.transpose()?)
    }

    /// A job as [`get_job`](Self::get_job), and what can be read of one that cannot be decoded.
    pub(crate) async fn get_stored_job(&self, id: &str) -> Result<Option<Result<RawJob, Undecodable>>> {
        const OP: &str = "get_job";
        if is_no_job(id) {
            return Ok(None);
        }
        let fields = self.hash(OP, &self.keys.job(id)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        match RawJob::from_pairs(id.as_bytes().to_vec(), fields) {
            Err(ghost) if ghost.kind == UndecodableKind::Ghost => Ok(None),
            decoded => Ok(Some(decoded)),
        }
    }

    /// The jobs at the positions `start` to `end` of each state, in the order of the states; each job once.
    ///
    /// Ascending, position 0 is what comes next: the next to run, the earliest due, the first finished. Descending
    /// begins at the other end. Negative positions count from the end of that order. Ids without a job are passed
    /// over; if neither position is negative, later jobs take their places. One that cannot be decoded is an `Err` of
    /// its own.
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
        let groups = self.list("jobs", ascending, JOBS_PER_CALL, spans).await?;
        let mut seen = HashSet::new();
        let mut jobs = Vec::new();
        let mut items = groups.into_iter().flatten();
        while let Some(id) = items.next() {
            let (id, fields) = both(id, items.next()).ok_or(Error::Reply { op: read::LIST.name })?;
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

    /// The ids at the positions `start` to `end` of each state, as [`get_jobs`](Self::get_jobs) counts them, whether or
    /// not there are jobs behind them. One round trip for up to 2,500.
    pub(crate) async fn get_ranges(
        &self,
        states: &[JobState],
        start: i64,
        end: i64,
        ascending: bool,
    ) -> Result<Vec<String>> {
        let groups = self.list("ids", ascending, IDS_PER_CALL, spans(states, start, end)).await?;
        let ids = groups.into_iter().flatten().map(|id| Some(text(&reply::bytes(id)?)));
        let mut ids = ids.collect::<Option<Vec<String>>>().ok_or(Error::Reply { op: read::LIST.name })?;
        let mut seen = HashSet::with_capacity(ids.len());
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids)
    }

    /// Reads spans to their ends, one group of items each.
    async fn list(&self, what: &str, ascending: bool, budget: u32, mut spans: Vec<Span>) -> Result<Vec<Vec<Value>>> {
        let per_job = if what == "jobs" { 2 } else { 1 };
        let mut groups = vec![Vec::new(); spans.len()];
        let mut open: Vec<usize> = (0..spans.len()).collect();
        while !open.is_empty() {
            let asked: Vec<Span> = open.iter().map(|&at| spans[at].clone()).collect();
            let args = read::list_args(what, ascending, budget, &asked);
            let pages = self.read(&read::LIST, &args, read::pages).await?;
            if pages.len() != open.len() {
                return Err(Error::Reply { op: read::LIST.name });
            }
            let mut still_open = Vec::new();
            for (at, Page { rest, items }) in open.into_iter().zip(pages) {
                let span = &mut spans[at];
                let found = u64::try_from(items.len() / per_job).unwrap_or(u64::MAX);
                span.want = span.want.map(|want| want.saturating_sub(found));
                groups[at].extend(items);
                if let Some((first, last)) = rest {
                    (span.first, span.last) = (first, last);
                    still_open.push(at);
                }
            }
            open = still_open;
        }
        Ok(groups)
    }

    /// Where a job is. One round trip; a search of the lists for a job in none of the sorted sets.
    pub(crate) async fn get_state(&self, id: &str) -> Result<JobState> {
        self.read(&read::STATE, &texts(&[id]), |value| string(value)?.parse().ok()).await
    }

    /// How many jobs there are in each of these states; 0 for the others. One round trip, one moment.
    pub(crate) async fn get_job_counts(&self, states: &[JobState]) -> Result<JobCounts> {
        let states = distinct(states);
        let names: Vec<&str> = states.iter().filter_map(|state| state.suffix()).collect();
        let numbers = self.read(&read::COUNT, &texts(&names), reply::counts).await?;
        let mut counts = JobCounts::default();
        for (state, number) in states.into_iter().zip(numbers) {
            counts.set(state, number);
        }
        Ok(counts)
    }

    /// How many jobs are due before `timestamp`, in ms. One round trip.
    pub(crate) async fn get_delayed_count(&self, timestamp: u64) -> Result<u64> {
        const OP: &str = "get_delayed_count";
        // Later than 2^53 / 4096 a score has no room left for the order within a millisecond; the bound is exact.
        let below = i128::from(timestamp) * 4096 - 1;
        let mut cmd = Cmd::new();
        cmd.arg("ZCOUNT").arg(self.keys.key("delayed")).arg("-inf").arg(below.to_string());
        let reply = self.ask(OP, &cmd).await?;
        reply::unsigned(&reply).ok_or(Error::Reply { op: OP })
    }

    /// How many jobs are ready under each priority, each asked for once, in order; 0 is for the jobs without one.
    pub(crate) async fn get_counts_per_priority(&self, priorities: &[u32]) -> Result<Vec<(u32, u64)>> {
        let mut seen = HashSet::new();
        let priorities: Vec<u32> = priorities.iter().copied().filter(|priority| seen.insert(*priority)).collect();
        let mut args = Args::default();
        for &priority in &priorities {
            args.number(priority);
        }
        let counts = self.read(&read::PRIORITIES, &args, reply::counts).await?;
        Ok(priorities.into_iter().zip(counts).collect())
    }

    /// Whether a job has run to its end, and what came out; both of the same moment. One round trip.
    pub(crate) async fn is_finished(&self, id: &str) -> Result<Finished> {
        if is_no_job(id) {
            return Ok(Finished::Missing);
        }
        let decode = |value| {
            let mut items = reply::array(value)?.into_iter();
            let Value::Int(status) = items.next()? else { return None };
            let held = items.next().and_then(reply::bytes).map(|held| text(&held));
            match status {
                0 => Some(Finished::NotYet),
                1 => Some(Finished::Completed(held)),
                2 => Some(Finished::Failed(held)),
                code => (Reason::from_code(code) == Err(Reason::MissingJob)).then_some(Finished::Missing),
            }
        };
        self.read(&read::FINISHED, &texts(&[id]), decode).await
    }

    /// Whether the queue is paused for all workers. One round trip.
    pub(crate) async fn is_paused(&self) -> Result<bool> {
        let mut cmd = Cmd::new();
        cmd.arg("HEXISTS").arg(self.keys.meta()).arg("paused");
        Ok(self.ask("is_paused", &cmd).await? == Value::Int(1))
    }

    /// Whether as many jobs are active as the global concurrency allows. One round trip.
    pub(crate) async fn is_maxed(&self) -> Result<bool> {
        Ok(self.run(&read::MAXED, &Args::default(), Repeat::Reads).await? == Value::Int(1))
    }

    /// Lines of a job's log, and how many there are. Position 0 is the oldest line, or the newest if not `ascending`.
    /// One round trip, one moment.
    pub(crate) async fn get_job_logs(
        &self,
        id: &str,
        start: i64,
        end: i64,
        ascending: bool,
    ) -> Result<(Vec<String>, u64)> {
        let (first, last) = if ascending { (start, end) } else { (!end, !start) };
        let (stored, mut lines) = self.read(&read::LOGS, &read::logs_args(id, first, last), read::logs).await?;
        if !ascending {
            lines.reverse();
        }
        Ok((lines, stored))
    }

    /// How many jobs completed or failed in each minute, the newest first; only counted while a worker collects
    /// metrics. One round trip, one moment.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a state that is neither `Completed` nor `Failed`.
    pub(crate) async fn get_metrics(&self, kind: JobState, start: i64, end: i64) -> Result<Minutes> {
        if !kind.is_finished() {
            return Err(Error::invalid("kind", "metrics are kept of completed and failed jobs"));
        }
        self.read(&read::METRICS, &read::metrics_args(kind.as_str(), start, end), read::minutes).await
    }

    /// The queue's settings. One round trip.
    pub(crate) async fn get_meta(&self) -> Result<Meta> {
        let fields = self.hash("get_meta", &self.keys.meta()).await?;
        let mut held: Vec<(String, String)> = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
        let mut take = |name: &str| {
            let at = held.iter().position(|(found, _)| found == name)?;
            Some(held.swap_remove(at).1)
        };
        let number = |held: Option<String>| reply::unsigned(&Value::BulkString(held?.into_bytes()));
        let meta = Meta {
            concurrency: number(take("concurrency")),
            max: number(take("max")),
            duration: number(take("duration")),
            max_len_events: number(take("opts.maxLenEvents")),
            paused: take("paused").as_deref() == Some("1"),
            version: take("version"),
            others: Vec::new(),
        };
        Ok(Meta { others: held, ..meta })
    }

    /// What the last queue opened says of its library, `<library>:<version>`. One round trip.
    pub(crate) async fn get_version(&self) -> Result<Option<String>> {
        Ok(self.settings("get_version", &["version"]).await?.remove(0))
    }

    /// How many jobs may be active at once, over all workers. One round trip.
    pub(crate) async fn get_global_concurrency(&self) -> Result<Option<u64>> {
        let held = self.settings("get_global_concurrency", &["concurrency"]).await?.remove(0);
        Ok(held.and_then(|held| reply::unsigned(&Value::BulkString(held.into_bytes()))))
    }

    /// How many jobs may be fetched, and in how many ms, over all workers. One round trip.
    pub(crate) async fn get_global_rate_limit(&self) -> Result<Option<(u64, u64)>> {
        let held = self.settings("get_global_rate_limit", &["max", "duration"]).await?;
        let mut numbers = held.into_iter().map(|held| reply::unsigned(&Value::BulkString(held?.into_bytes())));
        Ok(numbers.next().flatten().zip(numbers.next().flatten()))
    }

    /// For how many ms no job may be fetched, if up to `max` jobs may be fetched in a window; without `max` the queue's
    /// own number counts, and without that the answer is what `PTTL` says. One round trip.
    pub(crate) async fn get_rate_limit_ttl(&self, max: Option<u64>) -> Result<i64> {
        let mut args = Args::default();
        args.number(max.unwrap_or(0));
        self.read(&read::RATE_LIMIT_TTL, &args, |value| match value {
            Value::Int(ms) => Some(ms),
            _ => None,
        })
        .await
    }

    /// The job that a deduplication id stands for at present. One round trip.
    pub(crate) async fn get_deduplication_job_id(&self, deduplication_id: &str) -> Result<Option<String>> {
        const OP: &str = "get_deduplication_job_id";
        let mut cmd = Cmd::new();
        cmd.arg("GET").arg(self.keys.key(&format!("de:{deduplication_id}")));
        match self.ask(OP, &cmd).await? {
            Value::Nil => Ok(None),
            value => crate::script::reply::text(value).map(Some).ok_or(Error::Reply { op: OP }),
        }
    }

    /// How many children a job has. One round trip, one moment.
    pub(crate) async fn get_dependencies_count(&self, id: &str) -> Result<ChildCounts> {
        let decode = |value| {
            let [processed, unprocessed, ignored, failed] = reply::counts(value)?.try_into().ok()?;
            Some(ChildCounts { processed, unprocessed, ignored, failed })
        };
        self.read(&read::CHILDREN, &texts(&[id]), decode).await
    }

    /// The results of a job's completed children: their job keys and JSON. One round trip.
    pub(crate) async fn get_children_values(&self, id: &str) -> Result<Vec<(String, String)>> {
        self.records("get_children_values", id, ":processed").await
    }

    /// The children whose failure the parent ignores: their job keys and reasons. One round trip.
    pub(crate) async fn get_ignored_children_failures(&self, id: &str) -> Result<Vec<(String, String)>> {
        self.records("get_ignored_children_failures", id, ":failed").await
    }

    /// The job keys of a job's pending children. One round trip.
    pub(crate) async fn get_unprocessed_children(&self, id: &str) -> Result<Vec<String>> {
        let mut cmd = Cmd::new();
        cmd.arg("SMEMBERS").arg(self.keys.job(id) + ":dependencies");
        self.texts("get_unprocessed_children", &cmd).await
    }

    /// The job keys of the children whose failure fails the job. One round trip.
    pub(crate) async fn get_failed_children(&self, id: &str) -> Result<Vec<String>> {
        let mut cmd = Cmd::new();
        cmd.arg("ZRANGE").arg(self.keys.job(id) + ":unsuccessful").arg(0).arg(-1);
        self.texts("get_failed_children", &cmd).await
    }

    /// About `count` children of one kind, from `cursor` on, which is 0 for the first page. One round trip.
    ///
    /// A hint only: small families come whole. A child that changes between two pages may be in both or in neither.
    pub(crate) async fn get_children_page(
        &self,
        id: &str,
        kind: ChildKind,
        cursor: u64,
        count: u32,
    ) -> Result<ChildPage> {
        const OP: &str = "get_dependencies";
        let (verb, part, width) = match kind {
            ChildKind::Processed => ("HSCAN", ":processed", 2),
            ChildKind::Ignored => ("HSCAN", ":failed", 2),
            ChildKind::Unprocessed => ("SSCAN", ":dependencies", 1),
            ChildKind::Failed => ("ZRANGE", ":unsuccessful", 1),
        };
        let count = u64::from(count.max(1));
        // A sorted set is read whole in its order: there the cursor is a position, which must leave room for the count.
        let cursor = if kind == ChildKind::Failed { cursor.min(MAX_SAFE) } else { cursor };
        let mut cmd = Cmd::new();
        cmd.arg(verb).arg(self.keys.job(id) + part).arg(cursor);
        let (mut next, items) = if kind == ChildKind::Failed {
            let items = self.texts(OP, cmd.arg(cursor.saturating_add(count - 1))).await?;
            (cursor.saturating_add(count), items)
        } else {
            let [next, items] = reply::array(self.ask(OP, cmd.arg("COUNT").arg(count)).await?)
                .and_then(|reply| reply.try_into().ok())
                .ok_or(Error::Reply { op: OP })?;
            let items = reply::array(items).map(|items| items.into_iter().map(|item| Some(text(&reply::bytes(item)?))));
            let items = items.and_then(Iterator::collect).ok_or(Error::Reply { op: OP })?;
            (reply::unsigned(&next).ok_or(Error::Reply { op: OP })?, items)
        };
        if kind == ChildKind::Failed && (items.len() as u64) < count {
            next = 0;
        }
        let children = items.chunks(width).map(|child| (child[0].clone(), child.get(1).cloned())).collect();
        Ok(ChildPage { next, children })
    }

    /// The workers of this queue that are connected, of every library. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`] where the server has no `CLIENT LIST`, or the user may not call it.
    pub(crate) async fn get_workers(&self) -> Result<Vec<ClientInfo>> {
        let name = self.keys.client_name();
        let named = format!("{name}:w:");
        self.clients("get_workers", |client| client == name || client.starts_with(&named)).await
    }

    /// The event readers of this queue that are connected. One round trip.
    ///
    /// # Errors
    ///
    /// As [`get_workers`](Self::get_workers).
    pub(crate) async fn get_queue_events(&self) -> Result<Vec<ClientInfo>> {
        let name = self.keys.reader_client_name();
        self.clients("get_queue_events", |client| client == name).await
    }

    /// The queue's figures in the text format of Prometheus, as Node writes them. Three round trips.
    ///
    /// `labels` are added to every figure. The totals stay 0 unless a worker collects metrics.
    pub(crate) async fn export_prometheus_metrics(&self, labels: &[(&str, &str)]) -> Result<String> {
        let counts = self.get_job_counts(&REPORTED).await?;
        let completed = self.get_metrics(JobState::Completed, 0, 0).await?.count;
        let failed = self.get_metrics(JobState::Failed, 0, 0).await?.count;
        Ok(prometheus(self.keys.queue(), &counts, completed, failed, labels))
    }

    async fn clients(&self, op: &'static str, is_ours: impl Fn(&str) -> bool) -> Result<Vec<ClientInfo>> {
        let mut cmd = Cmd::new();
        cmd.arg("CLIENT").arg("LIST");
        let reply = match self.link.send(&cmd).await {
            Ok(reply) => reply,
            Err(failure) if failure.is_not_permitted() => {
                return Err(Error::NotPermitted { op, command: "CLIENT LIST" });
            }
            Err(_) => self.ask(op, &cmd).await?,
        };
        let reply = match reply {
            Value::VerbatimString { text, .. } => text,
            other => text(&reply::bytes(other).ok_or(Error::Reply { op })?),
        };
        Ok(reply.lines().filter_map(|line| client(line, self.keys.queue(), &is_ours)).collect())
    }

    async fn hash(&self, op: &'static str, key: &str) -> Result<Vec<Pair>> {
        let mut cmd = Cmd::new();
        cmd.arg("HGETALL").arg(key);
        reply::pairs(self.ask(op, &cmd).await?).ok_or(Error::Reply { op })
    }

    async fn records(&self, op: &'static str, id: &str, part: &str) -> Result<Vec<(String, String)>> {
        let records = self.hash(op, &(self.keys.job(id) + part)).await?;
        Ok(records.into_iter().map(|(key, value)| (text(&key), text(&value))).collect())
    }

    async fn settings(&self, op: &'static str, fields: &[&str]) -> Result<Vec<Option<String>>> {
        let mut cmd = Cmd::new();
        cmd.arg("HMGET").arg(self.keys.meta()).arg(fields);
        let held = reply::array(self.ask(op, &cmd).await?).filter(|held| held.len() == fields.len());
        let held = held.ok_or(Error::Reply { op })?;
        Ok(held.into_iter().map(|value| reply::bytes(value).map(|value| text(&value))).collect())
    }

    async fn texts(&self, op: &'static str, cmd: &Cmd) -> Result<Vec<String>> {
        let items = match self.ask(op, cmd).await? {
            Value::Set(items) => Some(items),
            other => reply::array(other),
        };
        let texts = items.map(|items| items.into_iter().map(|item| Some(text(&reply::bytes(item)?))).collect());
        texts.flatten().ok_or(Error::Reply { op })
    }

    async fn read<T>(
        &self,
        script: &crate::script::Script,
        args: &Args,
        decode: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T> {
        let reply = self.run(script, args, Repeat::Reads).await?;
        decode(reply).ok_or(Error::Reply { op: script.name })
    }
}

/// Arguments that are all texts.
fn texts<T: AsRef<[u8]>>(texts: &[T]) -> Args {
    let mut args = Args::with_capacity(texts.len(), texts.iter().map(|text| text.as_ref().len()).sum());
    for text in texts {
        args.text(text);
    }
    args
}

fn both(id: Value, fields: Option<Value>) -> Option<(Vec<u8>, Vec<Pair>)> {
    Some((reply::bytes(id)?, reply::pairs(fields?)?))
}

fn distinct(states: &[JobState]) -> Vec<JobState> {
    let mut seen = HashSet::new();
    states.iter().copied().filter(|state| state.suffix().is_some() && seen.insert(*state)).collect()
}

fn spans(states: &[JobState], start: i64, end: i64) -> Vec<Span> {
    let names = distinct(states).into_iter().filter_map(JobState::suffix);
    names.map(|name| Span { name, first: start, last: end, want: None }).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One line of `CLIENT LIST`, if its name is one of ours.
fn client(line: &str, queue: &str, is_ours: impl Fn(&str) -> bool) -> Option<ClientInfo> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut raw = None;
    for field in line.split_ascii_whitespace() {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        if name == "name" {
            raw = Some(value.to_owned()).filter(|value| is_ours(value));
            fields.push((name.to_owned(), queue.to_owned()));
        } else {
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
    fields.push(("rawname".to_owned(), raw?));
    Some(ClientInfo { fields })
}

fn prometheus(queue: &str, counts: &JobCounts, completed: u64, failed: u64, labels: &[(&str, &str)]) -> String {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let queue = escape(queue);
    let more: String = labels.iter().map(|(name, value)| format!(", {name}=\"{}\"", escape(value))).collect();
    let mut out =
        String::from("# HELP bullmq_job_count Number of jobs in the queue by state\n# TYPE bullmq_job_count gauge\n");
    for state in REPORTED {
        let count = counts.get(state);
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "bullmq_job_count{{queue=\"{queue}\", state=\"{state}\"{more}}} {count}");
    }
    for (kind, total) in [("completed", completed), ("failed", failed)] {
        let metric = format!("bullmq_job_{kind}_total");
        let _ = writeln!(out, "# HELP {metric} Total number of {kind} jobs\n# TYPE {metric} counter");
        let _ = writeln!(out, "{metric}{{queue=\"{queue}\"{more}}} {total}");
    }
    out.pop();
    out
}
