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

async fn wait(queue: Queue<u64, ()>) -> oxmq::Result<()> {
    queue.add("count", 1).wait_until_finished(std::time::Duration::from_secs(1)).await
}

fn main() {
    let _ = (add, show, wait);
}
