//! The works: what is measured, with how many jobs, and which figures each yields.

use anyhow::{Result, ensure};

use super::options::Options;

/// What a work does, hence how it is timed and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fills an empty queue.
    Add,
    /// Empties a filled queue; the jobs stay as completed.
    Process,
    /// Empties a filled queue; the jobs are removed.
    ProcessRemove,
    /// As `Process`, after a first attempt that fails.
    ProcessRetry,
    /// As `Process`, watching memory.
    Memory,
    /// From `add` to the processor, one job at a time.
    Latency,
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
    /// Seconds for `Idle`, samples for `Latency`.
    pub(super) jobs: usize,
    /// The work of the peer that writes the jobs.
    pub(super) prefill: Option<&'static str>,
}

impl Work {
    pub(super) fn label(&self) -> String {
        if self.labelled { format!("{}@{}", self.name, self.concurrency) } else { self.name.to_owned() }
    }

    /// The figures for the table, the most important first.
    pub(super) fn metrics(&self) -> &'static [Metric] {
        match self.kind {
            Kind::Add | Kind::Process | Kind::ProcessRemove | Kind::ProcessRetry => &THROUGHPUT,
            Kind::Memory => &MEMORY,
            Kind::Latency => &LATENCY,
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
const IDLE: [Metric; 4] = [
    metric("client_commands_per_s", "commands/s sent", 2),
    metric("all_commands_per_s", "commands/s in all", 2),
    metric("client_ms_per_s", "client ms/s", 3),
    metric("close_ms", "close ms", 1),
];

/// All works, with numbers of jobs that keep a run between one and a few seconds.
fn all(long: bool) -> Vec<Work> {
    let work = |name, kind, jobs, prefill| Work { name, kind, concurrency: 100, labelled: false, jobs, prefill };
    if long {
        return vec![work("memory", Kind::Memory, 1_000_000, Some("prefill"))];
    }
    let process = |concurrency, jobs| Work {
        concurrency,
        labelled: true,
        ..work("process", Kind::Process, jobs, Some("prefill"))
    };
    vec![
        work("add_sequential", Kind::Add, 10_000, None),
        work("add_concurrent", Kind::Add, 60_000, None),
        work("add_bulk", Kind::Add, 60_000, None),
        process(1, 10_000),
        process(10, 40_000),
        process(100, 60_000),
        process(1_000, 60_000),
        work("process_remove", Kind::ProcessRemove, 40_000, Some("prefill_remove")),
        work("process_priority", Kind::Process, 40_000, Some("prefill_priority")),
        work("process_delayed", Kind::Process, 40_000, Some("prefill_delayed")),
        work("process_retry", Kind::ProcessRetry, 30_000, Some("prefill_retry")),
        Work { concurrency: 1, ..work("latency", Kind::Latency, 500, None) },
        work("idle", Kind::Idle, 15, None),
    ]
}

/// The works that the options ask for.
pub(super) fn selected(options: &Options) -> Result<Vec<Work>> {
    let mut works = all(options.long);
    if !options.only.is_empty() {
        for word in &options.only {
            let known = works.iter().any(|work| *word == work.name || *word == work.label());
            ensure!(known, "unknown work {word}");
        }
        works.retain(|work| {
            let label = work.label();
            options.only.iter().any(|word| *word == work.name || *word == label)
        });
    }
    for work in &mut works {
        match (work.kind, options.jobs) {
            (Kind::Idle, _) if options.quick => work.jobs = 5,
            (Kind::Idle, _) => {}
            (_, Some(jobs)) => work.jobs = jobs,
            (_, None) if options.quick => work.jobs /= 10,
            _ => {}
        }
    }
    Ok(works)
}
