//! The servers of a client: one, the master that sentinels name, or the masters of a cluster.

use std::fmt;
use std::sync::Arc;

use super::options::{Address, ConnectOptions, no_tls};
use super::query::{self, boolean, decode, number};
use crate::error::{Error, Result};

/// How a client finds its server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Servers {
    One(Address),
    /// The master of this name, which these sentinels know.
    Sentinels {
        hosts: Vec<Host>,
        master: String,
        /// Whether the master is reached by TLS.
        tls: bool,
    },
    /// The cluster of which these are some nodes.
    Cluster {
        hosts: Vec<Host>,
        tls: bool,
    },
    /// The cluster of a server that was named as if it were alone.
    ClusterOf(Address),
}

impl Servers {
    /// Sets whether servers that others name are reached by TLS; an address says this itself.
    pub(super) fn set_tls(&mut self, on: bool) {
        match self {
            Self::One(_) | Self::ClusterOf(_) => {}
            Self::Sentinels { tls, .. } | Self::Cluster { tls, .. } => *tls = on,
        }
    }
}

/// A host and its port.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Host {
    /// Reads `host`, `host:port` or `[v6]:port`.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self> {
        let invalid = || Error::invalid("hosts", "each must be written as host or host:port");
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, port)) => (name, Some(port.strip_prefix(':').ok_or_else(invalid)?)),
            // An IPv6 address without brackets has no port.
            None if text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| invalid()))?;
        if name.is_empty()
            || port == 0
            || name.chars().any(|c| c.is_control() || c.is_whitespace() || "/[]".contains(c))
        {
            return Err(invalid());
        }
        Ok(Self { name: name.to_owned(), port })
    }

    pub(super) fn address(&self, tls: bool) -> Address {
        address(&self.name, self.port, tls)
    }
}

/// How servers that others name are reached.
#[derive(Clone, Default)]
pub(super) struct Naming {
    pub(super) tls: bool,
    pub(super) map: Option<NodeAddresses>,
}

/// Maps the address that a server announces to the one at which it is reached.
#[derive(Clone)]
pub(crate) struct NodeAddresses(Arc<AddressMap>);

type AddressMap = dyn Fn(&str, u16) -> Option<(String, u16)> + Send + Sync;

impl NodeAddresses {
    pub(super) fn new(map: impl Fn(&str, u16) -> Option<(String, u16)> + Send + Sync + 'static) -> Self {
        Self(Arc::new(map))
    }

    /// Returns where the server is reached. A map that panics returns nothing, since the task that calls it is not the
    /// user's.
    fn find(&self, host: &str, port: u16) -> Option<(String, u16)> {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.0)(host, port)));
        found.unwrap_or_else(|_| {
            tracing::error!(target: "oxmq::connection", host, port, "`node_addresses` panicked; the address is used unchanged");
            None
        })
    }
}

impl Naming {
    /// Returns the address of a server that another one has named.
    pub(super) fn address(&self, host: &str, port: u16) -> Address {
        match self.map.as_ref().and_then(|map| map.find(host, port)) {
            Some((host, port)) => address(&host, port, self.tls),
            None => address(host, port, self.tls),
        }
    }
}

pub(super) fn address(host: &str, port: u16, tls: bool) -> Address {
    if tls { Address::Tls(host.to_owned(), port) } else { Address::Tcp(host.to_owned(), port) }
}

/// Reads a list of hosts, which must not be empty.
pub(super) fn hosts(list: impl IntoIterator<Item = impl AsRef<str>>, default_port: u16) -> Result<Vec<Host>> {
    let hosts = list.into_iter().map(|host| Host::parse(host.as_ref(), default_port)).collect::<Result<Vec<_>>>()?;
    if hosts.is_empty() {
        return Err(Error::invalid("hosts", "there must be one at least"));
    }
    Ok(hosts)
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Sentinels { hosts, master, tls } => {
                write!(f, "redis{}+sentinel://", if *tls { "s" } else { "" })?;
                list(f, hosts)?;
                write!(f, "/{master}")
            }
            Self::Cluster { hosts, tls } => {
                write!(f, "redis{}+cluster://", if *tls { "s" } else { "" })?;
                list(f, hosts)
            }
            Self::ClusterOf(node) => write!(f, "the cluster of {node:?}"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, hosts: &[Host]) -> fmt::Result {
    for (index, Host { name, port }) in hosts.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        if name.contains(':') {
            write!(f, "{comma}[{name}]:{port}")?;
        } else {
            write!(f, "{comma}{name}:{port}")?;
        }
    }
    Ok(())
}

/// The default port of sentinels.
pub(super) const SENTINEL_PORT: u16 = 26379;

/// The default port of cluster nodes.
pub(super) const CLUSTER_PORT: u16 = 6379;

/// The parts of a URL that names several hosts.
struct Parts<'a> {
    tls: bool,
    username: Option<String>,
    password: Option<String>,
    hosts: Vec<&'a str>,
    path: Vec<String>,
    query: Vec<(&'a str, String)>,
}

/// Reads the URL of sentinels or of a cluster; `None` if it is another one.
pub(super) fn read_url(url: &str) -> Option<Result<ConnectOptions>> {
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, kind) = scheme.split_once(['+', '-'])?;
    let tls = match scheme {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return None,
    };
    match kind {
        "sentinel" => Some(split(rest, tls).and_then(sentinel)),
        "cluster" => Some(split(rest, tls).and_then(cluster)),
        _ => None,
    }
}

/// Splits `[user][:password@]host[:port],…[/path…][?query]`.
fn split(rest: &str, tls: bool) -> Result<Parts<'_>> {
    let (rest, query) = query::cut(rest)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = login.split_once(':').unwrap_or((login, ""));
    let given = |text: &str| (!text.is_empty()).then(|| decode(text)).transpose();
    Ok(Parts {
        tls,
        username: given(username)?,
        password: given(password)?,
        hosts: hosts.split(',').collect(),
        path: path.split('/').filter(|part| !part.is_empty()).map(decode).collect::<Result<_>>()?,
        query,
    })
}

fn sentinel(parts: Parts<'_>) -> Result<ConnectOptions> {
    let Parts { tls, username, password, hosts, path, query } = parts;
    let (master, db) = match &path[..] {
        [master] => (master, 0),
        [master, db] => (master, number(db)?),
        _ => {
            return Err(Error::invalid(
                "url",
                "the name of the master must follow the hosts: …/mymaster or …/mymaster/0",
            ));
        }
    };
    let mut options = ConnectOptions::sentinel(hosts, master)?.db(db);
    options.set_tls(tls)?;
    (options.username, options.password) = (username, password);
    for (name, value) in query {
        match name {
            "sentinel_username" => options.sentinel.username = Some(value),
            "sentinel_password" => options.sentinel.password = Some(value),
            "sentinel_tls" => {
                let on = boolean(&value)?;
                if on && !cfg!(feature = "tls") {
                    return Err(no_tls());
                }
                options.sentinel.tls = Some(on);
            }
            _ => options = query::apply(options, name, value)?,
        }
    }
    Ok(options)
}

fn cluster(parts: Parts<'_>) -> Result<ConnectOptions> {
    let Parts { tls, username, password, hosts, path, query } = parts;
    let db = match &path[..] {
        [] => 0,
        [db] => number(db)?,
        _ => return Err(Error::invalid("url", "only /0 may follow the hosts of a cluster")),
    };
    let mut options = ConnectOptions::cluster(hosts)?.db(db);
    options.set_tls(tls)?;
    (options.username, options.password) = (username, password);
    for (name, value) in query {
        options = query::apply(options, name, value)?;
    }
    options.check()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_a_port() {
        let read = |text: &str| Host::parse(text, 26379).map(|host| (host.name, host.port));
        assert_eq!(read("a.example").unwrap(), ("a.example".to_owned(), 26379));
        assert_eq!(read("10.0.0.1:7").unwrap(), ("10.0.0.1".to_owned(), 7));
        assert_eq!(read("[::1]:7").unwrap(), ("::1".to_owned(), 7));
        assert_eq!((read("[::1]").unwrap(), read("::1").unwrap().1), (("::1".to_owned(), 26379), 26379));
        for bad in ["", ":7", "a:", "a:x", "a:0", "a:70000", "[::1", "[::1]7", "a b", "redis://a", "a/b"] {
            assert!(Host::parse(bad, 1).is_err(), "{bad}");
        }
        assert!(hosts([] as [&str; 0], 1).is_err());
    }

    #[test]
    fn a_server_is_reached_where_the_map_says_and_otherwise_where_it_says_itself() {
        let map = NodeAddresses::new(|host, port| match host {
            "10.0.0.1" => Some(("nat.example".to_owned(), port + 1)),
            "bad" => panic!("a map of the user's"),
            _ => None,
        });
        let naming = Naming { tls: true, map: Some(map) };
        let tls = |host: &str, port| Address::Tls(host.to_owned(), port);
        assert_eq!(naming.address("10.0.0.1", 7000), tls("nat.example", 7001));
        assert_eq!(naming.address("10.0.0.2", 7000), tls("10.0.0.2", 7000));
        assert_eq!(naming.address("bad", 7000), tls("bad", 7000));
        assert_eq!(Naming::default().address("10.0.0.1", 1), Address::Tcp("10.0.0.1".to_owned(), 1));
    }

    #[test]
    fn the_url_of_sentinels_is_read_and_its_secrets_stay_inside() {
        let url = "redis+sentinel://joe:s%2Fcr@h1,h2:7/my%20master/3?sentinel_username=eve&sentinel_password=p%3Dw";
        let options = ConnectOptions::from_url(url).unwrap();
        assert_eq!((options.username.as_deref(), options.password.as_deref()), (Some("joe"), Some("s/cr")));
        let sentinel = &options.sentinel;
        assert_eq!((sentinel.username.as_deref(), sentinel.password.as_deref()), (Some("eve"), Some("p=w")));
        assert_eq!((options.db, sentinel.tls), (3, None));
        let shown = format!("{options:?}");
        assert!(shown.contains("redis+sentinel://h1:26379,h2:7/my master"), "{shown}");
        assert!(!["joe", "s/cr", "eve", "p=w"].iter().any(|secret| shown.contains(secret)), "{shown}");
        assert_eq!(ConnectOptions::from_url("redis-sentinel://h1/m").unwrap().db, 0);
    }

    #[test]
    fn the_url_of_a_cluster_is_read() {
        let options = ConnectOptions::from_url("redis+cluster://joe:s3cr@h1,[::1]:7/0").unwrap();
        assert_eq!((options.username.as_deref(), options.password.as_deref()), (Some("joe"), Some("s3cr")));
        let shown = format!("{options:?}");
        assert!(shown.contains("redis+cluster://h1:6379,[::1]:7") && !shown.contains("s3cr"), "{shown}");
        assert!(ConnectOptions::from_url("redis-cluster://h1").is_ok());
        for bad in ["redis+cluster://", "redis+cluster://h1/1", "redis+cluster://h1/0/0", "redis+cluster://h1?a=b"] {
            assert!(ConnectOptions::from_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_url_of_sentinels_is_refused_without_its_secrets() {
        for bad in [
            "redis+sentinel://:s3cret@h1",
            "redis+sentinel://:s3cret@/m",
            "redis+sentinel://:s3cret@h1,,h2/m",
            "redis+sentinel://:s3cret@h1/m/x",
            "redis+sentinel://:s3cret@h1/m/0/1",
            "redis+sentinel://:s3cret@h1/m?s3cret=1",
            "redis+sentinel://:s3cret%@h1/m",
            "redis+sentinel://:s3cret@h1/m?sentinel_tls=s3cret",
        ] {
            let error = ConnectOptions::from_url(bad).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, Error::InvalidOption { .. }) && !shown.contains("s3cret"), "{bad}: {shown}");
        }
        match ConnectOptions::from_url("rediss+sentinel://h1/m") {
            Ok(options) => {
                assert!(cfg!(feature = "tls") && matches!(options.servers, Servers::Sentinels { tls: true, .. }))
            }
            Err(error) => assert!(error.to_string().contains("features = [\"tls\"]"), "{error}"),
        }
    }
}
