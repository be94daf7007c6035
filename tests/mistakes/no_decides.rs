//! An error type that does not say whether to retry.

use oxmq::options::Decided;
use oxmq::{Job, Router};

#[derive(Debug, Clone, Copy)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}
impl std::error::Error for Broken {}

async fn count(_: Job<u64, ()>) -> Result<(), Decided<Broken>> {
    Ok(())
}

fn main() {
    let _: Router = Router::new().on("count", count);
}
