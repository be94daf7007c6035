//! Clusters whose nodes speak TLS to their clients and to each other.

use std::sync::Arc;
use std::time::Duration;

use oxmq::{Client, ConnectOptions, Halt, Job, Queue};
use serde_json::{Value, json};

use super::untagged_prefix;
use crate::common::certificates::Certificates;
use crate::common::cluster::{Cluster, name_on, slot_of};
use crate::common::eventually::eventually;
use crate::common::fixture::PATIENCE;

async fn connect(options: ConnectOptions) -> oxmq::Result<Client> {
    Client::builder(options).prefix(untagged_prefix()).connect().await
}

/// The nodes announce IP addresses that their certificate does not cover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_over_tls_is_reached_by_the_names_on_its_certificates() {
    let certificates = Certificates::new();
    let cluster = Arc::new(Cluster::over_tls(&certificates));
    let seed = format!("localhost:{}", cluster.port(0));
    let trusting = || ConnectOptions::cluster([&seed]).unwrap().tls(true).tls_root(certificates.pem("ca.crt"));

    // The first node announces the others by addresses that no certificate covers.
    let limit = Duration::from_secs(1);
    let client = connect(trusting().command_timeout(limit).connect_timeout(limit)).await;
    let said = match client {
        Ok(client) => {
            let queue: Queue<Value, ()> = client.queue("{q}").open().unwrap();
            queue.add("job", json!(1)).job_id("own").await.unwrap_err()
        }
        Err(error) => error,
    };
    let said = said.to_string();
    assert!(said.contains("certificate"), "{said}");

    let url = format!("rediss+cluster://{seed}?ca={}&sni=redis.internal", certificates.path("ca.crt"));
    let one_name_for_all = ConnectOptions::from_url(&url).unwrap();
    // The one address of a managed cluster, written as that of a server.
    let endpoint = ConnectOptions::from_url(&url.replacen("+cluster", "", 1)).unwrap();
    let by_host = trusting().node_addresses(|_, port| Some(("localhost".to_owned(), port)));
    for (number, options) in [(1, one_name_for_all), (2, by_host), (1, endpoint)] {
        let client = connect(options).await.unwrap();
        let name = name_on("tls", 0);
        let queue: Queue<Value, Value> = client.queue(&name).open().unwrap();
        let echo = |job: Job<Value, Value>| async move { Ok::<_, Halt>(job.data().clone()) };
        let worker = client.worker(&name, echo).drain_delay(PATIENCE).start().unwrap();
        // From each node to the next.
        for to in [0, number] {
            let moving = Arc::clone(&cluster);
            let slot = slot_of(&name);
            tokio::task::spawn_blocking(move || moving.move_slot(slot, to, Duration::ZERO)).await.unwrap();
            let job = queue.add("job", json!(to)).await.unwrap();
            assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!(to));
        }
        eventually("it waits where its slot is", || async { queue.get_workers().await.unwrap().len() == 1 }).await;
        worker.close().await;
    }
}
