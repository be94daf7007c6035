//! The bullmq-official side of the comparison; see `../../common.rs` for what it does and how it reports.

#[path = "../../common.rs"]
mod common;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bullmq::flow_producer::{FlowJob, FlowProducer, FlowProducerOptions};
use bullmq::job_scheduler::RepeatOptions;
use bullmq::options::RedisConnectionOptions;
use bullmq::queue_events::{QueueEvents, QueueEventsOptions};
use bullmq::types::{BackoffStrategy, RemoveOnFinish};
use bullmq::worker::WorkerEvent;
use bullmq::{BulkJob, Error, Job, JobOptions, Queue, QueueOptions, Worker, WorkerOptions};
use common::{JOB_NAME, Payload, Peer, Place, Spec};

struct Official {
    place: Place,
    queue: Queue,
    flows: FlowProducer,
}

struct Running {
    worker: Worker,
    done: usize,
}

fn options(spec: &Spec) -> JobOptions {
    let mut options = JobOptions::new();
    if let Some(priority) = spec.priority {
        options = options.priority(priority);
    }
    if let Some(delay) = spec.delay {
        options = options.delay(delay);
    }
    if let Some(attempts) = spec.attempts {
        options = options.attempts(attempts);
    }
    if let Some(backoff) = spec.backoff {
        options = options.backoff(BackoffStrategy::Fixed(backoff.as_millis() as u64));
    }
    if spec.remove_on_complete {
        options = options.remove_on_complete(RemoveOnFinish::Bool(true));
    }
    options
}

impl Peer for Official {
    type Worker = Running;

    async fn connect(place: &Place) -> Result<Self> {
        let options = QueueOptions::new()
            .connection(RedisConnectionOptions::new().url(&place.redis))
            .prefix(&place.prefix);
        let flows = FlowProducerOptions::new()
            .connection(RedisConnectionOptions::new().url(&place.redis))
            .prefix(&place.prefix);
        Ok(Self {
            flows: FlowProducer::with_options(flows).await?,
            queue: Queue::with_options(place.queue, options).await?,
            place: place.clone(),
        })
    }

    async fn add(&self, payload: &Payload) -> Result<()> {
        self.queue.add(JOB_NAME, payload).await?;
        Ok(())
    }

    async fn add_bulk(&self, payload: &Payload, specs: &[Spec]) -> Result<()> {
        let job = |spec| BulkJob::with_options(JOB_NAME, payload, options(spec));
        self.queue.add_bulk(specs.iter().map(job).collect()).await?;
        Ok(())
    }

    async fn add_flow(&self, payload: &Payload, children: usize) -> Result<()> {
        let node = || FlowJob::new(JOB_NAME, self.place.queue, payload);
        let children = (0..children).map(|_| node()).collect::<Result<_, _>>()?;
        self.flows.add(node()?.children(children)).await?;
        Ok(())
    }

    async fn schedule(&self, id: &str, every: Duration, payload: &Payload) -> Result<()> {
        let repeat = RepeatOptions {
            every: u64::try_from(every.as_millis()).ok(),
            ..RepeatOptions::default()
        };
        let data = serde_json::to_value(payload)?;
        self.queue.upsert_job_scheduler(id, repeat, Some(JOB_NAME), Some(data), None).await?;
        Ok(())
    }

    async fn follow(place: &Place, count: usize) -> Result<()> {
        let options = QueueEventsOptions {
            connection: RedisConnectionOptions::new().url(&place.redis),
            prefix: place.prefix.clone(),
            last_event_id: Some("0".to_owned()),
            ..QueueEventsOptions::default()
        };
        let events = QueueEvents::with_options(place.queue, options).await?;
        for _ in 0..count {
            events.next_event().await.context("the events ended")?;
        }
        Ok(())
    }

    async fn worker<P, F>(&self, concurrency: usize, processor: P) -> Result<Running>
    where
        P: Fn(u32, &str) -> F + Send + Sync + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let options = WorkerOptions::new()
            .connection(RedisConnectionOptions::new().url(&self.place.redis))
            .prefix(&self.place.prefix)
            .concurrency(concurrency)
            .manual_start();
        // The library has decoded the data to a `Value` by now; a no-op processor does not look at it.
        let processor = move |job: Job, _token| {
            let succeeds = processor(job.attempts_made(), job.id());
            async move {
                if succeeds.await {
                    Ok(serde_json::Value::Null)
                } else {
                    Err(Error::ProcessingError("first attempt".to_owned()))
                }
            }
        };
        let worker = Worker::with_options(self.place.queue, processor, options).await?;
        Ok(Running { worker, done: 0 })
    }

    async fn start(&self, running: &mut Running) -> Result<()> {
        Ok(running.worker.run().await?)
    }

    async fn completed(&self, running: &mut Running, count: usize) -> Result<()> {
        while running.done < count {
            // `Completed` is sent once the script that finishes the job has answered.
            match running.worker.next_event().await {
                Some(WorkerEvent::Completed { .. }) => running.done += 1,
                Some(WorkerEvent::Error(error)) => bail!("the worker reports: {error}"),
                Some(_) => {}
                None => bail!("the worker's events ended"),
            }
        }
        Ok(())
    }

    async fn close(&self, running: Running) -> Result<()> {
        Ok(running.worker.close(5_000).await?)
    }

    async fn abandon(&self, running: Running) -> Result<()> {
        // A patient close waits for the end of the blocking read, up to five seconds.
        Ok(running.worker.close(0).await?)
    }
}

fn main() -> Result<()> {
    common::runtime(std::env::args())?.block_on(common::run::<Official>(std::env::args().skip(1)))
}
