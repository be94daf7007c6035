//! A job that is used before it is sent.

use oxmq::Queue;

async fn add(queue: Queue<u64, ()>) -> oxmq::Result<()> {
    let job = queue.add("count", 1)?;
    println!("{}", job.id());
    Ok(())
}

async fn show(queue: Queue<u64, ()>) {
    println!("{}", queue.add("count", 1).id());
}

fn main() {
    let _ = (add, show);
}
