//! The works: what each does before the timed part, in it and after it.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Map, json};

use super::measure::{Stopwatch, clock, next_line, percentiles, ready_to_go, report, status_kb};
use super::*;

pub(super) async fn prefill<P: Peer>(args: &Args, shape: Shape) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    bulk(args, &peer, shape, args.backlog).await?;
    report(args, args.backlog, &stopwatch.stop(), Map::new());
    next_line().await
}

pub(super) async fn adds<P: Peer>(args: &Args) -> Result<()> {
    let warm = P::connect(&args.place(WARM_QUEUE)).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    add(args, &warm, WARM_JOBS.min(args.jobs)).await?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    add(args, &peer, args.jobs).await?;
    report(args, args.jobs, &stopwatch.stop(), Map::new());
    next_line().await
}

pub(super) async fn add<P: Peer>(args: &Args, peer: &P, count: usize) -> Result<()> {
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
pub(super) async fn warm_up<P: Peer>(args: &Args, shape: Shape) -> Result<()> {
    let peer = P::connect(&args.place(WARM_QUEUE)).await?;
    let jobs = WARM_JOBS.min(args.jobs);
    bulk(args, &peer, shape, jobs).await?;
    let mut worker = peer.worker(args.concurrency, shape.processor()).await?;
    if args.prefetch > 0 {
        peer.fetch_ahead(&mut worker, args.prefetch)?;
    }
    peer.start(&mut worker).await?;
    peer.completed(&mut worker, jobs).await?;
    peer.abandon(worker).await
}

pub(super) async fn process<P: Peer>(args: &Args, shape: Shape, watch_memory: bool) -> Result<()> {
    warm_up::<P>(args, shape).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    let mut worker = match args.work.strip_prefix("layers_") {
        Some(which) => peer.routed(args.concurrency, shape.processor(), which == "one").await?,
        None => peer.worker(args.concurrency, shape.processor()).await?,
    };
    if args.prefetch > 0 {
        peer.fetch_ahead(&mut worker, args.prefetch)?;
    }
    ready_to_go().await?;

    let mut extra = Map::new();
    let stopwatch = Stopwatch::start();
    peer.start(&mut worker).await?;
    if watch_memory {
        extra.insert("rss_start_kb".to_owned(), json!(status_kb("VmRSS")));
        // After a tenth of the jobs the buffers have their size: from here on, memory grows only with the number of
        // jobs.
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

pub(super) async fn latency<P: Peer>(args: &Args) -> Result<()> {
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

/// Returns when the delayed jobs of `lateness` are due: one after the other, so far apart that the worker waits for
/// each.
pub(crate) fn delays(jobs: usize) -> Vec<Duration> {
    const FIRST: Duration = Duration::from_millis(500);
    const APART: Duration = Duration::from_millis(37);
    std::iter::successors(Some(FIRST), |delay| Some(*delay + APART)).take(jobs).collect()
}

/// Measures how late delayed jobs start; with a `backoff`, how late second attempts start after a first one that fails.
pub(super) async fn lateness<P: Peer>(args: &Args, backoff: Option<Duration>) -> Result<()> {
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

/// Reads the events that the orchestrator has written.
pub(super) async fn events<P: Peer>(args: &Args) -> Result<()> {
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    P::follow(&args.place(QUEUE), args.jobs).await?;
    report(args, args.jobs, &stopwatch.stop(), Map::new());
    next_line().await
}

/// Adds jobs to a queue with a worker in the same process, and waits for all of them.
pub(super) async fn waits<P: Peer>(args: &Args) -> Result<()> {
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

/// Adds parents with ten children, one flow after the other.
pub(super) async fn flows<P: Peer>(args: &Args) -> Result<()> {
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

/// Measures the runs of many schedulers with an interval of one second, by the times in their ids.
pub(super) async fn schedulers<P: Peer>(args: &Args) -> Result<()> {
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

/// Is one of several processes that empty a queue; the orchestrator sees when it is empty. There is no warm-up, since
/// the processes would take each other's jobs.
pub(super) async fn share<P: Peer>(args: &Args) -> Result<()> {
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

pub(super) async fn idle<P: Peer>(args: &Args) -> Result<()> {
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
