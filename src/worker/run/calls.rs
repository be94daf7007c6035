//! The calls of the loop: what each takes along, and what follows from its reply.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant as Deadline;

use super::Loop;
use crate::engine::{Settlement, sent};
use crate::error::{Error, Reason};
use crate::worker::event::WorkerEvent;
use crate::worker::perform::EndedAttempt;
use crate::worker::plan::{Learned, fitting, limited_ms};
use crate::worker::settle::{Answered, FollowUp, fail_instead, look_for, settle};
use crate::worker::slots::Asked;

/// How often an outcome is sent alone before it is given up: the cause of the refusal may be mended meanwhile.
const MOST_REFUSALS: u32 = 5;

impl Loop {
    /// Sends one call with up to `most` outcomes, as many as fit, asking for `want` jobs.
    pub(super) fn settle_and_fetch(&mut self, most: usize, want: usize) {
        if !self.plan.starts_jobs() {
            // Each of them is put at the front, so the job that was started last is put back first.
            self.pending.make_contiguous().sort_by_key(|ended| (ended.handed_back, Reverse(ended.order)));
        }
        let n = fitting(self.pending.iter().map(|ended| ended.outcome.size()), most);
        let mut ended = std::mem::take(&mut self.spare.ended);
        ended.extend(self.pending.drain(..n));
        let worker = Arc::clone(&self.worker);
        self.call(sent(async move { settle(&worker, ended, want).await }), want);
    }

    /// Asks how long the pause still lasts that a job asked for. Only this worker keeps it, unless there is a limit too.
    pub(super) fn ask_limit(&mut self) {
        let worker = Arc::clone(&self.worker);
        self.limit_asked = Some(Box::pin(async move {
            let left = worker.queue.engine().get_rate_limit_ttl(None).await.ok()?;
            Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
        }));
    }

    pub(super) fn look_for(&mut self, token: Arc<str>) {
        let known = self.worker.locks.ids();
        self.call(Box::pin(look_for(Arc::clone(&self.worker), token, known)), 0);
    }

    fn call(&mut self, call: BoxFuture<'static, Answered>, want: usize) {
        self.plan.called(want);
        if want > 0 && self.share.is_some() && self.asked.is_none() {
            self.asked = Some(Asked::at(Deadline::now()));
        }
        self.calls.push(call);
    }

    pub(super) fn on_answer(&mut self, answered: Answered) {
        let Answered { ended, want, is_apart, answer } = answered;
        let room = if is_apart {
            self.is_large_underway = false;
            usize::MAX
        } else {
            self.on_return(want)
        };
        let Settlement { settled, suspects, token, sent, is_answered, error } = match answer {
            Ok(decided) => decided,
            Err(error) => return self.on_refusal(ended, want, error),
        };
        if let Some(error) = error {
            self.worker.events.error(error);
        }
        self.plan.accepted(!self.pending.is_empty());
        self.worker.rollbacks.note(settled.event);
        let now = Deadline::now();
        self.plan.came(want, settled.jobs.len(), suspects.is_empty());
        self.losses.add(suspects, now);
        if want > 0 && is_answered {
            self.worker.last_fetch.note(now);
        }
        let asked = ended.iter().filter_map(|ended| ended.pause).max();
        self.record_replies(ended, &settled.codes);
        self.tally.ghosts(settled.ghosts);
        let is_first_empty = self.plan.learn(
            Learned {
                want,
                got: settled.jobs.len(),
                next_due: settled.next_due,
                limited_ms: limited_ms(
                    settled.limited_ms,
                    settled.limiter_ttl_ms,
                    asked,
                    is_answered,
                    self.worker.host.options.drain_delay,
                ),
                is_answered,
            },
            now,
        );
        if is_first_empty {
            self.worker.events.emit(|| WorkerEvent::Drained);
        }
        let mut jobs = settled.jobs;
        let late = jobs.split_off(jobs.len().min(room));
        self.start(jobs, &token, sent);
        self.hand_back(&late, &token, sent);
    }

    /// Counts a call as returned. Returns how many of its jobs may be started: lent slots may be in use by others, and jobs
    /// without a slot are put back at the front.
    fn on_return(&mut self, want: usize) -> usize {
        let mut room = usize::MAX;
        if self.asked.is_some_and(|asked| asked.are_slots_lent()) {
            let used = self.plan.used(true);
            room = self.share.as_mut().map_or(want, |share| share.claim(used, want) - used);
        }
        self.plan.returned(want);
        if want > 0 && self.share.is_some() {
            self.asked = self.plan.asks().then(|| Asked::at(Deadline::now()));
        }
        room
    }

    /// Records what Redis answered to each outcome.
    fn record_replies(&mut self, mut answered: Vec<EndedAttempt>, codes: &[Result<i64, Reason>]) {
        let mut freed = std::mem::take(&mut self.spare.freed);
        // Without refusals this takes no memory.
        let mut refused = Vec::new();
        for (mut ended, code) in answered.drain(..).zip(codes) {
            match FollowUp::of(&mut ended, *code) {
                FollowUp::Taken => {
                    freed.push(ended.slot);
                    self.spare.keep(Arc::clone(&ended.attempt));
                    self.tally.record(ended);
                }
                FollowUp::Settle => self.pending.push_back(ended),
                FollowUp::Fail(reason) => {
                    refused.push((ended.outcome.id.to_string(), reason));
                    self.call(Box::pin(fail_instead(Arc::clone(&self.worker), ended, reason)), 0);
                }
                FollowUp::Drop(reason) => {
                    self.tally.record_refused(&ended, reason);
                    refused.push((ended.outcome.id.to_string(), reason));
                    freed.push(ended.slot);
                }
            }
        }
        self.tally.complain(refused);
        self.worker.locks.release(freed.drain(..));
        self.spare.freed = freed;
        self.spare.ended = answered;
    }

    /// Handles that the server refused the whole call. An outcome that is refused again and again is given up; its job
    /// comes back when its lock has run out.
    fn on_refusal(&mut self, mut ended: Vec<EndedAttempt>, want: usize, error: Error) {
        if let ([alone], 0) = (&mut ended[..], want) {
            alone.refusals += 1;
            if alone.refusals >= MOST_REFUSALS {
                self.tally.record_lost(alone);
                self.worker.locks.release([alone.slot].into_iter());
                ended.clear();
            }
        }
        self.pending.extend(ended);
        self.plan.refused(!self.pending.is_empty(), Deadline::now());
        self.worker.events.error(error);
    }
}
