//! A fetch by hand, which loses no job when its caller stops waiting, and its result.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::runtime::Handle;

use super::Job;
use crate::error::{Result, WithCauses};
use crate::script::settle::End;
use crate::sync::spawn;

/// The result of a fetch by hand, and when to try again if there was no job.
///
/// ```no_run
/// # async fn demo(worker: oxmq::ManualWorker<String, ()>) -> oxmq::Result<()> {
/// let mut next = worker.get_next_job("token").await?;
/// while let Some(job) = next {
///     println!("{}", job.data());
///     // One round trip ends this job and fetches the next.
///     let fetched = job.move_to_completed_and_fetch(&(), "token").await?;
///     println!("limited for {:?}, the next delayed job is due at {:?}", fetched.limited_for, fetched.next_due);
///     next = fetched.job;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Fetched<D = Value, R = Value> {
    /// The job; `None` if there is none, or the queue is paused or rate limited.
    pub job: Option<Job<D, R>>,
    /// For how long the rate limit allows no fetch; zero if it is not exhausted.
    pub limited_for: Duration,
    /// When the next delayed job is due; `None` if a job was fetched, the queue is paused or limited, or none is delayed.
    pub next_due: Option<SystemTime>,
    /// Jobs that could not be run and were failed for good on the way: name and reason.
    #[cfg_attr(not(any(test, feature = "testing")), allow(dead_code, reason = "a drain tells them"))]
    pub(crate) unrun: Vec<(String, String)>,
}

/// A fetch under way. If it is dropped once its request may have been sent, it goes on in a task, which puts the job that
/// comes back to the front of the queue: nobody else knows that job, so it would stay active until its lock runs out.
pub(crate) struct Fetching<D: Send + 'static, R: 'static> {
    call: Option<BoxFuture<'static, Result<Fetched<D, R>>>>,
    has_begun: bool,
}

impl<D: Send + 'static, R: 'static> Fetching<D, R> {
    pub(crate) fn new(call: impl Future<Output = Result<Fetched<D, R>>> + Send + 'static) -> Self {
        Self { call: Some(Box::pin(call)), has_begun: false }
    }
}

impl<D: Send + 'static, R: 'static> Future for Fetching<D, R> {
    type Output = Result<Fetched<D, R>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.has_begun = true;
        let Some(call) = &mut self.call else { return Poll::Pending };
        let fetched = call.as_mut().poll(cx);
        if fetched.is_ready() {
            self.call = None;
        }
        fetched
    }
}

impl<D: Send + 'static, R: 'static> Drop for Fetching<D, R> {
    fn drop(&mut self) {
        let Some(call) = self.call.take_if(|_| self.has_begun) else { return };
        if Handle::try_current().is_err() {
            return;
        }
        spawn(async move {
            let Ok(Fetched { job: Some(job), .. }) = call.await else { return };
            let core = job.into_core();
            let Some(token) = core.attempt.as_ref().map(|attempt| attempt.token()) else { return };
            if let Err(error) = core.end("move_to_wait", End::Waiting.into(), token, 0).await {
                let error = WithCauses(&error);
                tracing::warn!(job_id = core.raw.id(), %error, "a job whose fetch was given up could not be put back");
            }
        });
    }
}
