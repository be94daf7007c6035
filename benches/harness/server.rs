//! The private redis-server and its figures.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::options::Options;
use super::resp::Connection;

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) version: String,
    child: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts a server on a free loopback port, on core 0, that saves only when told to.
    pub(super) fn start(options: &Options) -> Result<Self> {
        let directory = options.target.join("bench").join(format!("redis-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = command("redis-server".as_ref(), 0, options.pin);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--dbfilename", "prefilled.rdb", "--loglevel", "warning"])
            // `DEBUG RELOAD` gives each run the very same keys.
            .args(["--enable-debug-command", "local"])
            .arg("--dir")
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().context("redis-server (7 or later) cannot be started")?;
        let mut server = Self { port, version: String::new(), child, directory };
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

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.connect()?.call(&["FLUSHALL", "SYNC"])?;
        Ok(())
    }

    /// Keeps the present keys for [`Self::restore`].
    pub(super) fn keep(&self) -> Result<()> {
        self.connect()?.call(&["SAVE"])?;
        Ok(())
    }

    /// Replaces all keys by those of the last [`Self::keep`].
    pub(super) fn restore(&self) -> Result<()> {
        self.connect()?.call(&["DEBUG", "RELOAD", "NOSAVE"])?;
        Ok(())
    }

    pub(super) fn figures(&self) -> Result<Figures> {
        let mut connection = self.connect()?;
        let mut info = |section| -> Result<String> {
            let text = connection.text(&["INFO", section])?;
            text.with_context(|| format!("INFO {section} is empty"))
        };
        let stats = info("commandstats")?;
        let memory = info("memory")?;
        // Last before the timed part and first after it would be best; a few dozen µs either way is what we accept.
        let cpu = info("cpu")?;
        let number = |text: &str, name: &str| -> Result<f64> {
            let value = field(text, name).with_context(|| format!("INFO has no {name}"))?;
            Ok(value.parse()?)
        };
        Ok(Figures {
            cpu_s: number(&cpu, "used_cpu_user_main_thread")? + number(&cpu, "used_cpu_sys_main_thread")?,
            memory: number(&memory, "used_memory")?,
            commands: commands(&stats),
            keys: self.connect()?.integer(&["DBSIZE"])?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing worth saving, and it is our own child.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What the server says of itself at one moment.
#[derive(Debug)]
pub(super) struct Figures {
    /// User and system time of the main thread, in seconds.
    pub(super) cpu_s: f64,
    /// Bytes in use.
    pub(super) memory: f64,
    /// Commands executed, those inside scripts included, the harness's own excluded.
    pub(super) commands: f64,
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
            let ours = ["info", "dbsize", "monitor"].contains(&name);
            let calls = rest.strip_prefix("calls=")?.split(',').next()?;
            if ours { None } else { calls.parse::<f64>().ok() }
        })
        .sum()
}

/// `program`, on one core if `pin`.
pub(super) fn command(program: &std::ffi::OsStr, core: usize, pin: bool) -> Command {
    if pin {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
