//! How often oxmq allocates for one job, and how much: a figure that no other process on the machine can disturb.
//!
//!     cargo bench --bench alloc [-- JOBS]
//!
//! JOBS (5,000 by default) is how many jobs each figure is taken of. `floor` is what a task of tokio and the data's two trips
//! through JSON take by themselves.

mod allocated;
#[path = "../examples/support/mod.rs"]
mod support;

use anyhow::Result;
use oxmq::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let jobs: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(5_000);
    let server = support::own();
    let client = Client::connect(&server.url).await?;
    // The connection and the first call of each script allocate once. Do that before counting.
    allocated::measure(&client, "warm", 200).await?;
    println!("per job          allocations   grown   bytes");
    let mut all = vec![allocated::floor(jobs).await?];
    all.extend(allocated::measure(&client, "counted", jobs).await?);
    for one in all {
        println!("{:<16} {:>11.1} {:>7.1} {:>7.0}", one.work, one.made, one.grown, one.bytes);
    }
    Ok(())
}
