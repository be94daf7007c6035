use std::sync::Arc;

use oxmq::error::Reason;
use oxmq::queue::BulkOutcome;
use oxmq::{FlowNode, JobState};

use super::*;
use crate::common::eventually::eventually;
use crate::common::fixture::Ledger;

#[tokio::test]
async fn waiting_jobs_move_in_their_order_and_run_there() {
    let on = Fixture::new().await;
    let other: Queue = on.client.queue("other").open().unwrap();
    other.add("there", json!({ "n": 0 })).await.unwrap();
    for n in 1..=300 {
        on.queue.add("moves", json!({ "n": n })).attempts(4).await.unwrap();
    }
    on.queue.add("stays", json!({ "n": 0 })).await.unwrap();
    let report = on.queue.jobs(JobFilter::waiting().name("moves")).move_to("other").await.unwrap();
    assert_eq!((report.done, on.count(JobState::Waiting).await), (300, 1));
    let jobs = other.get_jobs(&[JobState::Waiting], 0, -1, oxmq::queue::Order::Ascending).await.unwrap();
    let numbers: Vec<u64> = jobs.iter().map(|job| job.as_ref().unwrap().data()["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=300).chain([0]).collect::<Vec<_>>());
    assert_eq!(jobs[0].as_ref().unwrap().attempts(), 4);

    let ledger = Ledger::default();
    let note = ledger.clone();
    let worker = on
        .client
        .worker("other", move |job: Job<Value, ()>| {
            let note = note.clone();
            async move {
                note.note(job.id());
                Ok::<(), oxmq::Error>(())
            }
        })
        .start()
        .unwrap();
    ledger.until(301).await;
    worker.close().await;
    assert!(ledger.tally().values().all(|times| *times == 1));
}

#[tokio::test]
async fn each_state_is_kept_and_so_are_logs_and_ids_of_the_users() {
    let on = Fixture::new().await;
    let other: Queue = on.client.queue("other").open().unwrap();
    add_named(&on.queue, "failed", 0..1).await;
    on.queue.job("failed-0").add_log("a line", 0).await.unwrap();
    fail_next(&on, 1).await;
    let delayed = on.queue.add("delayed", json!(1)).delay(minutes(30)).await.unwrap();
    on.queue.add("ranked", json!(1)).job_id("ranked").priority(3).await.unwrap();
    let due = on.client.get_queue_overview("q").await.unwrap().next_due.unwrap();

    let mut run = on
        .queue
        .jobs(JobFilter::new([JobState::Failed, JobState::Delayed, JobState::Prioritized]))
        .move_to("other")
        .start()
        .unwrap();
    let mut went = Vec::new();
    while let Some(step) = run.next().await.unwrap() {
        went.extend(step.outcomes);
    }
    let new_id = |old: &str| {
        went.iter().find_map(|(id, outcome)| match outcome {
            BulkOutcome::MovedAs(new) if id == old => Some(new.clone()),
            _ => None,
        })
    };
    assert_eq!(new_id("failed-0").as_deref(), Some("failed-0"));
    assert_eq!(new_id("ranked").as_deref(), Some("ranked"));
    assert_eq!(new_id(delayed.id()).as_deref(), Some("1"));
    assert_eq!(other.job("failed-0").get_state().await.unwrap(), JobState::Failed);
    assert_eq!(other.job("ranked").get_state().await.unwrap(), JobState::Prioritized);
    assert_eq!(other.get_job("failed-0").await.unwrap().unwrap().failed_reason(), Some("no failed today"));
    assert_eq!(other.job("failed-0").get_logs(0, -1, oxmq::queue::Order::Ascending).await.unwrap().logs, ["a line"]);
    assert_eq!(ms(on.client.get_queue_overview("other").await.unwrap().next_due.unwrap()), ms(due));
    assert_eq!(on.queue.get_job_counts(&[]).await.unwrap().total(), 0);
    let left: Vec<String> =
        redis::cmd("KEYS").arg(on.key("failed-0*")).query_async(&mut on.redis.clone()).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn parts_of_a_flow_and_taken_ids_stay() {
    let on = Fixture::new().await;
    let other: Queue = on.client.queue("other").open().unwrap();
    let flow = FlowNode::new("q", "parent", json!(1)).children([FlowNode::new("q", "child", json!(1))]);
    on.client.flow_producer().add(flow).await.unwrap();
    on.queue.add("twin", json!(1)).job_id("twin").await.unwrap();
    other.add("twin", json!("its own")).job_id("twin").await.unwrap();
    let report = on.queue.jobs(JobFilter::waiting()).move_to("other").await.unwrap();
    assert_eq!((report.done, report.refused), (0, 2));
    let mut reasons: Vec<Reason> = report.refusals.iter().map(|(_, reason)| *reason).collect();
    reasons.sort_by_key(|reason| reason.code());
    assert_eq!(reasons, [Reason::IdTaken, Reason::PartOfFlow]);
    assert_eq!(on.count(JobState::Waiting).await, 2);
    assert_eq!(other.get_job("twin").await.unwrap().unwrap().data(), &json!("its own"));
}

/// A worker takes jobs while they are moved: each runs once, in one queue or the other.
#[tokio::test]
async fn each_job_runs_once_while_it_moves() {
    let on = Fixture::new().await;
    on.add_many(2_000).await;
    let ledger = Ledger::default();
    let run = |queue: &'static str| {
        let note = ledger.clone();
        let work = move |job: Job<Value, ()>| {
            let note = note.clone();
            async move {
                note.note(job.data()["n"].to_string());
                Ok::<(), oxmq::Error>(())
            }
        };
        on.client.worker(queue, work).concurrency(10).start().unwrap()
    };
    let workers = [run("q"), run("other")];
    let report = on.queue.jobs(JobFilter::waiting()).move_to("other").await.unwrap();
    ledger.until(2_000).await;
    let client = Arc::new(on.client.clone());
    eventually("both queues are empty", || async {
        let queues = ["q".to_owned(), "other".to_owned()];
        let overviews = client.get_queue_overviews(&queues).await;
        overviews.into_iter().all(|overview| overview.is_ok_and(|o| o.waiting() + o.counts.active == 0))
    })
    .await;
    for worker in workers {
        worker.close().await;
    }
    assert!(report.done > 0);
    assert!(ledger.tally().len() == 2_000 && ledger.lines().len() == 2_000);
}

#[tokio::test]
async fn a_number_that_cannot_be_read_stops_a_move_before_its_first_job() {
    let on = Fixture::new().await;
    for id in [None, Some("own"), None] {
        let job = on.queue.add("moves", json!(1));
        let job = if let Some(id) = id { job.job_id(id) } else { job };
        job.await.unwrap();
    }
    let counter = format!("{}:other:id", on.prefix);
    let _: () = redis::cmd("SET").arg(&counter).arg("abc").query_async(&mut on.redis.clone()).await.unwrap();
    on.queue.jobs(JobFilter::waiting()).move_to("other").await.unwrap_err();
    let other: Queue = on.client.queue("other").open().unwrap();
    assert_eq!(other.get_job_counts(&[]).await.unwrap().total(), 0);
    assert_eq!(on.count(JobState::Waiting).await, 3);
    assert!(on.field("own", "data").await.is_some());
}

#[tokio::test]
async fn a_counter_that_lags_behind_is_passed_in_steps_that_double() {
    let on = Fixture::new().await;
    let other: Queue = on.client.queue("other").open().unwrap();
    for job in other.add_bulk((0..300).map(|n| NewJob::new("there", json!({ "n": n })))).await.unwrap() {
        job.unwrap();
    }
    let counter = format!("{}:other:id", on.prefix);
    let _: () = redis::cmd("SET").arg(&counter).arg(0).query_async(&mut on.redis.clone()).await.unwrap();
    on.queue.add("moves", json!(1)).await.unwrap();
    on.queue.jobs(JobFilter::waiting()).move_to("other").await.unwrap();
    // The positions 1, 2, 4 … are tried.
    let moved = other.get_job("512").await.unwrap().unwrap();
    assert_eq!((moved.name(), other.get_job_counts(&[]).await.unwrap().total()), ("moves", 301));
}
