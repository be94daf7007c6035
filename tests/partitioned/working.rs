//! One worker over all partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use oxmq::worker::WorkerEvent;
use oxmq::{Halt, Job, JobState, NewJob, Partitioned};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::Ground;
use crate::common::eventually::eventually_within;
use crate::common::fixture::{Ledger, PATIENCE};

/// Adds that many jobs to this partition.
async fn fill(mails: &Partitioned<Value, Value>, partition: usize, jobs: usize) {
    let jobs = (0..jobs).map(|n| NewJob::new("job", json!(n)));
    mails.partition(partition).unwrap().add_bulk(jobs).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_partitions_are_worked_on_within_one_concurrency() {
    let ground = Ground::new().await;
    let mails = ground.open(5).await;
    let (ran, at_once, most) = (Ledger::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    mails.add_bulk((0..100).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
    let processor = {
        let (ran, at_once, most) = (ran.clone(), Arc::clone(&at_once), Arc::clone(&most));
        move |job: Job<Value, Value>| {
            let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
            ran.note(job.data().to_string());
            async move {
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await; // the work itself
                at_once.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Halt>(json!(null))
            }
        }
    };
    let builder = mails.worker(processor).concurrency(7).name("ada");
    let mut events = builder.events();
    let worker = builder.start().unwrap();
    mails.add_bulk((100..200).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
    ran.until(200).await;
    let mut completed = BTreeMap::<usize, usize>::new();
    while completed.values().sum::<usize>() < 200 {
        let heard = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        if matches!(heard.item, WorkerEvent::Completed { .. }) {
            *completed.entry(heard.partition).or_default() += 1;
        }
    }
    assert_eq!(completed, (0..5).map(|partition| (partition, 40)).collect());
    assert_eq!(worker.counts_by_partition().iter().map(|counts| counts.completed).collect::<Vec<_>>(), [40; 5]);
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.handed_back.len()), (200, 0));
    assert!(ran.tally().len() == 200 && ran.tally().values().all(|runs| *runs == 1));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=7).contains(&most), "{most} at once");
    assert_eq!(mails.get_job_counts(&[]).await.unwrap().completed, 200);
    while let Some(heard) = events.recv().await {
        assert!(!matches!(heard.item, WorkerEvent::Error(_)), "{heard:?}");
    }
}

#[tokio::test]
async fn a_hot_partition_may_have_all_slots_and_starves_nobody() {
    const HOT: usize = 400;
    let ground = Ground::new().await;
    let mails = ground.open(6).await;
    let (started, gate) = (Ledger::default(), Arc::new(Semaphore::new(0)));
    let processor = {
        let (started, gate) = (started.clone(), Arc::clone(&gate));
        move |job: Job<Value, Value>| {
            let gate = Arc::clone(&gate);
            let is_hot = job.queue_name() == "mail-{0}";
            started.note(job.queue_name());
            async move {
                if is_hot {
                    gate.acquire().await.unwrap().forget();
                }
                Ok::<_, Halt>(json!(null))
            }
        }
    };
    let worker = mails.worker(processor).concurrency(4).start().unwrap();
    fill(&mails, 0, HOT).await;
    started.until(4).await;
    for partition in 1..6 {
        fill(&mails, partition, 1).await;
    }
    // Slots become free one by one, and the busy partition has a job for each of them.
    let (mut let_go, mut others) = (0, 0);
    while others < 5 {
        assert!(let_go < HOT - 4, "they get no slot: {:?}", started.tally());
        gate.add_permits(1);
        let_go += 1;
        let seen = started.len();
        let more = || async { (started.len() > seen).then_some(()) };
        eventually_within(PATIENCE, "the slot is used again", more).await;
        others = started.lines().iter().filter(|name| *name != "mail-{0}").count();
    }
    gate.add_permits(HOT);
    let report = worker.close().await;
    assert!(report.counts.completed >= 9, "{report:?}");
}

#[tokio::test]
async fn slots_for_long_jobs_are_shared_from_the_first_on() {
    let ground = Ground::new().await;
    let mails = ground.open(4).await;
    for partition in 0..4 {
        fill(&mails, partition, 20).await;
    }
    let (started, gate) = (Ledger::default(), Arc::new(Semaphore::new(0)));
    let processor = {
        let (started, gate) = (started.clone(), Arc::clone(&gate));
        move |job: Job<Value, Value>| {
            let gate = Arc::clone(&gate);
            started.note(job.queue_name());
            async move {
                drop(gate.acquire().await.unwrap());
                Ok::<_, Halt>(json!(null))
            }
        }
    };
    let worker = mails.worker(processor).concurrency(8).start().unwrap();
    started.until(8).await;
    // Each gets two, since the server answers all of them within a second.
    let shares = started.tally();
    assert!(shares.len() > 2 && shares.values().all(|jobs| *jobs <= 4), "{shares:?}");
    gate.add_permits(8);
    started.until(80).await;
    worker.close().await;
}

#[tokio::test]
async fn a_partitioned_worker_pauses_cancels_and_closes_as_one() {
    let ground = Ground::new().await;
    let mails = ground.open(3).await;
    let started = Ledger::default();
    let processor = {
        let started = started.clone();
        move |job: Job<Value, Value>| {
            started.note(format!("{} {}", job.queue_name(), job.id()));
            async move {
                match job.data().as_u64() {
                    Some(0) => Ok(json!(null)),
                    _ => {
                        job.cancellation().cancelled().await;
                        Err(Halt::Unrecoverable("told to stop".into()))
                    }
                }
            }
        }
    };
    let worker = mails.worker(processor).concurrency(2).start().unwrap();
    worker.pause().await.unwrap();
    assert!(worker.is_paused());
    join_all((0..3).map(|n| mails.partition(n).unwrap().add("job", json!(1)).into_future())).await;
    assert_eq!(mails.get_job_counts(&[]).await.unwrap().waiting, 3);
    worker.resume().await.unwrap();
    started.until(2).await;
    assert_eq!((worker.concurrency(), worker.health().running), (2, 2));
    let health = worker.health_probe();
    assert!(health().connected && health().running == 2);
    assert!(worker.set_concurrency(0).is_err());
    worker.set_concurrency(3).unwrap();
    started.until(3).await;
    let lines: BTreeSet<String> = started.lines().into_iter().collect();
    assert_eq!(lines, (0..3).map(|n| format!("mail-{{{n}}} 1")).collect());
    assert!(worker.cancel_job(1, "1", "not this one"));
    assert!(!worker.cancel_job(3, "1", "no such partition"));
    let failed = || async { mails.get_job_counts(&[JobState::Failed]).await.unwrap().failed == 1 };
    eventually_within(PATIENCE, "the cancelled job failed", failed).await;
    let probed = health.clone();
    let probing = tokio::spawn(async move {
        // A probe that asks while the worker closes is in nobody's way.
        while probed().connected {
            tokio::task::yield_now().await;
        }
    });
    let report = worker.close_within(Duration::ZERO).await;
    probing.await.unwrap();
    assert!(!health().connected && health().running == 0);
    assert_eq!((report.counts.failed + report.handed_back.len() as u64, report.lost.len()), (3, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_worker_that_was_killed_run_in_another_one() {
    let ground = Ground::new().await;
    let mails = ground.open(3).await;
    mails.add_bulk((0..12).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
    let life = Duration::from_millis(500);
    let started = Ledger::default();
    // The runtime ends, as if the process had died.
    let (dying, url, prefix) = (started.clone(), crate::common::server::shared_server().url(), ground.prefix.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = oxmq::ConnectOptions::from_url(&url).unwrap();
            let client = oxmq::Client::builder(options).prefix(prefix).connect().await.unwrap();
            let mails: Partitioned<Value, Value> = client.partitioned("mail", 3).open().await.unwrap();
            let noted = dying.clone();
            let processor = move |job: Job<Value, Value>| {
                noted.note(job.data().to_string());
                std::future::pending::<Result<Value, Halt>>()
            };
            let worker =
                mails.worker(processor).concurrency(5).lock_duration(life).stalled_interval(life / 2).start().unwrap();
            dying.until(5).await;
            std::mem::forget(worker);
        });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    let ran = Ledger::default();
    let noted = ran.clone();
    let processor = move |job: Job<Value, Value>| {
        noted.note(job.data().to_string());
        async { Ok::<_, Halt>(json!(null)) }
    };
    let builder = mails.worker(processor).concurrency(5).lock_duration(life).stalled_interval(life / 2);
    let worker = builder.max_stalled_count(5).drain_delay(life).start().unwrap();
    let done = || async { mails.get_job_counts(&[]).await.unwrap().completed == 12 };
    eventually_within(PATIENCE, "all jobs completed", done).await;
    assert_eq!(ran.tally().len(), 12);
    let report = worker.close().await;
    assert_eq!(report.counts.completed, 12);
}
