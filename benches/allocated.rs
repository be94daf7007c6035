//! How often a job allocates, work by work: `alloc.rs` prints it, and `tests/allocations.rs` holds it to a bound.
//!
//! Counted is the whole process, so the driver, tokio and the JSON of the job's data are in it.

use std::alloc::System;
use std::time::Duration;

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use oxmq::{Client, Job, NewJob, Queue};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many adds run at the same time.
const IN_FLIGHT: usize = 100;

#[derive(Clone, Serialize, Deserialize)]
struct Mail {
    to: String,
    body: String,
}

fn mail() -> Mail {
    Mail { to: "someone@example.com".to_owned(), body: "x".repeat(82) }
}

/// What one job of one kind of work allocated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocated {
    pub(crate) work: &'static str,
    /// How many allocations were made.
    pub(crate) made: f64,
    /// How many of them grew later.
    pub(crate) grown: f64,
    pub(crate) bytes: f64,
}

impl Allocated {
    fn since(region: &Region<'_, System>, work: &'static str, jobs: usize) -> Self {
        let change = region.change();
        let per_job = |count: usize| count as f64 / jobs as f64;
        let (made, grown) = (per_job(change.allocations), per_job(change.reallocations));
        Self { work, made, grown, bytes: per_job(change.bytes_allocated) }
    }
}

/// Does each kind of work once with that many jobs, on a new queue of this name.
pub(crate) async fn measure(client: &Client, name: &str, jobs: usize) -> Result<Vec<Allocated>> {
    let queue: Queue<Mail, ()> = client.queue(name).open()?;
    let mut all = Vec::new();
    let mut note = |work, region: &Region<'_, System>| all.push(Allocated::since(region, work, jobs));

    let region = Region::new(COUNTED);
    for _ in 0..jobs {
        queue.add("mail", mail()).await?;
    }
    note("add, one by one", &region);

    let region = Region::new(COUNTED);
    let add = |_| async { queue.add("mail", mail()).await.map(drop) };
    stream::iter(0..jobs).map(add).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    note("add, 100 at once", &region);

    queue.drain().await?;
    for (work, concurrency) in [("process@1", 1), ("process@10", 10), ("process@100", 100)] {
        let region = Region::new(COUNTED);
        queue.add_bulk((0..jobs).map(|_| NewJob::new("mail", mail()))).await?;
        if concurrency == 1 {
            note("add_bulk", &region);
        }
        let region = Region::new(COUNTED);
        let worker = client
            .worker(name, |_: Job<Mail, ()>| async { Ok::<(), oxmq::Halt>(()) })
            .concurrency(concurrency)
            .start()?;
        while worker.counts().completed < jobs as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        note(work, &region);
        worker.close().await;
    }
    Ok(all)
}

/// Measures what a task of tokio and the data's two trips through JSON allocate by themselves.
#[allow(dead_code, reason = "the test has no use for it")]
pub(crate) async fn floor(jobs: usize) -> Result<Allocated> {
    let region = Region::new(COUNTED);
    for _ in 0..jobs {
        let text = serde_json::to_string(&mail())?;
        tokio::spawn(async move { serde_json::from_str::<Mail>(&text).map(drop) }).await??;
    }
    Ok(Allocated::since(&region, "floor", jobs))
}
