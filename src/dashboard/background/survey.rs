//! Reads all queues in the background for all visitors, so that no page waits for a thousand of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::catalog::{Catalog, Listing};
use crate::client::Client;
use crate::dashboard::format::moment::{count, many, rough};
use crate::engine::ClientInfo;
use crate::error::WithCauses;
use crate::overview::QueueOverview;
use crate::sync::Lock;

/// What was read less than this ago is shown without reading again.
const FRESH: Duration = Duration::from_millis(900);

/// How long a page waits for a read under way before it shows what was read so far.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many queues one round reads besides those that somebody sees, those read longest ago first.
const ROLLING: usize = 500;

/// How many queues are read between two updates of the shown data.
const CHUNK: usize = 64;

/// How long a queue counts as seen after a page has shown it; live pages ask every two seconds.
const SEEN_FOR: Duration = Duration::from_secs(40);

type Workers = Result<HashMap<String, Vec<ClientInfo>>, String>;

/// What is known of all queues, each as last read.
pub(in crate::dashboard) struct Overview {
    pub(in crate::dashboard) queues: Vec<Arc<Row>>,
    /// The connected workers, by queue; or the text of the error if they may not be listed.
    pub(in crate::dashboard) workers: Arc<Workers>,
    /// Whether the search for queues is still running.
    pub(in crate::dashboard) is_searching: bool,
    /// Whether the server does not permit to search for queues.
    pub(in crate::dashboard) is_forbidden: bool,
    /// How many known queues have not been read yet.
    pub(in crate::dashboard) unread: usize,
    /// Why Redis does not answer, if it did not the last time.
    pub(in crate::dashboard) trouble: Option<String>,
}

/// One queue, or why it could not be read.
#[derive(Debug)]
pub(in crate::dashboard) struct Row {
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) found: Result<QueueOverview, String>,
    /// A number that changes with what was found.
    pub(in crate::dashboard) print: u64,
}

impl Overview {
    pub(in crate::dashboard) fn workers_of(&self, queue: &str) -> Option<usize> {
        self.workers.as_ref().as_ref().ok().map(|workers| workers.get(queue).map_or(0, Vec::len))
    }
}

/// Holds what is known of all queues.
#[derive(Default)]
pub(in crate::dashboard) struct Surveyor {
    known: Lock<Known>,
    /// Notified when a round has ended.
    ended: Notify,
}

struct Known {
    /// Each queue as last read, and when that read began.
    rows: BTreeMap<String, (Instant, Arc<Row>)>,
    workers: Arc<Workers>,
    is_searching: bool,
    is_forbidden: bool,
    unread: usize,
    trouble: Option<String>,
    /// When somebody last saw a queue.
    seen: HashMap<String, Instant>,
    is_looking: bool,
    looked: Option<Instant>,
    /// The last number that was given to a row.
    print: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            workers: Arc::new(Ok(HashMap::new())),
            is_searching: true,
            is_forbidden: false,
            unread: 0,
            trouble: None,
            seen: HashMap::new(),
            is_looking: false,
            looked: None,
            print: 0,
        }
    }
}

impl Surveyor {
    /// Returns what is known of all queues. If that is too old, a round begins that all visitors share; this waits for
    /// its end, but not long.
    pub(in crate::dashboard) async fn overview(self: &Arc<Self>, client: &Client, catalog: &Arc<Catalog>) -> Overview {
        let ended = self.ended.notified();
        if self.is_old() {
            self.begin(client, catalog);
            let _ = tokio::time::timeout(PATIENCE, ended).await;
        }
        let known = self.known.lock();
        Overview {
            queues: known.rows.values().map(|(_, row)| Arc::clone(row)).collect(),
            workers: Arc::clone(&known.workers),
            is_searching: known.is_searching,
            is_forbidden: known.is_forbidden,
            unread: known.unread,
            trouble: known.trouble.clone(),
        }
    }

    /// Records that a page shows these queues: the next rounds read them first.
    pub(in crate::dashboard) fn sees<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let now = Instant::now();
        self.known.lock().seen.extend(names.map(|name| (name.to_owned(), now)));
    }

    /// Reads a queue that was changed, if it is known.
    pub(in crate::dashboard) async fn renew(&self, client: &Client, queue: &str) {
        if self.known.lock().rows.contains_key(queue) {
            self.read(client, &[queue.to_owned()]).await;
        }
    }

    fn is_old(&self) -> bool {
        self.known.lock().looked.is_none_or(|at| at.elapsed() >= FRESH)
    }

    fn begin(self: &Arc<Self>, client: &Client, catalog: &Arc<Catalog>) {
        if std::mem::replace(&mut self.known.lock().is_looking, true) {
            return;
        }
        let ending = Ending(Arc::clone(self));
        let (client, catalog) = (client.clone(), Arc::clone(catalog));
        tokio::spawn(async move { ending.0.look(&client, &catalog).await });
    }

    async fn look(&self, client: &Client, catalog: &Arc<Catalog>) {
        let (listing, workers) = tokio::join!(catalog.list(client), client.get_all_workers());
        // A server that refuses this list may answer all the same.
        let trouble = match &workers {
            Ok(_) => None,
            Err(_) => client.ping().await.err().map(|error| WithCauses(&error).to_string()),
        };
        let workers = workers.map_err(|error| WithCauses(&error).to_string());
        self.known.lock().trouble = trouble;
        let names = self.known.lock().take(listing, workers);
        for chunk in names.chunks(CHUNK) {
            self.read(client, chunk).await;
        }
    }

    async fn read(&self, client: &Client, names: &[String]) {
        let began = Instant::now();
        let found = client.get_queue_overviews(names).await;
        let mut known = self.known.lock();
        for (name, found) in names.iter().zip(found) {
            let found = found.map_err(|error| WithCauses(&error).to_string());
            known.put(began, name, found);
        }
    }
}

impl Known {
    /// Takes the list of queues; returns the names of those to read now, in order.
    fn take(&mut self, listing: Listing, workers: Workers) -> Vec<String> {
        let Listing { mut names, is_searching, is_forbidden } = listing;
        self.rows.retain(|name, _| names.binary_search(name).is_ok());
        self.workers = Arc::new(workers);
        self.is_searching = is_searching;
        self.is_forbidden = is_forbidden;
        self.unread = names.len() - self.rows.len();
        self.seen.retain(|_, at| at.elapsed() < SEEN_FOR);
        let is_seen = |name: &String| self.seen.contains_key(name);
        let seen = names.iter().filter(|name| is_seen(name)).count();
        names.sort_by_cached_key(|name| (!is_seen(name), self.rows.get(name).map(|(at, _)| *at)));
        names.truncate(seen + ROLLING);
        names
    }

    /// Takes what was read of a queue, unless it is older than what is known.
    fn put(&mut self, began: Instant, name: &str, found: Result<QueueOverview, String>) {
        let row = match self.rows.get(name) {
            Some((at, _)) if *at > began => return,
            Some((_, old)) if old.found == found => Arc::clone(old),
            _ => {
                self.print += 1;
                Arc::new(Row { name: name.to_owned(), found, print: self.print })
            }
        };
        if self.rows.insert(name.to_owned(), (began, row)).is_none() {
            self.unread = self.unread.saturating_sub(1);
        }
    }
}

/// Allows the next round when one ends, for whatever reason.
struct Ending(Arc<Surveyor>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut known = self.0.known.lock();
        known.is_looking = false;
        known.looked = Some(Instant::now());
        drop(known);
        self.0.ended.notify_waiters();
    }
}

/// Returns when the job was added that has waited longest.
pub(in crate::dashboard) fn oldest(queue: &QueueOverview) -> Option<SystemTime> {
    queue.oldest_waiting.as_ref().map(|job| job.added_at)
}

/// A reason to look at a queue; the worst comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Concern {
    pub(in crate::dashboard) weight: u8,
    pub(in crate::dashboard) text: String,
}

/// After this time a ready job counts as late.
const LATE: Duration = Duration::from_secs(60);

/// Returns what is wrong with a queue, as far as its overview shows.
pub(in crate::dashboard) fn concerns(queue: &QueueOverview, workers: Option<usize>, now: SystemTime) -> Vec<Concern> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: impl Iterator<Item = usize>) -> Listing {
        Listing { names: names.map(|n| format!("{n:05}")).collect(), is_searching: false, is_forbidden: false }
    }

    fn put(known: &mut Known, at: Instant, name: &str, found: &str) {
        known.put(at, name, Err(found.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn of_very_many_queues_those_that_are_seen_are_read_each_time_and_the_others_by_turns() {
        let surveyor = Surveyor::default();
        surveyor.sees(["00007", "09999"].into_iter());
        let mut known = surveyor.known.lock();
        let mut met = std::collections::BTreeSet::new();
        for look in 0..20 {
            let names = known.take(listing(0..10_000), Ok(HashMap::new()));
            assert_eq!(known.unread, 10_000 - met.len());
            assert_eq!((names.len(), &*names[0], &*names[1]), (502, "00007", "09999"), "{look}");
            let at = Instant::now() + Duration::from_millis(look);
            for name in &names {
                put(&mut known, at, name, "x");
            }
            met.extend(names);
        }
        assert_eq!((met.len(), known.unread, known.rows.len()), (10_000, 0, 10_000));
        known.take(listing(5..8), Ok(HashMap::new()));
        assert_eq!(known.rows.len(), 3, "those that are gone are told no more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_change_does_not_hide_it() {
        let (mut known, early) = (Known::default(), Instant::now());
        put(&mut known, early + FRESH, "q", "changed");
        let print = known.rows["q"].1.print;
        put(&mut known, early, "q", "before");
        put(&mut known, early + FRESH, "q", "changed");
        assert_eq!((&known.rows["q"].1.found, known.rows["q"].1.print), (&Err("changed".to_owned()), print));
    }
}
