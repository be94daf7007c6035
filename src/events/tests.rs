use std::time::Duration;

use futures::StreamExt;

use super::testing::{TestQueue, TestServer, eventually, soon};
use super::*;

fn listen(queue: &TestQueue) -> QueueEventsBuilder {
    QueueEventsBuilder::new(Ok(queue.engine.clone()))
}

async fn ready(builder: QueueEventsBuilder) -> QueueEvents {
    let events = builder.start().unwrap();
    soon(events.ready()).await.unwrap();
    events
}

/// Returns the next event's name.
async fn name(events: &mut QueueEvents) -> String {
    match soon(events.recv()).await {
        Some(Delivery::Event { event, .. }) => event.name().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Takes the events with these numbers, and fails at anything else.
async fn expect(events: &mut QueueEvents, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(name(events).await, number.to_string());
    }
}

#[tokio::test]
async fn what_is_written_after_ready_is_seen_also_if_nothing_was_before() {
    let server = TestServer::start();
    let queue = server.queue().await;
    // Reads end every millisecond, so that most events come between two of them.
    let mut events = ready(listen(&queue).block(Duration::from_millis(1))).await;
    assert_eq!(events.ready().await.unwrap(), EventId::ZERO);
    for number in 0..50 {
        tokio::time::sleep(Duration::from_millis(number % 4)).await;
        queue.emit(&[&number.to_string()]).await;
        expect(&mut events, number..number + 1).await;
    }
}

#[tokio::test]
async fn a_listener_begins_where_it_is_told() {
    let server = TestServer::start();
    let queue = server.queue().await;
    queue.emit_range(0, 3).await;
    let third: EventId = queue.emit(&["3"]).await.parse().unwrap();
    queue.emit(&["4"]).await;
    let mut now = ready(listen(&queue)).await;
    let mut all = ready(listen(&queue).from(EventsFrom::Beginning)).await;
    let mut after = ready(listen(&queue).from(EventsFrom::After(third))).await;
    assert_eq!(after.ready().await.unwrap(), third);
    queue.emit(&["5"]).await;
    expect(&mut now, 5..6).await;
    expect(&mut all, 0..6).await;
    expect(&mut after, 4..6).await;
}

#[tokio::test]
async fn killed_connections_cost_no_event_and_no_order() {
    let server = TestServer::start();
    let queue = server.queue().await;
    // Before Redis 7 nobody can tell whether the first of many events after an empty stream were trimmed.
    queue.emit(&["earlier"]).await;
    let mut events = ready(listen(&queue)).await;
    let kills = async {
        let mut kills = 0;
        while kills < 20 {
            kills += queue.kill_listeners().await;
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    };
    let writes = async {
        for from in (0..3_000).step_by(30) {
            queue.emit_range(from, from + 30).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::join!(kills, writes, expect(&mut events, 0..3_000));
    // The connection has its name again, for dashboards.
    eventually("one listener is shown", async || queue.listeners().await.len() == 1).await;
}

#[tokio::test]
async fn a_slow_listener_loses_the_oldest_and_is_told() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let mut events = ready(listen(&queue).buffer(100)).await;
    queue.emit_range(0, 1_000).await;
    eventually("all are read", async || events.missed() == 900).await;
    assert_eq!(soon(events.recv()).await, Some(Delivery::Lagged { missed: 900 }));
    expect(&mut events, 900..1_000).await;
    queue.emit(&["1000"]).await;
    expect(&mut events, 1_000..1_001).await;
    assert_eq!(events.missed(), 900);
}

#[tokio::test]
async fn entries_that_make_no_sense_are_delivered_and_survived() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let mut events = ready(listen(&queue)).await;
    queue.emit(&["progress", "jobId", "1", "data", ""]).await;
    queue.emit(&["completed", "jobId", "1", "returnvalue", "{\"a\":"]).await;
    queue.emit(&["delayed", "jobId", "1", "delay", "soon"]).await;
    queue.send(&["XADD", "@events", "*", "no", "name"]).await;
    queue.emit(&["completed", "jobId", "2", "returnvalue", "[2]"]).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(soon(events.next()).await.and_then(Delivery::into_event).unwrap());
    }
    assert!(matches!(&seen[0], QueueEvent::Progress { job_id, data, .. } if job_id == "1" && data.as_str().is_empty()));
    assert!(matches!(&seen[1], QueueEvent::Completed { return_value, .. } if return_value.as_str() == "{\"a\":"));
    assert!(matches!(&seen[2], QueueEvent::Delayed { due: None, .. }));
    assert!(matches!(&seen[3], QueueEvent::Other { name, fields, .. } if name.is_empty() && fields.len() == 1));
    assert!(
        matches!(&seen[4], QueueEvent::Completed { return_value, .. } if return_value.parse::<[u8; 1]>().unwrap() == [2])
    );
}

#[tokio::test]
async fn a_start_that_was_trimmed_away_is_a_gap() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let first: EventId = queue.emit(&["0"]).await.parse().unwrap();
    queue.emit_range(1, 50).await;
    queue.send(&["XTRIM", "@events", "MAXLEN", "10"]).await;
    let mut events = listen(&queue).from(EventsFrom::After(first)).start().unwrap();
    let Some(Delivery::Gap { after, before, is_rollback: false }) = soon(events.recv()).await else { panic!() };
    let Some(Delivery::Event { id, event }) = soon(events.recv()).await else { panic!() };
    assert_eq!((after, before, event.name()), (first, id, "40"));
    expect(&mut events, 41..50).await;
}

#[tokio::test]
async fn a_burst_beyond_the_cap_is_a_gap() {
    let server = TestServer::start();
    let queue = server.queue().await;
    queue.send(&["HSET", "@meta", "opts.maxLenEvents", "20"]).await;
    queue.emit(&["0"]).await;
    let mut events = ready(listen(&queue)).await;
    queue.emit(&["1"]).await;
    expect(&mut events, 1..2).await;
    // All in one call, so that the reader cannot keep up.
    let lua = "for i = 2, 99 do redis.call('XADD', KEYS[1], 'MAXLEN', 20, '*', 'event', i) end";
    queue.send(&["EVAL", lua, "1", "@events"]).await;
    assert!(matches!(soon(events.recv()).await, Some(Delivery::Gap { .. })));
    expect(&mut events, 80..100).await;
    // No gap is reported if nothing is missing.
    queue.emit(&["100"]).await;
    expect(&mut events, 100..101).await;
}

/// The queue's own cap is larger: somebody has shortened the stream by hand, or with another cap.
#[tokio::test]
async fn a_stream_cut_shorter_than_its_cap_is_a_gap() {
    let server = TestServer::start();
    let queue = server.queue().await;
    queue.emit(&["0"]).await;
    let mut events = ready(listen(&queue)).await;
    queue.emit(&["1"]).await;
    expect(&mut events, 1..2).await;
    let lua = "for i = 2, 999 do redis.call('XADD', KEYS[1], '*', 'event', i) end
        redis.call('XTRIM', KEYS[1], 'MAXLEN', 5)";
    queue.send(&["EVAL", lua, "1", "@events"]).await;
    assert!(matches!(soon(events.recv()).await, Some(Delivery::Gap { is_rollback: false, .. })));
    expect(&mut events, 995..1_000).await;
    queue.emit(&["1000"]).await;
    expect(&mut events, 1_000..1_001).await;
}

#[tokio::test]
async fn an_event_that_vanishes_as_it_is_written_wakes_the_reader_and_leaves_a_gap() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let mut events = ready(listen(&queue)).await;
    eventually("it reads", async || queue.is_blocked().await).await;
    let before = queue.calls("xread").await;
    queue.send(&["XADD", "@events", "MAXLEN", "0", "*", "event", "gone"]).await;
    eventually("it reads again", async || queue.is_blocked().await).await;
    let was_woken = queue.calls("xread").await > before;
    queue.emit(&["1"]).await;
    match soon(events.recv()).await.unwrap() {
        Delivery::Gap { after: EventId::ZERO, .. } => expect(&mut events, 1..2).await,
        // Valkey, and Redis since 7.4, do not wake a reader for an entry that is gone already, so nobody hears of it.
        Delivery::Event { .. } if !was_woken => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.listeners().await.len(), 1);
}

#[tokio::test]
async fn a_stream_that_was_deleted_goes_on_in_the_new_one() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let mut events = ready(listen(&queue).block(Duration::from_millis(50))).await;
    queue.emit(&["0"]).await;
    expect(&mut events, 0..1).await;
    queue.send(&["DEL", "@events"]).await;
    queue.surveyed().await;
    // A new stream begins its numbers anew, so within the same millisecond the next event would have the id of the
    // last.
    tokio::time::sleep(Duration::from_millis(2)).await;
    queue.emit(&["1"]).await;
    expect(&mut events, 1..2).await;
}

#[tokio::test]
async fn a_server_that_fell_back_is_a_gap_and_repeats_nothing() {
    let server = TestServer::start();
    let queue = server.queue().await;
    queue.send(&["XADD", "@events", "7-1", "event", "0"]).await;
    queue.send(&["XADD", "@events", "7-2", "event", "1"]).await;
    let lost = EventId::new(9, 9);
    let mut events = ready(listen(&queue).from(EventsFrom::After(lost))).await;
    eventually("it reads", async || queue.is_blocked().await).await;
    queue.send(&["XADD", "@events", "8-0", "event", "2"]).await;
    assert_eq!(
        soon(events.recv()).await,
        Some(Delivery::Gap { after: lost, before: EventId::new(8, 0), is_rollback: true })
    );
    expect(&mut events, 2..3).await;
}

/// The listener of a replica stays connected while that takes over an earlier state: its master came back with one, or
/// another one was promoted. Events that were delivered are not delivered again.
#[tokio::test]
async fn a_replica_that_takes_over_an_earlier_state_is_a_gap_and_repeats_nothing() {
    let (mut master, port) = TestServer::start_on_a_port();
    let replica = TestServer::start();
    let (writer, queue) = (master.queue().await, replica.queue().await);
    queue.send(&["REPLICAOF", "127.0.0.1", &port.to_string()]).await;
    let is_linked = async || queue.info("replication").await.contains("master_link_status:up");
    eventually("it is a replica", is_linked).await;
    let builder = listen(&queue).from(EventsFrom::Beginning).block(Duration::from_millis(50));
    let mut events = ready(builder).await;
    writer.emit_range(0, 100).await;
    writer.save().await;
    writer.emit_range(100, 299).await;
    let last: EventId = writer.emit(&["299"]).await.parse().unwrap();
    expect(&mut events, 0..300).await;
    let listeners = queue.listeners().await;
    master.restart();
    let length = async || queue.send(&["XLEN", "@events"]).await;
    eventually("it has the earlier state", async || length().await == redis::Value::Int(100)).await;
    queue.surveyed().await;
    writer.emit(&["300"]).await;
    let heard = soon(events.recv()).await;
    assert!(matches!(heard, Some(Delivery::Gap { after, is_rollback: true, .. }) if after == last), "{heard:?}");
    expect(&mut events, 300..301).await;
    assert_eq!(queue.listeners().await, listeners, "the connection held");
}

#[tokio::test]
async fn a_server_restored_from_an_earlier_dump_is_a_gap_and_repeats_nothing() {
    let mut server = TestServer::start();
    let queue = server.queue().await;
    let mut events = ready(listen(&queue)).await;
    queue.emit_range(0, 50).await;
    queue.save().await;
    queue.emit_range(50, 99).await;
    let last: EventId = queue.emit(&["99"]).await.parse().unwrap();
    expect(&mut events, 0..100).await;
    server.restart();
    // Sent at once, so that the listener may find that the stream has continued already.
    queue.emit(&["100"]).await;
    assert!(matches!(soon(events.recv()).await, Some(Delivery::Gap { after, is_rollback: true, .. }) if after == last));
    expect(&mut events, 100..101).await;
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_a_gap() {
    let mut server = TestServer::start();
    let queue = server.queue().await;
    let mut events = ready(listen(&queue)).await;
    let last: EventId = queue.emit(&["0"]).await.parse().unwrap();
    expect(&mut events, 0..1).await;
    server.restart();
    queue.emit(&["1"]).await;
    assert!(matches!(soon(events.recv()).await, Some(Delivery::Gap { after, .. }) if after == last));
    expect(&mut events, 1..2).await;
}

#[tokio::test]
async fn closing_and_dropping_end_a_blocked_read() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let builder = || listen(&queue).block(Duration::from_secs(3600));
    let mut events = ready(builder()).await;
    queue.emit(&["0"]).await;
    expect(&mut events, 0..1).await;
    eventually("it reads", async || queue.is_blocked().await).await;
    assert_eq!(queue.listeners().await.len(), 1);
    events.close().await;
    eventually("the connection is gone", async || queue.listeners().await.is_empty()).await;
    assert_eq!(soon(events.recv()).await, None);
    events.close().await;

    let events = ready(builder()).await;
    eventually("it reads", async || queue.is_blocked().await).await;
    drop(events);
    eventually("the connection is gone", async || queue.listeners().await.is_empty()).await;
}

#[tokio::test]
async fn a_listener_closed_before_it_was_ready_says_so() {
    let server = TestServer::start();
    let queue = server.queue().await;
    // From here on the server does not answer.
    queue.send(&["CLIENT", "PAUSE", "600000"]).await;
    let mut events = listen(&queue).start().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), events.ready()).await.is_err());
    events.close().await;
    assert!(matches!(events.ready().await, Err(Error::Closed)));
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn events_of_ones_own_arrive_and_keep_the_queues_cap() {
    let server = TestServer::start();
    let queue = server.queue().await;
    queue.send(&["HSET", "@meta", "opts.maxLenEvents", "3000"]).await;
    queue.emit_range(0, 3_000).await;
    let mut events = ready(listen(&queue)).await;
    let id = queue.engine.publish_event("cooked", &[("dish", "é"), ("left", "")]).await.unwrap();
    let Some(Delivery::Event { id: seen, event: QueueEvent::Other { name, fields, .. } }) = soon(events.recv()).await
    else {
        panic!()
    };
    assert_eq!((seen, &*name), (id, "cooked"));
    assert_eq!(fields, [("dish".to_owned(), "é".to_owned()), ("left".to_owned(), String::new())]);
    let redis::Value::Int(length) = queue.send(&["XLEN", "@events"]).await else { panic!() };
    assert!(length >= 3_000, "{length}");
    assert!(queue.engine.publish_event("error", &[]).await.is_err());
}

#[tokio::test]
async fn a_listener_is_started_again_where_it_was() {
    let server = TestServer::start();
    let mut queue = server.queue().await;
    queue.engine.keys = crate::keys::QueueKeys::new("t", "listener that dies").unwrap();
    let mut events = ready(listen(&queue)).await;
    let start = events.ready().await.unwrap();
    for number in 0..10 {
        if number == 5 {
            // The reader dies when the next event has been handed on.
            crate::failpoint::arm("queue events", &queue.engine.keys);
        }
        queue.emit(&[&number.to_string()]).await;
        if number == 6 {
            // This is reported before what was read after it.
            let Some(Delivery::Restarted { problem }) = soon(events.recv()).await else { panic!() };
            assert!(problem.contains("failpoint"), "{problem}");
        }
        expect(&mut events, number..number + 1).await;
    }
    assert_eq!(soon(events.ready()).await.unwrap(), start);
}

#[tokio::test]
async fn who_may_not_read_is_told_and_hears_what_comes_once_it_may() {
    let server = TestServer::start();
    let queue = server.queue().await;
    queue.send(&["SET", "@events", "no stream"]).await;
    let mut now = listen(&queue).start().unwrap();
    let mut all = listen(&queue).from(EventsFrom::Beginning).start().unwrap();
    let refused = soon(now.ready()).await.unwrap_err();
    assert!(matches!(&refused, Error::Redis { op: "read_events", .. }), "{refused:?}");
    for events in [&mut now, &mut all] {
        let told = soon(events.recv()).await;
        assert!(matches!(&told, Some(Delivery::Refused { problem }) if problem.contains("WRONGTYPE")), "{told:?}");
    }
    queue.send(&["DEL", "@events"]).await;
    queue.emit(&["0"]).await;
    expect(&mut all, 0..1).await;
    // Whoever asks now, and listens from now on, hears nothing of what is mended.
    soon(all.ready()).await.unwrap();
    soon(all.subscribe().ready()).await.unwrap();
    eventually("the other one reads too", async || now.ready().await.is_ok()).await;
}
