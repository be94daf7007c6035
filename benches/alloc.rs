//! How often oxmq allocates for one job, and how much: a figure that no other process on the machine can disturb.
//!
//!     cargo bench --bench alloc [-- JOBS]
//!
//! JOBS (5,000 by default) is how many jobs each figure is taken of. Counted is the whole process, so the driver, tokio and the
//! JSON of the job's data are in it; `floor` is what a task of tokio and the data's two trips through JSON take by themselves.

#[path = "../examples/support/mod.rs"]
mod support;

use std::alloc::System;
use std::time::Duration;

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use oxmq::{Client, Job, NewJob, Queue};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Adds that are made at the same time.
const IN_FLIGHT: usize = 100;

#[derive(Clone, Serialize, Deserialize)]
struct Mail {
    to: String,
    body: String,
}

fn mail() -> Mail {
    Mail { to: "someone@example.com".to_owned(), body: "x".repeat(82) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let jobs: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(5_000);
    let server = support::own();
    let client = Client::connect(&server.url).await?;
    println!("per job          allocations   grown   bytes");
    // What is made once, by the connection and the first call of each script, is made before it counts.
    for (jobs, shown) in [(200, false), (jobs, true)] {
        let name = if shown { "counted" } else { "warm" };
        let queue: Queue<Mail, ()> = client.queue(name).open()?;
        let report = |what: &str, region: &Region<'_, System>| {
            let change = region.change();
            let per_job = |count: usize| count as f64 / jobs as f64;
            if shown {
                let (made, grown) = (per_job(change.allocations), per_job(change.reallocations));
                println!("{what:<16} {made:>11.1} {grown:>7.1} {:>7.0}", per_job(change.bytes_allocated));
            }
        };
        let region = Region::new(COUNTED);
        for _ in 0..jobs {
            let text = serde_json::to_string(&mail())?;
            tokio::spawn(async move { serde_json::from_str::<Mail>(&text).map(drop) }).await??;
        }
        report("floor", &region);

        let region = Region::new(COUNTED);
        for _ in 0..jobs {
            queue.add("mail", mail()).await?;
        }
        report("add, one by one", &region);
        let region = Region::new(COUNTED);
        let add = |_| async { queue.add("mail", mail()).await.map(drop) };
        stream::iter(0..jobs).map(add).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
        report("add, 100 at once", &region);
        queue.drain().await?;
        for concurrency in [1, 10, 100] {
            let region = Region::new(COUNTED);
            queue.add_bulk((0..jobs).map(|_| NewJob::new("mail", mail()))).await?;
            if concurrency == 1 {
                report("add_bulk", &region);
            }
            let region = Region::new(COUNTED);
            let worker = client
                .worker(name, |_: Job<Mail, ()>| async { Ok::<(), oxmq::Halt>(()) })
                .concurrency(concurrency)
                .start()?;
            while worker.counts().completed < jobs as u64 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            report(&format!("process@{concurrency}"), &region);
            worker.close().await;
        }
    }
    Ok(())
}
