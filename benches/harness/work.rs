//! The works: what is measured, with how many jobs, and which figures each yields.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::options::{Options, PeerName};

/// What a work does, hence how it is timed and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fills an empty queue.
    Add,
    /// Empties a filled queue; the jobs stay as completed.
    Process,
    /// As `Process`, by way of a router, without a layer or with one that does nothing.
    Layers,
    /// Empties a filled queue; the jobs are removed.
    ProcessRemove,
    /// As `Process`, after a first attempt that fails.
    ProcessRetry,
    /// As `Process`, watching memory.
    Memory,
    /// As `Process`, but only a part of the jobs, which are all under the named key.
    Part(&'static str),
    /// An operation that removes all jobs.
    Erase,
    /// An operation after which all jobs wait.
    Leave,
    /// From `add` to the processor, one job at a time.
    Latency,
    /// From the moment at which a delayed job or a second attempt is due to the processor, while the worker has nothing
    /// else to do.
    Lateness,
    /// As `Process`, by several processes at once.
    Shared(usize),
    /// Parents with children.
    Flow,
    /// Runs of job schedulers, which go on.
    Scheduler,
    /// Reading a stream of events that is there already.
    Events,
    /// Adding jobs and waiting for the end of each, with a worker in the same process.
    Waits,
    /// A worker with nothing to do.
    Idle,
}

#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) concurrency: usize,
    /// The concurrency belongs to the label, because several are measured.
    labelled: bool,
    /// How many jobs oxmq fetches ahead; no other peer can.
    pub(super) prefetch: usize,
    /// Seconds for `Idle`, samples for `Latency`.
    pub(super) jobs: usize,
    /// The work of the peer that writes the jobs.
    pub(super) prefill: Option<&'static str>,
    /// How many jobs it writes.
    pub(super) backlog: usize,
    /// The size of each job's data.
    pub(super) bytes: usize,
    pub(super) growth: Option<Growth>,
    pub(super) way: Way,
}

/// How the peer runs, and reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Near,
    /// A round trip of [`ROUND_TRIP`] away.
    Far,
    /// Near, and encrypted.
    Tls,
    /// Near, from the two threads of tokio's default runtime.
    Threads,
}

impl Way {
    /// What stands in front of the label.
    fn prefix(self) -> &'static str {
        match self {
            Self::Near => "",
            Self::Far => "far/",
            Self::Tls => "tls/",
            Self::Threads => "threads/",
        }
    }
}

/// How many jobs are fetched ahead where some are.
const AHEAD: usize = 20;

pub(super) const ROUND_TRIP: Duration = Duration::from_millis(1);

/// The place of a work among works that differ only in one number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// The number that grows.
    pub(super) axis: &'static str,
    pub(super) size: usize,
}

impl Work {
    pub(super) fn label(&self) -> String {
        if let Some(Growth { axis, size }) = self.growth {
            return format!("{axis}/{}/{size}", self.name);
        }
        if let Kind::Shared(processes) = self.kind {
            return format!("{}@{processes}x{}", self.name, self.concurrency);
        }
        let ahead = if self.prefetch > 0 { "_prefetch" } else { "" };
        let name =
            if self.labelled { format!("{}{ahead}@{}", self.name, self.concurrency) } else { self.name.to_owned() };
        format!("{}{name}", self.way.prefix())
    }

    /// Returns whether this peer can do the work.
    pub(super) fn suits(&self, peer: PeerName) -> bool {
        match peer {
            PeerName::Oxmq => true,
            PeerName::Floor => {
                matches!(self.way, Way::Near | Way::Far)
                    && matches!(
                        self.kind,
                        Kind::Add
                            | Kind::Flow
                            | Kind::Process
                            | Kind::ProcessRemove
                            | Kind::ProcessRetry
                            | Kind::Lateness
                    )
            }
            // Each would need its own way of being told which authority to trust.
            PeerName::Node => {
                matches!(self.way, Way::Near | Way::Far)
                    && !matches!(self.kind, Kind::Erase | Kind::Leave | Kind::Layers)
            }
            PeerName::Official => {
                self.way != Way::Tls && !matches!(self.kind, Kind::Erase | Kind::Leave | Kind::Waits | Kind::Layers)
            }
        }
    }

    /// Returns whether `--only` selects this work by that word.
    fn is_called(&self, word: &str) -> bool {
        let label = self.label();
        word == label
            || (word == self.name && self.way == Way::Near)
            || label.strip_prefix(word).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Returns the figures for the table, the most important first.
    pub(super) fn metrics(&self) -> &'static [Metric] {
        if self.growth.is_some() {
            return &GROWTH;
        }
        match self.kind {
            Kind::Add
            | Kind::Process
            | Kind::Layers
            | Kind::ProcessRemove
            | Kind::ProcessRetry
            | Kind::Part(_)
            | Kind::Shared(_)
            | Kind::Flow
            | Kind::Events
            | Kind::Waits
            | Kind::Erase
            | Kind::Leave => &THROUGHPUT,
            Kind::Memory => &MEMORY,
            Kind::Latency => &LATENCY,
            Kind::Lateness | Kind::Scheduler => &LATENESS,
            Kind::Idle => &IDLE,
        }
    }
}

/// A figure of a run, by its name in the JSON.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) decimals: usize,
}

const fn metric(key: &'static str, title: &'static str, decimals: usize) -> Metric {
    Metric { key, title, decimals }
}

const THROUGHPUT: [Metric; 4] = [
    metric("jobs_per_s", "jobs/s", 0),
    metric("redis_us_per_job", "Redis µs/job", 1),
    metric("client_us_per_job", "client µs/job", 1),
    metric("peak_rss_mb", "peak RSS MB", 0),
];
const GROWTH: [Metric; 5] = [
    metric("jobs_per_s", "jobs/s", 0),
    metric("redis_us_per_job", "Redis µs/job", 1),
    metric("client_us_per_job", "client µs/job", 1),
    metric("script_p99_ms", "script p99 ms", 2),
    metric("longest_script_ms", "longest script ms", 2),
];
const MEMORY: [Metric; 6] = [
    metric("rss_start_mb", "RSS start MB", 1),
    metric("rss_tenth_mb", "RSS at 10 % MB", 1),
    metric("rss_end_mb", "RSS end MB", 1),
    metric("redis_bytes_per_job_before", "Redis B/job queued", 0),
    metric("redis_bytes_per_job_after", "Redis B/job completed", 0),
    metric("jobs_per_s", "jobs/s", 0),
];
const LATENCY: [Metric; 3] =
    [metric("p50_us", "p50 µs", 0), metric("p99_us", "p99 µs", 0), metric("client_us_per_job", "client µs/job", 0)];
const LATENESS: [Metric; 3] = [
    metric("p50_ms", "late p50 ms", 1),
    metric("p99_ms", "late p99 ms", 1),
    metric("client_us_per_job", "client µs/job", 0),
];
const IDLE: [Metric; 4] = [
    metric("client_commands_per_s", "commands/s sent", 2),
    metric("all_commands_per_s", "commands/s in all", 2),
    metric("client_ms_per_s", "client ms/s", 3),
    metric("close_ms", "close ms", 1),
];

fn work(name: &'static str, kind: Kind, jobs: usize, prefill: Option<&'static str>) -> Work {
    Work {
        name,
        kind,
        concurrency: 100,
        labelled: false,
        prefetch: 0,
        jobs,
        prefill,
        backlog: jobs,
        bytes: 120,
        growth: None,
        way: Way::Near,
    }
}

/// Returns all works, with numbers of jobs that keep a run between one and a few seconds.
fn all(long: bool) -> Vec<Work> {
    if long {
        return vec![work("memory", Kind::Memory, 1_000_000, Some("prefill"))];
    }
    let process = |concurrency, jobs| Work {
        concurrency,
        labelled: true,
        ..work("process", Kind::Process, jobs, Some("prefill"))
    };
    let shared =
        |processes| Work { concurrency: 20, ..work("share", Kind::Shared(processes), 40_000, Some("prefill")) };
    let far = |work| Work { way: Way::Far, ..work };
    let tls = |work| Work { way: Way::Tls, ..work };
    let latency = || Work { concurrency: 1, ..work("latency", Kind::Latency, 500, None) };
    let mut works = vec![
        work("add_sequential", Kind::Add, 10_000, None),
        work("add_concurrent", Kind::Add, 60_000, None),
        work("add_bulk", Kind::Add, 60_000, None),
        process(1, 10_000),
        process(10, 40_000),
        process(100, 60_000),
        process(1_000, 60_000),
        work("layers_off", Kind::Layers, 60_000, Some("prefill")),
        work("layers_one", Kind::Layers, 60_000, Some("prefill")),
        work("process_remove", Kind::ProcessRemove, 40_000, Some("prefill_remove")),
        work("process_priority", Kind::Process, 40_000, Some("prefill_priority")),
        work("process_delayed", Kind::Process, 40_000, Some("prefill_delayed")),
        work("process_retry", Kind::ProcessRetry, 30_000, Some("prefill_retry")),
        work("flow_add", Kind::Flow, 22_000, None),
        shared(1),
        shared(8),
        far(work("add_sequential", Kind::Add, 2_000, None)),
        far(process(1, 2_000)),
        far(process(10, 10_000)),
        far(Work { prefetch: AHEAD, ..process(1, 10_000) }),
        far(Work { prefetch: AHEAD, ..process(10, 20_000) }),
        latency(),
        Work { concurrency: 10, ..work("lateness", Kind::Lateness, 150, None) },
        Work { concurrency: 10, ..work("lateness_retry", Kind::Lateness, 150, None) },
        work("scheduler", Kind::Scheduler, 5_000, None),
        work("events", Kind::Events, 100_000, Some("events")),
        work("waits", Kind::Waits, 10_000, None),
        Work { way: Way::Threads, ..process(100, 60_000) },
        work("idle", Kind::Idle, 15, None),
    ];
    if cfg!(feature = "tls") {
        works.extend([
            tls(work("add_sequential", Kind::Add, 10_000, None)),
            tls(work("add_concurrent", Kind::Add, 60_000, None)),
            tls(process(1, 10_000)),
            tls(process(100, 60_000)),
            tls(latency()),
        ]);
    }
    works
}

/// Returns the works of `--growth`: by what grows, then by what is done, the smallest first.
fn growing() -> Vec<Work> {
    const THOUSAND: usize = 1_000;
    const FEW: usize = 20 * THOUSAND;
    let mut works = Vec::new();
    let mut grow = |axis, size, work| works.push(Work { growth: Some(Growth { axis, size }), ..work });
    let backlogs = [THOUSAND, 10 * THOUSAND, 100 * THOUSAND, 1_000 * THOUSAND];
    for backlog in backlogs {
        grow("waiting", backlog, Work { backlog, ..work("add_bulk", Kind::Add, FEW, Some("prefill")) });
    }
    for (name, key, prefill, sizes) in [
        ("part", "wait", "prefill", &backlogs[..]),
        ("part_priority", "prioritized", "prefill_priority", &backlogs[..3]),
    ] {
        for &backlog in sizes {
            let part = work(name, Kind::Part(key), FEW.min(backlog), Some(prefill));
            grow("waiting", backlog, Work { backlog, ..part });
        }
    }
    for (concurrency, jobs) in [(1, 10), (10, 20), (100, 30), (1_000, 30), (10_000, 30)] {
        let running = work("running", Kind::Process, jobs * THOUSAND, Some("prefill"));
        grow("running", concurrency, Work { concurrency, ..running });
    }
    let payloads = [(100, 20), (1_000, 20), (10_000, 10), (100_000, 2)];
    for (name, kind, prefill) in [
        ("add_concurrent", Kind::Add, None),
        ("add_bulk", Kind::Add, None),
        ("process", Kind::Process, Some("prefill")),
    ] {
        for (bytes, jobs) in payloads {
            grow("payload", bytes, Work { bytes, ..work(name, kind, jobs * THOUSAND, prefill) });
        }
    }
    for (name, kind, prefill) in [
        ("clean", Kind::Erase, "prefill_completed"),
        ("drain", Kind::Erase, "prefill"),
        ("obliterate", Kind::Erase, "prefill"),
        ("retry_jobs", Kind::Leave, "prefill_failed"),
        ("promote_jobs", Kind::Leave, "prefill_later"),
        ("remove_orphaned_jobs", Kind::Leave, "prefill"),
        ("get_jobs", Kind::Leave, "prefill"),
    ] {
        for jobs in [THOUSAND, 10 * THOUSAND, 100 * THOUSAND] {
            grow("whole queue", jobs, work(name, kind, jobs, Some(prefill)));
        }
    }
    works
}

/// Returns the works that the options select.
pub(super) fn selected(options: &Options) -> Result<Vec<Work>> {
    let mut works = if options.growth { growing() } else { all(options.long) };
    if !options.only.is_empty() {
        for word in &options.only {
            ensure!(works.iter().any(|work| work.is_called(word)), "unknown work {word}");
        }
        works.retain(|work| options.only.iter().any(|word| work.is_called(word)));
    }
    for work in &mut works {
        if work.growth.is_some() {
            ensure!(options.jobs.is_none(), "--growth has its own numbers of jobs");
            if options.quick {
                let is_part = matches!(work.kind, Kind::Add | Kind::Part(_));
                work.jobs = work.jobs.min(2_000);
                work.backlog = if is_part { work.backlog.min(10_000) } else { work.jobs };
                work.concurrency = work.concurrency.min(1_000);
            }
            continue;
        }
        match (work.kind, options.jobs) {
            (Kind::Idle, _) if options.quick => work.jobs = 5,
            (Kind::Idle, _) => {}
            (_, Some(jobs)) => work.jobs = jobs,
            (_, None) if options.quick => work.jobs /= 10,
            _ => {}
        }
        work.backlog = work.jobs;
    }
    Ok(works)
}
