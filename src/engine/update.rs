//! Writing to a job that exists: progress, data, logs.

use super::Engine;
use crate::error::{Error, Result};
use crate::script::Repeat;
use crate::script::update;

impl Engine {
    /// Stores and announces the progress of a job; `json` as written.
    pub(crate) async fn save_progress(&self, id: &str, json: &str) -> Result<()> {
        Self::check_id("save_progress", id)?;
        let value = self.run(&update::PROGRESS, &update::pairs(&[(id, json)]), Repeat::Safe).await?;
        let code = update::codes(value).and_then(|codes| codes.into_iter().next());
        Self::accept("save_progress", id, code.ok_or(Error::OutcomeUnknown { op: "save_progress" })?).map(drop)
    }

    /// Replaces the data of a job.
    pub(crate) async fn update_data(&self, id: &str, json: &str) -> Result<()> {
        Self::check_id("update_data", id)?;
        let value = self.run(&update::DATA, &update::pairs(&[(id, json)]), Repeat::Safe).await?;
        let code = update::codes(value).and_then(|codes| codes.into_iter().next());
        Self::accept("update_data", id, code.ok_or(Error::OutcomeUnknown { op: "update_data" })?).map(drop)
    }

    /// Appends lines to the log of a job, keeping the newest `keep` (0 keeps all); the number of lines kept.
    pub(crate) async fn add_log(&self, id: &str, lines: &[&str], keep: u32) -> Result<u64> {
        if lines.is_empty() {
            return Err(Error::invalid("log", "there must be at least one line"));
        }
        Self::check_id("add_log", id)?;
        // A line written twice is worse than an unknown outcome.
        let value = self.run(&update::LOG, &update::log_args(id, keep, lines), Repeat::Never).await?;
        let code = update::code(value).ok_or(Error::OutcomeUnknown { op: "add_log" })?;
        Ok(u64::try_from(Self::accept("add_log", id, code)?).unwrap_or(0))
    }
}
