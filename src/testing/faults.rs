//! What can go wrong, as layers of one line.

use std::pin::pin;
use std::task::Poll;

use futures::future::BoxFuture;

use crate::error::Halt;
use crate::job::{AnyJob, CancelReason};
use crate::script;
use crate::worker::layer::{Ended, Layer, Next};

/// Which attempt at a job this is, as far as attempts count: the first is 1.
fn attempt(job: &AnyJob) -> u32 {
    job.attempts_made().saturating_add(1)
}

/// Makes a layer that fails the `n`-th attempt at each job in place of running it; the first is 1.
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

/// Makes a layer in which the first start of each job loses its lock, as if its worker had stood still for too long: once
/// the processor waits for something, the lock is gone and the attempt is told [`CancelReason::LockLost`]. What it comes to
/// is dropped, and the job runs again: on a [`TestQueue`](super::TestQueue) at once, by a worker with its stalled check.
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

/// Makes a layer in which the worker of the first start of each job shuts down: once the processor waits for something, the
/// attempt is told [`CancelReason::Shutdown`], has the worker's `cancel_grace` to end in its own way, and is cut off then.
/// The job goes back to the front, and no attempt is spent on it.
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

/// Takes the lock of a running job away, where there is a server.
async fn drop_lock(job: &AnyJob) {
    let engine = job.queue_core().engine();
    if engine.notes.is_none() {
        let lock = engine.keys.key(&format!("{}:lock", job.id()));
        engine.call(script::unlink("lose_lock", &[lock])).await.expect("the tests' server");
    }
}
