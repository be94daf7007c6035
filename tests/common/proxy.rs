//! A proxy in front of a redis-server that loses requests, replies and connections on request.
//!
//! It listens on loopback, understands RESP as far as needed to tell one request and one reply from the next, and
//! lives in the runtime of the test. `SUBSCRIBE`, `MONITOR` and `CLIENT REPLY`, where replies do not follow requests
//! one to one, are beyond it.

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

/// Connections beyond this many at a time are refused, bytes of one message beyond [`MAX_MESSAGE`] end a connection.
const MAX_CONNECTIONS: usize = 1_000;
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Bytes that pass at a time.
const PIECE: usize = 16 * 1024;

/// A question about a request.
type Wanted = dyn Fn(&[Vec<u8>]) -> bool + Send + Sync;

/// Says which requests an action is for.
pub struct Matcher {
    wanted: Box<Wanted>,
    skip: u64,
    times: u64,
}

impl Matcher {
    /// The first request for whose command and arguments `wanted` is true.
    pub fn new(wanted: impl Fn(&[Vec<u8>]) -> bool + Send + Sync + 'static) -> Self {
        Self { wanted: Box::new(wanted), skip: 0, times: 1 }
    }

    /// The first request of this command, e.g. `EVALSHA`.
    pub fn command(name: &'static str) -> Self {
        Self::new(move |args| args.first().is_some_and(|a| a.eq_ignore_ascii_case(name.as_bytes())))
    }

    /// The first request in which one of the arguments contains `part`.
    pub fn mentions(part: impl Into<Vec<u8>>) -> Self {
        let part = part.into();
        Self::new(move |args| args.iter().any(|a| a.windows(part.len().max(1)).any(|w| w == part)))
    }

    /// Takes the first `n` instead of the first one.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = n;
        self
    }

    /// Lets the first `n` pass.
    #[must_use]
    pub fn skip(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    fn takes(&mut self, args: &[Vec<u8>]) -> bool {
        if self.times == 0 || !(self.wanted)(args) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

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

/// Which connections carry bytes. Connections are numbered; a bound is the number of the first one it spares.
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
    /// Takes its turn for so many bytes.
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

/// The proxy; it ends, with all its connections, when dropped.
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

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `redis://` address of the proxy.
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

    /// Forgets the requests that were to be cut or dropped.
    pub fn clear_rules(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Cuts all connections.
    pub fn cut_now(&self) {
        let next = self.shared.connections.load(Ordering::SeqCst);
        self.shared.weather.send_modify(|w| w.cut_below = next);
    }

    /// From now on the present connections carry nothing, without being closed, for good; new ones work.
    pub fn blackhole_existing(&self) {
        let next = self.shared.connections.load(Ordering::SeqCst);
        self.shared.weather.send_modify(|w| w.dead_below = next);
    }

    /// Nothing passes on any connection, old or new (which are accepted), until [`heal`](Self::heal).
    pub fn blackhole_all(&self) {
        self.shared.weather.send_modify(|w| w.held = true);
    }

    /// Ends [`blackhole_all`](Self::blackhole_all) and [`stall`](Self::stall): what was held goes on.
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

    /// Lets so many bytes through in a second, in each direction, on all connections together.
    pub fn throttle(&self, bytes_per_second: u32) {
        self.shared.weather.send_modify(|w| w.bytes_per_second = Some(bytes_per_second));
    }

    /// Sends new connections to another server.
    pub fn retarget(&self, target: SocketAddr) {
        assert!(target.ip().is_loopback(), "the proxy stays on loopback");
        *lock(&self.shared.target) = target;
    }

    /// Connections open at this moment.
    pub fn open_connections(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// What passed and what did not.
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
            // Any end of a connection is an end: errors are what this proxy is for.
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
    // The fates of the requests that have no reply yet.
    let fates = Mutex::new(VecDeque::new());
    let other_gate = Gate { number, weather: shared.weather.subscribe() };
    // The first of the two to end takes the sockets with it.
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

/// Where the bytes of one direction of a connection wait for better weather.
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
                        // A dead connection does not even carry the news of its end.
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

/// The command and arguments of the first request in `buffer` and its length in bytes, once it is complete.
fn request(buffer: &[u8]) -> io::Result<Option<(Vec<Vec<u8>>, usize)>> {
    let Some((line, mut at)) = line(buffer) else {
        return Ok(None);
    };
    if !line.starts_with(b"*") {
        let words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        return Ok(Some((words.map(<[u8]>::to_vec).collect(), at)));
    }
    let mut args = Vec::new();
    for _ in 0..number(&line[1..])? {
        let Some((head, after)) = self::line(&buffer[at..]) else {
            return Ok(None);
        };
        if !head.starts_with(b"$") {
            return Err(invalid("a request of other than bulk strings"));
        }
        let length = usize::try_from(number(&head[1..])?).map_err(|_| invalid("a negative length"))?;
        let start = at + after;
        let Some(arg) = buffer.get(start..start + length + 2) else {
            return Ok(None);
        };
        args.push(arg[..length].to_vec());
        at = start + length + 2;
    }
    Ok(Some((args, at)))
}

/// The length in bytes of the first reply in `buffer`, once it is complete.
fn reply(buffer: &[u8]) -> io::Result<Option<usize>> {
    // Values still to come; an aggregate adds its elements.
    let mut left: i64 = 1;
    let mut at = 0;
    while left > 0 {
        let Some((head, after)) = line(&buffer[at..]) else {
            return Ok(None);
        };
        at += after;
        left -= 1;
        let Some((&kind, rest)) = head.split_first() else {
            return Err(invalid("an empty line"));
        };
        match kind {
            b'$' | b'=' | b'!' => {
                // -1 is a null, which has no body.
                if let Ok(length) = usize::try_from(number(rest)?) {
                    at += length + 2;
                }
            }
            b'*' | b'~' | b'>' => left += number(rest)?.max(0),
            b'%' => left += 2 * number(rest)?,
            // An attribute comes before the value that it belongs to.
            b'|' => left += 2 * number(rest)? + 1,
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {}
            _ => return Err(invalid("an unknown kind of reply")),
        }
        if at > buffer.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// The first line without its end, and the length with it.
fn line(buffer: &[u8]) -> Option<(&[u8], usize)> {
    let end = buffer.windows(2).position(|w| w == b"\r\n")?;
    Some((&buffer[..end], end + 2))
}

fn number(text: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|t| t.parse().ok()).ok_or_else(|| invalid("no number"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::eventually::eventually;
    use crate::common::server::{self, RedisServer, fresh_prefix, shared_server};

    async fn proxy() -> Proxy {
        Proxy::start(shared_server().addr()).await
    }

    async fn incr(connection: &mut redis::aio::MultiplexedConnection, key: &str) -> Option<i64> {
        let command = redis::cmd("INCR").arg(key).to_owned();
        let call = command.query_async(connection);
        tokio::time::timeout(Duration::from_millis(200), call).await.ok()?.ok()
    }

    async fn value(key: &str) -> Option<i64> {
        let mut connection = shared_server().connection().await;
        redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap()
    }

    #[test]
    fn messages_are_cut_at_their_ends() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING x\r\n";
        for end in 0..20 {
            assert!(request(&bytes[..end]).unwrap().is_none(), "{end}");
        }
        let (args, length) = request(bytes).unwrap().unwrap();
        assert_eq!((args, length), (vec![b"GET".to_vec(), b"k".to_vec()], 20));
        let (args, _) = request(&bytes[20..]).unwrap().unwrap();
        assert_eq!(args, [b"PING".to_vec(), b"x".to_vec()]);

        for whole in [
            &b"+OK\r\n"[..],
            b"$-1\r\n",
            b"*-1\r\n",
            b"$4\r\na\r\nb\r\n",
            b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            b"%1\r\n+a\r\n*0\r\n",
            b"|1\r\n+ttl\r\n:1\r\n:5\r\n",
            b">2\r\n+a\r\n+b\r\n",
        ] {
            for end in 0..whole.len() {
                assert_eq!(reply(&whole[..end]).unwrap(), None, "{}", whole.escape_ascii());
            }
            assert_eq!(reply(&[whole, b"+"].concat()).unwrap(), Some(whole.len()));
        }
    }

    #[tokio::test]
    async fn a_lost_reply_leaves_its_effect() {
        let (proxy, key) = (proxy().await, fresh_prefix());
        let mut connection = server::connect(&proxy.url()).await;
        assert_eq!(incr(&mut connection, &key).await, Some(1));
        proxy.cut_after_request(Matcher::command("incr").skip(1));
        assert_eq!(incr(&mut connection, &key).await, Some(2));
        assert_eq!(incr(&mut connection, &key).await, None);
        assert_eq!(value(&key).await, Some(3));
        assert_eq!(incr(&mut server::connect(&proxy.url()).await, &key).await, Some(4));
        assert_eq!((proxy.counters().lost_replies, proxy.counters().connections), (1, 2));
    }

    #[tokio::test]
    async fn a_lost_request_leaves_nothing() {
        let (proxy, key) = (proxy().await, fresh_prefix());
        let mut connection = server::connect(&proxy.url()).await;
        proxy.drop_request(Matcher::mentions(key.as_bytes()).times(2));
        assert_eq!(incr(&mut connection, &key).await, None);
        let mut connection = server::connect(&proxy.url()).await;
        assert_eq!(incr(&mut connection, &key).await, None);
        assert_eq!(value(&key).await, None);
        assert_eq!(proxy.counters().lost_requests, 2);
    }

    #[tokio::test]
    async fn a_cut_ends_all_connections() {
        let (proxy, key) = (proxy().await, fresh_prefix());
        let mut connection = server::connect(&proxy.url()).await;
        proxy.cut_now();
        eventually("no connection is open", || async { proxy.open_connections() == 0 }).await;
        assert_eq!(incr(&mut connection, &key).await, None);
        assert_eq!(incr(&mut server::connect(&proxy.url()).await, &key).await, Some(1));
    }

    #[tokio::test]
    async fn black_holes_swallow_without_an_end() {
        let (proxy, key) = (proxy().await, fresh_prefix());
        let mut old = server::connect(&proxy.url()).await;
        proxy.blackhole_existing();
        assert_eq!(incr(&mut old, &key).await, None);
        assert_eq!(proxy.open_connections(), 1);
        let mut new = server::connect(&proxy.url()).await;
        assert_eq!(incr(&mut new, &key).await, Some(1));
        proxy.blackhole_all();
        assert_eq!(incr(&mut new, &key).await, None);
        assert_eq!(value(&key).await, Some(1));
        proxy.heal();
        // What was held goes on.
        eventually("the held request is done", || async { value(&key).await == Some(2) }).await;
        assert_eq!(incr(&mut new, &key).await, Some(3));
        assert_eq!(incr(&mut old, &key).await, None);
    }

    #[tokio::test]
    async fn a_narrow_line_takes_its_time_both_ways() {
        let (proxy, key) = (proxy().await, fresh_prefix());
        let mut connection = server::connect(&proxy.url()).await;
        proxy.throttle(1_000_000);
        let value = vec![b'x'; 300_000];
        for (command, lane) in [
            (redis::cmd("SET").arg(&key).arg(&value).to_owned(), "up"),
            (redis::cmd("GET").arg(&key).to_owned(), "down"),
        ] {
            let start = Instant::now();
            let _: redis::Value = command.query_async(&mut connection).await.unwrap();
            assert!(start.elapsed() >= Duration::from_millis(290), "{lane}: {:?}", start.elapsed());
        }
        let Counters { up, down, .. } = proxy.counters();
        assert!(up > 300_000 && down > 300_000 && up + down < 610_000, "{up} {down}");
    }

    #[tokio::test]
    async fn a_stall_ends_by_itself_and_new_connections_go_elsewhere() {
        let other = RedisServer::start();
        let (proxy, key) = (proxy().await, fresh_prefix());
        let mut old = server::connect(&proxy.url()).await;
        proxy.stall(Duration::from_millis(50));
        let start = Instant::now();
        assert_eq!(incr(&mut old, &key).await, Some(1));
        assert!(start.elapsed() >= Duration::from_millis(40));
        proxy.retarget(other.addr());
        let mut new = server::connect(&proxy.url()).await;
        assert_eq!(incr(&mut new, &key).await, Some(1));
        assert_eq!(incr(&mut old, &key).await, Some(2));
    }
}
