//! A cluster whose client has named one node as if it were a server alone, as people do with the one address of a
//! managed cluster.

use oxmq::{Client, ConnectOptions, Error, Halt, Job, Queue};
use serde_json::{Value, json};

use super::untagged_prefix;
use crate::common::cluster::{Cluster, name_on_each, shared_cluster};
use crate::common::eventually::eventually;
use crate::common::fixture::PATIENCE;
use crate::common::log::Log;
use crate::common::server::{RedisServer, connect as redis_at};

async fn client(options: ConnectOptions) -> Client {
    Client::builder(options).prefix(untagged_prefix()).connect().await.unwrap()
}

async fn runs_a_job(client: &Client, name: &str) {
    let echo = |job: Job<Value, Value>| async move { Ok::<_, Halt>(job.data().clone()) };
    let queue: Queue<Value, Value> = client.queue(name).open().unwrap();
    let worker = client.worker(name, echo).drain_delay(PATIENCE).start().unwrap();
    let job = queue.add("job", json!(name)).await.unwrap();
    assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!(name));
    worker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_other_nodes_are_used_too() {
    let cluster = shared_cluster();
    for host in cluster.hosts() {
        let client = client(ConnectOptions::from_url(&format!("redis://{host}/0")).unwrap()).await;
        for name in name_on_each("one") {
            runs_a_job(&client, &name).await;
        }
        // What needs a hash tag says so before anything is sent.
        let error = client.queue::<Value, ()>("untagged").open().unwrap_err();
        assert!(matches!(&error, Error::InvalidOption { .. }) && error.to_string().contains("{mails}"), "{error}");
        assert!(format!("{client:?}").contains("the cluster of redis://"), "{client:?}");
    }
}

/// Where somebody meant one server, or wonders whom a client talks to, the log tells it: once, however long it goes on.
#[tokio::test]
async fn this_is_told_once() {
    const TOLD: &str = "the server is a node of a cluster: going on with all of its nodes";
    let (cluster, log) = (shared_cluster(), Log::begin());
    let host = &cluster.hosts()[1];
    let client = client(ConnectOptions::from_url(&format!("redis://{host}")).unwrap()).await;
    for name in name_on_each("told") {
        runs_a_job(&client, &name).await;
    }
    let told = log.with(TOLD);
    let is_it = |line: &String| line.starts_with("INFO oxmq::connection:") && line.contains(host);
    assert!(told.len() == 1 && told.iter().all(is_it), "{:?}", log.lines());
    // Whoever names the cluster knows it.
    let _named = super::client(cluster, &untagged_prefix()).await;
    assert_eq!(log.with(TOLD).len(), 1);
}

#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_sees_the_queues_of_all_nodes() {
    let cluster = shared_cluster();
    let prefix = untagged_prefix();
    let url = format!("redis://{}", cluster.hosts()[1]);
    let client = Client::builder(ConnectOptions::from_url(&url).unwrap()).prefix(&prefix).connect().await.unwrap();
    let names = name_on_each("cli");
    for name in &names {
        client.queue::<Value, ()>(name).open().unwrap().add("job", json!(1)).await.unwrap();
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_oxmq"));
    command.args(["--url", &url, "--prefix", &prefix, "queues"]);
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && names.iter().all(|name| said.contains(name.as_str())), "{ran:?}");
}

#[tokio::test]
async fn a_server_alone_is_asked_for_no_slots() {
    let server = RedisServer::start();
    let _client = Client::connect(&server.url()).await.unwrap();
    let info: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut redis_at(&server.url()).await).await.unwrap();
    assert!(!info.contains("cluster"), "{info}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_noticed_where_the_user_may_not_send_hello() {
    let cluster = Cluster::start();
    let names = name_on_each("mute");
    let url = |user: &str| format!("redis://{user}:secret@{}", cluster.hosts()[0]);
    let rights: [(&str, &[&str]); 2] = [("mute", &["-hello"]), ("blind", &["-cluster"])];
    for node in 0..3 {
        for (user, forbidden) in rights {
            let mut set = redis::cmd("ACL");
            set.arg("SETUSER").arg(user).arg("on").arg(">secret").arg("allkeys").arg("allchannels").arg("+@all");
            set.arg(forbidden).query::<()>(&mut cluster.admin(node)).unwrap();
        }
    }
    let mute = client(ConnectOptions::from_url(&url("mute")).unwrap()).await;
    for name in &names {
        runs_a_job(&mute, name).await;
    }
    let error = Client::connect(&url("blind")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("CLUSTER SLOTS") && !text.contains("secret"), "{text}");
}

/// A proxy in front of a cluster may pass on what a node says of itself, and know nothing of other nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_tells_no_slots_is_used_alone() {
    let node = RedisServer::start_with(&["--cluster-enabled", "yes", "--rename-command", "CLUSTER", "NODES"]);
    let mut admin = redis_at(&format!("redis://{}", node.addr())).await;
    let slots: Vec<u32> = (0..16_384).collect();
    redis::cmd("NODES").arg("ADDSLOTS").arg(&slots).query_async::<()>(&mut admin).await.unwrap();
    eventually("it serves its slots", || async {
        let set: redis::RedisResult<()> = redis::cmd("SET").arg("x").arg(1).query_async(&mut admin.clone()).await;
        set.is_ok()
    })
    .await;
    let client = client(ConnectOptions::from_url(&format!("redis://{}", node.addr())).unwrap()).await;
    assert!(!format!("{client:?}").contains("the cluster of"), "{client:?}");
    runs_a_job(&client, "{alone}").await;
}

/// A node that has met no other does not know its own address, and announces none.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_be_a_unix_socket_and_come_later() {
    let mut node = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let mut admin = redis_at(&format!("redis://{}", node.addr())).await;
    let slots: Vec<u32> = (0..16_384).collect();
    redis::cmd("CLUSTER").arg("ADDSLOTS").arg(&slots).query_async::<()>(&mut admin).await.unwrap();
    node.kill();
    let options = ConnectOptions::from_url(&node.unix_url()).unwrap().wait_for_server(true).command_timeout(PATIENCE);
    let waits = tokio::spawn(client(options));
    tokio::task::yield_now().await;
    node.restart();
    let client = waits.await.unwrap();
    assert!(format!("{client:?}").contains("the cluster of redis+unix://"), "{client:?}");
    for name in name_on_each("unix") {
        runs_a_job(&client, &name).await;
    }
}
