//! A connection for one blocking command at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};

use super::attempt::Pauses;
use super::dial::{Dialed, Dialer, SET_NAME};
use super::failure::{CallFailure, without_secrets};
use super::handshake::Server;
use super::progress::Progress;
use super::servers::Address;
use super::socket::Driver;

/// How much longer than the requested wait a reply may take, before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(1);

/// The result of a blocking command.
#[derive(Debug)]
pub(crate) enum Waited {
    /// A reply; nil if the time was over.
    Reply(Value),
    /// The connection broke or was silent; the next call opens a new one.
    Broken(RedisError),
}

/// The commands that are sent together.
enum Sent<'a> {
    One(&'a Cmd),
    Both(&'a Pipeline),
}

impl Sent<'_> {
    /// Sends them. If the server answers either of two commands with an error, that is the result of both.
    async fn through(self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        match self {
            Self::One(cmd) => connection.send_packed_command(cmd).await,
            Self::Both(both) => {
                let mut replies = connection.send_packed_commands(both, 0, 2).await?;
                let refused = replies.iter().position(|reply| matches!(reply, Value::ServerError(_)));
                Ok(match refused {
                    Some(at) => replies.swap_remove(at),
                    None => Value::Array(replies),
                })
            }
        }
    }
}

/// The connection in use.
struct Live {
    connection: MultiplexedConnection,
    server: Server,
    address: Address,
    progress: Arc<Progress>,
}

/// A connection for blocking commands only. Dropping it closes its socket.
pub(crate) struct BlockingLink {
    dialer: Dialer,
    name: Option<String>,
    live: Option<Live>,
    /// The socket of `live`, or of a call that was given up.
    driver: Option<Driver>,
    /// The attempt to connect that is under way. If a caller does not wait for its end, the next one does.
    dialing: Option<BoxFuture<'static, Result<Dialed, RedisError>>>,
    /// Whether no reply came since the last failure: then a new connection is made only after a pause, even if the
    /// server accepts connections and refuses the commands.
    failed: bool,
    backoff: Pauses,
}

impl BlockingLink {
    pub(crate) fn new(dialer: Dialer, name: Option<String>) -> Self {
        Self { dialer, name, live: None, driver: None, dialing: None, failed: false, backoff: Pauses::default() }
    }

    /// Returns the server behind the connection. Opens one, with pauses after failures, until there is one. A caller
    /// that gives up and comes again continues the attempt that is under way.
    pub(crate) async fn ready(&mut self) -> Server {
        loop {
            if self.driver.as_ref().is_some_and(Driver::has_ended) {
                self.live = None;
            }
            if let Some(live) = &self.live {
                return live.server;
            }
            self.driver = None;
            let dialing = self.dialing.get_or_insert_with(|| {
                let (dialer, name) = (self.dialer.clone(), self.name.clone());
                let pause = self.failed.then(|| self.backoff.current());
                Box::pin(async move {
                    if let Some(pause) = pause {
                        tokio::time::sleep(pause).await;
                    }
                    dialer.dial(name.as_deref()).await
                })
            });
            let dialed = dialing.await;
            self.dialing = None;
            if self.failed {
                self.backoff.grow();
            }
            match dialed {
                Ok(Dialed { address, connection, server, driver, progress }) => {
                    self.live = Some(Live { connection, server, address, progress });
                    self.driver = Some(driver);
                }
                Err(error) => {
                    tracing::debug!(error = %without_secrets(&error), "connecting failed");
                    self.failed = true;
                }
            }
        }
    }

    /// Sends a command that the server answers within `block`. The reply may be a second late, and once it has begun to
    /// arrive it may take as long as it keeps arriving.
    pub(crate) async fn send(&mut self, cmd: &Cmd, block: Duration) -> Waited {
        self.exchange(Sent::One(cmd), block).await
    }

    /// Sends two commands together; the reply is an array of both. The server runs the second one as soon as the first
    /// has stopped waiting.
    pub(crate) async fn send_both(&mut self, first: &Cmd, second: &Cmd, block: Duration) -> Waited {
        let mut both = Pipeline::with_capacity(2);
        both.add_command(first.clone()).add_command(second.clone());
        self.exchange(Sent::Both(&both), block).await
    }

    async fn exchange(&mut self, sent: Sent<'_>, block: Duration) -> Waited {
        self.ready().await;
        // While the call runs it owns the connection, so that a call that is given up closes it.
        let Some(mut live) = self.live.take() else {
            return Waited::Reply(Value::Nil);
        };
        self.dialer.now_and_then();
        let start = tokio::time::Instant::now();
        let silence = self.dialer.options().command_timeout.max(GRACE);
        let call = sent.through(&mut live.connection);
        let error = match live.progress.arriving(start + block + GRACE, silence, call).await {
            Ok(Value::ServerError(error)) => {
                let error = RedisError::from(error);
                self.dialer.refused_by(&live.address, &error);
                // A server that forbids or does not know a command is available all the same.
                let is_moving = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
                match CallFailure::of(error.clone()) {
                    CallFailure::Server(_) if !is_moving => self.dialer.outages().answered(),
                    _ => self.dialer.outages().refused(&error),
                }
                error
            }
            Ok(value) => {
                self.dialer.outages().answered();
                self.live = Some(live);
                self.failed = false;
                self.backoff = Pauses::default();
                return Waited::Reply(value);
            }
            Err(error) => {
                // Until its time is over, a blocking command is silent by nature.
                let silent = live.progress.last().max(start + block).min(tokio::time::Instant::now());
                self.dialer.outages().failed(silent, &error);
                error
            }
        };
        self.failed = true;
        Waited::Broken(error)
    }

    /// Returns whether the connection is open, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.live.is_some() && self.driver.as_ref().is_some_and(|driver| !driver.has_ended())
    }

    /// Renames the connection, now and whenever it is opened again.
    pub(crate) async fn rename(&mut self, name: String) {
        if self.name.as_ref() == Some(&name) {
            return;
        }
        let named = Cmd::new().arg("CLIENT").arg("SETNAME").arg(&name).to_owned();
        self.name = Some(name);
        // An attempt that is under way would use the old name.
        self.dialing = None;
        if self.is_open() && !self.dialer.lacks(SET_NAME) {
            self.send(&named, Duration::ZERO).await;
        }
    }

    /// Closes the socket and returns when it is closed: from then on the server cannot send anything to it. The next
    /// call opens another one.
    pub(crate) async fn close(&mut self) {
        self.live = None;
        self.dialing = None;
        if let Some(driver) = self.driver.take() {
            driver.close().await;
        }
    }
}
