//! What an error says when nothing else of it is shown: what was done, where, and why it failed.

use std::time::Duration;

use oxmq::options::ParentRef;
use oxmq::{Client, ConnectOptions, FlowNode, Queue};
use serde_json::{Value, json};

use crate::common::fixture::Fixture;
use crate::common::server::RedisServer;

async fn connect(url: &str) -> String {
    let error = Client::connect(url).await.unwrap_err();
    assert_eq!(error.to_string(), error.with_causes().to_string());
    assert_eq!(format!("{:#}", anyhow::Error::from(Client::connect(url).await.unwrap_err())), error.to_string());
    error.to_string()
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_with_the_reason() {
    let said = connect("redis://joe:s3cret@127.0.0.1:1").await;
    assert_eq!(said, "connect: no connection to redis://127.0.0.1:1: connection refused");
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let said = connect(&server.url()).await;
    assert!(said.starts_with("connect: the server wants a password (NOAUTH): redis://:password@host"), "{said}");
    let said = connect(&format!("redis://:s3cret@{}", server.addr())).await;
    assert!(said.starts_with("connect: ") && !said.contains("s3cret"), "{said}");
    assert!(said.starts_with("connect: Authentication failed (WRONGPASS)"), "{said}");
    let open = RedisServer::start();
    let said = connect(&format!("redis://:s3cret@{}", open.addr())).await;
    assert!(said.starts_with("connect: Authentication failed") && said.ends_with("or it has none"), "{said}");
    let said = connect(&format!("redis://:right@{}/99", server.addr())).await;
    assert!(said.contains("DB index is out of range"), "{said}");
}

#[tokio::test]
async fn a_call_in_an_outage_says_why_there_is_no_connection() {
    let server = RedisServer::start();
    let options = ConnectOptions::from_url(&server.url()).unwrap();
    let fixture = Fixture::with(options.command_timeout(Duration::from_millis(300)), &server).await;
    let there = format!("no connection to redis://{}", server.addr());
    drop(server);
    // The call that finds the connection broken may have been carried out.
    let _ = fixture.queue.add("job", json!(1)).await;
    let said = fixture.queue.add("job", json!(1)).await.unwrap_err().to_string();
    assert_eq!(said, format!("add: {there}: connection refused"));
    let said = fixture.queue.job("7").update_progress(&1).await.unwrap_err().to_string();
    assert_eq!(said, format!("update_progress: {there}: connection refused"));
}

#[tokio::test]
async fn a_refusal_or_a_timeout_names_the_job_and_its_queue() {
    let fixture = Fixture::new().await;
    let parent = || ParentRef::new("nope", format!("{}:o", fixture.prefix)).unwrap();
    let said = fixture.queue.add("x", json!(1)).parent(parent()).await.unwrap_err().to_string();
    assert_eq!(said, format!("add: the parent {}:o:nope does not exist", fixture.prefix));
    let said = fixture.queue.add("x", json!(1)).parent(parent()).job_id("x7").await.unwrap_err().to_string();
    assert_eq!(said, format!("add: job x7: the parent {}:o:nope does not exist", fixture.prefix));
    let node = FlowNode::new("q", "x", 1).options(oxmq::JobOptions::default().parent(parent()).job_id("x7"));
    let said = fixture.client.flow_producer().add(node).await.unwrap_err().to_string();
    assert_eq!(said, format!("add_flow: job x7: the parent {}:o:nope does not exist", fixture.prefix));

    let said = fixture.queue.job("7").update_progress(&1).await.unwrap_err().to_string();
    assert_eq!(said, "update_progress: job 7: the job does not exist");
    let job = fixture.queue.add("x", json!({ "items": [{ "price": "s3cret" }] })).job_id("x8").await.unwrap();
    let said = job.wait_until_finished(Duration::from_millis(1)).await.unwrap_err().to_string();
    assert_eq!(said, "wait_until_finished: job x8 of q has not finished within 1ms");

    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Order {
        items: Vec<Item>,
    }
    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Item {
        price: u32,
    }
    let typed: Queue<Order, Value> = fixture.client.queue("q").open().unwrap();
    let expected = "the data of job x8 of q does not fit its type at `items[0].price`: expected u32, found a string";
    assert_eq!(typed.get_job("x8").await.unwrap_err().to_string(), expected);
    let listed = typed.get_jobs(&[oxmq::JobState::Waiting], 0, -1, oxmq::queue::Order::Ascending).await.unwrap();
    assert_eq!(listed[0].as_ref().unwrap_err().to_string(), expected);
}
