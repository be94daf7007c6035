//! The shared connection to one server or to the current master, and its replacement when it breaks.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::attempt::{Pauses, is_permanent, reason};
use super::dial::{Dialed, Dialer};
use super::failure::{CallFailure, NO_CONNECTION, without_secrets};
use super::handshake::Server;
use super::outage::Outages;
use super::progress::Progress;
use super::socket::Driver;
use crate::clock::millis;
use crate::sync::{Lock, spawn};

/// The shared connection to one server.
///
/// It reconnects for ever, with growing pauses; a call waits for that no longer than its own deadline.
pub(super) struct Node {
    dialer: Dialer,
    /// The live connection and its number. Written by the attempt under way, under `dialing`. Cleared by the first call
    /// that finds it broken, which compares the number so that it does not drop a newer one.
    current: RwLock<Option<Arc<Live>>>,
    dialing: Lock<Dialing>,
    /// Whether scripts may carry flags. Shared by all connections of a client to the same server: whoever sends the first
    /// call of a connection knows it before that is open.
    knows_flags: Arc<AtomicBool>,
    /// The deadline of a command in ms.
    timeout: AtomicU64,
}

/// A connection in use. Calls under way hold it too, so that they may end after it was replaced.
pub(super) struct Live {
    pub(super) number: u64,
    connection: MultiplexedConnection,
    pub(super) server: Server,
    driver: Driver,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Dialing {
    /// The attempt under way. It ends by itself, and there is only one at a time, however many calls wait.
    attempt: Option<Attempt>,
    /// The number of the last attempt.
    attempts: u64,
    pause: Pauses,
    /// When the last attempt began, if it has not succeeded; the next one starts only after the pause.
    failed: Option<Instant>,
}

/// One attempt to connect: a task that all calls in need of a connection wait for. It goes on when they have given up:
/// otherwise no attempt could succeed where connecting takes longer than a call may wait. It ends with the link.
struct Attempt {
    number: u64,
    /// `None` until the attempt has ended. Closed without an outcome if its runtime ended, or it panicked.
    outcome: watch::Receiver<Ended>,
    /// When it should have ended. Nobody waits for it longer than that, since its runtime may stand still for ever, for
    /// example a single-threaded one that nobody drives.
    until: Instant,
    task: AbortHandle,
}

/// The outcome of an attempt, once it has ended.
type Ended = Option<Result<(), RedisError>>;

impl Attempt {
    /// Returns whether it has ended, with an outcome or not.
    fn is_over(&self) -> bool {
        self.outcome.has_changed().is_err()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The limits of a call.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    start: Instant,
    /// How long the connection may be silent.
    silence: Duration,
    pub(super) deadline: Instant,
}

impl Limits {
    pub(super) fn from_now(silence: Duration) -> Self {
        let start = Instant::now();
        Self { start, silence, deadline: start + silence }
    }

    /// Returns the failure of a call that found no connection in time, with the reason if it is known.
    pub(super) fn no_connection(outages: &Outages) -> CallFailure {
        let server = format!("{:?}", outages.server());
        let why = match outages.why() {
            Some(why) => match why.strip_prefix(NO_CONNECTION) {
                Some(why) => why.trim_start().to_owned(),
                None => format!("{server}: {}", reason(&why)),
            },
            None => format!("{server} in time"),
        };
        CallFailure::NotApplied(RedisError::from((ErrorKind::Io, NO_CONNECTION, why)))
    }
}

impl Node {
    /// Creates a node without a connection.
    pub(super) fn new(dialer: Dialer) -> Arc<Self> {
        Self::knowing(dialer, Arc::default())
    }

    /// Creates a node that goes by, and sets, what others know of the server.
    pub(super) fn knowing(dialer: Dialer, knows_flags: Arc<AtomicBool>) -> Arc<Self> {
        let timeout = AtomicU64::new(millis(dialer.options().command_timeout));
        let (current, dialing) = (RwLock::default(), Lock::default());
        Arc::new(Self { dialer, current, dialing, knows_flags, timeout })
    }

    /// Returns the same node with a connection of its own, for another runtime.
    pub(super) fn another(&self) -> Arc<Self> {
        let another = Self::knowing(self.dialer.clone(), Arc::clone(&self.knows_flags));
        another.at_least(self.timeout());
        another
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(super) fn knows_flags(&self) -> bool {
        self.knows_flags.load(Ordering::Relaxed)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout.load(Ordering::Relaxed))
    }

    pub(super) fn at_least(&self, timeout: Duration) {
        self.timeout.fetch_max(millis(timeout), Ordering::Relaxed);
    }

    /// Makes the next call open a new connection; calls under way keep theirs.
    pub(super) fn replace(&self) {
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// Begins to connect if there is no connection.
    pub(super) fn dial_beside(self: &Arc<Self>) {
        self.attempt();
    }

    /// Sends one command of `bytes` bytes and waits for its reply, within the deadline, which `patience` multiplies.
    pub(super) async fn send(self: &Arc<Self>, cmd: &Cmd, bytes: usize, patience: u32) -> Result<Value, CallFailure> {
        let limits = Limits::from_now(self.timeout() * patience);
        let live = match self.live() {
            Some(live) => live,
            // Boxed, so that it takes no room in calls that find a connection.
            None => match tokio::time::timeout_at(limits.deadline, Box::pin(self.wait_for_connection())).await {
                Ok(Ok(live)) => live,
                Ok(Err(error)) => return Err(CallFailure::NotApplied(error)),
                Err(_) => return Err(Limits::no_connection(self.dialer.outages())),
            },
        };
        self.send_on(&live, cmd, bytes, limits, self.dialer.outages()).await
    }

    /// Sends one command on this connection, and drops the connection if it turns out to be unusable.
    pub(super) async fn send_on(
        &self,
        live: &Live,
        cmd: &Cmd,
        bytes: usize,
        limits: Limits,
        outages: &Outages,
    ) -> Result<Value, CallFailure> {
        let mut connection = live.connection.clone();
        let call = pin!(connection.send_packed_command(cmd));
        let Limits { start, silence, deadline } = limits;
        let reply = match live.progress.within(start, deadline, silence, bytes, call).await {
            Ok(Value::ServerError(error)) => Err(CallFailure::of(error.into())),
            Ok(value) => {
                outages.answered();
                return Ok(value);
            }
            Err(error) => Err(CallFailure::of(error)),
        };
        match &reply {
            Err(CallFailure::Unknown(error)) => outages.failed(live.progress.last().max(start), error),
            Err(CallFailure::NotApplied(error)) => outages.refused(error),
            _ => outages.answered(),
        }
        if reply.as_ref().is_err_and(CallFailure::spoils_connection) {
            self.discard(live.number);
        }
        reply
    }

    /// Drops the connection with this number, if it is still in use.
    pub(super) fn discard(&self, number: u64) {
        let mut current = self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.as_ref().is_some_and(|live| live.number == number) {
            *current = None;
        }
    }

    /// Returns the connection in use, unless it has ended: a call that was never sent has no unknown outcome.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        let current = self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        current.as_ref().filter(|live| !live.driver.has_ended()).cloned()
    }

    /// Returns the live connection or a new one; tries until there is one, unless the error is permanent.
    async fn wait_for_connection(self: &Arc<Self>) -> Result<Arc<Live>, RedisError> {
        loop {
            match self.connection().await {
                Err(error) if is_permanent(&error) => return Err(error),
                Err(error) => tracing::debug!(error = %without_secrets(&error), "connecting failed"),
                live => return live,
            }
        }
    }

    /// Returns the live connection, or the result of one attempt at a new one, which other calls may have begun.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Arc<Live>, RedisError> {
        loop {
            if let Some(live) = self.live() {
                return Ok(live);
            }
            let Some((number, mut outcome, until)) = self.attempt() else { continue };
            let ended = tokio::time::timeout_at(until, outcome.wait_for(Option::is_some)).await;
            match ended.map(|ended| ended.map(|outcome| outcome.clone())) {
                Ok(Ok(Some(Err(error)))) => return Err(error),
                Ok(Ok(_)) => {}
                // The attempt ended with its runtime; the next one may run in ours.
                Ok(Err(_)) => tokio::task::yield_now().await,
                Err(_) => self.give_up(number),
            }
        }
    }

    /// Returns the attempt under way, or begins one after the pause that follows a failed one; `None` if there is a
    /// connection.
    fn attempt(self: &Arc<Self>) -> Option<(u64, watch::Receiver<Ended>, Instant)> {
        let mut dialing = self.dialing();
        if self.live().is_some() {
            return None;
        }
        if dialing.attempt.as_ref().is_none_or(Attempt::is_over) {
            let now = Instant::now();
            let start = dialing.failed.map_or(now, |failed| now.max(failed + dialing.pause.current()));
            // Counts as failed until it has succeeded.
            dialing.failed = Some(start);
            dialing.pause.grow();
            dialing.attempts += 1;
            let number = dialing.attempts;
            let (tell, outcome) = watch::channel(None);
            let dialer = self.dialer.clone();
            let until = start + dialer.options().connect_timeout + Pauses::LONGEST;
            let node = Arc::downgrade(self);
            // A runtime that shuts down drops the task here, which is harmless: it holds no lock and no link.
            let task = spawn(async move {
                tokio::time::sleep_until(start).await;
                let dialed = dialer.dial(None).await;
                if let Some(node) = Weak::upgrade(&node) {
                    node.ended(number, dialed, &tell);
                }
            });
            dialing.attempt = Some(Attempt { number, outcome, until, task: task.abort_handle() });
        }
        dialing.attempt.as_ref().map(|attempt| (attempt.number, attempt.outcome.clone(), attempt.until))
    }

    /// Ends an attempt that is overdue.
    fn give_up(&self, number: u64) {
        self.dialing().attempt.take_if(|attempt| attempt.number == number);
    }

    fn dialing(&self) -> std::sync::MutexGuard<'_, Dialing> {
        self.dialing.lock()
    }

    /// Takes the result of an attempt; does nothing if it had been given up.
    fn ended(&self, number: u64, dialed: Result<Dialed, RedisError>, tell: &watch::Sender<Ended>) {
        let mut dialing = self.dialing();
        if dialing.attempt.take_if(|attempt| attempt.number == number).is_none() {
            return;
        }
        let outcome = dialed.map(|Dialed { connection, server, driver, progress, .. }| {
            dialing.failed = None;
            dialing.pause = Pauses::default();
            self.knows_flags.store(server.knows_script_flags(), Ordering::Relaxed);
            let live = Arc::new(Live { number, connection, server, driver, progress });
            *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(live);
        });
        drop(dialing);
        tell.send_replace(Some(outcome));
    }
}
