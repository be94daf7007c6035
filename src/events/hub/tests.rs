use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;

use super::super::testing::{TestQueue, TestServer, eventually, soon};
use super::waiting::Heard;
use super::*;
use crate::error::Reason;

/// Reads jobs so rarely that only events can have answered.
const BY_EVENTS: Pace = Pace { poll: Duration::from_secs(1000), linger: Duration::from_secs(1000) };
const QUICK: Pace = Pace { poll: Duration::from_millis(30), linger: Duration::from_millis(60) };

fn hub(queue: &TestQueue, pace: Pace) -> FinishHub {
    FinishHub::with_pace(queue.engine.clone(), pace)
}

fn wait(hub: &FinishHub, id: &str) -> tokio::task::JoinHandle<Result<String>> {
    let (hub, id) = (hub.clone(), id.to_owned());
    tokio::spawn(async move { hub.wait_until_finished(&*id, None).await })
}

async fn waiting(hub: &FinishHub, jobs: usize) {
    eventually("all wait", async || {
        let state = hub.0.waiting.lock();
        state.by_id.len() == jobs && (jobs == 0 || state.reader.is_some())
    })
    .await;
}

fn is_missing(result: &Result<String>) -> bool {
    result.as_ref().is_err_and(|error| error.reason() == Some(Reason::MissingJob))
}

#[tokio::test]
async fn finished_jobs_answer_without_a_reader() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    queue.add_job("a").await;
    queue.complete("a", "{\"x\":1}", true, false).await;
    queue.add_job("b").await;
    queue.complete("b", "", true, false).await;
    queue.send(&["HSET", "@c", "name", "n", "failedReason", "no luck"]).await;
    queue.send(&["ZADD", "@failed", "1", "c"]).await;
    queue.send(&["SET", "@d", "what"]).await;
    assert_eq!(hub.wait_until_finished("a", None).await.unwrap(), "{\"x\":1}");
    assert_eq!(hub.wait_until_finished("b", None).await.unwrap(), "null");
    let failed = hub.wait_until_finished("c", None).await.unwrap_err();
    assert!(matches!(failed, Error::JobFailed { id, reason } if id == "c" && reason == "no luck"));
    let wrong = hub.wait_until_finished("d", None).await.unwrap_err();
    assert_eq!(wrong.reason(), Some(Reason::WrongType));
    assert!(is_missing(&hub.wait_until_finished("e", None).await));
    assert!(queue.listeners().await.is_empty());
    assert!(hub.0.waiting.lock().by_id.is_empty());
}

#[tokio::test]
async fn events_answer_also_for_jobs_that_remove_themselves() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    for id in ["a", "b", "c"] {
        queue.add_job(id).await;
    }
    let (a, b, b2, c) = (wait(&hub, "a"), wait(&hub, "b"), wait(&hub, "b"), wait(&hub, "c"));
    waiting(&hub, 3).await;
    queue.complete("a", "1", true, true).await;
    queue.complete("b", "2", false, true).await;
    queue.emit(&["failed", "jobId", "c", "failedReason", "no luck", "prev", "active"]).await;
    assert_eq!(soon(a).await.unwrap().unwrap(), "1");
    assert_eq!(soon(b).await.unwrap().unwrap(), "2");
    assert_eq!(soon(b2).await.unwrap().unwrap(), "2");
    assert!(matches!(soon(c).await.unwrap(), Err(Error::JobFailed { reason, .. }) if reason == "no luck"));
    assert_eq!(queue.listeners().await.len(), 1);
}

/// The job may be removed before the first read, while its event is still on its way to the reader.
#[tokio::test]
async fn a_job_that_removes_itself_at_any_moment_of_the_call_is_not_called_missing() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    queue.add_job("keeps the reader").await;
    let _keeper = wait(&hub, "keeps the reader");
    waiting(&hub, 1).await;
    for round in 0..200 {
        let id = format!("j{round}");
        queue.add_job(&id).await;
        if round % 2 == 0 {
            // The read then needs a second call, and comes after the removal; the reader is late as well.
            queue.send(&["SCRIPT", "FLUSH"]).await;
            queue.kill_listeners().await;
        }
        let waiter = wait(&hub, &id);
        while !hub.0.waiting.lock().by_id.contains_key(&id) {
            tokio::task::yield_now().await;
        }
        queue.complete(&id, "7", false, true).await;
        assert_eq!(soon(waiter).await.unwrap().unwrap(), "7");
    }
}

#[tokio::test]
async fn removed_jobs_are_missing_at_once() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    queue.add_job("a").await;
    let a = wait(&hub, "a");
    waiting(&hub, 1).await;
    queue.send(&["DEL", "@a"]).await;
    queue.emit(&["removed", "jobId", "a", "prev", "wait"]).await;
    assert!(is_missing(&soon(a).await.unwrap()));
}

#[tokio::test]
async fn lost_events_do_not_make_anybody_wait_for_ever() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, QUICK);
    for id in ["a", "b", "c"] {
        queue.add_job(id).await;
    }
    let (a, b, c) = (wait(&hub, "a"), wait(&hub, "b"), wait(&hub, "c"));
    waiting(&hub, 3).await;
    queue.complete("a", "1", true, false).await;
    queue.send(&["DEL", "@b"]).await;
    assert_eq!(soon(a).await.unwrap().unwrap(), "1");
    assert!(is_missing(&soon(b).await.unwrap()));
    // It works without the whole stream, too.
    queue.send(&["DEL", "@events"]).await;
    queue.complete("c", "3", true, true).await;
    assert_eq!(soon(c).await.unwrap().unwrap(), "3");
}

#[tokio::test]
async fn the_time_allowed_ends_the_wait_and_leaves_nothing_behind() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    queue.add_job("a").await;
    let ttl = Duration::from_millis(20);
    let error = hub.wait_until_finished("a", Some(ttl)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { op: "wait_until_finished", after, .. } if after == ttl));
    assert!(hub.0.waiting.lock().by_id.is_empty());
}

#[tokio::test]
async fn the_reader_leaves_after_the_last_waiter_and_comes_back_for_the_next() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, QUICK);
    for id in ["a", "b"] {
        queue.add_job(id).await;
        let waiter = wait(&hub, id);
        waiting(&hub, 1).await;
        eventually("one reads", async || queue.listeners().await.len() == 1).await;
        queue.complete(id, "1", true, true).await;
        soon(waiter).await.unwrap().unwrap();
        eventually("nobody reads", async || queue.listeners().await.is_empty()).await;
        assert!(hub.0.waiting.lock().reader.is_none());
    }
}

#[tokio::test]
async fn closing_tells_those_who_wait() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    queue.add_job("a").await;
    let a = wait(&hub, "a");
    waiting(&hub, 1).await;
    hub.close();
    assert!(matches!(soon(a).await.unwrap(), Err(Error::Closed)));
    eventually("nobody reads", async || queue.listeners().await.is_empty()).await;
}

#[tokio::test]
async fn a_thousand_wait_at_once_through_killed_connections() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    let ids: Vec<String> = (0..1_000).map(|number| format!("j{number}")).collect();
    for id in &ids {
        queue.add_job(id).await;
    }
    // The server knows the script, so every read is sent before the first job finishes.
    assert!(is_missing(&hub.wait_until_finished("none", None).await));
    let waiters: Vec<_> = ids.iter().map(|id| wait(&hub, id)).collect();
    eventually("all are registered", async || hub.0.waiting.lock().by_id.len() == ids.len()).await;
    let finish = async {
        for (number, id) in ids.iter().enumerate() {
            queue.complete(id, &number.to_string(), number % 2 == 0, true).await;
            if number % 250 == 100 {
                queue.kill_listeners().await;
            }
        }
    };
    let (answers, ()) = soon(async { tokio::join!(join_all(waiters), finish) }).await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap().unwrap(), number.to_string());
    }
    assert!(queue.listeners().await.len() <= 1);
}

/// The result exists only in the event, and nobody listened.
#[tokio::test]
async fn jobs_that_removed_themselves_before_the_wait_are_found() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    for round in 0..100 {
        let id = format!("j{round}");
        queue.emit(&["added", "jobId", &id, "name", "n"]).await;
        queue.complete(&id, &round.to_string(), false, true).await;
        queue.emit(&["drained"]).await;
        assert_eq!(hub.wait_until_finished(&*id, None).await.unwrap(), round.to_string());
    }
    // It works far back in the stream, and for many callers at once.
    queue.emit_range(0, 3_000).await;
    queue.emit(&["failed", "jobId", "x", "failedReason", "no luck", "prev", "active"]).await;
    let waiters: Vec<_> = (0..100).map(|round| wait(&hub, &format!("j{round}"))).collect();
    for (round, waiter) in waiters.into_iter().enumerate() {
        assert_eq!(soon(waiter).await.unwrap().unwrap(), round.to_string());
    }
    let failed = hub.wait_until_finished("x", None).await.unwrap_err();
    assert!(matches!(failed, Error::JobFailed { reason, .. } if reason == "no luck"));
    // A job that was removed before its end, or retried and removed, has no result.
    queue.emit(&["waiting", "jobId", "x", "prev", "failed"]).await;
    assert!(is_missing(&hub.wait_until_finished("x", None).await));
    queue.emit(&["removed", "jobId", "j7", "prev", "completed"]).await;
    assert!(is_missing(&hub.wait_until_finished("j7", None).await));
    assert!(queue.listeners().await.is_empty());
}

/// A job that is known from its add, and completes and removes itself, whatever part of a millisecond has gone by.
#[tokio::test]
async fn jobs_that_were_added_and_removed_themselves_are_found() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    for round in 0..200 {
        let id = format!("j{round}");
        queue.emit(&["added", "jobId", &id, "name", "n"]).await;
        let seen = Some(std::time::Instant::now());
        queue.complete(&id, &round.to_string(), false, true).await;
        // The fault depended on the time between the add and the wait.
        tokio::time::sleep(Duration::from_micros(round * 50)).await;
        let job = Awaited { id: &id, born: None, seen };
        assert_eq!(hub.wait_until_finished(job, None).await.unwrap(), round.to_string());
    }
}

/// The one who looks back for all may be a caller that keeps its future and does not poll it.
#[tokio::test]
async fn a_wait_that_nobody_polls_keeps_no_other() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    queue.complete("a", "1", false, true).await;
    let mut kept = Box::pin(hub.wait_until_finished("a", None));
    // Polled until it searches, or a little less or more.
    while !hub.0.searches.is_searching() {
        assert!(kept.as_mut().now_or_never().is_none(), "it was never seen to search");
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(wait(&hub, "a")).await.unwrap().unwrap(), "1");
    assert_eq!(kept.await.unwrap(), "1");
}

/// Adds a job with an id that is used again after the server was emptied.
async fn add_born(queue: &TestQueue, id: &str, born: &str) {
    queue.send(&["HSET", &format!("@{id}"), "name", "n", "timestamp", born]).await;
    queue.emit(&["added", "jobId", id, "name", "n"]).await;
    queue.emit(&["waiting", "jobId", id]).await;
}

#[tokio::test]
async fn whoever_waits_for_a_job_never_gets_the_result_of_another_with_its_id() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    for keep in [true, false] {
        queue.send(&["FLUSHALL"]).await;
        add_born(&queue, "1", "1000").await;
        // The job has been known for a while.
        let seen = std::time::Instant::now().checked_sub(Duration::from_secs(5));
        let old = Awaited { id: "1", born: Some(1_000), seen };
        let known = {
            let hub = hub.clone();
            tokio::spawn(async move { hub.wait_until_finished(old, None).await })
        };
        let by_id = wait(&hub, "1");
        eventually("both listen", async || {
            let state = hub.0.waiting.lock();
            let waiters = state.by_id.get("1").map_or(&[][..], Vec::as_slice);
            waiters.len() == 2 && waiters.iter().all(|waiter| matches!(waiter.heard, Heard::After(_)))
        })
        .await;
        // The id is used again, with another result.
        queue.send(&["FLUSHALL"]).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        add_born(&queue, "1", "2000").await;
        let new = wait(&hub, "1");
        queue.complete("1", "\"new\"", keep, true).await;
        assert!(is_missing(&soon(known).await.unwrap()), "{keep}");
        assert_eq!(soon(new).await.unwrap().unwrap(), "\"new\"");
        assert!(is_missing(&soon(by_id).await.unwrap()), "{keep}");
        // A caller that begins to wait only now is told the same.
        assert!(is_missing(&hub.wait_until_finished(old, None).await), "{keep}");
        assert_eq!(hub.wait_until_finished("1", None).await.unwrap(), "\"new\"");
    }
}

#[tokio::test]
async fn an_earlier_end_of_the_same_id_does_not_count() {
    let server = TestServer::start();
    let queue = server.queue().await;
    let hub = hub(&queue, BY_EVENTS);
    queue.add_job("keeps the reader").await;
    let _keeper = wait(&hub, "keeps the reader");
    waiting(&hub, 1).await;
    for round in 0..100 {
        // The reader is late: it hears of the first job when a caller already waits for the second.
        if round % 3 == 0 {
            queue.kill_listeners().await;
        }
        queue.complete("again", "\"first\"", false, true).await;
        add_born(&queue, "again", &round.to_string()).await;
        let waiter = wait(&hub, "again");
        while !hub.0.waiting.lock().by_id.contains_key("again") {
            tokio::task::yield_now().await;
        }
        queue.complete("again", "\"second\"", false, true).await;
        assert_eq!(soon(waiter).await.unwrap().unwrap(), "\"second\"");
    }
}

#[tokio::test]
async fn those_who_wait_outlast_the_panic_of_the_reader() {
    let server = TestServer::start();
    let mut queue = server.queue().await;
    queue.engine.keys = crate::keys::QueueKeys::new("t", "hub that dies").unwrap();
    let hub = hub(&queue, BY_EVENTS);
    for id in ["a", "b", "c"] {
        queue.add_job(id).await;
    }
    let [a, b, c] = ["a", "b", "c"].map(|id| wait(&hub, id));
    waiting(&hub, 3).await;
    crate::failpoint::arm("event hub", &queue.engine.keys);
    // The reader dies after the first event at the latest; meanwhile the next job ends.
    queue.complete("a", "1", true, true).await;
    queue.complete("b", "2", true, true).await;
    assert_eq!(soon(a).await.unwrap().unwrap(), "1");
    assert_eq!(soon(b).await.unwrap().unwrap(), "2");
    eventually("it has died", async || !crate::failpoint::is_armed("event hub", &queue.engine.keys)).await;
    // Earlier and later callers are answered by the new reader.
    let late = wait(&hub, "c");
    queue.complete("c", "3", true, true).await;
    assert_eq!(soon(c).await.unwrap().unwrap(), "3");
    assert_eq!(soon(late).await.unwrap().unwrap(), "3");
    assert_eq!(hub.0.waiting.lock().readers, 1);
}
