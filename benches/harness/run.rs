//! Rounds of runs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::check::{check, check_prefill};
use super::options::{Options, PeerName};
use super::peer::{PREFIX, Running};
use super::recording::Recorder;
use super::server::{Figures, Server};
use super::work::{Kind, Work};

/// The figures of one run by name.
pub(super) type Run = BTreeMap<&'static str, f64>;

/// What one peer gave for one work.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) peer: PeerName,
    /// One per round.
    pub(super) runs: Vec<Run>,
    /// Why the series ended early; its runs are no result then.
    pub(super) error: Option<String>,
}

/// What all peers gave for one work.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) work: Work,
    pub(super) series: Vec<Series>,
}

impl Outcome {
    pub(super) fn failures(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| series.error.is_some())
    }
}

/// Measures `work` with all peers, in turn within each round.
pub(super) fn measure(options: &Options, server: &Server, work: &Work) -> Outcome {
    let series = |&peer| Series { peer, runs: Vec::new(), error: None };
    let peers = options.peers.iter().filter(|peer| work.suits(**peer));
    let mut outcome = Outcome { work: work.clone(), series: peers.map(series).collect() };
    if let Err(error) = prefill(options, server, work) {
        for series in &mut outcome.series {
            series.error = Some(format!("prefill: {error:#}"));
        }
        return outcome;
    }
    // A timer needs no recording.
    if work.kind != Kind::Lateness
        && let Some(floor) = outcome.series.iter_mut().find(|series| series.peer == PeerName::Floor)
        && let Err(error) = record(options, server, work)
    {
        floor.error = Some(format!("recording: {error:#}"));
    }
    for round in 1..=options.rounds {
        for series in &mut outcome.series {
            if series.error.is_some() {
                continue;
            }
            let name = series.peer.as_str();
            status(&format!("{} round {round}/{} {name}", work.label(), options.rounds));
            match run(options, server, work, series.peer) {
                Ok(figures) => series.runs.push(figures),
                Err(error) => {
                    series.runs.clear();
                    series.error = Some(format!("round {round}: {error:#}"));
                }
            }
        }
    }
    status("");
    outcome
}

/// Shows `text` in the last line of a terminal; the next one replaces it.
fn status(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

/// Returns the name under which the server keeps the jobs that exist before the run.
fn kept(work: &Work) -> Option<String> {
    Some(format!("{}-{}-{}.rdb", work.prefill?, work.backlog, work.bytes))
}

/// Lets one peer write the jobs, and saves the keys, so that each run of each peer finds the same bytes.
///
/// BullMQ itself writes them if it takes part: its jobs are the ones that every peer must handle.
fn prefill(options: &Options, server: &Server, work: &Work) -> Result<()> {
    let (Some(prefill), Some(name)) = (work.prefill, kept(work)) else {
        return Ok(());
    };
    if server.keeps(&name) {
        return Ok(());
    }
    server.flush()?;
    if work.kind == Kind::Events {
        write_events(server, work.backlog)?;
        return server.keep(&name);
    }
    let writer = [PeerName::Node, PeerName::Official]
        .into_iter()
        .find(|name| options.peers.contains(name))
        .unwrap_or(PeerName::Oxmq);
    let mut peer = Running::start(options, server, writer, prefill, work)?;
    peer.wait_until_ready()?;
    peer.go_on()?;
    peer.result()?;
    check_prefill(server, work)?;
    peer.finish()?;
    server.keep(&name)
}

/// Writes the events of jobs itself, since no library would keep so many.
fn write_events(server: &Server, events: usize) -> Result<()> {
    let mut connection = server.connect()?;
    for n in 0..events {
        let id = n.to_string();
        let stream = format!("{PREFIX}:bench:events");
        connection.text(&[
            "XADD",
            &stream,
            "*",
            "event",
            "completed",
            "jobId",
            &id,
            "returnvalue",
            "null",
            "prev",
            "active",
        ])?;
    }
    Ok(())
}

/// Puts the server into the state in which each run begins.
fn prepare(server: &Server, work: &Work) -> Result<()> {
    match kept(work) {
        Some(name) => server.restore(&name),
        None => server.flush(),
    }
}

/// Lets oxmq do the work once, unmeasured, and keeps the commands that its scripts execute.
fn record(options: &Options, server: &Server, work: &Work) -> Result<()> {
    status(&format!("{} recording", work.label()));
    prepare(server, work)?;
    let mut peer = Running::start(options, server, PeerName::Oxmq, work.name, work)?;
    peer.wait_until_ready()?;
    let recorder = Recorder::start(server.connect()?, &server.recording(&work.label()))?;
    peer.go_on()?;
    peer.result()?;
    recorder.stop()?;
    peer.finish()
}

fn run(options: &Options, server: &Server, work: &Work, name: PeerName) -> Result<Run> {
    prepare(server, work)?;
    // The memory of the server without the jobs of the timed part, or with them.
    let empty = server.figures()?;
    if let Kind::Shared(processes) = work.kind {
        return run_shared(options, server, work, name, processes);
    }
    let mut peer = Running::start(options, server, name, work.name, work)?;
    peer.wait_until_ready()?;

    server.reset()?;
    let before = server.figures()?;
    if work.kind == Kind::Idle {
        let seconds = Duration::from_secs(u64::try_from(work.jobs)?);
        let monitor = server.connect()?.monitor()?;
        peer.go_on()?;
        std::thread::sleep(seconds);
        let sent = monitor.stop()?;
        let after = server.figures()?;
        peer.go_on()?;
        let result = peer.result()?;
        check(server, work, work.jobs, &before, &after)?;
        peer.finish()?;
        return idle_figures(&result, sent, &before, &after);
    }
    peer.go_on()?;
    let result = peer.result()?;
    let after = server.figures()?;
    if !(name == PeerName::Floor && work.kind == Kind::Lateness) {
        check(server, work, jobs_of(work, &result)?, &before, &after)?;
    }
    peer.finish()?;
    figures(work, &result, &empty, &before, &after)
}

/// Lets several processes work on one queue, until all jobs are completed.
fn run_shared(options: &Options, server: &Server, work: &Work, name: PeerName, processes: usize) -> Result<Run> {
    let start = |_| Running::start(options, server, name, work.name, work);
    let mut peers = (0..processes).map(start).collect::<Result<Vec<_>>>()?;
    peers.iter_mut().try_for_each(Running::wait_until_ready)?;
    server.reset()?;
    let before = server.figures()?;
    let started = Instant::now();
    peers.iter_mut().try_for_each(Running::go_on)?;
    let mut connection = server.connect()?;
    let jobs = i64::try_from(work.jobs)?;
    while connection.integer(&["ZCARD", &format!("{PREFIX}:bench:completed")])? < jobs {
        ensure!(started.elapsed() < options.timeout, "the peers are stuck");
        std::thread::sleep(Duration::from_millis(10));
    }
    let seconds = started.elapsed().as_secs_f64();
    let after = server.figures()?;
    peers.iter_mut().try_for_each(Running::go_on)?;
    let (mut client_cpu_s, mut peak_rss_kb) = (0.0, 0.0_f64);
    for peer in &mut peers {
        let result = peer.result()?;
        client_cpu_s += number(&result, "client_cpu_s")?;
        peak_rss_kb = peak_rss_kb.max(number(&result, "peak_rss_kb")?);
    }
    check(server, work, work.jobs, &before, &after)?;
    peers.into_iter().try_for_each(Running::finish)?;
    let jobs = f64::from(u32::try_from(work.jobs)?);
    Ok(Run::from([
        ("seconds", seconds),
        ("jobs_per_s", jobs / seconds),
        ("redis_us_per_job", (after.cpu_s - before.cpu_s) * 1e6 / jobs),
        ("client_us_per_job", client_cpu_s * 1e6 / jobs),
        ("peak_rss_mb", peak_rss_kb / 1024.0),
        ("commands_per_job", (after.commands - before.commands) / jobs),
    ]))
}

fn number(result: &Map<String, Value>, key: &str) -> Result<f64> {
    let value = result.get(key).and_then(Value::as_f64);
    value.with_context(|| format!("the peer reports no {key}"))
}

/// Returns how many jobs the peer has processed.
fn jobs_of(work: &Work, result: &Map<String, Value>) -> Result<usize> {
    let jobs = usize::try_from(result.get("jobs").and_then(Value::as_u64).context("the peer reports no jobs")?)?;
    let more = matches!(work.kind, Kind::Part(_)) && (work.jobs..=work.backlog).contains(&jobs);
    anyhow::ensure!(more || jobs == work.jobs, "the peer reports {jobs} jobs");
    Ok(jobs)
}

fn figures(
    work: &Work,
    result: &Map<String, Value>,
    empty: &Figures,
    before: &Figures,
    after: &Figures,
) -> Result<Run> {
    let jobs = number(result, "jobs")?;
    let seconds = number(result, "seconds")?;
    let mut run = Run::from([
        ("seconds", seconds),
        ("jobs_per_s", jobs / seconds),
        ("redis_us_per_job", (after.cpu_s - before.cpu_s) * 1e6 / jobs),
        ("client_us_per_job", number(result, "client_cpu_s")? * 1e6 / jobs),
        ("peak_rss_mb", number(result, "peak_rss_kb")? / 1024.0),
        ("commands_per_job", (after.commands - before.commands) / jobs),
        ("script_p99_ms", after.script_p99_ms),
        ("longest_script_ms", after.longest_script_ms),
    ]);
    match work.kind {
        Kind::Add => {
            let grown = after.memory - before.memory;
            run.insert("redis_bytes_per_job_after", grown / jobs);
        }
        Kind::Memory => {
            // An empty server takes about 1 MB, a byte per job of the million.
            run.insert("redis_bytes_per_job_before", empty.memory / jobs);
            run.insert("redis_bytes_per_job_after", after.memory / jobs);
            for (key, source) in
                [("rss_start_mb", "rss_start_kb"), ("rss_tenth_mb", "rss_tenth_kb"), ("rss_end_mb", "rss_end_kb")]
            {
                run.insert(key, number(result, source)? / 1024.0);
            }
        }
        Kind::Latency => {
            run.insert("p50_us", number(result, "p50_us")?);
            run.insert("p99_us", number(result, "p99_us")?);
        }
        Kind::Lateness | Kind::Scheduler => {
            run.insert("p50_ms", number(result, "p50_ms")?);
            run.insert("p99_ms", number(result, "p99_ms")?);
        }
        _ => {}
    }
    Ok(run)
}

fn idle_figures(result: &Map<String, Value>, sent: usize, before: &Figures, after: &Figures) -> Result<Run> {
    let seconds = number(result, "seconds")?;
    Ok(Run::from([
        ("seconds", seconds),
        ("client_commands_per_s", f64::from(u32::try_from(sent)?) / seconds),
        ("all_commands_per_s", (after.commands - before.commands) / seconds),
        ("client_ms_per_s", number(result, "client_cpu_s")? * 1e3 / seconds),
        ("close_ms", number(result, "close_ms")?),
        ("peak_rss_mb", number(result, "peak_rss_kb")? / 1024.0),
    ]))
}
