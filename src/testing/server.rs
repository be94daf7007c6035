//! A redis-server for tests.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

// By its path, since the examples include this file by its own.
#[cfg(unix)]
#[path = "leftovers.rs"]
mod leftovers;

/// Starts redis-server, prints its process id, and ends it when its own stdin is closed: however this process dies, no
/// server is left behind. A line `keep` keeps the directory for a restart.
const WATCHDOG: &str = r#"dir=$1; shift
: >"$dir/log"
"$@" </dev/null >>"$dir/log" 2>&1 &
pid=$!
echo $pid
read -r word
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
[ "$word" = keep ] || rm -rf "$dir""#;

/// A running redis-server on a free loopback port and a unix socket, which saves nothing. It ends on drop, and with
/// this process however that ends. Unix only.
///
/// ```no_run
/// # async fn demo() -> oxmq::Result<()> {
/// use oxmq::Client;
/// use oxmq::testing::RedisServer;
///
/// let mut server = RedisServer::start();
/// let client = Client::connect(&server.url()).await?;
/// server.pause(); // an outage: connections stay, answers do not come
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedisServer {
    dir: PathBuf,
    port: u16,
    args: Vec<String>,
    running: Option<Running>,
}

/// The process of a server, with the shell that ends it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Running {
    watchdog: Child,
    /// The server ends when this is closed.
    stdin: ChildStdin,
    pid: u32,
}

impl Running {
    /// Ends the server at once and keeps its directory.
    pub fn kill(mut self) {
        let _ = self.stdin.write_all(b"keep\n");
        let _ = self.watchdog.wait();
    }

    /// Ends the server at once and removes its directory.
    pub fn end(self) {
        let Self { mut watchdog, stdin, .. } = self;
        drop(stdin);
        let _ = watchdog.wait();
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().expect("kill");
        assert!(status.success(), "kill -s {name} {}", self.pid);
    }
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    ///
    /// The program is the `redis-server` on the `PATH`, or what the environment variable `OXMQ_TEST_SERVER` names.
    ///
    /// # Panics
    ///
    /// If there is no such program or it does not come up: a test that cannot run fails.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Returns the server that all tests of this process share; it ends with the process.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a server with further arguments, for example `&["--maxmemory", "64mb"]`.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&a| a.to_owned()).collect();
        let mut log = String::new();
        for _ in 0..10 {
            let dir = fresh_dir();
            // The port is free now; if another process takes it first, redis-server ends and we try again.
            let port = free_port_for(&args);
            match launch(&dir, port, &args) {
                Ok(running) => {
                    return Self { dir, port, args, running: Some(running) };
                }
                Err(text) => log = text,
            }
        }
        panic!("redis-server does not start; its last words:\n{log}");
    }

    /// Returns its `redis://` address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns the `redis://` address of a numbered database.
    #[must_use]
    pub fn database(&self, number: u8) -> String {
        format!("{}/{number}", self.url())
    }

    /// Returns its `unix://` address.
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns the loopback port; [`restart`](Self::restart) keeps it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns its TCP address.
    #[must_use]
    pub fn addr(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Returns the path of its unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// Returns whether the server runs; false after it was killed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Kills the server, as with `kill -9`.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Sets other arguments for the next start.
    pub fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
    }

    /// Starts the server again on its port, with the contents of its append-only file, if it has one.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        let mut log = String::new();
        for _ in 0..10 {
            match launch(&self.dir, self.port, &self.args) {
                Ok(running) => {
                    self.running = Some(running);
                    return;
                }
                Err(text) => log = text,
            }
        }
        panic!("redis-server does not start again; its last words:\n{log}");
    }

    /// Suspends the server (`SIGSTOP`): connections stay open, but get no replies.
    ///
    /// # Panics
    ///
    /// If it was killed.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues a suspended server.
    ///
    /// # Panics
    ///
    /// If it was killed.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.running.as_ref().expect("the server was killed").signal(name);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        match self.running.take() {
            Some(running) => running.end(),
            None => {
                let _ = std::fs::remove_dir_all(&self.dir);
            }
        }
    }
}

/// Creates a new directory for a server. The first one of a process removes those that killed processes have left behind.
#[doc(hidden)]
#[must_use]
pub fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("oxmq-redis-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("directory for redis-server");
    #[cfg(unix)]
    {
        static CLEARED: std::sync::Once = std::sync::Once::new();
        CLEARED.call_once(|| leftovers::remove_beside(&dir));
    }
    dir
}

/// Finds a free port; for a node of a cluster one whose bus port, 10,000 above it, is free too.
fn free_port_for(args: &[String]) -> u16 {
    let has_bus = args.iter().any(|arg| arg == "--cluster-enabled");
    loop {
        let port = free_port();
        if !has_bus || (port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok()) {
            return port;
        }
    }
}

/// Finds a port that is free now.
#[doc(hidden)]
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its number").port()
}

/// Returns the server to test with: the one that `OXMQ_TEST_SERVER` names, else the redis-server on the PATH.
fn program() -> &'static OsStr {
    static PROGRAM: OnceLock<OsString> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("OXMQ_TEST_SERVER").unwrap_or_else(|| "redis-server".into()))
}

/// Returns the major version of the server that [`RedisServer::start`] starts.
#[must_use]
pub fn server_version() -> u32 {
    static VERSION: OnceLock<u32> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(program())
            .arg("--version")
            .output()
            .unwrap_or_else(|err| {
                let program = program().display();
                panic!(
                    "these tests need a server, and cannot run {program}: {err}. Install redis-server, or let OXMQ_TEST_SERVER name \
                     another program, or OXMQ_TEST_REDIS the URL of a running server"
                )
            });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split("v=").nth(1).and_then(|v| v.split('.').next());
        version.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{} --version: {text}", program().display()))
    })
}

/// Creates a command that runs `redis-server` in a directory, with the [`WATCHDOG`].
#[doc(hidden)]
#[must_use]
pub fn server_in(dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WATCHDOG, "redis-watchdog"]).arg(dir).arg(program());
    command
}

fn launch(dir: &Path, port: u16, args: &[String]) -> Result<Running, String> {
    let mut command = server_in(dir);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
    command.arg(dir).arg("--unixsocket").arg(dir.join("s"));
    if server_version() >= 7 {
        command.args(["--enable-debug-command", "local"]);
    }
    if !args.iter().any(|a| a == "--appendonly") {
        command.args(["--appendonly", "no"]);
    }
    command.args(args);
    // Only our own server writes this log, so another server on the same port cannot be mistaken for it.
    run(command, dir, "eady to accept connections")
}

/// Runs `command` with the [`WATCHDOG`], and waits until its log contains `ready`; otherwise returns its log.
#[doc(hidden)]
pub fn run(mut command: Command, dir: &Path, ready: &str) -> Result<Running, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut watchdog = command.spawn().expect("sh");
    let stdin = watchdog.stdin.take().expect("piped");
    let mut line = String::new();
    BufReader::new(watchdog.stdout.take().expect("piped")).read_line(&mut line).expect("a pid");
    let running = Running { watchdog, stdin, pid: line.trim().parse().expect("a pid") };

    let start = Instant::now();
    loop {
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        if log.contains(ready) {
            return Ok(running);
        }
        let gone = log.contains("Failed listening") || log.contains("FATAL");
        if gone || start.elapsed() > Duration::from_secs(10) {
            running.kill();
            return Err(log);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
