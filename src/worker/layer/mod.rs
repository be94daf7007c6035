//! Layers: code that runs around each attempt. See [`Layer`]. The ready-made ones limit time and concurrency by the
//! name of the job, and decide on retries by the type of the error.

mod ready;
#[cfg(feature = "tower")]
mod tower;

use std::sync::Arc;

use futures::future::BoxFuture;

pub use ready::{Concurrency, Retries, Timeouts};
#[cfg(feature = "tower")]
pub use tower::{Attempted, LayerError, RunNext, Tower};

pub use super::processor::Ended;
use super::processor::{Erased, RawProcessor};
use crate::error::Halt;
use crate::job::{AnyJob, CancelReason, JobCore};

/// Code that runs around each attempt at a job: before it, after it, or instead of it.
///
/// An async closure is a layer:
///
/// ```
/// use oxmq::worker::layer::Next;
/// use oxmq::job::AnyJob;
/// use oxmq::Router;
///
/// # async fn send(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
/// let router: Router = Router::new().on("send", send).layer(|job: AnyJob, next: Next| async move {
///     let begun = std::time::Instant::now();
///     let ended = next.run().await;
///     println!("{} took {:?}, and {}", job.name(), begun.elapsed(), if ended.is_ok() { "worked" } else { "failed" });
///     ended
/// });
/// ```
///
/// # Order
///
/// As in axum: the layer that is added last is the outermost, so it runs first, and sees the result last. The layers of
/// a [`WorkerBuilder`](crate::worker::WorkerBuilder::layer) are around those of its router; a router's layers are
/// around the routes that it had when the layer was added. All of them run inside the worker's own handling: its
/// timeout, its guard against panics, and its retry rules, which see what the outermost layer returns. Errors in a
/// job's data or in the arguments of a processor arise innermost, where the processor is called.
///
/// A panic passes through the layers to the worker, where it fails the attempt. An attempt that is aborted is dropped
/// at an `await`, with its layers. Without layers nothing is wrapped.
pub trait Layer: Send + Sync + 'static {
    /// Runs around one attempt: calls [`Next::run`], or does not.
    fn around(&self, job: AnyJob, next: Next) -> BoxFuture<'static, Ended>;
}

impl<F, Fut> Layer for F
where
    F: Fn(AnyJob, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Ended> + Send + 'static,
{
    fn around(&self, job: AnyJob, next: Next) -> BoxFuture<'static, Ended> {
        Box::pin(self(job, next))
    }
}

/// The rest of an attempt: the inner layers and the processor.
pub struct Next {
    layers: Arc<[Arc<dyn Layer>]>,
    /// How many layers are left to run; the last added runs first.
    left: usize,
    processor: Erased,
    job: Arc<JobCore>,
}

impl Next {
    /// Runs the rest of the attempt. Nothing happens before the future is polled.
    #[must_use]
    pub fn run(mut self) -> BoxFuture<'static, Ended> {
        let Some(inner) = self.left.checked_sub(1) else {
            return Box::pin(async move { self.processor.0.call(self.job).await });
        };
        self.left = inner;
        let layer = Arc::clone(&self.layers[inner]);
        let job = AnyJob::new(Arc::clone(&self.job), ());
        layer.around(job, self)
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").field("layers", &self.left).finish_non_exhaustive()
    }
}

/// Waits for what an attempt needs before its processor may begin, until it is told to stop. When its worker begins to
/// close, the attempt is told at once and not after the `shutdown_timeout`, since it has done nothing yet: its job is
/// handed back.
///
/// # Errors
///
/// The failure of an attempt that is told to stop: what it waited for may come late or never, and its processor must not
/// begin. Why it was told decides what follows.
async fn unless_told<T>(job: &AnyJob, waiting: impl Future<Output = T>) -> Result<T, Halt> {
    tokio::select! {
        biased;
        () = job.cancelled() => {}
        // Before what it waits for: a place that becomes free while the worker closes is for another worker's job.
        () = job.worker_closes() => {
            if let Some(attempt) = job.attempt() {
                attempt.cancel(CancelReason::Shutdown);
            }
        }
        got = waiting => return Ok(got),
    }
    Err(Halt::failed("told to stop before its processor began"))
}

/// Layers in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct Layers(Vec<Arc<dyn Layer>>);

impl Layers {
    pub(crate) fn push(&mut self, layer: Arc<dyn Layer>) {
        self.0.push(layer);
    }

    /// Returns the processor with the layers around it; the same processor if there are none.
    pub(crate) fn around(self, processor: Erased) -> Erased {
        if self.0.is_empty() {
            return processor;
        }
        Erased(Arc::new(Layered { layers: self.0.into(), processor }))
    }
}

struct Layered {
    layers: Arc<[Arc<dyn Layer>]>,
    processor: Erased,
}

impl RawProcessor for Layered {
    fn call(&self, job: Arc<JobCore>) -> BoxFuture<'static, Ended> {
        let layers = Arc::clone(&self.layers);
        Next { left: layers.len(), layers, processor: self.processor.clone(), job }.run()
    }

    fn problem(&self) -> Option<String> {
        self.processor.0.problem()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Processor;

    #[test]
    fn without_a_layer_nothing_is_wrapped() {
        let processor = (async |_: AnyJob| Ok::<_, Halt>(())).erase(());
        let bare = Layers::default().around(processor.clone());
        assert!(Arc::ptr_eq(&bare.0, &processor.0));
        let mut layers = Layers::default();
        layers.push(Arc::new(|_: AnyJob, next: Next| next.run()));
        assert!(!Arc::ptr_eq(&layers.around(processor.clone()).0, &processor.0));
    }
}
