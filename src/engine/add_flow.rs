//! Adds whole flows. A flow is added in one call, stored as a whole or not at all, and this is so after a lost reply
//! too.

use std::time::Instant;

use super::Engine;
use crate::clock::millis;
use crate::connection::{CallFailure, Pauses};
use crate::error::{Error, Reason, Result};
use crate::keys::QueueKeys;
use crate::script::add_flow::{Exceptions, Flow, Stored, add_flow};
use crate::script::add_jobs::{Addition, Placed};
use crate::script::read_origin::{Origin, read_origin};
use crate::script::trace_flow::{FlowTrace, trace_flow};
use crate::script::waits_for::{Held, waits_for};

const OP: &str = "add_flow";

impl Engine {
    /// Stores the jobs of a flow in one atomic step. Returns the outcomes of those that were not simply created.
    ///
    /// `own` is the position of a job whose id was generated for this flow, if there is one. After a lost reply that
    /// job tells whether the flow was stored. If it is missing, the call is repeated. If all ids are the caller's own,
    /// the call is repeated at once: an id that exists gets no second job.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`], or the server refuses the call as a whole, and nothing was stored.
    pub(crate) async fn add_flow(&self, flow: &Flow, own: Option<usize>) -> Result<Stored> {
        flow.homes.iter().try_for_each(|home| self.check_slot("flow", home.base()))?;
        let deadline = tokio::time::Instant::now() + self.link.options().command_timeout * 2;
        let mut backoff = Pauses::default();
        let mut first_lost: Option<Instant> = None;
        let call = add_flow(flow);
        loop {
            let sent = Instant::now();
            let failure = match call.send(&self.link, &self.keys).await {
                Ok(stored) => return Ok(stored),
                Err(failure) => failure,
            };
            let is_over = tokio::time::Instant::now() >= deadline;
            match failure {
                CallFailure::NotApplied(_) if !is_over => {}
                CallFailure::NotApplied(_) if first_lost.is_none() => return Err(failure.to_error(OP)),
                CallFailure::Unknown(_) if !is_over => {
                    let since = *first_lost.get_or_insert(sent);
                    if let Some(own) = own {
                        match self.trace_flow(flow, own, since).await? {
                            FlowTrace::Stored => {
                                let exceptions = self.read_placed(flow).await?;
                                // The lost reply may have said that any of them lacked its settings.
                                return Ok(Stored { exceptions, lacked_settings: (0..flow.homes.len()).collect() });
                            }
                            FlowTrace::NotStored => {}
                            FlowTrace::Unknown => return Err(Error::OutcomeUnknown { op: OP }),
                        }
                    }
                }
                failure if first_lost.is_none() => return Err(failure.to_error(OP)),
                _ => return Err(Error::OutcomeUnknown { op: OP }),
            }
            backoff.pause().await;
        }
    }

    /// Returns why a parent waits; `None` if there is no such job. One round trip.
    pub(crate) async fn waits_for(&self, id: &str, most: u32) -> Result<Option<Held>> {
        self.call(waits_for(id, most)).await
    }

    async fn trace_flow(&self, flow: &Flow, own: usize, since: Instant) -> Result<FlowTrace> {
        let (home, job) = &flow.jobs[own];
        let engine = self.of(&flow.homes[*home]);
        let trace = engine.call(trace_flow(&job.id, millis(since.elapsed()))).await;
        trace.map_err(|_| Error::OutcomeUnknown { op: OP })
    }

    /// Finds the outcomes of the jobs of a flow that is known to be stored, from what is stored now.
    async fn read_placed(&self, flow: &Flow) -> Result<Exceptions> {
        let mut exceptions = Exceptions::new();
        for (at, (home, job)) in flow.jobs.iter().enumerate() {
            let origin = self.call(read_origin(&flow.homes[*home], &job.id)).await;
            let origin = origin.map_err(|_| Error::OutcomeUnknown { op: OP })?;
            exceptions.extend(exception(job, &origin)?.map(|exception| (at, exception)));
        }
        Ok(exceptions)
    }

    /// Returns an engine on the same connection for another queue.
    fn of(&self, keys: &QueueKeys) -> Self {
        Self { keys: keys.clone(), has_settings: std::sync::Arc::default(), ..self.clone() }
    }
}

/// Returns the outcome of a job that was not simply created: one with another timestamp existed before. A job that is
/// missing has run and was removed, if nothing can have refused it; otherwise its outcome is unknown.
fn exception(job: &Addition, origin: &Origin) -> Result<Option<Result<Placed, Reason>>> {
    let Some(timestamp) = &origin.timestamp else {
        return if job.is_sure { Ok(None) } else { Err(Error::OutcomeUnknown { op: OP }) };
    };
    Ok(if *timestamp == job.timestamp.to_string().as_bytes() {
        None
    } else if job.parent.as_ref().is_some_and(|link| origin.parent.as_deref() != Some(link.key.as_bytes())) {
        Some(Err(Reason::ParentCannotBeReplaced))
    } else {
        Some(Ok(Placed::Existing { id: job.id.clone() }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::queue;

    #[tokio::test]
    async fn what_became_of_a_flow_is_read_from_its_job_then_from_the_events_and_else_not_guessed() {
        let engine = queue().await;
        let trace = async |elapsed| engine.call(trace_flow("own", elapsed)).await.unwrap();
        assert_eq!(trace(1_000).await, FlowTrace::NotStored, "nothing has happened at all");
        engine.store("own", &[]).await;
        assert_eq!(trace(1_000).await, FlowTrace::Stored, "the job is there");
        engine.redis("DEL @own").await;
        engine.redis("XADD @events * event added jobId other name n").await;
        // Servers before version 7 do not tell whether entries were removed from a stream.
        let info = format!("{:?}", engine.redis("XINFO STREAM @events").await);
        let read = if info.contains("entries-added") { FlowTrace::NotStored } else { FlowTrace::Unknown };
        assert_eq!(trace(60_000).await, read, "all that has happened since was read");
        engine.redis("XADD @events * event added jobId own name n").await;
        assert_eq!(trace(60_000).await, FlowTrace::Stored, "it has run and gone");
        // More events have been written since than a trace searches.
        let fill = "for i = 1, 2500 do redis.call('XADD', KEYS[1], '*', 'event', 'waiting', 'jobId', 'x') end";
        engine.redis_words(&["EVAL", fill, "1", &engine.keys.events()]).await;
        assert_eq!(trace(60_000).await, FlowTrace::Unknown, "the events of that time are out of sight");
        engine.redis("XTRIM @events MAXLEN 5").await;
        assert_eq!(trace(60_000).await, FlowTrace::Unknown, "the events of that time were taken away");
        assert_eq!(trace(0).await, FlowTrace::Unknown, "a second is allowed for");
    }
}
