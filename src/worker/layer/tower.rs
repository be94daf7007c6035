//! Uses layers of `tower` around attempts.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tower_layer::Layer as TowerLayer;
use tower_service::Service;

use super::{Ended, Layer, Next, unless_told};
use crate::error::{BoxError, Halt};
use crate::job::AnyJob;
use crate::sync::Lock;
use crate::wire::JsonText;

/// Turns any [`tower` layer](tower_layer::Layer) into a [`Layer`].
///
/// The layer is applied once. For each attempt its service is cloned, awaited until it is ready, and called with an
/// [`Attempted`]; the response is the job's result as JSON. So what the clones share, such as the permits of
/// `tower::limit`, is shared by all attempts. An error of the layer itself, such as that of `tower::timeout`, fails the
/// attempt; a [`Halt`] of the processor passes through unchanged. An attempt that is told to stop before the service is
/// ready fails at once.
///
/// ```
/// use std::time::Duration;
/// use oxmq::Router;
/// use oxmq::worker::layer::Tower;
/// use tower::limit::ConcurrencyLimitLayer;
///
/// # async fn send(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
/// let router: Router = Router::new().on("send", send).layer(Tower::new(ConcurrencyLimitLayer::new(8)));
/// ```
pub struct Tower<S>(Lock<S>);

impl<S> Tower<S> {
    /// Applies the layer.
    pub fn new<L: TowerLayer<RunNext, Service = S>>(layer: L) -> Self {
        Self(Lock::new(layer.layer(RunNext)))
    }
}

/// An attempt as the request of a `tower` service.
#[derive(Debug)]
pub struct Attempted {
    /// The job.
    pub job: AnyJob,
    next: Next,
}

/// The innermost service: runs the rest of the attempt.
#[derive(Debug, Clone, Copy)]
pub struct RunNext;

/// A [`Halt`] as an error, so that it can pass through services.
#[derive(Debug, thiserror::Error)]
#[error("the attempt ended without a value: {0:?}")]
pub struct LayerError(pub Halt);

impl Service<Attempted> for RunNext {
    type Response = JsonText;
    type Error = LayerError;
    type Future = BoxFuture<'static, Result<JsonText, LayerError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LayerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempted: Attempted) -> Self::Future {
        let running = attempted.next.run();
        Box::pin(async move { running.await.map_err(LayerError) })
    }
}

impl<S> Layer for Tower<S>
where
    S: Service<Attempted, Response = JsonText> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    fn around(&self, job: AnyJob, next: Next) -> BoxFuture<'static, Ended> {
        let mut service = self.0.lock().clone();
        Box::pin(async move {
            let told = |error: S::Error| match error.into().downcast::<LayerError>() {
                Ok(error) => error.0,
                Err(error) => Halt::Failed(error),
            };
            let ready = std::future::poll_fn(|context| service.poll_ready(context));
            unless_told(&job, ready).await?.map_err(told)?;
            service.call(Attempted { job, next }).await.map_err(told)
        })
    }
}

impl<S> std::fmt::Debug for Tower<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tower").finish_non_exhaustive()
    }
}
