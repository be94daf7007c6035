//! What the examples share: a Redis server.

// The test server of the feature `testing`. Examples use it without the feature.
#[path = "../../src/testing/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "tests use the rest of it")]
mod server;

use server::RedisServer;

/// The server at `REDIS_URL`, or a private one that ends with this value or this process.
#[allow(dead_code, reason = "the watchers want a server that they share")]
pub(crate) struct Redis {
    pub(crate) url: String,
    _own: Option<RedisServer>,
}

/// Uses `REDIS_URL`, or starts the redis-server on the PATH on a free port and says so.
///
/// # Panics
///
/// When the server does not start.
#[allow(dead_code, reason = "some benches want none but their own")]
pub(crate) fn redis() -> Redis {
    std::env::var("REDIS_URL").map_or_else(|_| own(), |url| Redis { url, _own: None })
}

/// Starts a private server.
pub(crate) fn own() -> Redis {
    let own = RedisServer::start();
    eprintln!("a redis-server of our own runs on port {} meanwhile", own.port());
    Redis { url: own.url(), _own: Some(own) }
}

/// Containers and systemd stop a process by SIGTERM, a terminal by SIGINT.
#[allow(dead_code, reason = "only services are stopped")]
pub(crate) async fn told_to_stop() {
    let mut term =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a handler can be set");
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
