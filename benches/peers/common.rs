//! What the Rust sides of the comparison share: the command line, the protocol with the orchestrator, the jobs, the
//! clock, and each work written once against the [`Peer`] trait.
//!
//! A peer is a process: `peer --redis URL --prefix P --work NAME --jobs N [--concurrency C] [--backlog B] [--bytes B]`.
//! It connects, warms up on a queue of its own, prints `ready` and waits for a line on its standard input; then it does the timed part, prints
//! one line of JSON, and waits for another line before it closes its connections and leaves. The orchestrator reads
//! Redis' own figures while the peer waits, so that they cover the timed part and nothing else.
//!
//! `idle` is timed by the orchestrator: the second line ends it, and the JSON follows once the worker is closed.

#[path = "growth.rs"]
mod growth;

use std::future::{Future, ready};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Jobs in one `add_bulk` call.
const BATCH: usize = 1_000;
/// Adds in flight in `add_concurrent`.
const IN_FLIGHT: usize = 100;
/// The queue that is measured; the orchestrator looks at its keys afterwards.
const QUEUE: &str = "bench";
/// The queue of the untimed warm-up: the same work in small, so that nobody pays for script loading or a cold JIT.
const WARM_QUEUE: &str = "warm";
const WARM_JOBS: usize = 2_000;
pub(crate) const WARM_SAMPLES: usize = 50;
/// From the first attempt to the second in `lateness_retry`.
const BACKOFF: Duration = Duration::from_millis(500);
/// Children of each parent in `flow_add`.
pub(crate) const CHILDREN: usize = 10;

/// The job name of every job.
pub(crate) const JOB_NAME: &str = "mail";

/// The data of every job: 120 bytes as JSON, unless the command line says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    to: String,
    body: String,
}

impl Payload {
    /// The same for all jobs and peers.
    fn of(bytes: usize) -> Self {
        let empty = r#"{"to":"someone@example.com","body":""}"#.len();
        Self { to: "someone@example.com".to_owned(), body: "x".repeat(bytes.saturating_sub(empty)) }
    }
}

/// The options of one job; what is `None`, `0` or `false` is left unset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spec {
    pub(crate) priority: Option<u32>,
    pub(crate) delay: Option<Duration>,
    pub(crate) attempts: Option<u32>,
    /// The wait before a second attempt.
    pub(crate) backoff: Option<Duration>,
    pub(crate) remove_on_complete: bool,
}

/// Where the peer works.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) redis: String,
    pub(crate) prefix: String,
    pub(crate) queue: &'static str,
}

/// One library under test. Everything it does is here; what is done with it is the same for all.
pub(crate) trait Peer: Sized {
    /// A worker with its connections, which may run or not.
    type Worker;

    /// Connects a queue, as a good user of the library would.
    async fn connect(place: &Place) -> Result<Self>;

    /// Adds one job and returns when Redis has acknowledged it. Called up to 100 times at once in `add_concurrent`.
    async fn add(&self, payload: &Payload) -> Result<()>;

    /// Adds all `specs` with this payload, in this order, by one call of the library's bulk method.
    async fn add_bulk(&self, payload: &Payload, specs: &[Spec]) -> Result<()>;

    /// Adds a parent with so many children, all with this payload, by one call.
    async fn add_flow(&self, payload: &Payload, children: usize) -> Result<()>;

    /// Makes a job scheduler with this interval.
    async fn schedule(&self, id: &str, every: Duration, payload: &Payload) -> Result<()>;

    /// Reads so many events of the queue, from the oldest on.
    async fn follow(place: &Place, count: usize) -> Result<()>;

    /// Adds so many jobs in bulk, and waits for the end of each, all at once. Not every library can.
    async fn wait_for_each(&self, _payload: &Payload, _count: usize) -> Result<()> {
        bail!("this library does not wait for jobs")
    }

    /// Makes a worker that is connected but takes no jobs yet.
    ///
    /// The library's processor decodes the job's data, calls `processor` with `attempts_made` (0 in the first
    /// attempt) and the job's id, and succeeds with a null result if that returns `true`, else fails with an ordinary error.
    async fn worker<P, F>(&self, concurrency: usize, processor: P) -> Result<Self::Worker>
    where
        P: Fn(u32, &str) -> F + Send + Sync + 'static,
        F: Future<Output = bool> + Send + 'static;

    /// Lets the worker take jobs.
    async fn start(&self, worker: &mut Self::Worker) -> Result<()>;

    /// Waits until `count` jobs since the start are known to be completed *in Redis*, not merely processed.
    async fn completed(&self, worker: &mut Self::Worker, count: usize) -> Result<()>;

    /// Closes the worker gracefully, as the library recommends; measured in `idle`.
    async fn close(&self, worker: Self::Worker) -> Result<()>;

    /// Gets rid of a worker that has nothing left to do, where closing is not measured and may be impatient.
    async fn abandon(&self, worker: Self::Worker) -> Result<()> {
        self.close(worker).await
    }

    /// Lets a worker that has not started renew its locks and look for stalled jobs so often that a run of a few
    /// seconds sees it, if it can. For a work of `--growth`.
    fn hasten(&self, _worker: &mut Self::Worker) -> Result<()> {
        Ok(())
    }

    /// Does `operation` to the whole queue; says to how many jobs. For works of `--growth`, by oxmq only.
    async fn administer(&self, operation: &str) -> Result<usize> {
        bail!("{operation} is not made for this library")
    }
}

/// The command line of a peer.
#[derive(Clone, Debug)]
struct Args {
    redis: String,
    prefix: String,
    work: String,
    jobs: usize,
    concurrency: usize,
    /// How many jobs are there before the timed part; `jobs` unless it is said.
    backlog: usize,
    /// The size of a job's data.
    bytes: usize,
}

impl Args {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut args = Self {
            redis: "redis://127.0.0.1:6379".to_owned(),
            prefix: "bull".to_owned(),
            work: String::new(),
            jobs: 1_000,
            concurrency: 100,
            backlog: 0,
            bytes: 120,
        };
        let mut words = words;
        let mut backlog = None;
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--redis" => args.redis = value,
                "--prefix" => args.prefix = value,
                "--work" => args.work = value,
                "--jobs" => args.jobs = value.parse()?,
                "--concurrency" => args.concurrency = value.parse()?,
                "--backlog" => backlog = Some(value.parse()?),
                "--bytes" => args.bytes = value.parse()?,
                // For whoever has made the runtime.
                "--threads" => {}
                _ => bail!("unexpected argument {word}"),
            }
        }
        ensure!(!args.work.is_empty(), "--work is missing");
        args.backlog = backlog.unwrap_or(args.jobs);
        Ok(args)
    }

    fn place(&self, queue: &'static str) -> Place {
        Place { redis: self.redis.clone(), prefix: self.prefix.clone(), queue }
    }
}

/// The kind of jobs a work deals in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    Remove,
    Priority,
    Delayed,
    /// Due after the run.
    Later,
    Retry,
}

impl Shape {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "" => Self::Plain,
            "_remove" => Self::Remove,
            "_priority" => Self::Priority,
            "_delayed" => Self::Delayed,
            "_later" => Self::Later,
            "_retry" => Self::Retry,
            _ => return None,
        })
    }

    fn spec(self, index: usize) -> Spec {
        let unset = Spec::default();
        match self {
            Self::Plain => unset,
            Self::Remove => Spec { remove_on_complete: true, ..unset },
            Self::Priority => Spec {
                // At most 10, so the conversion cannot fail.
                priority: u32::try_from(1 + index % 10).ok(),
                ..unset
            },
            // Due long before the timed part begins.
            Self::Delayed => Spec { delay: Some(Duration::from_millis(1)), ..unset },
            Self::Later => Spec { delay: Some(Duration::from_secs(3600)), ..unset },
            Self::Retry => Spec { attempts: Some(2), ..unset },
        }
    }

    /// What a worker does with such jobs.
    fn processor(self) -> impl Fn(u32, &str) -> std::future::Ready<bool> + Send + Sync + 'static {
        move |attempts_made, _| ready(self != Self::Retry || attempts_made > 0)
    }
}

/// One thread on one core, which is what both libraries measure best on; with `--threads N` the default runtime of so many.
pub(crate) fn runtime(mut words: impl Iterator<Item = String>) -> Result<tokio::runtime::Runtime> {
    let threads = words.find(|word| word == "--threads").and_then(|_| words.next());
    let mut builder = match threads {
        Some(threads) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads.parse()?);
            builder
        }
        None => tokio::runtime::Builder::new_current_thread(),
    };
    Ok(builder.enable_all().build()?)
}

/// Runs one work with the library `P`, reading its command line from `words`.
pub(crate) async fn run<P: Peer>(words: impl Iterator<Item = String>) -> Result<()> {
    let args = Args::parse(words)?;
    match args.work.as_str() {
        "add_sequential" | "add_concurrent" | "add_bulk" => adds::<P>(&args).await,
        "memory" => process::<P>(&args, Shape::Plain, true).await,
        "latency" => latency::<P>(&args).await,
        "flow_add" => flows::<P>(&args).await,
        "lateness" => lateness::<P>(&args, None).await,
        "lateness_retry" => lateness::<P>(&args, Some(BACKOFF)).await,
        "events" => events::<P>(&args).await,
        "waits" => waits::<P>(&args).await,
        "scheduler" => schedulers::<P>(&args).await,
        "share" => share::<P>(&args).await,
        "idle" => idle::<P>(&args).await,
        work if growth::knows(work) => growth::run::<P>(&args).await,
        work => {
            let shape = |rest| Shape::of(rest).with_context(|| format!("unknown work {work}"));
            if let Some(rest) = work.strip_prefix("prefill") {
                prefill::<P>(&args, shape(rest)?).await
            } else if let Some(rest) = work.strip_prefix("process") {
                process::<P>(&args, shape(rest)?, false).await
            } else {
                bail!("unknown work {work}")
            }
        }
    }
}

async fn bulk<P: Peer>(args: &Args, peer: &P, shape: Shape, count: usize) -> Result<()> {
    let payload = Payload::of(args.bytes);
    let mut specs = Vec::with_capacity(BATCH);
    for first in (0..count).step_by(BATCH) {
        specs.clear();
        specs.extend((first..count.min(first + BATCH)).map(|index| shape.spec(index)));
        peer.add_bulk(&payload, &specs).await?;
    }
    Ok(())
}

async fn prefill<P: Peer>(args: &Args, shape: Shape) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    bulk(args, &peer, shape, args.backlog).await?;
    report(args, args.backlog, &stopwatch.stop(), Map::new());
    next_line().await
}

async fn adds<P: Peer>(args: &Args) -> Result<()> {
    let warm = P::connect(&args.place(WARM_QUEUE)).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    add(args, &warm, WARM_JOBS.min(args.jobs)).await?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    add(args, &peer, args.jobs).await?;
    report(args, args.jobs, &stopwatch.stop(), Map::new());
    next_line().await
}

async fn add<P: Peer>(args: &Args, peer: &P, count: usize) -> Result<()> {
    let payload = Payload::of(args.bytes);
    match args.work.as_str() {
        "add_sequential" => {
            for _ in 0..count {
                peer.add(&payload).await?;
            }
            Ok(())
        }
        "add_concurrent" => {
            stream::iter(0..count).map(|_| peer.add(&payload)).buffer_unordered(IN_FLIGHT).try_collect::<()>().await
        }
        _ => bulk(args, peer, Shape::Plain, count).await,
    }
}

/// Empties a small queue of its own.
async fn warm_up<P: Peer>(args: &Args, shape: Shape) -> Result<()> {
    let peer = P::connect(&args.place(WARM_QUEUE)).await?;
    let jobs = WARM_JOBS.min(args.jobs);
    bulk(args, &peer, shape, jobs).await?;
    let mut worker = peer.worker(args.concurrency, shape.processor()).await?;
    peer.start(&mut worker).await?;
    peer.completed(&mut worker, jobs).await?;
    peer.abandon(worker).await
}

async fn process<P: Peer>(args: &Args, shape: Shape, watch_memory: bool) -> Result<()> {
    warm_up::<P>(args, shape).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    let mut worker = peer.worker(args.concurrency, shape.processor()).await?;
    ready_to_go().await?;

    let mut extra = Map::new();
    let stopwatch = Stopwatch::start();
    peer.start(&mut worker).await?;
    if watch_memory {
        extra.insert("rss_start_kb".to_owned(), json!(status_kb("VmRSS")));
        // A tenth in, buffers have their size: what grows from here on grows with the number of jobs.
        peer.completed(&mut worker, args.jobs / 10).await?;
        extra.insert("rss_tenth_kb".to_owned(), json!(status_kb("VmRSS")));
    }
    peer.completed(&mut worker, args.jobs).await?;
    let measured = stopwatch.stop();
    if watch_memory {
        extra.insert("rss_end_kb".to_owned(), json!(status_kb("VmRSS")));
    }
    report(args, args.jobs, &measured, extra);

    next_line().await?;
    peer.abandon(worker).await
}

async fn latency<P: Peer>(args: &Args) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    let started: Arc<Mutex<Option<Instant>>> = Arc::default();
    let mark = Arc::clone(&started);
    let mut worker = peer
        .worker(args.concurrency, move |_, _: &str| {
            let now = Instant::now();
            if let Ok(mut slot) = mark.lock() {
                *slot = Some(now);
            }
            ready(true)
        })
        .await?;
    peer.start(&mut worker).await?;

    let payload = Payload::of(args.bytes);
    let mut samples = Vec::with_capacity(args.jobs);
    let mut stopwatch = Stopwatch::start();
    for done in 0..WARM_SAMPLES + args.jobs {
        if done == WARM_SAMPLES {
            ready_to_go().await?;
            samples.clear();
            stopwatch = Stopwatch::start();
        }
        // Long enough for the worker to be back in its blocking wait.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let added = Instant::now();
        peer.add(&payload).await?;
        peer.completed(&mut worker, done + 1).await?;
        let began = started.lock().ok().and_then(|mut slot| slot.take());
        let began = began.context("a job completed without having been processed")?;
        samples.push(began.saturating_duration_since(added));
    }
    let measured = stopwatch.stop();
    samples.sort_unstable();
    let micros = |per_mille: usize| {
        let at = (samples.len() * per_mille / 1_000).min(samples.len() - 1);
        json!(samples[at].as_secs_f64() * 1e6)
    };
    let extra = Map::from_iter([("p50_us".to_owned(), micros(500)), ("p99_us".to_owned(), micros(990))]);
    report(args, args.jobs, &measured, extra);

    next_line().await?;
    peer.abandon(worker).await
}

/// When delayed jobs of `lateness` are due: one after the other, so far apart that the worker waits for each.
pub(crate) fn delays(jobs: usize) -> Vec<Duration> {
    const FIRST: Duration = Duration::from_millis(500);
    const APART: Duration = Duration::from_millis(37);
    std::iter::successors(Some(FIRST), |delay| Some(*delay + APART)).take(jobs).collect()
}

/// What is reported of how late something was.
pub(crate) fn percentiles(mut late: Vec<Duration>) -> [(&'static str, f64); 2] {
    late.sort_unstable();
    let millis = |per_mille: usize| late[(late.len() * per_mille / 1_000).min(late.len() - 1)].as_secs_f64() * 1e3;
    [("p50_ms", millis(500)), ("p99_ms", millis(990))]
}

/// How late delayed jobs start; with a `backoff`, how late their second attempts do, after a first one that fails.
async fn lateness<P: Peer>(args: &Args, backoff: Option<Duration>) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    let started: Arc<Mutex<Vec<(u64, Instant)>>> = Arc::default();
    let mark = Arc::clone(&started);
    let processor = move |attempts_made, id: &str| {
        if let Ok(mut started) = mark.lock() {
            started.push((id.parse().unwrap_or(0), Instant::now()));
        }
        ready(backoff.is_none() || attempts_made > 0)
    };
    let mut worker = peer.worker(args.concurrency, processor).await?;
    peer.start(&mut worker).await?;
    ready_to_go().await?;

    let stopwatch = Stopwatch::start();
    let delays = delays(args.jobs);
    let attempts = backoff.map(|_| 2);
    let spec = |delay: &Duration| Spec { delay: Some(*delay), attempts, backoff, ..Spec::default() };
    let specs: Vec<Spec> = delays.iter().map(spec).collect();
    let added = Instant::now();
    peer.add_bulk(&Payload::of(args.bytes), &specs).await?;
    peer.completed(&mut worker, args.jobs).await?;
    let measured = stopwatch.stop();
    let mut started = started.lock().map(|mut started| std::mem::take(&mut *started)).unwrap_or_default();
    let starts = if backoff.is_some() { 2 } else { 1 };
    ensure!(started.len() == args.jobs * starts, "{} starts", started.len());
    // By job, each in order.
    started.sort_unstable();
    let late = match backoff {
        Some(backoff) => {
            started.chunks(2).map(|pair| pair[1].1.saturating_duration_since(pair[0].1 + backoff)).collect()
        }
        None => {
            let due = |((_, at), delay): ((u64, Instant), &Duration)| at.saturating_duration_since(added + *delay);
            started.into_iter().zip(&delays).map(due).collect()
        }
    };
    let extra = percentiles(late).map(|(name, value)| (name.to_owned(), json!(value)));
    report(args, args.jobs, &measured, Map::from_iter(extra));

    next_line().await?;
    peer.abandon(worker).await
}

/// The orchestrator has written the events.
async fn events<P: Peer>(args: &Args) -> Result<()> {
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    P::follow(&args.place(QUEUE), args.jobs).await?;
    report(args, args.jobs, &stopwatch.stop(), Map::new());
    next_line().await
}

/// Adds jobs to a queue with a worker in the same process, and waits for all of them.
async fn waits<P: Peer>(args: &Args) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    let mut worker = peer.worker(args.concurrency, Shape::Plain.processor()).await?;
    peer.start(&mut worker).await?;
    ready_to_go().await?;

    let stopwatch = Stopwatch::start();
    peer.wait_for_each(&Payload::of(args.bytes), args.jobs).await?;
    report(args, args.jobs, &stopwatch.stop(), Map::new());
    next_line().await?;
    peer.abandon(worker).await
}

/// A parent with ten children, one flow after the other.
async fn flows<P: Peer>(args: &Args) -> Result<()> {
    let warm = P::connect(&args.place(WARM_QUEUE)).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    let payload = Payload::of(args.bytes);
    for _ in 0..WARM_SAMPLES {
        warm.add_flow(&payload, CHILDREN).await?;
    }
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    for _ in 0..args.jobs / (CHILDREN + 1) {
        peer.add_flow(&payload, CHILDREN).await?;
    }
    report(args, args.jobs, &stopwatch.stop(), Map::new());
    next_line().await
}

/// Runs of many schedulers of one second, by the time in their ids.
async fn schedulers<P: Peer>(args: &Args) -> Result<()> {
    const SCHEDULERS: usize = 1_000;
    let peer = P::connect(&args.place(QUEUE)).await?;
    let late: Arc<Mutex<Vec<f64>>> = Arc::default();
    let mark = Arc::clone(&late);
    let processor = move |_, id: &str| {
        let slot = id.rsplit(':').next().and_then(|slot| slot.parse::<f64>().ok());
        let now = clock(rustix::time::ClockId::Realtime).as_secs_f64() * 1e3;
        if let (Some(slot), Ok(mut late)) = (slot, mark.lock()) {
            late.push((now - slot).max(0.0));
        }
        ready(true)
    };
    let mut worker = peer.worker(args.concurrency, processor).await?;
    peer.start(&mut worker).await?;
    let payload = Payload::of(args.bytes);
    for i in 0..SCHEDULERS {
        peer.schedule(&format!("s{i}"), Duration::from_secs(1), &payload).await?;
    }
    ready_to_go().await?;

    let stopwatch = Stopwatch::start();
    let seen = || late.lock().map_or(0, |late| late.len());
    let (before, mut now) = (seen(), 0);
    while now < before + args.jobs {
        tokio::time::sleep(Duration::from_millis(20)).await;
        now = seen();
    }
    let measured = stopwatch.stop();
    let mut late = late.lock().map(|late| late[before..now].to_vec()).unwrap_or_default();
    late.sort_unstable_by(f64::total_cmp);
    let millis = |per_mille: usize| json!(late[(late.len() * per_mille / 1_000).min(late.len() - 1)]);
    let extra = Map::from_iter([("p50_ms".to_owned(), millis(500)), ("p99_ms".to_owned(), millis(990))]);
    report(args, args.jobs, &measured, extra);

    next_line().await?;
    peer.abandon(worker).await
}

/// One of several processes that empty a queue; the orchestrator says when it is empty. Nobody warms up, as the processes
/// would take each other's jobs.
async fn share<P: Peer>(args: &Args) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    let mut worker = peer.worker(args.concurrency, Shape::Plain.processor()).await?;
    ready_to_go().await?;

    let stopwatch = Stopwatch::start();
    peer.start(&mut worker).await?;
    next_line().await?;
    report(args, args.jobs, &stopwatch.stop(), Map::new());

    next_line().await?;
    peer.abandon(worker).await
}

async fn idle<P: Peer>(args: &Args) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    let mut worker = peer.worker(args.concurrency, |_, _: &str| ready(true)).await?;
    peer.start(&mut worker).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ready_to_go().await?;

    let stopwatch = Stopwatch::start();
    next_line().await?;
    let measured = stopwatch.stop();
    let closing = Instant::now();
    peer.close(worker).await?;
    let close_ms = closing.elapsed().as_secs_f64() * 1e3;
    let extra = Map::from_iter([("close_ms".to_owned(), json!(close_ms))]);
    report(args, 0, &measured, extra);
    next_line().await
}

/// Tells the orchestrator that preparation is over and waits for its leave to begin.
async fn ready_to_go() -> Result<()> {
    println!("ready");
    next_line().await
}

/// Waits for a line on standard input, or its end, while the runtime goes on.
async fn next_line() -> Result<()> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

/// What the timed part took.
struct Measured {
    seconds: f64,
    client_cpu_s: f64,
}

struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    fn start() -> Self {
        Self { cpu: process_cpu(), wall: Instant::now() }
    }

    fn stop(&self) -> Measured {
        Measured {
            seconds: self.wall.elapsed().as_secs_f64(),
            client_cpu_s: process_cpu().saturating_sub(self.cpu).as_secs_f64(),
        }
    }
}

/// User and system time of all threads of this process; what `getrusage` counts, in nanoseconds.
fn process_cpu() -> Duration {
    clock(rustix::time::ClockId::ProcessCPUTime)
}

fn clock(id: rustix::time::ClockId) -> Duration {
    Duration::try_from(rustix::time::clock_gettime(id)).unwrap_or_default()
}

/// A figure in kB from `/proc/self/status`; `getrusage` would report the peak of whoever forked us.
fn status_kb(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

fn report(args: &Args, jobs: usize, measured: &Measured, extra: Map<String, Value>) {
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
