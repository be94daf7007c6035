//! What a cluster cannot do is refused before anything is sent, and a wrong address at once.

use oxmq::options::ParentRef;
use oxmq::{Client, ConnectOptions, Error, FlowNode, Queue};
use serde_json::{Value, json};

use super::{client, options, untagged_prefix};
use crate::common::cluster::{name_on_each, shared_cluster, slot_of};
use crate::common::server::RedisServer;

fn invalid(error: &Error, name: &str, part: &str) {
    let text = error.to_string();
    assert!(
        matches!(error, Error::InvalidOption { option, .. } if *option == name) && text.contains(part),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_queue_needs_a_hash_tag() {
    let prefix = untagged_prefix();
    let client = client(shared_cluster(), &prefix).await;
    for name in ["q", "{}q", "{q", "q}"] {
        let error = client.queue::<Value, ()>(name).open().unwrap_err();
        invalid(&error, "prefix", "prefix {bull}");
        invalid(&error, "prefix", "prefix: '{bull}'");
    }
    client.queue::<Value, ()>("{q}").open().unwrap();
    client.queue::<Value, ()>("a{b}c").open().unwrap();
}

#[tokio::test]
async fn a_flow_over_several_slots_is_refused() {
    let cluster = shared_cluster();
    let prefix = untagged_prefix();
    let client = client(cluster, &prefix).await;
    let [one, two, _] = name_on_each("flow");
    let flow = FlowNode::new(&one, "parent", json!(1)).children([FlowNode::new(&two, "child", json!(2))]);
    let error = client.flow_producer().add(flow).await.unwrap_err();
    invalid(&error, "parent", "same hash tag");
    let roots = [&one, &two].map(|queue| FlowNode::new(queue, "root", json!(1)));
    let error = client.flow_producer().add_bulk(roots).await.unwrap_err();
    invalid(&error, "flow", "same hash tag");

    let parent_queue: Queue<Value, ()> = client.queue(&one).open().unwrap();
    let parent = parent_queue.add("parent", json!(1)).await.unwrap();
    let queue: Queue<Value, ()> = client.queue(&two).open().unwrap();
    let link = ParentRef::new(parent.id(), format!("{prefix}:{one}")).unwrap();
    let error = queue.add("child", json!(1)).parent(link).await.unwrap_err();
    invalid(&error, "parent", "same hash tag");
    let error = parent_queue.jobs(oxmq::JobState::Waiting).move_to(&two).await.unwrap_err();
    invalid(&error, "queue", "same hash tag");
    let key = format!("{prefix}:{two}:id");
    let ids: Option<u32> = redis::cmd("GET").arg(&key).query(&mut cluster.admin(cluster.owner(slot_of(&key)))).unwrap();
    assert_eq!(ids, None);
}

async fn no_connection(options: ConnectOptions) -> String {
    let error = Client::builder(options).connect().await.unwrap_err();
    assert!(matches!(error, Error::Redis { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn errors_say_what_is_wrong_with_a_cluster_address() {
    let cluster = shared_cluster();
    let error = Client::builder(options(cluster).db(1)).connect().await.unwrap_err();
    invalid(&error, "db", "0");
    let alone = RedisServer::start();
    let text = no_connection(ConnectOptions::cluster([format!("127.0.0.1:{}", alone.port())]).unwrap()).await;
    assert!(text.contains("no node of one") && text.contains("redis://"), "{text}");
    let text = no_connection(ConnectOptions::cluster(["127.0.0.1:1"]).unwrap()).await;
    assert!(text.contains("refused") && text.contains("127.0.0.1:1"), "{text}");
    let text = no_connection(options(cluster).password("wrong")).await;
    assert!(text.contains("connection to redis://127.0.0.1:") && text.contains("(WRONGPASS)"), "{text}");
}
