//! One queue, a processor per job name.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::processor::{Erased, Processor, RawProcessor};
use crate::error::Halt;
use crate::job::JobCore;

/// Sends each job to the processor of its name.
///
/// A job whose name has no processor fails its attempt; in a rollout the next one may meet a worker that has it.
///
/// ```
/// use oxmq::{Halt, Job, Router};
///
/// async fn welcome(job: Job<String, ()>) -> Result<(), Halt> {
///     println!("welcome, {}", job.data());
///     Ok(())
/// }
/// async fn sum(job: Job<Vec<i64>, i64>) -> Result<i64, Halt> {
///     Ok(job.data().iter().sum())
/// }
/// let router = Router::new().on("welcome", welcome).on("sum", sum);
/// ```
#[derive(Default)]
#[must_use]
pub struct Router {
    routes: HashMap<String, Erased>,
    otherwise: Option<Erased>,
}

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Jobs of this name go to this processor; a second processor for a name replaces the first.
    pub fn on<M>(mut self, name: impl Into<String>, processor: impl Processor<M>) -> Self {
        self.routes.insert(name.into(), processor.erase());
        self
    }

    /// Jobs of any other name go to this processor. Default: they fail.
    pub fn otherwise<M>(mut self, processor: impl Processor<M>) -> Self {
        self.otherwise = Some(processor.erase());
        self
    }
}

impl Processor<Router> for Router {
    fn erase(self) -> Erased {
        Erased(Arc::new(self))
    }
}

impl RawProcessor for Router {
    fn call(&self, job: Arc<JobCore>) -> BoxFuture<'static, Result<String, Halt>> {
        match self.routes.get(&job.raw.name).or(self.otherwise.as_ref()) {
            Some(processor) => processor.0.call(job),
            None => {
                let problem = format!("no processor for jobs named '{}'", job.raw.name);
                Box::pin(async move { Err(Halt::failed(problem)) })
            }
        }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("names", &self.routes.keys()).finish_non_exhaustive()
    }
}
