//! The way to nodes of a cluster: to the owner of a slot, to one node, to any node.
//!
//! A slot is moved key by key. The node that it leaves answers `ASK` for a key that it does not have (any more), and
//! the node that it goes to would run the command on the keys that have arrived so far. Our scripts name one key, which
//! never exists; so on that node they would find an empty queue, and start it anew. **`ASK` is never followed**: the
//! caller waits and asks the same node again, until that answers `MOVED`.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::attempt::is_permanent;
use super::dial::Dialer;
use super::failure::CallFailure;
use super::first::first_of;
use super::node::{Limits, Live, Node};
use super::options::ConnectOptions;
use super::outage::{Listener, Outages};
use super::servers::Address;
use super::topology::{Topology, no_owner};
use super::watch::{TRACKING, Watch, Watchers};
use crate::sync::Lock;

/// How often one call is redirected before it fails: nodes that disagree redirect in a circle.
const MOST_HOPS: u32 = 5;

/// How long to wait before asking again for the owner of a slot without one.
const NO_OWNER: Duration = Duration::from_millis(200);

/// How long to wait for a node to let us in before the next one is tried as well.
const NEXT: Duration = Duration::from_millis(500);

/// How long to wait for a reply once the slot belongs to another node: it may be under way.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The shared connections of a client, one to each node that it needs.
pub(super) struct Pool {
    dialer: Dialer,
    topology: Arc<Topology>,
    nodes: Lock<HashMap<Address, Arc<Node>>>,
    /// Which nodes know script flags, for all pools of the client.
    knows_flags: Arc<Lock<HashMap<Address, Arc<AtomicBool>>>>,
    timeout: Lock<Duration>,
    watchers: Watchers,
}

impl Pool {
    pub(super) fn new(dialer: Dialer, topology: Arc<Topology>) -> Arc<Self> {
        let timeout = Lock::new(dialer.options().command_timeout);
        let (nodes, knows_flags) = (Lock::default(), Arc::default());
        Arc::new(Self { dialer, topology, nodes, knows_flags, timeout, watchers: Watchers::default() })
    }

    /// Returns a pool without connections to the same nodes.
    fn another(&self) -> Arc<Self> {
        let (dialer, topology) = (self.dialer.clone(), Arc::clone(&self.topology));
        let (nodes, knows_flags) = (Lock::default(), Arc::clone(&self.knows_flags));
        let timeout = Lock::new(self.timeout());
        Arc::new(Self { dialer, topology, nodes, knows_flags, timeout, watchers: Watchers::default() })
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(address) {
            return Arc::clone(node);
        }
        // A node without slots needs no connection.
        nodes.retain(|known, _| self.topology.is_master(known));
        let node = Node::knowing(self.dialer.at(address), self.flags_of(address));
        node.at_least(self.timeout());
        nodes.insert(address.clone(), Arc::clone(&node));
        node
    }

    fn flags_of(&self, address: &Address) -> Arc<AtomicBool> {
        let mut known = self.knows_flags.lock();
        known.retain(|other, _| other == address || self.topology.is_master(other));
        Arc::clone(known.entry(address.clone()).or_default())
    }

    fn timeout(&self) -> Duration {
        *self.timeout.lock()
    }

    fn at_least(&self, timeout: Duration) {
        let mut own = self.timeout.lock();
        *own = timeout.max(*own);
    }
}

/// Which nodes a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The owner of this slot.
    Slot(u16),
    /// This node.
    Node(Address),
    /// Any node.
    Any,
}

/// A way to some nodes, with the connections of a pool.
pub(super) struct Route {
    pool: Arc<Pool>,
    place: Place,
    outages: Arc<Outages>,
    /// The node that was used last.
    last: RwLock<Option<(Address, Arc<Node>)>>,
}

impl Route {
    pub(super) fn new(pool: Arc<Pool>, place: Place) -> Self {
        let outages = match place {
            Place::Slot(slot) => pool.topology.outages(slot),
            Place::Node(_) | Place::Any => Arc::clone(pool.dialer.outages()),
        };
        Self { pool, place, outages, last: RwLock::default() }
    }

    /// Returns another route with the same connections.
    pub(super) fn to(&self, place: Place) -> Self {
        Self::new(Arc::clone(&self.pool), place)
    }

    /// Returns a route to where `other` leads, with our connections.
    pub(super) fn towards(&self, other: &Self) -> Self {
        self.to(other.place.clone())
    }

    /// Returns the same route with connections of its own.
    pub(super) fn another(&self) -> Self {
        Self::new(self.pool.another(), self.place.clone())
    }

    /// Returns a route to each node that has keys.
    pub(super) fn everywhere(&self) -> Vec<Self> {
        self.topology().masters().into_iter().map(|node| self.to(Place::Node(node))).collect()
    }

    fn topology(&self) -> &Arc<Topology> {
        &self.pool.topology
    }

    /// Returns the node that this leads to, if it is for one.
    pub(super) fn node_name(&self) -> Option<String> {
        match &self.place {
            Place::Node(address) => Some(format!("{address:?}")),
            Place::Slot(_) | Place::Any => None,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn options(&self) -> &ConnectOptions {
        self.pool.dialer.options()
    }

    pub(super) fn lacks(&self, command: &'static str) -> bool {
        self.pool.dialer.lacks(command)
    }

    /// Sends a command that reads keys of this slot, and has the node that owns it tell when one of them changes; `None`
    /// where that is not possible, or not now.
    pub(super) async fn watch(&self, cmd: &Cmd, keys: Vec<String>) -> Option<(Value, Watch)> {
        let Place::Slot(slot) = self.place else { return None };
        if self.lacks(TRACKING) {
            return None;
        }
        let topology = self.topology();
        let owner = topology.owner(slot)?;
        self.pool.watchers.watch(&self.pool.dialer, topology, &owner, cmd, keys).await
    }

    pub(super) fn outages(&self) -> &Arc<Outages> {
        &self.outages
    }

    /// Adds a listener to the outages of all nodes, whichever this leads to.
    pub(super) fn tell_of_all(&self, listener: Weak<dyn Listener>) {
        self.topology().tell(&listener);
        self.pool.dialer.outages().tell(listener);
    }

    /// Returns a dialer for separate connections to where this leads.
    pub(super) fn dialer(&self) -> Dialer {
        match &self.place {
            Place::Slot(slot) => self.pool.dialer.towards(*slot, &self.outages),
            Place::Node(node) => self.pool.dialer.at(node),
            Place::Any => self.pool.dialer.clone(),
        }
    }

    pub(super) fn at_least(&self, timeout: Duration) {
        self.pool.at_least(timeout);
        if let Some((_, node)) = self.node() {
            node.at_least(timeout);
        }
    }

    pub(super) fn knows_flags(&self) -> bool {
        self.node().is_some_and(|(_, node)| node.knows_flags())
    }

    pub(super) fn dial_beside(&self) {
        match self.node() {
            Some((_, node)) => node.dial_beside(),
            None => self.topology().refresh_beside(),
        }
    }

    pub(super) fn replace(&self) {
        if let Some((_, node)) = self.node() {
            node.replace();
        }
    }

    /// Asks for the owners of slots, and connects to one node, which shows whether we are let in. If any node will do,
    /// a silent one is not waited for.
    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        let known = self.topology().refresh().await.inspect_err(|error| {
            self.outages.failed(tokio::time::Instant::now(), error);
        });
        known?;
        if self.place == Place::Any {
            return self.connect_to_any().await;
        }
        match self.node() {
            Some((_, node)) => node.connection().await.map(drop),
            None => Err(no_owner()),
        }
    }

    /// Connects to one node after the other, without waiting for silent ones, until one lets us in.
    async fn connect_to_any(&self) -> Result<(), RedisError> {
        let mut masters = self.topology().masters();
        fastrand::shuffle(&mut masters);
        let attempts = masters.into_iter().map(|address| {
            let node = self.pool.node(&address);
            async move { node.connection().await.map(|_| (address, node)) }
        });
        let found = first_of(attempts, NEXT, no_owner(), is_permanent).await?;
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(())
    }

    /// Returns the node that this leads to now.
    fn node(&self) -> Option<(Address, Arc<Node>)> {
        let last = || self.last.read().unwrap_or_else(PoisonError::into_inner).clone();
        let address = match &self.place {
            Place::Slot(slot) => self.topology().owner(*slot)?,
            Place::Node(node) => node.clone(),
            Place::Any => {
                let last = last().filter(|(address, _)| self.topology().is_master(address));
                last.map(|(address, _)| address).or_else(|| fastrand::choice(self.topology().masters()))?
            }
        };
        if let Some(last) = last().filter(|(last, _)| *last == address) {
            return Some(last);
        }
        let now = (address.clone(), self.pool.node(&address));
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(now.clone());
        Some(now)
    }

    /// Makes the next call to any node use another one.
    fn forget(&self) {
        if self.place == Place::Any {
            *self.last.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Ends when this leads to another node than that at `address`; asks the cluster from time to time.
    async fn left(&self, address: &Address) {
        match &self.place {
            Place::Slot(slot) => self.topology().left_asking(*slot, address).await,
            Place::Node(_) | Place::Any => self.topology().ask_for_ever().await,
        }
    }

    /// Sends one command to where this leads, and follows redirections, as long as it was not carried out.
    pub(super) async fn send(&self, cmd: &Cmd, bytes: usize, patience: u32) -> Result<Value, CallFailure> {
        let limits = Limits::from_now(self.pool.timeout() * patience);
        self.topology().now_and_then();
        let mut hops = 0;
        loop {
            let (address, node, live) = match tokio::time::timeout_at(limits.deadline, self.connection()).await {
                Ok(found) => found.map_err(CallFailure::NotApplied)?,
                Err(_) => return Err(Limits::no_connection(&self.outages)),
            };
            let call = node.send_on(&live, cmd, bytes, limits, &self.outages);
            let failure = match self.until_left(&address, &live, &node, call).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            match &failure {
                CallFailure::Server(error) if is(error, ServerErrorKind::Moved) => {
                    self.topology().moved(error, &address);
                    hops += 1;
                    if hops > MOST_HOPS {
                        self.topology().refresh_beside();
                        let error =
                            RedisError::from((ErrorKind::Io, "the nodes of the cluster disagree", error.to_string()));
                        return Err(CallFailure::NotApplied(error));
                    }
                }
                CallFailure::Server(error) if is(error, ServerErrorKind::Ask) => {
                    let error = slot_is_moving(error);
                    self.outages.refused(&error);
                    return Err(CallFailure::NotApplied(error));
                }
                CallFailure::NotApplied(_) | CallFailure::Unknown(_) => {
                    self.topology().refresh_beside();
                    self.forget();
                    return Err(failure);
                }
                CallFailure::OutOfMemory | CallFailure::Unreadable | CallFailure::Server(_) => return Err(failure),
            }
        }
    }

    /// Returns a connection to where this leads. A node that cannot be reached is tried as long as it is the right one.
    async fn connection(&self) -> Result<(Address, Arc<Node>, Arc<Live>), RedisError> {
        loop {
            let Some((address, node)) = self.node() else {
                self.outages.failed(tokio::time::Instant::now(), &no_owner());
                self.topology().refresh_beside();
                let _ = tokio::time::timeout(NO_OWNER, self.topology().changed()).await;
                continue;
            };
            if let Some(live) = node.live() {
                return Ok((address, node, live));
            }
            let began = tokio::time::Instant::now();
            let connected = tokio::select! {
                connected = node.connection() => connected,
                () = self.left(&address) => continue,
            };
            match connected {
                Ok(live) => return Ok((address, node, live)),
                Err(error) if is_permanent(&error) => return Err(error),
                Err(error) => {
                    self.outages.failed(began, &error);
                    self.topology().refresh_beside();
                    self.forget();
                }
            }
        }
    }

    /// Waits for the reply of a node; only briefly once the slot belongs to another one, since a dead node never
    /// answers.
    async fn until_left(
        &self,
        address: &Address,
        live: &Live,
        node: &Node,
        call: impl Future<Output = Result<Value, CallFailure>>,
    ) -> Result<Value, CallFailure> {
        tokio::pin!(call);
        tokio::select! {
            biased;
            reply = &mut call => return reply,
            () = self.left(address) => {}
        }
        if let Ok(reply) = tokio::time::timeout(LAST_WORDS, call).await {
            return reply;
        }
        node.discard(live.number);
        let error = RedisError::from((ErrorKind::Io, "no reply, and the slot belongs to another node by now"));
        Err(CallFailure::Unknown(error))
    }
}

fn is(error: &RedisError, kind: ServerErrorKind) -> bool {
    error.kind() == ErrorKind::Server(kind)
}

/// Turns `ASK <slot> <host>:<port>` into an error that people understand.
fn slot_is_moving(error: &RedisError) -> RedisError {
    let text = error.detail().unwrap_or_default().to_owned();
    RedisError::from((ErrorKind::Io, "the queue's slot is moving to another node of the cluster", text))
}
