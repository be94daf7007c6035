//! Queues on a Redis Cluster: on several nodes, beside Node, while slots move and masters die.

mod answers;
mod basics;
#[cfg(feature = "doctor")]
mod doctor;
mod moves;
mod named;
mod node;
mod one_node;
mod partitioned;
mod refusals;
mod sharing;
mod silent;
#[cfg(feature = "tls")]
mod tls;
mod watching;

use std::time::Duration;

use oxmq::{Client, ConnectOptions, Halt, Job, Queue};
use serde_json::{Value, json};

use crate::common::cluster::{Cluster, name_on_each, shared_cluster};
use crate::common::eventually::eventually;
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

/// Queues on every master of the shared cluster, in each a job that failed, `f`, one that is delayed, `d`, and one that
/// waits, `w`; for tools.
#[cfg(any(feature = "cli", feature = "dashboard"))]
pub(crate) struct OnEveryMaster {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) names: [String; 3],
}

#[cfg(any(feature = "cli", feature = "dashboard"))]
impl OnEveryMaster {
    pub(crate) async fn filled(text: &str) -> Self {
        let (cluster, prefix) = (shared_cluster(), untagged_prefix());
        let client = client(cluster, &prefix).await;
        let it = Self { client, url: cluster.url(), prefix, names: name_on_each(text) };
        for queue in it.queues() {
            let refuse = async |_: Job<Value, Value>| Err::<Value, Halt>("out of paper".into());
            let worker = it.client.worker(queue.name(), refuse).start().unwrap();
            queue.add("print", json!({ "page": 7 })).job_id("f").await.unwrap();
            let failed = || async { queue.get_job_counts(&[]).await.unwrap().failed == 1 };
            eventually("the job has failed", failed).await;
            worker.close().await;
            queue.add("print", json!({})).job_id("d").delay(Duration::from_secs(3_600)).await.unwrap();
            queue.add("print", json!({})).job_id("w").await.unwrap();
        }
        it
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = Queue<Value, Value>> {
        self.names.iter().map(|name| self.client.queue(name).open().unwrap())
    }
}
