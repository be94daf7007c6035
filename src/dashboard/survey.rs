//! All queues at a glance, read once for all who watch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::catalog::{Catalog, Listing};
use super::moment::{count, many, rough};
use crate::client::Client;
use crate::engine::ClientInfo;
use crate::error::WithCauses;
use crate::overview::QueueOverview;

/// Who comes within this time is answered from what was read.
const FRESH: Duration = Duration::from_millis(900);

/// What was read of all queues at about one moment.
pub(super) struct Overview {
    pub(super) queues: Vec<Row>,
    /// The workers that are connected, by their queue; an error's text if they may not be listed.
    pub(super) workers: Result<HashMap<String, Vec<ClientInfo>>, String>,
    /// Whether queues are still searched for.
    pub(super) is_searching: bool,
}

/// One queue, or why it could not be read.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) found: Result<QueueOverview, String>,
}

impl Overview {
    pub(super) fn workers_of(&self, queue: &str) -> Option<usize> {
        self.workers.as_ref().ok().map(|workers| workers.get(queue).map_or(0, Vec::len))
    }
}

/// The latest overview.
#[derive(Default)]
pub(super) struct Surveyor(Mutex<Option<(Instant, Arc<Overview>)>>);

impl Surveyor {
    /// An overview that is at most a second old. Whoever comes while it is read waits for it, and reads nothing himself.
    pub(super) async fn overview(&self, client: &Client, catalog: &Arc<Catalog>) -> Arc<Overview> {
        let mut latest = self.0.lock().await;
        if let Some((at, overview)) = &*latest
            && at.elapsed() < FRESH
        {
            return Arc::clone(overview);
        }
        let overview = Arc::new(read(client, catalog).await);
        *latest = Some((Instant::now(), Arc::clone(&overview)));
        overview
    }

    /// Lets the next one who comes read anew: something was changed.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

async fn read(client: &Client, catalog: &Arc<Catalog>) -> Overview {
    let (listing, workers) = futures::join!(catalog.list(client), client.get_all_workers());
    let Listing { names, is_searching } = listing;
    let read = client.get_queue_overviews(&names).await;
    let text = |error| WithCauses(&error).to_string();
    let rows = names.into_iter().zip(read).map(|(name, found)| Row { name, found: found.map_err(text) });
    Overview { queues: rows.collect(), workers: workers.map_err(text), is_searching }
}

/// When the job was added that has waited longest.
pub(super) fn oldest(queue: &QueueOverview) -> Option<SystemTime> {
    queue.oldest_waiting.as_ref().map(|job| job.added_at)
}

/// Why somebody should look at a queue, the worst first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Concern {
    pub(super) weight: u8,
    pub(super) text: String,
}

/// After so long a job that is ready counts as late.
const LATE: Duration = Duration::from_secs(60);

/// What is wrong with a queue, as far as it shows at a glance.
pub(super) fn concerns(queue: &QueueOverview, workers: Option<usize>, now: SystemTime) -> Vec<Concern> {
    let mut found = Vec::new();
    let mut tell = |weight, text| found.push(Concern { weight, text });
    let ready = queue.waiting();
    let age = |at: Option<SystemTime>| at.and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
    if ready > 0 && queue.is_paused {
        tell(60, format!("paused with {} waiting", many(ready, "job")));
    } else if ready > 0 && workers == Some(0) {
        tell(100, format!("{} waiting and no worker is connected", many(ready, "job")));
    } else if ready > 0 && age(oldest(queue)) > LATE {
        tell(80, format!("late: the next job was added {} ago", rough(age(oldest(queue)))));
    }
    if age(queue.next_due) > LATE && !queue.is_paused {
        tell(90, format!("a delayed job is overdue by {}", rough(age(queue.next_due))));
    }
    let failed = queue.last_hour.failed;
    if failed > 0 {
        let done = queue.last_hour.completed;
        tell(
            if failed > done { 85 } else { 50 },
            format!("{} failed within the last hour, {} completed", count(failed), count(done)),
        );
    }
    found.sort_by_key(|concern| std::cmp::Reverse(concern.weight));
    found
}
