//! Adds one job or many, in calls of bounded size.

use std::time::Duration;

use futures::StreamExt;

use super::tries::Tries;
use super::{Engine, Until};
use crate::clock::{epoch_ms, millis};
use crate::connection::CallFailure;
use crate::error::{Error, Reason, Result};
use crate::options::{JobOptions, check_delay};
use crate::script::add_jobs::{Addition, Dedup, Destination, ParentLink, Placed, add_job, add_jobs};
use crate::wire::options::{parent_json, to_json};

/// The most jobs that one call carries: Redis is busy for about 12 µs per job, and while it copies the bytes.
const CALL_JOBS: usize = 150;
const CALL_BYTES: usize = 1024 * 1024;

const OP: &str = "add";

/// How many calls of one bulk add are under way at once: one is prepared while Redis runs the other.
const CALLS_AT_ONCE: usize = 2;

impl Engine {
    /// Builds a job from its parts: applies defaults, checks options, chooses its place. `data` is JSON.
    pub(crate) fn new_job(
        &self,
        name: String,
        data: String,
        options: JobOptions,
        defaults: &JobOptions,
    ) -> Result<Addition> {
        let options = if options.parent.is_some() { options.in_flow() } else { options };
        let mut options = options.or_defaults(defaults);
        let timestamp = options.timestamp.map_or_else(|| self.clock.now_ms(), epoch_ms);
        if let Some(at) = options.run_at.take() {
            let delay = Duration::from_millis(epoch_ms(at).saturating_sub(timestamp));
            check_delay(delay).map_err(|_| Error::invalid("run_at", "it lies too far in the future"))?;
            options.delay = Some(delay);
        }
        options.check()?;
        options.check_data(&data)?;
        if let Some(parent) = options.parent.as_ref().filter(|_| self.link.is_cluster()) {
            self.check_slot("parent", &parent.key())?;
        }
        if let (Some(parent), Some(id)) = (&options.parent, &options.job_id)
            && parent.id == *id
            && parent.queue == self.keys.qualified()
        {
            return Err(Error::invalid("parent", "a job cannot wait for itself"));
        }
        let delay = options.delay.map_or(0, millis);
        let priority = options.priority.unwrap_or(0);
        let place = match (delay, priority, options.lifo) {
            (1.., _, _) => Destination::Delayed,
            (_, 1.., _) => Destination::Prioritized,
            (_, _, Some(true)) => Destination::WaitFirst,
            _ => Destination::Wait,
        };
        let deduplication = options.deduplication.as_ref().map(|deduplication| {
            Box::new(Dedup {
                id: deduplication.id.clone(),
                ttl: deduplication.ttl.map(millis).filter(|ttl| *ttl > 0),
                extend: deduplication.extend,
                replace: deduplication.replace,
                keep_last_if_active: deduplication.keep_last_if_active,
                reschedule: deduplication.reschedule,
            })
        });
        let parent = options.parent.as_ref().map(|parent| {
            Box::new(ParentLink { key: parent.key(), json: parent_json(parent, options.on_child_failure) })
        });
        Ok(Addition {
            place,
            opts: to_json(&options),
            id: options.job_id.unwrap_or_default(),
            name,
            data,
            timestamp,
            delay,
            priority,
            parent,
            is_sure: false,
            deduplication,
        })
    }

    /// Adds jobs in order, in as many calls as needed. Each call is atomic, and so is each job.
    ///
    /// Returns one result per job, in order.
    pub(crate) async fn add_all(&self, jobs: &[Addition]) -> Vec<Result<Placed>> {
        let mut calls = Vec::new();
        let mut rest = jobs;
        while !rest.is_empty() {
            let (call, others) = rest.split_at(call_length(rest.iter().map(Addition::size)));
            calls.push(call);
            rest = others;
        }
        let calls: Vec<_> = calls.into_iter().map(|call| self.add_call(call)).collect();
        let answers = futures::stream::iter(calls).buffered(CALLS_AT_ONCE);
        answers.collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    /// Adds one job. After a lost reply it is sent again if that cannot add it twice.
    pub(super) async fn add_one(&self, job: &Addition) -> Result<Placed> {
        let mut tries = Tries::new(&self.link, Until::Usual);
        match add_job(job).send(tries.link(), &self.keys).await {
            Ok((placed, lacked_settings)) => {
                if lacked_settings {
                    self.note_settings(false);
                }
                answer(placed, job)
            }
            Err(failure) => {
                let again = Box::pin(self.add_again(std::slice::from_ref(job), &mut tries, failure));
                again.await.pop().unwrap_or(Err(Error::OutcomeUnknown { op: OP }))
            }
        }
    }

    /// Adds the jobs of one call. After a lost reply those jobs are sent again that cannot become second jobs.
    pub(super) async fn add_call(&self, jobs: &[Addition]) -> Vec<Result<Placed>> {
        let mut tries = Tries::new(&self.link, Until::Usual);
        let bytes = jobs.iter().map(Addition::size).sum();
        let placed = add_jobs(jobs.iter(), bytes).send(tries.link(), &self.keys).await;
        match placed {
            Ok(placed) => {
                if placed.lacked_settings {
                    self.note_settings(false);
                }
                placed.each.into_iter().zip(jobs).map(|(placed, job)| answer(placed, job)).collect()
            }
            // The rare path is boxed, so that the future of every other add is smaller.
            Err(failure) => Box::pin(self.add_again(jobs, &mut tries, failure)).await,
        }
    }

    /// Continues a call that has failed, with those of its jobs that may be sent again.
    async fn add_again(
        &self,
        jobs: &[Addition],
        tries: &mut Tries<'_>,
        mut failure: CallFailure,
    ) -> Vec<Result<Placed>> {
        // The jobs still to send, and the answers so far.
        let mut open: Vec<usize> = (0..jobs.len()).collect();
        let mut answers: Vec<Option<Result<Placed>>> = jobs.iter().map(|_| None).collect();
        loop {
            let was_lost = tries.was_lost();
            let in_time = tries.note(&failure);
            open.retain(|&i| {
                let again = in_time
                    && match failure {
                        CallFailure::NotApplied(_) => true,
                        // The jobs may have been added; so it is if the reply cannot be read.
                        CallFailure::Unknown(_) | CallFailure::Unreadable => jobs[i].is_repeatable(),
                        CallFailure::OutOfMemory | CallFailure::Server(_) => false,
                    };
                if !again {
                    let error = if was_lost { Error::OutcomeUnknown { op: OP } } else { failure.to_error(OP) };
                    answers[i] = Some(Err(error));
                }
                again
            });
            if open.is_empty() {
                break;
            }
            tries.pause().await;
            let bytes = open.iter().map(|&i| jobs[i].size()).sum();
            let call = add_jobs(open.iter().map(|&i| &jobs[i]), bytes);
            match call.send(tries.link(), &self.keys).await {
                Ok(placed) => {
                    if placed.lacked_settings {
                        self.note_settings(false);
                    }
                    for (&i, placed) in open.iter().zip(placed.each) {
                        answers[i] = Some(answer(placed, &jobs[i]));
                    }
                    break;
                }
                Err(again) => failure = again,
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(Error::OutcomeUnknown { op: OP }))).collect()
    }
}

/// Turns the outcome of one job into a result; a refusal names the job.
fn answer(placed: std::result::Result<Placed, Reason>, job: &Addition) -> Result<Placed> {
    placed.map_err(|reason| {
        let parent = job.parent.as_ref().map(|parent| &*parent.key);
        Error::refused(OP, job.id.clone(), reason).with_parent(parent)
    })
}

/// Returns how many of these jobs fit into one call; at least one.
pub(super) fn call_length(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fitting = sizes.take(CALL_JOBS).take_while(|size| {
        bytes += size;
        bytes <= CALL_BYTES
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_bounded_in_jobs_and_bytes() {
        assert_eq!(call_length(std::iter::repeat_n(10, 1_000)), CALL_JOBS);
        assert_eq!(call_length(std::iter::repeat_n(CALL_BYTES / 2, 10)), 2);
        assert_eq!(call_length(std::iter::repeat_n(CALL_BYTES * 2, 10)), 1);
    }
}
