//! Nodes that clients reach by other addresses than the ones the nodes give each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use oxmq::{Client, ConnectOptions, Halt, Job, Queue};
use serde_json::{Value, json};

use super::untagged_prefix;
use crate::common::cluster::{Cluster, name_on, slot_of};
use crate::common::fixture::PATIENCE;
use crate::common::proxy::Proxy;
use crate::common::server::server_version;

/// The host names of the nodes do not resolve here; each node is reached through a proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_behind_other_addresses_are_reached_by_a_map() {
    // Before 7.0 nodes have no host names.
    if server_version() < 7 {
        return;
    }
    let cluster = Arc::new(Cluster::start());
    let mut proxies = HashMap::new();
    for (node, server) in cluster.nodes.iter().enumerate() {
        let host = format!("node-{node}.invalid");
        let mut redis = server.connection().await;
        for (name, value) in [("cluster-announce-hostname", &host[..]), ("cluster-preferred-endpoint-type", "hostname")]
        {
            redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec_async(&mut redis).await.unwrap();
        }
        proxies.insert(host, Proxy::start(server.addr()).await);
    }
    cluster.until_named(|node| format!("node-{node}.invalid"));
    let reached: HashMap<String, u16> =
        proxies.iter().map(|(host, proxy)| (host.clone(), proxy.addr().port())).collect();
    let seed = format!("127.0.0.1:{}", reached["node-1.invalid"]);
    let map = move |host: &str, _| Some(("127.0.0.1".to_owned(), *reached.get(host)?));
    let options = ConnectOptions::cluster([seed]).unwrap().node_addresses(map);
    let client = Client::builder(options).prefix(untagged_prefix()).connect().await.unwrap();
    let name = name_on("far", 0);
    let queue: Queue<Value, Value> = client.queue(&name).open().unwrap();
    let echo = |job: Job<Value, Value>| async move { Ok::<_, Halt>(job.data().clone()) };
    let worker = client.worker(&name, echo).drain_delay(PATIENCE).start().unwrap();
    for to in [0, 2] {
        // The second time a node answers with the name of the node that has the slot.
        let (moving, slot) = (Arc::clone(&cluster), slot_of(&name));
        tokio::task::spawn_blocking(move || moving.move_slot(slot, to, Duration::ZERO)).await.unwrap();
        let job = queue.add("job", json!(to)).await.unwrap();
        assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!(to));
        assert!(proxies[&format!("node-{to}.invalid")].open_connections() > 0);
    }
    worker.close().await;
}
