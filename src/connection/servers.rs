//! The servers of a client: one, the master that sentinels name, or the masters of a cluster.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Where a server listens.
///
/// If you have a URL, use [`ConnectOptions::from_url`](crate::client::ConnectOptions::from_url) instead.
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
            Self::Tcp(host, port) => write!(f, "redis://{}:{port}", in_brackets(host)),
            Self::Tls(host, port) => write!(f, "rediss://{}:{port}", in_brackets(host)),
            Self::Unix(path) => write!(f, "redis+unix://{}", path.display()),
        }
    }
}

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
    pub(super) fn parse(option: &'static str, text: &str, default_port: u16) -> Result<Self> {
        let invalid = || Error::invalid(option, "each must be written as host or host:port");
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

/// Reads a list of hosts, which must not be empty; `option` names it in errors.
pub(super) fn hosts(
    option: &'static str,
    list: impl IntoIterator<Item = impl AsRef<str>>,
    default_port: u16,
) -> Result<Vec<Host>> {
    let read = |host: &str| Host::parse(option, host, default_port);
    let hosts = list.into_iter().map(|host| read(host.as_ref())).collect::<Result<Vec<_>>>()?;
    if hosts.is_empty() {
        return Err(Error::invalid(option, "there must be one at least"));
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
        write!(f, "{comma}{}:{port}", in_brackets(name))?;
    }
    Ok(())
}

/// Returns a host as it is written before a port.
fn in_brackets(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

/// The default port of sentinels.
pub(super) const SENTINEL_PORT: u16 = 26379;

/// The default port of cluster nodes.
pub(super) const CLUSTER_PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_a_port() {
        let read = |text: &str| Host::parse("hosts", text, 26379).map(|host| (host.name, host.port));
        assert_eq!(read("a.example").unwrap(), ("a.example".to_owned(), 26379));
        assert_eq!(read("10.0.0.1:7").unwrap(), ("10.0.0.1".to_owned(), 7));
        assert_eq!(read("[::1]:7").unwrap(), ("::1".to_owned(), 7));
        assert_eq!((read("[::1]").unwrap(), read("::1").unwrap().1), (("::1".to_owned(), 26379), 26379));
        for bad in ["", ":7", "a:", "a:x", "a:0", "a:70000", "[::1", "[::1]7", "a b", "redis://a", "a/b"] {
            assert!(Host::parse("hosts", bad, 1).is_err(), "{bad}");
        }
        assert!(hosts("hosts", [] as [&str; 0], 1).is_err());
    }

    #[test]
    fn an_address_is_shown_as_it_is_written_in_a_url() {
        assert_eq!(format!("{:?}", address("::1", 7, false)), "redis://[::1]:7");
        assert_eq!(format!("{:?}", address("h", 7, true)), "rediss://h:7");
        let cluster = Servers::Cluster { hosts: hosts("nodes", ["::1", "h"], 7).unwrap(), tls: true };
        assert_eq!(format!("{cluster:?}"), "rediss+cluster://[::1]:7,h:7");
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
}
