//! The shared connection: many calls at once, and a new one whenever the old one breaks.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::dial::{Dialed, Dialer, Server, TOO_OLD};
use super::failure::{Failure, without_secrets};
use super::options::ConnectOptions;
use super::outage::Outages;
use super::progress::Progress;
use super::socket::Driver;
use crate::clock::millis;
use crate::error::{Error, Result};

/// A connection that many share. Cheap to clone; clones share the socket.
///
/// Connecting again is for ever, with growing pauses; a call waits for it no longer than its own deadline.
#[derive(Clone)]
pub(crate) struct Link {
    inner: Arc<Inner>,
    /// How much more silence than the options say is waited out: a call that is repeated gets more each time.
    patience: u32,
}

struct Inner {
    dialer: Dialer,
    /// The live connection and its number. Written by the attempt under way, under `dialing`; emptied by the first call
    /// that finds it broken, which compares the number so as not to drop a newer one.
    current: RwLock<Option<Arc<Live>>>,
    dialing: Mutex<Dialing>,
    flags: AtomicU8,
    /// The deadline of a command in ms.
    timeout: AtomicU64,
}

/// A connection in use. Calls on their way hold it too, so that they may end after it was given up for new ones.
struct Live {
    number: u64,
    connection: MultiplexedConnection,
    driver: Driver,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Dialing {
    /// The attempt under way, which ends by itself: no more than one at a time, however many wait.
    attempt: Option<Attempt>,
    /// Numbers the attempts.
    attempts: u64,
    pause: Backoff,
    /// When the last attempt began, until one succeeds; the next one starts no earlier than the pause after it.
    failed: Option<Instant>,
}

/// One attempt to connect: a task that all who want a connection watch. It goes on when they have given up, as it would
/// never come to an end otherwise where connecting takes longer than a call has time for; but it is one attempt, so that
/// nothing goes on for long that nobody wants. It ends with the link.
struct Attempt {
    number: u64,
    /// Nothing until it has ended. Closed without an outcome if its runtime ended, or it panicked.
    outcome: watch::Receiver<Outcome>,
    /// When it should have ended. Its runtime may stand still without an end, one of a single thread that nobody drives,
    /// so nobody waits for it longer than that.
    until: Instant,
    task: AbortHandle,
}

/// What came of an attempt, once it has ended.
type Outcome = Option<std::result::Result<(), RedisError>>;

impl Attempt {
    /// Whether it has ended, with an outcome or not.
    fn is_over(&self) -> bool {
        self.outcome.has_changed().is_err()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const KNOWS_FLAGS: u8 = 1;
const TAKES_LONG_WAY: u8 = 2;

impl Link {
    /// Connects. Waits for the server only if the options say so.
    pub(crate) async fn connect(options: Arc<ConnectOptions>) -> Result<Self> {
        let link = Self::lazy(options)?;
        loop {
            match link.connection().await {
                Ok(_) => return Ok(link),
                Err(error) if link.options().wait_for_server && !is_permanent(&error) && !is_distrust(&error) => {
                    link.outages().tell_now();
                }
                Err(error) => return Err(connect_error(&error)),
            }
        }
    }

    /// Connects at the first call.
    pub(crate) fn lazy(options: Arc<ConnectOptions>) -> Result<Self> {
        let timeout = AtomicU64::new(millis(options.command_timeout));
        let inner = Inner {
            dialer: Dialer::new(options)?,
            current: RwLock::default(),
            dialing: Mutex::default(),
            flags: AtomicU8::new(0),
            timeout,
        };
        Ok(Self { inner: Arc::new(inner), patience: 1 })
    }

    /// A link of its own to the same server, for another runtime.
    pub(crate) fn another(&self) -> Self {
        let inner = Inner {
            dialer: self.inner.dialer.clone(),
            current: RwLock::default(),
            dialing: Mutex::default(),
            flags: AtomicU8::new(self.inner.flags.load(Ordering::Relaxed)),
            timeout: AtomicU64::new(self.inner.timeout.load(Ordering::Relaxed)),
        };
        Self { inner: Arc::new(inner), patience: 1 }
    }

    /// This link for a call whose reply was lost so many times: each time it waits twice as long, up to eight times.
    pub(crate) fn patient(&self, lost: u32) -> Self {
        Self { inner: Arc::clone(&self.inner), patience: 1 << lost.min(3) }
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        self.inner.dialer.options()
    }

    pub(crate) fn dialer(&self) -> Dialer {
        self.inner.dialer.clone()
    }

    /// What the connections of one client know of the server.
    pub(crate) fn outages(&self) -> &Outages {
        self.inner.dialer.outages()
    }

    /// Asks for a sign of life: one round trip.
    pub(crate) async fn ping(&self) -> Result<()> {
        let pong = self.send(Cmd::new().arg("PING")).await;
        pong.map(drop).map_err(|failure| failure.to_read_error("ping"))
    }

    /// Whether the server lets scripts say that they may run while it is full.
    pub(crate) fn allows_oom(&self) -> bool {
        self.inner.flags.load(Ordering::Relaxed) & KNOWS_FLAGS != 0
    }

    /// Whether scripts are asked not to treat a single job in a way of its own; for tests that compare both ways.
    pub(crate) fn takes_long_way(&self) -> bool {
        self.inner.flags.load(Ordering::Relaxed) & TAKES_LONG_WAY != 0
    }

    pub(crate) fn take_long_way(&self) {
        self.inner.flags.fetch_or(TAKES_LONG_WAY, Ordering::Relaxed);
    }

    /// Gives the commands of this link and its clones no less than this time; whoever wants less limits the call itself.
    pub(crate) fn at_least(&self, timeout: Duration) {
        self.inner.timeout.fetch_max(millis(timeout), Ordering::Relaxed);
    }

    /// Begins to connect where there is no connection, so that the next call need not.
    pub(crate) fn dial_beside(&self) {
        self.attempt();
    }

    /// Lets the next call open a new connection; those on their way keep theirs.
    pub(crate) fn replace(&self) {
        *self.inner.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// Sends one small command and waits for its reply, as [`send_large`](Self::send_large).
    pub(crate) async fn send(&self, cmd: &Cmd) -> std::result::Result<Value, Failure> {
        self.send_large(cmd, 0).await
    }

    /// Sends one command of so many bytes and waits for its reply: for a connection within the deadline of the options,
    /// for the reply as long as the connection moves bytes, with no silence longer than that.
    pub(crate) async fn send_large(&self, cmd: &Cmd, bytes: usize) -> std::result::Result<Value, Failure> {
        let start = Instant::now();
        let timeout = Duration::from_millis(self.inner.timeout.load(Ordering::Relaxed)) * self.patience;
        let deadline = start + timeout;
        let live = match tokio::time::timeout_at(deadline, self.wait_for_connection()).await {
            Ok(Ok(live)) => live,
            Ok(Err(error)) => return Err(Failure::NotApplied(error)),
            Err(_) => return Err(Failure::NotApplied(RedisError::from((ErrorKind::Io, "no connection in time")))),
        };
        let mut connection = live.connection.clone();
        let call = connection.send_packed_command(cmd);
        let reply = match live.progress.within(start, deadline, timeout, bytes, call).await {
            Ok(Value::ServerError(error)) => Err(Failure::of(error.into())),
            Ok(value) => {
                self.outages().answered();
                return Ok(value);
            }
            Err(error) => Err(Failure::of(error)),
        };
        match &reply {
            Err(Failure::Unknown(error)) => self.outages().failed(live.progress.last().max(start), error),
            Err(Failure::NotApplied(error)) => self.outages().refused(error),
            _ => self.outages().answered(),
        }
        if reply.as_ref().is_err_and(Failure::spoils_connection) {
            self.discard(live.number);
        }
        reply
    }

    /// Drops the connection with this number, if it is still the one in use.
    fn discard(&self, number: u64) {
        let mut current = self.inner.current.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.as_ref().is_some_and(|live| live.number == number) {
            *current = None;
        }
    }

    /// The connection in use, unless it has ended: what was never sent needs no resolving.
    fn live(&self) -> Option<Arc<Live>> {
        let current = self.inner.current.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        current.as_ref().filter(|live| !live.driver.has_ended()).cloned()
    }

    /// The live connection, or a new one; tries until it has one, unless the server will never do.
    async fn wait_for_connection(&self) -> std::result::Result<Arc<Live>, RedisError> {
        loop {
            match self.connection().await {
                Err(error) if is_permanent(&error) => return Err(error),
                Err(error) => tracing::debug!(error = %without_secrets(&error), "connecting failed"),
                live => return live,
            }
        }
    }

    /// The live connection, or what comes of one attempt at a new one, which others may have begun.
    async fn connection(&self) -> std::result::Result<Arc<Live>, RedisError> {
        loop {
            if let Some(live) = self.live() {
                return Ok(live);
            }
            let Some((number, mut outcome, until)) = self.attempt() else { continue };
            let ended = tokio::time::timeout_at(until, outcome.wait_for(Option::is_some)).await;
            match ended.map(|ended| ended.map(|outcome| outcome.clone())) {
                Ok(Ok(Some(Err(error)))) => return Err(error),
                Ok(Ok(_)) => {}
                // It ended with its runtime; the next one may live in ours.
                Ok(Err(_)) => tokio::task::yield_now().await,
                Err(_) => self.give_up(number),
            }
        }
    }

    /// The attempt under way, or one that begins here and now, no earlier than the pause after the last one; `None` if
    /// there is a connection.
    fn attempt(&self) -> Option<(u64, watch::Receiver<Outcome>, Instant)> {
        let mut dialing = self.inner.dialing();
        if self.live().is_some() {
            return None;
        }
        if dialing.attempt.as_ref().is_none_or(Attempt::is_over) {
            let now = Instant::now();
            let start = dialing.failed.map_or(now, |failed| now.max(failed + dialing.pause.current()));
            // Counted as failed until it has succeeded.
            dialing.failed = Some(start);
            dialing.pause.grow();
            dialing.attempts += 1;
            let number = dialing.attempts;
            let (tell, outcome) = watch::channel(None);
            let dialer = self.dialer();
            let until = start + dialer.options().connect_timeout + Backoff::LONGEST;
            let inner = Arc::downgrade(&self.inner);
            // A runtime that shuts down drops it here and now, which harms nobody: it holds no lock and no link.
            let task = tokio::spawn(async move {
                tokio::time::sleep_until(start).await;
                let dialed = dialer.dial(None).await;
                if let Some(inner) = Weak::upgrade(&inner) {
                    inner.ended(number, dialed, &tell);
                }
            });
            dialing.attempt = Some(Attempt { number, outcome, until, task: task.abort_handle() });
        }
        dialing.attempt.as_ref().map(|attempt| (attempt.number, attempt.outcome.clone(), attempt.until))
    }

    /// Ends an attempt that does not get on.
    fn give_up(&self, number: u64) {
        self.inner.dialing().attempt.take_if(|attempt| attempt.number == number);
    }
}

impl Inner {
    fn dialing(&self) -> std::sync::MutexGuard<'_, Dialing> {
        self.dialing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What came of an attempt; nothing, if it had been given up.
    fn ended(&self, number: u64, dialed: std::result::Result<Dialed, RedisError>, tell: &watch::Sender<Outcome>) {
        let mut dialing = self.dialing();
        if dialing.attempt.take_if(|attempt| attempt.number == number).is_none() {
            return;
        }
        let outcome = dialed.map(|Dialed { connection, server, driver, progress }| {
            dialing.failed = None;
            dialing.pause = Backoff::default();
            self.note(server);
            let live = Arc::new(Live { number, connection, driver, progress });
            *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(live);
        });
        drop(dialing);
        tell.send_replace(Some(outcome));
    }

    fn note(&self, server: Server) {
        if server.knows_script_flags() {
            self.flags.fetch_or(KNOWS_FLAGS, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!KNOWS_FLAGS, Ordering::Relaxed);
        }
    }
}

/// An error that no further attempt will mend.
fn is_permanent(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::InvalidClientConfig | ErrorKind::AuthenticationFailed)
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
}

/// Whether we do not trust the server. Waiting does not mend that when a program begins; a client that was connected goes
/// on, since certificates are renewed.
fn is_distrust(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Io && error.to_string().contains("invalid peer certificate")
}

fn connect_error(error: &RedisError) -> Error {
    if error.to_string().contains(TOO_OLD) {
        return Error::ServerVersion { found: error.detail().unwrap_or_default().to_owned() };
    }
    Error::Redis { op: "connect", source: without_secrets(error) }
}

/// The pauses between attempts: 10 ms, doubling up to half a second, each varied by half so that a fleet spreads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(500);

    pub(crate) fn current(self) -> Duration {
        self.next.mul_f64(0.75 + fastrand::f64() * 0.5)
    }

    pub(crate) fn grow(&mut self) {
        self.next = (self.next * 2).min(Self::LONGEST);
    }

    /// Waits for the current pause, and makes the next one longer.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.current()).await;
        self.grow();
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}
