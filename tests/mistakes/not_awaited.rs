//! Jobs that are never sent: a forgotten `.await`.

#![deny(unused_must_use)]

use oxmq::{NewJob, Queue};

async fn add(queue: Queue<u64, ()>) {
    queue.add("count", 1);
    queue.add("count", 1).attempts(3);
    queue.add_bulk([NewJob::new("count", 1)]);
}

fn main() {
    let _ = add;
}
