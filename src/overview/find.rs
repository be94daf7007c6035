//! Finds the queues of a server.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// Where a scan begins.
const BEGIN: &str = "0";

/// A search for queues. Created by [`Client::find_queues`].
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// for name in client.find_queues().all().await? {
///     println!("{name:?}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is looked for until `next` or `all` is awaited"]
pub struct FindQueues {
    /// The servers that are still to be scanned; the present one is last. An `Err` is returned by the first call.
    servers: Result<Vec<Engine>>,
    /// Where the scan of the present server continues.
    cursor: String,
    found: BTreeSet<String>,
    missing: Vec<(String, Error)>,
    /// Whether any server was scanned to its end.
    is_any_done: bool,
}

impl FindQueues {
    pub(super) fn new(client: &Client) -> Self {
        let servers = client.server_engine().map(|engine| engine.everywhere());
        let (found, missing) = (BTreeSet::new(), Vec::new());
        Self { servers, cursor: BEGIN.to_owned(), found, missing, is_any_done: false }
    }

    /// Looks at the next thousand or so keys of the server, and returns the names of queues that were not found before,
    /// often none. `None` at the end. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection; the next call continues. On a cluster, masters that do not answer are left out if
    /// others do: see [`missing`](Self::missing).
    pub async fn next(&mut self) -> Result<Option<Vec<String>>> {
        let servers = match &mut self.servers {
            Ok(servers) => servers,
            Err(_) => return Err(std::mem::replace(&mut self.servers, Ok(Vec::new())).err().unwrap_or(Error::Closed)),
        };
        let Some(server) = servers.last() else { return Ok(None) };
        let (next, mut names) = match (server.find_queues(&self.cursor).await, server.link.node_name()) {
            (Ok(found), _) => found,
            (Err(error), Some(node)) if error.is_retryable() && (self.is_any_done || servers.len() > 1) => {
                server.is_missing("find_queues", &error);
                self.missing.push((node, error));
                servers.pop();
                BEGIN.clone_into(&mut self.cursor);
                return Ok(Some(Vec::new()));
            }
            (Err(error), _) => return Err(error),
        };
        self.cursor = next.unwrap_or_else(|| {
            servers.pop();
            self.is_any_done = true;
            BEGIN.to_owned()
        });
        names.retain(|name| self.found.insert(name.clone()));
        Ok(Some(names))
    }

    /// Returns the masters of a cluster that have not answered so far, by their addresses, with their errors: queues
    /// that are only there were not found.
    pub fn missing(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.missing.iter().map(|(node, error)| (node.as_str(), error))
    }

    /// Looks at all keys of the server, and returns the names of the queues in alphabetical order.
    ///
    /// # Errors
    ///
    /// Errors of the connection. If some masters of a cluster do not answer, this is only logged; to find out, use
    /// [`next`](Self::next) and [`missing`](Self::missing).
    pub async fn all(mut self) -> Result<Vec<String>> {
        while self.next().await?.is_some() {}
        Ok(self.found.into_iter().collect())
    }
}
