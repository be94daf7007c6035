//! Processors that block the threads of the runtime.

use std::time::{Duration, Instant};

use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState};
use serde_json::Value;

use crate::common::check::check;
use crate::common::eventually::eventually_within;
use crate::common::fixture::{Fixture, Ledger, PATIENCE, listen};

const LOCK: Duration = Duration::from_secs(2);

async fn spins_two_locks_long(jobs: usize) {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(jobs).await;
    let ran = Ledger::default();
    let ledger = ran.clone();
    // Another process checks for stalled jobs as often as it can.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let prefix = fixture.prefix.clone();
    let watcher = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = oxmq::ConnectOptions::from_url(&crate::common::server::shared_server().url()).unwrap();
            let client = oxmq::Client::builder(options).prefix(prefix).connect().await.unwrap();
            let watcher = client.manual_worker("q").stalled_interval(Duration::from_millis(100));
            let watcher: oxmq::ManualWorker = watcher.open().unwrap();
            let mut stalled = Vec::new();
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                stalled.extend(watcher.move_stalled_jobs_to_wait().await.unwrap());
                tokio::time::sleep(Duration::from_millis(110)).await; // its pace
            }
            stalled
        })
    });
    let worker = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.id());
            async {
                let begun = Instant::now();
                while begun.elapsed() < LOCK * 2 + LOCK / 2 {
                    std::hint::spin_loop();
                }
                Ok::<_, Halt>(())
            }
        })
        .concurrency(4)
        .lock_duration(LOCK)
        .stalled_interval(LOCK)
        .start()
        .unwrap();
    let heard = listen(&worker);
    let all = || async { fixture.count(JobState::Completed).await == jobs || ran.len() > jobs };
    eventually_within(PATIENCE * 2, "all completed", all).await;
    drop(stop);
    let stalled = watcher.join().unwrap();
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, stalled), (jobs as u64, vec![], vec![]));
    assert_eq!(heard.count(|event| matches!(event, WorkerEvent::LockLost { .. })), 0);
    assert!(ran.tally().values().all(|runs| *runs == 1));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processors_that_spin_on_every_thread_keep_their_locks() {
    spins_two_locks_long(2).await;
}

#[tokio::test]
async fn a_processor_that_spins_on_the_only_thread_keeps_its_lock() {
    spins_two_locks_long(1).await;
}
