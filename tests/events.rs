//! Reading events across restarts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oxmq::error::BoxError;
use oxmq::events::{CursorStore, Delivery, EventCursor, EventId, EventsFrom, QueueEvent};
use oxmq::{FlowNode, JobState, Queue, Repeat};
use redis::AsyncCommands;
use serde_json::json;

use crate::common::eventually::eventually_within;
use crate::common::fixture::{Fixture, PATIENCE};
use crate::common::node::{BullMq, NodeDriver};
use crate::common::proxy::{Matcher, Proxy};
use crate::common::server::{server_version, shared_server};

async fn open(fixture: &Fixture, name: &str) -> EventCursor {
    fixture.client.event_cursor("q", name).open().await.unwrap()
}

async fn next(cursor: &mut EventCursor) -> Delivery {
    tokio::time::timeout(PATIENCE, cursor.recv()).await.unwrap()
}

/// Returns the next job that was added, and the id of its event.
async fn added(cursor: &mut EventCursor) -> (String, EventId) {
    loop {
        if let Delivery::Event { id, event: QueueEvent::Added { job_id, .. } } = next(cursor).await {
            return (job_id, id);
        }
    }
}

/// From where nothing has happened yet, too, what was cut away before it was read is told.
#[tokio::test]
async fn a_cursor_that_began_on_an_empty_stream_reports_a_gap() {
    let fixture = Fixture::new().await;
    let queue = fixture.client.queue::<serde_json::Value, ()>("new").max_len_events(100).open().unwrap();
    let open = || fixture.client.event_cursor("new", "mine").from(EventsFrom::Now).open();
    drop(open().await.unwrap());
    queue.add("job", json!(1)).await.unwrap();
    // All is there, so nothing was missed. Before version 7 the server does not tell, and a gap is told to be safe.
    let mut cursor = open().await.unwrap();
    let first = next(&mut cursor).await;
    assert!(server_version() < 7 || matches!(first, Delivery::Event { .. }), "{first:?}");
    drop(cursor);
    for _ in 0..10 {
        queue.add_bulk((0..100).map(|n| oxmq::NewJob::new("job", json!(n)))).await.unwrap();
    }
    let mut cursor = open().await.unwrap();
    let first = next(&mut cursor).await;
    assert!(matches!(first, Delivery::Gap { after: EventId::ZERO, .. }), "{first:?}");
    // From the beginning, wherever that is by now, there is no gap.
    let mut all = fixture.client.event_cursor("new", "all").open().await.unwrap();
    assert!(matches!(next(&mut all).await, Delivery::Event { .. }));
}

/// A server that was emptied has lost the length, too, and no worker of the client notices.
#[tokio::test]
async fn the_length_of_the_stream_is_set_again_by_the_add_that_finds_it_gone() {
    let fixture = Fixture::new().await;
    let queue = fixture.client.queue::<serde_json::Value, ()>("new").max_len_events(500).open().unwrap();
    let other = fixture.client.queue::<serde_json::Value, ()>("other").max_len_events(700).open().unwrap();
    let length = async |queue: &Queue<serde_json::Value, ()>| queue.get_meta().await.unwrap().max_len_events;
    let flows = fixture.client.flow_producer();
    let flow = || {
        FlowNode::new("new", "job", 1).child(FlowNode::new("other", "job", 2)).child(FlowNode::new("third", "job", 3))
    };
    for n in 0..7 {
        match n {
            0 => drop(queue.add("job", json!(1)).await.unwrap()),
            1 => drop(queue.add("job", json!(1)).job_id("mine").await.unwrap()),
            2 => drop(queue.add_bulk([oxmq::NewJob::new("job", json!(n))]).await.unwrap()),
            3 => drop(queue.upsert_job_scheduler("s", Repeat::every(Duration::from_secs(3_600))).await.unwrap()),
            4 => drop(queue.publish_event("custom", &[]).await.unwrap()),
            5 => drop(flows.add(flow()).await.unwrap()),
            _ => drop(flows.add_bulk([flow(), flow()]).await.unwrap()),
        }
        assert_eq!(length(&queue).await, Some(500), "{n}");
        if n >= 5 {
            assert_eq!(length(&other).await, Some(700), "{n}");
            // Nobody has opened this queue, so it has the default, as in Node.
            let third = fixture.client.queue::<serde_json::Value, ()>("third").open().unwrap();
            assert_eq!(length(&third).await, Some(10_000), "{n}");
        }
        crate::common::dump::remove_all(&mut fixture.redis.clone(), &fixture.prefix).await;
        assert_eq!(length(&queue).await, None);
    }
}

/// The settings alone may be lost, by hand or by a restore of some keys, while jobs are there that make others.
#[tokio::test]
async fn the_length_of_the_stream_is_set_again_by_children_and_by_the_next_run_of_a_scheduler() {
    let fixture = Fixture::new().await;
    let queue = &fixture.queue;
    let length = async || queue.get_meta().await.unwrap().max_len_events;
    let lose = async || {
        let lost: i64 = fixture.redis.clone().del(fixture.key("meta")).await.unwrap();
        assert_eq!(lost, 1);
    };
    queue.upsert_job_scheduler("s", Repeat::every(Duration::from_secs(3_600))).await.unwrap();
    let by_hand = fixture.client.manual_worker::<serde_json::Value, ()>("q").open().unwrap();
    lose().await;
    let run = by_hand.get_next_job("token").await.unwrap().expect("the first run is due at once");
    assert_eq!(length().await, Some(1_000_000), "the next run was created");
    lose().await;
    run.add_child(FlowNode::new("q", "child", 1)).await.unwrap();
    assert_eq!(length().await, Some(1_000_000), "a child was created");
    lose().await;
    run.move_to_completed(&(), "token").await.unwrap_err();
    let child = by_hand.get_next_job("token").await.unwrap().expect("the child waits");
    child.move_to_completed(&(), "token").await.unwrap();
    assert_eq!(length().await, Some(10_000), "an end writes the default, as in Node");
    queue.add("job", json!(1)).await.unwrap();
    assert_eq!(length().await, Some(1_000_000), "a later add has noticed");
}

/// The check for stopped schedulers creates runs, too.
#[tokio::test]
async fn the_length_of_the_stream_is_set_again_by_a_worker_that_revives_a_scheduler() {
    let fixture = Fixture::new().await;
    let mut redis = fixture.redis.clone();
    let run = fixture.queue.upsert_job_scheduler("s", Repeat::every(Duration::from_secs(3_600))).await.unwrap();
    let gone: i64 = redis.del(&[fixture.key(run.id()), fixture.key("wait"), fixture.key("meta")]).await.unwrap();
    assert_eq!(gone, 3);
    let worker = fixture.worker(|_: oxmq::Job<serde_json::Value, ()>| async { Ok::<_, oxmq::Halt>(()) });
    let worker = worker.scheduler_check_interval(Duration::from_secs(1)).start().unwrap();
    eventually_within(PATIENCE, "the length is there again", async || {
        fixture.queue.get_meta().await.unwrap().max_len_events == Some(1_000_000)
    })
    .await;
    assert_eq!(fixture.count(JobState::Delayed).await, 1, "the scheduler goes on");
    worker.close().await;
}

/// The call that found the settings gone may have lost its reply; the repeated one finds the default there.
#[tokio::test]
async fn the_length_of_the_stream_is_set_again_where_the_reply_was_lost() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::through(&proxy, server).await;
    let queue = &fixture.queue;
    let length = async || queue.get_meta().await.unwrap().max_len_events;
    let lose = async || {
        let lost: i64 = fixture.redis.clone().del(fixture.key("meta")).await.unwrap();
        assert_eq!(lost, 1);
    };
    let calls_with = |word: &'static [u8]| {
        Matcher::new(move |args| {
            args.first().is_some_and(|verb| verb == b"EVALSHA") && args.iter().any(|arg| arg == word)
        })
    };
    let by_hand = fixture.client.manual_worker::<serde_json::Value, ()>("q").open().unwrap();
    // The server loads the scripts, so that later calls need no second request.
    queue.upsert_job_scheduler("warm", Repeat::every(Duration::from_secs(3_600))).await.unwrap();
    by_hand.get_next_job("token").await.unwrap().expect("the first run is due at once");
    queue.upsert_job_scheduler("lossy", Repeat::every(Duration::from_secs(3_600))).await.unwrap();

    lose().await;
    proxy.cut_after_request(calls_with(b"lossy"));
    by_hand.get_next_job("token").await.unwrap().expect("the first run is due at once");
    assert_eq!(length().await, Some(1_000_000), "the next run was created");
    lose().await;
    proxy.cut_after_request(calls_with(b"mine"));
    queue.add("job", json!(1)).job_id("mine").await.unwrap();
    assert_eq!(length().await, Some(1_000_000), "a job was added");
    lose().await;
    proxy.cut_after_request(calls_with(b"unknown"));
    queue.add("unknown", json!(1)).await.unwrap_err();
    assert_eq!(length().await, Some(10_000));
    queue.add("job", json!(1)).await.unwrap();
    assert_eq!(length().await, Some(1_000_000), "a later add has noticed");
    assert_eq!(proxy.counters().lost_replies, 3);
}

#[tokio::test]
async fn a_cursor_goes_on_after_what_was_acknowledged() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(5).await;
    let mut cursor = open(&fixture, "mine").await;
    assert_eq!(added(&mut cursor).await.0, ids[0]);
    let (second, place) = added(&mut cursor).await;
    assert_eq!(second, ids[1]);
    cursor.ack(place).await.unwrap();
    // It was read but not acknowledged, so it is delivered again.
    assert_eq!(added(&mut cursor).await.0, ids[2]);
    drop(cursor);
    let mut again = open(&fixture, "mine").await;
    let (third, place) = added(&mut again).await;
    assert_eq!(third, ids[2]);
    again.ack(place).await.unwrap();
    // A late acknowledgement under the same name does not move the cursor back.
    again.ack(EventId::new(1, 0)).await.unwrap();
    drop(again);
    let mut again = open(&fixture, "mine").await;
    for id in &ids[3..] {
        assert_eq!(added(&mut again).await.0, *id);
    }
    // Another name is another cursor, and a deleted cursor starts anew.
    assert_eq!(added(&mut open(&fixture, "other").await).await.0, ids[0]);
    assert!(fixture.client.remove_event_cursor("q", "mine").await.unwrap());
    assert!(!fixture.client.remove_event_cursor("q", "mine").await.unwrap());
    assert_eq!(added(&mut open(&fixture, "mine").await).await.0, ids[0]);
}

#[tokio::test]
async fn a_cursor_from_now_begins_where_it_was_first_opened() {
    let fixture = Fixture::new().await;
    fixture.add_many(2).await;
    let from_now = || fixture.client.event_cursor("q", "mine").from(EventsFrom::Now);
    drop(from_now().open().await.unwrap());
    let late = fixture.add(json!(1)).await;
    assert_eq!(added(&mut from_now().open().await.unwrap()).await.0, late);
}

#[tokio::test]
async fn events_trimmed_unread_are_a_gap_until_a_later_event_is_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.add_many(3).await;
    let mut cursor = open(&fixture, "mine").await;
    let (_, place) = added(&mut cursor).await;
    cursor.ack(place).await.unwrap();
    drop(cursor);
    fixture.queue.trim_events(1).await.unwrap();
    let mut redis = fixture.redis.clone();
    let _: u64 =
        redis::cmd("XTRIM").arg(fixture.key("events")).arg("MAXLEN").arg(1).query_async(&mut redis).await.unwrap();
    for _ in 0..2 {
        let mut cursor = open(&fixture, "mine").await;
        let Delivery::Gap { after, before, .. } = next(&mut cursor).await else { panic!("no gap") };
        assert!(after == place && before > after);
        assert!(matches!(next(&mut cursor).await, Delivery::Event { id, .. } if id == before));
    }
    let mut cursor = open(&fixture, "mine").await;
    let Delivery::Gap { before, .. } = next(&mut cursor).await else { panic!("no gap") };
    cursor.ack(before).await.unwrap();
    let mut cursor = open(&fixture, "mine").await;
    let late = fixture.add(json!(1)).await;
    loop {
        match next(&mut cursor).await {
            Delivery::Event { event: QueueEvent::Added { job_id, .. }, .. } if job_id == late => break,
            Delivery::Event { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_that_others_cut_short_under_an_idle_reader_is_told_as_a_gap() {
    let fixture = Fixture::new().await;
    let first = fixture.add(json!(1)).await;
    let mut cursor = open(&fixture, "mine").await;
    assert_eq!(added(&mut cursor).await.0, first);
    while let Some(delivery) = cursor.recv().now_or_never() {
        assert!(matches!(delivery, Delivery::Event { .. }), "{delivery:?}");
    }
    // The cursor is waiting for the next event when all of this happens at once.
    let events = fixture.key("events");
    let script = "for i = 1, 50 do redis.call('XADD', KEYS[1], '*', 'event', 'added', 'jobId', i) end
        redis.call('XTRIM', KEYS[1], 'MAXLEN', 5)";
    let mut redis = fixture.redis.clone();
    let cut = async { redis::cmd("EVAL").arg(script).arg(1).arg(&events).exec_async(&mut redis).await.unwrap() };
    let gap = async {
        loop {
            match next(&mut cursor).await {
                Delivery::Event { event: QueueEvent::Added { job_id, .. }, .. } => panic!("{job_id} before the gap"),
                Delivery::Event { .. } => {}
                other => break other,
            }
        }
    };
    let ((), gap) = tokio::join!(cut, gap);
    assert!(matches!(gap, Delivery::Gap { is_rollback: false, .. }), "{gap:?}");
    assert_eq!(added(&mut cursor).await.0, "46");
}

#[tokio::test]
async fn a_cursor_continues_from_a_store_of_the_user() {
    #[derive(Clone, Default)]
    struct InMemory(Arc<Mutex<Option<EventId>>>);

    impl CursorStore for InMemory {
        fn load(&self) -> BoxFuture<'_, Result<Option<EventId>, BoxError>> {
            std::future::ready(Ok(*self.0.lock().unwrap())).boxed()
        }

        fn save(&self, id: EventId) -> BoxFuture<'_, Result<(), BoxError>> {
            let mut place = self.0.lock().unwrap();
            *place = (*place).max(Some(id));
            std::future::ready(if id == EventId::ZERO { Err("no".into()) } else { Ok(()) }).boxed()
        }
    }
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(3).await;
    let store = InMemory::default();
    let opened = || fixture.client.event_cursor("q", "mine").store(store.clone());
    let mut cursor = opened().open().await.unwrap();
    assert_eq!(added(&mut cursor).await.0, ids[0]);
    let (_, place) = added(&mut cursor).await;
    cursor.ack(place).await.unwrap();
    let error = cursor.ack(EventId::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), "ack: no");
    assert_eq!(added(&mut opened().open().await.unwrap()).await.0, ids[2]);
    assert!(!fixture.client.remove_event_cursor("q", "mine").await.unwrap());
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(1_500).await;
    let mut cursor = open(&fixture, "mine").await;
    tokio::time::sleep(Duration::from_millis(20)).await; // time itself: what is read meanwhile fills the buffer
    for id in ids {
        assert_eq!(added(&mut cursor).await.0, id);
    }
}

#[tokio::test]
async fn bullmqs_tools_do_not_delete_the_position_of_a_cursor() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(2).await;
    // Names of fields of a job's hash, in case somebody takes the cursors for a job.
    for name in ["mine", "name", "data", "meta"] {
        let mut cursor = open(&fixture, name).await;
        let (_, place) = added(&mut cursor).await;
        cursor.ack(place).await.unwrap();
    }
    for version in [BullMq::V5, BullMq::V6] {
        let node = NodeDriver::start(version, &shared_server().url(), &fixture.prefix).await;
        node.call("removeOrphanedJobs", json!({ "queue": "q" })).await.unwrap();
        node.call("drain", json!({ "queue": "q" })).await.unwrap();
        node.call("obliterate", json!({ "queue": "q", "opts": { "force": true } })).await.unwrap();
    }
    fixture.queue.remove_orphaned_jobs(0).await.unwrap();
    let mut redis = fixture.redis.clone();
    let kept: u64 = redis::cmd("HLEN").arg(fixture.key("oxmq:cursors")).query_async(&mut redis).await.unwrap();
    assert_eq!((kept, ids.len()), (4, 2));
    fixture.queue.obliterate_by_force().await.unwrap();
    let kept: bool = redis::cmd("EXISTS").arg(fixture.key("oxmq:cursors")).query_async(&mut redis).await.unwrap();
    assert!(!kept);
}
