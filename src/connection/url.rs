//! Reads the options from a URL, of one server or of several.

use std::borrow::Cow;

use super::options::ConnectOptions;
use super::query::{self, boolean, decode, number};
use super::servers::Address;
use super::unreadable::{no_tls, several, unreadable};
use crate::error::{Error, Result};

impl ConnectOptions {
    /// Reads a URL:
    ///
    /// - `redis://[user][:password@]host[:port][/db]`, `rediss://…` for TLS,
    /// - `redis+unix://[user][:password@]/path/to/socket` for a unix socket,
    /// - `redis+sentinel://[user][:password@]host[:port],host[:port]…/master[/db]` for the master that these
    ///   [sentinels](Self::sentinel) know, or `rediss+sentinel://…`,
    /// - `redis+cluster://[user][:password@]host[:port],host[:port]…` for a [cluster](Self::cluster), or
    ///   `rediss+cluster://…`.
    ///
    /// If the one server of the first two forms is a node of a cluster, the client connects to the whole cluster, as if
    /// it had been named by `redis+cluster://`.
    ///
    /// It may be followed by `?name=value&…`, in any of these spellings:
    ///
    /// | parameter | means |
    /// | --- | --- |
    /// | `db`, `database`; `username`, `user`; `password`, `pass` | as within the URL |
    /// | `protocol` | 2 or 3; oxmq does the same with both |
    /// | `family` | 0, 4 or 6; oxmq tries all addresses of a host |
    /// | `connect_timeout`, `dial_timeout`, `socket_connect_timeout`; `command_timeout`, `socket_timeout`, `read_timeout`, `timeout` | seconds, or a number with `us`, `ms`, `s`, `m` or `h` behind it |
    /// | `connectTimeout`; `commandTimeout`, `socketTimeout` | milliseconds, or a number with a unit |
    /// | `tls`, `ssl` | whether the URL begins with `rediss://`, which it must |
    /// | `ca`, `cacert`, `tls_root`, `ssl_ca_certs` | the PEM file of a [root](Self::tls_root) |
    /// | `cert`, `tls_cert`, `ssl_certfile`; `key`, `tls_key`, `ssl_keyfile` | the PEM files of our [certificate](Self::tls_identity) and its key |
    /// | `sni`, `servername`, `server_name`, `tls_server_name` | the [name](Self::tls_server_name) on the server's certificate |
    /// | `tls_danger_accept_any_certificate` | [`true`](Self::tls_danger_accept_any_certificate) |
    /// | `sentinel_username`, `sentinel_password`, `sentinel_tls` | what is different at the sentinels |
    /// | `sentinelMasterId`, `master_name` | the name of the master, if it does not follow the hosts; it may also follow a `#` |
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the URL or a file cannot be read, or a parameter is unknown, which is then named.
    /// Parameters that other clients call `insecure` or similar are refused. The text never repeats the URL, which may
    /// hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        use redis::{ConnectionAddr, IntoConnectionInfo};
        if let Some(options) = several_hosts(url) {
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
        let (login, plain) = login_of_socket(plain);
        let plain = &*plain;
        if let Some(error) = several(plain) {
            return Err(error);
        }
        let info = plain.into_connection_info().map_err(|_| unreadable(plain))?;
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
        if let Some(login) = login {
            (options.username, options.password) = read_login(login)?;
        }
        let options =
            query.into_iter().try_fold(options, |options, (name, value)| query::apply(options, name, value))?;
        #[cfg(feature = "tls")]
        if options.tls.is_set() && !options.uses_tls() {
            return Err(Error::invalid("url", "certificates need a rediss:// address"));
        }
        Ok(options)
    }
}

/// Cuts the login out of the URL of a socket: `unix://user:password@/path`, as some other clients write it.
fn login_of_socket(url: &str) -> (Option<&str>, Cow<'_, str>) {
    let login = || {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| scheme.ends_with("unix"))?;
        let (login, path) = rest.split_once("@/").filter(|(login, _)| !login.contains('/'))?;
        Some((login, format!("{scheme}:///{path}")))
    };
    match login() {
        Some((login, rest)) => (Some(login), rest.into()),
        None => (None, url.into()),
    }
}

/// Reads `[user][:password]`.
fn read_login(login: &str) -> Result<(Option<String>, Option<String>)> {
    let (username, password) = login.split_once(':').unwrap_or((login, ""));
    let given = |text: &str| (!text.is_empty()).then(|| decode(text)).transpose();
    Ok((given(username)?, given(password)?))
}

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
fn several_hosts(url: &str) -> Option<Result<ConnectOptions>> {
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, kind) = scheme.split_once(['+', '-'])?;
    let tls = match scheme {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return None,
    };
    match kind {
        "sentinel" => {
            let (rest, master) = master_behind(rest);
            Some(split(rest, tls).and_then(|parts| sentinel(parts, master)))
        }
        "cluster" => Some(split(rest, tls).and_then(cluster)),
        _ => None,
    }
}

/// Splits `[user][:password@]host[:port],…[/path…][?query]`.
fn split(rest: &str, tls: bool) -> Result<Parts<'_>> {
    let (rest, query) = query::cut(rest)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = read_login(login)?;
    Ok(Parts {
        tls,
        username,
        password,
        hosts: hosts.split(',').collect(),
        path: path.split('/').filter(|part| !part.is_empty()).map(decode).collect::<Result<_>>()?,
        query,
    })
}

/// Cuts the name of the master off the end of a URL, where some clients write it: `host:port,host:port/0#mymaster`.
fn master_behind(rest: &str) -> (&str, Option<&str>) {
    // Elsewhere a `#` is part of a password that should have been encoded.
    match rest
        .rsplit_once('#')
        .filter(|(_, name)| !name.is_empty() && *name != "insecure" && !name.contains(['@', '/', '?']))
    {
        Some((rest, master)) => (rest, Some(master)),
        None => (rest, None),
    }
}

/// Names the URL in an error about hosts that it contains.
fn in_url(error: Error) -> Error {
    match error {
        Error::InvalidOption { option: "sentinels" | "nodes", problem } => {
            Error::invalid("url", format!("its hosts: {problem}"))
        }
        other => other,
    }
}

fn sentinel(parts: Parts<'_>, behind: Option<&str>) -> Result<ConnectOptions> {
    let Parts { tls, username, password, hosts, path, query } = parts;
    let named = |(name, _): &&(&str, String)| matches!(*name, "sentinelMasterId" | "master_name");
    let elsewhere = match behind {
        Some(master) => Some(decode(master)?),
        None => query.iter().find(named).map(|(_, master)| master.clone()),
    };
    let (master, db) = match (&path[..], elsewhere) {
        ([master], None) => (master.clone(), 0),
        ([master, db], None) => (master.clone(), number(db)?),
        ([], Some(master)) => (master, 0),
        ([db], Some(master)) => (master, number(db)?),
        _ => {
            return Err(Error::invalid(
                "url",
                "the name of the master must follow the hosts: …/mymaster or …/mymaster/0",
            ));
        }
    };
    let mut options = ConnectOptions::sentinel(hosts, master).map_err(in_url)?.db(db);
    options.set_tls(tls)?;
    (options.username, options.password) = (username, password);
    for (name, value) in query {
        match name {
            "sentinelMasterId" | "master_name" => {}
            "sentinel_username" | "sentinelUsername" => options.sentinel.username = Some(value),
            "sentinel_password" | "sentinelPassword" => options.sentinel.password = Some(value),
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
    let mut options = ConnectOptions::cluster(hosts).map_err(in_url)?.db(db);
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
    use super::super::servers::Servers;
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
        for url in
            ["unix://joe:s3%40ret@/run/redis.sock?db=2", "redis+unix:///run/redis.sock?db=2&user=joe&pass=s3%40ret"]
        {
            let unix = ConnectOptions::from_url(url).unwrap();
            assert_eq!((unix.username.as_deref(), unix.password.as_deref()), (Some("joe"), Some("s3@ret")), "{url}");
            assert_eq!((unix.servers, unix.db), (Servers::One(Address::Unix("/run/redis.sock".into())), 2), "{url}");
        }
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
    fn the_master_may_be_named_where_other_clients_do() {
        for url in [
            "redis-sentinel://:s3cr@h1,h2:7/3#my%20master",
            "redis-sentinel://:s3cr@h1,h2:7/3?sentinelMasterId=my%20master",
            "redis+sentinel://:s3cr@h1,h2:7/?db=3&master_name=my%20master",
        ] {
            let options = ConnectOptions::from_url(url).unwrap();
            let shown = format!("{:?}", options.servers);
            assert_eq!(shown, "redis+sentinel://h1:26379,h2:7/my master", "{url}");
            assert_eq!((options.db, options.password.as_deref()), (3, Some("s3cr")), "{url}");
        }
        for bad in [
            "redis+sentinel://h1/m/0#m",
            "redis+sentinel://h1/m#m",
            "redis+sentinel://:s3#cr@h1/m",
            "redis+sentinel://h1/m#insecure",
        ] {
            assert!(ConnectOptions::from_url(bad).is_err(), "{bad}");
        }
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
