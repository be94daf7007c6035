//! What the examples share: a Redis to work with.

// The test server of the feature `testing`, which examples are to run without.
#[path = "../../src/testing/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "tests use the rest of it")]
mod server;

use server::RedisServer;

/// The server at `REDIS_URL`, or one of our own that ends with this value, and with this process however that ends.
pub(crate) struct Redis {
    pub(crate) url: String,
    _own: Option<RedisServer>,
}

/// Takes `REDIS_URL`, else starts the redis-server that is on the PATH, on a free port, and says so.
///
/// # Panics
///
/// When no server comes up.
#[allow(dead_code, reason = "some benches want none but their own")]
pub(crate) fn redis() -> Redis {
    std::env::var("REDIS_URL").map_or_else(|_| own(), |url| Redis { url, _own: None })
}

/// A server of our own.
pub(crate) fn own() -> Redis {
    let own = RedisServer::start();
    eprintln!("a redis-server of our own runs on port {} meanwhile", own.port());
    Redis { url: own.url(), _own: Some(own) }
}
