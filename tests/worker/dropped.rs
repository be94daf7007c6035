//! Futures that are dropped before they are ready, as by `select!` or a timeout: no job is lost by it, and nobody waits.

use std::time::Duration;

use futures::FutureExt;
use oxmq::events::{Delivery, EventsFrom, QueueEvent};
use oxmq::queue::Order;
use oxmq::{Client, ConnectOptions, FlowNode, Halt, Job, JobState, ManualWorker};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, PATIENCE};
use crate::common::server::shared_server;

fn by_hand(fixture: &Fixture) -> ManualWorker<Value, Value> {
    fixture.client.manual_worker("q").open().unwrap()
}

/// Polls a future once, which sends its request, and drops it after a moment if it is not ready by then. Without a moment no
/// reply can be there: the runtime has not had its turn.
async fn begin_and_drop<T>(call: impl Future<Output = T>, after: Duration) -> Option<T> {
    if after.is_zero() {
        return call.now_or_never();
    }
    tokio::time::timeout(after, call).await.ok()
}

#[tokio::test]
async fn a_job_whose_fetch_is_dropped_goes_back() {
    let fixture = Fixture::new().await;
    fixture.add_many(100).await;
    let worker = by_hand(&fixture);
    let mut got = 0;
    for n in 0..100_u64 {
        let token = n.to_string();
        let call = worker.get_next_job(&token);
        // Half of them at once.
        let after = Duration::from_micros(n % 2 * n * 10);
        if let Some(fetched) = begin_and_drop(call, after).await {
            fetched.unwrap().unwrap().move_to_completed(&json!(1), &token).await.unwrap();
            got += 1;
        }
    }
    // Nobody has the others, and no attempt at them was made.
    eventually("no job is active", || async { fixture.count(JobState::Active).await == 0 }).await;
    fixture.until(JobState::Waiting, 100 - got).await;
    fixture.until(JobState::Completed, got).await;
    let waiting = fixture.queue.get_jobs(&[JobState::Waiting], 0, -1, Order::Ascending).await.unwrap();
    assert!(waiting.into_iter().all(|job| job.unwrap().attempts_made() == 0));
    assert_eq!(fixture.locks().await, 0);
    assert!(got <= 50, "{got} of the fetches were not dropped");
}

#[tokio::test]
async fn an_end_with_a_fetch_that_is_dropped_ends_the_one_job_and_gives_the_other_back() {
    let fixture = Fixture::new().await;
    let worker = by_hand(&fixture);
    for n in 0..20_u64 {
        fixture.add_many(2).await;
        let job = worker.get_next_job("t").await.unwrap().unwrap();
        let result = json!(1);
        let call = job.move_to_completed_and_fetch(&result, "t");
        let next = begin_and_drop(call, Duration::from_micros(n % 2 * n * 30)).await;
        match next {
            Some(fetched) => fetched.unwrap().job.unwrap().move_to_completed(&json!(1), "t").await.unwrap(),
            None => eventually("no job is active", || async { fixture.count(JobState::Active).await == 0 }).await,
        }
        fixture.queue.drain().await.unwrap();
    }
    // Whichever came first, the call or its end: none was completed twice or lost.
    assert_eq!(fixture.locks().await, 0);
}

#[tokio::test]
async fn a_wait_that_is_dropped_leaves_the_job_to_an_idle_worker() {
    let fixture = Fixture::new().await;
    let (ran, mut seen) = mpsc::unbounded_channel();
    // It looks by itself long after the test has failed.
    let idle = fixture
        .client
        .worker("q", move |job: Job<Value, ()>| {
            ran.send(job.id().to_owned()).unwrap();
            async { Ok::<_, Halt>(()) }
        })
        .drain_delay(Duration::from_secs(600))
        .start()
        .unwrap();
    let worker = by_hand(&fixture);
    for n in 0..30_u64 {
        // It stands before the idle one, so the marker is handed to it.
        let wait = worker.get_next_job_within("t", PATIENCE);
        let mut wait = Box::pin(wait);
        assert!(begin_and_drop(&mut wait, Duration::from_millis(20)).await.is_none());
        let id = fixture.add(json!(n)).await;
        tokio::time::sleep(Duration::from_micros(n * 40)).await; // so that the drop meets each step of the wait
        let taken = (&mut wait).now_or_never();
        drop(wait);
        match taken {
            Some(job) => job.unwrap().unwrap().move_to_completed(&json!(1), "t").await.unwrap(),
            None => assert_eq!(tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().unwrap(), id),
        }
    }
    idle.close().await;
}

#[tokio::test]
async fn calls_that_share_a_worker_keep_to_their_own_limits() {
    let fixture = Fixture::new().await;
    let worker = by_hand(&fixture);
    let long = worker.get_next_job_within("long", PATIENCE * 2);
    let short = worker.get_next_job_within("short", Duration::from_millis(50));
    tokio::select! {
        biased;
        _ = long => panic!("nothing was there to fetch"),
        none = short => assert!(none.unwrap().is_none()),
    }
}

#[tokio::test]
async fn jobs_that_run_when_the_worker_is_dropped_can_still_add_children() {
    let fixture = Fixture::new().await;
    let (begun, mut running) = mpsc::unbounded_channel();
    let (go, gate) = tokio::sync::watch::channel(false);
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    let worker = client
        .worker("q", move |job: Job<Value, ()>| {
            let (begun, mut gate) = (begun.clone(), gate.clone());
            async move {
                begun.send(()).unwrap();
                gate.wait_for(|open| *open).await?;
                job.add_child(FlowNode::new("child", "part", json!(1))).await?;
                Ok::<_, Halt>(())
            }
        })
        .start()
        .unwrap();
    drop(client);
    let id = fixture.add(json!(1)).await;
    running.recv().await.unwrap();
    drop(worker);
    go.send(true).unwrap();
    let parts = fixture.client.queue::<Value, Value>("child").open().unwrap();
    eventually("the child is added", || async { parts.get_job_counts(&[]).await.unwrap().waiting == 1 }).await;
    // With a child that is pending it cannot complete, but that is an answer of the server and not of a closed client.
    eventually("the attempt has ended", || async { fixture.field(&id, "failedReason").await }).await;
    assert!(!fixture.field(&id, "failedReason").await.unwrap().contains("closed"));
}

#[tokio::test]
async fn a_read_that_is_dropped_again_and_again_keeps_its_connection() {
    let fixture = Fixture::new().await;
    fixture.add(json!(1)).await;
    let mut cursor = fixture.client.event_cursor("q", "mine").from(EventsFrom::Now).open().await.unwrap();
    let name = format!("{}:", fixture.prefix);
    assert!(begin_and_drop(cursor.recv(), Duration::from_millis(50)).await.is_none());
    let ids = async || {
        let mut redis = fixture.redis.clone();
        let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut redis).await.unwrap();
        let mine = list.lines().filter(|line| line.contains(&name) && line.contains(":qe"));
        mine.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = ids().await;
    for _ in 0..30 {
        assert!(begin_and_drop(cursor.recv(), Duration::from_millis(5)).await.is_none());
    }
    assert_eq!(ids().await, before);
    let id = fixture.add(json!(2)).await;
    let heard = tokio::time::timeout(PATIENCE, cursor.recv()).await.unwrap();
    assert!(matches!(heard, Delivery::Event { event: QueueEvent::Added { job_id, .. }, .. } if job_id == id));
}
