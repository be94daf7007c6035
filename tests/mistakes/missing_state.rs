//! A router without the state that a processor asks for.

use oxmq::worker::Processor;
use oxmq::{Halt, Job, Router, State};

#[derive(Clone)]
struct App;

async fn count(_: Job<u64, ()>, _: State<App>) -> Result<(), Halt> {
    Ok(())
}

fn start<M>(_: impl Processor<M>) {}

fn main() {
    start(Router::new().on("count", count));
}
