//! Listeners without a connection of their own: those that wait together, and those that look, as on a cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::testing::{TestQueue, TestServer, eventually, soon};
use super::*;
use crate::engine::stream_waits::StreamWaits;
use crate::keys::QueueKeys;

const WAY: [bool; 2] = [false, true];

/// Returns a queue whose listeners have no connection, and look if `looks`.
async fn queue(server: &TestServer, looks: bool) -> TestQueue {
    with(server, StreamWaits::new(Some(0), looks)).await
}

async fn with(server: &TestServer, streams: Arc<StreamWaits>) -> TestQueue {
    let engine = server.queue().await.engine;
    begun(Engine { streams, ..engine }).await
}

/// Returns another queue of the same client.
async fn other(queue: &TestQueue, name: &str) -> TestQueue {
    begun(Engine { keys: QueueKeys::new("t", name).unwrap(), ..queue.engine.clone() }).await
}

/// Writes a first event: a server before Redis 7 cannot tell whether a stream that was empty has lost some.
async fn begun(engine: Engine) -> TestQueue {
    let queue = TestQueue { engine };
    queue.emit(&["first"]).await;
    queue
}

async fn listen(queue: &TestQueue, from: EventsFrom) -> QueueEvents {
    let builder = QueueEventsBuilder::new(Ok(queue.engine.clone())).from(from).block(Duration::from_millis(700));
    let events = builder.start().unwrap();
    soon(events.ready()).await.unwrap();
    events
}

/// Takes the events with these numbers, and fails at anything else.
async fn expect(events: &mut QueueEvents, numbers: std::ops::Range<u64>) {
    for number in numbers {
        match soon(events.recv()).await {
            Some(Delivery::Event { event, .. }) => assert_eq!(event.name(), number.to_string()),
            other => panic!("{number}: {other:?}"),
        }
    }
}

async fn expect_gap(events: &mut QueueEvents, last: &str, rolled_back: bool) {
    let heard = soon(events.recv()).await;
    let is_it = matches!(&heard, Some(Delivery::Gap { after, is_rollback, .. }) if after.to_string() == last && *is_rollback == rolled_back);
    assert!(is_it, "{heard:?}");
}

/// Returns how many connections have this name.
async fn named(queue: &TestQueue, name: &str) -> usize {
    let Value::BulkString(list) = queue.send(&["CLIENT", "LIST"]).await else { panic!() };
    let name = format!(" name={name} ");
    String::from_utf8(list).unwrap().lines().filter(|line| line.contains(&name)).count()
}

#[tokio::test]
async fn listeners_that_share_hear_all_events_in_order() {
    for looks in WAY {
        let server = TestServer::start();
        let first = queue(&server, looks).await;
        let second = other(&first, "second").await;
        let mut now = listen(&first, EventsFrom::Now).await;
        let mut beside = listen(&second, EventsFrom::Now).await;
        first.emit_range(0, 700).await;
        let mut all = listen(&first, EventsFrom::Beginning).await;
        assert!(matches!(soon(all.recv()).await, Some(Delivery::Event { event, .. }) if event.name() == "first"));
        second.emit_range(0, 10).await;
        expect(&mut now, 0..700).await;
        expect(&mut beside, 0..10).await;
        expect(&mut all, 0..700).await;
        for number in 700..720 {
            first.emit(&[&number.to_string()]).await;
            tokio::time::sleep(Duration::from_millis(number % 8)).await;
        }
        expect(&mut all, 700..720).await;
        expect(&mut now, 700..720).await;
        assert!(first.listeners().await.is_empty());
        eventually("as few connections as possible", async || {
            named(&first, "oxmq-shared-listeners").await == usize::from(!looks)
        })
        .await;
        drop((now, all, beside));
        eventually("it is closed", async || named(&first, "oxmq-shared-listeners").await == 0).await;
    }
}

#[tokio::test]
async fn listeners_that_share_are_told_of_gaps() {
    for looks in WAY {
        let mut server = TestServer::start();
        let queue = queue(&server, looks).await;
        let mut events = listen(&queue, EventsFrom::Now).await;
        let last = queue.emit(&["0"]).await;
        expect(&mut events, 0..1).await;
        let lua = "for i = 1, 99 do redis.call('XADD', KEYS[1], '*', 'event', i) end
            redis.call('XTRIM', KEYS[1], 'MAXLEN', 5)";
        queue.send(&["EVAL", lua, "1", "@events"]).await;
        expect_gap(&mut events, &last, false).await;
        expect(&mut events, 95..100).await;
        queue.save().await;
        let last = queue.emit(&["100"]).await;
        expect(&mut events, 100..101).await;
        server.restart();
        // Sent at once, so that the listener may find that the stream has continued already.
        queue.emit(&["101"]).await;
        expect_gap(&mut events, &last, true).await;
        expect(&mut events, 101..102).await;
    }
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_a_gap_for_those_that_share() {
    for (looks, waits) in [(false, false), (true, false), (true, true)] {
        let mut server = TestServer::start();
        let queue = queue(&server, looks).await;
        let mut events = listen(&queue, EventsFrom::Now).await;
        let last = queue.emit(&["0"]).await;
        expect(&mut events, 0..1).await;
        server.restart();
        if waits {
            // The listener finds the empty stream first.
            queue.surveyed().await;
        }
        queue.emit(&["1"]).await;
        expect_gap(&mut events, &last, false).await;
        expect(&mut events, 1..2).await;
    }
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_disturbs_no_other_listener() {
    for looks in WAY {
        let server = TestServer::start();
        let good = queue(&server, looks).await;
        let bad = other(&good, "bad").await;
        let (mut events, mut refused) = (listen(&good, EventsFrom::Now).await, listen(&bad, EventsFrom::Now).await);
        good.emit(&["0"]).await;
        expect(&mut events, 0..1).await;
        bad.send(&["SET", "@events", "text"]).await;
        assert!(matches!(soon(refused.recv()).await, Some(Delivery::Refused { .. })));
        good.emit(&["1"]).await;
        expect(&mut events, 1..2).await;
        bad.send(&["DEL", "@events"]).await;
        bad.emit(&["0"]).await;
        assert!(matches!(soon(refused.recv()).await, Some(Delivery::Gap { .. })));
        expect(&mut refused, 0..1).await;
    }
}

#[tokio::test]
async fn a_shared_wait_that_panics_is_started_again() {
    let server = TestServer::start();
    let queue = other(&queue(&server, false).await, "panics").await;
    failpoint::arm("shared listeners", &queue.engine.keys);
    let mut events = listen(&queue, EventsFrom::Now).await;
    eventually("it has panicked", async || !failpoint::is_armed("shared listeners", &queue.engine.keys)).await;
    queue.emit_range(0, 3).await;
    expect(&mut events, 0..3).await;
}

#[tokio::test]
async fn without_the_right_to_end_a_read_shared_reads_are_short() {
    let server = TestServer::start();
    let queue = queue(&server, false).await;
    queue.send(&["ACL", "SETUSER", "default", "-client"]).await;
    let mut events = listen(&queue, EventsFrom::Now).await;
    for number in 0..3 {
        let other = other(&queue, &format!("q{number}")).await;
        let mut more = listen(&other, EventsFrom::Now).await;
        other.emit(&["0"]).await;
        expect(&mut more, 0..1).await;
        queue.emit(&[&number.to_string()]).await;
        expect(&mut events, number..number + 1).await;
    }
}

#[tokio::test]
async fn a_listener_takes_the_connection_that_another_one_gives_up() {
    for looks in WAY {
        let server = TestServer::start();
        let queue = with(&server, StreamWaits::new(Some(1), looks)).await;
        let mut first = listen(&queue, EventsFrom::Now).await;
        let mut second = listen(&queue, EventsFrom::Now).await;
        queue.emit(&["0"]).await;
        expect(&mut first, 0..1).await;
        expect(&mut second, 0..1).await;
        assert_eq!(queue.listeners().await.len(), 1);
        first.close().await;
        eventually("the other one has it", async || queue.listeners().await.len() == 1).await;
        queue.emit(&["1"]).await;
        expect(&mut second, 1..2).await;
    }
}
