//! Slow links and pausing servers: a connection that still moves bytes is alive, and what may be repeated is repeated.

use std::time::Duration;

use oxmq::{Client, ConnectOptions, Error, Halt, Job, JobState, Queue};
use serde_json::{Value, json};

use super::warm_up;
use crate::common::check::check;
use crate::common::fixture::{Fixture, Ledger, listen};
use crate::common::proxy::Proxy;
use crate::common::server::{RedisServer, shared_server};

const MB: usize = 1_000_000;

/// Opens a link of one megabyte a second with a deadline of two seconds, which large messages exceed.
async fn slow() -> (Proxy, Fixture) {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let options = server.by_way_of(proxy.addr()).command_timeout(Duration::from_secs(2));
    let fixture = Fixture::with(options, server).await;
    warm_up(&fixture).await;
    proxy.throttle(1_000_000);
    (proxy, fixture)
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[tokio::test]
async fn a_job_that_takes_long_to_fetch_runs_once_beside_its_neighbours() {
    let (proxy, fixture) = slow().await;
    // This client bypasses the proxy.
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let producer = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    let producer: Queue<Value, Value> = producer.queue("q").open().unwrap();
    let large = producer.add("job", json!(text(4 * MB))).await.unwrap().id().to_owned();
    let mut ids = vec![large.clone()];
    for n in 0..20 {
        ids.push(producer.add("job", json!(n)).await.unwrap().id().to_owned());
    }
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).concurrency(2).start().unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 21).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (21, vec![], vec![]));
    assert!(ids.iter().all(|id| ran.tally()[id] == 1));
    // The reply was sent only once.
    let down = proxy.counters().down;
    assert!(down < 6 * MB as u64, "{down} bytes");
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test]
async fn a_result_that_takes_long_to_send_is_sent_once() {
    let (proxy, fixture) = slow().await;
    let worker = fixture
        .worker(|_: Job<Value, String>| async { Ok::<_, Halt>(text(4 * MB)) })
        .lock_duration(Duration::from_secs(30))
        .start()
        .unwrap();
    let heard = listen(&worker);
    let id = fixture.add(json!(1)).await;
    fixture.until(JobState::Completed, 1).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (1, vec![], vec![]));
    assert_eq!(fixture.field(&id, "returnvalue").await.map(|value| value.len()), Some(4 * MB + 2));
    let up = proxy.counters().up;
    assert!(up < 6 * MB as u64, "{up} bytes");
}

#[tokio::test]
async fn an_add_that_takes_long_to_send_is_answered() {
    let (proxy, fixture) = slow().await;
    let job = fixture.queue.add("job", json!(text(4 * MB))).job_id("own").await.unwrap();
    assert_eq!(job.id(), "own");
    // So is an add that cannot be repeated, and a small one that waits behind it.
    let large = async { fixture.queue.add("job", json!(text(4 * MB))).await };
    let (large, small) = tokio::join!(large, async { fixture.queue.add("job", json!(1)).await });
    large.unwrap();
    small.unwrap();
    assert_eq!(fixture.count(JobState::Waiting).await, 3);
    assert!(proxy.counters().up < 9 * MB as u64);
}

#[tokio::test]
async fn a_server_that_pauses_longer_than_the_deadline_costs_nothing_that_may_be_repeated() {
    let server = RedisServer::start();
    let options = ConnectOptions::from_url(&server.url()).unwrap();
    let options = options.command_timeout(Duration::from_secs(1)).connect_timeout(Duration::from_secs(1));
    let fixture = Fixture::with(options, &server).await;
    let waited = fixture.queue.add("job", json!(1)).job_id("waited").await.unwrap();
    let mut redis = fixture.redis.clone();
    let pause = redis::cmd("CLIENT").arg("PAUSE").arg(2_000).arg("ALL").to_owned();
    let _: () = pause.query_async(&mut redis).await.unwrap();
    let add = async { fixture.queue.add("job", json!(1)).job_id("own").await };
    let counts = fixture.queue.get_job_counts(&[]);
    let result = waited.wait_until_finished(Duration::from_secs(4));
    let (added, counts, result) = tokio::join!(add, counts, result);
    assert_eq!(added.unwrap().id(), "own");
    counts.unwrap();
    // Waiting only reads, so its outcome is never unknown; it waits as long as asked.
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    assert_eq!(fixture.count(JobState::Waiting).await, 2);
}

#[tokio::test]
async fn a_read_never_has_an_unknown_outcome() {
    let server = RedisServer::start();
    let options = ConnectOptions::from_url(&server.url()).unwrap();
    let options = options.command_timeout(Duration::from_secs(1)).connect_timeout(Duration::from_secs(1));
    let fixture = Fixture::with(options, &server).await;
    server.pause();
    let (count, job) = tokio::join!(fixture.queue.get_job_counts(&[]), fixture.queue.get_job("1"));
    server.resume();
    assert!(matches!(count, Err(Error::Redis { .. })), "{count:?}");
    assert!(matches!(job, Err(Error::Redis { .. })), "{:?}", job.err());
}
