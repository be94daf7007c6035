//! Whole flows. They are added in one call, stored whole or not at all, also when the reply is lost.

use std::time::Instant;

use redis::{Cmd, Value};

use super::Engine;
use crate::clock::millis;
use crate::connection::{Backoff, Failure};
use crate::error::{Error, Reason, Result};
use crate::keys::QueueKeys;
use crate::script::add_flow::{self, Flow, Trace};
use crate::script::add_jobs::{self, NewJob, Placed};
use crate::script::reply;
use crate::script::waits_for::{self, Held};

const OP: &str = "add_flow";

impl Engine {
    /// Stores the jobs of a flow in one atomic step; one answer for each, in order.
    ///
    /// `own` is the position of a job whose id was made for this flow, if there is one: what became of a call whose
    /// reply was lost is read from it. Without one every id is the caller's own, and the call is repeated, which makes no
    /// second job while the first exists.
    ///
    /// # Errors
    ///
    /// The server refuses the call as such, and nothing was stored; or [`Error::OutcomeUnknown`].
    pub(crate) async fn add_flow(&self, flow: &Flow, own: Option<usize>) -> Result<Vec<Placed>> {
        let deadline = tokio::time::Instant::now() + self.link.options().command_timeout * 2;
        let mut backoff = Backoff::default();
        let mut first_lost: Option<Instant> = None;
        let args = flow.args();
        loop {
            let sent = Instant::now();
            let failure = match add_flow::SCRIPT.run(&self.link, &self.keys, &args).await {
                Ok(value) => match add_jobs::reply(value).filter(|placed| placed.len() == flow.jobs.len()) {
                    Some(placed) => return Ok(placed),
                    // Carried out, but what it said cannot be read.
                    None => return Err(Error::OutcomeUnknown { op: OP }),
                },
                Err(failure) => failure,
            };
            let is_over = tokio::time::Instant::now() >= deadline;
            match failure {
                Failure::NotApplied(_) if !is_over => {}
                Failure::NotApplied(_) if first_lost.is_none() => return Err(failure.to_error(OP)),
                Failure::Unknown(_) if !is_over => {
                    let since = *first_lost.get_or_insert(sent);
                    if let Some(own) = own {
                        match self.trace_flow(flow, own, since).await? {
                            Trace::Stored => return self.read_placed(flow).await,
                            Trace::NotStored => {}
                            Trace::Unknown => return Err(Error::OutcomeUnknown { op: OP }),
                        }
                    }
                }
                failure if first_lost.is_none() => return Err(failure.to_error(OP)),
                _ => return Err(Error::OutcomeUnknown { op: OP }),
            }
            backoff.pause().await;
        }
    }

    /// Why a parent waits; `None` if there is no such job. One round trip.
    pub(crate) async fn waits_for(&self, id: &str, most: u32) -> Result<Option<Held>> {
        let value = self.run(&waits_for::SCRIPT, &waits_for::args(id, most), crate::script::Repeat::Safe).await?;
        waits_for::reply(value).ok_or(Error::Reply { op: waits_for::SCRIPT.name })
    }

    async fn trace_flow(&self, flow: &Flow, own: usize, since: Instant) -> Result<Trace> {
        let (home, job) = &flow.jobs[own];
        let engine = self.of(&flow.homes[*home]);
        let args = add_flow::trace_args(&job.id, millis(since.elapsed()));
        let value = engine.run(&add_flow::TRACE, &args, crate::script::Repeat::Safe).await;
        match value {
            Ok(value) => add_flow::trace_reply(&value).ok_or(Error::OutcomeUnknown { op: OP }),
            Err(_) => Err(Error::OutcomeUnknown { op: OP }),
        }
    }

    /// What became of each job of a flow that is known to be stored, read from what is there now.
    async fn read_placed(&self, flow: &Flow) -> Result<Vec<Placed>> {
        let mut placed = Vec::with_capacity(flow.jobs.len());
        for (home, job) in &flow.jobs {
            let mut cmd = Cmd::new();
            cmd.arg("HMGET").arg(flow.homes[*home].job(&job.id)).arg(&["timestamp", "parentKey"]);
            let held = self.command(OP, &cmd).await.map_err(|_| Error::OutcomeUnknown { op: OP })?;
            placed.push(read_one(job, held));
        }
        Ok(placed)
    }

    /// The same connection, for another queue.
    fn of(&self, keys: &QueueKeys) -> Self {
        Self { keys: keys.clone(), ..self.clone() }
    }
}

/// A job that bears another time was there before; one that is gone has run already.
fn read_one(job: &NewJob, held: Value) -> Placed {
    let held = reply::array(held).unwrap_or_default().into_iter().map(reply::bytes);
    let [timestamp, parent] = held.collect::<Vec<_>>().try_into().unwrap_or_default();
    let id = job.id.clone();
    if timestamp.is_none_or(|at| at == job.timestamp.to_string().as_bytes()) {
        Placed::Created { id }
    } else if job.parent.as_ref().is_some_and(|link| parent.as_deref() != Some(link.key.as_bytes())) {
        Placed::Refused { reason: Reason::ParentCannotBeReplaced }
    } else {
        Placed::Existing { id }
    }
}
