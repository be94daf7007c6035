//! Schedulers: the next run, made before the current one is processed.

use super::Engine;
use crate::error::{Error, Result};
use crate::script::scheduler::{self, Advance, Advanced};

impl Engine {
    /// Makes the next run of a scheduler, if the job that was taken is its current one; tries until the server has
    /// decided. To repeat it is safe: a scheduler moves on only from its current run.
    ///
    /// # Errors
    ///
    /// The server refuses the call as such; nothing was changed.
    pub(crate) async fn advance_scheduler(&self, now: u64, advance: &Advance) -> Result<Advanced> {
        let (value, _) = self.insist(&scheduler::ADVANCE, &scheduler::args(now, advance)).await?;
        scheduler::reply(value).ok_or(Error::OutcomeUnknown { op: scheduler::ADVANCE.name })
    }
}
