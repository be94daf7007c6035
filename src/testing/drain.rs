//! Runs all jobs of a queue.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;

use super::TestQueue;
use crate::clock::{epoch_ms, millis};
use crate::error::Error;
use crate::job::{Job, JobOutcome};
use crate::script::settle::End;
use crate::state::JobState;
use crate::worker::panics::{self, catch};
use crate::worker::stopping::within;
use crate::worker::verdict;
use crate::worker::{Erased, ManualWorker, ManualWorkerBuilder, Processor};

/// The options of a worker that drains; the data of its jobs does not matter.
type DrainBuilder = ManualWorkerBuilder<IgnoredAny, ()>;

/// A limit on attempts that no test intends to reach.
const MOST_ATTEMPTS: u64 = 10_000;

/// The result of [`TestQueue::drain`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Jobs that completed.
    pub completed: u64,
    /// Jobs that failed for good, including those that were not run, such as expired ones: name and reason, in order.
    pub failed: Vec<(String, String)>,
    /// Failed attempts that were tried again.
    pub retried: u64,
    /// Attempts that moved their job: delayed, put back to wait, or waiting for children; and those that were handed back,
    /// as by [`shut_down`](super::shut_down).
    pub moved: u64,
    /// Attempts whose outcome was dropped because their lock was lost.
    pub lost: u64,
    /// Jobs that wait for their children in the end. If children are in another queue, that is drained first, see
    /// [`TestQueue::beside`]; then this one again.
    pub waiting_for_children: u64,
    /// How far the clock was moved.
    pub moved_clock: Duration,
}

impl TestQueue {
    /// Runs the jobs of this queue, one at a time and in order, until none is left that may run, and moves the clock to
    /// when delayed jobs and retries are due. Jobs of other queues do not run: see [`beside`](Self::beside) for flows.
    ///
    /// Attempts, backoffs, schedulers and children are handled as by a worker, and so are panics and the `timeout` of a
    /// job, which is real time and cancels the attempt.
    ///
    /// A scheduler always has another run, so this would not end: use [`drain_for`](Self::drain_for).
    ///
    /// # Panics
    ///
    /// After ten thousand attempts, and if the server fails.
    pub async fn drain<M>(&self, processor: impl Processor<M>) -> Drained {
        self.drain_for(Duration::MAX, processor).await
    }

    /// Does the same as [`drain`](Self::drain), but moves the clock by `span` and no further; in the end it has moved
    /// by exactly that.
    ///
    /// # Panics
    ///
    /// As [`drain`](Self::drain).
    pub async fn drain_for<M>(&self, span: Duration, processor: impl Processor<M>) -> Drained {
        self.drain_with(span, processor, |worker| worker).await
    }

    /// Does the same as [`drain_for`](Self::drain_for), with options of a worker: its retry policy, backoff strategy,
    /// retention. The longest `span` moves the clock as far as there are jobs.
    ///
    /// ```no_run
    /// # async fn test(queue: oxmq::testing::TestQueue) {
    /// use std::time::Duration;
    /// use oxmq::options::Retry;
    /// use oxmq::{Halt, Job};
    ///
    /// let fails = |_: Job<String, ()>| async { Err::<(), _>(Halt::failed("no")) };
    /// let drained = queue.drain_with(Duration::MAX, fails, |worker| worker.on_error(|_| Retry::Never)).await;
    /// assert_eq!(drained.failed.len(), 1);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`drain`](Self::drain).
    pub async fn drain_with<M>(
        &self,
        span: Duration,
        processor: impl Processor<M>,
        set: impl FnOnce(DrainBuilder) -> DrainBuilder,
    ) -> Drained {
        panics::watch();
        let begun = self.clock().now_ms();
        let until = begun.saturating_add(millis(span));
        let worker = set(self.client().manual_worker(self.name())).stalled_interval(STALLED).open();
        let mut drain = Drain {
            worker: worker.unwrap_or_else(|error| panic!("the worker's options: {error}")),
            processor: processor.erase(()).checked().unwrap_or_else(|error| panic!("{error}")),
            drained: Drained::default(),
            attempts: 0,
        };
        loop {
            let token = uuid::Uuid::new_v4().to_string();
            let fetched = drain.worker.fetch(&token).await.expect("the tests' server");
            drain.attempts += fetched.unrun.len() as u64;
            drain.drained.failed.extend(fetched.unrun);
            if let Some(job) = fetched.job {
                drain.run(job, &token).await;
            } else if !fetched.limited_for.is_zero() {
                // The limiter is in the server, and uses the server's time.
                tokio::time::sleep(fetched.limited_for).await;
            } else if let Some(due) = fetched.next_due.map(epoch_ms).filter(|due| *due <= until) {
                self.clock().set_ms(due.max(self.clock().now_ms()));
            } else if !drain.recovers().await {
                break;
            }
        }
        if span < Duration::MAX {
            self.clock().set_ms(until);
        }
        let waiting = self.get_job_counts(&[JobState::WaitingChildren]).await;
        drain.drained.waiting_for_children = waiting.expect("the tests' server").total();
        drain.drained.moved_clock = Duration::from_millis(self.clock().now_ms().saturating_sub(begun));
        drain.drained
    }
}

/// How often jobs without a lock may be looked for.
const STALLED: Duration = Duration::from_millis(1);

struct Drain {
    worker: ManualWorker<IgnoredAny, ()>,
    processor: Erased,
    drained: Drained,
    attempts: u64,
}

impl Drain {
    async fn run(&mut self, job: Job<IgnoredAny, ()>, token: &str) {
        self.attempts += 1;
        let name = job.name().to_owned();
        assert!(
            self.attempts <= MOST_ATTEMPTS,
            "{MOST_ATTEMPTS} attempts, and still jobs named '{name}' come: is there a scheduler, or a job that is moved for ever?"
        );
        let core = job.into_core();
        let running = {
            let (processor, core) = (Arc::clone(&self.processor.0), Arc::clone(&core));
            catch(async move { processor.call(core).await })
        };
        let host = core.host.clone().unwrap_or_default();
        let ran = match core.raw.options.timeout {
            None => running.await,
            Some(limit) => within(running, limit, host.options.cancel_grace, core.attempt.as_deref()).await,
        };
        let told = core.attempt.as_ref().and_then(|attempt| attempt.cancel_reason());
        let verdict = verdict::conclude(&core.raw, ran, told, &host.options);
        let end = verdict.end.clone();
        let job = Job::<IgnoredAny, ()>::new(core, IgnoredAny);
        match job.end_as(verdict, token).await {
            Ok(()) => self.count(name, end),
            Err(Error::Refused { .. }) => self.count_refused(name, &job).await,
            Err(error) => panic!("the tests' server: {error}"),
        }
    }

    fn count(&mut self, name: String, end: End) {
        let drained = &mut self.drained;
        match end {
            End::Completed { .. } => drained.completed += 1,
            End::Failed { why, .. } => drained.failed.push((name, why.reason)),
            End::Retry { .. } | End::Delayed { why: Some(_), .. } => drained.retried += 1,
            End::Delayed { .. } | End::Waiting | End::Children { .. } => drained.moved += 1,
        }
    }

    /// Counts an attempt whose outcome was refused: the processor has settled its job by a call of its own, or its lock
    /// was lost.
    async fn count_refused(&mut self, name: String, job: &Job<IgnoredAny, ()>) {
        let drained = &mut self.drained;
        match job.get_state().await.expect("the tests' server") {
            JobState::Completed => drained.completed += 1,
            JobState::Failed => {
                let outcome = job.get_outcome().await.expect("the tests' server");
                let reason = if let JobOutcome::Failed(reason) = outcome { reason } else { String::new() };
                drained.failed.push((name, reason));
            }
            JobState::Active | JobState::Unknown => drained.lost += 1,
            _ => drained.moved += 1,
        }
    }

    /// Puts jobs back whose lock was lost; returns whether there were any.
    async fn recovers(&self) -> bool {
        // The first check marks them, the second one moves them; there is one per interval.
        for _ in 0..3 {
            if !self.worker.move_stalled_jobs_to_wait().await.expect("the tests' server").is_empty() {
                return true;
            }
            tokio::time::sleep(STALLED * 2).await;
        }
        false
    }
}
