//! Whole operations on raw jobs: they apply defaults, split work into calls, repeat calls after failures, and turn
//! refusals into errors. Nothing here is generic.

mod add;
mod add_flow;
mod admin;
pub(crate) mod client_info;
mod coalesce;
pub(crate) mod events;
#[cfg(feature = "dashboard")]
mod inspect;
pub(crate) mod look;
pub(crate) mod marker;
#[cfg(any(test, feature = "testing"))]
mod notes;
mod overview;
mod partitions;
mod prometheus;
mod read;
mod scan;
mod scheduler;
mod settle;
pub(crate) mod stream_waits;
mod tries;
mod update;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::connection::Link;
use crate::error::{Error, Reason, Result};
use crate::keys::{QueueKeys, is_no_job};
pub(crate) use crate::script::WRITES;
pub use crate::script::count_children::ChildCounts;
pub use crate::script::get_children::{ChildKind, ChildPage};
pub use crate::script::get_meta::QueueMeta;
pub use crate::script::get_metrics::Metrics;
use crate::script::{Call, RawReply, Request, Resend};
pub use client_info::ClientInfo;
pub(crate) use coalesce::Coalescer;
#[cfg(any(test, feature = "testing"))]
pub use notes::AddedChild;
#[cfg(any(test, feature = "testing"))]
pub(crate) use notes::{Notes, Written};
pub(crate) use overview::workers_by_queue;
pub(crate) use partitions::{GlobalConcurrency, PartitionSetting, PartitionSettings};
pub(crate) use prometheus::REPORTED;
pub use scan::{BadCursor, JobsCursor};
pub(crate) use scan::{JOBS_PER_CALL, Scan};
pub(crate) use settle::{Adopted, Settlement};
use stream_waits::StreamWaits;
use tries::Tries;
pub(crate) use tries::{LONGEST_CALL, Until};

/// One queue on one connection: what every operation needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) link: Link,
    pub(crate) keys: QueueKeys,
    pub(crate) clock: Clock,
    /// Whether the settings of the queue are there, as far as this client knows: dashboards look for them.
    pub(crate) has_settings: std::sync::Arc<std::sync::atomic::AtomicBool>,
    /// What the readers of events share, with those of the client's other queues.
    pub(crate) streams: std::sync::Arc<StreamWaits>,
    /// Collects what would be written, in a test without a server.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) notes: Option<std::sync::Arc<Notes>>,
}

/// Polls a call once now, so that its request is written before the replies that are already there are handled.
/// Requests written together are also read, run and answered together, and then Redis and the client wait for each
/// other in turn.
pub(crate) fn sent<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
    let mut call: BoxFuture<'static, T> = Box::pin(call);
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Box::pin(std::future::ready(done)),
        Poll::Pending => call,
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").field(&self.keys).finish()
    }
}

impl Engine {
    pub(crate) fn new(link: Link, keys: QueueKeys, clock: Clock) -> Self {
        Self {
            link,
            keys,
            clock,
            has_settings: std::sync::Arc::default(),
            streams: StreamWaits::new(None, false),
            #[cfg(any(test, feature = "testing"))]
            notes: None,
        }
    }

    /// Returns whether the settings of the queue are there, as far as this client knows.
    pub(crate) fn has_settings(&self) -> bool {
        self.has_settings.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Records whether the settings of the queue are there.
    pub(crate) fn note_settings(&self, are_there: bool) {
        self.has_settings.store(are_there, std::sync::atomic::Ordering::Release);
    }

    /// Sends a call, and repeats it after passing failures within the usual limit.
    pub(crate) fn call<T>(&self, call: Call<T>) -> impl Future<Output = Result<T>> {
        self.call_until(Until::Usual, call)
    }

    /// Sends a call, and repeats it after passing failures within the given limit.
    pub(crate) fn call_until<T>(&self, until: Until, call: Call<T>) -> impl Future<Output = Result<T>> {
        self.call_or(until, call, None)
    }

    /// Sends a call of a command that a user may lack, and repeats it as [`call`](Self::call) does.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`] with the command where the server has no such command, or the user may not call it.
    pub(crate) fn call_command<T>(&self, command: &'static str, call: Call<T>) -> impl Future<Output = Result<T>> {
        self.call_or(Until::Usual, call, Some(command))
    }

    /// What is compiled for each type of reply is only how it is read.
    async fn call_or<T>(&self, until: Until, call: Call<T>, command: Option<&'static str>) -> Result<T> {
        let reply = self.reply_to(&call.request, call.op, call.resend, until, command).await?;
        call.decode(reply).map_err(|failure| match call.resend {
            Resend::Reads => failure.to_read_error(call.op),
            _ => failure.to_error(call.op),
        })
    }

    async fn reply_to(
        &self,
        request: &Request,
        op: &'static str,
        resend: Resend,
        until: Until,
        command: Option<&'static str>,
    ) -> Result<RawReply> {
        let mut tries = Tries::new(&self.link, until);
        loop {
            match (request.send(tries.link(), &self.keys).await, command) {
                (Ok(reply), _) => return Ok(reply),
                (Err(failure), Some(command)) if failure.is_not_permitted() => {
                    return Err(Error::NotPermitted { op, command });
                }
                (Err(failure), _) => tries.after(failure, op, resend).await?,
            }
        }
    }

    /// Sends a call about one job; a refusal becomes an error.
    pub(crate) async fn call_job<T>(&self, id: &str, call: Call<Result<T, Reason>>) -> Result<T> {
        let op = call.op;
        Self::check_id(op, id)?;
        self.call(call).await?.map_err(|reason| Error::refused(op, id, reason))
    }

    /// Refuses keys that begin with `base` if a cluster may keep them on another node than this queue's keys.
    pub(crate) fn check_slot(&self, option: &'static str, base: &str) -> Result<()> {
        if self.link.is_for_keys(base) {
            return Ok(());
        }
        const PROBLEM: &str = "on a cluster it must be in the same slot: give both queues the same hash tag, as by the prefix \
                               {bull}";
        Err(Error::invalid(option, PROBLEM))
    }

    /// Refuses an id whose key would be a key of the queue itself, as a job that does not exist.
    pub(crate) fn check_id(op: &'static str, id: &str) -> Result<()> {
        if is_no_job(id) {
            return Err(Error::refused(op, id, Reason::MissingJob));
        }
        Ok(())
    }
}
