//! A proxy in front of a redis-server that loses requests, replies and connections on request.
//!
//! It listens on loopback, understands RESP as far as needed to tell one request and one reply from the next, and
//! lives in the runtime of the test. `SUBSCRIBE`, `MONITOR` and `CLIENT REPLY`, where replies do not follow requests
//! one to one, are beyond it.

mod matcher;
mod resp;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::matcher::Matcher;
use self::resp::{invalid, reply, request};

/// Connections beyond this many at a time are refused. A message longer than [`MAX_MESSAGE`] bytes ends its connection.
const MAX_CONNECTIONS: usize = 1_000;
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// How many bytes are passed on at a time.
const PIECE: usize = 16 * 1024;

/// What passed and what did not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted connections.
    pub connections: u64,
    /// Requests forwarded.
    pub requests: u64,
    /// Replies forwarded.
    pub replies: u64,
    /// Replies lost by [`Proxy::cut_after_request`].
    pub lost_replies: u64,
    /// Requests lost by [`Proxy::drop_request`].
    pub lost_requests: u64,
    /// Bytes that came from the clients.
    pub up: u64,
    /// Bytes that went to the clients.
    pub down: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    LoseReply,
    LoseRequest,
}

/// Which connections carry bytes. Connections are numbered; a bound is the number of the first connection that it
/// spares.
#[derive(Clone, Copy, Default)]
struct Weather {
    cut_below: u64,
    dead_below: u64,
    held: bool,
    stalled_until: Option<Instant>,
    bytes_per_second: Option<u32>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    rules: Mutex<Vec<(Matcher, Fate)>>,
    weather: watch::Sender<Weather>,
    connections: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
    replies: AtomicU64,
    lost_replies: AtomicU64,
    lost_requests: AtomicU64,
    up: Lane,
    down: Lane,
}

/// One direction of the line that all connections share: how many bytes went over it, and when it is free again.
#[derive(Default)]
struct Lane {
    bytes: AtomicU64,
    free: Mutex<Option<Instant>>,
}

impl Lane {
    /// Waits for a turn to send that many bytes.
    async fn carry(&self, bytes: usize, weather: &watch::Receiver<Weather>) {
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        let Some(rate) = weather.borrow().bytes_per_second else { return };
        let until = {
            let mut free = lock(&self.free);
            let now = Instant::now();
            let until = free.unwrap_or(now).max(now) + Duration::from_secs(1).mul_f64(bytes as f64 / f64::from(rate));
            *free = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }
}

/// The proxy; dropping it ends it and all its connections.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free loopback port in front of `target`.
    pub async fn start(target: SocketAddr) -> Self {
        assert!(target.ip().is_loopback(), "the proxy stays on loopback");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("its number");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            rules: Mutex::default(),
            weather: watch::Sender::new(Weather::default()),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            lost_replies: AtomicU64::new(0),
            lost_requests: AtomicU64::new(0),
            up: Lane::default(),
            down: Lane::default(),
        });
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, acceptor }
    }

    /// Returns the address where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the `redis://` address of the proxy.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Lets a matching request reach the server and be executed, then cuts its connection in place of the reply.
    pub fn cut_after_request(&self, matcher: Matcher) {
        lock(&self.shared.rules).push((matcher, Fate::LoseReply));
    }

    /// Cuts the connection of a matching request in place of forwarding it.
    pub fn drop_request(&self, matcher: Matcher) {
        lock(&self.shared.rules).push((matcher, Fate::LoseRequest));
    }

    /// Forgets the requests that should be cut or dropped.
    pub fn clear_rules(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Cuts all connections.
    pub fn cut_now(&self) {
        let next = self.shared.connections.load(Ordering::SeqCst);
        self.shared.weather.send_modify(|w| w.cut_below = next);
    }

    /// Makes the existing connections carry nothing for good, without closing them; new ones work.
    pub fn blackhole_existing(&self) {
        let next = self.shared.connections.load(Ordering::SeqCst);
        self.shared.weather.send_modify(|w| w.dead_below = next);
    }

    /// Lets nothing pass on any connection, old or new (new ones are accepted), until [`heal`](Self::heal).
    pub fn blackhole_all(&self) {
        self.shared.weather.send_modify(|w| w.held = true);
    }

    /// Ends [`blackhole_all`](Self::blackhole_all) and [`stall`](Self::stall): held bytes are sent on.
    pub fn heal(&self) {
        self.shared.weather.send_modify(|w| {
            w.held = false;
            w.stalled_until = None;
        });
    }

    /// Holds everything for a while.
    pub fn stall(&self, duration: Duration) {
        self.shared.weather.send_modify(|w| w.stalled_until = Some(Instant::now() + duration));
    }

    /// Lets that many bytes per second through, in each direction, on all connections together.
    pub fn throttle(&self, bytes_per_second: u32) {
        self.shared.weather.send_modify(|w| w.bytes_per_second = Some(bytes_per_second));
    }

    /// Sends new connections to another server.
    pub fn retarget(&self, target: SocketAddr) {
        assert!(target.ip().is_loopback(), "the proxy stays on loopback");
        *lock(&self.shared.target) = target;
    }

    /// Returns how many connections are open.
    pub fn open_connections(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Returns the counters of what has passed and what has not.
    pub fn counters(&self) -> Counters {
        let of = |n: &AtomicU64| n.load(Ordering::SeqCst);
        Counters {
            connections: of(&self.shared.connections),
            requests: of(&self.shared.requests),
            replies: of(&self.shared.replies),
            lost_replies: of(&self.shared.lost_replies),
            lost_requests: of(&self.shared.lost_requests),
            up: of(&self.shared.up.bytes),
            down: of(&self.shared.down.bytes),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut_now();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.open.load(Ordering::SeqCst) >= MAX_CONNECTIONS as u64 {
            continue;
        }
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Errors are ignored: breaking connections is the purpose of this proxy.
            let _ = serve(client, number, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(mut client: TcpStream, number: u64, shared: &Shared) -> io::Result<()> {
    let mut gate = Gate { number, weather: shared.weather.subscribe() };
    gate.pass().await?;
    let target = *lock(&shared.target);
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // What to do with the replies to the requests on their way.
    let fates = Mutex::new(VecDeque::new());
    let other_gate = Gate { number, weather: shared.weather.subscribe() };
    // The first of the two to end closes the sockets.
    tokio::select! {
        end = requests(from_client, to_server, gate, &fates, shared) => end,
        end = replies(from_server, to_client, other_gate, &fates, shared) => end,
    }
}

async fn requests(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut gate: Gate,
    fates: &Mutex<VecDeque<Fate>>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while let Some((args, length)) = request(&buffer)? {
            gate.pass().await?;
            let fate = lock(&shared.rules)
                .iter_mut()
                .find_map(|(matcher, fate)| matcher.takes(&args).then_some(*fate))
                .unwrap_or(Fate::Pass);
            if fate == Fate::LoseRequest {
                shared.lost_requests.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            lock(fates).push_back(fate);
            shared.requests.fetch_add(1, Ordering::SeqCst);
            to.write_all(&buffer[..length]).await?;
            buffer.drain(..length);
        }
        let read = gate.read(&mut from, &mut buffer).await?;
        shared.up.carry(read, &gate.weather).await;
    }
}

async fn replies(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut gate: Gate,
    fates: &Mutex<VecDeque<Fate>>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while let Some(length) = reply(&buffer)? {
            gate.pass().await?;
            // `>` is a push, which answers no request.
            if buffer[0] != b'>' {
                if lock(fates).pop_front() == Some(Fate::LoseReply) {
                    shared.lost_replies.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                shared.replies.fetch_add(1, Ordering::SeqCst);
            }
            for piece in buffer[..length].chunks(PIECE) {
                shared.down.carry(piece.len(), &gate.weather).await;
                gate.pass().await?;
                to.write_all(piece).await?;
            }
            buffer.drain(..length);
        }
        gate.read(&mut from, &mut buffer).await?;
    }
}

/// Where the bytes of one direction of a connection wait until they may pass.
struct Gate {
    number: u64,
    weather: watch::Receiver<Weather>,
}

impl Gate {
    /// Returns once bytes may pass; an error means that the connection is cut.
    async fn pass(&mut self) -> io::Result<()> {
        loop {
            let weather = *self.weather.borrow_and_update();
            if self.number < weather.cut_below {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let stalled = weather.stalled_until.filter(|&until| until > Instant::now());
            if self.number >= weather.dead_below && !weather.held && stalled.is_none() {
                return Ok(());
            }
            let end = async {
                match stalled {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => {}
                changed = self.weather.changed() => {
                    changed.map_err(|_| io::ErrorKind::ConnectionAborted)?;
                }
            }
        }
    }

    async fn read(&mut self, from: &mut ReadHalf<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut piece = [0; PIECE];
        loop {
            self.pass().await?;
            tokio::select! {
                read = from.read(&mut piece) => {
                    let read = read?;
                    if read == 0 {
                        // A dead connection does not carry the close either.
                        self.pass().await?;
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    buffer.extend_from_slice(&piece[..read]);
                    if buffer.len() > MAX_MESSAGE {
                        return Err(invalid("a message too long"));
                    }
                    return Ok(read);
                }
                changed = self.weather.changed() => {
                    changed.map_err(|_| io::ErrorKind::ConnectionAborted)?;
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
