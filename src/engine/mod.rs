//! Whole operations on raw jobs: defaults, chunks, repetition after failures, refusals → errors. Nothing here is generic.

mod add;
mod coalesce;
mod scheduler;
mod settle;
mod update;

mod admin;
#[cfg(test)]
mod admin_tests;
mod read;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod settle_tests;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use coalesce::Coalescer;
pub use read::{ChildCounts, ChildKind, ChildPage, ClientInfo};
pub(crate) use read::{Finished, REPORTED};
pub(crate) use settle::Decided;
pub(crate) mod events;
pub(crate) mod marker;

use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use redis::{Cmd, Value};

use crate::clock::Clock;
use crate::connection::{Backoff, Failure, Link};
use crate::error::{Error, Reason, Result};
use crate::keys::QueueKeys;
use crate::script::{Args, Script};

/// One queue on one connection: what every operation needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) link: Link,
    pub(crate) keys: QueueKeys,
    pub(crate) clock: Clock,
}

/// A call whose request has gone out: its first poll, by which it is sent, is not left until after replies that are there
/// already. What is sent together Redis also reads, runs and answers together, and then both sides wait in turn.
pub(crate) fn sent<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
    let mut call: BoxFuture<'static, T> = Box::pin(call);
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Box::pin(std::future::ready(done)),
        Poll::Pending => call,
    }
}

/// Whether a call whose reply was lost may be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Sending it twice does what sending it once does.
    Safe,
    /// It would do harm, so the caller is told that the outcome is unknown.
    Never,
}

impl Engine {
    pub(crate) fn new(link: Link, keys: QueueKeys, clock: Clock) -> Self {
        Self { link, keys, clock }
    }

    /// Runs a script, again after passing failures, within the command deadline.
    pub(crate) async fn run(&self, script: &Script, args: &Args, repeat: Repeat) -> Result<Value> {
        let deadline = tokio::time::Instant::now() + self.link.options().command_timeout;
        let mut backoff = Backoff::default();
        let mut was_unknown = false;
        loop {
            let failure = match script.run(&self.link, &self.keys, args).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let again = match &failure {
                Failure::NotApplied(_) => true,
                Failure::Unknown(_) => repeat == Repeat::Safe,
                Failure::OutOfMemory | Failure::Server(_) => false,
            };
            if !again || tokio::time::Instant::now() >= deadline {
                // What an earlier, unanswered call may have done is not undone by this failure.
                let error =
                    if was_unknown { Error::OutcomeUnknown { op: script.name } } else { failure.to_error(script.name) };
                return Err(error);
            }
            was_unknown |= matches!(failure, Failure::Unknown(_));
            backoff.pause().await;
        }
    }

    /// Sends one plain command that may be repeated, under the name of the operation.
    pub(crate) async fn command(&self, op: &'static str, cmd: &Cmd) -> Result<Value> {
        let deadline = tokio::time::Instant::now() + self.link.options().command_timeout;
        let mut backoff = Backoff::default();
        loop {
            match self.link.send(cmd).await {
                Ok(value) => return Ok(value),
                Err(failure @ (Failure::NotApplied(_) | Failure::Unknown(_))) => {
                    if tokio::time::Instant::now() >= deadline {
                        return Err(failure.to_error(op));
                    }
                }
                Err(failure) => return Err(failure.to_error(op)),
            }
            backoff.pause().await;
        }
    }

    /// The answer to one item, as the error of operation `op` on job `id` where it is a refusal.
    pub(crate) fn accept(op: &'static str, id: &str, code: Result<i64, Reason>) -> Result<i64> {
        code.map_err(|reason| Error::refused(op, id, reason))
    }
}
