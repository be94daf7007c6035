//! A future that is not `Send`.

use std::rc::Rc;

use oxmq::{Halt, Job, Router};

async fn count(_: Job<u64, u64>) -> Result<u64, Halt> {
    let shared = Rc::new(1);
    tokio::task::yield_now().await;
    Ok(*shared)
}

fn main() {
    let _: Router = Router::new().on("count", count);
}
