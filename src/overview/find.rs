//! Finding the queues of a server.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::engine::Engine;
use crate::error::Result;

/// A search for queues. Made by [`Client::find_queues`].
#[derive(Debug)]
#[must_use = "nothing is looked for until `next` or `all` is awaited"]
pub struct FindQueues {
    /// An `Err` until it is asked for.
    engine: Result<Engine>,
    /// Where the scan goes on; `None` at its end.
    cursor: Option<String>,
    found: BTreeSet<String>,
}

impl FindQueues {
    pub(super) fn new(client: &Client) -> Self {
        Self { engine: client.server_engine(), cursor: Some("0".to_owned()), found: BTreeSet::new() }
    }

    /// Looks at the next thousand or so keys of the server; the names of queues that were not found before, often none.
    /// `None` at the end. One round trip.
    ///
    /// # Errors
    ///
    /// Those of the connection; the next call goes on.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let engine = std::mem::replace(&mut self.engine, Err(crate::Error::Closed))?;
        let found = engine.find_queues(cursor).await;
        self.engine = Ok(engine);
        let (next, mut names) = found?;
        self.cursor = next;
        names.retain(|name| self.found.insert(name.clone()));
        Ok(Some(names))
    }

    /// Looks at all keys of the server; the names of the queues in alphabetical order.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn all(mut self) -> Result<Vec<String>> {
        while self.next().await?.is_some() {}
        Ok(self.found.into_iter().collect())
    }
}
