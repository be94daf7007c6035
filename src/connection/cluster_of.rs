//! Finds out whether a server that was named as if it were alone is a node of a cluster.
//!
//! Managed clusters have one address, and people write it as that of a server. On one node alone most queues could not
//! be reached, and no error would say why; so the client goes on with all nodes of the cluster.

use std::sync::Arc;

use redis::{Cmd, ErrorKind, RedisError, Value};

use super::failure::{CallFailure, no_connection_to};
use super::node::Node;
use super::options::ConnectOptions;
use super::servers::Servers;
use crate::error::Result;

/// Connects to a server, and returns whether it is a node of a cluster that tells us its slots. A server that says at
/// once that it is alone is not asked anything.
pub(super) async fn is_in_cluster(node: &Arc<Node>) -> std::result::Result<bool, RedisError> {
    let said = node.connection().await?.server.is_clustered;
    if said == Some(false) || !matches!(node.dialer().options().servers, Servers::One(_)) {
        return Ok(false);
    }
    match node.send(Cmd::new().arg("CLUSTER").arg("SLOTS"), 0, 1).await {
        Ok(Value::Array(_)) => Ok(true),
        Err(CallFailure::NotApplied(error) | CallFailure::Unknown(error)) => Err(error),
        Err(CallFailure::Server(error)) if said == Some(true) && error.code() == Some("NOPERM") => {
            let error = RedisError::from((ErrorKind::InvalidClientConfig, NO_RIGHT, error.to_string()));
            Err(no_connection_to(&node.dialer().options().servers, &error, ""))
        }
        // A proxy in front of a cluster may pass on what a node says of itself, and be all that there is to talk to.
        _ => Ok(false),
    }
}

const NO_RIGHT: &str = "this is a node of a cluster, and the user may not ask it for CLUSTER SLOTS";

impl ConnectOptions {
    /// Returns the same options for the whole cluster of a server that has turned out to be a node of one.
    pub(super) fn of_its_cluster(&self) -> Result<Self> {
        let mut options = self.clone();
        if let Servers::One(node) = &self.servers {
            tracing::info!(target: "oxmq::connection", server = ?node, "the server is a node of a cluster: going on with all of its nodes");
            options.servers = Servers::ClusterOf(node.clone());
        }
        options.check()?;
        Ok(options)
    }
}
