//! Queues on a Redis Cluster: on several nodes, beside Node, while slots move and masters die.

mod basics;
#[cfg(feature = "doctor")]
mod doctor;
mod moves;
mod named;
mod node;
mod one_node;
mod partitioned;
mod refusals;
mod silent;
#[cfg(feature = "tls")]
mod tls;

use oxmq::{Client, ConnectOptions};

use crate::common::cluster::Cluster;
use crate::common::server::fresh_prefix;

fn options(cluster: &Cluster) -> ConnectOptions {
    // One node is enough; it names the others.
    ConnectOptions::cluster(&cluster.hosts()[..1]).unwrap()
}

async fn client(cluster: &Cluster, prefix: &str) -> Client {
    Client::builder(options(cluster)).prefix(prefix).connect().await.unwrap()
}

/// Returns a key prefix that no other test uses and that has no hash tag, so that the queue's name decides the slot.
fn untagged_prefix() -> String {
    fresh_prefix().replace(['{', '}'], "")
}
