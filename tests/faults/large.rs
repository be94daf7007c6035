//! Messages that are too large for the server, the network or its buffers: the other work goes on, and the error is
//! reported.

use std::time::Duration;

use oxmq::events::EventsFrom;
use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};

use super::warm_up;
use crate::common::check::check;
use crate::common::eventually::eventually_within;
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};
use crate::common::proxy::Proxy;
use crate::common::server::{RedisServer, shared_server};

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Starts a server that drops a client once more than 256 kB wait to be sent to it.
async fn small_buffers() -> (RedisServer, Fixture) {
    let server = RedisServer::start_with(&["--client-output-buffer-limit", "normal", "256kb", "128kb", "5"]);
    let fixture = Fixture::on(&server).await;
    (server, fixture)
}

#[tokio::test]
async fn jobs_that_are_too_large_together_come_a_few_at_a_time() {
    let (_server, fixture) = small_buffers().await;
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(fixture.add(json!({ "n": n, "text": text(20_000) })).await);
    }
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).concurrency(20).start().unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 60).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost), (60, vec![]));
    assert!(ids.iter().all(|id| ran.tally()[id] == 1));
    let errors = heard.errors();
    assert!(errors.iter().any(|error| error.contains("one by one")), "{errors:?}");
    // The error is not reported again for each of the jobs.
    assert!(errors.len() < 10, "{errors:?}");
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test]
async fn a_job_that_never_comes_through_is_failed_and_its_neighbours_run() {
    let (_server, fixture) = small_buffers().await;
    let large = fixture.add(json!(text(400_000))).await;
    for n in 0..3 {
        fixture.add(json!(n)).await;
    }
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).concurrency(4).start().unwrap();
    fixture.until(JobState::Completed, 3).await;
    fixture.until(JobState::Failed, 1).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.lost), (3, 1, vec![]));
    let reason = fixture.field(&large, "failedReason").await.unwrap();
    assert!(reason.contains("client-output-buffer-limit"), "{reason}");
}

#[tokio::test]
async fn events_that_are_too_many_at_once_come_a_few_at_a_time() {
    let (_server, fixture) = small_buffers().await;
    for n in 0..100 {
        fixture.queue.publish_event(&format!("mine-{n}"), &[("text", &text(8_000))]).await.unwrap();
    }
    let mut events = fixture.client.queue_events("q").from(EventsFrom::Beginning).start().unwrap();
    let heard = async {
        for _ in 0..100 {
            events.recv().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("all events are heard");
}

#[tokio::test]
async fn a_result_that_the_server_does_not_take_fails_its_job_and_nothing_else() {
    let server = RedisServer::start_with(&["--proto-max-bulk-len", "1mb"]);
    let fixture = Fixture::on(&server).await;
    let large = fixture.add(json!(2_000_000)).await;
    for _ in 0..20 {
        fixture.add(json!(10)).await;
    }
    let worker = fixture
        .worker(|job: Job<usize, String>| async move { Ok::<_, Halt>(text(*job.data())) })
        .concurrency(2)
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Failed, 1).await;
    fixture.until(JobState::Completed, 20).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.lost), (20, 1, vec![]));
    assert_eq!(heard.errors(), Vec::<String>::new());
    let reason = fixture.field(&large, "failedReason").await.unwrap();
    assert!(reason.contains("proto-max-bulk-len"), "{reason}");
}

#[tokio::test]
async fn jobs_are_fetched_while_a_large_result_is_on_its_way() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let options = server.by_way_of(proxy.addr()).command_timeout(Duration::from_secs(2));
    let fixture = Fixture::with(options, server).await;
    warm_up(&fixture).await;
    // So slow that the large message takes half a minute, unless the link gets faster.
    proxy.throttle(100_000);
    let large = fixture.add(json!(3_000_000)).await;
    let worker = fixture
        .worker(|job: Job<usize, String>| async move { Ok::<_, Halt>(text(*job.data())) })
        .concurrency(2)
        .start()
        .unwrap();
    let is_active = || async { fixture.is_active(&large).await };
    eventually_within(PATIENCE, "the large one begins", is_active).await;
    for _ in 0..10 {
        fixture.add(json!(10)).await;
    }
    let sooner = || async { fixture.count(JobState::Completed).await >= 10 };
    eventually_within(PATIENCE, "the others complete", sooner).await;
    assert!(fixture.is_active(&large).await, "the large one is still on its way");
    proxy.throttle(1_000_000);
    fixture.until(JobState::Completed, 11).await;
    assert_eq!(worker.close().await.lost, Vec::<String>::new());
    let up = proxy.counters().up;
    assert!(up < 4_000_000, "{up} bytes");
}
