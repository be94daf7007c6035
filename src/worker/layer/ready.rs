//! Layers that many programs need.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::super::stopping;
use super::{Ended, Layer, Next, unless_told};
use crate::error::{Halt, causes};
use crate::job::AnyJob;
use crate::options::Retry;

/// Limits the time of attempts by the name of the job.
///
/// When the time is over, the attempt is told to stop, has the worker's `cancel_grace` to end by itself, and has failed
/// whatever it answers, as with the `timeout` of a job or worker. Time spent in layers further out does not count.
///
/// ```
/// use std::time::Duration;
/// use oxmq::worker::layer::Timeouts;
///
/// let limits = Timeouts::new().on("send", Duration::from_secs(10)).otherwise(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Timeouts {
    limits: HashMap<String, Duration>,
    otherwise: Option<Duration>,
}

impl Timeouts {
    /// Creates a layer without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits attempts at jobs of this name. With zero, every attempt that awaits anything fails.
    pub fn on(mut self, name: impl Into<String>, limit: Duration) -> Self {
        self.limits.insert(name.into(), limit);
        self
    }

    /// Limits attempts at jobs of all other names. Default: none.
    pub fn otherwise(mut self, limit: Duration) -> Self {
        self.otherwise = Some(limit);
        self
    }
}

impl Layer for Timeouts {
    fn around(&self, job: AnyJob, next: Next) -> BoxFuture<'static, Ended> {
        let limit = self.limits.get(job.name()).copied().or(self.otherwise);
        match limit {
            None => next.run(),
            Some(limit) => Box::pin(within(limit, job, next)),
        }
    }
}

async fn within(limit: Duration, job: AnyJob, next: Next) -> Ended {
    let running = async { Ok::<_, Infallible>(next.run().await) };
    let Ok(ended) = stopping::within(running, limit, job.cancel_grace(), job.attempt()).await;
    ended
}

/// Limits how many jobs of a name run at once in this process.
///
/// A job above the limit waits inside its attempt: it uses one of the worker's `concurrency`, holds its lock, and its
/// time counts. So set the worker's concurrency above the sum of the limits. An attempt that is told to stop while it
/// waits fails at once, without its processor, and when the worker begins to close, the jobs that wait are handed back at
/// once. For a limit over all processes use the queue's global concurrency.
///
/// ```
/// use oxmq::worker::layer::Concurrency;
///
/// let limits = Concurrency::new().on("render", 2);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Concurrency {
    limits: HashMap<String, Arc<Semaphore>>,
}

impl Concurrency {
    /// Creates a layer without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits how many jobs of this name run at once; 0 counts as 1, and a number above tokio's limit for semaphores as
    /// that limit.
    pub fn on(mut self, name: impl Into<String>, jobs: usize) -> Self {
        let permits = jobs.clamp(1, Semaphore::MAX_PERMITS);
        self.limits.insert(name.into(), Arc::new(Semaphore::new(permits)));
        self
    }
}

impl Layer for Concurrency {
    fn around(&self, job: AnyJob, next: Next) -> BoxFuture<'static, Ended> {
        let Some(semaphore) = self.limits.get(job.name()).map(Arc::clone) else { return next.run() };
        Box::pin(async move {
            let _permit = unless_told(&job, semaphore.acquire_owned()).await?.map_err(Halt::failed)?;
            next.run().await
        })
    }
}

/// Decides by the type of an error what follows a failed attempt.
///
/// It looks only at [`Halt::Failed`], at the error and its causes. The first rule for the type of one of them decides;
/// the job's `attempts` stay the limit. For all jobs of a worker, with timeouts and panics, there is
/// [`on_error`](crate::worker::WorkerBuilder::on_error).
///
/// ```
/// use std::time::Duration;
/// use oxmq::options::Retry;
/// use oxmq::worker::layer::Retries;
///
/// let rules = Retries::new()
///     .on_error(|_: &std::num::ParseIntError| Retry::Never)
///     .on_error(|_: &std::io::Error| Retry::After(Duration::from_secs(5)));
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Retries {
    rules: Arc<Vec<Rule>>,
}

type Rule = Arc<dyn Fn(&(dyn std::error::Error + 'static)) -> Option<Retry> + Send + Sync>;

impl Retries {
    /// Creates a layer without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for errors of this type, or with one among their causes. With `anyhow` an error that a bare `?` has
    /// passed on is not found: see [`FailedAttempt::downcast_ref`](crate::options::FailedAttempt::downcast_ref).
    pub fn on_error<E>(mut self, decide: impl Fn(&E) -> Retry + Send + Sync + 'static) -> Self
    where
        E: std::error::Error + 'static,
    {
        let rule: Rule = Arc::new(move |error| error.downcast_ref().map(&decide));
        Arc::make_mut(&mut self.rules).push(rule);
        self
    }
}

impl Layer for Retries {
    fn around(&self, _: AnyJob, next: Next) -> BoxFuture<'static, Ended> {
        let rules = Arc::clone(&self.rules);
        Box::pin(async move {
            next.run().await.map_err(|halt| {
                let Halt::Failed(error) = halt else { return halt };
                match rules.iter().find_map(|rule| causes(&*error).find_map(|error| rule(error))) {
                    Some(Retry::Now) => Halt::retry_after(Duration::ZERO, error),
                    Some(Retry::After(after)) => Halt::retry_after(after, error),
                    Some(Retry::Never) => Halt::unrecoverable(error),
                    Some(Retry::ByBackoff) | None => Halt::Failed(error),
                }
            })
        })
    }
}

impl std::fmt::Debug for Retries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retries").field("rules", &self.rules.len()).finish()
    }
}
