//! Listens to the results of a queue and adds them up: the other end of `index_watcher`.
//!
//!     cargo run --example result_watcher -- COUNT [QUEUE]        ends after COUNT results of QUEUE, `index` by default
//!
//! Without REDIS_URL it fills the queue itself, so that there is something to see. Prints, for instance,
//!
//!     job 1: 10
//!     job 2: failed: too many
//!     2 results: 1 completed, 1 failed, 1 progress report, sum 10
//!
//! It reads from the beginning of the event stream, so that a watcher that is started again counts the same. A broken
//! connection needs no code here: the events go on after the last one seen. Where the stream was cut before it was
//! read, a `Gap` says so, and what matters is read from the queue.

mod support;

use oxmq::events::{Delivery, EventsFrom, QueueEvent};
use oxmq::{Client, Halt, Job, JobState, NewJob, Queue, Worker};

#[derive(Default)]
struct Totals {
    completed: u64,
    failed: u64,
    reports: u64,
    sum: u64,
}

impl Totals {
    fn take(&mut self, event: QueueEvent) {
        match event {
            QueueEvent::Completed { job_id, return_value, .. } => {
                let value: u64 = return_value.parse().unwrap_or(0);
                println!("job {job_id}: {value}");
                self.completed += 1;
                self.sum += value;
            }
            QueueEvent::Failed { job_id, failed_reason, .. } => {
                println!("job {job_id}: failed: {}", failed_reason.unwrap_or_default());
                self.failed += 1;
            }
            QueueEvent::Progress { .. } => self.reports += 1,
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().map_or(Ok(3), |count| count.parse())?;
    let name = args.next().unwrap_or_else(|| "index".to_owned());
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let queue: Queue = client.queue(&name).open()?;
    let mut events = client.queue_events(&name).from(EventsFrom::Beginning).start()?;
    let own_jobs =
        if std::env::var_os("REDIS_URL").is_none() { Some(fill(&client, &name, wanted).await?) } else { None };

    let mut totals = Totals::default();
    while totals.completed + totals.failed < wanted {
        match events.recv().await {
            Some(Delivery::Event { event, .. }) => totals.take(event),
            Some(missed) => {
                let counts = queue.get_job_counts(&[JobState::Completed, JobState::Failed]).await?;
                eprintln!("{missed:?}; the queue has {} completed, {} failed", counts.completed, counts.failed);
            }
            None => break,
        }
    }
    let Totals { completed, failed, reports, sum } = totals;
    let results = completed + failed;
    println!("{results} results: {completed} completed, {failed} failed, {reports} progress reports, sum {sum}");
    events.close().await;
    if let Some(worker) = own_jobs {
        worker.close().await;
    }
    Ok(())
}

/// Jobs and a worker of our own; every third job fails.
async fn fill(client: &Client, name: &str, count: u64) -> anyhow::Result<Worker> {
    let queue: Queue<u64, u64> = client.queue(name).open()?;
    queue.add_bulk((1..=count).map(|n| NewJob::new("sample", n))).await?;
    let process = |job: Job<u64, u64>| async move {
        job.update_progress(&50).await?;
        if job.data().is_multiple_of(3) { Err(Halt::failed("too many")) } else { Ok(job.data() * 10) }
    };
    Ok(client.worker(name, process).start()?)
}
