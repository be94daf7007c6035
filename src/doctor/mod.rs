//! Finds what is wrong with queues, in bounded steps; explains and mends it. Feature `doctor`.
//!
//! [`Client::doctor`] creates a [`Doctor`]. It examines the server and its queues and returns a [`Diagnosis`], whose
//! [`Finding`]s [`Doctor::mend`] repairs where that is possible. In the terminal: `oxmq doctor`.

mod finding;
mod keys;
mod memory;
mod queue;
mod schedulers;
mod server;
mod stage;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};

pub use finding::{Diagnosis, Finding, FindingKind, LeftOut, NameMemory, QueueMemory};
pub use stage::Stage;

use crate::client::Client;
use crate::engine::{ClientInfo, Engine};
use crate::error::Result;
use finding::Suspect;

/// How many examples a finding names.
const EXAMPLES: usize = 10;

/// How many suspects are looked at together: what a look costs is mostly the way to the server.
const AT_ONCE: usize = 8;

/// Examines queues. Created by [`Client::doctor`].
///
/// It looks twice, and reports only what was wrong both times, so that jobs that are just being moved are not reported.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// let doctor = client.doctor().queue("mails").memory(true).on_stage(|stage| println!("{stage}"));
/// let report = doctor.examine().await?;
/// for finding in &report.findings {
///     println!("{finding}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is examined until `examine` is awaited"]
pub struct Doctor {
    client: Client,
    queues: Vec<String>,
    pause: Duration,
    places: u64,
    keys: u64,
    memory: bool,
    told: stage::Listener,
}

impl Client {
    /// Creates an examination of the server and its queues.
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
            memory: false,
            told: stage::Listener::default(),
        }
    }
}

impl Doctor {
    /// Examines this queue; call it again for further queues. Default: all queues.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queues.push(name.into());
        self
    }

    /// Sets how long it waits between its two looks. Default: 2 s.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets how many jobs of each state of a queue are looked at, those that come next. Default: 50,000.
    pub fn places(mut self, jobs: u64) -> Self {
        self.places = jobs;
        self
    }

    /// Sets how many keys of the server are looked at, to find what is in no list; on a cluster, keys of all masters
    /// together, which take turns. Default: 1,000,000; 0 looks at none.
    pub fn keys(mut self, keys: u64) -> Self {
        self.keys = keys;
        self
    }

    /// Sets whether the memory of jobs is measured, by state and by name: up to a hundred jobs of each state. Default:
    /// false.
    pub fn memory(mut self, weigh: bool) -> Self {
        self.memory = weigh;
        self
    }

    /// Sets a function that is told of the progress: before each queue, after each thousand keys, and before the second
    /// look. Default: none.
    pub fn on_stage(mut self, hear: impl Fn(&Stage) + Send + Sync + 'static) -> Self {
        self.told = stage::Listener::new(hear);
        self
    }

    /// Examines the queues, and changes nothing. No call blocks the server for more than a few milliseconds.
    ///
    /// If the server is restarted in the meantime, or another one takes over, it begins again: what is lost looks healthy.
    ///
    /// # Errors
    ///
    /// Errors of the connection. What this user may not ask for is left out.
    pub async fn examine(&self) -> Result<Diagnosis> {
        let before = self.client.get_run_ids().await.ok();
        let report = self.look().await?;
        if before.is_none() {
            return Ok(report);
        }
        let after = self.client.get_run_ids().await.ok();
        if after == before {
            return Ok(report);
        }
        let mut report = self.look().await?;
        if self.client.get_run_ids().await.ok() != after {
            report.leave_out(
                None,
                "what was lost meanwhile: the server was restarted, or another took over, more than once",
            );
        }
        Ok(report)
    }

    async fn look(&self) -> Result<Diagnosis> {
        let mut report = Diagnosis::default();
        let names = if self.queues.is_empty() { self.find(&mut report).await? } else { self.queues.clone() };
        report.queues = names.len() as u64;
        let mut engines = BTreeMap::new();
        for name in names {
            let engine = self.client.core(&name)?.engine().clone();
            engines.insert(name, engine);
        }
        let workers = match self.client.get_all_workers().await {
            Ok(workers) => Some(workers),
            Err(error) => {
                report.leave_out(None, format!("which workers are connected: {error}"));
                None
            }
        };
        report.peers = peers(&engines, workers.as_ref());
        let servers = self.client.server_engine()?.everywhere();
        for server in &servers {
            server::examine(server, &mut report).await?;
        }
        let engines = usable(engines, &mut report).await?;
        let mut suspects: BTreeMap<&str, Vec<Suspect>> = BTreeMap::new();
        for (number, (name, engine)) in (1..).zip(&engines) {
            self.told.hear(&Stage::Queue { name: name.clone(), number, of: engines.len() as u64 });
            let workers = workers.as_ref().map(|all| all.get(name).map_or(0, Vec::len));
            queue::examine(engine, self.places, workers, &mut report).await?;
            if self.memory {
                memory::weigh(engine, &mut report).await?;
            }
            let found = suspects.entry(name).or_default();
            found.extend(queue::suspects(engine, self.places).await?);
            found.extend(queue::stuck_parents(engine, self.places, &mut report).await?);
        }
        let look = keys::Look { servers: &servers, engines: &engines, most: self.keys };
        look.suspects(&self.told, &mut suspects, &mut report).await?;
        // A scan may return a key twice, and a job has several keys.
        for found in suspects.values_mut() {
            let mut met = HashSet::new();
            found.retain(|suspect| met.insert((suspect.kind, suspect.state, suspect.id.clone())));
        }
        let count = suspects.values().map(Vec::len).sum::<usize>();
        let has_no_worker = report.findings.iter().any(|finding| finding.kind == FindingKind::NoWorker);
        if count > 0 || has_no_worker {
            self.told.hear(&Stage::SecondLook { suspects: count as u64 });
            tokio::time::sleep(self.pause).await;
        }
        self.ask_again_for_workers(&mut report).await;
        for (name, found) in suspects {
            let confirmed = confirm(&engines[name], found).await?;
            report.add(name, confirmed);
        }
        report.findings.sort_by(|a, b| (&a.queue, a.kind as u8).cmp(&(&b.queue, b.kind as u8)));
        Ok(report)
    }

    /// Removes the findings "no worker" of queues whose worker was only about to connect.
    async fn ask_again_for_workers(&self, report: &mut Diagnosis) {
        let has_no_worker = |finding: &Finding| finding.kind == FindingKind::NoWorker;
        if report.findings.iter().any(has_no_worker)
            && let Ok(workers) = self.client.get_all_workers().await
        {
            let has_some = |queue: &Option<String>| queue.as_ref().is_some_and(|queue| workers.contains_key(queue));
            report.findings.retain(|finding| !(has_no_worker(finding) && has_some(&finding.queue)));
        }
    }

    /// Returns all queues that exist, as far as the servers answer.
    async fn find(&self, report: &mut Diagnosis) -> Result<Vec<String>> {
        let (mut search, mut names) = (self.client.find_queues(), Vec::new());
        while let Some(found) = search.next().await? {
            names.extend(found);
        }
        for (node, error) in search.missing() {
            report.leave_out(None, format!("the queues on {node}: {error}"));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Mends a finding, as far as it is still true and can be mended; returns how much was mended.
    ///
    /// Each item is checked again in the call that mends it. Nothing that holds a job's data is deleted.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    pub async fn mend(&self, finding: &Finding) -> Result<u64> {
        let Some(queue) = &finding.queue else { return Ok(0) };
        let engine = self.client.core(queue)?.engine().clone();
        queue::mend(&engine, finding).await
    }
}

/// Returns which client libraries the workers of these queues are connected with.
fn peers(
    engines: &BTreeMap<String, Engine>,
    workers: Option<&HashMap<String, Vec<ClientInfo>>>,
) -> BTreeMap<(String, String), u64> {
    let mut peers = BTreeMap::new();
    for (queue, workers) in workers.into_iter().flatten().filter(|(queue, _)| engines.contains_key(*queue)) {
        for worker in workers {
            let words = [worker.get("lib-name"), worker.get("lib-ver")].into_iter().flatten();
            let library = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
            let library = if library.is_empty() { "a client that does not say which".to_owned() } else { library };
            *peers.entry((queue.clone(), library)).or_default() += 1;
        }
    }
    peers
}

/// Returns the queues that can be examined. One whose keys have wrong types is reported, and does not hide the others.
async fn usable(engines: BTreeMap<String, Engine>, report: &mut Diagnosis) -> Result<BTreeMap<String, Engine>> {
    let mut usable = BTreeMap::new();
    for (name, engine) in engines {
        match queue::has_wrong_types(&engine, report).await {
            Ok(true) => continue,
            Ok(false) => {}
            // To ask the same of each queue would take very long.
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => report.leave_out(Some(&name), format!("the types of its keys: {error}")),
        }
        usable.insert(name, engine);
    }
    Ok(usable)
}

/// Returns the suspects of a queue that look the same a second time.
async fn confirm(engine: &Engine, suspects: Vec<Suspect>) -> Result<Vec<Suspect>> {
    let looks = suspects.into_iter().map(|suspect| async move {
        let is_so = queue::is_still_so(engine, &suspect).await?;
        Ok(is_so.then_some(suspect))
    });
    stream::iter(looks).buffered(AT_ONCE).try_filter_map(|suspect| async move { Ok(suspect) }).try_collect().await
}
