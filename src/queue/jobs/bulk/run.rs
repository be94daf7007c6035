//! A bulk action under way, step by step.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};

use super::{BulkOutcome, BulkReport, BulkStep, What};
use crate::engine::{JOBS_PER_CALL, JobsCursor, Scan};
use crate::error::{Error, Result};
use crate::queue::QueueCore;
use crate::state::JobState;

/// How many calls for single jobs are under way at once.
const AT_ONCE: usize = 32;

/// A bulk action under way. Created by [`BulkAction::start`](super::BulkAction::start); drop it to stop.
pub struct BulkRun {
    /// `None` while a step is under way, which has it.
    work: Option<Work>,
    /// The step under way. It is kept here, so that a call of [`next`](Self::next) that is dropped loses nothing.
    step: Option<BoxFuture<'static, (Work, Stepped)>>,
    /// Where the last whole step ended.
    cursor: JobsCursor,
    report: BulkReport,
}

/// What the steps work on.
struct Work {
    core: Arc<QueueCore>,
    scan: Scan,
    /// How many more jobs it may be done to; `u64::MAX` without a limit.
    left: u64,
    what: What,
    /// The base key of the queue that jobs are moved to.
    target: Option<String>,
    is_dry: bool,
    /// Jobs that were found and not dealt with yet, because the connection failed, and the state in which they were found.
    found: Option<(JobState, Vec<String>)>,
}

/// How a step has ended.
#[derive(Default)]
struct Stepped {
    outcomes: Vec<(String, BulkOutcome)>,
    /// In a dry run, how many jobs were found.
    counted: u64,
    /// How many jobs may have been taken away by a call whose reply was lost.
    unknown: u64,
    error: Option<Error>,
}

impl BulkRun {
    pub(super) fn new(
        core: Arc<QueueCore>,
        scan: Scan,
        limit: u64,
        what: What,
        target: Option<String>,
        is_dry: bool,
    ) -> Self {
        let cursor = scan.cursor().clone();
        let work = Work { core, scan, left: limit, what, target, is_dry, found: None };
        Self { work: Some(work), step: None, cursor, report: BulkReport::default() }
    }

    /// Makes the next step: it looks at up to 500 jobs, or works on up to a hundred. Returns `None` when all is done.
    ///
    /// Cancel safe: if the future is dropped, the step goes on with the next call, and no job is left out or counted twice.
    ///
    /// # Errors
    ///
    /// Errors of the connection; what was done before is in the [`report`](Self::report), and the next call continues.
    pub async fn next(&mut self) -> Result<Option<BulkStep>> {
        let step = match &mut self.step {
            Some(step) => step,
            idle => {
                let Some(work) = self.work.take_if(|work| !work.is_done()) else { return Ok(None) };
                idle.insert(Box::pin(work.step()))
            }
        };
        let (work, stepped) = step.await;
        self.step = None;
        let Stepped { outcomes, counted, unknown, error } = stepped;
        self.report.done += counted;
        self.report.unknown += unknown;
        for (id, outcome) in &outcomes {
            self.report.note(id, outcome);
        }
        if work.found.is_none() {
            self.cursor = work.scan.cursor().clone();
        }
        let looked_at = work.scan.cursor().looked_at();
        self.work = Some(work);
        match error {
            Some(error) => Err(error),
            None => Ok(Some(BulkStep { outcomes, looked_at })),
        }
    }

    /// Returns the outcome so far.
    #[must_use]
    pub fn report(&self) -> &BulkReport {
        &self.report
    }

    /// Returns the position after the last whole step: [`Jobs::resume`](super::Jobs::resume) continues from here.
    #[must_use]
    pub fn cursor(&self) -> &JobsCursor {
        &self.cursor
    }
}

impl fmt::Debug for BulkRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkRun").field("cursor", &self.cursor).field("report", &self.report).finish_non_exhaustive()
    }
}

impl Work {
    fn is_done(&self) -> bool {
        self.left == 0 || self.found.is_none() && self.scan.is_done()
    }

    async fn step(mut self) -> (Self, Stepped) {
        let stepped = match self.what {
            _ if self.is_dry => self.count().await,
            What::Remove | What::Move { .. } => self.sweep().await,
            _ => self.each().await,
        };
        let stepped = stepped.unwrap_or_else(|error| Stepped { error: Some(error), ..Stepped::default() });
        self.left = self.left.saturating_sub(stepped.counted + stepped.unknown + stepped.outcomes.len() as u64);
        (self, stepped)
    }

    async fn count(&mut self) -> Result<Stepped> {
        let counted = self.scan.count_step(self.core.engine(), self.left).await?;
        Ok(Stepped { counted, ..Stepped::default() })
    }

    /// Finds and removes or moves jobs in one call.
    async fn sweep(&mut self) -> Result<Stepped> {
        let mut stepped = Stepped::default();
        let is_limited = self.left < u64::MAX;
        let swept = self.scan.remove_step(self.core.engine(), self.target.as_deref(), self.left, is_limited).await;
        let found = match swept {
            // So many may be gone, and no more than the limit may go.
            Err(Error::OutcomeUnknown { .. }) if is_limited => {
                stepped.unknown = self.left.min(JOBS_PER_CALL.into());
                return Ok(stepped);
            }
            swept => swept?,
        };
        for (id, answer) in found.into_iter().flat_map(|found| found.items) {
            let outcome = match answer {
                Ok(Some(id)) => BulkOutcome::MovedAs(id),
                Ok(None) => BulkOutcome::Done,
                Err(reason) => reason.into(),
            };
            stepped.outcomes.push((String::from_utf8_lossy(&id).into_owned(), outcome));
        }
        Ok(stepped)
    }

    /// Finds jobs, and makes a call for each.
    async fn each(&mut self) -> Result<Stepped> {
        let engine = self.core.engine();
        if self.found.is_none() {
            let found = self.scan.ids_step(engine, self.left).await?;
            self.found = found.map(|found| (found.state, found.items));
        }
        let mut stepped = Stepped::default();
        let Some((state, ids)) = self.found.take() else { return Ok(stepped) };
        let what = &self.what;
        let calls = ids.into_iter().map(|id| async move {
            let answer = what.apply(engine, &id, state).await;
            (id, answer)
        });
        let answers: Vec<_> = stream::iter(calls).buffered(AT_ONCE).collect().await;
        let mut unsent = Vec::new();
        for (id, answer) in answers {
            let outcome = match answer {
                Ok(()) => BulkOutcome::Done,
                Err(Error::Refused { reason, .. }) => reason.into(),
                Err(Error::OutcomeUnknown { .. }) => BulkOutcome::Unknown,
                Err(error) => {
                    stepped.error.get_or_insert(error);
                    unsent.push(id);
                    continue;
                }
            };
            if self.what.replaces(state) && !matches!(outcome, BulkOutcome::MovedOn) {
                self.scan.was_replaced(&id);
            }
            stepped.outcomes.push((id, outcome));
        }
        self.found = (!unsent.is_empty()).then_some((state, unsent));
        Ok(stepped)
    }
}
