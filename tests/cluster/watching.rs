//! Workers and listeners without a connection of their own are told of what is new, and need not ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use oxmq::events::{Delivery, QueueEvent, QueueEvents};
use oxmq::{Client, ConnectOptions, Halt, Job, Queue, Worker};
use serde_json::{Value, json};

use super::{client, options, untagged_prefix};
use crate::common::cluster::{Cluster, name_on, name_on_each, shared_cluster, slot_of};
use crate::common::eventually::eventually_within;
use crate::common::fixture::PATIENCE;
use crate::common::log::Log;

/// Far longer than a test waits: only the marker wakes a worker in time.
const LONG: Duration = Duration::from_secs(600);

/// How long a job or an event may take: far longer than it does where it is told, and less than the half minute after which
/// a worker or listener that is told of nothing looks by itself.
const TOLD: Duration = Duration::from_secs(20);

/// What the connections that watch are called.
const WATCHES: &str = "name=oxmq-watches";

/// Connects, without a connection for any worker or listener.
async fn without_own(options: ConnectOptions, prefix: &str) -> Client {
    Client::builder(options).prefix(prefix).own_connections(0).connect().await.unwrap()
}

fn worker(client: &Client, name: &str) -> Worker {
    let done = async |_: Job<Value, Value>| Ok::<_, Halt>(Value::Null);
    client.worker(name, done).drain_delay(LONG).start().unwrap()
}

/// Has another client add a job, and waits until a worker has run it.
async fn run(adder: &Client, name: &str) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let queue: Queue<Value, Value> = adder.queue(name).open().unwrap();
    // By its id it is added once, even if a node dies with the reply.
    let id = format!("job-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    queue.add("job", json!(1)).job_id(id).await.unwrap().wait_until_finished(TOLD).await.unwrap();
}

async fn hear(events: &mut QueueEvents) {
    loop {
        let delivery = tokio::time::timeout(TOLD, events.recv()).await.unwrap().unwrap();
        if let Delivery::Event { event: QueueEvent::Completed { .. }, .. } = delivery {
            return;
        }
    }
}

/// Returns the connections of clients to these nodes.
fn clients(cluster: &Cluster, nodes: &[usize]) -> String {
    let list = |node: &usize| redis::cmd("CLIENT").arg("LIST").query::<String>(&mut cluster.admin(*node)).unwrap();
    nodes.iter().map(list).collect()
}

/// Returns how often all nodes were asked for markers, jobs and events since the counts were reset.
fn asked(cluster: &Cluster) -> u64 {
    let count = |node| {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut cluster.admin(node)).unwrap();
        let calls = |name: &str| -> u64 {
            let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
        };
        ["zpopmin", "exists", "xread", "xrevrange", "evalsha"].map(calls).iter().sum::<u64>()
    };
    (0..cluster.nodes.len()).map(count).sum()
}

fn reset(cluster: &Cluster) {
    for node in 0..cluster.nodes.len() {
        let () = redis::cmd("CONFIG").arg("RESETSTAT").query(&mut cluster.admin(node)).unwrap();
    }
}

/// To look twice a second, as where nothing can be watched, would be five times as many commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_workers_and_listeners_ask_next_to_nothing_and_are_told_of_each_job() {
    const QUEUES: usize = 30;
    let cluster = Cluster::start();
    let (ours, adder) = (without_own(options(&cluster), "p").await, client(&cluster, "p").await);
    let names: Vec<String> = (0..QUEUES).map(|n| format!("{{{n}}}")).collect();
    let workers: Vec<Worker> = names.iter().map(|name| worker(&ours, name)).collect();
    let mut listeners: Vec<QueueEvents> = names.iter().map(|name| ours.queue_events(name).start().unwrap()).collect();
    for events in &mut listeners {
        events.ready().await.unwrap();
    }
    let is_quiet = || async {
        reset(&cluster);
        tokio::time::sleep(Duration::from_secs(3)).await; // time itself: what it costs to wait
        asked(&cluster) < 2 * QUEUES as u64
    };
    eventually_within(PATIENCE, "nobody looks", is_quiet).await;
    for name in &names {
        run(&adder, name).await;
    }
    for events in &mut listeners {
        hear(events).await;
    }
    eventually_within(PATIENCE, "nobody looks any more", is_quiet).await;
    let list = clients(&cluster, &[0, 1, 2]);
    assert_eq!(list.matches(WATCHES).count(), 3, "{list}");
    assert!(!list.contains("cmd=bzpopmin"), "{list}");
    join_all(workers.into_iter().map(Worker::close)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_128_workers_have_a_connection_of_their_own() {
    let (cluster, prefix) = (Cluster::start(), untagged_prefix());
    let ours = client(&cluster, &prefix).await;
    let names: Vec<String> = (0..130).map(|n| format!("{{{n}}}")).collect();
    let workers: Vec<Worker> = names.iter().map(|name| worker(&ours, name)).collect();
    let waiting = || async {
        let list = clients(&cluster, &[0, 1, 2]);
        list.matches("cmd=bzpopmin").count() == 128 && list.contains(WATCHES)
    };
    eventually_within(PATIENCE, "128 wait, and two are told", waiting).await;
    join_all(names[120..].iter().map(|name| run(&ours, name))).await;
    join_all(workers.into_iter().map(Worker::close)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watching_connection_that_breaks_costs_no_job_and_no_event() {
    let cluster = Cluster::start();
    let (ours, adder) = (without_own(options(&cluster), "p").await, client(&cluster, "p").await);
    let name = name_on("breaks", 1);
    let worker = worker(&ours, &name);
    let mut events = ours.queue_events(&name).start().unwrap();
    events.ready().await.unwrap();
    for round in 0..2 {
        let watches = || async { clients(&cluster, &[1]).contains(WATCHES) };
        eventually_within(PATIENCE, "it is watched", watches).await;
        let list = clients(&cluster, &[1]);
        let line = list.lines().find(|line| line.contains(WATCHES)).unwrap();
        let id = line.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap();
        let killed: u32 = redis::cmd("CLIENT").arg(&["KILL", "ID", id]).query(&mut cluster.admin(1)).unwrap();
        assert_eq!(killed, 1, "{round}");
        run(&adder, &name).await;
        hear(&mut events).await;
    }
    worker.close().await;
}

/// The node that hands over keeps all its connections, and the one that dies says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_watched_is_followed_to_another_node() {
    let mut cluster = Cluster::with_replicas();
    let (ours, adder) = (without_own(options(&cluster), "p").await, client(&cluster, "p").await);
    let name = name_on("follows", 1);
    let slot = slot_of(&name);
    let worker = worker(&ours, &name);
    let mut events = ours.queue_events(&name).start().unwrap();
    events.ready().await.unwrap();
    let watched = async |node: usize| {
        let watches = || async { clients(&cluster, &[node]).contains(WATCHES) };
        eventually_within(PATIENCE, "it is watched", watches).await;
    };
    watched(1).await;
    run(&adder, &name).await;
    hear(&mut events).await;
    cluster.hand_over_to(4, slot);
    run(&adder, &name).await;
    hear(&mut events).await;
    watched(4).await;
    cluster.until_well();
    cluster.nodes[4].kill();
    eventually_within(PATIENCE, "the replica has taken over", || async { cluster.is_owner(1, slot) }).await;
    run(&adder, &name).await;
    hear(&mut events).await;
    worker.close().await;
}

/// The queue is empty, so no key leaves that would tell of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_queue_that_is_watched_follows_its_slot() {
    let cluster = Arc::new(Cluster::start());
    let (ours, adder) = (without_own(options(&cluster), "p").await, client(&cluster, "p").await);
    let name = name_on("empty", 0);
    let worker = worker(&ours, &name);
    for to in [1, 2, 0] {
        let from = cluster.owner(slot_of(&name));
        let watches = || async { clients(&cluster, &[from]).contains(WATCHES) };
        eventually_within(PATIENCE, "it is watched", watches).await;
        let (moving, slot) = (Arc::clone(&cluster), slot_of(&name));
        tokio::task::spawn_blocking(move || moving.move_slot(slot, to, Duration::ZERO)).await.unwrap();
        run(&adder, &name).await;
    }
    worker.close().await;
}

/// Each job is told to both, and one of them takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_beside_one_that_takes_all_jobs_does_not_ask_for_each() {
    const JOBS: u64 = 300;
    let cluster = Cluster::start();
    let (ours, other) = (without_own(options(&cluster), "p").await, client(&cluster, "p").await);
    let name = name_on("shared", 2);
    let (idle, takes) = (worker(&ours, &name), worker(&other, &name));
    let watches = || async { clients(&cluster, &[2]).contains(WATCHES) };
    eventually_within(PATIENCE, "it is watched", watches).await;
    run(&other, &name).await;
    reset(&cluster);
    for _ in 0..JOBS {
        run(&other, &name).await;
    }
    let info: String = redis::cmd("INFO").arg("commandstats").query(&mut cluster.admin(2)).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_zpopmin:calls=")).unwrap_or("0");
    let looks: u64 = line.split(',').next().unwrap().parse().unwrap();
    println!("{looks} looks beside {JOBS} jobs");
    assert!(looks < JOBS / 2, "{info}");
    idle.close().await;
    takes.close().await;
}

#[tokio::test]
async fn without_the_right_to_track_they_look_and_this_is_told() {
    const REFUSED: &str = "command=\"CLIENT TRACKING\"";
    let (cluster, prefix, log) = (shared_cluster(), untagged_prefix(), Log::begin());
    for node in 0..cluster.nodes.len() {
        let user = ["SETUSER", "no-watch", "on", ">secret", "~*", "&*", "+@all", "-client"];
        let () = redis::cmd("ACL").arg(&user).query(&mut cluster.admin(node)).unwrap();
    }
    let restricted = options(cluster).username("no-watch").password("secret");
    let (ours, adder) = (without_own(restricted, &prefix).await, client(cluster, &prefix).await);
    let names = name_on_each("unwatched");
    let workers: Vec<Worker> = names.iter().map(|name| worker(&ours, name)).collect();
    log.until(1, REFUSED).await;
    for _ in 0..2 {
        join_all(names.iter().map(|name| run(&adder, name))).await;
    }
    let told = log.with(REFUSED);
    assert!(told.len() == 1 && told[0].contains("look twice a second"), "{told:?}");
    join_all(workers.into_iter().map(Worker::close)).await;
}
