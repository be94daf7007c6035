//! An error type that is no error.

use oxmq::{Job, Router};

#[derive(Debug)]
enum Broken {}

async fn count(_: Job<u64, ()>) -> Result<(), Broken> {
    Ok(())
}

fn main() {
    let _: Router = Router::new().on("count", count);
}
