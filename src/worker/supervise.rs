//! Keeps the inner tasks of a worker alive: a task that panics, by a fault of ours or of a log subscriber, is started
//! again, and listeners are told.

use super::event::EventSink;
use super::panics::{Panic, catch, drop_guarded};
use crate::connection::Pauses;
use crate::error::Error;

/// Runs a task until it ends by itself, and again after each panic, with growing pauses.
pub(super) async fn supervise<F: Future<Output = ()>>(
    events: EventSink,
    task: &'static str,
    mut start: impl FnMut() -> F,
) {
    let mut backoff = Pauses::default();
    while let Err(panic) = catch(start()).await {
        report(&events, task, panic);
        backoff.pause().await;
    }
}

/// Does the same for a task that belongs to no worker; a panic is only logged.
pub(crate) async fn supervise_quietly<F: Future<Output = ()>>(task: &'static str, start: impl FnMut() -> F) {
    supervise(EventSink::new(0), task, start).await;
}

/// Reports a task that panicked.
pub(super) fn report(events: &EventSink, task: &'static str, panic: Panic) {
    let Panic { text, place } = panic;
    let problem = place.map_or_else(|| text.clone(), |place| format!("{text}, at {place}"));
    // The logging itself may be what panics: a log subscriber is not ours.
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        events.error(Error::Panicked { task, problem });
    }));
    drop_guarded(told);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use serde_json::json;
    use tokio::sync::Semaphore;

    use super::super::WorkerEvent;
    use crate::connection::{Address, ConnectOptions, Link};
    use crate::engine::testing;
    use crate::keys::QueueKeys;
    use crate::testing::RedisServer;
    use crate::{Client, Error, Halt, Job, JobState, NewJob, failpoint};

    /// Tests that a worker with a short lock works on after the panic of one of its tasks, and reports it: the running
    /// job keeps its lock, and a job that is added runs.
    async fn survives(place: &'static str, prefix: &str) {
        // The watchdog is polled by the lock thread, so that is what dies.
        let dies = if place == "watchdog" { "lock thread" } else { place };
        let client = Client::builder(testing::options()).prefix(prefix).connect().await.unwrap();
        let queue = client.queue::<serde_json::Value, ()>("q").open().unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&runs);
        let short = Duration::from_millis(1_500);
        let worker = client
            .worker("q", move |job: Job<serde_json::Value, ()>| {
                counter.fetch_add(1, Ordering::SeqCst);
                async move {
                    tokio::time::sleep(Duration::from_millis(job.data().as_u64().unwrap())).await;
                    Ok::<_, Halt>(())
                }
            })
            .lock_duration(short)
            .stalled_interval(short)
            .drain_delay(Duration::from_millis(100))
            .concurrency(2)
            .start()
            .unwrap();
        let mut events = worker.events();
        queue.add("long", json!(3_500)).await.unwrap();
        while !matches!(events.recv().await.unwrap(), WorkerEvent::Active { .. }) {}
        failpoint::arm(place, &QueueKeys::new(prefix, "q").unwrap());
        queue.add("short", json!(0)).await.unwrap();
        let (mut told, mut completed) = (0, 0);
        let heard = async {
            while completed < 2 || told < 1 {
                match events.recv().await.unwrap() {
                    WorkerEvent::Error(error) => match &*error {
                        Error::Panicked { task, problem } => {
                            assert!(*task == dies && problem.contains("failpoint"), "{error}");
                            told += 1;
                        }
                        other => panic!("{other}"),
                    },
                    WorkerEvent::Completed { .. } => completed += 1,
                    WorkerEvent::LockLost { job_id } => panic!("{job_id} lost its lock"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap();
        let report = worker.close().await;
        assert_eq!((report.counts.completed, report.abandoned, report.lost), (2, vec![], vec![]));
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_lock_thread_is_started_again() {
        survives("lock thread", "panic-locks").await;
    }

    #[tokio::test]
    async fn the_look_for_cancellations_is_started_again() {
        survives("cancellations", "panic-cancels").await;
    }

    #[tokio::test]
    async fn the_watchdog_is_started_again() {
        survives("watchdog", "panic-watchdog").await;
    }

    #[tokio::test]
    async fn the_waiter_is_started_again() {
        survives("waiter", "panic-waiter").await;
    }

    #[tokio::test]
    async fn the_stalled_check_is_started_again() {
        survives("stalled check", "panic-stalled").await;
    }

    #[tokio::test]
    async fn the_loop_is_started_again() {
        survives("worker loop", "panic-loop").await;
    }

    async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
        let holds = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), holds).await.unwrap();
    }

    /// Large outcomes are settled one at a time: one is on its way and others wait for their turn as the loop dies.
    #[tokio::test]
    async fn large_outcomes_are_settled_after_the_loop_was_started_again() {
        // A server of its own, as it is made to stand still.
        let server = RedisServer::start();
        let options = || ConnectOptions::new(Address::Unix(server.socket()));
        let client = Client::builder(options()).connect().await.unwrap();
        let queue = client.queue::<u64, String>("q").open().unwrap();
        let gates = Arc::new([Semaphore::new(0), Semaphore::new(0)]);
        let runs = Arc::new(AtomicUsize::new(0));
        let (opened, counter) = (Arc::clone(&gates), Arc::clone(&runs));
        let processor = move |job: Job<u64, String>| {
            let gates = Arc::clone(&opened);
            counter.fetch_add(1, Ordering::SeqCst);
            async move {
                gates[usize::from(*job.data() > 0)].acquire().await?.forget();
                Ok::<_, Halt>("x".repeat(300_000))
            }
        };
        let worker = client.worker("q", processor).concurrency(4).start().unwrap();
        queue.add_bulk((0..4).map(|n| NewJob::new("large", n))).await.unwrap();
        eventually(async || runs.load(Ordering::SeqCst) == 4).await;
        // The server takes what is written and does not carry it out, so the first outcome stays on its way.
        let keys = QueueKeys::new("bull", "q").unwrap();
        let link = Link::connect(Arc::new(options())).await.unwrap();
        let pause = redis::cmd("CLIENT").arg("PAUSE").arg(2_000).arg("WRITE").to_owned();
        link.send(&pause).await.unwrap();
        gates[0].add_permits(1);
        eventually(async || {
            let redis::Value::BulkString(info) = link.send(redis::cmd("INFO").arg("clients")).await.unwrap() else {
                panic!()
            };
            !String::from_utf8_lossy(&info).contains("blocked_clients:0")
        })
        .await;
        failpoint::arm("worker loop", &keys);
        gates[1].add_permits(3);
        eventually(async || queue.get_job_counts(&[JobState::Completed]).await.unwrap().total() == 4).await;
        assert!(!failpoint::is_armed("worker loop", &keys));
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        assert_eq!(worker.close().await.abandoned, Vec::<String>::new());
    }
}
