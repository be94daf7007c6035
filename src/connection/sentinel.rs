//! Learns from sentinels which server is the master, and when that changes.
//!
//! A new connection asks all sentinels; the answer with the newest configuration is used, so that a sentinel that was
//! cut off from the others does not lead back to an old master. Besides, one task listens to each of them. After a
//! planned failover an old master accepts writes for ten seconds, all of which are lost, so those that are connected to
//! it must learn at once that it is no longer the master: then [`Sentinels::left`] ends.
//!
//! In a planned failover a replica becomes the master a second before the sentinels say so, and what the old master
//! accepts in that second is lost too. The sentinels announce this, so from then on no connection to the old master is
//! used, and the replica is tried until it calls itself a master.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::attempt::{Pauses, within};
use super::distrust::tls_hint;
use super::failure::{no_connection_to, without_secrets};
use super::options::ConnectOptions;
use super::progress::Progress;
use super::servers::{Address, Host, Naming};
use super::socket::{Opener, Terms};

use crate::sync::{Lock, spawn};

/// How much longer the other sentinels have when one has answered, until most of them have.
const OTHERS: Duration = Duration::from_millis(100);

/// How often a sentinel is asked in addition to listening: a silent connection may be dead.
const POLL: Duration = Duration::from_secs(5);

/// For how long after a configuration was first heard of an older one is ignored, even if most sentinels name it: they
/// learn of a failover one after the other.
const SPREADS: Duration = Duration::from_secs(15);

/// How long to wait for a replica that is about to become the master, if nobody says how that ended.
const PROMOTION: Duration = Duration::from_secs(5);

/// The channels of sentinels that concern the address of a master.
const CHANNELS: [&str; 8] = [
    "+switch-master",
    "+promoted-slave",
    "+config-update-from",
    PROMISED,
    "+failover-state-wait-promotion",
    "-failover-abort-not-elected",
    "-failover-abort-no-good-slave",
    "-failover-abort-slave-timeout",
];

/// The first message that names the replica that will become the master.
const PROMISED: &str = "+failover-state-send-slaveof-noone";

/// The sentinels of one master, shared by all connections of a client.
pub(super) struct Sentinels {
    shared: Arc<Shared>,
    /// The task that listens; it runs while anybody is connected.
    watching: Lock<Option<Watching>>,
}

struct Watching {
    /// Closed when the task has ended, as it does with its runtime.
    alive: watch::Receiver<()>,
    task: tokio::task::AbortHandle,
}

struct Shared {
    hosts: Vec<Address>,
    master: String,
    naming: Naming,
    opener: Opener,
    timeout: Duration,
    known: watch::Sender<Known>,
}

/// What is known of the master.
#[derive(Debug, Default)]
struct Known {
    master: Option<Named>,
    /// When the epoch of `master` was first heard of.
    since: Option<Instant>,
    heir: Option<Heir>,
}

/// A master as a sentinel names it.
#[derive(Debug, Clone, PartialEq)]
struct Named {
    address: Address,
    /// Grows with each failover.
    epoch: u64,
}

/// A replica that is about to become the master.
#[derive(Debug)]
struct Heir {
    address: Address,
    until: Instant,
}

impl Known {
    fn current(&self) -> Option<&Address> {
        let heir = self.heir.as_ref().map(|heir| &heir.address);
        heir.or(self.master.as_ref().map(|named| &named.address))
    }

    /// Takes what sentinels say; returns true if it changes anything. A configuration older than the known one is only
    /// accepted from most of them, who may have been set up anew, and not while they may only be behind.
    fn hear(&mut self, named: &Named, is_majority: bool, now: Instant) -> bool {
        let before = self.current().cloned();
        let epoch = self.master.as_ref().map(|known| known.epoch);
        let is_newer = epoch.is_none_or(|epoch| epoch < named.epoch);
        let is_anew = is_majority && self.since.is_none_or(|since| now >= since + SPREADS);
        if is_newer || is_anew || epoch == Some(named.epoch) {
            if epoch != Some(named.epoch) {
                self.since = Some(now);
            }
            self.master = Some(named.clone());
        }
        if is_newer || self.heir.as_ref().is_some_and(|heir| heir.address == named.address || heir.until < now) {
            self.heir = None;
        }
        self.current() != before.as_ref()
    }
}

impl Sentinels {
    pub(super) fn new(hosts: &[Host], master: &str, naming: Naming, opener: Opener, options: &ConnectOptions) -> Self {
        let over = options.sentinel.tls.unwrap_or(naming.tls);
        let shared = Shared {
            hosts: hosts.iter().map(|host| host.address(over)).collect(),
            master: master.to_owned(),
            naming,
            opener,
            timeout: options.connect_timeout,
            known: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared), watching: Lock::default() }
    }

    /// Returns how to log in to a sentinel, with RESP3: messages arrive on the connection that asks.
    pub(super) fn login(options: &ConnectOptions) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        if let Some(username) = &options.sentinel.username {
            login = login.set_username(username);
        }
        if let Some(password) = &options.sentinel.password {
            login = login.set_password(password);
        }
        login
    }

    /// Asks for the address of the master.
    pub(super) async fn find(&self) -> Result<Address, RedisError> {
        if let Some(heir) = self.shared.known.borrow().heir.as_ref().filter(|heir| Instant::now() < heir.until) {
            return Ok(heir.address.clone());
        }
        self.shared.find().await
    }

    /// Ends when the master is no longer the server at this address.
    pub(super) async fn left(&self, address: &Address) {
        let mut known = self.shared.known.subscribe();
        loop {
            let mut alive = self.watch();
            let deaf = async {
                let _ = alive.changed().await;
                tokio::time::sleep(OTHERS).await;
            };
            tokio::select! {
                _ = known.wait_for(|known| known.current().is_some_and(|current| current != address)) => return,
                // The listening task has ended with its runtime, or panicked: now this caller listens, after a moment.
                () = deaf => {}
            }
        }
    }

    /// Starts to listen to the sentinels, if no task does.
    fn watch(&self) -> watch::Receiver<()> {
        let mut watching = self.watching.lock();
        if let Some(Watching { alive, .. }) = watching.as_ref().filter(|watching| watching.alive.has_changed().is_ok())
        {
            return alive.clone();
        }
        let (token, alive) = watch::channel(());
        let shared = Arc::clone(&self.shared);
        let task = spawn(async move {
            let _token = token;
            futures::future::join_all(shared.hosts.iter().map(|host| shared.watch(host))).await;
        });
        *watching = Some(Watching { alive: alive.clone(), task: task.abort_handle() });
        alive
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        let watching = self.watching.get_mut();
        if let Some(Watching { task, .. }) = watching.take() {
            task.abort();
        }
    }
}

impl Shared {
    async fn find(&self) -> Result<Address, RedisError> {
        let mut asked: FuturesUnordered<_> = self.hosts.iter().map(|host| self.ask_once(host)).collect();
        let (majority, mut answers) = (self.hosts.len() / 2 + 1, 0);
        let mut newest: Option<Named> = None;
        let mut last_error = None;
        let grace = tokio::time::sleep(Duration::MAX);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                answer = asked.next() => match answer {
                    Some(Ok(named)) => {
                        if answers == 0 {
                            grace.as_mut().reset(Instant::now() + OTHERS);
                        }
                        answers += 1;
                        newest = newest.filter(|newest| newest.epoch >= named.epoch).or(Some(named));
                        if answers == majority {
                            break;
                        }
                    }
                    Some(Err(error)) => last_error = Some(error),
                    None => break,
                },
                () = grace.as_mut() => break,
            }
        }
        let Some(newest) = newest else {
            return Err(last_error.unwrap_or_else(|| RedisError::from((ErrorKind::Io, "there is no sentinel"))));
        };
        self.hear(&newest, answers == majority);
        let known = self.known.borrow();
        Ok(known.current().cloned().unwrap_or(newest.address))
    }

    /// Takes what one sentinel says, or most of them.
    fn hear(&self, named: &Named, is_majority: bool) {
        self.known.send_if_modified(|known| {
            let before = known.current().cloned();
            let has_changed = known.hear(named, is_majority, Instant::now());
            if let (true, Some(before)) = (has_changed, before) {
                let now = known.current();
                tracing::info!(target: "oxmq::connection", master = self.master, ?before, ?now, "another server is the master");
            }
            has_changed
        });
    }

    async fn ask_once(&self, host: &Address) -> Result<Named, RedisError> {
        let asking = async {
            let (mut connection, _driver) = self.opener.open(host, Terms::new(&Progress::new())).await?;
            self.ask(&mut connection).await
        };
        let told = |error| no_connection_to(&format_args!("the sentinel {host:?}"), &error, tls_hint(host, &error));
        asking.await.map_err(told)
    }

    /// Asks one sentinel for the address of the master, and for the epoch of its configuration.
    async fn ask(&self, connection: &mut MultiplexedConnection) -> Result<Named, RedisError> {
        let mut beside = connection.clone();
        let (address, details) = (
            Cmd::new().arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master).to_owned(),
            Cmd::new().arg("SENTINEL").arg("MASTER").arg(&self.master).to_owned(),
        );
        let (address, details) =
            tokio::join!(connection.send_packed_command(&address), beside.send_packed_command(&details));
        let address = match address? {
            Value::ServerError(error) if error.details().is_some_and(|text| text.contains("unknown command")) => {
                return Err(RedisError::from((ErrorKind::Parse, NO_SENTINEL)));
            }
            Value::ServerError(error) => return Err(error.into()),
            Value::Nil => {
                let no_master = "it knows no master of this name";
                return Err(RedisError::from((ErrorKind::InvalidClientConfig, no_master, self.master.clone())));
            }
            reply => self.read_address(&reply),
        };
        let address = address.ok_or_else(|| RedisError::from((ErrorKind::Parse, NO_SENTINEL)))?;
        Ok(Named { address, epoch: read_epoch(&details?).unwrap_or(0) })
    }

    fn read_address(&self, reply: &Value) -> Option<Address> {
        let Value::Array(parts) = reply else { return None };
        let [host, port] = &parts[..] else { return None };
        Some(self.naming.address(text(host)?, text(port)?.parse().ok()?))
    }

    /// Listens to one sentinel for ever.
    async fn watch(&self, host: &Address) {
        let mut backoff = Pauses::default();
        loop {
            let Err(error) = self.listen(host, &mut backoff).await;
            tracing::debug!(target: "oxmq::connection", sentinel = ?host, error = %without_secrets(&error), "the connection to a sentinel was lost");
            backoff.pause().await;
        }
    }

    async fn listen(&self, host: &Address, backoff: &mut Pauses) -> Result<std::convert::Infallible, RedisError> {
        // A message that finds no room may be dropped: any message makes the task ask.
        let (tell, mut told) = mpsc::channel(16);
        let mut terms = Terms::new(&Progress::new());
        terms.config = terms.config.set_push_sender(move |push: PushInfo| {
            let _ = tell.try_send(push);
            Ok::<(), redis::aio::SendError>(())
        });
        let opening = async {
            let (mut connection, driver) = self.opener.open(host, terms).await?;
            connection.subscribe(&CHANNELS[..]).await?;
            Ok((connection, driver))
        };
        let (mut connection, _driver) = within(self.timeout, opening).await?;
        loop {
            let named = within(self.timeout, self.ask(&mut connection)).await?;
            *backoff = Pauses::default();
            self.hear(&named, false);
            if let Ok(push) = tokio::time::timeout(POLL, told.recv()).await {
                self.take_in(&push.ok_or_else(lost)?)?;
            }
            // All messages so far are handled before the next question is sent.
            while let Ok(push) = told.try_recv() {
                self.take_in(&push)?;
            }
        }
    }

    fn take_in(&self, push: &PushInfo) -> Result<(), RedisError> {
        match &push.kind {
            PushKind::Disconnection => return Err(lost()),
            PushKind::Message => {}
            _ => return Ok(()),
        }
        let [channel, message] = &push.data[..] else { return Ok(()) };
        let (Some(channel), Some(message)) = (text(channel), text(message)) else { return Ok(()) };
        if channel.starts_with("-failover-abort") && names(message, &self.master) {
            self.known.send_if_modified(|known| known.heir.take().is_some());
        } else if let Some(address) = self.heir_in(channel, message) {
            self.known.send_if_modified(|known| {
                let before = known.current().cloned();
                known.heir = Some(Heir { address, until: Instant::now() + PROMOTION });
                known.current() != before.as_ref()
            });
        }
        Ok(())
    }

    /// Returns the replica that becomes our master: `slave <name> <host> <port> @ <master> <host> <port>`.
    fn heir_in(&self, channel: &str, message: &str) -> Option<Address> {
        if channel != PROMISED && channel != "+failover-state-wait-promotion" {
            return None;
        }
        let words: Vec<&str> = message.split(' ').collect();
        let ["slave", _, host, port, "@", master, ..] = words[..] else { return None };
        (master == self.master).then(|| Some(self.naming.address(host, port.parse().ok()?)))?
    }
}

/// Returns whether a message `master <name> …` is about this master.
fn names(message: &str, master: &str) -> bool {
    message.split(' ').nth(1) == Some(master)
}

const NO_SENTINEL: &str = "this is no sentinel";

fn lost() -> RedisError {
    RedisError::from((ErrorKind::Io, "the sentinel has closed the connection"))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Returns the epoch of the configuration, from pairs of names and values.
fn read_epoch(details: &Value) -> Option<u64> {
    let pairs: Vec<(&Value, &Value)> = match details {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        Value::Array(items) => items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        _ => return None,
    };
    let (_, epoch) = pairs.into_iter().find(|(name, _)| text(name) == Some("config-epoch"))?;
    text(epoch)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(port: u16, epoch: u64) -> Named {
        Named { address: Naming::default().address("h", port), epoch }
    }

    fn port(known: &Known) -> u16 {
        match known.current() {
            Some(Address::Tcp(_, port)) => *port,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_configuration_counts() {
        let now = Instant::now();
        let mut known = Known::default();
        assert!(known.hear(&named(1, 3), false, now));
        assert!(!known.hear(&named(2, 2), false, now), "one that was cut off");
        assert!(known.hear(&named(2, 4), false, now));
        assert_eq!(port(&known), 2);
        // Two of three have not heard of it yet, as between a promotion and the message that announces it.
        assert!(!known.hear(&named(1, 3), true, now + Duration::from_millis(400)));
        assert!(!known.hear(&named(2, 4), true, now + Duration::from_secs(10)));
        assert_eq!(port(&known), 2);
        assert!(known.hear(&named(3, 0), true, now + SPREADS), "set up anew");
        assert_eq!(port(&known), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn sentinels_that_are_behind_lead_back_to_no_old_master() {
        let now = Instant::now();
        let mut known = Known::default();
        assert!(known.hear(&named(1, 1), true, now));
        known.heir = Some(Heir { address: Naming::default().address("h", 2), until: now + PROMOTION });
        // The leader announces the result, while the others still name the old master.
        assert!(!known.hear(&named(2, 2), false, now) && known.heir.is_none());
        for after in [0, 1, 400, 14_999] {
            let at = now + Duration::from_millis(after);
            assert!(!known.hear(&named(1, 1), true, at) && !known.hear(&named(1, 1), false, at));
            assert_eq!(port(&known), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_becomes_the_master_is_waited_for_until_it_is_known_what_came_of_it() {
        let now = Instant::now();
        let known = || {
            let heir = Some(Heir { address: Naming::default().address("h", 2), until: now + PROMOTION });
            Known { master: Some(named(1, 3)), since: Some(now), heir }
        };
        let mut waits = known();
        assert!(!waits.hear(&named(1, 3), true, now));
        assert_eq!(port(&waits), 2);
        assert!(waits.hear(&named(1, 3), false, now + 2 * PROMOTION) && waits.heir.is_none());
        let mut done = known();
        assert!(!done.hear(&named(2, 4), false, now) && done.heir.is_none());
        let mut other = known();
        assert!(other.hear(&named(3, 4), false, now));
        assert_eq!(port(&other), 3);
    }
}
