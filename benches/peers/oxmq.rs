//! The oxmq side of the comparison; see `common.rs` for what it does and how it reports.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use oxmq::events::{Delivery, EventsFrom};
use oxmq::job::AnyJob;
use oxmq::queue::Order;
use oxmq::worker::layer::Next;
use oxmq::worker::{Processor, WorkerBuilder, WorkerEvents};
use oxmq::{Client, ConnectOptions, FlowNode, Halt, Job, JobState, NewJob, Queue, Repeat, Router, Worker};

use super::common::{JOB_NAME, Payload, Peer, Place, Spec};

pub(crate) struct Oxmq {
    client: Client,
    queue: Queue<Payload, ()>,
}

/// A worker from its options to its end.
pub(crate) struct Running {
    builder: Option<WorkerBuilder>,
    worker: Option<Worker>,
    events: Option<WorkerEvents>,
}

/// A worker's processor, which does what this one says.
macro_rules! process {
    ($processor:expr) => {{
        let processor = Arc::new($processor);
        move |job: Job<Payload, ()>| {
            let succeeds = processor(job.attempts_made(), job.id());
            async move { if succeeds.await { Ok(()) } else { Err(Halt::failed("first attempt")) } }
        }
    }};
}

impl Oxmq {
    fn running<M>(&self, processor: impl Processor<M>, concurrency: usize) -> Running {
        let builder = self.client.worker(self.queue.name(), processor).concurrency(concurrency);
        Running { builder: Some(builder), worker: None, events: None }
    }
}

impl Peer for Oxmq {
    type Worker = Running;

    async fn connect(place: &Place) -> Result<Self> {
        let connect = ConnectOptions::from_url(&place.redis)?;
        let client = Client::builder(connect).prefix(&place.prefix).connect().await?;
        let queue = client.queue(place.queue).open()?;
        queue.write_meta().await?;
        Ok(Self { client, queue })
    }

    async fn add(&self, payload: &Payload) -> Result<()> {
        self.queue.add(JOB_NAME, payload.clone()).await?;
        Ok(())
    }

    async fn add_bulk(&self, payload: &Payload, specs: &[Spec]) -> Result<()> {
        let jobs = specs.iter().map(|spec| {
            let mut job = NewJob::new(JOB_NAME, payload.clone());
            if let Some(priority) = spec.priority {
                job = job.priority(priority);
            }
            if let Some(delay) = spec.delay {
                job = job.delay(delay);
            }
            if let Some(attempts) = spec.attempts {
                job = job.attempts(attempts);
            }
            if let Some(backoff) = spec.backoff {
                job = job.backoff(backoff);
            }
            if spec.remove_on_complete {
                job = job.remove_on_complete(true);
            }
            job
        });
        for added in self.queue.add_bulk(jobs).await? {
            added?;
        }
        Ok(())
    }

    async fn add_flow(&self, payload: &Payload, children: usize) -> Result<()> {
        let node = || FlowNode::new(self.queue.name(), JOB_NAME, payload.clone());
        self.client.flow_producer().add(node().children((0..children).map(|_| node()))).await?;
        Ok(())
    }

    async fn schedule(&self, id: &str, every: Duration, payload: &Payload) -> Result<()> {
        self.queue.upsert_job_scheduler(id, Repeat::every(every)).name(JOB_NAME).data(payload.clone()).await?;
        Ok(())
    }

    async fn follow(place: &Place, count: usize) -> Result<()> {
        let connect = ConnectOptions::from_url(&place.redis)?;
        let client = Client::builder(connect).prefix(&place.prefix).connect().await?;
        let mut events = client.queue_events(place.queue).from(EventsFrom::Beginning).start()?;
        for seen in 0..count {
            match events.recv().await {
                Some(Delivery::Event { .. }) => {}
                other => bail!("{other:?} after {seen} events"),
            }
        }
        Ok(())
    }

    async fn wait_for_each(&self, payload: &Payload, count: usize) -> Result<()> {
        let added = self.queue.add_bulk((0..count).map(|_| NewJob::new(JOB_NAME, payload.clone()))).await?;
        let jobs: Vec<Job<Payload, ()>> = added.into_iter().collect::<Result<_, _>>()?;
        futures::future::try_join_all(jobs.iter().map(|job| job.wait_until_finished(Duration::from_secs(60)))).await?;
        Ok(())
    }

    async fn worker<P, F>(&self, concurrency: usize, processor: P) -> Result<Running>
    where
        P: Fn(u32, &str) -> F + Send + Sync + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        Ok(self.running(process!(processor), concurrency))
    }

    async fn routed<P, F>(&self, concurrency: usize, processor: P, through_a_layer: bool) -> Result<Running>
    where
        P: Fn(u32, &str) -> F + Send + Sync + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let mut router: Router = Router::new().on(JOB_NAME, process!(processor));
        if through_a_layer {
            router = router.layer(|_: AnyJob, next: Next| next.run());
        }
        Ok(self.running(router, concurrency))
    }

    async fn start(&self, running: &mut Running) -> Result<()> {
        running.worker = Some(running.builder.take().context("the worker runs already")?.start()?);
        Ok(())
    }

    async fn completed(&self, running: &mut Running, count: usize) -> Result<()> {
        let worker = running.worker.as_ref().context("the worker does not run")?;
        while worker.counts().completed + 1 < count as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The last job is seen by its event, without waiting for a tick of the timer.
        let events = running.events.get_or_insert_with(|| worker.events());
        while worker.counts().completed < count as u64 {
            events.recv().await.context("the worker's events ended")?;
        }
        Ok(())
    }

    async fn close(&self, running: Running) -> Result<()> {
        if let Some(worker) = running.worker {
            worker.close().await;
        }
        Ok(())
    }

    fn fetch_ahead(&self, running: &mut Running, jobs: usize) -> Result<()> {
        let builder = running.builder.take().context("the worker runs already")?;
        running.builder = Some(builder.prefetch(jobs));
        Ok(())
    }

    fn hasten(&self, running: &mut Running) -> Result<()> {
        let builder = running.builder.take().context("the worker runs already")?;
        let (lock, check) = (Duration::from_secs(4), Duration::from_millis(500));
        running.builder = Some(builder.lock_duration(lock).stalled_interval(check));
        Ok(())
    }

    async fn administer(&self, operation: &str) -> Result<usize> {
        let queue = &self.queue;
        let jobs = queue.get_job_counts(&JobState::ALL).await?.total();
        let done = match operation {
            "clean" => queue.clean(Duration::ZERO, 0, JobState::Completed).await?.len() as u64,
            "drain" => queue.drain().await?,
            "obliterate" => {
                queue.obliterate().await?;
                jobs
            }
            "retry_jobs" => queue.retry_jobs(JobState::Failed, None).await?,
            "promote_jobs" => queue.promote_jobs().await?,
            // No job is orphaned, so it only searches.
            "remove_orphaned_jobs" => jobs - queue.remove_orphaned_jobs(0).await?,
            "get_jobs" => queue.get_jobs(&[], 0, -1, Order::Ascending).await?.len() as u64,
            _ => bail!("unknown operation {operation}"),
        };
        Ok(usize::try_from(done)?)
    }
}
