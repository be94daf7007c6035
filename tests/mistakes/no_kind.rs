//! A processor without a kind, and a kind that is added with the wrong data.

use oxmq::{Halt, Job, JobKind, Queue, Router};

#[derive(serde::Serialize, serde::Deserialize)]
struct BuildIndex {
    index: String,
}

impl JobKind for BuildIndex {
    const NAME: &'static str = "build-index";
    type Output = u64;
}

async fn count(_: Job<u64, ()>) -> Result<(), Halt> {
    Ok(())
}

async fn other_result(_: Job<BuildIndex, String>) -> Result<String, Halt> {
    Ok(String::new())
}

fn add(queue: Queue) {
    let _ = queue.push("build-index");
    let _ = queue.push(BuildIndex { index: 7 });
}

fn main() {
    let _: Router = Router::new().job(count);
    let _: Router = Router::new().job(other_result);
}
