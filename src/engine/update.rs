//! Writes to a job that exists: progress, data, logs.

use super::Engine;
use crate::error::{Error, Result};
use crate::script::{add_log, save_progress, update_data};

impl Engine {
    /// Stores and announces the progress of a job; `json` is written unchanged.
    pub(crate) async fn save_progress(&self, id: &str, json: &str) -> Result<()> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(notes) = &self.notes {
            notes.progress(json);
            return Ok(());
        }
        self.call_job(id, save_progress(id, json)).await
    }

    /// Replaces the data of a job.
    pub(crate) async fn update_data(&self, id: &str, json: &str) -> Result<()> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(notes) = &self.notes {
            notes.data(json);
            return Ok(());
        }
        self.call_job(id, update_data(id, json)).await
    }

    /// Appends lines to the log of a job, keeping the newest `keep` (0 keeps all); returns how many lines the log has.
    pub(crate) async fn add_log(&self, id: &str, lines: &[&str], keep: u32) -> Result<u64> {
        if lines.is_empty() {
            return Err(Error::invalid("log", "there must be at least one line"));
        }
        #[cfg(any(test, feature = "testing"))]
        if let Some(notes) = &self.notes {
            return Ok(notes.log(lines));
        }
        Ok(u64::try_from(self.call_job(id, add_log(id, keep, lines)).await?).unwrap_or(0))
    }
}
