//! One queue, a processor per job name, each with types of its own.
//!
//!     cargo run --example router
//!
//! prints
//!
//!     welcome: "sent to ada"
//!     invoice: {"lines":2,"total":42.5}
//!     unheard-of: job 3 failed: no processor for jobs named 'unheard-of', but for 'invoice', 'welcome'

mod support;

use std::time::Duration;

use oxmq::{Client, Halt, Job, Queue, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize)]
struct Welcome {
    name: String,
}

#[derive(Deserialize)]
struct Line {
    price: f64,
    count: f64,
}

#[derive(Serialize)]
struct Invoice {
    lines: usize,
    total: f64,
}

async fn welcome(job: Job<Welcome, String>) -> Result<String, Halt> {
    Ok(format!("sent to {}", job.data().name))
}

async fn invoice(job: Job<Vec<Line>, Invoice>) -> Result<Invoice, Halt> {
    let lines = job.data();
    Ok(Invoice { lines: lines.len(), total: lines.iter().map(|line| line.price * line.count).sum() })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let routes = Router::new().on("welcome", welcome).on("invoice", invoice);
    // Finished jobs stay in Redis for ever unless somebody says how many to keep. Here the worker does, for all producers.
    let worker = client.worker("router", routes).remove_on_complete(1_000).remove_on_fail(10_000).start()?;

    // A queue without types takes and returns any JSON.
    let queue: Queue = client.queue("router").open()?;
    let lines = json!([{ "price": 20.0, "count": 2 }, { "price": 2.5, "count": 1 }]);
    for (name, data) in [("welcome", json!({ "name": "ada" })), ("invoice", lines), ("unheard-of", json!(null))] {
        match queue.add(name, data).await?.wait_until_finished(Duration::from_secs(10)).await {
            Ok(result) => println!("{name}: {result}"),
            Err(error) => println!("{name}: {error}"),
        }
    }
    worker.close().await;
    Ok(())
}
