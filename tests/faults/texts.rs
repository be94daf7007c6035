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
    let there = format!("connect: no connection to redis://{}: ", server.addr());
    let why = async |login: &str, path: &str| {
        let said = connect(&format!("redis://{login}{}{path}", server.addr())).await;
        assert!(!said.contains("s3cret"), "{said}");
        said.strip_prefix(&there).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert!(why("", "").await.starts_with("the server wants a password (NOAUTH): redis://:password@host"));
    assert!(why(":s3cret@", "").await.starts_with("authentication failed (WRONGPASS)"));
    assert!(why("joe:s3cret@", "").await.starts_with("authentication failed (WRONGPASS)"));
    assert_eq!(why(":right@", "/99").await, "Redis server refused to switch database: DB index is out of range");
    let mut admin = crate::common::server::connect(&format!("redis://:right@{}", server.addr())).await;
    let user = ["SETUSER", "joe", "on", ">s3cret", "~*", "-@all"];
    let () = redis::cmd("ACL").arg(&user).query_async(&mut admin).await.unwrap();
    let said = why("joe:s3cret@", "/1").await;
    assert!(said.contains("NOPERM") || said.contains("permissions"), "{said}");
    let open = RedisServer::start();
    let said = connect(&format!("redis://:s3cret@{}", open.addr())).await;
    let there = format!("connect: no connection to redis://{}: authentication failed", open.addr());
    assert!(said.starts_with(&there) && said.ends_with("or it has none"), "{said}");
    // It does not help to wait for what will not change.
    let no_database = ConnectOptions::from_url(&format!("{}/99", open.url().trim_end_matches('/'))).unwrap();
    let waiting = Client::builder(no_database.wait_for_server(true)).connect();
    let said = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap_err().to_string();
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
