//! What a peer reports to the orchestrator, and what it measures of itself.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::Args;

/// Returns the median and the 99th percentile of some delays.
pub(crate) fn percentiles(mut late: Vec<Duration>) -> [(&'static str, f64); 2] {
    late.sort_unstable();
    let millis = |per_mille: usize| late[(late.len() * per_mille / 1_000).min(late.len() - 1)].as_secs_f64() * 1e3;
    [("p50_ms", millis(500)), ("p99_ms", millis(990))]
}

/// Tells the orchestrator that the preparation is done, and waits for its signal to start.
pub(super) async fn ready_to_go() -> Result<()> {
    println!("ready");
    next_line().await
}

/// Waits for a line on standard input, or its end, while the runtime goes on.
pub(super) async fn next_line() -> Result<()> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

/// What the timed part took.
pub(super) struct Measured {
    seconds: f64,
    client_cpu_s: f64,
}

pub(super) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { cpu: process_cpu(), wall: Instant::now() }
    }

    pub(super) fn stop(&self) -> Measured {
        Measured {
            seconds: self.wall.elapsed().as_secs_f64(),
            client_cpu_s: process_cpu().saturating_sub(self.cpu).as_secs_f64(),
        }
    }
}

/// Returns the user and system time of all threads of this process; what `getrusage` counts, in nanoseconds.
fn process_cpu() -> Duration {
    clock(rustix::time::ClockId::ProcessCPUTime)
}

pub(super) fn clock(id: rustix::time::ClockId) -> Duration {
    Duration::try_from(rustix::time::clock_gettime(id)).unwrap_or_default()
}

/// Returns a figure in kB from `/proc/self/status`; `getrusage` would report the peak of the parent process.
pub(super) fn status_kb(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

pub(super) fn report(args: &Args, jobs: usize, measured: &Measured, extra: Map<String, Value>) {
    let mut line = Map::from_iter([
        ("work".to_owned(), json!(args.work)),
        ("jobs".to_owned(), json!(jobs)),
        ("seconds".to_owned(), json!(measured.seconds)),
        ("client_cpu_s".to_owned(), json!(measured.client_cpu_s)),
        ("peak_rss_kb".to_owned(), json!(status_kb("VmHWM"))),
    ]);
    line.extend(extra);
    println!("{}", Value::Object(line));
}
