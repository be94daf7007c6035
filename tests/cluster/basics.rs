//! Everything that works on one server works on a cluster.

use std::time::Duration;

use futures::future::join_all;
use oxmq::events::{Delivery, QueueEvent};
use oxmq::worker::WorkerEvent;
use oxmq::{Client, FlowNode, Halt, Job, JobState, Queue};
use serde_json::{Value, json};

use super::{client, options, untagged_prefix};
use crate::common::cluster::{Cluster, name_on, name_on_each, shared_cluster, slot_of};
use crate::common::eventually::{eventually, eventually_within};
use crate::common::fixture::{Ledger, PATIENCE, listen};
use crate::common::server::server_version;

#[tokio::test]
async fn queues_on_every_node_add_process_and_emit_events() {
    let cluster = shared_cluster();
    let prefix = untagged_prefix();
    let client = client(cluster, &prefix).await;
    client.ping().await.unwrap();
    let ran = Ledger::default();
    for (node, name) in name_on_each("q").into_iter().enumerate() {
        let queue: Queue<Value, Value> = client.queue(&name).open().unwrap();
        let mut events = client.queue_events(&name).start().unwrap();
        events.ready().await.unwrap();
        let ledger = ran.clone();
        let processor = move |job: Job<Value, Value>| {
            ledger.note(format!("{} {}", job.queue_name(), job.id()));
            async move { Ok::<_, Halt>(json!({ "got": job.data() })) }
        };
        let worker = client.worker(&name, processor).concurrency(5).start().unwrap();
        let added = join_all((0..20).map(|n| queue.add("job", json!(n)).into_future())).await;
        for job in added {
            let job = job.unwrap();
            let result = job.wait_until_finished(PATIENCE).await.unwrap();
            assert_eq!(result, json!({ "got": job.data() }));
        }
        let mut completed = 0;
        while completed < 20 {
            let next = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
            assert!(!matches!(next, Delivery::Gap { .. }), "{next:?}");
            completed += usize::from(matches!(next, Delivery::Event { event: QueueEvent::Completed { .. }, .. }));
        }
        let workers = queue.get_workers().await.unwrap();
        assert_eq!(workers.len(), 1, "{workers:?}");
        let listeners = queue.get_queue_events().await.unwrap();
        // Ours, and for a while the shared one for all calls that wait for a job.
        assert!((1..=2).contains(&listeners.len()), "{listeners:?}");
        worker.close().await;
        // It is connected to the node that serves the slot.
        let key = format!("{prefix}:{name}:completed");
        let done: u32 = redis::cmd("ZCARD").arg(&key).query(&mut cluster.admin(node)).unwrap();
        assert_eq!((done, cluster.owner(slot_of(&key))), (20, node));
    }
    assert_eq!(ran.tally().len(), 60);
    assert!(ran.tally().values().all(|runs| *runs == 1));
    let mut expected = name_on_each("q").to_vec();
    expected.sort();
    assert_eq!(client.find_queues().all().await.unwrap(), expected);
}

#[tokio::test]
async fn administration_and_flows_work_within_a_slot() {
    let cluster = shared_cluster();
    let prefix = name_on("admin", 1);
    let client = client(cluster, &prefix).await;
    let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
    queue.pause().await.unwrap();
    let ids = join_all((0..30).map(|n| queue.add("job", json!(n)).into_future())).await;
    let ids: Vec<String> = ids.into_iter().map(|job| job.unwrap().id().to_owned()).collect();
    queue.add("later", json!(1)).delay(Duration::from_secs(600)).await.unwrap();
    queue.add("first", json!(1)).priority(3).await.unwrap();
    let counts = queue.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.waiting + counts.paused, counts.delayed, counts.prioritized), (30, 1, 1), "{counts:?}");
    assert!(queue.is_paused().await.unwrap());
    assert!(queue.job(&ids[0]).remove().await.is_ok());
    assert_eq!(queue.promote_jobs().await.unwrap(), 1);
    queue.resume().await.unwrap();

    let processor = async |_: Job<Value, Value>| Ok::<_, Halt>(json!("done"));
    let workers = ["q", "children"].map(|name| client.worker(name, processor).start().unwrap());
    let children = (0..5).map(|n| FlowNode::new("children", "child", json!(n)));
    let flow = FlowNode::new("q", "parent", json!("p")).children(children);
    let added = client.flow_producer().add(flow).await.unwrap();
    let parent = queue.get_job(added.id()).await.unwrap().unwrap();
    assert_eq!(parent.wait_until_finished(PATIENCE).await.unwrap(), json!("done"));
    assert_eq!(parent.get_children_values::<Value>().await.unwrap().len(), 5);
    eventually("all have run", || async {
        queue.get_job_counts(&[JobState::Completed]).await.unwrap().completed == 32
    })
    .await;
    assert_eq!(queue.clean(Duration::ZERO, 10, JobState::Completed).await.unwrap().len(), 10);
    for worker in workers {
        worker.close().await;
    }
    queue.obliterate_by_force().await.unwrap();
    assert_eq!(queue.remove_orphaned_jobs(0).await.unwrap(), 0);
    let left: Vec<String> = (0..3)
        .flat_map(|node| {
            let pattern = format!("{prefix}:q:*");
            let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut cluster.admin(node)).unwrap();
            keys
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// One thread renews the locks of all workers, on all nodes.
#[tokio::test]
async fn locks_are_renewed_on_every_node() {
    let cluster = shared_cluster();
    let client = client(cluster, &untagged_prefix()).await;
    let mut all = Vec::new();
    for name in name_on_each("locks") {
        let processor = async |_: Job<Value, ()>| {
            tokio::time::sleep(Duration::from_secs(5)).await; // time itself: longer than two locks live
            Ok::<_, Halt>(())
        };
        let worker = client
            .worker(&name, processor)
            .lock_duration(Duration::from_secs(2))
            .stalled_interval(Duration::from_millis(500))
            .start()
            .unwrap();
        let heard = listen(&worker);
        client.queue::<Value, ()>(&name).open().unwrap().add("job", json!(1)).await.unwrap();
        all.push((worker, heard));
    }
    for (worker, heard) in all {
        eventually_within(PATIENCE, "the job is done", || async { heard.completed() == 1 }).await;
        let lost = heard.count(|event| matches!(event, WorkerEvent::LockLost { .. } | WorkerEvent::Stalled { .. }));
        assert_eq!((lost, heard.errors()), (0, vec![]));
        worker.close().await;
    }
}

#[tokio::test]
async fn all_queues_share_one_connection_to_a_node() {
    let cluster = Cluster::start();
    let client = client(&cluster, "p").await;
    for number in 0..10 {
        let name = name_on(&format!("shared-{number}"), 1);
        client.queue::<Value, ()>(&name).open().unwrap().add("job", json!(1)).await.unwrap();
    }
    // The connection that asks is counted, too.
    let clients = |node: usize| {
        let list: String =
            redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("normal").query(&mut cluster.admin(node)).unwrap();
        list.lines().count()
    };
    assert_eq!(clients(1), 2);
    assert!(clients(0) <= 2 && clients(2) <= 2);
}

/// With a prefix that puts all queues into one slot, idle workers share a connection, also after the slot has moved.
#[tokio::test]
async fn idle_workers_of_one_slot_wait_together_and_move_with_it() {
    const WORKERS: usize = 40;
    let cluster = Cluster::start();
    let prefix = name_on("together", 0);
    let client = Client::builder(options(&cluster)).prefix(&prefix).own_connections(0).connect().await.unwrap();
    let names: Vec<String> = (0..WORKERS).map(|n| format!("q{n}")).collect();
    let done = |_: Job<Value, Value>| async { Ok::<_, Halt>(Value::Null) };
    let start = |name: &String| client.worker(name, done).drain_delay(Duration::from_secs(600)).start().unwrap();
    let workers: Vec<_> = names.iter().map(start).collect();
    let listeners: Vec<_> = names.iter().map(|name| client.queue_events(name).start().unwrap()).collect();
    let waiting = |node: usize| {
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut cluster.admin(node)).unwrap();
        let waiting = list.lines().filter(|line| line.contains("cmd=bzpopmin"));
        let listening = list.lines().filter(|line| line.contains("name=oxmq-shared-listeners")).count();
        (waiting.map(|line| line.contains("name=oxmq-shared-waits")).collect::<Vec<bool>>(), listening)
    };
    for node in [0, 1] {
        cluster.move_slot(slot_of(&format!("{prefix}:q0:id")), node, Duration::ZERO);
        let together = || async { waiting(node) == (vec![true], 1) };
        eventually_within(PATIENCE, "one connection waits for all, and one listens", together).await;
        for name in &names {
            let queue: Queue<Value, Value> = client.queue(name).open().unwrap();
            queue.add("job", json!(1)).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
        }
    }
    drop(listeners);
    join_all(workers.into_iter().map(|worker| async move { worker.close().await })).await;
}

/// One blocking read cannot wait for keys of several slots, so workers beyond the bound look for the marker. They would
/// fetch by themselves only after ten minutes.
#[tokio::test]
async fn workers_without_a_connection_of_their_own_look_for_jobs_of_every_slot() {
    const OWN: usize = 2;
    let cluster = Cluster::start();
    let client = Client::builder(options(&cluster)).prefix("p").own_connections(OWN).connect().await.unwrap();
    let names = [name_on_each("look"), name_on_each("too")].concat();
    let start = |name: &String| {
        let done = |_: Job<Value, Value>| async { Ok::<_, Halt>(Value::Null) };
        client.worker(name, done).drain_delay(Duration::from_secs(600)).start().unwrap()
    };
    let workers: Vec<_> = names.iter().map(start).collect();
    let waiting = || {
        let list = |node| redis::cmd("CLIENT").arg("LIST").query::<String>(&mut cluster.admin(node)).unwrap();
        (0..3).map(list).collect::<String>().matches("cmd=bzpopmin").count()
    };
    let queue = |name: &String| client.queue::<Value, Value>(name).open().unwrap();
    for round in 0..3 {
        let bounded = || async { waiting() == OWN };
        eventually_within(PATIENCE, "no more than these have a connection", bounded).await;
        if round == 2 {
            let slot = slot_of(&names[3]);
            cluster.move_slot(slot, (cluster.owner(slot) + 1) % 3, Duration::ZERO);
        }
        let run = async |name: &String| {
            queue(name).add("job", json!(1)).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
        };
        join_all(names.iter().map(run)).await;
    }
    for name in &names {
        assert_eq!(queue(name).get_workers().await.unwrap().len(), 1, "{name}");
    }
    join_all(workers.into_iter().map(|worker| async move { worker.close().await })).await;
}

/// A large outcome has a connection of its own, which knows beforehand how scripts are sent to this server. Otherwise it
/// would name a script that the server does not have, and be sent a second time with its text.
#[tokio::test]
async fn a_large_outcome_is_sent_once() {
    let cluster = Cluster::start();
    let client = client(&cluster, "p").await;
    let name = name_on("large", 0);
    let text = |job: Job<usize, String>| async move { Ok::<_, Halt>("x".repeat(*job.data())) };
    let worker = client.worker(&name, text).start().unwrap();
    let queue: Queue<usize, String> = client.queue(&name).open().unwrap();
    let unknown = || {
        let info: String = redis::cmd("INFO").arg("errorstats").query(&mut cluster.admin(0)).unwrap();
        info.lines().find(|line| line.starts_with("errorstat_NOSCRIPT")).map(str::to_owned)
    };
    let run = async |bytes| queue.add("job", bytes).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
    run(10).await;
    let before = unknown();
    assert_eq!(run(3_000_000).await.len(), 3_000_000);
    assert!(before.is_some() || server_version() < 7, "the first call of each script");
    assert_eq!(unknown(), before);
    worker.close().await;
}
