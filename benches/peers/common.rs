//! What the Rust sides of the comparison share: the command line, the protocol with the orchestrator, the jobs, the
//! clock, and each work written once against the [`Peer`] trait (`works.rs`).
//!
//! A peer is a process: `peer --redis URL --prefix P --work NAME --jobs N [--concurrency C] [--backlog B] [--bytes B]`.
//! It connects, warms up on a queue of its own, prints `ready` and waits for a line on its standard input; then it does the timed part, prints
//! one line of JSON, and waits for another line before it closes its connections and leaves. The orchestrator reads
//! Redis' own figures while the peer waits, so that they cover the timed part and nothing else.
//!
//! `idle` is timed by the orchestrator: the second line ends it, and the JSON follows once the worker is closed.

#[path = "growth.rs"]
mod growth;
#[path = "measure.rs"]
mod measure;
#[path = "works.rs"]
mod works;

use std::future::{Future, ready};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

#[allow(unused_imports, reason = "the peer that is a package of its own has no floor")]
pub(crate) use self::measure::percentiles;
#[allow(unused_imports, reason = "the peer that is a package of its own has no floor")]
pub(crate) use self::works::delays;

/// Jobs in one `add_bulk` call.
const BATCH: usize = 1_000;
/// Adds on their way at the same time in `add_concurrent`.
const IN_FLIGHT: usize = 100;
/// The queue that is measured; the orchestrator looks at its keys afterwards.
const QUEUE: &str = "bench";
/// The queue of the untimed warm-up: the same work in small, so that no run pays for script loading or a cold JIT.
const WARM_QUEUE: &str = "warm";
const WARM_JOBS: usize = 2_000;
pub(crate) const WARM_SAMPLES: usize = 50;
/// The wait between the first attempt and the second in `lateness_retry`.
const BACKOFF: Duration = Duration::from_millis(500);
/// Children of each parent in `flow_add`.
pub(crate) const CHILDREN: usize = 10;

/// The job name of every job.
pub(crate) const JOB_NAME: &str = "mail";

/// The data of every job: 120 bytes as JSON, unless the command line sets another size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    to: String,
    body: String,
}

impl Payload {
    /// Makes the same data for all jobs and peers.
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

/// One library under test. Its calls are here; what is done with them is the same for all libraries.
pub(crate) trait Peer: Sized {
    /// A worker with its connections, running or not.
    type Worker;

    /// Connects a queue, as a good user of the library would.
    async fn connect(place: &Place) -> Result<Self>;

    /// Adds one job and returns when Redis has acknowledged it. Called up to 100 times at once in `add_concurrent`.
    async fn add(&self, payload: &Payload) -> Result<()>;

    /// Adds all `specs` with this payload, in this order, by one call of the library's bulk method.
    async fn add_bulk(&self, payload: &Payload, specs: &[Spec]) -> Result<()>;

    /// Adds a parent with that many children, all with this payload, in one call.
    async fn add_flow(&self, payload: &Payload, children: usize) -> Result<()>;

    /// Makes a job scheduler with this interval.
    async fn schedule(&self, id: &str, every: Duration, payload: &Payload) -> Result<()>;

    /// Reads that many events of the queue, from the oldest on.
    async fn follow(place: &Place, count: usize) -> Result<()>;

    /// Adds that many jobs in bulk, and waits for the end of all of them at once. Not every library can do that.
    async fn wait_for_each(&self, _payload: &Payload, _count: usize) -> Result<()> {
        bail!("this library does not wait for jobs")
    }

    /// Makes a worker as [`worker`](Self::worker) does, which finds its processor by the job's name, through a layer that does
    /// nothing or through none. Not every library has either.
    async fn routed<P, F>(&self, _concurrency: usize, _processor: P, _through_a_layer: bool) -> Result<Self::Worker>
    where
        P: Fn(u32, &str) -> F + Send + Sync + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        bail!("this library has no layers")
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

    /// Ends a worker that has nothing left to do, where closing is not measured and need not be graceful.
    async fn abandon(&self, worker: Self::Worker) -> Result<()> {
        self.close(worker).await
    }

    /// Lets a worker that has not started fetch so many jobs ahead of its free slots; by oxmq only.
    fn fetch_ahead(&self, _worker: &mut Self::Worker, _jobs: usize) -> Result<()> {
        bail!("it fetches no jobs ahead")
    }

    /// Lets a worker that has not started renew its locks and look for stalled jobs so often that a run of a few
    /// seconds sees it, if it can. For a work of `--growth`.
    fn hasten(&self, _worker: &mut Self::Worker) -> Result<()> {
        Ok(())
    }

    /// Does `operation` to the whole queue, and returns how many jobs it affected. For works of `--growth`, by oxmq
    /// only.
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
    /// How many jobs the worker fetches ahead.
    prefetch: usize,
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
            prefetch: 0,
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
                "--prefetch" => args.prefetch = value.parse()?,
                "--backlog" => backlog = Some(value.parse()?),
                "--bytes" => args.bytes = value.parse()?,
                // `runtime` has read this option.
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

/// The kind of jobs in a work.
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

    /// Returns the processor for such jobs.
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
        "add_sequential" | "add_concurrent" | "add_bulk" => works::adds::<P>(&args).await,
        "memory" => works::process::<P>(&args, Shape::Plain, true).await,
        "layers_off" | "layers_one" => works::process::<P>(&args, Shape::Plain, false).await,
        "latency" => works::latency::<P>(&args).await,
        "flow_add" => works::flows::<P>(&args).await,
        "lateness" => works::lateness::<P>(&args, None).await,
        "lateness_retry" => works::lateness::<P>(&args, Some(BACKOFF)).await,
        "events" => works::events::<P>(&args).await,
        "waits" => works::waits::<P>(&args).await,
        "scheduler" => works::schedulers::<P>(&args).await,
        "share" => works::share::<P>(&args).await,
        "idle" => works::idle::<P>(&args).await,
        work if growth::knows(work) => growth::run::<P>(&args).await,
        work => {
            let shape = |rest| Shape::of(rest).with_context(|| format!("unknown work {work}"));
            if let Some(rest) = work.strip_prefix("prefill") {
                works::prefill::<P>(&args, shape(rest)?).await
            } else if let Some(rest) = work.strip_prefix("process") {
                works::process::<P>(&args, shape(rest)?, false).await
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
