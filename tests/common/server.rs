//! The redis-servers of the tests, and connections to them.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oxmq::ConnectOptions;
pub use oxmq::testing::server_version;
pub(super) use oxmq::testing::{Running, free_port, fresh_dir, run, server_in};
use redis::aio::MultiplexedConnection;

use super::cluster::{name_on, shared_cluster, slot_of};

/// A server as users have it for their tests, and direct connections to it.
#[derive(Debug)]
pub struct RedisServer {
    own: oxmq::testing::RedisServer,
    is_node: bool,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Self {
        let is_node = args.contains(&"--cluster-enabled");
        Self { own: oxmq::testing::RedisServer::start_with(args), is_node }
    }

    /// Returns its address for clients: `redis://`, or that of the cluster of which it is a node.
    pub fn url(&self) -> String {
        let url = self.own.url();
        if self.is_node { url.replacen("redis", "redis+cluster", 1) } else { url }
    }

    /// Returns the options of a client that comes by another address, as that of a proxy, and by no other: a node of a
    /// cluster names its own address, to which the client would go on.
    pub fn by_way_of(&self, way: SocketAddr) -> ConnectOptions {
        let own = self.addr().port();
        let by = move |host: &str, port| (port == own).then(|| (host.to_owned(), way.port()));
        ConnectOptions::from_url(&format!("redis://{way}")).unwrap().node_addresses(by)
    }

    /// Opens a connection.
    pub async fn connection(&self) -> MultiplexedConnection {
        connect(&self.url()).await
    }
}

impl Deref for RedisServer {
    type Target = oxmq::testing::RedisServer;

    fn deref(&self) -> &Self::Target {
        &self.own
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.own
    }
}

/// The arguments that make a server write every change to disk before it answers; for tests that restart it.
pub const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Opens a connection to any server. If the URL names a cluster by a node, it goes to that node.
pub async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url.replacen("redis+cluster", "redis", 1)).expect("redis url");
    let config = redis::AsyncConnectionConfig::new()
        .set_response_timeout(Some(Duration::from_secs(10)))
        .set_connection_timeout(Some(Duration::from_secs(5)));
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap_or_else(|err| panic!("{url}: {err}"))
}

/// Returns whether tests without a server of their own run on a cluster. Those that need a socket or a database cannot.
fn is_on_cluster() -> bool {
    std::env::var_os("OXMQ_TEST_CLUSTER").is_some()
}

/// Returns the server that all tests of this process share; it ends with the process. With `OXMQ_TEST_CLUSTER=1` it is
/// the first node of a cluster, which serves all keys of a [`fresh_prefix`]. Use such a prefix on it, and no command
/// that affects other keys.
pub fn shared_server() -> &'static RedisServer {
    if is_on_cluster() {
        return &shared_cluster().nodes[0];
    }
    lone_server()
}

/// Returns the server that all tests share, or another one if that is a node of a cluster: for the binary behind a proxy,
/// which would go on with the addresses that the nodes name, and for users, whom only one server knows.
pub fn lone_server() -> &'static RedisServer {
    static LONE: OnceLock<RedisServer> = OnceLock::new();
    LONE.get_or_init(RedisServer::start)
}

/// Opens a connection to the server of a key: the one that all tests share, or the right node of their cluster.
pub async fn connect_to_key(key: &str) -> MultiplexedConnection {
    if !is_on_cluster() {
        return shared_server().connection().await;
    }
    let cluster = shared_cluster();
    cluster.nodes[cluster.owner(slot_of(key))].connection().await
}

/// Returns a key prefix that no other test uses.
pub fn fresh_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("t{}-{number}", std::process::id());
    if is_on_cluster() { name_on(&prefix, 0) } else { prefix }
}

async fn ping(url: &str) -> String {
    redis::cmd("PING").query_async(&mut connect(url).await).await.unwrap()
}

#[tokio::test]
async fn a_server_answers_on_both_sockets_and_ends() {
    let server = RedisServer::start();
    assert_eq!(ping(&server.url()).await, "PONG");
    assert_eq!(ping(&server.unix_url()).await, "PONG");
    let (socket, addr) = (server.socket(), server.addr());
    drop(server);
    assert!(std::net::TcpStream::connect(addr).is_err());
    assert!(!socket.exists() && !socket.parent().unwrap().exists());
}

#[tokio::test]
async fn a_server_comes_back_with_its_keys() {
    let mut server = RedisServer::start_with(AOF);
    let port = server.port();
    let set = redis::cmd("SET").arg("k").arg("v").to_owned();
    let _: String = set.query_async(&mut server.connection().await).await.unwrap();
    server.restart();
    assert_eq!(server.port(), port);
    let value: String = redis::cmd("GET").arg("k").query_async(&mut server.connection().await).await.unwrap();
    assert_eq!(value, "v");
}

#[tokio::test]
async fn a_paused_server_is_silent() {
    let server = RedisServer::start();
    let mut connection = server.connection().await;
    server.pause();
    let command = redis::cmd("PING");
    let ping = command.query_async::<String>(&mut connection);
    assert!(tokio::time::timeout(Duration::from_millis(100), ping).await.is_err());
    server.resume();
    assert_eq!(ping_on(&mut connection).await, "PONG");
}

async fn ping_on(connection: &mut MultiplexedConnection) -> String {
    redis::cmd("PING").query_async(connection).await.unwrap()
}
