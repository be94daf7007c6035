//! Workers and listeners without a connection of their own look for what is new where each queue has its own slot.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use oxmq::events::{Delivery, QueueEvent};
use oxmq::{Client, Halt, Job, Queue};
use serde_json::{Value, json};

use super::{client, options, untagged_prefix};
use crate::common::cluster::{Cluster, name_on, name_on_each, shared_cluster, slot_of};
use crate::common::eventually::eventually_within;
use crate::common::fixture::{Ledger, PATIENCE};
use crate::common::log::Log;

#[tokio::test]
async fn a_worker_that_may_not_look_waits_on_a_connection_and_this_is_told() {
    const REFUSED: &str = "command=\"ZPOPMIN\"";
    let (cluster, prefix, log) = (shared_cluster(), untagged_prefix(), Log::begin());
    for node in 0..cluster.nodes.len() {
        let user = ["SETUSER", "no-looks", "on", ">secret", "~*", "&*", "+@all", "-zpopmin"];
        let () = redis::cmd("ACL").arg(&user).query(&mut cluster.admin(node)).unwrap();
    }
    let restricted = options(cluster).username("no-looks").password("secret");
    let restricted = Client::builder(restricted).prefix(&prefix).own_connections(0).connect().await.unwrap();
    let (ran, names) = (Ledger::default(), name_on_each("looks"));
    // Only a marker wakes a worker in time.
    let workers: Vec<_> = names
        .iter()
        .map(|name| {
            let ran = ran.clone();
            let note = move |job: Job<Value, Value>| {
                ran.note(job.queue_name());
                async { Ok::<_, Halt>(json!(null)) }
            };
            restricted.worker(name, note).drain_delay(Duration::from_secs(600)).start().unwrap()
        })
        .collect();
    log.until(1, REFUSED).await;
    let adder = client(cluster, &prefix).await;
    for round in 1..=2 {
        for name in &names {
            let queue: Queue<Value, Value> = adder.queue(name).open().unwrap();
            queue.add("job", json!(round)).await.unwrap();
        }
        ran.until(round * names.len()).await;
    }
    let told = log.with(REFUSED);
    assert!(told.len() == 1 && told[0].contains("each worker waits on a connection of its own"), "{told:?}");
    for worker in workers {
        worker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_looks_follows_its_slot_and_misses_nothing() {
    let cluster = Arc::new(Cluster::start());
    let name = name_on("looks", 0);
    let ours = Client::builder(options(&cluster)).prefix("p").own_connections(0).connect().await.unwrap();
    let queue: Queue<Value, Value> = ours.queue(&name).open().unwrap();
    let mut events = ours.queue_events(&name).start().unwrap();
    events.ready().await.unwrap();
    let worker = ours.worker(&name, async |_: Job<Value, Value>| Ok::<_, Halt>(json!(null))).start().unwrap();
    let mut heard = HashSet::new();
    for (round, to) in [0, 2, 1].into_iter().enumerate() {
        let moving = Arc::clone(&cluster);
        let slot = slot_of(&name);
        tokio::task::spawn_blocking(move || moving.move_slot(slot, to, Duration::ZERO)).await.unwrap();
        for n in 0..20 {
            queue.add("job", json!(n)).job_id(format!("{round}-{n}")).await.unwrap();
        }
        while heard.len() < 20 * (round + 1) {
            match tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
                Delivery::Event { event: QueueEvent::Completed { job_id, .. }, .. } => {
                    assert!(heard.insert(job_id.to_string()), "once each");
                }
                Delivery::Event { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    // A wait for a result reads the same way.
    let job = queue.add("job", json!(0)).delay(Duration::from_millis(50)).await.unwrap();
    job.wait_until_finished(PATIENCE).await.unwrap();
    worker.close().await;
    let count = |node: usize| {
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut cluster.admin(node)).unwrap();
        list.lines().filter(|line| line.contains(":qe ")).count()
    };
    eventually_within(PATIENCE, "no listener has a connection", || async { (0..3).map(count).sum::<usize>() == 0 })
        .await;
}
