use oxmq::{Client, ConnectOptions, JobState};

use super::*;
use crate::common::eventually::eventually;
use crate::common::server::RedisServer;

#[tokio::test]
async fn an_overview_lists_queues_with_counts() {
    let on = Fixture::new().await;
    let quiet: Queue = on.client.queue("quiet").open().unwrap();
    quiet.write_meta().await.unwrap();
    assert_eq!(on.client.find_queues().all().await.unwrap(), ["q", "quiet"]);

    let added = now() - minutes(7);
    on.queue.add("old", json!(1)).job_id("old").timestamp(added).await.unwrap();
    add_named(&on.queue, "mail", 0..3).await;
    on.queue.add("later", json!(1)).delay(minutes(5)).await.unwrap();
    on.queue.pause().await.unwrap();
    on.queue.set_global_concurrency(7).await.unwrap();
    let overview = on.client.get_queue_overview("q").await.unwrap();
    assert_eq!((overview.counts.waiting, overview.counts.delayed, overview.waiting()), (4, 1, 4));
    assert!(overview.is_paused);
    assert_eq!(overview.global_concurrency, Some(7));
    let oldest = overview.oldest_waiting.unwrap();
    assert_eq!((oldest.id.as_str(), ms(oldest.added_at)), ("old", ms(added)));
    assert!(overview.version.unwrap().contains("oxmq"));

    let all = on.client.get_queue_overviews(&["quiet".to_owned(), "no:name".to_owned()]).await;
    assert!(all[0].as_ref().unwrap().oldest_waiting.is_none());
    assert!(all[1].is_err());
}

#[tokio::test]
async fn an_overview_takes_times_and_rates_from_the_last_jobs() {
    let on = Fixture::new().await;
    on.add_many(3).await;
    complete_next(&on, 2).await;
    let overview = on.client.get_queue_overview("q").await.unwrap();
    assert_eq!((overview.counts.get(JobState::Completed), overview.times.jobs), (2, 2));
    assert_eq!((overview.last_minute.completed, overview.last_hour.completed, overview.last_hour.failed), (2, 2, 0));
    assert!(overview.last_completed.is_some() && overview.last_failed.is_none() && overview.schedulers == 0);
    assert!(overview.times.wait_median.is_some() && overview.times.run_longest.is_some());
    assert_eq!(overview.completed.per_minute(5), None);
    // As a worker with metrics writes them.
    let mut redis = on.redis.clone();
    let at = ms(now());
    redis::pipe()
        .hset_multiple(
            on.key("metrics:completed"),
            &[("count", "50".to_owned()), ("prevTS", at.to_string()), ("prevCount", "40".to_owned())],
        )
        .rpush(on.key("metrics:completed:data"), &[6, 4])
        .exec_async(&mut redis)
        .await
        .unwrap();
    let completed = on.client.get_queue_overview("q").await.unwrap().completed;
    assert_eq!((completed.total, completed.minutes.last()), (50, Some(&4)));
}

#[tokio::test]
async fn workers_of_all_queues_are_found_in_one_call() {
    let on = Fixture::new().await;
    let process = async |_: Job<Value, ()>| Ok::<(), oxmq::Error>(());
    let workers = [
        on.client.worker("q", process).start().unwrap(),
        on.client.worker("q", process).name("the 1st").start().unwrap(),
        on.client.worker("other", process).start().unwrap(),
    ];
    eventually("three workers are connected", || async {
        let found = on.client.get_all_workers().await.unwrap();
        found.get("q").is_some_and(|all| all.len() == 2) && found.get("other").is_some_and(|all| all.len() == 1)
    })
    .await;
    for worker in workers {
        worker.close().await;
    }
}

/// Queues of the same name in several databases of a server have nothing to do with each other. Redis lists the clients
/// of all databases, with the database that each has chosen.
#[tokio::test]
async fn workers_of_another_database_are_not_counted() {
    let server = RedisServer::start();
    let on = Fixture::on(&server).await;
    let there = ConnectOptions::from_url(&server.url()).unwrap().db(1);
    let there = Client::builder(there).prefix(&on.prefix).connect().await.unwrap();
    let process = async |_: Job<Value, ()>| Ok::<(), oxmq::Error>(());
    let shared = there.worker("q", process).start().unwrap();
    let own = there.worker("q", process).name("busy").prefetch(1).start().unwrap();
    eventually("both are connected", || async {
        there.get_all_workers().await.unwrap().get("q").is_some_and(|all| all.len() == 2)
    })
    .await;
    assert!(on.client.get_all_workers().await.unwrap().is_empty(), "none works on this queue");
    let all = on.queue.get_workers().await.unwrap();
    assert_eq!((all.len(), all[0].get("db")), (2, Some("1")), "BullMQ names those of all databases");
    for worker in [shared, own] {
        worker.close().await;
    }
}
