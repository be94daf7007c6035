//! A processor that returns no `Result`.

use oxmq::{Job, Router};

async fn count(_: Job<u64, u64>) -> u64 {
    1
}

fn main() {
    let _: Router = Router::new().on("count", count);
}
