//! Looks on while sentinels replace a healthy master, so that an acknowledged job that is lost can be explained.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oxmq::{Client, Queue};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::eventually::eventually;
use super::server::RedisServer;

/// How often the servers are asked.
const EVERY: Duration = Duration::from_millis(2);

/// What a server has said of its replication.
#[derive(Clone, Copy)]
struct Look {
    /// What it says was true no earlier than this, and no later than `answered`.
    asked: Instant,
    answered: Instant,
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
    let asked = Instant::now();
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
        asked,
        answered: Instant::now(),
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
        let then = self.old.iter().find(|look| look.asked >= acknowledged);
        let (offset, clients) = then.map_or((0, 0), |look| (look.offset, look.clients));
        // Once promoted, the replica has left its old master, which then tells nothing of it.
        let until_then = self.old.iter().take_while(|look| then.is_none_or(|then| look.asked <= then.asked));
        let confirmed = until_then.map(|look| look.follower).filter(|confirmed| *confirmed > 0).last().unwrap_or(0);
        format!(
            "{id}: acknowledged {} the sentinels announced the replica, {} it was seen to be the master; the old master \
             was then at offset {offset}, its replica had confirmed {confirmed} and was promoted at {}; the old master \
             had {clients} clients",
            since(self.promised),
            since(promoted.map(|look| look.answered)),
            promoted.map_or(0, |look| look.follower),
        )
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

/// Passes on what comes in while `passes` is true. The replication is no protocol that our proxy can read.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passes: watch::Receiver<bool>) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if passes.wait_for(|passes| *passes).await.is_err() || to.write_all(&bytes[..n]).await.is_err() {
            break;
        }
    }
}

/// A master and its replica, with a switch for what passes between them.
async fn master_and_replica() -> (RedisServer, RedisServer, watch::Sender<bool>) {
    let (old, heir) = (RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]), RedisServer::start());
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (passes, port, master) = (watch::Sender::new(true), between.local_addr().unwrap().port(), old.addr());
    let switch = passes.clone();
    tokio::spawn(async move {
        while let Ok((replica, _)) = between.accept().await {
            let ((from, to), (back, out)) =
                (replica.into_split(), TcpStream::connect(master).await.unwrap().into_split());
            tokio::spawn(pass_on(from, out, switch.subscribe()));
            tokio::spawn(pass_on(back, to, switch.subscribe()));
        }
    });
    let mut admin = heir.connection().await;
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec_async(&mut admin).await.unwrap();
    (old, heir, passes)
}

/// Adds a job that the master acknowledges; returns when.
async fn add(queue: &Queue<Value, Value>, id: &str) -> Instant {
    queue.add("job", json!(1)).job_id(id).await.unwrap();
    Instant::now()
}

async fn promote(heir: &RedisServer) {
    let mut admin = heir.connection().await;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut admin).await.unwrap();
}

async fn has(server: &RedisServer, id: &str) -> bool {
    let mut admin = server.connection().await;
    redis::cmd("EXISTS").arg(format!("bull:q:{id}")).query_async(&mut admin).await.unwrap()
}

/// Loses acknowledged jobs in both ways there are, and reads what the witness says of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_witness_tells_why_an_acknowledged_job_was_lost() {
    let (old, heir, passes) = master_and_replica().await;
    let client = Client::connect(&old.url()).await.unwrap();
    let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
    add(&queue, "kept").await;
    eventually("the replica has it", || async { has(&heir, "kept").await }).await;
    let witness = Witness::start(&old, &heir, &[]);
    let seen = |looks: &Arc<Mutex<Vec<Look>>>, what: fn(&Look) -> bool| looks.lock().unwrap().iter().any(what);
    eventually("both are watched", || async {
        seen(&witness.old, |look| look.is_master && look.follower > 0) && seen(&witness.heir, |look| !look.is_master)
    })
    .await;
    // The replica hears no more of the master, which goes on to acknowledge, until it is a master itself.
    passes.send_replace(false);
    let behind = add(&queue, "behind").await;
    let looks = witness.old.lock().unwrap().len();
    eventually("the master is seen with it", || async { witness.old.lock().unwrap().len() > looks + 1 }).await;
    promote(&heir).await;
    eventually("the new master is seen", || async { seen(&witness.heir, |look| look.is_master) }).await;
    // A client that still uses the old master.
    let late = add(&queue, "late").await;
    let looks = witness.old.lock().unwrap().len();
    eventually("the old master is seen with it", || async { witness.old.lock().unwrap().len() > looks + 1 }).await;
    assert_eq!((has(&heir, "kept").await, has(&heir, "behind").await, has(&heir, "late").await), (true, false, false));
    let account = tokio::task::spawn_blocking(|| witness.end()).await.unwrap();
    let (behind, late) = (account.explain("behind", behind), account.explain("late", late));
    assert!(behind.starts_with("behind: acknowledged never seen: the sentinels announced the replica"), "{behind}");
    assert!(behind.contains("before it was seen to be the master"), "{behind}");
    assert!(late.contains("after it was seen to be the master"), "{late}");
    for told in [behind, late] {
        let number = |name: &str| -> u64 {
            let (_, rest) = told.split_once(name).unwrap();
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        let (offset, confirmed) = (number("offset "), number("had confirmed "));
        let promoted = number("was promoted at ");
        // A replica begins its own count one byte after what it had.
        assert!(confirmed > 0 && confirmed < offset && promoted <= offset, "{told}");
        assert!(number("the old master had ") > 0, "{told}");
    }
}
