//! How many connections to Redis open pages cost.

use std::time::Duration;

use oxmq::Client;
use oxmq::dashboard::Dashboard;
use serde_json::{Value, json};

use super::site::Site;
use crate::common::eventually::eventually;
use crate::common::fixture::Fixture;
use crate::common::server::{RedisServer, connect};

/// The connections of clients to this server, but for the one that asks.
async fn connections(server: &RedisServer) -> usize {
    let mut connection = connect(&server.url()).await;
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await.unwrap();
    list.lines().count() - 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_open_lists_of_events_share_one_connection() {
    let server = RedisServer::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let queues: Vec<_> = (0..10).map(|n| client.queue::<Value, Value>(format!("q{n}")).open().unwrap()).collect();
    for queue in &queues {
        queue.add("first", json!({})).await.unwrap();
    }
    let site = Site::with(Dashboard::new(client.clone())).await;
    site.page_with("/", &["10 queues"]).await;
    let before = connections(&server).await;
    let mut open = Vec::new();
    for queue in &queues {
        let mut stream = site.stream(&format!("/queue/{}/events/live", queue.name())).await;
        stream.until("event: open").await;
        open.push((queue, stream));
    }
    for (queue, stream) in &mut open {
        queue.add("next", json!({})).job_id("next").await.unwrap();
        stream.until("data-job=\"next\"").await;
    }
    assert_eq!(connections(&server).await, before + 1);
    drop(open);
    eventually("it is closed after the last of them", || async { connections(&server).await == before }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_by_itself_and_the_browser_opens_it_anew() {
    let fixture = Fixture::new().await;
    let short = Dashboard::new(fixture.client.clone()).stream_life(Duration::from_millis(30));
    let site = Site::with(short).await;
    for path in ["/queue/q/events/live", "/live?of=queue&queue=q", "/live?of=queues", "/live?of=doctor"] {
        let _first = site.stream(path).await.ended().await;
        let told = site.stream(path).await.ended().await;
        assert!(told.is_empty() || told.contains("retry:"), "{path}: {told}");
    }
}
