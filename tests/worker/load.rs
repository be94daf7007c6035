//! Many jobs, and large ones: each runs exactly once.

use std::time::Duration;

use oxmq::{Halt, Job, JobState, NewJob};
use serde_json::{Value, json};

use crate::common::check::check;
use crate::common::fixture::{Fixture, Ledger};

#[tokio::test]
async fn large_jobs_travel_in_calls_of_bounded_size() {
    let fixture = Fixture::new().await;
    let text = "x".repeat(100_000);
    let jobs = (0..200).map(|n| NewJob::new("job", json!({ "n": n, "text": text })).remove_on_complete(true));
    let ids: Vec<String> =
        fixture.queue.add_bulk(jobs).await.unwrap().into_iter().map(|job| job.unwrap().id().to_owned()).collect();
    let ran = Ledger::default();
    let ledger = ran.clone();
    let worker = fixture
        .worker(move |job: Job<Value, Value>| {
            ledger.note(job.id());
            // Large results too: they are settled in calls of bounded size.
            async move { Ok::<_, Halt>(job.data()["text"].clone()) }
        })
        .concurrency(200)
        .start()
        .unwrap();
    fixture.until(JobState::Waiting, 0).await;
    ran.until(200).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost), (200, vec![]));
    assert!(ran.tally().values().all(|runs| *runs == 1));
    check(&fixture, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_run_exactly_once() {
    let fixture = Fixture::new().await;
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).concurrency(500).start().unwrap();
    let ids = fixture.add_many(10_000).await;
    fixture.until_within(Duration::from_secs(180), JobState::Completed, 10_000).await;
    assert_eq!(worker.close().await.counts.completed, 10_000);
    let tally = ran.tally();
    assert!(tally.len() == 10_000 && tally.values().all(|runs| *runs == 1));
    let figures = check(&fixture, &ids).await;
    assert_eq!((figures.completed, figures.restarts), (10_000, 0));
}
