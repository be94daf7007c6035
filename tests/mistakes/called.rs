//! A processor that is called instead of passed.

use oxmq::{Halt, Job, Router};

async fn count(_: Job<u64, u64>) -> Result<u64, Halt> {
    Ok(1)
}

fn start(job: Job<u64, u64>) -> Router {
    Router::new().on("count", count(job))
}

fn main() {
    let _ = start;
}
