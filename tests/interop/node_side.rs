//! BullMQ as one of the two sides.

use serde_json::json;

use super::ops::{Op, Reply, Side, for_prefix};
use crate::common::node::{BullMq, NodeDriver};

/// BullMQ in a Node process of its own.
pub struct NodeSide {
    driver: NodeDriver,
    name: &'static str,
    url: String,
    prefix: String,
    now: i64,
}

impl NodeSide {
    /// Starts the process on a Redis database. "Random" numbers are a counted sequence, so that jitter is the same in
    /// all processes.
    pub async fn start(version: BullMq, redis_url: &str) -> Self {
        let driver = NodeDriver::start(version, redis_url, "unused").await;
        driver.call("random", json!({ "counted": true })).await.expect("random");
        let name = match version {
            BullMq::V5 => "bullmq 5.81.5",
            BullMq::V6 => "bullmq 6.7.0",
        };
        Self { driver, name, url: redis_url.to_owned(), prefix: String::new(), now: 0 }
    }
}

impl Side for NodeSide {
    fn name(&self) -> &str {
        self.name
    }

    fn redis_url(&self) -> &str {
        &self.url
    }

    async fn begin(&mut self, prefix: &str) {
        self.driver.call("closeAll", json!({})).await.expect("closeAll");
        self.driver.call("random", json!({ "counted": true })).await.expect("random");
        prefix.clone_into(&mut self.prefix);
    }

    async fn set_clock(&mut self, now: i64) {
        self.now = now;
    }

    async fn run(&mut self, queue: &str, op: &Op) -> Reply {
        let mut args = for_prefix(op, &self.prefix);
        let Some(op) = args["op"].as_str().map(str::to_owned) else { unreachable!("operations are tagged") };
        args["queue"] = json!(queue);
        args["prefix"] = json!(self.prefix);
        args["now"] = json!(self.now);
        match self.driver.call(&op, args).await {
            Ok(value) => Reply::ok(&value, &self.prefix),
            // An error of the driver itself is not a refusal.
            Err(err) if err.name == "TypeError" || err.message.starts_with("driver:") => {
                panic!("{op}: {err}; stderr:\n{}", self.driver.stderr())
            }
            Err(err) => Reply::err(err.code, err.message),
        }
    }
}
