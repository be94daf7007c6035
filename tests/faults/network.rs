//! Connections that carry nothing, and peers that send garbage.

use std::time::{Duration, Instant};

use oxmq::{Client, ConnectOptions, Error, Halt, Job, JobState};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::locks::slow_to_greet;
use super::warm_up;
use crate::common::check::check;
use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};
use crate::common::proxy::Proxy;
use crate::common::server::{RedisServer, lone_server, shared_server};

#[tokio::test]
async fn sockets_that_fall_silent_are_replaced() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::through(&proxy, server).await;
    warm_up(&fixture).await;
    let started = Ledger::default();
    let ledger = started.clone();
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.id());
            async move {
                if job.name() == "long" {
                    // Longer than the lock lives, so the job depends on a renewal over a new connection.
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                Ok::<_, Halt>(())
            }
        })
        .concurrency(2)
        .lock_duration(Duration::from_secs(4))
        .stalled_interval(Duration::from_millis(500))
        .start()
        .unwrap();
    let heard = listen(&worker);
    let long = fixture.queue.add("long", json!(1)).await.unwrap().id().to_owned();
    started.until(1).await;
    proxy.blackhole_existing();
    let begun = Instant::now();
    // The producer is another process and bypasses the proxy.
    let other = Client::builder(ConnectOptions::from_url(&server.url()).unwrap()).prefix(&fixture.prefix);
    let other = other.connect().await.unwrap().queue::<Value, ()>("q").open().unwrap();
    let quick = other.add("quick", json!(1)).await.unwrap().id().to_owned();
    started.until(2).await;
    println!("silent sockets: resumed after {:?}", begun.elapsed());
    fixture.until(JobState::Completed, 2).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (2, vec![], vec![]));
    assert_eq!(check(&fixture, &[long, quick]).await.restarts, 0);
}

#[tokio::test]
async fn a_worker_recovers_from_a_network_that_drops_everything() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::through(&proxy, server).await;
    warm_up(&fixture).await;
    let ran = Ledger::default();
    let worker = fixture.slow_worker(&ran, 20).concurrency(4).start().unwrap();
    let heard = listen(&worker);
    let ids = fixture.add_many(400).await;
    ran.until(20).await;
    proxy.blackhole_all();
    tokio::time::sleep(Duration::from_secs(6)).await; // time itself: longer than every deadline
    proxy.heal();
    let healed = Instant::now();
    let seen = ran.len();
    ran.until(seen + 5).await;
    println!("everything swallowed: resumed {:?} after healing", healed.elapsed());
    fixture.until(JobState::Completed, 400).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (400, vec![], vec![]));
    assert!(ran.tally().values().all(|runs| *runs == 1));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test]
async fn a_server_that_sleeps_longer_than_every_deadline_loses_and_repeats_nothing() {
    let server = RedisServer::start();
    let options = ConnectOptions::from_url(&server.url()).unwrap();
    let deadline = Duration::from_secs(1);
    let options = options.command_timeout(deadline).connect_timeout(deadline);
    let fixture = Fixture::with(options, &server).await;
    warm_up(&fixture).await;
    let ran = Ledger::default();
    let worker = fixture.slow_worker(&ran, 5).concurrency(4).start().unwrap();
    let heard = listen(&worker);
    let ids = fixture.add_many(300).await;
    for round in 1..=2 {
        ran.until(round * 50).await;
        // A resumed server executes what was sent, though nobody waits for the replies any more.
        server.pause();
        tokio::time::sleep(deadline * 3).await; // time itself
        server.resume();
    }
    fixture.until(JobState::Completed, 300).await;
    // The worker searches for late hand-outs for a while after that.
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (300, vec![], vec![]));
    assert!(ran.tally().values().all(|runs| *runs == 1));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

/// Starts a server that answers everything with these bytes.
async fn babbler(words: Vec<u8>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let words = words.clone();
            tokio::spawn(async move {
                let mut heard = [0; 1024];
                while socket.read(&mut heard).await.is_ok_and(|n| n > 0) {
                    if socket.write_all(&words).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_peer_that_does_not_speak_the_protocol_is_an_error() {
    let endless = vec![b'x'; 4 * 1024 * 1024];
    let cases: [&[u8]; 8] = [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"$2147483647\r\nx",
        b"*1000000000\r\n",
        b"$-2\r\n",
        b":1\r\n:2\r\n:3\r\n",
        b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        &endless,
    ];
    for words in cases {
        let options = ConnectOptions::from_url(&babbler(words.to_vec()).await).unwrap();
        let options = options.connect_timeout(Duration::from_millis(500));
        let connecting = Client::builder(options).connect();
        let error = tokio::time::timeout(PATIENCE, connecting).await.expect("an answer");
        let shown = String::from_utf8_lossy(&words[..words.len().min(20)]).into_owned();
        assert!(matches!(error, Err(Error::Redis { .. })), "{shown:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_worker_survives_replies_that_break_the_protocol() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::through(&proxy, server).await;
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    let nonsense: std::net::SocketAddr =
        babbler(b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec()).await.trim_start_matches("redis://").parse().unwrap();
    proxy.retarget(nonsense);
    proxy.cut_now();
    let before = proxy.counters().connections;
    tokio::time::sleep(Duration::from_secs(2)).await; // time itself
    let attempts = proxy.counters().connections - before;
    assert!((1..=80).contains(&attempts), "{attempts} attempts in 2 s");
    proxy.retarget(server.addr());
    let ids = [fixture.queue.add("job", json!(1)).await.unwrap().id().to_owned()];
    fixture.until(JobState::Completed, 1).await;
    worker.close().await;
    check(&fixture, &ids).await;
}

/// Waiting for a result only reads, so an outage costs time but never makes the result unknown.
#[tokio::test]
async fn a_wait_for_a_result_outlasts_the_silence_of_the_server() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::through(&proxy, server).await;
    warm_up(&fixture).await;
    let worker = fixture.worker(|_: Job<Value, Value>| async { Ok::<_, Halt>(json!("done")) }).start().unwrap();
    let job = fixture.queue.add("job", json!(1)).await.unwrap();
    fixture.until(JobState::Completed, 1).await;
    // Longer than a command may take, so that the call's own repeats give up.
    proxy.blackhole_all();
    let limit = Duration::from_secs(60);
    let same = fixture.queue.job(job.id());
    let (waiting, by_id) = (job.wait_until_finished(limit), same.wait_until_finished(limit));
    let heal = async {
        tokio::time::sleep(Duration::from_secs(5)).await; // time itself
        proxy.heal();
    };
    let (result, by_id, ()) = tokio::join!(waiting, by_id, heal);
    assert_eq!((result.unwrap(), by_id.unwrap()), (json!("done"), json!("done")));
    proxy.blackhole_all();
    let limit = Duration::from_secs(3);
    let error = job.wait_until_finished(limit).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { op: "wait_until_finished", after, .. } if after == limit), "{error}");
    proxy.heal();
    worker.close().await;
}

#[tokio::test]
async fn a_connection_that_takes_longer_than_a_call_may_is_opened_all_the_same() {
    // On a cluster the first call to a node may be the one that connects, and is too short for it.
    let server = lone_server();
    let way = slow_to_greet(server, Duration::from_secs(2)).await;
    let proxy = Proxy::start(way).await;
    let options = server.by_way_of(proxy.addr()).command_timeout(Duration::from_secs(1));
    let fixture = Fixture::with(options, server).await;
    let before = proxy.counters().connections;
    proxy.cut_now();
    // Many calls at once want the same connection.
    let answered = async || {
        let calls = (0..8).map(|_| fixture.client.ping());
        futures::future::join_all(calls).await.iter().filter(|answer| answer.is_ok()).count()
    };
    assert_eq!(answered().await, 0);
    eventually("all are answered", async || answered().await == 8).await;
    assert_eq!(proxy.counters().connections, before + 1);
}
