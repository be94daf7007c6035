//! The private redis-server and its figures.
//!
//! The one of `oxmq::testing` will not do: this one is tied to a core, has TLS and a server that is far away beside it, and is started
//! by a process in which nothing of what is measured runs.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::far::Far;
use super::options::Options;
use super::resp::Connection;
use super::tls::Tls;
use super::work::{ROUND_TRIP, Way};

pub(super) struct Server {
    port: u16,
    far: Far,
    tls: Option<Tls>,
    pub(super) version: String,
    child: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts a server on a free loopback port, on core 0, that saves only when told to; one that speaks TLS on another port
    /// if that is needed.
    pub(super) fn start(options: &Options, needs_tls: bool) -> Result<Self> {
        let directory = options.target.join("bench").join(format!("redis-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = command("redis-server".as_ref(), 0, options.pin);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--loglevel", "warning"])
            // `DEBUG RELOAD` gives each run the very same keys; the file is chosen by `CONFIG SET`.
            .args(["--enable-debug-command", "local", "--enable-protected-configs", "local"])
            .args(["--latency-tracking-info-percentiles", "99", "100"])
            .arg("--dir")
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let tls = needs_tls.then(|| Tls::new(&directory)).transpose()?;
        if let Some(tls) = &tls {
            command.args(tls.server_args());
        }
        let child = command.spawn().context("redis-server (7 or later) cannot be started")?;
        let far = Far::start(port, ROUND_TRIP)?;
        let mut server = Self { port, far, tls, version: String::new(), child, directory };
        server.version = server.wait_until_up()?;
        Ok(server)
    }

    fn wait_until_up(&mut self) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("redis-server ended at once: {status}");
            }
            if let Ok(mut connection) = self.connect()
                && let Some(info) = connection.text(&["INFO", "server"])?
                && let Some(version) = field(&info, "redis_version")
            {
                return Ok(version.to_owned());
            }
            ensure!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn connect(&self) -> Result<Connection> {
        Connection::open(self.port)
    }

    /// Returns the address for the peers.
    pub(super) fn url(&self, way: Way) -> String {
        match (way, &self.tls) {
            (Way::Tls, Some(tls)) => tls.url(),
            (Way::Far, _) => format!("redis://127.0.0.1:{}", self.far.port),
            _ => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.connect()?.call(&["FLUSHALL", "SYNC"])?;
        Ok(())
    }

    /// Saves the present keys under this name.
    pub(super) fn keep(&self, name: &str) -> Result<()> {
        let mut connection = self.connect()?;
        connection.call(&["CONFIG", "SET", "dbfilename", name])?;
        connection.call(&["SAVE"])?;
        Ok(())
    }

    /// Returns whether keys are saved under this name.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.directory.join(name).exists()
    }

    /// Returns the file that holds the commands of a work for its floor.
    pub(super) fn recording(&self, label: &str) -> PathBuf {
        self.directory.join(format!("{}.commands", label.replace('/', "-")))
    }

    /// Replaces all keys with those saved under this name.
    pub(super) fn restore(&self, name: &str) -> Result<()> {
        let mut connection = self.connect()?;
        connection.call(&["CONFIG", "SET", "dbfilename", name])?;
        connection.call(&["DEBUG", "RELOAD", "NOSAVE"])?;
        Ok(())
    }

    /// Resets the statistics of how long commands took.
    pub(super) fn reset(&self) -> Result<()> {
        self.connect()?.call(&["CONFIG", "RESETSTAT"])?;
        Ok(())
    }

    pub(super) fn figures(&self) -> Result<Figures> {
        let mut connection = self.connect()?;
        let mut info = |section| -> Result<String> {
            let text = connection.text(&["INFO", section])?;
            text.with_context(|| format!("INFO {section} is empty"))
        };
        let stats = info("commandstats")?;
        let latencies = info("latencystats")?;
        let memory = info("memory")?;
        // Read as the last thing before the timed part and the first thing after it; an error of a few dozen µs is
        // accepted.
        let cpu = info("cpu")?;
        let number = |text: &str, name: &str| -> Result<f64> {
            let value = field(text, name).with_context(|| format!("INFO has no {name}"))?;
            Ok(value.parse()?)
        };
        Ok(Figures {
            cpu_s: number(&cpu, "used_cpu_user_main_thread")? + number(&cpu, "used_cpu_sys_main_thread")?,
            memory: number(&memory, "used_memory")?,
            commands: commands(&stats),
            script_p99_ms: script_ms(&latencies, "p99"),
            longest_script_ms: script_ms(&latencies, "p100"),
            keys: self.connect()?.integer(&["DBSIZE"])?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing worth saving, and it is a child of this process.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The server's own figures at one moment.
#[derive(Debug)]
pub(super) struct Figures {
    /// User and system time of the main thread, in seconds.
    pub(super) cpu_s: f64,
    /// Bytes in use.
    pub(super) memory: f64,
    /// Commands executed, those inside scripts included, the harness's own excluded.
    pub(super) commands: f64,
    /// How long one call of a script blocked the server since the last [`Server::reset`]: the 99th percentile, and the
    /// longest. It is wall time, so another process on the same core lengthens it.
    pub(super) script_p99_ms: f64,
    pub(super) longest_script_ms: f64,
    /// Keys of the database.
    pub(super) keys: i64,
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn commands(stats: &str) -> f64 {
    stats
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let ours = ["info", "dbsize", "monitor", "config|resetstat"].contains(&name);
            let calls = rest.strip_prefix("calls=")?.split(',').next()?;
            if ours { None } else { calls.parse::<f64>().ok() }
        })
        .sum()
}

/// Returns a percentile of the time that calls of scripts took.
fn script_ms(latencies: &str, percentile: &str) -> f64 {
    let of = |command: &str| -> Option<f64> {
        let line = field(latencies, &format!("latency_percentiles_usec_{command}"))?;
        let figures = line.split(',').find_map(|figure| figure.strip_prefix(percentile)?.strip_prefix('='))?;
        figures.parse().ok()
    };
    of("evalsha").unwrap_or(0.0).max(of("eval").unwrap_or(0.0)) / 1e3
}

/// Returns a command for `program`, on one core if `pin` is set.
pub(super) fn command(program: &std::ffi::OsStr, core: usize, pin: bool) -> Command {
    if pin {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
