//! Reads what only pages about a job and its server ask for.

use super::Engine;
use crate::error::Result;
use crate::keys::is_no_job;
use crate::script::{self, event_stream};
use crate::state::JobState;
use crate::wire::{EventId, QueueEvent};

impl Engine {
    /// Returns the state of a job. One round trip of bounded cost: of a long list of waiting jobs only those that run
    /// next are searched, and a job found in no other place counts as waiting behind them.
    pub(crate) async fn look_up_state(&self, id: &str) -> Result<JobState> {
        if is_no_job(id) {
            return Ok(JobState::Unknown);
        }
        let held = self.waits_for(id, 0).await?;
        Ok(held.map_or(JobState::Unknown, |held| held.state.parse().unwrap_or(JobState::Unknown)))
    }

    /// Returns whether a job has this id. One command, whose cost does not depend on the number of jobs.
    pub(crate) async fn has_job(&self, id: &str) -> Result<bool> {
        if is_no_job(id) {
            return Ok(false);
        }
        self.call(script::has_job(&self.keys, id)).await
    }

    /// Returns the oldest `count` events from this moment on.
    pub(crate) async fn events_from(&self, ms: u64, count: u32) -> Result<Vec<(EventId, QueueEvent)>> {
        let entries = self.call(event_stream::events_from(&self.keys.events(), ms, count)).await?;
        Ok(entries.into_iter().map(|entry| (entry.id, QueueEvent::decode(entry.fields))).collect())
    }

    /// Returns the fields of the server's `INFO`.
    pub(crate) async fn server_info(&self) -> Result<Vec<(String, String)>> {
        let text = self.call(script::server_info()).await?;
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
