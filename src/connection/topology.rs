//! Knows which node of a cluster owns which slots, for all connections of a client.
//!
//! It asks whichever node answers first, and again when a node redirects us, when one is lost, and from time to time. A
//! node that was cut off may give an outdated answer; then a `MOVED` from another node corrects it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use super::attempt::{is_silence, within};
use super::distrust::tls_hint;
use super::failure::{no_connection_to, without_secrets};
use super::first::first_of;
use super::outage::{Listener, Outages};
use super::progress::Progress;
use super::servers::{Address, Naming, Servers};
use super::slot::SLOTS;
use super::socket::{Opener, Terms};

use crate::sync::{Lock, spawn};

/// How long to wait for one node before the next one is asked as well.
const NEXT: Duration = Duration::from_millis(200);

/// The least time between two questions, whatever goes wrong.
const SELDOM: Duration = Duration::from_millis(100);

/// Knowledge older than this is refreshed when something is sent.
const STALE: Duration = Duration::from_secs(15);

/// How often to ask while a call cannot be delivered.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Returns the error for a slot without a known owner.
pub(super) fn no_owner() -> RedisError {
    RedisError::from((ErrorKind::Io, "no node of the cluster has the slot"))
}

/// The index that stands for no owner.
const NONE: u16 = u16::MAX;

/// What is known of one cluster.
pub(super) struct Topology {
    seeds: Vec<Address>,
    naming: Naming,
    servers: Servers,
    opener: Opener,
    timeout: Duration,
    map: watch::Sender<Map>,
    asking: Lock<Asking>,
    made: Instant,
    /// The second after `made` from which the knowledge counts as old.
    stale: AtomicU64,
    outages: Lock<SlotOutages>,
}

/// What is known of outages of the owners of slots.
#[derive(Default)]
struct SlotOutages {
    by_slot: HashMap<u16, Arc<Outages>>,
    /// Those that are told of each of them.
    listeners: Vec<Weak<dyn Listener>>,
}

#[derive(Default)]
struct Asking {
    /// When the last question was begun.
    began: Option<Instant>,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// Slots and their owners.
#[derive(Clone)]
pub(super) struct Map {
    /// The index in `nodes` of each slot's owner.
    owners: Vec<u16>,
    /// The masters, and nodes that were masters.
    nodes: Vec<Address>,
    replicas: Vec<Address>,
}

impl Map {
    fn empty() -> Self {
        Self { owners: vec![NONE; usize::from(SLOTS)], nodes: Vec::new(), replicas: Vec::new() }
    }

    fn owner(&self, slot: u16) -> Option<&Address> {
        self.nodes.get(usize::from(*self.owners.get(usize::from(slot))?))
    }

    fn number(&mut self, node: Address) -> u16 {
        let at = self.nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        u16::try_from(at).unwrap_or(NONE)
    }

    fn set(&mut self, from: u16, to: u16, node: Address) {
        let number = self.number(node);
        if let Some(owners) = self.owners.get_mut(usize::from(from)..=usize::from(to)) {
            owners.fill(number);
        }
    }

    /// Returns the nodes that own slots.
    fn masters(&self) -> Vec<Address> {
        let mut owns = vec![false; self.nodes.len()];
        for owner in &self.owners {
            if let Some(owns) = owns.get_mut(usize::from(*owner)) {
                *owns = true;
            }
        }
        self.nodes.iter().zip(owns).filter(|(_, owns)| *owns).map(|(node, _)| node.clone()).collect()
    }

    /// Reads the reply to `CLUSTER SLOTS` of a node at `asked`; a missing name means that node.
    fn read(reply: &Value, asked: &Address, naming: &Naming) -> Option<Self> {
        let mut map = Self::empty();
        let Value::Array(ranges) = reply else { return None };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(from), Value::Int(to), master, replicas @ ..] = &range[..] else { return None };
            let (from, to) = (u16::try_from(*from).ok()?, u16::try_from(*to).ok()?);
            if from > to || to >= SLOTS {
                return None;
            }
            map.set(from, to, node(master, asked, naming)?);
            map.replicas.extend(replicas.iter().filter_map(|replica| node(replica, asked, naming)));
        }
        (!map.nodes.is_empty()).then_some(map)
    }
}

/// Reads a node in the reply to `CLUSTER SLOTS`: host and port, and further details.
fn node(described: &Value, asked: &Address, naming: &Naming) -> Option<Address> {
    let Value::Array(parts) = described else { return None };
    let [host, Value::Int(port), ..] = &parts[..] else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => "",
    };
    Some(named(host, u16::try_from(*port).ok()?, asked, naming))
}

/// Returns the address of a node that another one has named; without a host, it means its own.
fn named(host: &str, port: u16, asked: &Address, naming: &Naming) -> Address {
    match asked {
        Address::Tcp(own, _) | Address::Tls(own, _) if host.is_empty() || host == "?" => naming.address(own, port),
        // What is reached by a unix socket runs on this machine.
        Address::Unix(_) if host.is_empty() || host == "?" => naming.address("127.0.0.1", port),
        _ => naming.address(host, port),
    }
}

impl Topology {
    pub(super) fn new(
        servers: &Servers,
        seeds: Vec<Address>,
        naming: Naming,
        opener: Opener,
        timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            seeds,
            naming,
            servers: servers.clone(),
            opener,
            timeout,
            map: watch::Sender::new(Map::empty()),
            asking: Lock::default(),
            made: Instant::now(),
            stale: AtomicU64::new(0),
            outages: Lock::default(),
        })
    }

    /// Returns the node that owns a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<Address> {
        self.map.borrow().owner(slot).cloned()
    }

    pub(super) fn masters(&self) -> Vec<Address> {
        self.map.borrow().masters()
    }

    /// Returns whether a node is known to own slots.
    pub(super) fn is_master(&self, node: &Address) -> bool {
        self.map.borrow().nodes.contains(node)
    }

    /// Returns what is known of outages of the owners of a slot.
    pub(super) fn outages(&self, slot: u16) -> Arc<Outages> {
        let mut outages = self.outages.lock();
        let SlotOutages { by_slot, listeners } = &mut *outages;
        let known = by_slot.entry(slot).or_insert_with(|| {
            let outages = Outages::new(self.servers.clone());
            listeners.iter().for_each(|listener| outages.tell(Weak::clone(listener)));
            outages
        });
        Arc::clone(known)
    }

    /// Adds a listener to the outages of all slots, also of those that are not used yet.
    pub(super) fn tell(&self, listener: &Weak<dyn Listener>) {
        let mut outages = self.outages.lock();
        outages.by_slot.values().for_each(|outages| outages.tell(Weak::clone(listener)));
        outages.listeners.push(Weak::clone(listener));
    }

    /// Ends when a slot belongs to another node than this one.
    pub(super) async fn left(&self, slot: u16, node: &Address) {
        let mut map = self.map.subscribe();
        let _ = map.wait_for(|map| map.owner(slot).is_some_and(|owner| owner != node)).await;
    }

    /// Does the same as [`left`](Self::left) for a call that cannot be delivered: asks from time to time.
    pub(super) async fn left_asking(self: &Arc<Self>, slot: u16, node: &Address) {
        tokio::select! {
            () = self.left(slot, node) => {}
            () = self.ask_for_ever() => {}
        }
    }

    /// Asks from time to time.
    pub(super) async fn ask_for_ever(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            self.refresh_beside();
        }
    }

    /// Ends when anything changes.
    pub(super) async fn changed(&self) {
        let _ = self.map.subscribe().changed().await;
    }

    /// Returns what tells whether anything has changed from now on.
    pub(super) fn changes(&self) -> watch::Receiver<Map> {
        self.map.subscribe()
    }

    /// Takes the redirection of a node at `asked`: `MOVED <slot> <host>:<port>`. Returns true if that was news. `ASK` names
    /// a node, too, which does not have the slot yet.
    pub(super) fn moved(&self, error: &RedisError, asked: &Address) -> bool {
        if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
            return false;
        }
        let Some((host, slot)) = error.redirect_node() else { return false };
        let Some((host, Ok(port))) = host.rsplit_once(':').map(|(host, port)| (host, port.parse())) else {
            return false;
        };
        let node = named(host, port, asked, &self.naming);
        self.map.send_if_modified(|map| {
            let is_news = slot < SLOTS && map.owner(slot) != Some(&node);
            if is_news {
                map.set(slot, slot, node);
            }
            is_news
        })
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock()
    }

    /// Asks again in a task, unless one asks already, or asked a moment ago.
    pub(super) fn refresh_beside(self: &Arc<Self>) {
        let mut asking = self.asking();
        let now = Instant::now();
        let is_recent = |span| asking.began.is_some_and(|began| now < began + span);
        let is_underway = asking.task.as_ref().is_some_and(|task| !task.is_finished());
        // An attempt in a runtime that nobody drives must not keep all others from asking.
        if is_recent(SELDOM) || (is_underway && is_recent(2 * self.timeout)) {
            return;
        }
        asking.began = Some(now);
        self.is_asked();
        let topology = Arc::downgrade(self);
        asking.task = Some(spawn(async move {
            let Some(topology) = topology.upgrade() else { return };
            if let Err(error) = topology.refresh().await {
                tracing::debug!(target: "oxmq::connection", error = %without_secrets(&error), "the slots of the cluster could not be read");
            }
        }));
    }

    fn is_asked(&self) {
        self.stale.store((self.made.elapsed() + STALE).as_secs(), Ordering::Relaxed);
    }

    /// Asks again in a task, if the knowledge is old.
    pub(super) fn now_and_then(self: &Arc<Self>) {
        if self.made.elapsed().as_secs() >= self.stale.load(Ordering::Relaxed) {
            self.refresh_beside();
        }
    }

    /// Asks one node after the other, without waiting for silent ones, until one answers.
    pub(super) async fn refresh(&self) -> Result<(), RedisError> {
        self.asking().began = Some(Instant::now());
        self.is_asked();
        let map = within(self.timeout, self.ask_all()).await.map_err(|error| match is_silence(&error) {
            true => no_connection_to(&self.servers, &error, ""),
            false => error,
        })?;
        self.map.send_if_modified(|known| {
            // Callers are woken only if an owner has changed; new replicas are stored silently.
            let is_news = (0..SLOTS).any(|slot| map.owner(slot) != known.owner(slot));
            if is_news {
                *known = map;
            } else {
                known.replicas = map.replicas;
            }
            is_news
        });
        Ok(())
    }

    async fn ask_all(&self) -> Result<Map, RedisError> {
        let none = RedisError::from((ErrorKind::Io, "no node of the cluster answers"));
        let attempts = self.candidates().into_iter().rev().map(|node| self.ask(node));
        first_of(attempts, NEXT, none, |_| false).await
    }

    /// Returns the nodes to ask, the best last: owners of slots, in any order, then their replicas, then those that the
    /// user has named.
    fn candidates(&self) -> Vec<Address> {
        let shuffled = |mut nodes: Vec<Address>| {
            fastrand::shuffle(&mut nodes);
            nodes
        };
        let (masters, replicas) = {
            let map = self.map.borrow();
            (map.masters(), map.replicas.clone())
        };
        let mut all = Vec::new();
        for node in [shuffled(self.seeds.clone()), shuffled(replicas), shuffled(masters)].into_iter().flatten().rev() {
            if !all.contains(&node) {
                all.push(node);
            }
        }
        all.reverse();
        all
    }

    async fn ask(&self, node: Address) -> Result<Map, RedisError> {
        let asking = async {
            let (mut connection, _driver) = self.opener.open(&node, Terms::new(&Progress::new())).await?;
            match connection.send_packed_command(Cmd::new().arg("CLUSTER").arg("SLOTS")).await? {
                Value::ServerError(error) => Err(RedisError::from(error)),
                reply => Ok(reply),
            }
        };
        match asking.await {
            Ok(reply) => Map::read(&reply, &node, &self.naming)
                .ok_or_else(|| RedisError::from((ErrorKind::Io, "no slot has an owner", format!("as {node:?} says")))),
            Err(error) if error.detail().is_some_and(|text| text.contains("cluster support disabled")) => {
                let text = format!("{node:?} is no node of one: connect to it by redis://");
                Err(RedisError::from((ErrorKind::InvalidClientConfig, "there is no cluster", text)))
            }
            Err(error) => Err(no_connection_to(&node, &error, tls_hint(&node, &error))),
        }
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let asking = self.asking.get_mut();
        if let Some(task) = asking.task.take() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(from: i64, to: i64, nodes: &[(Option<&str>, i64)]) -> Value {
        let nodes = nodes.iter().map(|(host, port)| {
            let host = host.map_or(Value::Nil, bulk);
            Value::Array(vec![host, Value::Int(*port), bulk("id"), Value::Array(vec![])])
        });
        Value::Array([Value::Int(from), Value::Int(to)].into_iter().chain(nodes).collect())
    }

    fn tcp(host: &str, port: u16) -> Address {
        Naming::default().address(host, port)
    }

    #[test]
    fn the_owners_of_slots_are_read_and_a_missing_host_is_that_of_the_node_itself() {
        let asked = tcp("seed", 1);
        let reply = Value::Array(vec![
            range(0, 99, &[(Some("a"), 7), (Some("b"), 8)]),
            range(100, 16_383, &[(None, 9), (Some("?"), 10)]),
        ]);
        let map = Map::read(&reply, &asked, &Naming::default()).unwrap();
        assert_eq!((map.owner(0), map.owner(99)), (Some(&tcp("a", 7)), Some(&tcp("a", 7))));
        assert_eq!((map.owner(100), map.owner(16_383)), (Some(&tcp("seed", 9)), Some(&tcp("seed", 9))));
        assert_eq!(map.replicas, [tcp("b", 8), tcp("seed", 10)]);
        assert_eq!(map.masters(), [tcp("a", 7), tcp("seed", 9)]);
        let socket = Address::Unix("/run/redis.sock".into());
        let single = Map::read(&Value::Array(vec![range(0, 9, &[(Some(""), 7)])]), &socket, &Naming::default());
        assert_eq!(single.unwrap().masters(), [tcp("127.0.0.1", 7)]);
        for bad in [range(5, 4, &[(Some("a"), 7)]), range(0, 16_384, &[(Some("a"), 7)]), range(0, 5, &[]), Value::Nil] {
            assert!(Map::read(&Value::Array(vec![bad]), &asked, &Naming::default()).is_none());
        }
        assert!(Map::read(&Value::Array(vec![]), &asked, &Naming::default()).is_none());
    }

    #[tokio::test]
    async fn a_node_that_sends_us_elsewhere_is_believed_for_that_slot() {
        let options = super::super::options::ConnectOptions::cluster(["seed:1"]).unwrap();
        let dialer = super::super::dial::Dialer::new(Arc::new(options)).unwrap();
        let topology = dialer.topology().unwrap();
        let redirected =
            |kind, text: &str| RedisError::from((ErrorKind::Server(kind), "An error was signalled", text.to_owned()));
        let moved = |text| redirected(ServerErrorKind::Moved, text);
        assert!(topology.moved(&moved("9263 h:7"), &tcp("seed", 1)));
        assert!(!topology.moved(&moved("9263 h:7"), &tcp("seed", 1)));
        assert!(!topology.moved(&redirected(ServerErrorKind::Ask, "9263 h:9"), &tcp("seed", 1)), "it is on its way");
        assert_eq!((topology.owner(9263), topology.owner(1)), (Some(tcp("h", 7)), None));
        let mut left = tokio_test_left(topology, 9263, tcp("h", 7));
        assert!(futures::poll!(&mut left).is_pending());
        assert!(topology.moved(&moved("9263 :8"), &tcp("seed", 1)));
        left.await;
        assert_eq!(topology.owner(9263), Some(tcp("seed", 8)));
        assert!(topology.moved(&moved("1 ::1:8"), &tcp("seed", 1)));
        assert_eq!(topology.owner(1), Some(tcp("::1", 8)));
        for bad in ["", "x", "99999 h:7", "20000 h:7", "5 h", "5 h:x"] {
            assert!(!topology.moved(&moved(bad), &tcp("seed", 1)), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn knowledge_is_old_after_a_quarter_of_a_minute() {
        let options = super::super::options::ConnectOptions::cluster(["127.0.0.1:1"]).unwrap();
        let dialer = super::super::dial::Dialer::new(Arc::new(options)).unwrap();
        let topology = dialer.topology().unwrap();
        topology.is_asked();
        let asks = async |after: u64| {
            tokio::time::advance(Duration::from_secs(after)).await;
            let before = topology.asking().began;
            topology.now_and_then();
            topology.asking().began != before
        };
        assert!(!asks(13).await);
        assert!(asks(3).await);
        assert!(!asks(13).await);
    }

    fn tokio_test_left(topology: &Arc<Topology>, slot: u16, node: Address) -> futures::future::BoxFuture<'static, ()> {
        let topology = Arc::clone(topology);
        Box::pin(async move { topology.left(slot, &node).await })
    }
}
