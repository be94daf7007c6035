//! Spreads a queue over four partitions, keeps each customer's jobs in order, and adds partitions while it runs.
//!
//!     cargo run --example partitioned
//!
//! prints
//!
//!     ada: 1, 2, 3
//!     bob: 1, 2, 3
//!     cleo: 1, 2, 3
//!     9 jobs in 4 partitions, then 6 partitions

mod support;

use std::collections::BTreeMap;

use oxmq::{Client, Halt, Job, Partitioned, Router, State};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    customer: String,
    number: u32,
}

async fn ship(job: Job<Order, ()>, State(shipped): State<mpsc::UnboundedSender<Order>>) -> Result<(), Halt> {
    shipped.send(job.data().clone())?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let orders: Partitioned<Order, ()> = client.partitioned("orders", 4).open().await?;
    // Each partition runs one job at a time, over all workers: a customer's orders never overtake each other.
    orders.set_partition_concurrency(1).await?;

    for number in 1..=3 {
        for customer in ["ada", "bob", "cleo"] {
            let order = Order { customer: customer.to_owned(), number };
            orders.add_by_key(customer, "ship", order).await?;
        }
    }

    let (shipped, mut arrived) = mpsc::unbounded_channel();
    let worker = orders.worker(Router::new().on("ship", ship).with_state(shipped)).concurrency(8).start()?;
    let mut by_customer = BTreeMap::<String, Vec<String>>::new();
    for _ in 0..9 {
        let Some(Order { customer, number }) = arrived.recv().await else { break };
        by_customer.entry(customer).or_default().push(number.to_string());
    }
    for (customer, numbers) in by_customer {
        println!("{customer}: {}", numbers.join(", "));
    }

    let before = orders.partitions();
    let after = orders.grow(6).await?;
    let report = worker.close().await;
    println!("{} jobs in {before} partitions, then {after} partitions", report.counts.completed);
    Ok(())
}
