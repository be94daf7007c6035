//! Faults, as layers.

use std::pin::pin;
use std::task::Poll;

use futures::future::BoxFuture;

use crate::error::Halt;
use crate::job::{AnyJob, CancelReason};
use crate::script;
use crate::worker::layer::{Ended, Layer, Next};

/// Returns the number of the attempt, counting those that are used up: the first is 1.
fn attempt(job: &AnyJob) -> u32 {
    job.attempts_made().saturating_add(1)
}

/// Creates a layer that fails the `n`-th attempt at each job instead of running it; the first is 1.
///
/// ```
/// use oxmq::testing::fail_attempt;
///
/// # async fn send(job: oxmq::Job<String, ()>) -> Result<(), oxmq::Halt> { Ok(()) }
/// let router: oxmq::Router = oxmq::Router::new().on("send", send).layer(fail_attempt(1, "the server is away"));
/// ```
pub fn fail_attempt(n: u32, why: impl Into<String>) -> impl Layer + Clone {
    let why = why.into();
    move |job: AnyJob, next: Next| -> BoxFuture<'static, Ended> {
        if attempt(&job) != n {
            return next.run();
        }
        let why = why.clone();
        Box::pin(async move { Err(Halt::failed(why)) })
    }
}

/// Creates a layer in which the first start of each job loses its lock, as if its worker had stood still for too long:
/// when the processor awaits something, the lock is gone and the attempt is cancelled with [`CancelReason::LockLost`].
/// Its outcome is dropped, and the job runs again: on a [`TestQueue`](super::TestQueue) at once, with a worker after
/// its stalled check.
pub fn lose_lock() -> impl Layer + Clone {
    |job: AnyJob, next: Next| -> BoxFuture<'static, Ended> {
        if job.attempts_started() > 1 {
            return next.run();
        }
        Box::pin(async move {
            let mut running = next.run();
            match futures::poll!(&mut running) {
                Poll::Ready(ended) => {
                    drop_lock(&job).await;
                    ended
                }
                Poll::Pending => {
                    drop_lock(&job).await;
                    job.cancel(CancelReason::LockLost);
                    running.await
                }
            }
        })
    }
}

/// Creates a layer in which the worker of the first start of each job shuts down: when the processor awaits something,
/// the attempt is cancelled with [`CancelReason::Shutdown`], has the worker's `cancel_grace` to end by itself, and is
/// then aborted. The job is put back at the front, and no attempt is used up, also if the processor
/// returns an error.
pub fn shut_down() -> impl Layer + Clone {
    |job: AnyJob, next: Next| -> BoxFuture<'static, Ended> {
        if job.attempts_started() > 1 {
            return next.run();
        }
        Box::pin(async move {
            let mut running = pin!(next.run());
            if let Poll::Ready(ended) = futures::poll!(&mut running) {
                return ended;
            }
            job.cancel(CancelReason::Shutdown);
            tokio::time::timeout(job.cancel_grace(), running).await.unwrap_or(Err(Halt::Waiting))
        })
    }
}

/// Deletes the lock of a running job, if there is a server.
async fn drop_lock(job: &AnyJob) {
    let engine = job.queue_core().engine();
    if engine.notes.is_none() {
        let lock = engine.keys.key(&format!("{}:lock", job.id()));
        engine.call(script::unlink("lose_lock", &[lock])).await.expect("the tests' server");
    }
}
