//! A peer as a child process, and the conversation with it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::options::{Options, PeerName};
use super::server::{Server, command};
use super::work::{Way, Work};

/// The key prefix of all runs.
pub(super) const PREFIX: &str = "bull";

pub(super) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    deadline: Instant,
}

impl Running {
    /// Starts `name` with `work`, on core 1.
    pub(super) fn start(options: &Options, server: &Server, name: PeerName, work: &str, shape: &Work) -> Result<Self> {
        let mut command = program(options, name)?;
        // The jobs that other peers write beforehand take the plain way.
        let way = if shape.suits(name) { shape.way } else { Way::Near };
        command
            .args(["--redis", &server.url(way), "--prefix", PREFIX])
            .args(["--work", work, "--jobs", &shape.jobs.to_string()])
            .args(["--concurrency", &shape.concurrency.to_string()])
            .args(["--backlog", &shape.backlog.to_string(), "--bytes", &shape.bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if shape.way == Way::Threads {
            command.args(["--threads", "2"]);
        }
        if name == PeerName::Oxmq && shape.prefetch > 0 {
            command.args(["--prefetch", &shape.prefetch.to_string()]);
        }
        if name == PeerName::Floor {
            command.arg("--recording").arg(server.recording(&shape.label()));
        }
        let mut child = command.spawn().with_context(|| format!("peer {} cannot be started", name.as_str()))?;
        let input = child.stdin.take();
        let stdout = child.stdout.take().context("the peer has no output")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, output, deadline: Instant::now() + options.timeout })
    }

    /// Waits for the end of the peer's preparation.
    pub(super) fn wait_until_ready(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line == "ready", "the peer said {line:?} instead of ready");
        Ok(())
    }

    /// Sends the line that lets the peer go on.
    pub(super) fn go_on(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("the peer has no input")?;
        input.write_all(b"\n").context("the peer is gone")
    }

    /// Waits for the line of JSON.
    pub(super) fn result(&mut self) -> Result<Map<String, Value>> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the peer said {line:?}"))
    }

    /// Lets the peer close, and checks that it ends without an error.
    pub(super) fn finish(mut self) -> Result<()> {
        self.go_on()?;
        self.input = None;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < self.deadline, "the peer is stuck in closing");
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "the peer ended with {status}");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.output.recv_timeout(left) {
            Ok(line) => Ok(line),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => bail!("the peer is stuck"),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                bail!("the peer ended early: {}", self.child.wait()?)
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After an error only: `finish` has waited for the end already.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn program(options: &Options, name: PeerName) -> Result<Command> {
    let pinned = |program: &Path| command(program.as_os_str(), 1, options.pin);
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    Ok(match name {
        PeerName::Oxmq | PeerName::Floor => {
            let mut command = pinned(&std::env::current_exe()?);
            command.args(["--as-peer", name.as_str()]);
            command
        }
        PeerName::Node => {
            let directory = peers.join("node");
            ensure!(
                directory.join("node_modules/bullmq").is_dir(),
                "BullMQ is not installed: run `npm ci` in benches/peers/node"
            );
            let mut command = pinned(Path::new("node"));
            command.arg(directory.join("peer.mjs"));
            command
        }
        PeerName::Official => {
            let executable = options.target.join("peers/release/official-peer");
            ensure!(executable.is_file(), "{} is missing: run `make bench-setup`", executable.display());
            pinned(&executable)
        }
    })
}
