//! Starts a worker: puts its parts together, and starts its loop and its periodic checks.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::WorkerBuilder;
use crate::connection::{BlockingLink, Listener};
use crate::engine::Engine;
use crate::error::Result;
use crate::job::Host;
use crate::options::WorkerOptions;
use crate::sync::{Lock, spawn};
use crate::telemetry::WorkerFigures;
use crate::worker::event::EventSink;
use crate::worker::health::LastFetch;
use crate::worker::locks::{LockTable, Watch};
use crate::worker::rollback::{self, Rollbacks};
use crate::worker::run::{Command, Loop};
use crate::worker::shared_wait::Seat;
use crate::worker::watchdog::Watchdog;
use crate::worker::{Counters, Tokens, Worker, WorkerCore, panics, schedulers, slots, stalled, supervise, wait};

impl WorkerBuilder {
    /// Starts the worker; with a seat it shares its slots with other workers.
    pub(crate) fn start_with(self, share: Option<slots::SlotShare>) -> Result<Worker> {
        let options = self.options.checked()?;
        let processor = self.processor.checked()?;
        panics::watch();
        let queue = self.client.core(&self.queue.0)?;
        let engine = queue.engine().clone();
        let events = self.events;
        events.set_limit(options.event_buffer);
        events.set_worker(engine.keys.queue(), options.name.as_deref());
        let (commands, asked) = mpsc::channel(16);
        let figures = Arc::new(WorkerFigures::new(engine.keys.queue()));
        let watchdog = Watchdog::new(engine.keys.queue(), commands.downgrade(), events.clone(), Arc::clone(&figures));
        let watch =
            Watch { watchdog: Arc::clone(&watchdog), figures: Arc::clone(&figures), grace: options.cancel_grace };
        let locks =
            LockTable::new(engine.clone(), events.clone(), options.lock_duration, !options.skip_lock_renewal, watch);
        self.client.lock_keeper().keep(&locks);
        let last_fetch = Arc::new(LastFetch::default());
        let waiter = waiter(&self.client, &engine, &options, &last_fetch, &events);
        let concurrency = AtomicUsize::new(options.concurrency);
        let large = queue.engine().link.another();
        let inner = Arc::new(WorkerCore {
            queue,
            // Workers over partitions are started with the same options, and each closes by itself.
            host: Arc::new(Host::new(options)),
            processor: self.layers.around(processor),
            events,
            locks,
            tokens: Tokens::new(),
            large,
            concurrency,
            prefetched: AtomicUsize::new(0),
            counters: Counters::default(),
            notes: Lock::default(),
            is_given_up: AtomicBool::new(false),
            is_dropped: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            figures,
            watchdog,
            last_fetch,
            rollbacks: Rollbacks::default(),
        });
        let listener: Weak<dyn Listener> = Arc::<WorkerCore>::downgrade(&inner);
        inner.queue.engine().link.outages().tell(listener);
        // A worker over partitions tells of itself once: the slots are those of all partitions.
        if share.is_none() {
            log_start(&inner);
        }
        let (work, ended) = work(&inner, self.client, waiter, asked, share);
        Ok(Worker { inner, commands, work: Some(work), ended })
    }
}

/// Starts the task that waits for work while a worker is idle.
fn waiter(
    client: &crate::Client,
    engine: &Engine,
    options: &WorkerOptions,
    last_fetch: &Arc<LastFetch>,
    events: &EventSink,
) -> wait::Waiter {
    let name = engine.keys.worker_client_name(options.name.as_deref());
    let blocking = BlockingLink::new(engine.link.dialer(), Some(name.clone()));
    let seat = Seat {
        engine: engine.clone(),
        marker: engine.keys.marker(),
        name,
        drain_delay: options.drain_delay,
        last_fetch: Arc::clone(last_fetch),
    };
    wait::Waiter::start(blocking, seat, client.shared_waits(), events.clone())
}

fn log_start(worker: &WorkerCore) {
    tracing::info!(
        target: "oxmq::worker",
        queue = worker.queue.engine().keys.queue(),
        name = worker.host.options.name.as_deref(),
        concurrency = worker.host.options.concurrency,
        "worker started"
    );
}

/// Starts the loop of a worker and its periodic checks. Returns the task of the loop, and a token that is cancelled when
/// that task ends.
fn work(
    inner: &Arc<WorkerCore>,
    client: crate::Client,
    waiter: wait::Waiter,
    asked: mpsc::Receiver<Command>,
    share: Option<slots::SlotShare>,
) -> (JoinHandle<()>, CancellationToken) {
    let ended = CancellationToken::new();
    // Dropped with the task, however that ends: by a panic or with its runtime too.
    let guard = ended.clone().drop_guard();
    let inner = Arc::clone(inner);
    // The checks end with the loop, which outlives a dropped handle for as long as jobs run.
    let mut checks = JoinSet::new();
    checks.spawn(look_after(Arc::clone(&inner), client.clone()).boxed());
    let work = spawn(async move {
        let _guard = guard;
        // Running jobs need the client, which the program may have dropped.
        let _held = (checks, client);
        let is_whole = share.is_none();
        Loop::new(Arc::clone(&inner), waiter, asked, share).run().await;
        let report = inner.final_report();
        if is_whole {
            report.log(&inner);
        }
    });
    (work, ended)
}

/// Runs the periodic checks of a worker: for stalled jobs, for stopped schedulers, and for a server that has lost what
/// it had acknowledged.
async fn look_after(inner: Arc<WorkerCore>, client: crate::Client) {
    let stalled = async {
        if !inner.host.options.skip_stalled_check {
            let check = || stalled::check_for_ever(&inner, client.stalled_looks());
            supervise::supervise(inner.events.clone(), "stalled check", check).await;
        }
    };
    let schedulers = async {
        if !inner.host.options.skip_scheduler_check {
            let look = || schedulers::look_for_ever(&inner, client.scheduler_looks());
            supervise::supervise(inner.events.clone(), "scheduler check", look).await;
        }
    };
    let look = || rollback::look_for_ever(&inner);
    let rollbacks = supervise::supervise(inner.events.clone(), "rollback check", look);
    tokio::join!(stalled, schedulers, rollbacks);
}
