//! The arguments of a partitioned queue and of its worker.

use oxmq::Partitioned;
use oxmq::queue::Order;

use super::*;

type Mails = Partitioned<Value, Value>;

/// Opens a partitioned queue with one job in each of its two partitions.
async fn mails() -> Mails {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let prefix = fresh_prefix().replace(['{', '}'], "");
    let client = Client::builder(options).prefix(prefix).connect().await.unwrap();
    let mails: Mails = client.partitioned("mail", 2).open().await.unwrap();
    for _ in 0..2 {
        mails.add("job", json!(1)).job_id("job").await.unwrap();
    }
    mails
}

fn asked<V, Fut>(
    name: &'static str,
    values: &[V],
    expected: &str,
    call: impl Fn(Mails, V) -> Fut + Copy + Send + Sync + 'static,
) -> Row
where
    V: Debug + Clone + Send + Sync + 'static,
    Fut: Future<Output = oxmq::Result<()>> + Send + 'static,
{
    row(name, values, expected, move |_, value| async move { call(mails().await, value).await })
}

/// Returns the error of the first partition, which is the one that a single queue would return.
fn first(answer: oxmq::Result<()>) -> oxmq::Result<()> {
    match answer {
        Err(Error::Partitions { failed, .. }) => {
            let broken = |(_, error): (usize, &Error)| match error {
                Error::InvalidOption { option, problem } => (*option, problem.clone()),
                other => panic!("{other}"),
            };
            let (option, problem) = failed.iter().map(broken).next().expect("one has failed");
            Err(Error::InvalidOption { option, problem })
        }
        other => other,
    }
}

async fn done(_: Job<Value, Value>) -> Result<Value, oxmq::Halt> {
    Ok(json!(null))
}

pub(super) fn rows() -> Vec<Row> {
    [opened(), steered(), read(), worked()].into_iter().flatten().collect()
}

fn opened() -> Vec<Row> {
    fn open(client: &Client, name: &str, partitions: usize) -> oxmq::partitioned::PartitionedBuilder<Value, Value> {
        client.partitioned(name, partitions)
    }
    async fn client() -> Client {
        let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
        Client::builder(options).prefix(fresh_prefix().replace(['{', '}'], "")).connect().await.unwrap()
    }
    vec![
        row(
            "Client::partitioned(name)",
            &["", "a:b", "a{b", "é", &LONG[..249], &LONG[..250]],
            "xxxoox",
            |_, name| async move { open(&client().await, name, 2).open().await.map(drop) },
        ),
        row("Client::partitioned(partitions)", &USIZE, "xox", |_, partitions| async move {
            open(&client().await, "mail", partitions).open().await.map(drop)
        }),
        row("PartitionedBuilder::refresh_interval(interval)", &SPANS, "xxox", |_, interval| async move {
            open(&client().await, "mail", 2).refresh_interval(interval).open().await.map(drop)
        }),
        asked("Partitioned::partition(number)", &USIZE, "ooo", |mails, number| async move {
            assert_eq!(mails.partition(number).is_some(), number < 2);
            Ok(())
        }),
        asked("Partitioned::number_of_queue(name)", &TEXTS, "ooooo", |mails, name| async move {
            assert_eq!(mails.number_of_queue(name), None);
            Ok(())
        }),
        asked("Partitioned::grow(partitions)", &USIZE, "xox", |mails, partitions| async move {
            mails.grow(partitions).await.map(drop)
        }),
        asked("Partitioned::add(name)", &TEXTS, "ooooo", |mails, name| async move {
            mails.add(name, json!(1)).await.map(drop)
        }),
        asked("Partitioned::add_by_key(name)", &TEXTS, "ooooo", |mails, name| async move {
            mails.add_by_key(name, name, json!(1)).await.map(drop)
        }),
    ]
}

fn steered() -> Vec<Row> {
    vec![
        asked("Partitioned::set_global_concurrency(jobs)", &U32, "xxo", |mails, jobs| async move {
            mails.set_global_concurrency(jobs).await
        }),
        asked("Partitioned::set_partition_concurrency(jobs)", &U32, "xoo", |mails, jobs| async move {
            mails.set_partition_concurrency(jobs).await
        }),
        asked("Partitioned::set_global_rate_limit(max)", &U64, "xxx", |mails, max| async move {
            mails.set_global_rate_limit(max, Duration::from_secs(1)).await
        }),
        asked("Partitioned::set_global_rate_limit(window)", &SPANS, "xxox", |mails, window| async move {
            mails.set_global_rate_limit(5, window).await
        }),
        asked("Partitioned::clean(grace)", &SPANS, "oooo", |mails, grace| async move {
            mails.clean(grace, 0, JobState::Waiting).await.map(drop)
        }),
        asked("Partitioned::clean(limit)", &U64, "ooo", |mails, limit| async move {
            mails.clean(Duration::ZERO, limit, JobState::Waiting).await.map(drop)
        }),
        asked("Partitioned::clean(state)", &states(), "oooooooox", |mails, state| async move {
            first(mails.clean(Duration::ZERO, 0, state).await.map(drop))
        }),
        asked("Partitioned::retry_jobs(state)", &states(), "ooxxxxxxx", |mails, state| async move {
            first(mails.retry_jobs(state, None).await.map(drop))
        }),
        asked("Partitioned::retry_jobs(until)", &moments(), "oooo", |mails, until| async move {
            mails.retry_jobs(JobState::Failed, Some(until)).await.map(drop)
        }),
    ]
}

fn read() -> Vec<Row> {
    vec![
        asked("Partitioned::get_job_counts(states)", &states(), "ooooooooo", |mails, state| async move {
            mails.get_job_counts(&[state]).await.map(drop)
        }),
        asked("Partitioned::get_job_counts_by_partition(states)", &states(), "ooooooooo", |mails, state| async move {
            mails.get_job_counts_by_partition(&[state]).await.into_iter().collect::<oxmq::Result<Vec<_>>>().map(drop)
        }),
        asked("Partitioned::find_jobs(id)", &TEXTS, "ooooo", |mails, id| async move {
            assert!(mails.find_jobs(id).await?.is_empty());
            Ok(())
        }),
        asked("Partitioned::get_jobs(states)", &states(), "ooooooooo", |mails, state| async move {
            mails.get_jobs(&[state], 0, 5, Order::Ascending).await.map(drop)
        }),
        asked("Partitioned::get_jobs(start)", &USIZE, "oox", |mails, start| async move {
            mails.get_jobs(&[], start, 5, Order::Ascending).await.map(drop)
        }),
        asked("Partitioned::get_jobs(count)", &USIZE, "oox", |mails, count| async move {
            assert_eq!(mails.get_jobs(&[], 0, count, Order::Descending).await?.len(), count);
            Ok(())
        }),
    ]
}

fn worked() -> Vec<Row> {
    vec![
        asked("PartitionedWorker::set_concurrency(jobs)", &USIZE, "xoo", |mails, jobs| async move {
            let worker = mails.worker(done).start()?;
            let set = worker.set_concurrency(jobs);
            worker.close().await;
            set
        }),
        asked("PartitionedWorker::cancel_job(partition)", &USIZE, "ooo", |mails, partition| async move {
            let worker = mails.worker(done).start()?;
            assert!(!worker.cancel_job(partition, "nothing", "why"));
            Ok(())
        }),
        asked("PartitionedWorker::cancel_job(id)", &TEXTS, "ooooo", |mails, id| async move {
            assert!(!mails.worker(done).start()?.cancel_job(0, id, "why"));
            Ok(())
        }),
        asked("PartitionedWorker::cancel_job(reason)", &TEXTS, "ooooo", |mails, reason| async move {
            mails.worker(done).start()?.cancel_job(0, "job", reason);
            Ok(())
        }),
        asked("PartitionedWorker::cancel_all_jobs(reason)", &TEXTS, "ooooo", |mails, reason| async move {
            mails.worker(done).start()?.cancel_all_jobs(reason);
            Ok(())
        }),
        asked(
            "PartitionedWorker::close_within(within)",
            &[Duration::ZERO, Duration::from_nanos(1), Duration::MAX],
            "ooo",
            |mails, within| async move {
                assert!(mails.worker(done).start()?.close_within(within).await.abandoned.is_empty());
                Ok(())
            },
        ),
    ]
}
