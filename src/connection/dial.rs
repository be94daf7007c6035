//! One new connection: the handshake, the server's version, the client's name.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::options::{Address, ConnectOptions};
use super::outage::Outages;
use super::progress::{Progress, Watched};
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::error::Result;

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    /// Major, minor and patch version; `None` where the server does not tell.
    pub(crate) version: Option<(u32, u32, u32)>,
    /// Whether it is Redis itself; others count their versions differently.
    pub(crate) is_redis: bool,
}

impl Server {
    /// The oldest Redis whose commands the scripts use.
    const OLDEST: (u32, u32, u32) = (6, 2, 0);

    /// Whether scripts may carry flags: Redis 7, and everything that came after its fork.
    pub(crate) fn knows_script_flags(self) -> bool {
        self.version.is_some_and(|version| version >= (7, 0, 0))
    }

    /// Whether a blocking command may wait for a single millisecond.
    pub(crate) fn blocks_for_1_ms(self) -> bool {
        !self.is_redis || self.version.is_none_or(|version| version >= (7, 0, 8))
    }

    fn is_too_old(self) -> bool {
        self.is_redis && self.version.is_some_and(|version| version < Self::OLDEST)
    }
}

/// A connection, what answers it, and the task that moves its bytes.
pub(crate) struct Dialed {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) server: Server,
    pub(crate) driver: Driver,
    pub(crate) progress: Arc<Progress>,
}

/// The task that moves the bytes of one connection; dropping it closes the socket.
pub(crate) struct Driver(Option<tokio::task::JoinHandle<()>>);

impl Driver {
    /// Whether the connection has ended: what is sent from now on does not arrive.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(tokio::task::JoinHandle::is_finished)
    }

    /// Closes the socket, and returns when it is closed.
    pub(crate) async fn close(mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Opens connections; cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    login: redis::RedisConnectionInfo,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    options: Arc<ConnectOptions>,
    outages: Arc<Outages>,
}

impl Dialer {
    pub(crate) fn new(options: Arc<ConnectOptions>) -> Result<Self> {
        let mut login =
            redis::RedisConnectionInfo::default().set_db(options.db).set_lib_name("oxmq", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &options.username {
            login = login.set_username(username);
        }
        if let Some(password) = &options.password {
            login = login.set_password(password);
        }
        let outages = Outages::new(options.address.clone());
        #[cfg(feature = "tls")]
        let tls = match &options.address {
            Address::Tls(host, _) => Some(Tls::new(host, &options.tls)?),
            _ => None,
        };
        Ok(Self {
            login,
            #[cfg(feature = "tls")]
            tls,
            options,
            outages,
        })
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// What the connections of this dialer and its clones know of the server.
    pub(crate) fn outages(&self) -> &Arc<Outages> {
        &self.outages
    }

    /// A new connection, ready for use, under `name` if one is given.
    pub(crate) async fn dial(&self, name: Option<&str>) -> std::result::Result<Dialed, RedisError> {
        let opening = async {
            let progress = Progress::new();
            let (mut connection, driver) = self.open(&progress).await?;
            let server = greet(&mut connection).await?;
            if let Some(name) = name {
                // A name that the server does not take costs visibility in `getWorkers`, nothing else.
                let _ = connection.send_packed_command(Cmd::new().arg("CLIENT").arg("SETNAME").arg(name)).await;
            }
            Ok(Dialed { connection, server, driver, progress })
        };
        let began = tokio::time::Instant::now();
        let dialed = within(self.options.connect_timeout, self.telling(opening)).await;
        match &dialed {
            Ok(_) => self.outages.dialed(),
            Err(error) => self.outages.failed(began, error),
        }
        dialed.map_err(|error| self.at_address(error))
    }

    /// An error of the way to the server, with its address.
    fn at_address(&self, error: RedisError) -> RedisError {
        if error.kind() != ErrorKind::Io {
            return error;
        }
        RedisError::from((ErrorKind::Io, "no connection", format!("{:?}: {error}", self.options.address)))
    }

    /// Opens a connection, and tells of an outage when it is time, which may be long before the attempt has failed.
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

    /// Opens the socket ourselves: whoever drives a connection knows when it has ended, and sees its bytes move.
    async fn open(&self, progress: &Arc<Progress>) -> std::result::Result<(MultiplexedConnection, Driver), RedisError> {
        match &self.options.address {
            Address::Tcp(host, port) => self.drive(tcp(host, *port, progress).await?).await,
            #[cfg(unix)]
            Address::Unix(path) => {
                let socket = tokio::net::UnixStream::connect(path).await?;
                self.drive(Watched::new(socket, Arc::clone(progress))).await
            }
            #[cfg(feature = "tls")]
            Address::Tls(host, port) => {
                let socket = tcp(host, *port, progress).await?;
                let Some(tls) = &self.tls else { unreachable!("made with the address") };
                self.drive(tls.connect(socket).await?).await
            }
            #[allow(unreachable_patterns, reason = "which addresses are left depends on features and platform")]
            _ => Err(RedisError::from((ErrorKind::InvalidClientConfig, "this kind of address is not supported here"))),
        }
    }

    /// Logs in, and lets a task move the bytes.
    async fn drive<S>(&self, socket: S) -> std::result::Result<(MultiplexedConnection, Driver), RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Deadlines are ours: the driver's own would end a wait, but not the silent connection behind it.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, socket, config).await?;
        Ok((connection, Driver(Some(tokio::spawn(driver)))))
    }
}

async fn tcp(host: &str, port: u16, progress: &Arc<Progress>) -> std::io::Result<Watched<TcpStream>> {
    let socket = TcpStream::connect((host, port)).await?;
    socket.set_nodelay(true)?;
    Ok(Watched::new(socket, Arc::clone(progress)))
}

/// Gives up on a future after a time, with an I/O error.
pub(crate) async fn within<T>(
    timeout: Duration,
    future: impl Future<Output = std::result::Result<T, RedisError>>,
) -> std::result::Result<T, RedisError> {
    match tokio::time::timeout(timeout, future).await {
        Ok(result) => result,
        Err(_) => Err(RedisError::from((ErrorKind::Io, "no answer in time"))),
    }
}

/// Asks for the version by `HELLO`, which needs no right that a restricted user usually lacks.
async fn greet(connection: &mut MultiplexedConnection) -> std::result::Result<Server, RedisError> {
    let reply = match connection.send_packed_command(Cmd::new().arg("HELLO")).await {
        Ok(Value::ServerError(error)) => Err(RedisError::from(error)),
        other => other,
    };
    let server = match reply {
        Ok(reply) => describe(&reply).ok_or_else(|| RedisError::from((ErrorKind::Parse, "this is no Redis server")))?,
        // The server speaks, but not to this user about this.
        Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => return try_flags(connection).await,
        Err(error) => return Err(error),
    };
    if server.is_too_old() {
        let (major, minor, patch) = server.version.unwrap_or_default();
        let found = format!("{major}.{minor}.{patch}");
        return Err(RedisError::from((ErrorKind::InvalidClientConfig, TOO_OLD, found)));
    }
    Ok(server)
}

/// Finds out by trying whether scripts may carry flags; whether a full server can be drained depends on it.
async fn try_flags(connection: &mut MultiplexedConnection) -> std::result::Result<Server, RedisError> {
    let trial = Cmd::new().arg("EVAL").arg("#!lua flags=allow-oom\nreturn 1").arg(0).to_owned();
    match connection.send_packed_command(&trial).await {
        Ok(Value::Int(1)) => Ok(Server { version: Some((7, 0, 0)), is_redis: true }),
        Ok(_) => Ok(Server { version: None, is_redis: false }),
        Err(error) if error.code().is_some() => Ok(Server { version: None, is_redis: false }),
        Err(error) => Err(error),
    }
}

/// How [`greet`] marks a server that is too old.
pub(super) const TOO_OLD: &str = "the server is older than 6.2";

fn describe(reply: &Value) -> Option<Server> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let pairs: Vec<(String, Option<String>)> = match reply {
        Value::Array(items) => {
            items.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])))).collect()
        }
        Value::Map(items) => items.iter().filter_map(|(name, value)| Some((text(name)?, text(value)))).collect(),
        _ => return None,
    };
    if pairs.iter().all(|(name, _)| name != "version") {
        return None;
    }
    let of = |name: &str| pairs.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.clone());
    let mut parts = of("version").unwrap_or_default().split('.').map(str::parse).collect::<Vec<_>>().into_iter();
    let mut next = || parts.next().and_then(std::result::Result::ok);
    let version = next().map(|major| (major, next().unwrap_or(0), next().unwrap_or(0)));
    Some(Server { version, is_redis: of("server").as_deref() == Some("redis") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(server: &str, version: &str) -> Value {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Array(vec![bulk("server"), bulk(server), bulk("version"), bulk(version), bulk("proto"), Value::Int(2)])
    }

    #[test]
    fn versions_decide_what_a_server_can_do() {
        let seen = |server, version| describe(&hello(server, version)).unwrap();
        assert!(seen("redis", "7.0.15").knows_script_flags() && seen("redis", "7.0.15").blocks_for_1_ms());
        assert!(!seen("redis", "6.2.14").knows_script_flags() && !seen("redis", "7.0.5").blocks_for_1_ms());
        assert!(seen("redis", "6.0.20").is_too_old() && !seen("redis", "6.2.0").is_too_old());
        assert!(!seen("valkey", "1.0").is_too_old() && seen("valkey", "8.0.1").knows_script_flags());
        assert_eq!(describe(&Value::Nil), None);
    }
}
