//! Servers that lose acknowledged writes: a replica that was behind takes over, or an older copy is loaded.

use oxmq::events::{Delivery, QueueEvent};
use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Heard, Ledger, listen};
use crate::common::server::RedisServer;

/// Returns the reported rollbacks: the position that was seen, and the one that is left.
fn told(heard: &Heard) -> Vec<(u64, Option<u64>)> {
    let rollbacks = heard.events().into_iter().filter_map(|event| match event {
        WorkerEvent::RolledBack { seen, kept } => Some((seen.ms(), kept.map(|kept| kept.ms()))),
        _ => None,
    });
    rollbacks.collect()
}

/// Returns what the figure of rollbacks says for each queue.
#[cfg(feature = "metrics")]
fn counted(recorder: &metrics_util::debugging::DebuggingRecorder) -> Vec<(String, u64)> {
    let figures = recorder.snapshotter().snapshot().into_vec().into_iter();
    let rollbacks = figures.filter(|(key, ..)| key.key().name() == "oxmq_rollbacks_total");
    let counted = rollbacks.map(|(key, _, _, value)| {
        let metrics_util::debugging::DebugValue::Counter(times) = value else { panic!("{value:?}") };
        let queue = key.key().labels().find(|label| label.key() == "queue").expect("its queue");
        (queue.value().to_owned(), times)
    });
    counted.collect()
}

/// Closes all connections except the one that asks.
async fn cut_all(server: &RedisServer) {
    let mut redis = server.connection().await;
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec_async(&mut redis).await.unwrap();
}

/// Adds a job with an id, so that the add may be repeated after a lost reply.
async fn add(fixture: &Fixture, id: &str) {
    fixture.queue.add("job", json!(1)).job_id(id).await.unwrap();
}

#[tokio::test]
async fn a_worker_reports_a_server_that_has_lost_acknowledged_writes() {
    let mut server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let builder = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(()));
    #[cfg(feature = "metrics")]
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    #[cfg(feature = "metrics")]
    let worker = metrics::with_local_recorder(&recorder, || builder.start().unwrap());
    #[cfg(not(feature = "metrics"))]
    let worker = builder.start().unwrap();
    let heard = listen(&worker);
    add(&fixture, "kept").await;
    heard.until("the job", |event| matches!(event, WorkerEvent::Completed { .. })).await;
    redis::cmd("SAVE").exec_async(&mut server.connection().await).await.unwrap();

    // Neither a broken connection nor a stream that was trimmed meanwhile is a loss.
    for trims in [false, true] {
        if trims {
            let events = format!("{}:q:events", fixture.prefix);
            let trim = redis::cmd("XTRIM").arg(&events).arg("MAXLEN").arg(0).to_owned();
            trim.exec_async(&mut server.connection().await).await.unwrap();
        }
        cut_all(&server).await;
        let done = heard.completed();
        add(&fixture, if trims { "trimmed" } else { "cut" }).await;
        eventually("it goes on", || async { heard.completed() > done }).await;
    }
    assert_eq!(told(&heard), []);

    server.restart();
    heard.until("the rollback", |event| matches!(event, WorkerEvent::RolledBack { .. })).await;
    let (seen, kept) = told(&heard)[0];
    assert!(kept.is_some_and(|kept| kept <= seen), "{seen} {kept:?}");
    let counts = fixture.queue.get_job_counts(&[JobState::Completed]).await.unwrap();
    assert_eq!(counts.completed, 1);

    // It goes on from there, and does not report the same loss again.
    let done = heard.completed();
    add(&fixture, "after").await;
    eventually("it goes on", || async { heard.completed() > done }).await;
    cut_all(&server).await;
    add(&fixture, "later").await;
    eventually("it goes on again", || async { heard.completed() > done + 1 }).await;
    assert_eq!(told(&heard).len(), 1);

    // With nothing left at all.
    redis::cmd("FLUSHALL").exec_async(&mut server.connection().await).await.unwrap();
    redis::cmd("SAVE").exec_async(&mut server.connection().await).await.unwrap();
    server.restart();
    heard.until("all is gone", |event| matches!(event, WorkerEvent::RolledBack { kept: None, .. })).await;
    assert_eq!(told(&heard).len(), 2);
    worker.close().await;
    #[cfg(feature = "metrics")]
    assert_eq!(counted(&recorder), [("q".to_owned(), 2)]);
}

#[tokio::test]
async fn keys_removed_on_purpose_are_no_rollback() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let worker = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(())).start().unwrap();
    let heard = listen(&worker);
    let mut events = fixture.client.queue_events("q").start().unwrap();
    events.ready().await.unwrap();
    let deliveries = Ledger::default();
    let into = deliveries.clone();
    tokio::spawn(async move {
        while let Some(delivery) = events.recv().await {
            match delivery {
                Delivery::Event { event: QueueEvent::Completed { job_id, .. }, .. } => into.note(job_id),
                Delivery::Event { .. } => {}
                other => into.note(format!("{other:?}")),
            }
        }
    });
    let runs = async |id: &str| {
        let done = heard.completed();
        add(&fixture, id).await;
        eventually("it goes on", || async { heard.completed() > done }).await;
        eventually("it is heard", || async { deliveries.lines().contains(&id.to_owned()) }).await;
    };
    runs("first").await;
    // The server tells its start by the second: what it had in the first ones may be of another one.
    eventually("it has run for a while", || async {
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut server.connection().await).await.unwrap();
        let uptime =
            info.lines().find_map(|line| line.strip_prefix("uptime_in_seconds:")).unwrap().trim().parse::<u64>();
        uptime.unwrap() >= 2
    })
    .await;
    runs("later").await;

    fixture.queue.trim_events(0).await.unwrap();
    cut_all(&server).await;
    runs("after a trim").await;

    fixture.queue.pause().await.unwrap();
    fixture.queue.obliterate().await.unwrap();
    cut_all(&server).await;
    runs("after an obliteration").await;
    // What a look of the worker would have found is told by the time that the next one is done.
    cut_all(&server).await;
    runs("at the end").await;
    assert_eq!(told(&heard), []);
    let rollbacks: Vec<String> =
        deliveries.lines().into_iter().filter(|line| line.contains("is_rollback: true")).collect();
    assert_eq!(rollbacks, Vec::<String>::new());
    worker.close().await;
}
