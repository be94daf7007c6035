//! Looks on while sentinels replace a healthy master, so that an acknowledged job that is lost can be explained.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::server::RedisServer;

/// How often the servers are asked.
const EVERY: Duration = Duration::from_millis(2);

/// What a server has said of its replication.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    is_master: bool,
    offset: u64,
    /// Up to where its replica has confirmed, or, of a new master, up to where it had followed the old one.
    follower: u64,
    clients: u64,
}

/// Asks both servers all the time, and listens to the sentinels.
pub struct Witness {
    stop: Arc<AtomicBool>,
    old: Arc<Mutex<Vec<Look>>>,
    heir: Arc<Mutex<Vec<Look>>>,
    promised: Arc<Mutex<Option<Instant>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Witness {
    pub fn start(old: &RedisServer, heir: &RedisServer, sentinels: &[String]) -> Self {
        let mut witness = Self {
            stop: Arc::default(),
            old: Arc::default(),
            heir: Arc::default(),
            promised: Arc::default(),
            threads: Vec::new(),
        };
        for (server, looks) in [(old, &witness.old), (heir, &witness.heir)] {
            let (url, looks, stop) = (server.url(), Arc::clone(looks), Arc::clone(&witness.stop));
            witness.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(mut connection) = redis::Client::open(url.as_str()).unwrap().get_connection() {
                        while let (false, Some(look)) = (stop.load(Ordering::Relaxed), look(&mut connection)) {
                            looks.lock().unwrap().push(look);
                            std::thread::sleep(EVERY); // its pace
                        }
                    }
                    std::thread::sleep(EVERY); // its pace
                }
            }));
        }
        for host in sentinels {
            let (url, promised) = (format!("redis://{host}"), Arc::clone(&witness.promised));
            let stop = Arc::clone(&witness.stop);
            witness.threads.push(std::thread::spawn(move || {
                let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
                let mut messages = connection.as_pubsub();
                messages.subscribe("+failover-state-send-slaveof-noone").unwrap();
                messages.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if messages.get_message().is_ok() {
                        promised.lock().unwrap().get_or_insert_with(Instant::now);
                    }
                }
            }));
        }
        witness
    }

    pub fn end(mut self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let (old, heir) = (self.old.lock().unwrap().clone(), self.heir.lock().unwrap().clone());
        Account { old, heir, promised: *self.promised.lock().unwrap() }
    }
}

fn look(connection: &mut redis::Connection) -> Option<Look> {
    let info: String = redis::cmd("INFO").arg("replication").query(connection).ok()?;
    let clients: String = redis::cmd("INFO").arg("clients").query(connection).ok()?;
    let number = |text: &str, name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    };
    let confirmed = info.lines().find(|line| line.starts_with("slave0:")).and_then(|line| {
        line.split(',').find_map(|part| part.strip_prefix("offset=")).and_then(|offset| offset.parse().ok())
    });
    let followed = number(&info, "second_repl_offset:").unwrap_or(0);
    Some(Look {
        at: Instant::now(),
        is_master: info.contains("role:master"),
        offset: number(&info, "master_repl_offset:")?,
        follower: confirmed.unwrap_or(followed),
        clients: number(&clients, "connected_clients:")?,
    })
}

/// What was seen of one planned failover.
pub struct Account {
    old: Vec<Look>,
    heir: Vec<Look>,
    promised: Option<Instant>,
}

impl Account {
    /// Says of a lost job when it was acknowledged, and what the servers had done by then.
    pub fn explain(&self, id: &str, acknowledged: Instant) -> String {
        let since = |moment: Option<Instant>| match moment {
            Some(moment) if moment <= acknowledged => format!("{:?} after", acknowledged - moment),
            Some(moment) => format!("{:?} before", moment - acknowledged),
            None => "never seen:".to_owned(),
        };
        let promoted = self.heir.iter().find(|look| look.is_master);
        let then = self.old.iter().find(|look| look.at >= acknowledged);
        let (offset, confirmed, clients) = then.map_or((0, 0, 0), |look| (look.offset, look.follower, look.clients));
        format!(
            "{id}: acknowledged {} the sentinels announced the replica, {} it was seen to be the master; the old master \
             was then at offset {offset}, its replica had confirmed {confirmed} and was promoted at {}; the old master \
             had {clients} clients",
            since(self.promised),
            since(promoted.map(|look| look.at)),
            promoted.map_or(0, |look| look.follower),
        )
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}
