//! Which partition a job goes to, and how many partitions there are.

use std::collections::BTreeSet;
use std::time::Duration;

use oxmq::queue::Order;
use oxmq::{Client, ConnectOptions, Error, JobState, NewJob};
use serde_json::{Value, json};

use super::Ground;
use crate::common::eventually::eventually_within;
use crate::common::fixture::PATIENCE;
use crate::common::server::{fresh_prefix, shared_server};

#[tokio::test]
async fn a_key_has_one_partition_and_adds_in_turn_go_to_all() {
    let ground = Ground::new().await;
    let mails = ground.open(4).await;
    for n in 0..8 {
        let job = mails.add_by_key("ada", "welcome", json!(n)).await.unwrap();
        assert_eq!(job.queue_name(), mails.partition_of("ada").name());
        assert_eq!(mails.number_of_queue(job.queue_name()), Some(mails.number_of("ada")));
    }
    let turns: BTreeSet<String> = {
        let jobs = futures::future::join_all((0..4).map(|n| mails.add("news", json!(n)).into_future())).await;
        jobs.into_iter().map(|job| job.unwrap().queue_name().to_owned()).collect()
    };
    assert_eq!(turns, (0..4).map(|partition| format!("mail-{{{partition}}}")).collect());
    let counts = mails.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.waiting, mails.count().await.unwrap()), (12, 12));
    let by_partition = mails.get_job_counts_by_partition(&[JobState::Waiting]).await;
    let by_partition: Vec<u64> = by_partition.into_iter().map(|counts| counts.unwrap().waiting).collect();
    let expected: Vec<u64> = (0..4).map(|n| if n == mails.number_of("ada") { 9 } else { 1 }).collect();
    assert_eq!(by_partition, expected);
    // Ids begin with 1 in each partition.
    let found = mails.find_jobs("1").await.unwrap();
    assert_eq!(found.iter().map(|found| found.partition).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let first = mails.get_jobs(&[JobState::Waiting], 0, 5, Order::Ascending).await.unwrap();
    let places: Vec<usize> = first.iter().map(|job| job.partition).collect();
    assert_eq!(places, [0, 1, 2, 3, mails.number_of("ada")]);
    assert!(mails.partition(4).is_none() && mails.number_of_queue("mail-{04}").is_none());
}

#[tokio::test]
async fn a_bulk_add_answers_in_the_order_given_and_names_the_job_that_breaks_a_rule() {
    let ground = Ground::new().await;
    let mails = ground.open(3).await;
    let jobs = (0..300).map(|n| (format!("key-{}", n % 7), NewJob::new("job", json!(n))));
    let added = mails.add_bulk_by_key(jobs).await.unwrap();
    for (n, job) in added.into_iter().enumerate() {
        let job = job.unwrap();
        assert_eq!(job.data(), &json!(n));
        assert_eq!(job.queue_name(), mails.partition_of(format!("key-{}", n % 7)).name());
    }
    assert_eq!(mails.add_bulk((0..30).map(|n| NewJob::new("job", json!(n)))).await.unwrap().len(), 30);
    let jobs = (0..9).map(|n| NewJob::new("job", json!(n)).priority(if n == 5 { u32::MAX } else { 0 }));
    let error = mails.add_bulk(jobs).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidOption { problem, .. } if problem.ends_with("(job 5, 'job')")), "{error}");
    assert_eq!(mails.count().await.unwrap(), 330, "none of them was sent");
}

#[tokio::test]
async fn the_stored_number_counts_and_only_grows() {
    let ground = Ground::new().await;
    let mails = ground.open(4).await;
    let others = ground.open(9).await;
    assert_eq!((mails.partitions(), others.partitions()), (4, 4));
    assert_eq!(mails.grow(6).await.unwrap(), 6);
    assert_eq!(mails.grow(2).await.unwrap(), 6);
    eventually_within(PATIENCE, "the other handle knows of the new partitions", || async { others.partitions() == 6 })
        .await;
    assert!(others.partition(5).is_some());
    mails.obliterate().await.unwrap();
    assert_eq!(ground.open(2).await.partitions(), 2);
}

#[tokio::test]
async fn invalid_names_and_numbers_of_partitions_are_refused() {
    let ground = Ground::new().await;
    for (name, partitions) in [("mail", 0), ("mail", 1_025), ("{mail}", 4), ("ma:il", 4), ("", 4)] {
        let opened = ground.client.partitioned::<Value, Value>(name, partitions).open().await;
        assert!(matches!(opened, Err(Error::InvalidOption { .. })), "{name} {partitions}");
    }
    // On one server it does not matter where the hash tag is.
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let is_cluster = shared_server().url().starts_with("redis+cluster");
    let prefix = format!("{{{}}}", fresh_prefix().replace(['{', '}'], ""));
    let tagged = Client::builder(options).prefix(prefix).connect().await.unwrap();
    let opened = tagged.partitioned::<Value, Value>("mail", 2).refresh_interval(Duration::from_secs(1)).open().await;
    assert_eq!(opened.is_err(), is_cluster);
}
