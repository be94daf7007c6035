//! The works of `--growth`: the same as other works, with many other jobs in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Map;
use tokio::sync::Barrier;

use super::measure::{Stopwatch, next_line, ready_to_go, report};
use super::works::warm_up;
use super::*;

/// How many jobs end per second in `running`, however many run. So each call to Redis carries the same number of them,
/// and the rows differ only in the number of running jobs.
const PACE: u32 = 10_000;

/// Operations on the whole queue.
const OPERATIONS: [&str; 7] =
    ["clean", "drain", "obliterate", "retry_jobs", "promote_jobs", "remove_orphaned_jobs", "get_jobs"];

pub(super) fn knows(work: &str) -> bool {
    ["prefill_completed", "prefill_failed", "part", "part_priority", "running"].contains(&work)
        || OPERATIONS.contains(&work)
}

pub(super) async fn run<P: Peer>(args: &Args) -> Result<()> {
    match args.work.as_str() {
        "prefill_completed" => finish::<P>(args, true).await,
        "prefill_failed" => finish::<P>(args, false).await,
        "part" => part::<P>(args, Shape::Plain).await,
        "part_priority" => part::<P>(args, Shape::Priority).await,
        "running" => running::<P>(args).await,
        operation => administer::<P>(args, operation).await,
    }
}

/// Prefills with finished jobs.
async fn finish<P: Peer>(args: &Args, succeeds: bool) -> Result<()> {
    let peer = P::connect(&args.place(QUEUE)).await?;
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let processor = move |_, _: &str| {
        count.fetch_add(1, Ordering::Relaxed);
        ready(succeeds)
    };
    let mut worker = peer.worker(args.concurrency, processor).await?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    bulk(args, &peer, Shape::Plain, args.backlog).await?;
    peer.start(&mut worker).await?;
    while ended.load(Ordering::Relaxed) < args.backlog {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Waits for the last of them to be written.
    peer.close(worker).await?;
    report(args, args.backlog, &stopwatch.stop(), Map::new());
    next_line().await
}

/// Processes some of the waiting jobs and leaves the others. Reports how many were processed: jobs that are running
/// when enough are done still end.
async fn part<P: Peer>(args: &Args, shape: Shape) -> Result<()> {
    warm_up::<P>(args, shape).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let processor = move |_, _: &str| {
        count.fetch_add(1, Ordering::Relaxed);
        ready(true)
    };
    let mut worker = peer.worker(args.concurrency, processor).await?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    peer.start(&mut worker).await?;
    peer.completed(&mut worker, args.jobs).await?;
    peer.close(worker).await?;
    report(args, taken.load(Ordering::Relaxed), &stopwatch.stop(), Map::new());
    next_line().await
}

/// Waits until all slots are taken; from then on the jobs end in random order. Locks are renewed and stalled jobs
/// looked for all the while.
async fn running<P: Peer>(args: &Args) -> Result<()> {
    warm_up::<P>(args, Shape::Plain).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    let slots = args.concurrency;
    let longest = Duration::from_secs(2) * u32::try_from(slots)? / PACE;
    let full = Arc::new(Barrier::new(slots));
    let count = AtomicUsize::new(0);
    let processor = move |_, _: &str| {
        let nth = count.fetch_add(1, Ordering::Relaxed);
        let full = Arc::clone(&full);
        async move {
            if nth < slots {
                full.wait().await;
            }
            // The timer of the runtime has a resolution of one millisecond.
            if longest >= Duration::from_millis(1) {
                tokio::time::sleep(longest.mul_f64(fraction(nth))).await;
            }
            true
        }
    };
    let mut worker = peer.worker(slots, processor).await?;
    peer.hasten(&mut worker)?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    peer.start(&mut worker).await?;
    peer.completed(&mut worker, args.jobs).await?;
    report(args, args.jobs, &stopwatch.stop(), Map::new());
    next_line().await?;
    peer.abandon(worker).await
}

async fn administer<P: Peer>(args: &Args, operation: &str) -> Result<()> {
    let warm = P::connect(&args.place(WARM_QUEUE)).await?;
    warm.administer(operation).await?;
    let peer = P::connect(&args.place(QUEUE)).await?;
    ready_to_go().await?;
    let stopwatch = Stopwatch::start();
    let done = peer.administer(operation).await?;
    report(args, done, &stopwatch.stop(), Map::new());
    next_line().await
}

/// A number in [0, 1) that looks random and is the same in every run (splitmix64).
fn fraction(index: usize) -> f64 {
    let mut bits = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from((bits >> 32) as u32) / 2_f64.powi(32)
}
