//! An argument that no processor can have.

use oxmq::{Halt, Job, Router};

async fn count(_: Job<u64, ()>, _: String) -> Result<(), Halt> {
    Ok(())
}

fn main() {
    let _: Router = Router::new().on("count", count);
}
