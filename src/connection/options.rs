//! Where the server is and how to be let in.

use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tls")]
use tokio_rustls::rustls::ClientConfig;

use super::query;
use super::servers::{CLUSTER_PORT, NodeAddresses, SENTINEL_PORT, Servers, hosts, read_url};
use crate::error::{Error, Result};
use crate::options::{HOUR, SHORTEST, check_span};

/// Where a server listens.
///
/// Whoever has a URL needs none: see [`ConnectOptions::from_url`].
///
/// ```
/// use oxmq::ConnectOptions;
/// use oxmq::client::Address;
///
/// let local = ConnectOptions::new(Address::Unix("/run/redis.sock".into()));
/// let other = ConnectOptions::new(Address::Tcp("10.0.0.1".into(), 6379)).db(2);
/// # let _ = (local, other);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// Host and port, encrypted. Needs the feature `tls`.
    Tls(String, u16),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "redis://{host}:{port}"),
            Self::Tls(host, port) => write!(f, "rediss://{host}:{port}"),
            Self::Unix(path) => write!(f, "redis+unix://{}", path.display()),
        }
    }
}

/// How to connect: which servers, credentials, deadlines.
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

/// How sentinels let us in.
#[derive(Clone, Default)]
pub(crate) struct SentinelLogin {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// As the servers, if it is not said.
    pub(crate) tls: Option<bool>,
}

/// What is special about TLS; `Debug` is left out, since a key is in it.
#[cfg(feature = "tls")]
#[derive(Clone, Default)]
pub(crate) struct TlsOptions {
    /// PEM each; those of the system if there are none.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Certificates and key, PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) server_name: Option<String>,
    /// Whether any certificate will do.
    pub(crate) accepts_any: bool,
    /// In place of all but the name.
    pub(crate) config: Option<Arc<ClientConfig>>,
}

#[cfg(feature = "tls")]
impl TlsOptions {
    fn is_set(&self) -> bool {
        !self.roots.is_empty() || self.identity.is_some() || self.server_name.is_some() || self.accepts_any
    }
}

impl ConnectOptions {
    /// Names a server by its address, with the defaults of every other option.
    pub fn new(address: Address) -> Self {
        Self::to(Servers::One(address))
    }

    /// Finds the server by these sentinels, each written as `host` or `host:port` (26379 if it is left out): the master
    /// that they know under this name. All sentinels should be named, so that one that is away is not missed.
    ///
    /// Each new connection asks them anew, as many as there are, and takes no server that calls itself a replica. When
    /// they make another server the master, all connections to the old one are dropped at once: it goes on taking writes
    /// that nobody will see. What was on its way then is answered as after any broken connection.
    ///
    /// Credentials and the database are those of the servers; for the sentinels see
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
        let (hosts, master) = (hosts(sentinels, SENTINEL_PORT)?, master.into());
        if master.is_empty() || master.chars().any(char::is_control) {
            return Err(Error::invalid("master", "it must be the name under which the sentinels know the master"));
        }
        Ok(Self::to(Servers::Sentinels { hosts, master, tls: false }))
    }

    /// Works on the cluster of which these are some nodes, each written as `host` or `host:port` (6379 if it is left out).
    /// The others are asked for; a few are enough, as long as one of them is there.
    ///
    /// The client keeps one connection to each node that it needs, and each worker one on which it waits, to the node that
    /// has its queue. It follows slots that move and masters that are replaced.
    ///
    /// All keys of a queue must be in one slot, so the prefix or the name of each queue needs a hash tag: the prefix
    /// `{bull}` keeps all queues in one slot, and queues named `{mails}` and `{images}` are each by themselves. Node must
    /// use the same. A queue without one is refused before anything is sent. A flow is stored in one step, so all of it
    /// must be in one slot.
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
        Ok(Self::to(Servers::Cluster { hosts: hosts(nodes, CLUSTER_PORT)?, tls: false }))
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

    /// Reads a URL:
    ///
    /// - `redis://[user][:password@]host[:port][/db]`, `rediss://…` for TLS,
    /// - `redis+unix:///path/to/socket` for a unix socket,
    /// - `redis+sentinel://[user][:password@]host[:port],host[:port]…/master[/db]` for the master that these
    ///   [sentinels](Self::sentinel) know, or `rediss+sentinel://…`,
    /// - `redis+cluster://[user][:password@]host[:port],host[:port]…` for a [cluster](Self::cluster), or
    ///   `rediss+cluster://…`.
    ///
    /// Behind it may stand `?name=value&…`, in any of these spellings:
    ///
    /// | parameter | means |
    /// | --- | --- |
    /// | `db`, `database`; `username`, `user`; `password`, `pass` | as within the URL |
    /// | `protocol` | 2 or 3; oxmq does the same with both |
    /// | `connect_timeout`, `dial_timeout`, `socket_connect_timeout`; `command_timeout`, `socket_timeout` | seconds, or a number with `ms` or `s` behind it |
    /// | `connectTimeout`, `commandTimeout` | milliseconds |
    /// | `ca`, `cacert`, `tls_root`, `ssl_ca_certs` | the PEM file of a [root](Self::tls_root) |
    /// | `cert`, `tls_cert`, `ssl_certfile`; `key`, `tls_key`, `ssl_keyfile` | the PEM files of our [certificate](Self::tls_identity) and its key |
    /// | `sni`, `servername`, `server_name`, `tls_server_name` | the [name](Self::tls_server_name) on the server's certificate |
    /// | `tls_danger_accept_any_certificate` | [`true`](Self::tls_danger_accept_any_certificate) |
    /// | `sentinel_username`, `sentinel_password`, `sentinel_tls` | what is different at the sentinels |
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the URL cannot be read, a file cannot be, or a parameter is not known, which is then
    /// named. What other clients call `insecure`, or spell alike, is refused. The text never repeats the URL, which may
    /// hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        use redis::{ConnectionAddr, IntoConnectionInfo};
        if let Some(options) = read_url(url) {
            return options;
        }
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        match scheme {
            "redis" | "redis+unix" | "unix" | "valkey" | "valkey+unix" => {}
            "rediss" | "valkeys" if cfg!(feature = "tls") => {}
            "rediss" | "valkeys" => return Err(no_tls()),
            _ => {
                return Err(Error::invalid(
                    "url",
                    "it must begin with redis:// (as in redis://127.0.0.1:6379), rediss:// for TLS, redis+unix://, \
                     redis+sentinel:// or redis+cluster://",
                ));
            }
        }
        let (plain, query) = query::cut(url)?;
        let info = plain
            .into_connection_info()
            .map_err(|error| Error::invalid("url", error.detail().unwrap_or("it cannot be read").to_owned()))?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::TcpTls { host, port, .. } => Address::Tls(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(Error::invalid("url", "this kind of address is not supported")),
        };
        if matches!(address, Address::Tls(..)) && !cfg!(feature = "tls") {
            return Err(Error::invalid("url", "TLS needs the feature `tls` of this crate"));
        }
        let redis = info.redis_settings();
        let mut options = Self::new(address).db(redis.db());
        options.username = redis.username().map(ToOwned::to_owned);
        options.password = redis.password().map(ToOwned::to_owned);
        let options =
            query.into_iter().try_fold(options, |options, (name, value)| query::apply(options, name, value))?;
        #[cfg(feature = "tls")]
        if options.tls.is_set() && !options.uses_tls() {
            return Err(Error::invalid("url", "certificates are for rediss:// alone"));
        }
        Ok(options)
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

    /// Sets how long a command may wait for a connection, and how long the connection may be silent before the reply has
    /// come. Then it is replaced: a socket that carries nothing looks like a slow server. Default: 5 s;
    /// 1 ms to an hour.
    ///
    /// A connection that moves bytes is not silent, so a large job may take as long as its link needs. To bytes that
    /// were sent and may be on their way unseen, two seconds are allowed for each megabyte.
    ///
    /// What may be repeated is repeated after a lost reply, for three times as long again: adds of jobs with an id of
    /// their own, reads, settings. What must not be repeated answers
    /// [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown). Workers repeat until they know.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// Sets whether connecting waits for a server that cannot be reached, for ever. Default: false, an error at once.
    ///
    /// Once connected, a lost server is awaited for ever either way.
    pub fn wait_for_server(mut self, wait: bool) -> Self {
        self.wait_for_server = wait;
        self
    }

    /// Says where servers are reached that a cluster or sentinels name by an address of their own network, as behind NAT, in
    /// containers or through tunnels: the map is asked for each host and port that they give, and `None` takes them as they are.
    /// The hosts that you have named yourself are not asked for. With TLS the certificate must be for the host that the map
    /// gives, so it also turns addresses into the names that are on certificates. Default: none.
    ///
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

    /// Sets the user under which the sentinels know us. Default: their default user.
    pub fn sentinel_username(mut self, user: impl Into<String>) -> Self {
        self.sentinel.username = Some(user.into());
        self
    }

    /// Sets the password for the sentinels. Default: none. That of the servers is never sent to them.
    pub fn sentinel_password(mut self, secret: impl Into<String>) -> Self {
        self.sentinel.password = Some(secret.into());
        self
    }

    /// Sets whether the sentinels are reached by TLS. Default: as the servers. Feature `tls`.
    #[cfg(feature = "tls")]
    pub fn sentinel_tls(mut self, on: bool) -> Self {
        self.sentinel.tls = Some(on);
        self
    }

    /// Sets whether the servers that sentinels name, or the nodes of a cluster, are reached by TLS. Default: false. Where an
    /// [address](Self::new) is given, that says it. Feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, on: bool) -> Self {
        self.servers.set_tls(on);
        self
    }

    /// As `tls`, where the feature may be missing.
    pub(super) fn set_tls(&mut self, on: bool) -> Result<()> {
        if on && !cfg!(feature = "tls") {
            return Err(no_tls());
        }
        self.servers.set_tls(on);
        Ok(())
    }

    /// Trusts the certificate authorities in this PEM text, in place of those of the operating system. May be given
    /// several times. Feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls_root(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots.push(pem.into());
        self
    }

    /// Shows the server this certificate (with those that it is signed by) and its key, both PEM: for servers that ask
    /// their clients for one. Feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls_identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the name that the server's certificate must be for. Default: the host of the address. Feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Trusts whatever certificate a server shows, for whatever name: **anybody between us and the server can read and
    /// change everything**, passwords and jobs. For a test bench; elsewhere give the server's own authority to
    /// [`tls_root`](Self::tls_root). Default: false. Feature `tls`.
    #[cfg(feature = "tls")]
    #[doc(alias = "insecure")]
    #[doc(alias = "rejectUnauthorized")]
    pub fn tls_danger_accept_any_certificate(mut self, accept: bool) -> Self {
        self.tls.accepts_any = accept;
        self
    }

    /// Sets TLS up as this configuration of rustls says: with another provider of cryptography, roots of one's own
    /// making, or keys in hardware. [`tls_root`](Self::tls_root), [`tls_identity`](Self::tls_identity) and
    /// [`tls_danger_accept_any_certificate`](Self::tls_danger_accept_any_certificate) have no place beside it;
    /// [`tls_server_name`](Self::tls_server_name) has. Default: none. Feature `tls`, which also re-exports rustls, as
    /// [`oxmq::rustls`](crate::rustls).
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.tls.config = Some(config.into());
        self
    }

    /// Whether any connection needs TLS.
    #[cfg(feature = "tls")]
    pub(super) fn uses_tls(&self) -> bool {
        match &self.servers {
            Servers::One(address) => matches!(address, Address::Tls(..)),
            Servers::Sentinels { tls, .. } => *tls || self.sentinel.tls == Some(true),
            Servers::Cluster { tls, .. } => *tls,
        }
    }

    /// Tests the ranges.
    pub(crate) fn check(&self) -> Result<()> {
        check_span("connect_timeout", self.connect_timeout, SHORTEST..=HOUR)?;
        check_span("command_timeout", self.command_timeout, SHORTEST..=HOUR)?;
        #[cfg(feature = "tls")]
        if self.tls.config.is_some()
            && (!self.tls.roots.is_empty() || self.tls.identity.is_some() || self.tls.accepts_any)
        {
            return Err(Error::invalid(
                "tls_config",
                "it says itself whom to trust and what to show: leave the other `tls_…` options out, but for the name",
            ));
        }
        if self.db < 0 {
            return Err(Error::invalid("db", "it must not be negative"));
        }
        if self.db != 0 && matches!(self.servers, Servers::Cluster { .. }) {
            return Err(Error::invalid("db", "a cluster has no other database than 0"));
        }
        Ok(())
    }
}

pub(super) fn no_tls() -> Error {
    Error::invalid("url", "for TLS build with the feature `tls` of this crate: features = [\"tls\"]")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_secrets_stay_inside() {
        let options = ConnectOptions::from_url("redis://joe:s3cret@example.org:7000/3").unwrap();
        assert_eq!(options.servers, Servers::One(Address::Tcp("example.org".into(), 7000)));
        assert_eq!((options.db, options.password.as_deref()), (3, Some("s3cret")));
        let shown = format!("{options:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("joe"), "{shown}");
        let unix = ConnectOptions::from_url("redis+unix:///run/redis.sock?db=2").unwrap();
        assert_eq!((unix.servers, unix.db), (Servers::One(Address::Unix("/run/redis.sock".into())), 2));
    }

    #[test]
    fn a_bad_url_is_an_error_that_does_not_repeat_it() {
        let error = ConnectOptions::from_url("http://joe:s3cret@host/").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
        for url in ["127.0.0.1:6379", "localhost", ""] {
            let error = ConnectOptions::from_url(url).unwrap_err().to_string();
            assert!(error.contains("it must begin with redis://"), "{error}");
        }
        match ConnectOptions::from_url("rediss://host") {
            Ok(options) => assert!(cfg!(feature = "tls") && matches!(options.servers, Servers::One(Address::Tls(..)))),
            Err(error) => assert!(error.to_string().contains("features = [\"tls\"]"), "{error}"),
        }
    }
}
