use std::collections::BTreeSet;

use futures::StreamExt;
use oxmq::JobState;
use oxmq::queue::{JobsCursor, Order};

use super::*;

#[tokio::test]
async fn a_filter_finds_what_it_names_in_every_state() {
    let on = Fixture::new().await;
    let queue = &on.queue;
    add_named(queue, "mail", 0..3).await;
    add_named(queue, "sms", 0..2).await;
    fail_next(&on, 5).await;
    add_named(queue, "mail", 10..12).await;
    queue.add("mail", json!({ "to": "ada" })).job_id("later").delay(minutes(9)).await.unwrap();
    queue.add("mail.bulk", json!({ "to": "ada" })).job_id("first").priority(2).await.unwrap();

    assert_eq!(ids(queue, JobFilter::failed().name("mail")).await, ["mail-0", "mail-1", "mail-2"]);
    assert_eq!(ids(queue, JobFilter::failed().name("s*")).await, ["sms-0", "sms-1"]);
    assert_eq!(ids(queue, JobFilter::failed().id("*-1")).await, ["mail-1", "sms-1"]);
    assert_eq!(ids(queue, JobFilter::failed().id("sms-1")).await, ["sms-1"]);
    assert_eq!(ids(queue, JobFilter::waiting().id("mail-11")).await, ["mail-11"]);
    assert_eq!(ids(queue, JobFilter::failed().reason_contains("no sms")).await, ["sms-0", "sms-1"]);
    assert_eq!(ids(queue, JobFilter::failed().data_contains("\"n\":2")).await, ["mail-2"]);
    assert_eq!(ids(queue, JobFilter::all().data_contains("ada")).await, ["first", "later"]);
    assert_eq!(ids(queue, JobFilter::waiting()).await, ["mail-10", "mail-11"]);
    assert_eq!(ids(queue, JobFilter::all().name("*il*ul*")).await, ["first"]);
    assert_eq!(ids(queue, JobFilter::all().name("ail*")).await, [""; 0]);
    assert_eq!(queue.jobs(JobFilter::all()).count().await.unwrap(), 9);
    assert_eq!(queue.jobs(JobFilter::all()).limit(4).count().await.unwrap(), 4);
    assert_eq!(queue.jobs(JobFilter::all()).count_candidates().await.unwrap(), 9);
    let streamed: Vec<_> = queue.jobs(JobFilter::all()).limit(6).stream().collect().await;
    assert_eq!(streamed.len(), 6);
    assert!(streamed.iter().all(Result::is_ok));
}

#[tokio::test]
async fn ages_count_as_in_clean() {
    let on = Fixture::new().await;
    let now = now();
    let add =
        async |id: &str, age: Duration| on.queue.add("old", json!(1)).job_id(id).timestamp(now - age).await.unwrap();
    add("ancient", minutes(90)).await;
    add("recent", minutes(2)).await;
    let waiting = JobFilter::waiting();
    assert_eq!(ids(&on.queue, waiting.clone().older_than(minutes(10))).await, ["ancient"]);
    assert_eq!(ids(&on.queue, waiting.clone().newer_than(minutes(10))).await, ["recent"]);
    assert_eq!(ids(&on.queue, waiting.clone().older_than(minutes(1)).newer_than(minutes(10))).await, ["recent"]);
    assert_eq!(ids(&on.queue, waiting.clone().since(now - minutes(91)).until(now - minutes(3))).await, ["ancient"]);
    // The age of a finished job counts from its end.
    complete_next(&on, 2).await;
    assert_eq!(ids(&on.queue, JobFilter::completed().newer_than(minutes(1))).await, ["ancient", "recent"]);
    assert_eq!(ids(&on.queue, JobFilter::completed().older_than(minutes(1))).await, [""; 0]);
}

/// Two thousand jobs finish in the same millisecond, so only their ids give their order.
#[tokio::test]
async fn pages_leave_nothing_out_where_many_finish_at_once() {
    let on = Fixture::new().await;
    let mut redis = on.redis.clone();
    let mut pipe = redis::pipe();
    for n in 0..2_000 {
        let id = format!("é{n}");
        pipe.zadd(on.key("completed"), &id, 1_700_000_000_000_u64).ignore();
        pipe.hset_multiple(on.key(&id), &[("name", "n"), ("data", "{}"), ("opts", "{}"), ("timestamp", "1")]).ignore();
    }
    pipe.exec_async(&mut redis).await.unwrap();
    for order in [Order::Ascending, Order::Descending] {
        let (mut found, mut cursor, mut calls) = (Vec::new(), None::<JobsCursor>, 0);
        loop {
            let mut jobs = on.queue.jobs(JobState::Completed).order(order);
            if let Some(cursor) = cursor {
                // Jobs that were already looked at are removed, and some that were not.
                if calls % 3 == 0 {
                    let () =
                        redis::cmd("ZREM").arg(on.key("completed")).arg(&found).query_async(&mut redis).await.unwrap();
                }
                jobs = jobs.resume(cursor.to_string().parse().unwrap());
            }
            let page = jobs.page(90).await.unwrap();
            found.extend(page.jobs.into_iter().map(|job| job.unwrap().id().to_owned()));
            calls += 1;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let distinct: BTreeSet<&String> = found.iter().collect();
        assert_eq!((found.len(), distinct.len()), (2_000, 2_000), "{order:?}");
        let mut pipe = redis::pipe();
        for id in &found {
            pipe.zadd(on.key("completed"), id, 1_700_000_000_000_u64).ignore();
        }
        pipe.exec_async(&mut redis).await.unwrap();
    }
}

/// Jobs come and go at both ends of the list while it is searched; all that stay are found.
#[tokio::test]
async fn jobs_that_stay_are_found_while_the_list_changes() {
    let on = Fixture::new().await;
    add_named(&on.queue, "taken", 0..700).await;
    add_named(&on.queue, "stays", 0..2_000).await;
    let mut found = BTreeSet::new();
    let (mut cursor, mut step) = (None::<JobsCursor>, 0);
    loop {
        let mut jobs = on.queue.jobs(JobState::Waiting);
        if let Some(cursor) = cursor {
            jobs = jobs.resume(cursor);
        }
        let page = jobs.page(100).await.unwrap();
        found.extend(page.jobs.into_iter().map(|job| job.unwrap().id().to_owned()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        add_named(&on.queue, "new", step * 10..step * 10 + 10).await;
        on.queue.add("urgent", json!(1)).lifo(true).await.unwrap();
        complete_next(&on, 20).await;
        step += 1;
    }
    let stayed = found.iter().filter(|id| id.starts_with("stays")).count();
    assert_eq!(stayed, 2_000);
}

#[tokio::test]
async fn an_invalid_cursor_is_refused() {
    for text in ["", "x", "W10", "bnVsbA"] {
        assert!(text.parse::<JobsCursor>().is_err(), "{text}");
    }
    let on = Fixture::new().await;
    on.add_many(3).await;
    let page = on.queue.jobs(JobState::Waiting).page(1).await.unwrap();
    let cursor = page.next.unwrap();
    assert_eq!(cursor.to_string().parse::<JobsCursor>().unwrap(), cursor);
    assert_eq!((page.looked_at, cursor.looked_at()), (1, 1));
    assert_eq!(page.states, [JobState::Waiting]);
}
