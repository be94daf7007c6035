//! Opens one connection, to whichever server has to be reached.

use std::sync::Arc;

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, ProtocolVersion, RedisError, Value};

use super::attempt::{is_silence, within};
use super::distrust::tls_hint;
use super::failure::no_connection_to;
use super::handshake::{Server, hello, says_replica, try_flags};
use super::options::ConnectOptions;
use super::outage::Outages;
use super::progress::Progress;
use super::rights::Rights;
use super::sentinel::Sentinels;
use super::servers::{Address, Naming, Servers};
use super::socket::{Driver, Opener, Terms};
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::topology::{Topology, no_owner};
use crate::error::Result;

/// A connection, the server behind it, and the task that moves its bytes.
pub(crate) struct Dialed {
    pub(crate) address: Address,
    pub(crate) connection: MultiplexedConnection,
    pub(crate) server: Server,
    pub(crate) driver: Driver,
    pub(crate) progress: Arc<Progress>,
}

/// Opens connections; cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    opener: Opener,
    target: Target,
    options: Arc<ConnectOptions>,
    outages: Arc<Outages>,
    rights: Arc<Rights>,
}

/// Where connections lead to.
#[derive(Clone)]
enum Target {
    Server(Address),
    /// The master that the sentinels name.
    Sentinels(Arc<Sentinels>),
    /// A node of a cluster.
    Node(Address, Arc<Topology>),
    /// The node that owns this slot.
    Slot(u16, Arc<Topology>),
    /// Any node of a cluster.
    Cluster(Arc<Topology>),
}

impl Dialer {
    pub(crate) fn new(options: Arc<ConnectOptions>) -> Result<Self> {
        let mut login = login().set_db(options.db);
        if let Some(username) = &options.username {
            login = login.set_username(username);
        }
        if let Some(password) = &options.password {
            login = login.set_password(password);
        }
        let opener = Opener {
            login,
            #[cfg(feature = "tls")]
            tls: options.uses_tls().then(|| Tls::new(&options.tls)).transpose()?,
        };
        let naming = |tls: &bool| Naming { tls: *tls, map: options.node_addresses.clone() };
        let target = match &options.servers {
            Servers::One(address) => {
                #[cfg(feature = "tls")]
                if let (Address::Tls(host, _), Some(tls)) = (address, &opener.tls) {
                    tls.name_of(host)?;
                }
                Target::Server(address.clone())
            }
            Servers::ClusterOf(node) => {
                let (opener, timeout) = (opener.clone(), options.connect_timeout);
                let naming = naming(&matches!(node, Address::Tls(..)));
                Target::Cluster(Topology::new(&options.servers, vec![node.clone()], naming, opener, timeout))
            }
            Servers::Sentinels { hosts, master, tls } => {
                #[cfg_attr(
                    not(feature = "tls"),
                    expect(clippy::needless_update, reason = "with TLS there is a field more")
                )]
                let opener = Opener { login: Sentinels::login(&options), ..opener.clone() };
                Target::Sentinels(Arc::new(Sentinels::new(hosts, master, naming(tls), opener, &options)))
            }
            Servers::Cluster { hosts, tls } => {
                let (opener, timeout) = (opener.clone(), options.connect_timeout);
                let seeds = hosts.iter().map(|host| host.address(*tls)).collect();
                Target::Cluster(Topology::new(&options.servers, seeds, naming(tls), opener, timeout))
            }
        };
        let outages = Outages::new(options.servers.clone());
        Ok(Self { opener, target, options, outages, rights: Arc::default() })
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Returns what is known of the cluster, if it is one.
    pub(super) fn topology(&self) -> Option<&Arc<Topology>> {
        match &self.target {
            Target::Server(_) | Target::Sentinels(_) => None,
            Target::Node(_, topology) | Target::Slot(_, topology) | Target::Cluster(topology) => Some(topology),
        }
    }

    /// Returns a dialer to one node of the same cluster.
    pub(super) fn at(&self, node: &Address) -> Self {
        let target = match self.topology() {
            Some(topology) => Target::Node(node.clone(), Arc::clone(topology)),
            None => Target::Server(node.clone()),
        };
        Self { target, outages: Outages::new(Servers::One(node.clone())), ..self.clone() }
    }

    /// Returns a dialer to the node that owns a slot.
    pub(super) fn towards(&self, slot: u16, outages: &Arc<Outages>) -> Self {
        let target = match self.topology() {
            Some(topology) => Target::Slot(slot, Arc::clone(topology)),
            None => self.target.clone(),
        };
        Self { target, outages: Arc::clone(outages), ..self.clone() }
    }

    /// Records that the server at `address` refused to serve; its error may name the server that does.
    pub(super) fn refused_by(&self, address: &Address, error: &RedisError) {
        if let Some(topology) = self.topology()
            && !topology.moved(error, address)
        {
            topology.refresh_beside();
        }
    }

    /// Asks the cluster who owns which slots, if that was not done for a while.
    pub(super) fn now_and_then(&self) {
        if let Some(topology) = self.topology() {
            topology.now_and_then();
        }
    }

    /// Returns what opens the connections that watch keys: with RESP3, in which a server says something unasked.
    pub(super) fn watching(&self) -> Opener {
        let mut opener = self.opener.clone();
        opener.login = opener.login.set_protocol(ProtocolVersion::RESP3);
        opener
    }

    /// Returns what the connections of this dialer and its clones know of the server.
    pub(crate) fn outages(&self) -> &Arc<Outages> {
        &self.outages
    }

    /// Logs once that the server does not permit a command, and what is done without it.
    pub(crate) fn is_refused(&self, command: &'static str, without: &str) {
        self.rights.refused(&self.options.servers, command, without);
    }

    /// Returns whether the server has said that it does not permit a command.
    pub(super) fn lacks(&self, command: &'static str) -> bool {
        self.rights.lacks(command)
    }

    /// Opens a connection, ready for use, under `name` if one is given.
    pub(crate) async fn dial(&self, name: Option<&str>) -> std::result::Result<Dialed, RedisError> {
        let began = tokio::time::Instant::now();
        let mut at = None;
        let opening = self.open(name, &mut at);
        let dialed = within(self.options.connect_timeout, self.telling(opening)).await;
        match &dialed {
            Ok(_) => self.outages.dialed(),
            Err(error) => {
                self.outages.failed(began, error);
                if let Some(topology) = self.topology() {
                    topology.refresh_beside();
                }
            }
        }
        dialed.map_err(|error| match at {
            Some(at) => at_address(error, &at),
            // Nobody has said in time where the server is.
            None if is_silence(&error) => no_connection_to(&self.options.servers, &error, ""),
            None => error,
        })
    }

    /// Opens a connection, and reports an outage when it is time, which may be long before the attempt has failed.
    async fn telling<T>(&self, opening: impl Future<Output = T>) -> T {
        tokio::pin!(opening);
        if let Some(due) = self.outages.due() {
            match tokio::time::timeout_at(due, &mut opening).await {
                Ok(opened) => return opened,
                Err(_) => self.outages.tell_if_due(due),
            }
        }
        opening.await
    }

    /// Opens a connection; writes its address to `at` as soon as that is known.
    async fn open(&self, name: Option<&str>, at: &mut Option<Address>) -> std::result::Result<Dialed, RedisError> {
        match &self.target {
            #[cfg(any(test, feature = "testing"))]
            Target::Server(Address::Unix(path)) if path.as_os_str() == NOWHERE => {
                let problem = "there is no server in `perform`: take a `TestQueue`";
                Err(RedisError::from((ErrorKind::InvalidClientConfig, problem)))
            }
            Target::Server(address) => {
                let address = at.insert(address.clone());
                let dialed = self.open_at(address, None, name).await?;
                match dialed.server.is_sentinel {
                    true => Err(RedisError::from((ErrorKind::InvalidClientConfig, SENTINEL))),
                    false => Ok(dialed),
                }
            }
            Target::Sentinels(sentinels) => self.open_master(sentinels, name, at).await,
            Target::Node(address, _) => self.open_at(at.insert(address.clone()), None, name).await,
            Target::Slot(slot, topology) => self.open_owner(*slot, topology, name, at).await,
            Target::Cluster(topology) => {
                let address = at.insert(fastrand::choice(topology.masters()).ok_or_else(no_owner)?);
                self.open_at(address, None, name).await
            }
        }
    }

    /// Opens a connection to the master that the sentinels name, and gives up once they name another.
    async fn open_master(
        &self,
        sentinels: &Arc<Sentinels>,
        name: Option<&str>,
        at: &mut Option<Address>,
    ) -> std::result::Result<Dialed, RedisError> {
        let address = at.insert(sentinels.find().await?);
        let until = {
            let (sentinels, address) = (Arc::clone(sentinels), address.clone());
            Box::pin(async move { sentinels.left(&address).await })
        };
        tokio::select! {
            dialed = self.open_at(address, Some(until), name) => {
                let mut dialed = dialed?;
                let is_replica = match dialed.server.is_replica {
                    Some(is_replica) => is_replica,
                    None => says_replica(&mut dialed.connection).await?,
                };
                match is_replica {
                    true => Err(RedisError::from((ErrorKind::Io, "the server is a replica"))),
                    false => Ok(dialed),
                }
            }
            // An address that leads nowhere may use up all the time that there is.
            () = sentinels.left(address) => {
                Err(RedisError::from((ErrorKind::Io, "another server is the master")))
            }
        }
    }

    /// Opens a connection to the node that owns a slot, and gives up once another one owns it.
    async fn open_owner(
        &self,
        slot: u16,
        topology: &Arc<Topology>,
        name: Option<&str>,
        at: &mut Option<Address>,
    ) -> std::result::Result<Dialed, RedisError> {
        let address = at.insert(topology.owner(slot).ok_or_else(no_owner)?);
        let until = {
            let (topology, address) = (Arc::clone(topology), address.clone());
            Box::pin(async move { topology.left(slot, &address).await })
        };
        tokio::select! {
            dialed = self.open_at(address, Some(until), name) => dialed,
            () = topology.left_asking(slot, address) => {
                Err(RedisError::from((ErrorKind::Io, "another node has the slot")))
            }
        }
    }

    async fn open_at(
        &self,
        address: &Address,
        until: Option<BoxFuture<'static, ()>>,
        name: Option<&str>,
    ) -> std::result::Result<Dialed, RedisError> {
        let progress = Progress::new();
        let (mut connection, driver) = self.opener.open(address, Terms { until, ..Terms::new(&progress) }).await?;
        let server = self.greet(&mut connection, address).await?;
        if let Some(name) = name {
            // If the server refuses the name, the client is only missing in `getWorkers`.
            let named = Cmd::new().arg("CLIENT").arg("SETNAME").arg(name).to_owned();
            if matches!(connection.send_packed_command(&named).await, Ok(Value::ServerError(_))) {
                self.is_refused(SET_NAME, "`getWorkers` does not see the workers of this client");
            }
        }
        Ok(Dialed { address: address.clone(), connection, server, driver, progress })
    }

    /// Asks the server what it is, and refuses one that is too old.
    async fn greet(
        &self,
        connection: &mut MultiplexedConnection,
        address: &Address,
    ) -> std::result::Result<Server, RedisError> {
        let Some(server) = hello(connection).await? else {
            self.rights.met(address, None, self.topology().is_none());
            self.is_refused("HELLO", "what the server can do is found out by trying");
            return try_flags(connection).await;
        };
        self.rights.met(address, server.version, self.topology().is_none());
        if server.is_too_old() {
            let (major, minor, patch) = server.version.unwrap_or_default();
            let found = format!("{address:?} {major}.{minor}.{patch}");
            return Err(RedisError::from((ErrorKind::InvalidClientConfig, TOO_OLD, found)));
        }
        Ok(server)
    }
}

/// The path of the socket of a test that has no server.
#[cfg(any(test, feature = "testing"))]
pub(crate) const NOWHERE: &str = "/no/server/in/this/test";

/// The command by which a connection gets a name.
pub(super) const SET_NAME: &str = "CLIENT SETNAME";

/// Returns how every connection logs in.
fn login() -> redis::RedisConnectionInfo {
    redis::RedisConnectionInfo::default().set_lib_name("oxmq", env!("CARGO_PKG_VERSION"))
}

/// Adds the address to an error of connecting.
fn at_address(error: RedisError, address: &Address) -> RedisError {
    // This one becomes an error of its own.
    if error.to_string().contains(TOO_OLD) {
        return error;
    }
    no_connection_to(address, &error, tls_hint(address, &error))
}

/// The hint for those who have named a sentinel as the server.
const SENTINEL: &str =
    "this is a sentinel, which holds no jobs: connect to redis+sentinel://host:port/name-of-the-master";

/// The mark by which [`Dialer::greet`] tells a server that is too old; its address and its version follow.
pub(super) const TOO_OLD: &str = "the server is older than 6.2";
