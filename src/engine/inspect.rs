//! What only pages about a job and its server ask.

use std::time::SystemTime;

use super::Engine;
use crate::error::Result;
use crate::keys::is_no_job;
use crate::script::{self, event_stream};
use crate::state::JobState;
use crate::wire::{EventId, QueueEvent};

impl Engine {
    /// Where a job is. One round trip, and bounded: of a long list of waiting jobs those are looked through that run next, and a
    /// job that is in no other place is taken to wait behind them.
    pub(crate) async fn look_up_state(&self, id: &str) -> Result<JobState> {
        if is_no_job(id) {
            return Ok(JobState::Unknown);
        }
        let held = self.waits_for(id, 0).await?;
        Ok(held.map_or(JobState::Unknown, |held| held.state.parse().unwrap_or(JobState::Unknown)))
    }

    /// Whether there is a job with this id. One command, whose cost does not depend on how many there are.
    pub(crate) async fn has_job(&self, id: &str) -> Result<bool> {
        if is_no_job(id) {
            return Ok(false);
        }
        self.call(script::has_job(&self.keys, id)).await
    }

    /// When these delayed jobs are due; none for those that are not delayed.
    pub(crate) async fn get_due(&self, ids: &[&str]) -> Result<Vec<Option<SystemTime>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.call(script::get_due(&self.keys, ids)).await
    }

    /// The oldest `count` events from this moment on.
    pub(crate) async fn events_from(&self, ms: u64, count: u32) -> Result<Vec<(EventId, QueueEvent)>> {
        let entries = self.call(event_stream::events_from(&self.keys.events(), ms, count)).await?;
        Ok(entries.into_iter().map(|entry| (entry.id, QueueEvent::decode(entry.fields))).collect())
    }

    /// What the server says of itself, name by name.
    pub(crate) async fn server_info(&self) -> Result<Vec<(String, String)>> {
        let text = self.call(script::server_info()).await?;
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
