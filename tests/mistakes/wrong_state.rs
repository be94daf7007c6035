//! A router with another state than a processor asks for.

use oxmq::{Halt, Job, Router, State};

#[derive(Clone)]
struct App;

#[derive(Clone)]
struct Other;

async fn count(_: Job<u64, ()>, _: State<App>) -> Result<(), Halt> {
    Ok(())
}

fn main() {
    let _ = Router::<Other>::new().on("count", count).with_state(Other);
}
