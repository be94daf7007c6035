//! A connection for one blocking command at a time.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};

use super::dial::{Dialer, Server, within};
use super::link::Backoff;

/// How much longer than the server was asked to wait a reply may take, before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(1);

/// What a blocking command came back with.
#[derive(Debug)]
pub(crate) enum Waited {
    /// A reply; nil when the time was over.
    Reply(Value),
    /// The connection broke, or was silent; the next call opens a new one.
    Broken(RedisError),
}

/// A connection that only blocks. Dropping it, or the future of a call, ends the wait at once by closing the socket.
pub(crate) struct BlockingLink {
    dialer: Dialer,
    name: Option<String>,
    live: Option<(MultiplexedConnection, Server)>,
    backoff: Backoff,
}

impl BlockingLink {
    pub(crate) fn new(dialer: Dialer, name: Option<String>) -> Self {
        Self { dialer, name, live: None, backoff: Backoff::default() }
    }

    /// The server behind the connection; opens it, with pauses after failures, until there is one.
    pub(crate) async fn ready(&mut self) -> Server {
        loop {
            if let Some((_, server)) = &self.live {
                return *server;
            }
            match self.dialer.dial(self.name.as_deref()).await {
                Ok(live) => {
                    self.backoff = Backoff::default();
                    self.live = Some(live);
                }
                Err(error) => {
                    tracing::debug!(%error, "connecting failed");
                    self.backoff.pause().await;
                }
            }
        }
    }

    /// Sends a command that the server answers within `block`; the watchdog gives it a second more.
    pub(crate) async fn send(&mut self, cmd: &Cmd, block: Duration) -> Waited {
        self.ready().await;
        let Some((mut connection, server)) = self.live.take() else {
            return Waited::Reply(Value::Nil);
        };
        // While the call runs the connection is nowhere else: a future that is dropped closes the socket.
        match within(block + GRACE, connection.send_packed_command(cmd)).await {
            Ok(Value::ServerError(error)) => Waited::Broken(error.into()),
            Ok(value) => {
                self.live = Some((connection, server));
                Waited::Reply(value)
            }
            Err(error) => Waited::Broken(error),
        }
    }
}
