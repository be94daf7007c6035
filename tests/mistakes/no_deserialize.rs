//! Data that cannot be deserialized.

use oxmq::{Halt, Job, Router};

struct Mail {
    _to: String,
}

async fn send(_: Job<Mail, ()>) -> Result<(), Halt> {
    Ok(())
}

fn main() {
    let _: Router = Router::new().on("send", send);
}
