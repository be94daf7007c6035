//! A job in steps: it splits a text into parts, lets other workers count their words, and adds up. Each step can be
//! killed and run again: the job and its children have ids of their own, and the job's data says which step comes next.
//!
//!     cargo run --example steps
//!
//! prints
//!
//!     split: 3 parts
//!     sum: 9 words

mod support;

use std::time::Duration;

use oxmq::flow::AddedNode;
use oxmq::{Client, FlowNode, Halt, Job, Queue};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone)]
struct Count {
    text: Vec<String>,
    step: Step,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq)]
enum Step {
    Split,
    Sum,
}

async fn count(mut job: Job<Count, usize>) -> Result<usize, Halt> {
    let Count { text, step } = job.data().clone();
    if step == Step::Split {
        let parts: Vec<_> = text.iter().enumerate().collect();
        for chunk in parts.chunks(2) {
            let chunk = chunk.iter();
            let nodes =
                chunk.map(|(n, line)| FlowNode::new("parts", "count", line).job_id(format!("{}-{n}", job.id())));
            // If it is killed after this line, the step runs again and finds that its children exist.
            job.add_children(nodes).await?.iter().try_for_each(AddedNode::check)?;
        }
        println!("split: {} parts", parts.len());
        // The same holds before this line. After it, the job waits for the children that are not done.
        job.update_data(Count { text, step: Step::Sum }).await?;
    }
    if job.get_dependencies_count().await?.unprocessed > 0 {
        return Err(Halt::WaitingChildren);
    }
    let words = job.get_children_values::<usize>().await?.into_iter().map(|(_, words)| words).sum();
    println!("sum: {words} words");
    Ok(words)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let parts = |part: Job<String, usize>| async move { Ok::<_, Halt>(part.data().split_whitespace().count()) };
    let parts = client.worker("parts", parts).start()?;
    let counts = client.worker("counts", count).start()?;

    let queue: Queue<Count, usize> = client.queue("counts").open()?;
    let text = ["the cat sat", "on the mat", "and it slept"].map(str::to_owned).to_vec();
    // Started again after a crash, the program finds this job and adds no second one.
    let job = queue.add("count", Count { text, step: Step::Split }).job_id("words").await?;
    job.wait_until_finished(Duration::from_secs(10)).await?;
    counts.close().await;
    parts.close().await;
    Ok(())
}
