//! A master with replicas, and three sentinels that watch it.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::certificates::Certificates;
use super::eventually::eventually_within;
use super::server::{RedisServer, Running, connect, free_port, fresh_dir, run, server_in};

/// The name under which the sentinels know the master.
pub const MASTER: &str = "mymaster";

/// How long a failover may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sentinel on a loopback port; dropping it ends it.
pub struct Sentinel {
    dir: PathBuf,
    port: u16,
    tls_port: Option<u16>,
    running: Option<Running>,
}

impl Sentinel {
    /// Starts a sentinel that takes a master for down after one second without an answer, with a password if one is
    /// given. With certificates it speaks TLS to all others.
    fn start(master: u16, password: Option<&str>, certificates: Option<&Certificates>) -> Self {
        let mut log = String::new();
        for _ in 0..10 {
            let (dir, port) = (fresh_dir(), free_port());
            let mut lines = vec![
                format!("port {port}"),
                "bind 127.0.0.1".to_owned(),
                format!("dir {}", dir.display()),
                format!("sentinel monitor {MASTER} 127.0.0.1 {master} 2"),
                format!("sentinel down-after-milliseconds {MASTER} 1000"),
                format!("sentinel failover-timeout {MASTER} 10000"),
            ];
            // They use the same password among themselves.
            lines.extend(
                password.iter().flat_map(|secret| {
                    [format!("requirepass {secret:?}"), format!("sentinel sentinel-pass {secret:?}")]
                }),
            );
            let tls_port = certificates.map(Certificates::port);
            if let (Some(certificates), Some(port)) = (certificates, tls_port) {
                let args = certificates.server_args("server", port);
                lines.extend(args.chunks(2).map(|pair| format!("{} {}", &pair[0][2..], pair[1])));
                lines.push("tls-replication yes".to_owned());
            }
            std::fs::write(dir.join("conf"), lines.join("\n")).unwrap();
            let mut command = server_in(&dir);
            command.arg(dir.join("conf")).arg("--sentinel");
            match run(command, &dir, "Sentinel ID is") {
                Ok(running) => return Self { dir, port, tls_port, running: Some(running) },
                Err(text) => log = text,
            }
        }
        panic!("a sentinel does not start; its last words:\n{log}");
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns its TLS address, if it has one.
    fn tls_host(&self) -> Option<String> {
        self.tls_port.map(|port| format!("127.0.0.1:{port}"))
    }

    /// Ends the sentinel at once.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Starts it again with its saved configuration.
    pub fn restart(&mut self) {
        self.kill();
        std::fs::remove_file(self.dir.join("log")).unwrap();
        let mut command = server_in(&self.dir);
        command.arg(self.dir.join("conf")).arg("--sentinel");
        self.running = Some(run(command, &self.dir, "Sentinel ID is").unwrap());
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        match self.running.take() {
            Some(running) => running.end(),
            None => drop(std::fs::remove_dir_all(&self.dir)),
        }
    }
}

/// Two servers, of which one is the master, and three sentinels that agree on it.
pub struct Sentinels {
    pub servers: Vec<RedisServer>,
    pub sentinels: Vec<Sentinel>,
    password: Option<&'static str>,
}

impl Sentinels {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts them with a password for the sentinels.
    pub async fn start_with(password: Option<&'static str>) -> Self {
        Self::start_all(password, None).await
    }

    /// Starts them with TLS among each other and for their clients, with the certificate `server`.
    pub async fn over_tls(certificates: &Certificates) -> Self {
        Self::start_all(None, Some(certificates)).await
    }

    async fn start_all(password: Option<&'static str>, certificates: Option<&Certificates>) -> Self {
        // A replica with the master's data needs no transfer when it connects.
        let server = |of: Option<u16>| {
            let mut args = vec!["--repl-diskless-sync-delay".to_owned(), "0".to_owned()];
            let tls_port = certificates.map(|certificates| {
                let port = certificates.port();
                args.extend(certificates.server_args("server", port));
                args.extend(["--tls-replication", "yes"].map(str::to_owned));
                port
            });
            args.extend(of.iter().flat_map(|port| ["--replicaof".into(), "127.0.0.1".into(), port.to_string()]));
            let server = RedisServer::start_with(&args.iter().map(String::as_str).collect::<Vec<_>>());
            let port = tls_port.unwrap_or_else(|| server.port());
            (server, port)
        };
        let (master, port) = server(None);
        let (replica, _) = server(Some(port));
        let sentinels = (0..3).map(|_| Sentinel::start(port, password, certificates)).collect();
        let all = Self { servers: vec![master, replica], sentinels, password };
        all.until_ready().await;
        all
    }

    /// Returns the addresses of the sentinels.
    pub fn hosts(&self) -> Vec<String> {
        self.sentinels.iter().map(Sentinel::host).collect()
    }

    /// Returns the TLS addresses of the sentinels.
    pub fn tls_hosts(&self) -> Vec<String> {
        self.sentinels.iter().filter_map(Sentinel::tls_host).collect()
    }

    async fn ask(&self, sentinel: &Sentinel) -> MultiplexedConnection {
        let login = self.password.map_or(String::new(), |secret| format!(":{}@", secret.replace('%', "%25")));
        connect(&format!("redis://{login}{}", sentinel.host())).await
    }

    /// Waits until a failover is possible: the replica is in sync, and all sentinels know it and each other.
    pub async fn until_ready(&self) {
        eventually_within(PATIENCE, "sentinels that know all", || async {
            for sentinel in &self.sentinels {
                let mut connection = self.ask(sentinel).await;
                let mut details = redis::cmd("SENTINEL");
                details.arg("MASTER").arg(MASTER);
                let Ok(details) =
                    details.query_async::<std::collections::HashMap<String, String>>(&mut connection).await
                else {
                    return false;
                };
                if details["num-slaves"] != "1" || details["num-other-sentinels"] != "2" || details["flags"] != "master"
                {
                    return false;
                }
                let mut replicas = redis::cmd("SENTINEL");
                replicas.arg("REPLICAS").arg(MASTER);
                let Ok(replicas) =
                    replicas.query_async::<Vec<std::collections::HashMap<String, String>>>(&mut connection).await
                else {
                    return false;
                };
                if replicas.iter().any(|replica| {
                    replica["flags"] != "slave"
                        || replica["master-link-status"] != "ok"
                        || replica["slave-repl-offset"] == "0"
                }) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Returns the first server that answers that it is a master.
    pub async fn master(&self) -> usize {
        eventually_within(PATIENCE, "a master", || async {
            for (index, server) in self.servers.iter().enumerate() {
                if is_master(server).await {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    /// Waits until this server is a master.
    pub async fn until_master(&self, index: usize) {
        eventually_within(PATIENCE, "the replica is the master", || is_master(&self.servers[index])).await;
    }

    /// Asks for a failover while the master is healthy.
    pub async fn fail_over(&self) {
        eventually_within(PATIENCE, "a planned failover begins", || async {
            let mut connection = self.ask(&self.sentinels[0]).await;
            let mut command = redis::cmd("SENTINEL");
            command.arg("FAILOVER").arg(MASTER);
            command.query_async::<()>(&mut connection).await.is_ok()
        })
        .await;
    }
}

/// Returns whether a server answers that it is a master.
pub async fn is_master(server: &RedisServer) -> bool {
    let asked = async {
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut connection).await.ok()?;
        Some(matches!(&role[0], redis::Value::BulkString(role) if role == b"master"))
    };
    matches!(tokio::time::timeout(Duration::from_millis(500), asked).await, Ok(Some(true)))
}
