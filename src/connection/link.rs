//! The way to the servers: many calls at once, each to the server that has its keys.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};

use super::attempt::is_permanent;
use super::cluster_of::is_in_cluster;
use super::dial::{Dialer, TOO_OLD};
use super::distrust::is_distrust;
use super::failure::{CallFailure, without_secrets};
use super::node::Node;
use super::options::ConnectOptions;
use super::outage::{Listener, Outages};
use super::route::{Place, Pool, Route};
use super::slot::{hash_tag, slot_of};
use super::watch::Watch;
use crate::error::{Error, Result};

/// Shared connections. Cheap to clone; clones share the sockets.
#[derive(Clone)]
pub(crate) struct Link {
    target: Target,
    /// By how much the allowed silence is multiplied: it grows when a call is repeated.
    patience: u32,
    /// Whether scripts are asked to skip the short way for a single job; for tests that compare both ways.
    long_way: bool,
}

#[derive(Clone)]
enum Target {
    /// One server, or the master that sentinels name.
    Server(Arc<Node>),
    /// Some nodes of a cluster.
    Cluster(Arc<Route>),
}

impl Link {
    /// Connects. Waits for a server that is away only if the options say so.
    pub(crate) async fn connect(options: Arc<ConnectOptions>) -> Result<Self> {
        let mut link = Self::lazy(options)?;
        loop {
            let connected = match &link.target {
                Target::Server(node) => is_in_cluster(node).await,
                Target::Cluster(route) => route.connect().await.map(|()| false),
            };
            match connected {
                Ok(false) => return Ok(link),
                Ok(true) => link = Self::lazy(Arc::new(link.options().of_its_cluster()?))?,
                Err(error) if link.options().wait_for_server && !is_permanent(&error) && !is_distrust(&error) => {
                    link.outages().tell_now();
                }
                Err(error) => return Err(connect_error(&error)),
            }
        }
    }

    /// Creates a link that connects at its first call.
    pub(crate) fn lazy(options: Arc<ConnectOptions>) -> Result<Self> {
        let dialer = Dialer::new(options)?;
        let target = match dialer.topology() {
            Some(topology) => {
                let topology = Arc::clone(topology);
                Target::Cluster(Arc::new(Route::new(Pool::new(dialer, topology), Place::Any)))
            }
            None => Target::Server(Node::new(dialer)),
        };
        Ok(Self { target, patience: 1, long_way: false })
    }

    fn with(&self, target: Target) -> Self {
        Self { target, patience: 1, long_way: self.long_way }
    }

    /// Returns a link to the same servers with connections of its own, for another runtime.
    pub(crate) fn another(&self) -> Self {
        self.with(match &self.target {
            Target::Server(node) => Target::Server(node.another()),
            Target::Cluster(route) => Target::Cluster(Arc::new(route.another())),
        })
    }

    /// Returns the connections of this link to where `other` leads; both come from one client.
    pub(crate) fn to_where(&self, other: &Self) -> Self {
        match (&self.target, &other.target) {
            (Target::Cluster(own), Target::Cluster(other)) => self.with(Target::Cluster(Arc::new(own.towards(other)))),
            _ => self.clone(),
        }
    }

    /// Returns the link for keys that begin with `base`; on a single server, this link.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if a cluster would not keep all those keys together.
    pub(crate) fn for_keys(&self, base: &str) -> Result<Self> {
        let Target::Cluster(route) = &self.target else { return Ok(self.clone()) };
        let tag = hash_tag(base).ok_or_else(|| {
            Error::invalid(
                "prefix",
                "on a cluster all keys of a queue must be in one slot, so the prefix or the name of the queue needs a hash \
                 tag: the prefix {bull}, for all queues together, or the queue {mails}, for each by itself; and the same \
                 in Node (`prefix: '{bull}'`)",
            )
        })?;
        Ok(self.with(Target::Cluster(Arc::new(route.to(Place::Slot(slot_of(tag)))))))
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.target, Target::Cluster(_))
    }

    /// Returns whether one call can use keys that begin with `base` together with the keys of this link.
    pub(crate) fn is_for_keys(&self, base: &str) -> bool {
        match &self.target {
            Target::Server(_) => true,
            Target::Cluster(route) => hash_tag(base).is_some_and(|tag| route.place() == &Place::Slot(slot_of(tag))),
        }
    }

    /// Returns a link to each server that has keys.
    pub(crate) fn everywhere(&self) -> Vec<Self> {
        match &self.target {
            Target::Server(_) => vec![self.clone()],
            Target::Cluster(route) => {
                let routes = route.everywhere().into_iter();
                routes.map(|route| self.with(Target::Cluster(Arc::new(route)))).collect()
            }
        }
    }

    /// Returns a link to each server that may have keys that begin with `base`: all that have keys, unless a hash tag
    /// says which.
    pub(crate) fn everywhere_for(&self, base: &str) -> Vec<Self> {
        self.for_keys(base).map_or_else(|_| self.everywhere(), |link| vec![link])
    }

    /// Returns the node of a cluster that this link is for, if any.
    pub(crate) fn node_name(&self) -> Option<String> {
        match &self.target {
            Target::Server(_) => None,
            Target::Cluster(route) => route.node_name(),
        }
    }

    /// Returns this link for a call that has lost its reply `lost` times: each time it waits twice as long, up to eight
    /// times as long.
    pub(crate) fn patient(&self, lost: u32) -> Self {
        Self { patience: 1 << lost.min(3), ..self.clone() }
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        match &self.target {
            Target::Server(node) => node.dialer().options(),
            Target::Cluster(route) => route.options(),
        }
    }

    /// Returns a dialer for separate connections to where this link leads.
    pub(crate) fn dialer(&self) -> Dialer {
        match &self.target {
            Target::Server(node) => node.dialer().clone(),
            Target::Cluster(route) => route.dialer(),
        }
    }

    /// Returns what the connections of one client know of the server, or of the node that has the keys.
    pub(crate) fn outages(&self) -> &Arc<Outages> {
        match &self.target {
            Target::Server(node) => node.dialer().outages(),
            Target::Cluster(route) => route.outages(),
        }
    }

    /// Adds a listener to the outages of all servers of this client.
    pub(super) fn tell_of_all(&self, listener: Weak<dyn Listener>) {
        match &self.target {
            Target::Server(node) => node.dialer().outages().tell(listener),
            Target::Cluster(route) => route.tell_of_all(listener),
        }
    }

    /// Returns whether the server has refused a command.
    pub(crate) fn lacks(&self, command: &'static str) -> bool {
        match &self.target {
            Target::Server(node) => node.dialer().lacks(command),
            Target::Cluster(route) => route.lacks(command),
        }
    }

    /// Sends a command that reads these keys, and has the server tell when one of them changes. `None` where that is not
    /// possible, or not now: on a single server, one blocking read can wait for all keys.
    pub(crate) async fn watch(&self, cmd: &Cmd, keys: Vec<String>) -> Option<(Value, Watch)> {
        match &self.target {
            Target::Server(_) => None,
            Target::Cluster(route) => route.watch(cmd, keys).await,
        }
    }

    /// Sends a `PING`: one round trip.
    pub(crate) async fn ping(&self) -> Result<()> {
        let pong = self.send(Cmd::new().arg("PING")).await;
        pong.map(drop).map_err(|failure| failure.to_read_error("ping"))
    }

    /// Returns whether the server lets scripts declare that they may run while its memory is full.
    pub(crate) fn allows_oom(&self) -> bool {
        match &self.target {
            Target::Server(node) => node.knows_flags(),
            Target::Cluster(route) => route.knows_flags(),
        }
    }

    pub(crate) fn takes_long_way(&self) -> bool {
        self.long_way
    }

    /// Makes scripts skip the short way for a single job, on links derived from this one too.
    pub(crate) fn take_long_way(&mut self) {
        self.long_way = true;
    }

    /// Sets the least deadline of commands on this link and its clones; a caller that wants less limits the call
    /// itself.
    pub(crate) fn at_least(&self, timeout: Duration) {
        match &self.target {
            Target::Server(node) => node.at_least(timeout),
            Target::Cluster(route) => route.at_least(timeout),
        }
    }

    /// Begins to connect if there is no connection, so that the next call need not wait for it.
    pub(crate) fn dial_beside(&self) {
        match &self.target {
            Target::Server(node) => node.dial_beside(),
            Target::Cluster(route) => route.dial_beside(),
        }
    }

    /// Makes the next call open a new connection; calls under way keep theirs.
    pub(crate) fn replace(&self) {
        match &self.target {
            Target::Server(node) => node.replace(),
            Target::Cluster(route) => route.replace(),
        }
    }

    /// Sends one small command and waits for its reply, like [`send_large`](Self::send_large).
    pub(crate) async fn send(&self, cmd: &Cmd) -> std::result::Result<Value, CallFailure> {
        self.send_large(cmd, 0).await
    }

    /// Sends one command of `bytes` bytes and waits for its reply. It waits for a connection within the deadline of the
    /// options, and for the reply as long as the connection moves bytes, with no silence longer than that deadline.
    pub(crate) async fn send_large(&self, cmd: &Cmd, bytes: usize) -> std::result::Result<Value, CallFailure> {
        match &self.target {
            Target::Server(node) => node.send(cmd, bytes, self.patience).await,
            // Boxed, so that it takes no room in the calls of clients without a cluster.
            Target::Cluster(route) => Box::pin(route.send(cmd, bytes, self.patience)).await,
        }
    }
}

fn connect_error(error: &RedisError) -> Error {
    if error.to_string().contains(TOO_OLD) {
        let (server, found) = error.detail().and_then(|detail| detail.rsplit_once(' ')).unwrap_or_default();
        return Error::ServerVersion { server: server.to_owned(), found: found.to_owned() };
    }
    Error::Redis { op: "connect", cause: without_secrets(error) }
}
