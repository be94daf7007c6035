//! The state that all handles and workers of one partitioned queue share: the number of partitions, and a queue for
//! each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::{Error, PartitionErrors, Result, WithCauses};
use crate::queue::QueueCore;
use crate::sync::{Lock, spawn};
use crate::worker::panics;

/// How many partitions there may be.
pub(super) const MOST: usize = 1_024;

/// What is known of a partitioned queue.
pub(super) struct Core {
    pub(super) client: Client,
    pub(super) name: String,
    /// The number of partitions, as far as known; it only grows.
    count: watch::Sender<usize>,
    /// A queue for each partition that was used.
    queues: Lock<Vec<Arc<QueueCore>>>,
    /// Counts adds to the next partition in turn.
    turns: AtomicUsize,
    /// How often the stored number is read.
    interval: Duration,
    refreshing: Lock<Option<JoinHandle<()>>>,
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(task) = self.refreshing.get_mut().take() {
            task.abort();
        }
    }
}

/// Returns the name of a partition: an ordinary queue, whose number is its hash tag.
pub(super) fn partition_name(name: &str, partition: usize) -> String {
    format!("{name}-{{{partition}}}")
}

impl Core {
    pub(super) fn new(client: Client, name: String, count: usize, interval: Duration) -> Result<Arc<Self>> {
        let core = Arc::new(Self {
            client,
            name,
            count: watch::Sender::new(0),
            queues: Lock::default(),
            // Starts at random, so that programs that add a single job do not all add to the first partition.
            turns: AtomicUsize::new(fastrand::usize(..usize::MAX / 2)),
            interval,
            refreshing: Lock::default(),
        });
        core.learn(count)?;
        Ok(core)
    }

    /// Records how many partitions there are.
    pub(super) fn learn(&self, count: usize) -> Result<()> {
        if count > MOST {
            return Err(Error::QueueState { op: "partitions", problem: "the stored number of partitions is absurd" });
        }
        self.make_queues(count)?;
        self.count.send_if_modified(|known| {
            let grows = count > *known;
            *known = count.max(*known);
            grows
        });
        Ok(())
    }

    /// Creates queues for this many partitions, whether or not they are used yet.
    pub(super) fn make_queues(&self, count: usize) -> Result<()> {
        let mut queues = self.queues.lock();
        for partition in queues.len()..count {
            queues.push(self.client.core(&partition_name(&self.name, partition))?);
        }
        Ok(())
    }

    /// Returns how many partitions there are, as far as known.
    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Returns a receiver that is notified when partitions are added.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    pub(super) fn queue(&self, partition: usize) -> Option<Arc<QueueCore>> {
        self.queues.lock().get(partition).map(Arc::clone)
    }

    /// Returns the first partition, where the settings are stored.
    pub(super) fn first(&self) -> Arc<QueueCore> {
        Arc::clone(&self.queues.lock()[0])
    }

    /// Returns the next partition in turn.
    pub(super) fn next(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed) % self.count()
    }

    /// Reads the stored number.
    pub(super) async fn refresh(&self) -> Result<()> {
        let stored = self.first().engine().load_partitions().await?;
        // Nothing is stored any more after the partitions were obliterated.
        self.learn(stored.count.unwrap_or_default())
    }

    /// Reads the stored number from time to time, in the runtime in which this is called. A task that has ended, for
    /// example with its runtime, is started again.
    pub(super) fn keep_fresh(self: &Arc<Self>) {
        let mut refreshing = self.refreshing.lock();
        if refreshing.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (core, interval) = (Arc::downgrade(self), self.interval);
        *refreshing = Some(spawn(async move {
            loop {
                match panics::catch(look(&core, interval)).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    // The next look does the same as a new task.
                    Err(panic) => tell(panic),
                }
            }
        }));
    }

    /// Runs `act` for each partition, at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::Partitions`], if it failed for some.
    pub(super) async fn each<T, F: Future<Output = Result<T>>>(
        &self,
        op: &'static str,
        partitions: std::ops::Range<usize>,
        act: impl Fn(usize, Arc<QueueCore>) -> F,
    ) -> Result<Vec<T>> {
        let all = partitions.filter_map(|partition| Some((partition, self.queue(partition)?)));
        let all: Vec<_> = all.map(|(partition, queue)| (partition, act(partition, queue))).collect();
        let of = all.len();
        let answers = join_all(all.into_iter().map(|(partition, act)| async move { (partition, act.await) })).await;
        let (mut done, mut failed) = (Vec::with_capacity(of), Vec::new());
        for (partition, answer) in answers {
            match answer {
                Ok(answer) => done.push(answer),
                Err(error) => failed.push((partition, error)),
            }
        }
        if failed.is_empty() {
            Ok(done)
        } else {
            Err(Error::Partitions { op, of, failed: PartitionErrors::new(failed) })
        }
    }
}

/// Waits, and reads the stored number once; returns false when all handles are gone.
async fn look(core: &Weak<Core>, interval: Duration) -> bool {
    tokio::time::sleep(interval).await;
    let Some(core) = core.upgrade() else { return false };
    if let Err(error) = core.refresh().await {
        tracing::debug!(queue = core.name, error = %WithCauses(&error), "the number of partitions could not be read");
    }
    true
}

fn tell(panic: panics::Panic) {
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        tracing::error!(problem = panic.text, "the task that reads the number of partitions panicked, and goes on");
    }));
    panics::drop_guarded(told);
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partitions").field("name", &self.name).field("count", &self.count()).finish()
    }
}
