//! What nodes answer while they cannot serve a slot, or when they are not the ones to ask: each is waited out where that is
//! safe, and otherwise an error that says what is going on.

use std::time::Duration;

use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Error, Halt, Job, Queue};
use serde_json::{Value, json};

use super::{client, options};
use crate::common::cluster::{Cluster, name_on, slot_of};
use crate::common::eventually::eventually_within;
use crate::common::fixture::{Ledger, PATIENCE, listen};
use crate::common::server::server_version;

fn run(cluster: &Cluster, node: usize, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).query::<()>(&mut cluster.admin(node)).unwrap();
}

fn id(cluster: &Cluster, node: usize) -> String {
    redis::cmd("CLUSTER").arg("MYID").query(&mut cluster.admin(node)).unwrap()
}

async fn impatient(cluster: &Cluster) -> Client {
    let options = options(cluster).command_timeout(Duration::from_millis(300));
    Client::builder(options).prefix("p").connect().await.unwrap()
}

/// Returns the text of an error that is not about an unknown outcome.
fn told(error: &Error) -> String {
    assert!(matches!(error, Error::Redis { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_moving_is_waited_for_and_told_and_never_used_at_the_new_node() {
    let cluster = Cluster::start();
    let name = name_on("moving", 0);
    let slot = slot_of(&name).to_string();
    let ours = client(&cluster, "p").await;
    let queue: Queue<Value, Value> = ours.queue(&name).open().unwrap();
    queue.add("job", json!(1)).await.unwrap();
    let ran = Ledger::default();
    let note = {
        let ran = ran.clone();
        move |job: Job<Value, Value>| {
            ran.note(job.id());
            async { Ok::<_, Halt>(json!(null)) }
        }
    };
    let worker = ours.worker(&name, note).drain_delay(Duration::from_secs(1)).start().unwrap();
    let heard = listen(&worker);
    ran.until(1).await;

    run(&cluster, 1, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(&cluster, 0)]);
    run(&cluster, 0, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(&cluster, 1)]);
    let hasty: Queue<Value, Value> = impatient(&cluster).await.queue(&name).open().unwrap();
    for error in [hasty.add("job", json!(2)).await.unwrap_err(), hasty.get_job_counts(&[]).await.unwrap_err()] {
        let said = told(&error);
        assert!(said.contains("the queue's slot is moving to another node of the cluster"), "{said}");
    }
    // The ids go on where they were: the other node was asked for none.
    let waits = tokio::spawn({
        let queue = queue.clone();
        async move { queue.add("job", json!(3)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await; // time itself: the add meets the slot on its way
    run(&cluster, 0, &["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    run(&cluster, 1, &["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    assert_eq!(waits.await.unwrap().unwrap().id(), "2");
    ran.until(2).await;
    assert_eq!(heard.errors(), Vec::<String>::new());
    worker.close().await;
    let keys: u32 = redis::cmd("CLUSTER").arg(&["COUNTKEYSINSLOT", &slot]).query(&mut cluster.admin(1)).unwrap();
    assert_eq!(keys, 0);
}

/// Running jobs go on meanwhile; their locks are renewed once the slot can be used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_costs_a_running_job_its_lock_only_if_it_takes_longer_than_a_lock_lives() {
    let cluster = Cluster::start();
    let (source, target) = (id(&cluster, 0), id(&cluster, 1));
    let ours = client(&cluster, "p").await;
    for (text, lives, is_kept) in [("long", Duration::from_secs(60), true), ("short", Duration::from_secs(1), false)] {
        let name = name_on(text, 0);
        let slot = slot_of(&name).to_string();
        let queue: Queue<Value, Value> = ours.queue(&name).open().unwrap();
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let waits = {
            let gate = std::sync::Arc::clone(&gate);
            move |_: Job<Value, Value>| {
                let gate = std::sync::Arc::clone(&gate);
                async move {
                    let _pass = gate.acquire().await;
                    Ok::<_, Halt>(json!(null))
                }
            }
        };
        let worker = ours.worker(&name, waits).lock_duration(lives);
        let worker =
            worker.stalled_interval(Duration::from_secs(1)).drain_delay(Duration::from_secs(1)).start().unwrap();
        let heard = listen(&worker);
        let job = queue.add("job", json!(1)).await.unwrap();
        let is_active = || async { queue.get_job_counts(&[]).await.unwrap().active == 1 };
        eventually_within(PATIENCE, "it runs", is_active).await;
        run(&cluster, 1, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        run(&cluster, 0, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
        let hasty: Queue<Value, Value> = impatient(&cluster).await.queue(&name).open().unwrap();
        told(&hasty.get_job_counts(&[]).await.unwrap_err());
        let is_lost = |event: &WorkerEvent| matches!(event, WorkerEvent::LockLost { .. });
        if !is_kept {
            heard.until("the lock is lost", is_lost).await;
        }
        run(&cluster, 0, &["CLUSTER", "SETSLOT", &slot, "STABLE"]);
        run(&cluster, 1, &["CLUSTER", "SETSLOT", &slot, "STABLE"]);
        gate.add_permits(10);
        job.wait_until_finished(PATIENCE).await.unwrap();
        assert_eq!(heard.count(is_lost), usize::from(!is_kept), "{text}");
        worker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lacks_a_master_says_so_and_goes_on_when_it_is_back() {
    let mut cluster = Cluster::start();
    let (dead, other) = (name_on("dead", 1), name_on("other", 0));
    let ours = client(&cluster, "p").await;
    let ran = Ledger::default();
    let mut workers = Vec::new();
    for name in [&dead, &other] {
        let ran = ran.clone();
        let note = move |job: Job<Value, Value>| {
            ran.note(job.queue_name());
            async { Ok::<_, Halt>(json!(null)) }
        };
        workers.push(ours.worker(name, note).drain_delay(Duration::from_secs(1)).start().unwrap());
        ours.queue::<Value, Value>(name).open().unwrap().add("job", json!(1)).job_id("a").await.unwrap();
    }
    ran.until(2).await;
    let hasty = impatient(&cluster).await;
    let [of_dead, of_other] = [&dead, &other].map(|name| hasty.queue::<Value, Value>(name).open().unwrap());
    let gone = cluster.port(1);
    cluster.nodes[1].kill();
    let add = async |queue: &Queue<Value, Value>| queue.add("job", json!(2)).job_id("b").await;
    // Nobody takes its place, and without all slots the others serve none.
    eventually_within(PATIENCE, "the others say that the cluster is down", || async {
        add(&of_other).await.is_err_and(|error| told(&error).contains("CLUSTERDOWN: The cluster is down"))
    })
    .await;
    let said = told(&add(&of_dead).await.unwrap_err());
    assert!(said.contains(&format!("no connection to redis://127.0.0.1:{gone}: connection refused")), "{said}");
    cluster.nodes[1].restart();
    cluster.until_well();
    let again = [&dead, &other].map(|name| ours.queue::<Value, Value>(name).open().unwrap());
    for queue in &again {
        queue.add("job", json!(3)).job_id("c").await.unwrap();
    }
    eventually_within(PATIENCE, "both work again", || async { ran.len() >= 4 }).await;
    for worker in workers {
        worker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_without_an_owner_says_so_and_is_found_again() {
    let cluster = Cluster::start();
    for node in 0..3 {
        run(&cluster, node, &["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let name = name_on("orphan", 2);
    let slot = slot_of(&name).to_string();
    let ours = client(&cluster, "p").await;
    let queue: Queue<Value, Value> = ours.queue(&name).open().unwrap();
    queue.add("job", json!(1)).await.unwrap();
    for node in 0..3 {
        run(&cluster, node, &["CLUSTER", "DELSLOTS", &slot]);
    }
    let hasty: Queue<Value, Value> = impatient(&cluster).await.queue(&name).open().unwrap();
    let said = told(&hasty.add("job", json!(2)).await.unwrap_err());
    assert!(said.contains("CLUSTERDOWN: ") || said.contains("no node of the cluster has the slot"), "{said}");
    run(&cluster, 0, &["CLUSTER", "ADDSLOTS", &slot]);
    // The new owner has none of the keys.
    eventually_within(PATIENCE, "it has an owner", || async { hasty.add("job", json!(3)).await.is_ok() }).await;
    assert_eq!(queue.add("job", json!(4)).await.unwrap().id(), "2");
}

/// A replica, named as the only node, sends all calls to the masters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_leads_to_the_masters() {
    let cluster = Cluster::with_replicas();
    let replica = format!("127.0.0.1:{}", cluster.port(4));
    for url in [format!("redis+cluster://{replica}"), format!("redis://{replica}")] {
        let client = Client::builder(ConnectOptions::from_url(&url).unwrap()).prefix("p").connect().await.unwrap();
        let name = name_on("replica", 1);
        let queue: Queue<Value, Value> = client.queue(&name).open().unwrap();
        let echo = |job: Job<Value, Value>| async move { Ok::<_, Halt>(job.data().clone()) };
        let worker = client.worker(&name, echo).start().unwrap();
        let job = queue.add("job", json!(url)).await.unwrap();
        assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!(url));
        worker.close().await;
    }
}

/// Such nodes answer `MOVED 1 :7000`: the host is the one that was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_announce_no_host_are_reached_at_the_one_that_was_asked() {
    if server_version() < 7 {
        return;
    }
    let cluster = std::sync::Arc::new(Cluster::start());
    for node in 0..3 {
        run(&cluster, node, &["CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint"]);
    }
    let client = client(&cluster, "p").await;
    let name = name_on("nameless", 0);
    let queue: Queue<Value, Value> = client.queue(&name).open().unwrap();
    let echo = |job: Job<Value, Value>| async move { Ok::<_, Halt>(job.data().clone()) };
    let worker = client.worker(&name, echo).drain_delay(PATIENCE).start().unwrap();
    for to in [0, 2, 1] {
        let (moving, slot) = (std::sync::Arc::clone(&cluster), slot_of(&name));
        tokio::task::spawn_blocking(move || moving.move_slot(slot, to, Duration::ZERO)).await.unwrap();
        let job = queue.add("job", json!(to)).await.unwrap();
        assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!(to));
    }
    worker.close().await;
}
