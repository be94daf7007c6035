//! The findings of an examination.

use std::collections::BTreeMap;
use std::fmt;

use super::EXAMPLES;

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum FindingKind {
    /// The server may evict keys when its memory is full.
    Eviction,
    /// The clock of this machine differs from the server's.
    ClockOffset,
    /// Scripts have blocked the server for long.
    SlowScripts,
    /// The server has stood still, according to its latency monitor.
    SlowServer,
    /// Keys of the queue have another type than queues store there.
    WrongType,
    /// Jobs wait, and no worker is connected.
    NoWorker,
    /// Delayed jobs are due, and no worker takes them.
    OverdueJobs,
    /// A list or set holds ids of jobs that do not exist.
    MissingJobs,
    /// Jobs are in no list and no set, so they never run.
    LostJobs,
    /// Jobs are active, but no worker runs them.
    ActiveWithoutLock,
    /// Locks are left of jobs that are not active.
    LockWithoutJob,
    /// Logs or records are left of jobs that do not exist.
    OrphanedParts,
    /// Deduplications without a time to live stand for jobs that do not exist, so that adds are dropped.
    DeadDeduplication,
    /// Job schedulers have stopped: their current run is over, and there is no next one, or somebody has deleted the next
    /// one before it was due.
    StoppedSchedulers,
    /// Repeatable jobs of BullMQ 5 have no next run, and nothing tells whether they have reached their limit.
    UnclearRepeatables,
    /// Parents wait for children that will never end.
    StuckParents,
    /// Jobs are in the list that BullMQ 5 uses while a queue is paused, but the queue is not paused.
    PausedList,
    /// The event stream is far longer than its cap.
    LongEventStream,
    /// Very many finished jobs are kept.
    ManyFinishedJobs,
}

impl FindingKind {
    /// Returns its name, as in `missing-jobs`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eviction => "eviction",
            Self::ClockOffset => "clock-offset",
            Self::SlowScripts => "slow-scripts",
            Self::SlowServer => "slow-server",
            Self::WrongType => "wrong-type",
            Self::NoWorker => "no-worker",
            Self::OverdueJobs => "overdue-jobs",
            Self::MissingJobs => "missing-jobs",
            Self::LostJobs => "lost-jobs",
            Self::ActiveWithoutLock => "active-without-lock",
            Self::LockWithoutJob => "lock-without-job",
            Self::OrphanedParts => "orphaned-parts",
            Self::DeadDeduplication => "dead-deduplication",
            Self::StoppedSchedulers => "stopped-schedulers",
            Self::UnclearRepeatables => "unclear-repeatables",
            Self::StuckParents => "stuck-parents",
            Self::PausedList => "paused-list",
            Self::LongEventStream => "long-event-stream",
            Self::ManyFinishedJobs => "many-finished-jobs",
        }
    }

    /// Returns what it means, and what to do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Eviction => "jobs and locks may vanish: set `maxmemory-policy` to `noeviction`",
            Self::ClockOffset => {
                "delayed jobs start at the wrong time: synchronize the clocks of all machines with NTP"
            }
            Self::SlowScripts => {
                "the server does nothing else while a script runs: look for very large jobs and flows, and for what calls the script"
            }
            Self::SlowServer => {
                "the server answers nobody meanwhile: check its disk, its memory and other programs on the machine; `LATENCY DOCTOR` tells more"
            }
            Self::WrongType => {
                "another program has written to the key: rename or delete it; until then most calls on this queue fail"
            }
            Self::NoWorker => "start one, or find out why the running ones are not connected",
            Self::OverdueJobs => {
                "workers make due jobs ready: check that one is connected, and that the queue is not paused or limited"
            }
            Self::MissingJobs => "somebody deleted keys by hand, or the server evicted them; mending removes the ids",
            Self::LostJobs => {
                "somebody deleted a list, or the server evicted it; mending adds each job to the list or set of its state"
            }
            Self::ActiveWithoutLock => {
                "their worker died and no other looks for stalled jobs; mending puts them at the front of the queue"
            }
            Self::LockWithoutJob => "a worker was killed while it finished a job; mending deletes the locks",
            Self::OrphanedParts => "they only take memory; mending deletes them",
            Self::DeadDeduplication => "every add with that id is dropped; mending ends the deduplication",
            Self::StoppedSchedulers => {
                "a run was deleted by hand; mending adds the next one, or the deleted one if it is not due yet"
            }
            Self::UnclearRepeatables => {
                "only their runs told how often they repeat, and these are gone: upsert a job scheduler for each that shall go on, and remove the others"
            }
            Self::StuckParents => {
                "retry or remove the children that hold them back; mending releases parents whose children are all missing"
            }
            Self::PausedList => "BullMQ 5 and 6 have paused and resumed the queue in turn; mending moves the jobs back",
            Self::LongEventStream => "it takes memory; mending trims it to the queue's cap",
            Self::ManyFinishedJobs => {
                "they take memory: set `remove_on_complete` and `remove_on_fail`, and clean the queue once"
            }
        }
    }

    /// Returns whether it can be mended.
    #[must_use]
    pub fn can_be_mended(self) -> bool {
        !matches!(
            self,
            Self::Eviction
                | Self::ClockOffset
                | Self::SlowScripts
                | Self::SlowServer
                | Self::WrongType
                | Self::NoWorker
                | Self::OverdueJobs
                | Self::UnclearRepeatables
                | Self::ManyFinishedJobs
        )
    }
}

impl serde::Serialize for FindingKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that is wrong. `Display` tells it in words.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use oxmq::doctor::FindingKind;
///
/// let doctor = client.doctor();
/// for finding in doctor.examine().await?.findings {
///     if finding.kind == FindingKind::LostJobs {
///         println!("{} jobs in {:?}, such as {:?}", finding.count, finding.queue, finding.examples);
///         println!("{} are back", doctor.mend(&finding).await?);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Finding {
    /// The kind.
    pub kind: FindingKind,
    /// The queue; `None` if the finding is about the server.
    pub queue: Option<String>,
    /// How many, among those that were looked at.
    pub count: u64,
    /// The details.
    pub detail: String,
    /// Some of the jobs, schedulers or deduplications, up to ten.
    pub examples: Vec<String>,
    #[serde(skip)]
    pub(super) suspects: Vec<Suspect>,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, queue: Option<&str>, count: u64, detail: impl Into<String>) -> Self {
        let (queue, detail) = (queue.map(ToOwned::to_owned), detail.into());
        Self { kind, queue, count, detail, examples: Vec::new(), suspects: Vec::new() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.queue.as_deref().unwrap_or("the server"), self.detail)?;
        if !self.examples.is_empty() {
            write!(
                f,
                " ({}{})",
                self.examples.join(", "),
                if self.count > self.examples.len() as u64 { ", …" } else { "" }
            )?;
        }
        write!(f, ": {}", self.kind.advice())
    }
}

/// Something that looked wrong at the first look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(super) kind: FindingKind,
    pub(super) id: String,
    /// The suffix of the key in which it was found, if that matters.
    pub(super) state: &'static str,
    /// What must be the same at the second look, such as how often a job was started.
    pub(super) mark: String,
}

impl Suspect {
    pub(super) fn new(kind: FindingKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into(), state: "", mark: String::new() }
    }
}

/// How much memory the jobs of a queue take, estimated from a sample.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueMemory {
    /// The queue.
    pub queue: String,
    /// The state, or `events` for the stream.
    pub state: String,
    /// How many jobs or events there are.
    pub count: u64,
    /// How many bytes one takes, as the average of the sample.
    pub bytes_each: u64,
}

/// How much memory the jobs of one name take, estimated from a sample of a state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NameMemory {
    /// The queue.
    pub queue: String,
    /// The state.
    pub state: String,
    /// The name of the jobs.
    pub name: String,
    /// About how many there are: their share of the sample, times the jobs of the state.
    pub about: u64,
    /// How many bytes one takes, as the average of the sample.
    pub bytes_each: u64,
}

/// Something that was not examined. `Display` tells it in words.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LeftOut {
    /// The queue; `None` if it is about the server.
    pub queue: Option<String>,
    /// What was not examined, and why.
    pub what: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.queue {
            Some(queue) => write!(f, "{queue}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// The result of an examination.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// let report = client.doctor().examine().await?;
/// println!("{} findings", report.findings.len());
/// for left_out in &report.left_out {
///     println!("not looked at: {left_out}");
/// }
/// for ((queue, library), workers) in &report.peers {
///     println!("{queue}: {workers} workers by {library}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Diagnosis {
    /// How many queues were found or named. With 0 only the server was examined: probably the prefix or the database is
    /// another one.
    pub queues: u64,
    /// The findings, by queue.
    pub findings: Vec<Finding>,
    /// How much memory the jobs take, by queue and state; empty unless [`Doctor::memory`](super::Doctor::memory) asks for it.
    pub memory: Vec<QueueMemory>,
    /// How much memory the jobs take, by queue, state and name; empty unless [`Doctor::memory`](super::Doctor::memory)
    /// asks for it.
    pub names: Vec<NameMemory>,
    /// What was not examined, and why.
    pub left_out: Vec<LeftOut>,
    /// Which library wrote the settings of each queue last, with its version.
    pub versions: BTreeMap<String, String>,
    /// How many workers are connected, by queue and client library, such as `ioredis 5.8.2`.
    #[serde(serialize_with = "as_list")]
    pub peers: BTreeMap<(String, String), u64>,
}

/// Writes a map as a list, since JSON objects cannot have pairs as keys.
fn as_list<S: serde::Serializer>(peers: &BTreeMap<(String, String), u64>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(serde::Serialize)]
    struct Peer<'a> {
        queue: &'a str,
        library: &'a str,
        count: u64,
    }
    serializer.collect_seq(peers.iter().map(|((queue, library), count)| Peer { queue, library, count: *count }))
}

impl Diagnosis {
    pub(super) fn leave_out(&mut self, queue: Option<&str>, what: impl Into<String>) {
        self.left_out.push(LeftOut { queue: queue.map(ToOwned::to_owned), what: what.into() });
    }

    /// Adds what was confirmed of a queue, as one finding per kind.
    pub(super) fn add(&mut self, queue: &str, suspects: Vec<Suspect>) {
        let mut kinds: BTreeMap<FindingKind, Vec<Suspect>> = BTreeMap::new();
        for suspect in suspects {
            kinds.entry(suspect.kind).or_default().push(suspect);
        }
        for (kind, suspects) in kinds {
            let count = suspects.len() as u64;
            let what = match kind {
                FindingKind::MissingJobs => ["id", "ids", " without a job"],
                FindingKind::LostJobs => ["job", "jobs", " in no list and no set"],
                FindingKind::ActiveWithoutLock => ["active job", "active jobs", " held by nobody"],
                FindingKind::LockWithoutJob => ["lock", "locks", " without an active job"],
                FindingKind::OrphanedParts => ["job", "jobs", " of which only parts are left"],
                FindingKind::DeadDeduplication => ["deduplication", "deduplications", " for a job that does not exist"],
                FindingKind::StoppedSchedulers => ["job scheduler", "job schedulers", " without a next run"],
                FindingKind::UnclearRepeatables => {
                    ["repeatable job of BullMQ 5", "repeatable jobs of BullMQ 5", " that may have ended or been lost"]
                }
                FindingKind::StuckParents => ["parent", "parents", " that will never run"],
                _ => ["finding", "findings", ""],
            };
            let [one, many, rest] = what;
            let mut detail = format!("{count} {}{rest}", if count == 1 { one } else { many });
            if kind == FindingKind::StuckParents {
                detail.push_str(&holds(&suspects));
            }
            let mut finding = Finding::new(kind, Some(queue), count, detail);
            finding.examples = suspects.iter().take(EXAMPLES).map(|suspect| suspect.id.clone()).collect();
            finding.suspects = suspects;
            self.findings.push(finding);
        }
    }
}

/// Tells what holds these parents back.
fn holds(parents: &[Suspect]) -> String {
    let with = |mark: &str| parents.iter().filter(|parent| parent.mark == mark).count();
    match (with("missing"), with("failed")) {
        (missing, 0) => format!(": {missing} with a child that is gone"),
        (0, failed) => format!(": {failed} with a failed child, until it is retried or removed"),
        (missing, failed) => format!(
            ": {missing} with a child that is gone, {failed} with a failed child, until it is retried or removed"
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `oxmq doctor --json` prints it, and others read it.
    #[test]
    fn a_report_is_written_as_it_always_was() {
        let mut report = Diagnosis::default();
        let empty = json!({ "queues": 0, "findings": [], "memory": [], "names": [], "leftOut": [], "versions": {}, "peers": [] });
        assert_eq!(serde_json::to_value(&report).unwrap(), empty);

        let mut finding = Finding::new(FindingKind::LostJobs, Some("mails"), 2, "2 jobs are in no list");
        finding.examples = vec!["7".into()];
        finding.suspects = vec![Suspect::new(FindingKind::LostJobs, "7")];
        report.findings = vec![finding, Finding::new(FindingKind::Eviction, None, 1, "it evicts")];
        let (queue, state) = (|| "mails".to_owned(), || "completed".to_owned());
        report.memory = vec![QueueMemory { queue: queue(), state: state(), count: 3, bytes_each: 400 }];
        let name = "welcome".to_owned();
        report.names = vec![NameMemory { queue: queue(), state: state(), name, about: 2, bytes_each: 300 }];
        report.leave_out(Some("mails"), "its logs");
        report.leave_out(None, "its latency");
        report.versions.insert(queue(), "bullmq:6.7.0".into());
        report.peers.insert((queue(), "ioredis 5.8.2".into()), 4);
        report.queues = 1;
        let expected = json!({
            "queues": 1,
            "findings": [
                { "kind": "lost-jobs", "queue": "mails", "count": 2, "detail": "2 jobs are in no list", "examples": ["7"] },
                { "kind": "eviction", "queue": null, "count": 1, "detail": "it evicts", "examples": [] },
            ],
            "memory": [{ "queue": "mails", "state": "completed", "count": 3, "bytesEach": 400 }],
            "names": [{ "queue": "mails", "state": "completed", "name": "welcome", "about": 2, "bytesEach": 300 }],
            "leftOut": [{ "queue": "mails", "what": "its logs" }, { "queue": null, "what": "its latency" }],
            "versions": { "mails": "bullmq:6.7.0" },
            "peers": [{ "queue": "mails", "library": "ioredis 5.8.2", "count": 4 }],
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }
}
