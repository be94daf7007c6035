//! Knows which queues exist. BullMQ keeps no list of them, so the server's keys are scanned for their settings: in
//! small steps, in the background, and no page waits for the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::{Error, WithCauses};
use crate::sync::Lock;

/// After this time a search is repeated when somebody looks.
const FRESH: Duration = Duration::from_secs(30);

/// After this time a search is repeated that the server did not answer.
const FAILED: Duration = Duration::from_secs(2);

/// How long the first page waits for the search: enough for a server with some thousand keys.
const FIRST_WAIT: Duration = Duration::from_millis(40);

/// The names of the queues, as far as known.
pub(in crate::dashboard) struct Catalog {
    search: bool,
    known: Lock<Known>,
    /// Notified when a search has ended.
    ended: Notify,
}

#[derive(Default)]
struct Known {
    names: BTreeSet<String>,
    searched: Option<Instant>,
    is_searching: bool,
    is_complete: bool,
    /// Whether the server does not permit the search.
    is_forbidden: bool,
    /// Whether the last search was not answered.
    is_failed: bool,
}

/// The known queues.
#[derive(Debug, Clone, Default)]
pub(in crate::dashboard) struct Listing {
    pub(in crate::dashboard) names: Vec<String>,
    /// Whether the first search is still running, so that there may be more.
    pub(in crate::dashboard) is_searching: bool,
    /// Whether the server does not permit to search for queues, so that they must be named.
    pub(in crate::dashboard) is_forbidden: bool,
}

impl Catalog {
    pub(in crate::dashboard) fn new(named: BTreeSet<String>, only_named: bool) -> Arc<Self> {
        let known = Known { names: named, is_complete: only_named, ..Known::default() };
        Arc::new(Self { search: !only_named, known: Lock::new(known), ended: Notify::new() })
    }

    fn is_awaited(&self) -> bool {
        let known = self.known();
        !known.is_complete && !known.is_forbidden
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Returns all known queues; starts a search if the last one is too old.
    pub(in crate::dashboard) async fn list(self: &Arc<Self>, client: &Client) -> Listing {
        self.list_within(client, FIRST_WAIT).await
    }

    /// Does the same, and waits longer for the first search.
    pub(in crate::dashboard) async fn list_within(self: &Arc<Self>, client: &Client, wait: Duration) -> Listing {
        let ended = self.ended.notified();
        self.refresh(client);
        if self.is_awaited() {
            let _ = tokio::time::timeout(wait, ended).await;
        }
        let known = self.known();
        let (names, is_forbidden) = (known.names.iter().cloned().collect(), known.is_forbidden);
        Listing { names, is_searching: !known.is_complete && !is_forbidden, is_forbidden }
    }

    /// Returns whether only named queues are shown, and this is not one of them.
    pub(in crate::dashboard) fn is_hidden(&self, queue: &str) -> bool {
        !self.search && !self.known().names.contains(queue)
    }

    fn refresh(self: &Arc<Self>, client: &Client) {
        let mut known = self.known();
        let is_fresh = known.searched.is_some_and(|at| at.elapsed() < if known.is_failed { FAILED } else { FRESH });
        if !self.search || known.is_searching || is_fresh {
            return;
        }
        known.is_searching = true;
        drop(known);
        let (catalog, client) = (Arc::clone(self), client.clone());
        tokio::spawn(async move {
            let _ending = Ending(&catalog);
            catalog.search(&client).await;
        });
    }

    async fn search(&self, client: &Client) {
        let (mut search, mut found) = (client.find_queues(), BTreeSet::new());
        loop {
            match search.next().await {
                Ok(None) => break,
                Ok(Some(names)) => {
                    // What was found so far is shown at once.
                    self.known().names.extend(names.iter().cloned());
                    found.extend(names);
                }
                Err(error) => {
                    let told = WithCauses(&error).to_string();
                    let is_forbidden = matches!(error, Error::NotPermitted { .. });
                    let advice = if is_forbidden { "name them: Dashboard::queues, oxmq serve QUEUE…" } else { "" };
                    tracing::warn!(target: "oxmq::dashboard", error = %told, advice, "queues cannot be searched for");
                    let mut known = self.known();
                    known.is_forbidden = is_forbidden;
                    known.is_failed = !is_forbidden;
                    return;
                }
            }
        }
        let mut known = self.known();
        known.names = found;
        known.is_forbidden = false;
        known.is_failed = false;
        known.is_complete = true;
    }
}

/// Allows the next search when one ends, for whatever reason.
struct Ending<'a>(&'a Catalog);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut known = self.0.known();
        known.is_searching = false;
        known.searched = Some(Instant::now());
        drop(known);
        self.0.ended.notify_waiters();
    }
}
