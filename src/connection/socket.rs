//! Opens a socket, logs in, and lets a task move its bytes.

use crate::sync::spawn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::progress::{Progress, Watched};
use super::servers::Address;
#[cfg(feature = "tls")]
use super::{distrust::NO_TLS, tls::Tls};

/// How long to wait for one address of a host before the next one is tried as well.
const NEXT: Duration = Duration::from_millis(250);

/// The task that moves the bytes of one connection; dropping it closes the socket.
pub(crate) struct Driver(Option<tokio::task::JoinHandle<()>>);

impl Driver {
    /// Returns whether the connection has ended: what is sent from now on does not arrive.
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

/// Opens sockets and logs in, and reports when a connection has ended and when its bytes move.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) login: RedisConnectionInfo,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
}

/// The conditions of one connection.
pub(super) struct Terms {
    pub(super) progress: Arc<Progress>,
    /// When this resolves, the connection is closed, whatever is under way.
    pub(super) until: Option<BoxFuture<'static, ()>>,
    pub(super) config: AsyncConnectionConfig,
}

impl Terms {
    pub(super) fn new(progress: &Arc<Progress>) -> Self {
        // We use deadlines of our own: the driver's would end a wait, but not the silent connection behind it.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        Self { progress: Arc::clone(progress), until: None, config }
    }
}

impl Opener {
    pub(super) async fn open(
        &self,
        address: &Address,
        terms: Terms,
    ) -> Result<(MultiplexedConnection, Driver), RedisError> {
        let progress = Arc::clone(&terms.progress);
        match address {
            Address::Tcp(host, port) => self.drive(tcp(host, *port, progress).await?, terms).await,
            #[cfg(unix)]
            Address::Unix(path) => {
                let socket = tokio::net::UnixStream::connect(path).await?;
                self.drive(Watched::new(socket, progress), terms).await
            }
            #[cfg(feature = "tls")]
            Address::Tls(host, port) => {
                let Some(tls) = &self.tls else {
                    return Err(RedisError::from((ErrorKind::InvalidClientConfig, "TLS is not set up")));
                };
                let socket = tcp(host, *port, progress).await?;
                let handshake = async { Ok(tls.connect(host, socket).await?) };
                self.drive(unless_plain(handshake, host, *port).await?, terms).await
            }
            #[allow(unreachable_patterns, reason = "which addresses are left depends on features and platform")]
            _ => Err(RedisError::from((ErrorKind::InvalidClientConfig, "this kind of address is not supported here"))),
        }
    }

    /// Logs in, and starts the task that moves the bytes.
    async fn drive<S>(&self, socket: S, terms: Terms) -> Result<(MultiplexedConnection, Driver), RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, socket, terms.config).await?;
        let task = match terms.until {
            None => spawn(driver),
            Some(until) => spawn(async move {
                tokio::select! {
                    biased;
                    () = driver => {}
                    () = until => {}
                }
            }),
        };
        Ok((connection, Driver(Some(task))))
    }
}

async fn tcp(host: &str, port: u16, progress: Arc<Progress>) -> std::io::Result<Watched<TcpStream>> {
    let socket = connect(tokio::net::lookup_host((host, port)).await?).await?;
    socket.set_nodelay(true)?;
    Ok(Watched::new(socket, progress))
}

/// How long a TLS handshake may take until somebody asks whether the server speaks TLS at all.
#[cfg(feature = "tls")]
const PLAIN: Duration = Duration::from_secs(1);

/// Waits for a TLS handshake. A server without TLS waits for the end of a line that never comes, so after a moment it is
/// asked by a line of its own protocol, on another socket. That line holds no secret.
#[cfg(feature = "tls")]
async fn unless_plain<T>(
    handshake: impl Future<Output = Result<T, RedisError>>,
    host: &str,
    port: u16,
) -> Result<T, RedisError> {
    tokio::pin!(handshake);
    if let Ok(done) = tokio::time::timeout(PLAIN, &mut handshake).await {
        return done;
    }
    tokio::select! {
        done = &mut handshake => done,
        true = answers_plainly(host, port) => Err(RedisError::from((ErrorKind::Io, NO_TLS))),
    }
}

/// Returns whether a server answers `PING` without TLS, be it by a refusal.
#[cfg(feature = "tls")]
async fn answers_plainly(host: &str, port: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asking = async {
        let mut socket = tcp(host, port, Progress::new()).await?;
        socket.write_all(b"PING\r\n").await?;
        socket.read_u8().await
    };
    matches!(asking.await, Ok(b'+' | b'-'))
}

/// Tries one address after the other, without waiting for silent ones, until one answers: a dead address that comes
/// first would use up all the time, again and again.
async fn connect(addresses: impl Iterator<Item = SocketAddr>) -> std::io::Result<TcpStream> {
    let mut addresses = addresses.peekable();
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let mut tried = FuturesUnordered::new();
    loop {
        if let Some(address) = addresses.next() {
            tried.push(TcpStream::connect(address));
        } else if tried.is_empty() {
            return Err(last);
        }
        let answer = match addresses.peek() {
            None => tried.next().await,
            Some(_) => tokio::time::timeout(NEXT, tried.next()).await.unwrap_or(None),
        };
        match answer {
            Some(Ok(socket)) => return Ok(socket),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_address_does_not_keep_the_next_one_from_being_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        // A full backlog neither accepts nor refuses connections, like a host that is gone.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut fillers = Vec::new();
        while let Ok(Ok(filler)) = tokio::time::timeout(NEXT, TcpStream::connect(silent)).await {
            fillers.push(filler);
        }
        assert_eq!(connect([silent, there].into_iter()).await.unwrap().peer_addr().unwrap(), there);
        let closed = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(connect([closed, there].into_iter()).await.unwrap().peer_addr().unwrap(), there);
        assert!(connect([closed].into_iter()).await.is_err() && connect(std::iter::empty()).await.is_err());
    }
}
