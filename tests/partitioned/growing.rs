//! More partitions while everything runs, and settings for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxmq::events::QueueEvent;
use oxmq::{Error, Halt, Job, JobState, NewJob, Partitioned};
use serde_json::{Value, json};

use super::Ground;
use crate::common::eventually::eventually_within;
use crate::common::fixture::{Ledger, PATIENCE};
use crate::common::server::connect_to_key;

/// Returns the limits of each partition: concurrency, jobs in a window, and whether it is paused.
async fn limits(mails: &Partitioned<Value, Value>) -> Vec<(Option<u64>, Option<u64>, bool)> {
    let mut all = Vec::new();
    for partition in 0..mails.partitions() {
        let meta = mails.partition(partition).unwrap().get_meta().await.unwrap();
        all.push((meta.concurrency, meta.max, meta.paused));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_keys_keep_their_order_while_partitions_come() {
    const KEYS: usize = 20;
    let ground = Ground::new().await;
    let mails = ground.open(2).await;
    mails.set_partition_concurrency(1).await.unwrap();
    let (ran, seen) = (Ledger::default(), Arc::new(Mutex::new(HashMap::<(String, u64), Vec<u64>>::new())));
    let processor = {
        let (ran, seen) = (ran.clone(), Arc::clone(&seen));
        move |job: Job<Value, Value>| {
            let (key, number) = (job.data()["key"].as_u64().unwrap(), job.data()["n"].as_u64().unwrap());
            ran.note(format!("{key} {number}"));
            seen.lock().unwrap().entry((job.queue_name().to_owned(), key)).or_default().push(number);
            async { Ok::<_, Halt>(json!(null)) }
        }
    };
    let worker = mails.worker(processor).concurrency(6).start().unwrap();
    let (stop, added_by_all) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let producers: Vec<_> = (0..2)
        .map(|producer| {
            let (mails, ran, stop, added_by_all) =
                (mails.clone(), ran.clone(), Arc::clone(&stop), Arc::clone(&added_by_all));
            tokio::spawn(async move {
                let mut added = 0;
                while !stop.load(Ordering::Relaxed) {
                    let key = (2 * added + producer) % KEYS;
                    let data = json!({ "key": key, "n": added });
                    mails.add_by_key(key.to_string(), "job", data).await.unwrap();
                    added += 1;
                    // The producers stay only a little ahead of the worker.
                    let all = added_by_all.fetch_add(1, Ordering::SeqCst) + 1;
                    ran.until(all.saturating_sub(100)).await;
                }
                added
            })
        })
        .collect();
    ran.until(50).await;
    assert_eq!(mails.grow(7).await.unwrap(), 7);
    let grown = || async {
        let counts = mails.get_job_counts_by_partition(&[JobState::Completed]).await;
        counts.len() == 7 && counts[2..].iter().filter(|counts| counts.as_ref().unwrap().completed > 0).count() >= 3
    };
    eventually_within(PATIENCE, "the new partitions are added to and worked on", grown).await;
    stop.store(true, Ordering::Relaxed);
    let mut added: usize = 0;
    for producer in producers {
        added += producer.await.unwrap();
    }
    ran.until(added).await;
    assert_eq!(worker.close().await.counts.completed, added as u64);
    assert_eq!(mails.get_job_counts(&[]).await.unwrap().completed, added as u64);
    assert!(ran.tally().values().all(|runs| *runs == 1));
    for ((partition, key), numbers) in seen.lock().unwrap().iter() {
        assert!(numbers.is_sorted(), "{key} in {partition}: {numbers:?}");
    }
}

#[tokio::test]
async fn settings_apply_to_partitions_added_later() {
    let ground = Ground::new().await;
    let mails = ground.open(2).await;
    mails.set_global_concurrency(5).await.unwrap();
    mails.set_global_rate_limit(7, Duration::from_secs(3)).await.unwrap();
    assert_eq!(limits(&mails).await, [(Some(3), Some(4), false), (Some(2), Some(3), false)]);
    let error = mails.grow(6).await.unwrap_err();
    assert!(matches!(error, Error::InvalidOption { option: "set_global_concurrency", .. }), "{error}");
    assert_eq!((mails.partitions(), ground.open(1).await.partitions()), (2, 2), "nothing was changed");
    mails.pause().await.unwrap();
    assert!(mails.is_paused().await.unwrap());
    mails.grow(4).await.unwrap();
    let expected = [(2, 2), (1, 2), (1, 2), (1, 1)].map(|(jobs, max)| (Some(jobs), Some(max), true));
    assert_eq!(limits(&mails).await, expected);
    mails.resume().await.unwrap();
    mails.set_partition_concurrency(9).await.unwrap();
    mails.remove_global_rate_limit().await.unwrap();
    assert_eq!(limits(&mails).await, [(Some(9), None, false); 4]);
    mails.remove_global_concurrency().await.unwrap();
    assert_eq!(limits(&mails).await, [(None, None, false); 4]);
    mails.grow(5).await.unwrap();
    assert_eq!(limits(&mails).await, [(None, None, false); 5]);
}

#[tokio::test]
async fn partitions_are_paused_retried_and_listened_to_as_one() {
    let ground = Ground::new().await;
    let mails = ground.open(2).await;
    let mut events = mails.events().unwrap();
    events.ready().await.unwrap();
    mails.grow(3).await.unwrap();
    let fails = async |_: Job<Value, Value>| Err::<Value, _>(Halt::unrecoverable("no"));
    let worker = mails.worker(fails).concurrency(3).start().unwrap();
    for partition in 0..3 {
        mails.partition(partition).unwrap().add("job", json!(1)).await.unwrap();
    }
    let mut failed = Vec::new();
    while failed.len() < 3 {
        let heard = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        if let Some(QueueEvent::Failed { job_id, .. }) = heard.item.into_event() {
            failed.push((heard.partition, job_id));
        }
    }
    failed.sort();
    assert_eq!(failed, (0..3).map(|partition| (partition, "1".to_owned())).collect::<Vec<_>>());
    worker.close().await;
    mails.pause().await.unwrap();
    assert_eq!(mails.retry_jobs(JobState::Failed, None).await.unwrap(), 3);
    assert_eq!(mails.get_job_counts(&[]).await.unwrap().waiting, 3);
    mails.add("later", json!(1)).delay(Duration::from_secs(3_600)).await.unwrap();
    assert_eq!(mails.promote_jobs().await.unwrap(), 1);
    assert_eq!(mails.drain().await.unwrap(), 4);
    mails.add("later", json!(1)).delay(Duration::from_secs(3_600)).await.unwrap();
    assert_eq!(mails.clean(Duration::ZERO, 0, JobState::Delayed).await.unwrap().len(), 1);
    // A broken partition is reported, and the others get the setting.
    mails.partition(1).unwrap().add("job", json!(1)).await.unwrap();
    mails.partition(1).unwrap().resume().await.unwrap();
    let held = ground.client.manual_worker::<Value, Value>("mail-{1}").open().unwrap();
    held.get_next_job("t").await.unwrap().unwrap();
    mails.add_bulk((0..9).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
    let jobs = mails.get_job_counts(&[]).await.unwrap().total();
    let error = mails.obliterate().await.unwrap_err();
    let Error::Partitions { of: 3, failed, .. } = &error else { panic!("{error}") };
    assert_eq!(failed.iter().map(|(partition, _)| partition).collect::<Vec<_>>(), [1]);
    // Nothing was deleted, and all are paused as they are meant to be.
    assert_eq!(mails.get_job_counts(&[]).await.unwrap().total(), jobs);
    assert!(limits(&mails).await.into_iter().all(|(_, _, is_paused)| is_paused));
    mails.resume().await.unwrap();
    mails.obliterate().await.unwrap_err();
    assert!(limits(&mails).await.into_iter().all(|(_, _, is_paused)| !is_paused));
    mails.obliterate_by_force().await.unwrap();
    assert_eq!(mails.get_job_counts(&[]).await.unwrap().total(), 0);
}

/// If one caller pauses and another resumes at the same moment, all partitions are as the later one wants them.
#[tokio::test]
async fn pausing_and_resuming_at_once_leaves_no_partition_behind() {
    let ground = Ground::new().await;
    let (here, there) = (ground.open(4).await, ground.open(4).await);
    let key = format!("{}:mail-{{0}}:oxmq:partitions", ground.prefix);
    let mut redis = connect_to_key(&key).await;
    for round in 0..25 {
        let (paused, resumed) = match round % 2 {
            0 => futures::join!(here.pause(), there.resume()),
            _ => futures::join!(there.pause(), here.resume()),
        };
        paused.and(resumed).unwrap();
        let stored: bool = redis::cmd("HEXISTS").arg(&key).arg("paused").query_async(&mut redis).await.unwrap();
        let all: Vec<bool> = limits(&here).await.into_iter().map(|(_, _, is_paused)| is_paused).collect();
        assert_eq!(all, [stored; 4], "round {round}");
    }
}

/// A partition that did not get its share of a limit gets it with the next call, or once a worker starts.
#[tokio::test]
async fn growing_that_failed_halfway_is_completed_later() {
    for by_worker in [false, true] {
        let ground = Ground::new().await;
        let mails = ground.open(2).await;
        mails.set_global_concurrency(12).await.unwrap();
        // The key is no hash, so it takes no limit.
        let meta = format!("{}:mail-{{2}}:meta", ground.prefix);
        let mut redis = connect_to_key(&meta).await;
        let () = redis::cmd("SET").arg(&meta).arg("spoilt").query_async(&mut redis).await.unwrap();
        let error = mails.grow(3).await.unwrap_err();
        let Error::Partitions { failed, .. } = &error else { panic!("{error}") };
        assert_eq!(failed.iter().map(|(partition, _)| partition).collect::<Vec<_>>(), [2]);
        assert_eq!(limits(&mails).await, [(Some(4), None, false); 2], "never more than was allowed");
        let () = redis::cmd("DEL").arg(&meta).query_async(&mut redis).await.unwrap();
        if by_worker {
            let again = ground.open(2).await;
            let worker = again.worker(async |_: Job<Value, Value>| Ok::<_, Halt>(json!(null))).start().unwrap();
            let whole = || async { again.partitions() == 3 && limits(&again).await == [(Some(4), None, false); 3] };
            eventually_within(PATIENCE, "the worker has brought it to its end", whole).await;
            worker.close().await;
        } else {
            assert_eq!(mails.grow(3).await.unwrap(), 3);
        }
        mails.grow(3).await.unwrap();
        assert_eq!(limits(&mails).await, [(Some(4), None, false); 3]);
        let key = format!("{}:mail-{{0}}:oxmq:partitions", ground.prefix);
        let redis = connect_to_key(&key).await;
        let ends = || async {
            !redis::cmd("HEXISTS").arg(&key).arg("growing").query_async::<bool>(&mut redis.clone()).await.unwrap()
        };
        eventually_within(PATIENCE, "nobody grows any more", ends).await;
    }
}
