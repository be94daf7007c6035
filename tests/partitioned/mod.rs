//! Queues in many partitions.

mod adding;
mod figures;
mod growing;
mod node;
mod working;

use std::time::Duration;

use oxmq::{Client, ConnectOptions, Partitioned};
use serde_json::Value;

use crate::common::server::{fresh_prefix, shared_server};

/// The partitioned queue `mail` under a prefix of its own. If the tests run on a cluster, it is spread over all nodes.
struct Ground {
    client: Client,
    prefix: String,
}

impl Ground {
    async fn new() -> Self {
        let prefix = fresh_prefix().replace(['{', '}'], "");
        let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
        Self { client: Client::builder(options).prefix(&prefix).connect().await.unwrap(), prefix }
    }

    /// Opens a handle that learns of new partitions soon.
    async fn open(&self, partitions: usize) -> Partitioned<Value, Value> {
        let builder = self.client.partitioned("mail", partitions);
        builder.refresh_interval(Duration::from_millis(20)).open().await.unwrap()
    }
}
