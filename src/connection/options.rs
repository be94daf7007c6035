//! Where the servers are, and how to log in.

use std::fmt;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tls")]
use tokio_rustls::rustls::ClientConfig;

use super::servers::{Address, CLUSTER_PORT, NodeAddresses, SENTINEL_PORT, Servers, hosts};
use super::unreadable::no_tls;
use crate::error::{Error, Result};
use crate::options::{HOUR, SHORTEST, check_span};

/// How to connect: the servers, credentials and deadlines.
///
/// `Debug` never shows the password.
///
/// ```
/// # fn main() -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::ConnectOptions;
///
/// let options = ConnectOptions::from_url("redis://worker:secret@10.0.0.1:6379/2")?
///     .command_timeout(Duration::from_secs(10))
///     .wait_for_server(true);
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ConnectOptions {
    pub(crate) servers: Servers,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: i64,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) wait_for_server: bool,
    pub(crate) sentinel: SentinelLogin,
    pub(crate) node_addresses: Option<NodeAddresses>,
    #[cfg(feature = "tls")]
    pub(crate) tls: TlsOptions,
}

/// How to log in to sentinels.
#[derive(Clone, Default)]
pub(crate) struct SentinelLogin {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Whether sentinels are reached by TLS; `None` if as the servers.
    pub(crate) tls: Option<bool>,
}

/// The options of TLS. `Debug` is left out, since a private key is in it.
#[cfg(feature = "tls")]
#[derive(Clone, Default)]
pub(crate) struct TlsOptions {
    /// Root certificates, each in PEM; if empty, those of the operating system.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Our certificates and their key, in PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) server_name: Option<String>,
    /// Whether any certificate of a server is accepted.
    pub(crate) accepts_any: bool,
    /// Replaces all other options except `server_name`.
    pub(crate) config: Option<Arc<ClientConfig>>,
}

#[cfg(feature = "tls")]
impl TlsOptions {
    pub(super) fn is_set(&self) -> bool {
        !self.roots.is_empty() || self.identity.is_some() || self.server_name.is_some() || self.accepts_any
    }
}

impl ConnectOptions {
    /// Sets the address of one server; all other options have their defaults. If it turns out to be a node of a cluster,
    /// the client connects to the whole [cluster](Self::cluster).
    pub fn new(address: Address) -> Self {
        Self::to(Servers::One(address))
    }

    /// Finds the server through these sentinels, each written as `host` or `host:port` (default 26379): the master that
    /// they know under this name. Name all sentinels, so that it does not matter which of them is down.
    ///
    /// Each new connection asks all of them, and refuses a server that calls itself a replica. When they make another
    /// server the master, all connections to the old one are dropped at once: it would accept writes that are lost
    /// later. Calls under way then are answered as after any broken connection.
    ///
    /// The credentials and the database are for the servers; for the sentinels see
    /// [`sentinel_password`](Self::sentinel_password).
    ///
    /// ```
    /// # fn main() -> oxmq::Result<()> {
    /// use oxmq::ConnectOptions;
    ///
    /// let options = ConnectOptions::sentinel(["10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"], "mymaster")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if there is no host, one cannot be read, or the name is empty.
    pub fn sentinel(sentinels: impl IntoIterator<Item = impl AsRef<str>>, master: impl Into<String>) -> Result<Self> {
        let (hosts, master) = (hosts("sentinels", sentinels, SENTINEL_PORT)?, master.into());
        if master.is_empty() || master.chars().any(char::is_control) {
            return Err(Error::invalid("master", "it must be the name under which the sentinels know the master"));
        }
        Ok(Self::to(Servers::Sentinels { hosts, master, tls: false }))
    }

    /// Connects to the cluster of which these are some nodes, each written as `host` or `host:port` (default 6379). The
    /// other nodes are found through them; a few are enough, as long as one of them is up.
    ///
    /// The client keeps one connection to each node that it needs, and each worker one to wait on, to the node that has
    /// its queue. It follows slots that move and masters that are replaced.
    ///
    /// All keys of a queue must be in one slot, so the prefix or the name of each queue needs a hash tag: with the
    /// prefix `{bull}` all queues are in one slot, while queues named `{mails}` and `{images}` may be in different
    /// ones. Node must use the same names. A queue without a hash tag is refused before anything is sent. A flow is
    /// stored in one step, so all of it must be in one slot.
    ///
    /// ```
    /// # fn main() -> oxmq::Result<()> {
    /// use oxmq::ConnectOptions;
    ///
    /// let options = ConnectOptions::cluster(["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if there is no host, or one cannot be read.
    pub fn cluster(nodes: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        Ok(Self::to(Servers::Cluster { hosts: hosts("nodes", nodes, CLUSTER_PORT)?, tls: false }))
    }

    fn to(servers: Servers) -> Self {
        Self {
            servers,
            username: None,
            password: None,
            db: 0,
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
            wait_for_server: false,
            sentinel: SentinelLogin::default(),
            node_addresses: None,
            #[cfg(feature = "tls")]
            tls: TlsOptions::default(),
        }
    }

    /// Sets the user of the server's access control list. Default: the server's default user.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.username = Some(user.into());
        self
    }

    /// Sets the password. Default: none.
    pub fn password(mut self, secret: impl Into<String>) -> Self {
        self.password = Some(secret.into());
        self
    }

    /// Sets the number of the database. Default: 0; not negative.
    pub fn db(mut self, db: i64) -> Self {
        self.db = db;
        self
    }

    /// Sets how long one attempt to connect may take. Default: 5 s; 1 ms to an hour.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a command may wait for a connection, and how long the connection may be silent before the reply
    /// has arrived. Then the connection is replaced: one that has broken without notice looks like a slow server.
    /// Default: 5 s; 1 ms to an hour.
    ///
    /// A connection that moves bytes is not silent, so a large job may take as long as its network needs. For bytes
    /// that were sent and may still be under way, two seconds per megabyte are added.
    ///
    /// A call that may be repeated is repeated after a lost reply, for three more deadlines: adds of jobs with an id of
    /// their own, reads, settings. A call that must not be repeated fails with
    /// [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown). Workers repeat until they know the outcome.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// Sets whether connecting waits for a server that cannot be reached, without a limit. Default: false, which fails
    /// at once.
    ///
    /// Once connected, a client waits for a lost server without a limit either way.
    #[doc(alias = "skipWaitingForReady")]
    pub fn wait_for_server(mut self, wait: bool) -> Self {
        self.wait_for_server = wait;
        self
    }

    /// Maps the addresses that a cluster or sentinels name to those at which the servers can be reached, as needed
    /// behind NAT, with containers or through tunnels. The map is called with each host and port that they name; `None`
    /// uses them unchanged. Hosts that you have named yourself are not mapped. With TLS the certificate must be for the
    /// host that the map returns, so it can also turn addresses into the names on certificates. Default: none.
    /// ```
    /// # fn main() -> oxmq::Result<()> {
    /// use std::collections::HashMap;
    ///
    /// let known = HashMap::from([("10.0.0.1:6379", ("redis-1.example.org", 7001)), ("10.0.0.2:6379", ("redis-2.example.org", 7002))]);
    /// let options = oxmq::ConnectOptions::cluster(["redis-1.example.org:7001"])?.node_addresses(move |host, port| {
    ///     known.get(format!("{host}:{port}").as_str()).map(|(host, port)| ((*host).to_owned(), *port))
    /// });
    /// # Ok(()) }
    /// ```
    ///
    /// It is called in tasks of the client, so it must not block. ioredis: `natMap`.
    #[doc(alias = "natMap")]
    #[doc(alias = "NAT")]
    pub fn node_addresses(mut self, map: impl Fn(&str, u16) -> Option<(String, u16)> + Send + Sync + 'static) -> Self {
        self.node_addresses = Some(NodeAddresses::new(map));
        self
    }

    /// Sets the user for the sentinels. Default: their default user.
    pub fn sentinel_username(mut self, user: impl Into<String>) -> Self {
        self.sentinel.username = Some(user.into());
        self
    }

    /// Sets the password for the sentinels. Default: none. The servers' password is never sent to them.
    pub fn sentinel_password(mut self, secret: impl Into<String>) -> Self {
        self.sentinel.password = Some(secret.into());
        self
    }

    /// Sets whether the sentinels are reached by TLS. Default: as the servers. Needs the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn sentinel_tls(mut self, on: bool) -> Self {
        self.sentinel.tls = Some(on);
        self
    }

    /// Sets whether the servers that sentinels name, or the nodes of a cluster, are reached by TLS. Default: false. An
    /// [address](Self::new) says this itself. Needs the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, on: bool) -> Self {
        self.servers.set_tls(on);
        self
    }

    /// Sets `tls`; fails if it needs a feature that is missing.
    pub(super) fn set_tls(&mut self, on: bool) -> Result<()> {
        if on && !cfg!(feature = "tls") {
            return Err(no_tls());
        }
        self.servers.set_tls(on);
        Ok(())
    }

    /// Trusts the certificate authorities in this PEM text, instead of those of the operating system. May be called
    /// several times. Needs the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls_root(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots.push(pem.into());
        self
    }

    /// Sets the certificate (with its chain) and its key, both in PEM, for servers that ask clients for a certificate.
    /// Needs the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls_identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the name that the server's certificate must be for. Default: the host of the address. Needs the feature
    /// `tls`.
    #[cfg(feature = "tls")]
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Trusts every certificate, for any name: **anybody between the client and the server can read and change
    /// everything**, passwords and jobs. Only for tests; elsewhere give the server's own authority to
    /// [`tls_root`](Self::tls_root). Default: false. Needs the feature `tls`.
    #[cfg(feature = "tls")]
    #[doc(alias = "insecure")]
    #[doc(alias = "rejectUnauthorized")]
    pub fn tls_danger_accept_any_certificate(mut self, accept: bool) -> Self {
        self.tls.accepts_any = accept;
        self
    }

    /// Uses this rustls configuration for TLS, for example with another cryptography provider, roots of your own, or
    /// keys in hardware. It cannot be combined with [`tls_root`](Self::tls_root), [`tls_identity`](Self::tls_identity)
    /// or [`tls_danger_accept_any_certificate`](Self::tls_danger_accept_any_certificate), but with
    /// [`tls_server_name`](Self::tls_server_name). Default: none. Needs the feature `tls`, which also re-exports rustls
    /// as [`oxmq::rustls`](crate::rustls).
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.tls.config = Some(config.into());
        self
    }

    /// Returns whether any connection needs TLS.
    #[cfg(feature = "tls")]
    pub(super) fn uses_tls(&self) -> bool {
        match &self.servers {
            Servers::One(address) | Servers::ClusterOf(address) => matches!(address, Address::Tls(..)),
            Servers::Sentinels { tls, .. } => *tls || self.sentinel.tls == Some(true),
            Servers::Cluster { tls, .. } => *tls,
        }
    }

    /// Checks the ranges of the options.
    pub(crate) fn check(&self) -> Result<()> {
        check_span("connect_timeout", self.connect_timeout, SHORTEST..=HOUR)?;
        check_span("command_timeout", self.command_timeout, SHORTEST..=HOUR)?;
        #[cfg(feature = "tls")]
        if self.tls.config.is_some()
            && (!self.tls.roots.is_empty() || self.tls.identity.is_some() || self.tls.accepts_any)
        {
            return Err(Error::invalid(
                "tls_config",
                "it replaces the other `tls_…` options except `tls_server_name`: leave those out",
            ));
        }
        if self.db < 0 {
            return Err(Error::invalid("db", "it must not be negative"));
        }
        if self.db != 0 && matches!(self.servers, Servers::Cluster { .. } | Servers::ClusterOf(_)) {
            return Err(Error::invalid("db", "a cluster has only the database 0"));
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("servers", &self.servers)
            .field("username", &self.username.as_ref().map(|_| "…"))
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("db", &self.db)
            .field("connect_timeout", &self.connect_timeout)
            .field("command_timeout", &self.command_timeout)
            .field("wait_for_server", &self.wait_for_server)
            .finish()
    }
}
