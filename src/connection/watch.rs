//! Watches keys of a cluster: whoever waits for one asks for it once, and is told when it has changed.
//!
//! A connection of its own to a node has the node remember the keys that are read on it (`CLIENT TRACKING`). When one of
//! them changes, the node says so, once. Twice a second that connection asks who owns which slots. The answer shows that
//! the connection is alive; if it is not the same as before, keys may be on another node by now, and everybody is told.
//!
//! To be told means to look again, no more: it is also done when the connection ends. Where keys cannot be watched, or not
//! now, the caller gets nothing to wait for, and looks now and then.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, RedisError, Value};
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::attempt::within;
use super::dial::Dialer;
use super::failure::without_secrets;
use super::progress::Progress;
use super::servers::Address;
use super::socket::{Opener, Terms};
use super::topology::Topology;
use crate::sync::{Lock, spawn};

/// How often a node is asked for the owners of slots.
const BEAT: Duration = Duration::from_millis(500);

/// How long an answer may take, before everybody looks.
const SLOW: Duration = Duration::from_millis(500);

/// How long an answer may take, before the connection counts as dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long after the end of a connection the next one is opened at the earliest.
const RETRY: Duration = Duration::from_secs(5);

/// After so many beats during which nobody waited the connection is closed.
const LINGER: u32 = 20;

/// What has a node remember the keys that are read.
pub(super) const TRACKING: &str = "CLIENT TRACKING";

/// The watching connections of one client.
#[derive(Default)]
pub(super) struct Watchers {
    /// One for each node and runtime, since a task ends with its runtime.
    by_node: Lock<HashMap<(Id, Address), Arc<Watcher>>>,
}

/// One watching connection, and who waits for what on it.
#[derive(Default)]
struct Watcher(Lock<State>);

#[derive(Default)]
struct State {
    /// `None` while the connection is opened, and when there is none.
    connection: Option<MultiplexedConnection>,
    /// The task that opens the connection and serves it.
    task: Option<AbortHandle>,
    /// When the last connection ended.
    ended: Option<Instant>,
    /// Until when nothing had changed that nobody was told of.
    sure: Option<Instant>,
    waiting: HashMap<Vec<u8>, Vec<Arc<Notify>>>,
}

/// Some watched keys. Dropping it ends that.
pub(crate) struct Watch {
    watcher: Arc<Watcher>,
    keys: Vec<String>,
    changed: Arc<Notify>,
}

impl Watch {
    /// Returns when one of the keys may have changed since they were read.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends watching the other keys.
    pub(crate) fn only(&mut self, key: &str) {
        let others: Vec<String> = self.keys.extract_if(.., |other| other != key).collect();
        self.watcher.leave(&others, &self.changed);
    }

    /// Returns the latest moment at which the node is known to have had no change to tell; `None` if it has not answered
    /// since.
    pub(crate) fn sure(&self) -> Option<Instant> {
        self.watcher.0.lock().sure
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher.leave(&self.keys, &self.changed);
    }
}

impl Watchers {
    /// Sends a command that reads `keys` to a node, and has it tell when one of them changes.
    pub(super) async fn watch(
        &self,
        dialer: &Dialer,
        topology: &Arc<Topology>,
        node: &Address,
        cmd: &Cmd,
        keys: Vec<String>,
    ) -> Option<(Value, Watch)> {
        let watcher = self.watcher(node);
        let mut connection = watcher.connection(dialer, topology, node)?;
        let changed = Arc::new(Notify::new());
        // Before the command is sent: the news of a change may come right behind its reply.
        watcher.wait_for(&keys, &changed);
        let watch = Watch { watcher, keys, changed };
        match timeout(SLOW, connection.send_packed_command(cmd)).await {
            Ok(Ok(Value::ServerError(error))) => {
                topology.moved(&error.into(), node);
                None
            }
            Ok(Ok(reply)) => Some((reply, watch)),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Returns the watching connection to a node, open or not.
    fn watcher(&self, node: &Address) -> Arc<Watcher> {
        let runtime = Handle::current().id();
        let mut by_node = self.by_node.lock();
        // Those of runtimes that have ended.
        by_node.retain(|(at, _), watcher| *at == runtime || watcher.0.lock().task.is_some());
        Arc::clone(by_node.entry((runtime, node.clone())).or_default())
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for watcher in self.by_node.get_mut().values() {
            let task = watcher.0.lock().task.take();
            if let Some(task) = task {
                task.abort();
            }
        }
    }
}

impl Watcher {
    fn wait_for(&self, keys: &[String], changed: &Arc<Notify>) {
        let mut state = self.0.lock();
        for key in keys {
            state.waiting.entry(key.clone().into_bytes()).or_default().push(Arc::clone(changed));
        }
    }

    fn leave(&self, keys: &[String], changed: &Arc<Notify>) {
        let mut state = self.0.lock();
        for key in keys {
            let Some(waiting) = state.waiting.get_mut(key.as_bytes()) else { continue };
            waiting.retain(|other| !Arc::ptr_eq(other, changed));
            if waiting.is_empty() {
                state.waiting.remove(key.as_bytes());
            }
        }
    }

    /// Returns the connection if it is open; otherwise begins to open one, unless that was done a moment ago.
    fn connection(
        self: &Arc<Self>,
        dialer: &Dialer,
        topology: &Arc<Topology>,
        node: &Address,
    ) -> Option<MultiplexedConnection> {
        let mut state = self.0.lock();
        let is_due = state.ended.is_none_or(|ended| ended + RETRY <= Instant::now());
        if state.task.is_none() && is_due {
            let serving = serve(Arc::clone(self), dialer.clone(), Arc::downgrade(topology), node.clone());
            state.task = Some(spawn(serving).abort_handle());
        }
        state.connection.clone()
    }

    /// Takes what the node says by itself.
    fn hear(&self, push: &PushInfo) {
        match (&push.kind, push.data.first()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                let state = self.0.lock();
                let keys = keys.iter().filter_map(|key| match key {
                    Value::BulkString(key) => state.waiting.get(key),
                    _ => None,
                });
                keys.flatten().for_each(|changed| changed.notify_one());
            }
            // All keys, as by `FLUSHALL`.
            (PushKind::Invalidate | PushKind::Disconnection, _) => self.tell_all(),
            _ => {}
        }
    }

    fn tell_all(&self) {
        self.0.lock().waiting.values().flatten().for_each(|changed| changed.notify_one());
    }
}

/// Tells everybody when the task ends, however that is.
struct Ends {
    watcher: Arc<Watcher>,
    /// Whether the connection was only not needed any more.
    is_unused: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        {
            let mut state = self.watcher.0.lock();
            (state.connection, state.task, state.sure) = (None, None, None);
            state.ended = (!self.is_unused).then(Instant::now);
        }
        self.watcher.tell_all();
    }
}

/// Opens a connection, and serves it until it ends or nobody has waited for a while.
async fn serve(watcher: Arc<Watcher>, dialer: Dialer, topology: Weak<Topology>, node: Address) {
    let mut ends = Ends { watcher, is_unused: false };
    let opened = within(dialer.options().connect_timeout, open(&ends.watcher, dialer.watching(), &node)).await;
    let ended = match opened {
        Ok((connection, _driver)) => {
            // The topology must not be kept by its own task.
            drop(dialer);
            beat(&ends.watcher, connection, &topology).await
        }
        Err(error) => {
            if matches!(error.code(), Some("NOPERM" | "ERR")) {
                dialer.is_refused(TRACKING, "workers and listeners beyond the first ones look twice a second");
            }
            Err(error)
        }
    };
    ends.is_unused = ended.is_ok();
    if let Err(error) = ended {
        tracing::debug!(target: "oxmq::connection", ?node, error = %without_secrets(&error), "a connection that watches keys has ended");
    }
}

async fn open(
    watcher: &Arc<Watcher>,
    opener: Opener,
    node: &Address,
) -> Result<(MultiplexedConnection, super::socket::Driver), RedisError> {
    let mut terms = Terms::new(&Progress::new());
    let hears = Arc::downgrade(watcher);
    terms.config = terms.config.set_push_sender(move |push: PushInfo| {
        if let Some(watcher) = Weak::upgrade(&hears) {
            watcher.hear(&push);
        }
        Ok::<(), redis::aio::SendError>(())
    });
    let (mut connection, driver) = opener.open(node, terms).await?;
    let named = Cmd::new().arg("CLIENT").arg("SETNAME").arg("oxmq-watches").to_owned();
    connection.send_packed_command(&named).await?;
    let track = Cmd::new().arg("CLIENT").arg("TRACKING").arg("ON").to_owned();
    match connection.send_packed_command(&track).await? {
        Value::ServerError(error) => Err(error.into()),
        _ => Ok((connection, driver)),
    }
}

/// Asks for the owners of slots from time to time, and tells everybody when they may have changed.
async fn beat(
    watcher: &Watcher,
    mut connection: MultiplexedConnection,
    topology: &Weak<Topology>,
) -> Result<(), RedisError> {
    let Some(mut map) = topology.upgrade().map(|topology| topology.changes()) else { return Ok(()) };
    let mut known = owners(&mut connection).await?;
    watcher.0.lock().connection = Some(connection.clone());
    let mut unused = 0;
    while unused < LINGER {
        sleep(BEAT).await;
        if watcher.0.lock().waiting.is_empty() {
            unused += 1;
            continue;
        }
        unused = 0;
        let now = Instant::now();
        let answer = owners(&mut connection);
        tokio::pin!(answer);
        let owners = match timeout(SLOW, &mut answer).await {
            Ok(owners) => owners?,
            Err(_) => {
                if let Some(topology) = topology.upgrade() {
                    topology.refresh_beside();
                }
                watcher.tell_all();
                answer.await?
            }
        };
        watcher.0.lock().sure = Some(now);
        let Some(topology) = topology.upgrade() else { return Ok(()) };
        // Noticed and marked at once, so that no change comes between.
        let has_changed = map.borrow_and_update().has_changed();
        if owners != known {
            known = owners;
            topology.refresh_beside();
            watcher.tell_all();
        } else if has_changed {
            watcher.tell_all();
        }
        topology.now_and_then();
    }
    Ok(())
}

async fn owners(connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
    let asked = Cmd::new().arg("CLUSTER").arg("SLOTS").to_owned();
    match within(PATIENCE, connection.send_packed_command(&asked)).await? {
        Value::ServerError(error) => Err(error.into()),
        owners => Ok(owners),
    }
}
