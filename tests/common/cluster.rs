//! A Redis Cluster of our own: masters on loopback ports, each with a replica if the test wants one.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redis::{Commands, Connection, FromRedisValue};

use super::certificates::Certificates;
use super::eventually::{DEADLINE, until};
use super::server::RedisServer;

const SLOTS: u16 = 16_384;
const MASTERS: u16 = 3;

/// Three masters; with replicas, node 3 is the replica of node 0, and so on.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
    /// The TLS ports, if the nodes speak TLS; the tests themselves use the plain ports.
    tls_ports: Vec<u16>,
}

impl Cluster {
    /// Starts three masters without replicas.
    pub fn start() -> Self {
        Self::of(usize::from(MASTERS), None)
    }

    /// Starts three masters that speak TLS to their clients and to each other, with the certificate `server`.
    pub fn over_tls(certificates: &Certificates) -> Self {
        Self::of(usize::from(MASTERS), Some(certificates))
    }

    /// Starts three masters with a replica each. A master that is silent for a second is replaced.
    pub fn with_replicas() -> Self {
        Self::of(usize::from(2 * MASTERS), None)
    }

    fn of(nodes: usize, certificates: Option<&Certificates>) -> Self {
        let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"];
        let mut cluster = Self { nodes: Vec::new(), tls_ports: Vec::new() };
        for _ in 0..nodes {
            let mut args: Vec<String> = args.map(str::to_owned).into();
            if let Some(certificates) = certificates {
                let port = certificates.port();
                args.extend(certificates.server_args("server", port));
                args.extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(str::to_owned));
                cluster.tls_ports.push(port);
            }
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            cluster.nodes.push(RedisServer::start_with(&args));
        }
        for index in 0..nodes {
            let mut admin = cluster.admin(index);
            run::<()>(&mut admin, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            if index > 0 {
                let port = cluster.port(index).to_string();
                run::<()>(&mut cluster.admin(0), &["CLUSTER", "MEET", "127.0.0.1", &port]);
            }
        }
        for index in 0..MASTERS {
            let mut words = vec!["CLUSTER".to_owned(), "ADDSLOTS".to_owned()];
            words.extend((0..SLOTS).filter(|slot| owner_at_first(*slot) == index).map(|slot| slot.to_string()));
            run::<()>(&mut cluster.admin(usize::from(index)), &words);
        }
        cluster.until("all nodes know each other", |info| {
            info.contains(&format!("cluster_known_nodes:{}", cluster.nodes.len()))
        });
        for replica in usize::from(MASTERS)..cluster.nodes.len() {
            let master = cluster.id(replica - usize::from(MASTERS));
            let command = ["CLUSTER", "REPLICATE", &master];
            until("the replica knows its master", || {
                redis::cmd(command[0]).arg(&command[1..]).query::<()>(&mut cluster.admin(replica)).is_ok()
            });
        }
        cluster.until("the cluster is well", |info| info.contains("cluster_state:ok"));
        cluster.until_replicas_are_level();
        cluster
    }

    /// Returns the nodes as `ConnectOptions::cluster` takes them.
    pub fn hosts(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|node| format!("127.0.0.1:{}", self.port(node))).collect()
    }

    /// Returns the port of a node for clients and for the other nodes.
    pub fn port(&self, node: usize) -> u16 {
        self.tls_ports.get(node).copied().unwrap_or_else(|| self.nodes[node].port())
    }

    /// Returns the `redis+cluster://` address.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", self.hosts().join(","))
    }

    /// Opens a connection for commands that do not block.
    pub fn admin(&self, node: usize) -> Connection {
        let url = format!("redis://127.0.0.1:{}", self.nodes[node].port());
        redis::Client::open(url).unwrap().get_connection_with_timeout(Duration::from_secs(5)).unwrap()
    }

    fn id(&self, node: usize) -> String {
        run(&mut self.admin(node), &["CLUSTER", "MYID"])
    }

    /// Returns the nodes that answer.
    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_running())
    }

    fn until(&self, what: &str, is_met: impl Fn(&str) -> bool) {
        until(what, || self.alive().all(|node| is_met(&run::<String>(&mut self.admin(node), &["CLUSTER", "INFO"]))));
    }

    /// Waits until every replica that runs has what its master has.
    pub fn until_replicas_are_level(&self) {
        until("all replicas are level", || {
            self.alive().all(|node| {
                let info: String = run(&mut self.admin(node), &["INFO", "replication"]);
                info.contains("role:master") || info.contains("master_link_status:up")
            })
        });
    }

    /// Waits until all nodes announce each other by these names.
    pub fn until_named(&self, name: impl Fn(usize) -> String) {
        until("all are known by their names", || {
            self.alive().all(|node| {
                let shown: String = run(&mut self.admin(node), &["CLUSTER", "NODES"]);
                (0..self.nodes.len()).all(|node| shown.contains(&name(node)))
            })
        });
    }

    /// Waits until all running nodes report that the cluster is healthy.
    pub fn until_well(&self) {
        self.until("the cluster is well", |info| info.contains("cluster_state:ok"));
        self.until_replicas_are_level();
    }

    /// Returns the node that says that it is the master of a slot.
    pub fn owner(&self, slot: u16) -> usize {
        let mut found = None;
        until("the slot has a master", || {
            found = self.alive().find(|node| self.is_owner(*node, slot));
            found.is_some()
        });
        found.unwrap()
    }

    /// Whether a node says that it is the master of a slot, and serves it.
    pub fn is_owner(&self, node: usize, slot: u16) -> bool {
        let asked = || -> redis::RedisResult<bool> {
            let url = format!("redis://127.0.0.1:{}", self.nodes[node].port());
            let mut admin = redis::Client::open(url)?.get_connection_with_timeout(Duration::from_millis(300))?;
            admin.set_read_timeout(Some(Duration::from_millis(300)))?;
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut admin)?;
            let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut admin)?;
            let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            let has = own.split(' ').skip(8).any(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if (from..=to).contains(&slot))
            });
            Ok(has && info.contains("cluster_state:ok") && own.contains("master"))
        };
        asked().unwrap_or(false)
    }

    /// Moves a slot to another master, key by key, as `redis-cli --cluster reshard` does; `pause` after each few keys.
    pub fn move_slot(&self, slot: u16, to: usize, pause: Duration) {
        let from = self.owner(slot);
        if from == to {
            return;
        }
        let (number, port) = (slot.to_string(), self.port(to).to_string());
        let (from_id, to_id) = (self.id(from), self.id(to));
        let (mut source, mut target) = (self.admin(from), self.admin(to));
        run::<()>(&mut target, &["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id]);
        run::<()>(&mut source, &["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]);
        let start = Instant::now();
        loop {
            let keys: Vec<String> = run(&mut source, &["CLUSTER", "GETKEYSINSLOT", &number, "20"]);
            if keys.is_empty() {
                break;
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            migrate.extend(keys.iter().map(String::as_str));
            match redis::cmd(migrate[0]).arg(&migrate[1..]).query::<String>(&mut source) {
                // `NOKEY` if all of them have expired meanwhile.
                Ok(moved) => assert!(moved == "OK" || moved == "NOKEY", "{moved}"),
                Err(error) => {
                    // The target waits some time before it serves again when it has heard of too few masters, as after
                    // one was replaced. The source has kept the keys that were refused.
                    assert!(error.to_string().contains("CLUSTERDOWN"), "MIGRATE: {error}");
                    assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {error}");
                }
            }
            std::thread::sleep(pause); // so long the slot is between both
        }
        run::<()>(&mut target, &["CLUSTER", "SETSLOT", &number, "NODE", &to_id]);
        run::<()>(&mut source, &["CLUSTER", "SETSLOT", &number, "NODE", &to_id]);
        for node in self.alive().filter(|node| *node != to && *node != from && self.is_master(*node)) {
            run::<()>(&mut self.admin(node), &["CLUSTER", "SETSLOT", &number, "NODE", &to_id]);
        }
    }

    /// Whether the nodes can move a slot in one step, as those of Valkey 9 can.
    pub fn moves_in_one_step(&self) -> bool {
        let asked = redis::cmd("CLUSTER").arg("MIGRATESLOTS").query::<()>(&mut self.admin(0));
        asked.is_err_and(|error| !error.to_string().to_lowercase().contains("unknown"))
    }

    /// Moves a slot to another master in one step.
    pub fn move_slot_in_one_step(&self, slot: u16, to: usize) {
        let (slot_text, id) = (slot.to_string(), self.id(to));
        let words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &slot_text, &slot_text, "NODE", &id];
        run::<()>(&mut self.admin(self.owner(slot)), &words);
        until("the slot has moved", || self.is_owner(to, slot));
    }

    /// Whether a node is a master and runs.
    pub fn is_live_master(&self, node: usize) -> bool {
        self.nodes[node].is_running() && self.is_master(node)
    }

    fn is_master(&self, node: usize) -> bool {
        run::<String>(&mut self.admin(node), &["INFO", "replication"]).contains("role:master")
    }

    /// Asks a replica to take the place of its healthy master.
    pub fn fail_over_to(&self, replica: usize) {
        run::<()>(&mut self.admin(replica), &["CLUSTER", "FAILOVER"]);
    }

    /// Lets a replica take the place of its master. Asks again if the server refused, e.g. while the replica is behind.
    pub fn hand_over_to(&self, replica: usize, slot: u16) {
        let mut asked = None;
        until("it has handed over", || {
            if asked.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(6)) {
                let _ = redis::cmd("CLUSTER").arg("FAILOVER").query::<()>(&mut self.admin(replica));
                asked = Some(Instant::now());
            }
            self.is_owner(replica, slot)
        });
    }
}

fn run<T: FromRedisValue>(connection: &mut Connection, words: &[impl AsRef<str>]) -> T {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let shown = words[..words.len().min(4)].join(" ");
    redis::cmd(words[0]).arg(&words[1..]).query(connection).unwrap_or_else(|error| panic!("{shown}: {error}"))
}

/// Returns the master of a slot before any slot is moved.
fn owner_at_first(slot: u16) -> u16 {
    slot / SLOTS.div_ceil(MASTERS)
}

/// Returns the slot of a key, by its hash tag.
pub fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let crc = tag.filter(|tag| !tag.is_empty()).unwrap_or(key).bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    });
    crc % SLOTS
}

/// Returns names with a hash tag, made from `text` and a number, one for each master before any slot is moved.
pub fn name_on_each(text: &str) -> [String; MASTERS as usize] {
    [0, 1, 2].map(|index| name_on(text, index))
}

/// Returns a name with a hash tag, made from `text` and a number, that this master serves before any slot is moved.
pub fn name_on(text: &str, index: u16) -> String {
    let names = (0..).map(|number| format!("{{{text}-{number}}}"));
    names.into_iter().find(|name| owner_at_first(slot_of(name)) == index).unwrap()
}

/// Returns the cluster that all tests of this process share. It has no replicas, and nobody moves its slots.
pub fn shared_cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start)
}

#[test]
fn a_slot_moves_with_its_keys() {
    let cluster = Cluster::start();
    let name = name_on("a", 0);
    let slot = slot_of(&name);
    assert_eq!(cluster.owner(slot), 0);
    let () = cluster.admin(0).set(&name, "value").unwrap();
    cluster.move_slot(slot, 2, Duration::ZERO);
    assert_eq!(cluster.owner(slot), 2);
    assert_eq!(cluster.admin(2).get::<_, String>(&name).unwrap(), "value");
    let number: u16 = run(&mut cluster.admin(0), &["CLUSTER", "KEYSLOT", &name]);
    assert_eq!(number, slot);
}
