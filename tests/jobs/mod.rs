//! Jobs that a filter selects: found in every state, and changed in bulk while workers run.

mod bulk;
mod moving;
mod overview;
mod search;
mod status;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxmq::options::JobFilter;
use oxmq::{Job, NewJob, Queue};
use serde_json::{Value, json};

use crate::common::fixture::Fixture;

/// Returns the ids of all jobs that the filter selects, sorted.
async fn ids(queue: &Queue, filter: JobFilter) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let mut jobs = queue.jobs(filter.clone());
        if let Some(cursor) = cursor {
            jobs = jobs.resume(cursor);
        }
        let page = jobs.page(7).await.unwrap();
        ids.extend(page.jobs.into_iter().map(|job| job.unwrap().id().to_owned()));
        cursor = page.next;
        if cursor.is_none() {
            ids.sort_unstable();
            ids.dedup();
            return ids;
        }
    }
}

/// Adds jobs of a name, with `{"n": …}` as their data and ids `<name>-<n>`.
async fn add_named(queue: &Queue, name: &str, numbers: std::ops::Range<usize>) {
    let jobs = numbers.map(|n| NewJob::new(name, json!({ "n": n })).job_id(format!("{name}-{n}")));
    for job in queue.add_bulk(jobs).await.unwrap() {
        job.unwrap();
    }
}

/// Fails the next jobs, that many, for a reason that contains their name.
async fn fail_next(on: &Fixture, jobs: usize) {
    let manual = on.client.manual_worker::<Value, Value>("q").open().unwrap();
    for _ in 0..jobs {
        let job: Job = manual.get_next_job("t").await.unwrap().unwrap();
        job.move_to_failed(format!("no {} today", job.name()), "t").await.unwrap();
    }
}

/// Completes the next jobs, that many.
async fn complete_next(on: &Fixture, jobs: usize) {
    let manual = on.client.manual_worker::<Value, Value>("q").open().unwrap();
    for _ in 0..jobs {
        let job: Job = manual.get_next_job("t").await.unwrap().unwrap();
        job.move_to_completed(&json!(1), "t").await.unwrap();
    }
}

/// Returns the time of the clock that stamps jobs.
fn now() -> SystemTime {
    oxmq::client::Clock::system().now()
}

fn ms(moment: SystemTime) -> u64 {
    u64::try_from(moment.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}
