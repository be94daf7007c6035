//! While one master is silent, as in the seconds before it is replaced, the others still serve.

use std::time::Duration;

use futures::future::join_all;
use oxmq::{Client, Halt, Job, Queue};
use serde_json::{Value, json};

use super::options;
use crate::common::cluster::{Cluster, name_on, name_on_each};
use crate::common::log::Log;

#[tokio::test]
async fn clients_connect_and_read_the_other_masters_while_one_is_silent() {
    let cluster = Cluster::start();
    for node in 0..3 {
        // The cluster must not replace it meanwhile.
        let words = ["SET", "cluster-node-timeout", "60000"];
        let () = redis::cmd("CONFIG").arg(&words).query(&mut cluster.admin(node)).unwrap();
    }
    let log = Log::begin();
    let policy = |policy: &str| {
        let words = ["SET", "maxmemory-policy", policy];
        let () = redis::cmd("CONFIG").arg(&words).query(&mut cluster.admin(1)).unwrap();
    };
    policy("allkeys-lru");
    let client = Client::builder(options(&cluster)).prefix("p").connect().await.unwrap();
    policy("noeviction");
    let told = log.with("noeviction");
    let node = format!(":{}", cluster.port(1));
    assert!(matches!(&told[..], [line] if line.contains(&node) && line.contains("allkeys-lru")), "{told:?}");
    client.ping().await.unwrap();
    let names = name_on_each("q");
    let mut workers = Vec::new();
    for name in &names {
        let queue: Queue<Value, Value> = client.queue(name).open().unwrap();
        queue.add("job", json!(1)).await.unwrap();
        let processor = async |_: Job<Value, Value>| Ok::<_, Halt>(json!(null));
        workers.push(client.worker(name, processor).start().unwrap());
    }
    let seen = || async { (client.get_all_workers().await.unwrap().len() == 3).then_some(()) };
    crate::common::eventually::eventually("all workers are connected", seen).await;
    cluster.nodes[2].pause();
    let connecting = (0..20).map(|_| async {
        // Long enough only for calls that do not wait for the silent master.
        let options =
            options(&cluster).connect_timeout(Duration::from_secs(60)).command_timeout(Duration::from_secs(1));
        tokio::time::timeout(Duration::from_secs(30), Client::builder(options).prefix("p").connect()).await
    });
    let mut clients: Vec<Client> = join_all(connecting).await.into_iter().map(|one| one.unwrap().unwrap()).collect();
    let client = clients.pop().unwrap();
    let mut search = client.find_queues();
    let mut found = Vec::new();
    while let Some(more) = search.next().await.unwrap() {
        found.extend(more);
    }
    found.sort();
    let mut expected = names[..2].to_vec();
    expected.sort();
    assert_eq!(found, expected);
    let missing: Vec<String> = search.missing().map(|(node, _)| node.to_owned()).collect();
    assert_eq!(missing, [format!("redis://127.0.0.1:{}", cluster.port(2))]);
    let mut seen: Vec<String> = client.get_all_workers().await.unwrap().into_keys().collect();
    seen.sort();
    assert_eq!(seen, expected);
    client.ping().await.unwrap_err();
    cluster.nodes[2].resume();
    crate::common::eventually::eventually("all answer", || async { client.ping().await.ok() }).await;
    for worker in workers {
        worker.close().await;
    }
}

/// Only the connections to one master break, and only a queue there notices.
#[tokio::test]
async fn masters_are_asked_for_their_settings_again_after_a_break_of_one() {
    let cluster = Cluster::start();
    let log = Log::begin();
    let client = Client::builder(options(&cluster)).prefix("p").connect().await.unwrap();
    let queue: Queue<Value, Value> = client.queue(name_on("q", 1)).open().unwrap();
    queue.add("job", json!(1)).await.unwrap();
    let node = |words: &[&str]| redis::cmd(words[0]).arg(&words[1..]).query::<()>(&mut cluster.admin(1)).unwrap();
    node(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    node(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    crate::common::eventually::eventually("it is told", || async {
        // Only a client that calls its server learns that there was a break.
        let _ = queue.is_paused().await;
        log.with("noeviction").iter().any(|line| line.contains(&format!(":{}", cluster.port(1))))
    })
    .await;
}
