//! What could prevent locks from being renewed, besides busy processors.

use std::net::SocketAddr;
use std::time::Duration;

use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};
use crate::common::server::{RedisServer, shared_server};

async fn sleep_long(job: Job<Value, ()>) -> Result<(), Halt> {
    tokio::time::sleep(Duration::from_millis(job.data().as_u64().unwrap_or(0))).await; // the work itself
    Ok(())
}

#[tokio::test]
async fn workers_that_close_leave_the_locks_of_others_alone() {
    let fixture = Fixture::new().await;
    let lock = Duration::from_secs(2);
    let stays = fixture.worker(sleep_long).lock_duration(lock).start().unwrap();
    let heard = listen(&stays);
    let id = fixture.add(json!(7_000)).await;
    fixture.until(JobState::Active, 1).await;
    // Each closes while its own job's lock is being renewed, or a little earlier or later.
    let comes_and_goes = async |round: u64, number: u64| {
        let other = format!("other{number}");
        let queue = fixture.client.queue::<Value, ()>(&other).open().unwrap();
        let closes = fixture.client.worker(&other, sleep_long).lock_duration(lock).cancel_grace(Duration::ZERO);
        let closes = closes.start().unwrap();
        queue.add("job", json!(60_000)).await.unwrap();
        let renewal = lock / 4 - Duration::from_millis(2);
        tokio::time::sleep(renewal + Duration::from_millis((round + number) % 8)).await; // time itself
        closes.close_within(Duration::ZERO).await;
    };
    for round in 0..10 {
        futures::future::join_all((0..6).map(|number| comes_and_goes(round, number))).await;
    }
    assert_eq!((heard.errors(), fixture.number(&id, "stc").await), (Vec::<String>::new(), 0));
    assert_eq!(heard.count(|event| matches!(event, WorkerEvent::LockLost { .. })), 0);
    let report = stays.close().await;
    assert_eq!((report.counts.completed, report.lost), (1, vec![]));
}

#[tokio::test]
async fn a_worker_that_closes_during_a_renewal_leaves_the_locks_of_others_alone() {
    let server = RedisServer::start();
    let fixture = Fixture::on(&server).await;
    let lock = Duration::from_secs(2);
    let ran = Ledger::default();
    let worker = |queue: &str| {
        let ledger = ran.clone();
        let processor = move |job: Job<Value, ()>| {
            ledger.note(job.queue_name());
            std::future::pending::<Result<(), Halt>>()
        };
        fixture.client.worker(queue, processor).lock_duration(lock).stalled_interval(Duration::from_millis(200))
    };
    let closes = worker("a").cancel_grace(Duration::ZERO).start().unwrap();
    let stays = worker("b").start().unwrap();
    let heard = listen(&stays);
    for queue in ["a", "b"] {
        fixture.client.queue::<Value, ()>(queue).open().unwrap().add("job", json!(1)).await.unwrap();
    }
    ran.until(2).await;
    // The renewals, a quarter of the lock after the fetch, wait for the end of the pause.
    tokio::time::sleep(Duration::from_millis(430)).await; // time itself, and so are the next ones
    let mut redis = fixture.redis.clone();
    let _: () = redis::cmd("CLIENT").arg("PAUSE").arg(450).arg("ALL").query_async(&mut redis).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await; // time itself: within the pause
    closes.close_within(Duration::ZERO).await;
    // Twice the life of a lock: without a renewal a further check would have moved the job back to waiting.
    tokio::time::sleep(lock * 2).await; // time itself
    assert_eq!((ran.tally()["b"], heard.count(|event| matches!(event, WorkerEvent::LockLost { .. }))), (1, 0));
    stays.close_within(Duration::ZERO).await;
}

/// Starts a way to the server on which every new connection is silent at first.
pub(super) async fn slow_to_greet(server: &RedisServer, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = server.addr();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                let (mut from, mut to) = client.into_split();
                let (mut answers, mut asks) = server.split();
                let asking = async { tokio::io::copy(&mut from, &mut asks).await.map(drop) };
                let answering = async {
                    let mut first = vec![0; 16 * 1024];
                    let n = answers.read(&mut first).await?;
                    tokio::time::sleep(delay).await; // time itself: an answer that is late
                    to.write_all(&first[..n]).await?;
                    tokio::io::copy(&mut answers, &mut to).await.map(drop)
                };
                let _ = tokio::try_join!(asking, answering);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_takes_longer_than_a_renewal_may_is_opened_all_the_same() {
    let way = slow_to_greet(shared_server(), Duration::from_millis(400)).await;
    let fixture = Fixture::with(shared_server().by_way_of(way), shared_server()).await;
    let worker = fixture.worker(sleep_long).lock_duration(Duration::from_millis(1_500)).start().unwrap();
    let heard = listen(&worker);
    let id = fixture.add(json!(4_000)).await;
    eventually("it runs", || async { fixture.is_active(&id).await }).await;
    fixture.until_within(PATIENCE, JobState::Completed, 1).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost), (1, vec![]));
    assert_eq!(heard.count(|event| matches!(event, WorkerEvent::LockLost { .. })), 0);
}
