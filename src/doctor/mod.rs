//! What is wrong with queues, found in bounded steps, explained, and mended.

mod finding;
mod keys;
mod queue;
mod server;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

pub use finding::{Finding, FindingKind, QueueMemory, Report};

use crate::client::Client;
use crate::engine::Engine;
use crate::error::Result;
use finding::Suspect;

/// So many examples a finding names.
const EXAMPLES: usize = 10;

/// An examination to be. Made by [`Client::doctor`].
///
/// It takes two looks, and tells of what was wrong both times: what is in motion is not accused.
#[derive(Debug, Clone)]
#[must_use = "nothing is examined until `examine` is awaited"]
pub struct Doctor {
    client: Client,
    queues: Vec<String>,
    pause: Duration,
    places: u64,
    keys: u64,
}

impl Client {
    /// Begins an examination of the server and its queues.
    ///
    /// ```no_run
    /// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
    /// let doctor = client.doctor();
    /// for finding in doctor.examine().await?.findings {
    ///     println!("{finding}");
    ///     doctor.mend(&finding).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn doctor(&self) -> Doctor {
        Doctor {
            client: self.clone(),
            queues: Vec::new(),
            pause: Duration::from_secs(2),
            places: 50_000,
            keys: 1_000_000,
        }
    }
}

impl Doctor {
    /// Looks at this queue, and at others that are named so. Default: all queues.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queues.push(name.into());
        self
    }

    /// How long it waits between its two looks. Default: 2 s.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// How many jobs of each state of a queue it looks at, those that come next. Default: 50,000.
    pub fn places(mut self, jobs: u64) -> Self {
        self.places = jobs;
        self
    }

    /// How many keys of the server it looks at, to find what no list knows. Default: 1,000,000; 0 looks at none.
    pub fn keys(mut self, keys: u64) -> Self {
        self.keys = keys;
        self
    }

    /// Examines, and changes nothing. No call holds the server for more than a few milliseconds.
    ///
    /// # Errors
    ///
    /// Those of the connection. What this user may not ask is left out.
    pub async fn examine(&self) -> Result<Report> {
        let names = if self.queues.is_empty() { self.client.find_queues().all().await? } else { self.queues.clone() };
        let mut engines = BTreeMap::new();
        for name in names {
            let engine = self.client.core(&name)?.engine().clone();
            engines.insert(name, engine);
        }
        let workers = self.client.get_all_workers().await.ok();
        let mut report = Report::default();
        server::examine(&self.client.server_engine()?, &mut report).await?;
        let mut suspects: BTreeMap<&str, Vec<Suspect>> = BTreeMap::new();
        for (name, engine) in &engines {
            let workers = workers.as_ref().map(|all| all.get(name).map_or(0, Vec::len));
            queue::examine(engine, self.places, workers, &mut report).await?;
            suspects.entry(name).or_default().extend(queue::suspects(engine, self.places).await?);
        }
        keys::suspects(&self.client.server_engine()?, &engines, self.keys, &mut suspects).await?;
        // A scan meets some keys twice, and a job by several of its keys.
        for found in suspects.values_mut() {
            let mut met = HashSet::new();
            found.retain(|suspect| met.insert((suspect.kind, suspect.state, suspect.id.clone())));
        }
        if suspects.values().any(|found| !found.is_empty()) {
            tokio::time::sleep(self.pause).await;
        }
        for (name, found) in suspects {
            let confirmed = confirm(&engines[name], found).await?;
            report.add(name, confirmed);
        }
        report.findings.sort_by(|a, b| (&a.queue, a.kind as u8).cmp(&(&b.queue, b.kind as u8)));
        Ok(report)
    }

    /// Mends what was found, as far as it still is so and can be mended; how much of it was.
    ///
    /// Each is looked at again in the call that mends it. Nothing that holds a job's data goes.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn mend(&self, finding: &Finding) -> Result<u64> {
        let Some(queue) = &finding.queue else { return Ok(0) };
        let engine = self.client.core(queue)?.engine().clone();
        queue::mend(&engine, finding).await
    }
}

/// Those of the suspects of a queue that look the same a second time.
async fn confirm(engine: &Engine, suspects: Vec<Suspect>) -> Result<Vec<Suspect>> {
    let mut confirmed = Vec::new();
    for suspect in suspects {
        if queue::is_still_so(engine, &suspect).await? {
            confirmed.push(suspect);
        }
    }
    Ok(confirmed)
}
