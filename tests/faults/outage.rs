//! Servers that are away for a while: what is reported, and how often.

use std::time::{Duration, Instant};

use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Halt, Job, Worker};
use serde_json::Value;

use crate::common::eventually::eventually_within;
use crate::common::fixture::{Heard, PATIENCE, listen};
use crate::common::log::Log;
use crate::common::server::{RedisServer, connect, fresh_prefix};

const PASSWORD: &str = "s3cret";

async fn idle_worker(server: &RedisServer) -> (Client, Worker) {
    let options = ConnectOptions::from_url(&format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port())).unwrap();
    let second = Duration::from_secs(1);
    let options = options.command_timeout(second).connect_timeout(3 * second);
    let client = Client::builder(options).prefix(fresh_prefix()).connect().await.unwrap();
    let idle = async |_: Job<Value, ()>| Ok::<_, Halt>(());
    let worker = client.worker("q", idle).drain_delay(second / 2).start().unwrap();
    eventually_within(PATIENCE, "a fetch", || async { worker.health().last_fetch.is_some() }).await;
    (client, worker)
}

async fn away(heard: &Heard) -> String {
    heard.until("the outage", |event| matches!(event, WorkerEvent::Disconnected { .. })).await;
    let events = heard.events();
    let reasons: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            WorkerEvent::Disconnected { reason } => Some(reason.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 1, "{events:?}");
    reasons[0].clone()
}

async fn back(heard: &Heard) {
    heard.until("the end of the outage", |event| matches!(event, WorkerEvent::Reconnected { .. })).await;
}

/// Checks the log: one line when the server has been away for some seconds, one when it is back.
fn check_log(log: &Log, server: &RedisServer, outages: usize, why: &str) {
    let lines = log.with(&format!("server=redis://127.0.0.1:{} ", server.port()));
    assert_eq!(lines.len(), 2 * outages, "{lines:?}");
    let [.., gone, found] = &lines[..] else { panic!("{lines:?}") };
    assert!(gone.starts_with("WARN") && gone.contains("the server is away") && gone.contains(why), "{gone}");
    assert!(found.starts_with("INFO") && found.contains("the server is back") && found.contains("after="), "{found}");
    assert!(log.with(PASSWORD).is_empty(), "{:?}", log.lines());
}

#[tokio::test]
async fn an_outage_and_its_end_are_each_reported_once() {
    let log = Log::of_connections();
    let server = RedisServer::start_with(&["--requirepass", PASSWORD]);
    let (client, worker) = idle_worker(&server).await;
    let heard = listen(&worker);
    client.ping().await.unwrap();
    assert!(worker.health().connected);
    server.pause();
    assert!(away(&heard).await.contains("in time"));
    assert!(!worker.health().connected);
    let error = client.ping().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let resumed = Instant::now();
    server.resume();
    back(&heard).await;
    client.ping().await.unwrap();
    assert!(worker.health().connected);
    let is_new = || async { worker.health().last_fetch.unwrap() < resumed.elapsed() };
    eventually_within(PATIENCE, "a new fetch", is_new).await;
    worker.close().await;
    check_log(&log, &server, 1, "in time");
}

#[tokio::test]
async fn a_server_that_is_gone_or_became_a_replica_is_an_outage() {
    let log = Log::of_connections();
    let mut server = RedisServer::start_with(&["--requirepass", PASSWORD]);
    let (_client, worker) = idle_worker(&server).await;
    let heard = listen(&worker);
    server.kill();
    assert!(away(&heard).await.contains("refused"));
    server.restart();
    back(&heard).await;
    check_log(&log, &server, 1, "refused");
    worker.close().await;

    let (_client, worker) = idle_worker(&server).await;
    let heard = listen(&worker);
    let mut redis = connect(&format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port())).await;
    let mut replica_of = async |host: &str, port: &str| {
        let command = redis::cmd("REPLICAOF").arg(host).arg(port).to_owned();
        let _: () = command.query_async(&mut redis).await.unwrap();
    };
    // Nothing listens at that address, so the server keeps its data and accepts no writes.
    replica_of("127.0.0.1", "1").await;
    let why = away(&heard).await;
    assert!(why.contains("READONLY") || why.contains("UNBLOCKED") || why.contains("read only"), "{why}");
    replica_of("NO", "ONE").await;
    back(&heard).await;
    worker.close().await;
    check_log(&log, &server, 2, "");
}
