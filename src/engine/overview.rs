//! Reads what concerns several queues, and summaries of whole queues.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Engine;
use super::client_info::{self, ClientInfo};
use crate::error::{Error, Result, WithCauses};
use crate::script;
use crate::script::summarize_queue::Summary;

/// How many keys one step of a scan looks at.
const KEYS_PER_STEP: u32 = 1_000;

impl Engine {
    /// Returns the summary of a queue. One round trip, read at one moment.
    pub(crate) async fn summarize(&self, minutes: u32, recent: u32) -> Result<Summary> {
        self.call(script::summarize_queue(minutes, recent, self.clock.now_ms())).await
    }

    /// Returns the names of the queues among the next keys of the server, and where to go on. Only queues with this
    /// engine's prefix. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::NotPermitted`] if the user may not `SCAN`.
    pub(crate) async fn find_queues(&self, cursor: &str) -> Result<(Option<String>, Vec<String>)> {
        let prefix = self.keys.prefix();
        let (next, keys) = self.call_command("SCAN", script::scan_metas(prefix, cursor, KEYS_PER_STEP)).await?;
        let names = keys.iter().filter_map(|key| {
            let name = key.strip_prefix(prefix)?.strip_prefix(':')?.strip_suffix(":meta")?;
            (!name.is_empty() && !name.contains(':')).then(|| name.to_owned())
        });
        Ok((Some(next).filter(|next| next != "0"), names.collect()))
    }

    /// Returns this engine for each server that has keys: one, or every master of a cluster.
    pub(crate) fn everywhere(&self) -> Vec<Self> {
        self.link.everywhere().into_iter().map(|link| Self { link, ..self.clone() }).collect()
    }

    /// Returns the reply of `CLIENT LIST` of all servers. One round trip, to all of them at once. If some masters of a
    /// cluster do not answer, returns what the others have answered.
    pub(super) async fn list_clients(&self, op: &'static str) -> Result<String> {
        let servers = self.everywhere();
        let asked = servers.iter().map(|server| server.call_command("CLIENT LIST", script::list_clients(op)));
        let (mut clients, mut failed) = (String::new(), None);
        let mut has_answer = false;
        for (server, answer) in servers.iter().zip(futures::future::join_all(asked).await) {
            match answer {
                Ok(some) => {
                    has_answer = true;
                    clients += &some;
                }
                Err(error) => {
                    server.is_missing(op, &error);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if !has_answer || !error.is_retryable() => Err(error),
            _ => Ok(clients),
        }
    }

    /// Logs that this server did not answer what all of them were asked.
    pub(crate) fn is_missing(&self, op: &'static str, error: &Error) {
        if let Some(node) = self.link.node_name() {
            tracing::warn!(target: "oxmq::connection", node, op, error = %WithCauses(error), "a node of the cluster is missing");
        }
    }
}

/// Returns the workers of all queues under the engine's prefix, by the queue's name, as far as they are connected to the
/// engine's database: `CLIENT LIST` names the clients of all databases.
pub(crate) async fn workers_by_queue(engine: &Engine) -> Result<HashMap<String, Vec<ClientInfo>>> {
    let clients = engine.list_clients("get_all_workers").await?;
    let (prefix, db) = (engine.keys.client_prefix(), engine.link.options().db);
    let mut workers: HashMap<String, Vec<ClientInfo>> = HashMap::new();
    for line in clients.lines().flat_map(client_info::each_worker) {
        let Some(name) = line.split_ascii_whitespace().find_map(|field| field.strip_prefix("name=")) else { continue };
        let Some(rest) = name.strip_prefix(&prefix) else { continue };
        let (queue, role) = rest.split_once(':').unwrap_or((rest, "w:"));
        if !role.starts_with("w:") {
            continue;
        }
        let Some(queue) = STANDARD.decode(queue).ok().and_then(|name| String::from_utf8(name).ok()) else { continue };
        if let Some(worker) = client_info::read(&line, &queue, |_| true).filter(|worker| worker.is_in(db)) {
            workers.entry(queue).or_default().push(worker);
        }
    }
    Ok(workers)
}
