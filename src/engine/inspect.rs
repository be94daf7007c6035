//! What only pages about a job and its server ask.

use std::time::SystemTime;

use super::Engine;
use crate::error::Result;
use crate::keys::is_no_job;
use crate::script::{self, event_stream};
use crate::wire::{EventId, QueueEvent};

impl Engine {
    /// The hash of a job as text; empty if there is none.
    pub(crate) async fn get_fields(&self, id: &str) -> Result<Vec<(String, String)>> {
        if is_no_job(id) {
            return Ok(Vec::new());
        }
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields = self.call(script::get_job(&self.keys, id)).await?;
        Ok(fields.into_iter().map(|(name, value)| (lossy(name), lossy(value))).collect())
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
