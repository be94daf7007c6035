//! A result that is not the job's.

use oxmq::{Halt, Job, Router};

async fn count(_: Job<u64, String>) -> Result<u64, Halt> {
    Ok(1)
}

fn main() {
    let _: Router = Router::new().on("count", count);
}
