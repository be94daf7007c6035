//! Pausing and closing: which mode follows, what becomes of jobs that run and of those that were prefetched.

use std::time::Duration;

use tokio::time::Instant;

use super::{Mode, Plan, Stage};

/// How long aborted tasks have to put their jobs back, and how long the calls that store this have.
pub(super) const GATHER: Duration = Duration::from_millis(100);
pub(super) const AFTER_ABORT: Duration = Duration::from_millis(300);

/// What to do to the running jobs of a worker that closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Force {
    /// Cancel all of them.
    Cancel,
    /// Abort their tasks.
    Abort,
}

/// What becomes of the prefetched jobs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Ahead {
    /// They begin as slots become free.
    Begin,
    /// None begins, and calls under way may bring more: all are put back together, so that they keep their order.
    Gather,
    /// They are put back.
    PutBack,
}

impl Plan {
    /// Returns what becomes of the prefetched jobs now.
    pub(in crate::worker) fn ahead(&self) -> Ahead {
        match self.mode {
            Mode::Running if !self.holds_back => Ahead::Begin,
            Mode::Running | Mode::Paused | Mode::Draining { .. } if self.asked > 0 => Ahead::Gather,
            _ => Ahead::PutBack,
        }
    }

    /// Pauses the worker; returns false if it was paused or closing already.
    pub(in crate::worker) fn pause(&mut self) -> bool {
        let runs = self.mode == Mode::Running;
        if runs {
            self.mode = Mode::Paused;
        }
        runs
    }

    /// Resumes the worker; returns false if it was not paused.
    pub(in crate::worker) fn resume(&mut self) -> bool {
        let is_paused = self.mode == Mode::Paused;
        if is_paused {
            self.mode = Mode::Running;
            self.drained = false;
        }
        is_paused
    }

    /// Begins to close: takes no more jobs, and waits for running ones until `until`. Returns false if it was closing
    /// already; a second call may shorten the wait.
    pub(in crate::worker) fn close(&mut self, until: Instant) -> bool {
        match &mut self.mode {
            Mode::Running | Mode::Paused => {
                self.mode = Mode::Draining { until };
                return true;
            }
            Mode::Draining { until: sooner } => *sooner = until.min(*sooner),
            Mode::Cancelling { .. } => {}
        }
        false
    }

    /// Returns when [`on_alarm`](Self::on_alarm) has to be called.
    pub(in crate::worker) fn alarm(&self) -> Option<Instant> {
        let closing = match self.mode {
            Mode::Draining { until } | Mode::Cancelling { until, .. } => Some(until),
            Mode::Running | Mode::Paused => None,
        };
        [closing, self.not_before, self.ask_limit_at, self.look_at, self.gathers_until].into_iter().flatten().min()
    }

    /// Ends whatever was to last until now; returns what to do to the running jobs.
    pub(in crate::worker) fn on_alarm(&mut self, now: Instant) -> Option<Force> {
        if self.not_before.is_some_and(|at| at <= now) {
            self.end_rest();
        }
        if self.ask_limit_at.is_some_and(|at| at <= now) {
            self.ask_limit_at = None;
            self.asks_limit = self.mode == Mode::Running;
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_again();
        }
        match self.mode {
            Mode::Draining { until } if until <= now => {
                self.mode = Mode::Cancelling { until: now + self.cancel_grace, stage: Stage::Told };
                Some(Force::Cancel)
            }
            Mode::Cancelling { until, stage: Stage::Told } if until <= now => {
                // Tasks that await something end here, and put their jobs back; those that compute go on.
                self.mode = Mode::Cancelling { until: now + GATHER, stage: Stage::Gathering };
                Some(Force::Abort)
            }
            Mode::Cancelling { until, stage: Stage::Gathering } if until <= now => {
                self.mode = Mode::Cancelling { until: now + AFTER_ABORT, stage: Stage::Settling };
                None
            }
            _ => None,
        }
    }

    /// Returns whether no job runs and no call is under way.
    pub(in crate::worker) fn is_quiet(&self, pending: usize) -> bool {
        self.running == 0 && self.prefetched == 0 && pending == 0 && self.calls == 0
    }

    /// Returns whether the worker is closed.
    pub(in crate::worker) fn is_closed(&self, pending: usize, now: Instant) -> bool {
        match self.mode {
            Mode::Draining { .. } => self.is_quiet(pending),
            Mode::Cancelling { until, stage } => self.is_quiet(pending) || (stage == Stage::Settling && until <= now),
            Mode::Running | Mode::Paused => false,
        }
    }
}
