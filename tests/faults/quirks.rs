//! Servers that are set up in ways that other tests do not meet: replicas that are wanted and missing, commands that are
//! renamed away, scripts of others that take their time.

use std::time::Duration;

use oxmq::worker::WorkerEvent;
use oxmq::{ConnectOptions, Halt, Job, JobState};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, listen};
use crate::common::server::{RedisServer, server_version};

/// A queue whose calls do not wait for long.
async fn hasty(server: &RedisServer) -> Fixture {
    let options = ConnectOptions::from_url(&server.url()).unwrap();
    Fixture::with(options.command_timeout(Duration::from_millis(500)), server).await
}

async fn done(_: Job<Value, ()>) -> Result<(), Halt> {
    Ok(())
}

/// Before version 7 a script writes all the same, as `docs/servers.md` says.
#[tokio::test]
async fn a_master_without_the_replicas_that_it_wants_refuses_and_is_waited_for() {
    let server = RedisServer::start();
    let fixture = hasty(&server).await;
    let worker = fixture.worker(done).start().unwrap();
    let heard = listen(&worker);
    fixture.add(json!(1)).await;
    fixture.until(JobState::Completed, 1).await;
    let want = async |replicas: u32| {
        let mut redis = fixture.redis.clone();
        let set = redis::cmd("CONFIG").arg("SET").arg("min-replicas-to-write").arg(replicas).to_owned();
        set.exec_async(&mut redis).await.unwrap();
    };
    want(1).await;
    let added = fixture.queue.add("job", json!(2)).await;
    if server_version() < 7 {
        added.unwrap();
    } else {
        let said = added.unwrap_err().to_string();
        assert!(said.contains("NOREPLICAS") || said.contains("Not enough good replicas"), "{said}");
        let is_told = |event: &WorkerEvent| matches!(event, WorkerEvent::Disconnected { .. });
        heard.until("the worker says that it cannot work", is_told).await;
        want(0).await;
        heard.until("it is over", |event| matches!(event, WorkerEvent::Reconnected { .. })).await;
        fixture.add(json!(2)).await;
    }
    fixture.until(JobState::Completed, 2).await;
    assert_eq!(heard.errors(), Vec::<String>::new());
    worker.close().await;
}

#[tokio::test]
async fn a_server_without_scripts_is_told_at_once() {
    let server = RedisServer::start_with(&["--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""]);
    let options = ConnectOptions::from_url(&server.url()).unwrap().command_timeout(Duration::from_secs(600));
    let client = oxmq::Client::builder(options).prefix("p").connect().await.unwrap();
    let queue = client.queue::<Value, ()>("q").open().unwrap();
    let error = queue.add("job", json!(1)).await.unwrap_err();
    let said = error.to_string();
    assert!(error.is_not_permitted() && said.to_lowercase().contains("unknown command"), "{said}");
    assert!(!error.is_retryable());
    let worker = client.worker("q", done).start().unwrap();
    let heard = listen(&worker);
    heard.until("the worker tells of it", |event| matches!(event, WorkerEvent::Error(_))).await;
    worker.close().await;
}

#[tokio::test]
async fn a_worker_goes_on_where_the_server_has_no_blocking_pop() {
    let server = RedisServer::start_with(&["--rename-command", "BZPOPMIN", ""]);
    let fixture = Fixture::on(&server).await;
    let worker = fixture.worker(done).drain_delay(Duration::from_millis(50)).start().unwrap();
    for n in 1..4 {
        fixture.add(json!(n)).await;
        fixture.until(JobState::Completed, n).await;
    }
    worker.close().await;
}

/// Redis answers nobody while a script runs, and `BUSY` once that has taken long.
#[tokio::test]
async fn a_script_of_others_that_takes_long_is_waited_for() {
    let server = RedisServer::start_with(&["--lua-time-limit", "50"]);
    let fixture = Fixture::on(&server).await;
    let worker = fixture.worker(done).start().unwrap();
    let heard = listen(&worker);
    fixture.add(json!(1)).await;
    fixture.until(JobState::Completed, 1).await;
    let (mut others, queue) = (server.connection().await, fixture.queue.clone());
    let spins =
        tokio::spawn(
            async move { redis::cmd("EVAL").arg("while true do end").arg(0).query_async::<()>(&mut others).await },
        );
    eventually("the server says that it is busy", || async {
        let mut redis = fixture.redis.clone();
        let pong = redis::cmd("PING").query_async::<()>(&mut redis).await;
        pong.is_err_and(|error| error.code() == Some("BUSY"))
    })
    .await;
    let waits = tokio::spawn(async move { queue.add("job", json!(2)).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(300)).await; // time itself: the add meets the script
    redis::cmd("SCRIPT").arg("KILL").exec_async(&mut fixture.redis.clone()).await.unwrap();
    spins.await.unwrap().unwrap_err();
    waits.await.unwrap().unwrap();
    fixture.until(JobState::Completed, 2).await;
    assert_eq!(heard.errors(), Vec::<String>::new());
    worker.close().await;
}

#[tokio::test]
async fn notifications_of_all_keys_change_nothing() {
    let server = RedisServer::start_with(&["--notify-keyspace-events", "KEA"]);
    let fixture = Fixture::on(&server).await;
    let worker = fixture.worker(done).start().unwrap();
    let heard = listen(&worker);
    fixture.add_many(50).await;
    fixture.until(JobState::Completed, 50).await;
    assert_eq!(heard.errors(), Vec::<String>::new());
    worker.close().await;
}
