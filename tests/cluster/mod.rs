//! Queues on a Redis Cluster: on several nodes, beside Node, while slots move and masters die.

mod basics;
#[cfg(feature = "doctor")]
mod doctor;
mod moves;
mod named;
mod node;
mod partitioned;
mod refusals;
mod silent;
#[cfg(feature = "tls")]
mod tls;

use oxmq::{Client, ConnectOptions};

use crate::common::cluster::Cluster;
use crate::common::server::fresh_prefix;

fn options(cluster: &Cluster) -> ConnectOptions {
    // One node is enough; the others are asked for.
    ConnectOptions::cluster(&cluster.hosts()[..1]).unwrap()
}

async fn client(cluster: &Cluster, prefix: &str) -> Client {
    Client::builder(options(cluster)).prefix(prefix).connect().await.unwrap()
}

/// A key prefix that no other test uses, and that leaves it to the queue's name where the keys are.
fn untagged_prefix() -> String {
    fresh_prefix().replace(['{', '}'], "")
}
