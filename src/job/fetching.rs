//! A fetch by hand that loses no job when its caller stops waiting.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::Fetched;
use crate::error::{Result, WithCauses};
use crate::script::settle::End;

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
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
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
