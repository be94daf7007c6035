//! What the examples share: a Redis to work with.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The server at `REDIS_URL`, or one of our own that ends with this value.
pub(crate) struct Redis {
    pub(crate) url: String,
    /// Its standard input is a pipe from us: the server ends when that closes, however we end.
    _own: Option<Child>,
}

const WATCHDOG: &str = r#"dir=$(mktemp -d)
redis-server --port "$1" --bind 127.0.0.1 --save '' --dir "$dir" >"$dir/log" 2>&1 & pid=$!
read -r _; kill $pid; wait $pid; rm -rf "$dir""#;

/// Takes `REDIS_URL`, else starts the redis-server that is on the PATH, on a free port, and says so.
///
/// # Panics
///
/// When no server comes up.
#[allow(dead_code, reason = "benches/scripts.rs wants none but its own")]
pub(crate) fn redis() -> Redis {
    std::env::var("REDIS_URL").map_or_else(|_| own(), |url| Redis { url, _own: None })
}

/// A server of our own.
pub(crate) fn own() -> Redis {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = free.expect("a free port").port().to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", WATCHDOG, "sh", &port]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let own = shell.spawn().expect("sh");
    eprintln!("a redis-server of our own runs on port {port} meanwhile");
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not start; is it on the PATH?");
        std::thread::sleep(Duration::from_millis(10));
    }
    Redis { url: format!("redis://127.0.0.1:{port}"), _own: Some(own) }
}
