//! Servers that serve again and lack what they had told: a replica that was behind takes over, or an older copy is loaded.

use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Heard, listen};
use crate::common::server::RedisServer;

/// The rollbacks that were told: what was seen, and what is still there.
fn told(heard: &Heard) -> Vec<(u64, Option<u64>)> {
    let rollbacks = heard.events().into_iter().filter_map(|event| match event {
        WorkerEvent::RolledBack { seen, kept } => Some((seen.ms(), kept.map(|kept| kept.ms()))),
        _ => None,
    });
    rollbacks.collect()
}

/// Closes all connections but our own.
async fn cut_all(server: &RedisServer) {
    let mut redis = server.connection().await;
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec_async(&mut redis).await.unwrap();
}

/// Adds a job that may be added again after a lost reply.
async fn add(fixture: &Fixture, id: &str) {
    fixture.queue.add("job", json!(1)).job_id(id).await.unwrap();
}

#[tokio::test]
async fn a_worker_tells_of_a_server_that_has_lost_what_it_had_said() {
    let mut server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let worker = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(())).start().unwrap();
    let heard = listen(&worker);
    add(&fixture, "kept").await;
    heard.until("the job", |event| matches!(event, WorkerEvent::Completed { .. })).await;
    redis::cmd("SAVE").exec_async(&mut server.connection().await).await.unwrap();

    // A connection that broke is no loss, and neither is a stream that was trimmed meanwhile.
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

    // It goes on from there, and does not miss the same thing again.
    let done = heard.completed();
    add(&fixture, "after").await;
    eventually("it goes on", || async { heard.completed() > done }).await;
    cut_all(&server).await;
    add(&fixture, "later").await;
    eventually("it goes on again", || async { heard.completed() > done + 1 }).await;
    assert_eq!(told(&heard).len(), 1);

    // Now nothing at all is left.
    redis::cmd("FLUSHALL").exec_async(&mut server.connection().await).await.unwrap();
    cut_all(&server).await;
    heard.until("all is gone", |event| matches!(event, WorkerEvent::RolledBack { kept: None, .. })).await;
    assert_eq!(told(&heard).len(), 2);
    worker.close().await;
}
