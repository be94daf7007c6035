//! A job as its page and the parts of that page need it.

use std::time::SystemTime;

use crate::dashboard::app::{AnyJob, AnyQueue};
use crate::dashboard::request::problem::Problem;
use crate::error::Result as Answer;
use crate::state::JobState;

/// A job, as stored and as read.
pub(super) struct StoredJob {
    pub(super) id: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) state: JobState,
    /// The job, or why it cannot be read.
    pub(super) job: Answer<AnyJob>,
    /// When it is due, if it is delayed.
    pub(super) due: Option<SystemTime>,
}

impl StoredJob {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn name(&self) -> &str {
        self.field("name").unwrap_or_default()
    }
}

/// Reads a job with its state. Three round trips, two at the same time.
pub(super) async fn read(queue: &AnyQueue, id: &str) -> Result<StoredJob, Problem> {
    let engine = queue.engine();
    let ids = [id];
    let (fields, state, due) = tokio::try_join!(engine.get_fields(id), engine.look_up_state(id), engine.get_due(&ids))?;
    if fields.is_empty() {
        return Err(Problem::no_job(id));
    }
    let job = queue.get_job(id).await.transpose().ok_or_else(|| Problem::no_job(id))?;
    Ok(StoredJob { id: id.to_owned(), fields, state, job, due: due.into_iter().next().flatten() })
}
