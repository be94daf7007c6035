//! End to end figures of oxmq beside BullMQ for Node and bullmq-official, on one private redis-server.
//!
//! ```text
//! make bench-setup                                   # once: npm ci, and the official peer in release mode
//! cargo bench --bench throughput                     # everything, five rounds
//! cargo bench --bench throughput -- --quick --peers node,official --only process,add_bulk
//! ```
//!
//! redis-server runs on core 0 and the peers, each a process of its own, on core 1. The peers take turns within each
//! round, so that a change in the machine's mood meets all of them. After the timed part the queue's keys are
//! checked: a job that is missing, still active or left waiting makes the run an error and never a number.
//! `docs/performance.md` says what is measured and how to read it.

mod harness;
mod peers;

use std::process::ExitCode;

use anyhow::Result;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let result = if words.next_if_eq("--as-peer").is_some() { as_peer(words) } else { harness::main(words) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that `main() -> Result` would print: it says nothing useful here.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this executable as one of the peers: `--as-peer oxmq --redis …`.
fn as_peer(mut words: impl Iterator<Item = String>) -> Result<()> {
    let name = words.next().unwrap_or_default();
    if name == "floor" {
        return peers::floor::run(words);
    }
    anyhow::ensure!(name == "oxmq", "no peer {name:?} in this executable");
    peers::common::runtime(std::env::args())?.block_on(peers::common::run::<peers::oxmq::Oxmq>(words))
}
