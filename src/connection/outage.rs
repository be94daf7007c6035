//! Tracks whether the server can be used, from all connections of one client, and tells listeners.
//!
//! Short breaks are normal and not reported. A longer outage is reported once when it is certain, and once when it is
//! over. A server that answers but refuses to serve, because it is loading its data or became a replica, counts as away
//! like one that cannot be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use redis::RedisError;
use tokio::time::Instant;

use super::failure::without_secrets;
use super::servers::Servers;

use crate::sync::Lock;

/// Shorter outages are not reported.
const TELL_AFTER: Duration = Duration::from_secs(3);

/// How long nothing may have failed before a reply on some connection ends the outage: other connections may still
/// fail, and a replica still answers reads.
const QUIET: Duration = Duration::from_secs(2);

/// Why a server is away that answers all the same.
const FULL: &str =
    "the server is full (`maxmemory`) and refuses what a worker needs to go on; from version 7 on it would not";

/// Is told of outages. Called by whoever notices, so it must not block.
pub(crate) trait Listener: Send + Sync {
    /// Tells that the server has been away for some seconds.
    fn away(&self, why: &str);
    /// Tells that it is back, after an outage of this length.
    fn back(&self, after: Duration);
    /// Tells that something has failed, for the first time or after a reply: the next reply may come from another server,
    /// or from one that has lost its latest data.
    fn broke(&self) {}
    /// Tells that the server works again, however short the break was.
    fn mended(&self) {}
}

/// What is known of one server.
pub(crate) struct Outages {
    server: Servers,
    /// Whether `state` holds an outage; read with each reply, so that replies need no lock.
    is_away: AtomicBool,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    outage: Option<Outage>,
    /// How many calls a full server refuses at present that go on until they are answered.
    refused: usize,
    listeners: Vec<Weak<dyn Listener>>,
}

struct Outage {
    began: Instant,
    /// When something last failed.
    failed: Instant,
    /// When the server, or a proxy in front of it, last refused to serve.
    refused: Option<Instant>,
    /// When the first reply since the last failure came.
    answered: Option<Instant>,
    why: String,
    is_told: bool,
}

impl Outage {
    fn new(now: Instant) -> Self {
        Self { began: now, failed: now, refused: None, answered: None, why: String::new(), is_told: false }
    }
}

/// Stands for a call that a full server refuses and that is repeated until it is answered. While there is one the server
/// counts as away, whatever else it answers.
pub(crate) struct Refused(Arc<Outages>);

impl Drop for Refused {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.refused -= 1;
        let is_last = state.refused == 0;
        drop(state);
        if is_last {
            self.0.over(Instant::now(), |outage| Some(outage.failed));
        }
    }
}

impl Outages {
    pub(super) fn new(server: Servers) -> Arc<Self> {
        Arc::new(Self { server, is_away: AtomicBool::new(false), state: Lock::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns the server that this is about.
    pub(super) fn server(&self) -> &Servers {
        &self.server
    }

    /// Returns why calls fail at present, if they do.
    pub(super) fn why(&self) -> Option<String> {
        let state = self.state();
        state.outage.as_ref().map(|outage| outage.why.clone()).filter(|why| !why.is_empty())
    }

    /// Returns whether the server is known to be away.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Adds a listener, which is told of outages as long as it lives; at once, if there is one already.
    pub(crate) fn tell(&self, listener: Weak<dyn Listener>) {
        let mut state = self.state();
        state.listeners.retain(|listener| listener.strong_count() > 0);
        let known = state.outage.as_ref().filter(|outage| outage.is_told).map(|outage| outage.why.clone());
        state.listeners.push(Weak::clone(&listener));
        drop(state);
        if let (Some(why), Some(listener)) = (known, listener.upgrade()) {
            listener.away(&why);
        }
    }

    /// Records that a connection was lost or could not be opened, and that nothing was received since `began`.
    pub(super) fn failed(&self, began: Instant, error: &RedisError) {
        // An error with a code comes from a server, which may have reached its limit of clients.
        self.note(Instant::now(), began, error, error.code().is_some());
    }

    /// Records that the server answered that it does not serve now.
    pub(super) fn refused(&self, error: &RedisError) {
        let now = Instant::now();
        self.note(now, now, error, true);
    }

    /// Records that the server is full and refuses a call that a worker needs to go on. The call keeps `refused` until it is
    /// answered.
    pub(crate) fn full(self: &Arc<Self>, refused: &mut Option<Refused>) {
        let now = Instant::now();
        if refused.is_none() {
            self.state().refused += 1;
            *refused = Some(Refused(Arc::clone(self)));
            let mut state = self.state();
            state.outage.get_or_insert_with(|| Outage::new(now)).why = FULL.to_owned();
            self.is_away.store(true, Ordering::Relaxed);
        }
        self.tell_if_due(now);
    }

    fn note(&self, now: Instant, began: Instant, error: &RedisError, is_refusal: bool) {
        let mut state = self.state();
        // What was answered since the last failure may be lost with this one.
        let is_new = state.outage.as_ref().is_none_or(|outage| outage.answered.is_some());
        let told = if is_new { state.listeners.clone() } else { Vec::new() };
        let outage = state.outage.get_or_insert_with(|| Outage::new(began));
        outage.failed = now;
        outage.answered = None;
        if is_refusal {
            outage.refused = Some(now);
        }
        if !outage.is_told {
            outage.why = without_secrets(error).to_string();
        }
        self.is_away.store(true, Ordering::Relaxed);
        drop(state);
        told.iter().filter_map(Weak::upgrade).for_each(|listener| listener.broke());
        self.tell_if_due(now);
    }

    /// Returns when an outage has to be reported that was not reported yet.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = self.state();
        state.outage.as_ref().filter(|outage| !outage.is_told).map(|outage| outage.began + TELL_AFTER)
    }

    pub(super) fn tell_if_due(&self, now: Instant) {
        self.tell_those(|outage| outage.began + TELL_AFTER <= now);
    }

    /// Reports an outage however short: somebody waits for its end before anything can begin.
    pub(super) fn tell_now(&self) {
        self.tell_those(|_| true);
    }

    fn tell_those(&self, is_due: impl FnOnce(&Outage) -> bool) {
        let mut state = self.state();
        let Some(outage) = state.outage.as_mut().filter(|outage| !outage.is_told && is_due(outage)) else { return };
        outage.is_told = true;
        let (why, since) = (outage.why.clone(), rounded(outage.began.elapsed()));
        let listeners = state.listeners.clone();
        drop(state);
        let server = &self.server;
        match since {
            Duration::ZERO => tracing::warn!(target: "oxmq::connection", ?server, why, "the server is away"),
            _ => tracing::warn!(target: "oxmq::connection", ?server, ?since, why, "the server is away"),
        }
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.away(&why);
        }
    }

    /// Records that a reply came.
    pub(super) fn answered(&self) {
        if self.is_away() {
            self.over(Instant::now(), |outage| Some(outage.failed));
        }
    }

    /// Records that a new connection was opened, and the server has answered on it.
    pub(super) fn dialed(&self) {
        if self.is_away() {
            self.over(Instant::now(), |outage| outage.refused);
        }
    }

    /// Ends the outage, unless the time that `after` returns was only a moment ago.
    fn over(&self, now: Instant, after: impl FnOnce(&Outage) -> Option<Instant>) {
        let mut state = self.state();
        if state.refused > 0 {
            return;
        }
        let Some(outage) = &mut state.outage else { return };
        let answered = *outage.answered.get_or_insert(now);
        if after(outage).is_some_and(|failed| now < failed + QUIET) {
            return;
        }
        let (after, is_told) = (rounded(answered - outage.began), outage.is_told);
        state.outage = None;
        self.is_away.store(false, Ordering::Relaxed);
        let listeners = state.listeners.clone();
        drop(state);
        if is_told {
            tracing::info!(target: "oxmq::connection", server = ?self.server, ?after, "the server is back");
        }
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            if is_told {
                listener.back(after);
            }
            listener.mended();
        }
    }
}

/// Rounds to tenths of a second, which is enough for a log.
fn rounded(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis() / 100 * 100).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use redis::{ErrorKind, ServerErrorKind};

    use super::super::servers::Address;
    use super::*;

    #[derive(Default)]
    struct Heard(Lock<Vec<String>>);

    impl Listener for Heard {
        fn away(&self, why: &str) {
            self.0.lock().push(format!("away: {why}"));
        }

        fn back(&self, after: Duration) {
            self.0.lock().push(format!("back: {after:?}"));
        }
    }

    fn watched() -> (Arc<Outages>, Arc<Heard>) {
        let outages = Outages::new(Servers::One(Address::Tcp("localhost".into(), 6379)));
        let heard = Arc::new(Heard::default());
        let listener: Weak<dyn Listener> = Arc::<Heard>::downgrade(&heard);
        outages.tell(listener);
        (outages, heard)
    }

    impl Heard {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock())
        }
    }

    async fn pass(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    fn unreachable() -> RedisError {
        RedisError::from((ErrorKind::Io, "refused"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_short_is_not_told_and_what_lasts_is_told_once() {
        let (outages, heard) = watched();
        outages.failed(Instant::now(), &unreachable());
        assert!(outages.is_away());
        pass(2_900).await;
        outages.failed(Instant::now(), &unreachable());
        outages.dialed();
        assert!(!outages.is_away() && outages.due().is_none());
        assert!(heard.take().is_empty());
        outages.failed(Instant::now(), &unreachable());
        for _ in 0..5 {
            pass(1_000).await;
            outages.failed(Instant::now(), &unreachable());
        }
        assert_eq!(heard.take(), ["away: refused"]);
        pass(50).await;
        outages.dialed();
        assert_eq!(heard.take(), ["back: 5s"]);
        outages.dialed();
        outages.answered();
        assert!(heard.take().is_empty());
    }

    #[derive(Default)]
    struct Breaks(Lock<usize>);

    impl Listener for Breaks {
        fn away(&self, _: &str) {}

        fn back(&self, _: Duration) {}

        fn broke(&self) {
            *self.0.lock() += 1;
        }
    }

    /// Several breaks within two seconds are one outage, and yet each may lose what was answered since the one before.
    #[tokio::test(start_paused = true)]
    async fn a_failure_after_a_reply_is_a_break_of_its_own() {
        let (outages, _heard) = watched();
        let breaks = Arc::new(Breaks::default());
        let listener: Weak<dyn Listener> = Arc::<Breaks>::downgrade(&breaks);
        outages.tell(listener);
        for known in 1..4 {
            outages.failed(Instant::now(), &unreachable());
            outages.failed(Instant::now(), &unreachable());
            assert_eq!(*breaks.0.lock(), known);
            pass(100).await;
            outages.answered();
            assert!(outages.is_away());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_server_is_away_until_the_last_call_that_it_refuses_is_answered() {
        let (outages, heard) = watched();
        let (mut one, mut other) = (None, None);
        for n in 0..8 {
            outages.full(&mut one);
            if n > 3 {
                outages.full(&mut other);
            }
            pass(1_000).await;
            // Whoever only reads is answered all the time.
            outages.answered();
            assert!(outages.is_away());
        }
        assert_eq!(heard.take(), [format!("away: {FULL}")]);
        drop(one);
        assert!(outages.is_away() && heard.take().is_empty());
        drop(other);
        assert!(!outages.is_away());
        assert_eq!(heard.take(), ["back: 8s"]);
        // A short one is nobody's concern, and what fails besides is not over with it.
        let mut short = None;
        outages.full(&mut short);
        outages.failed(Instant::now(), &unreachable());
        drop(short);
        assert!(outages.is_away());
        outages.dialed();
        assert!(!outages.is_away() && heard.take().is_empty());
    }

    /// An attempt to connect may take longer than an outage needs to be reported.
    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_its_beginning() {
        let (outages, heard) = watched();
        let began = Instant::now();
        pass(1_000).await;
        outages.failed(began, &unreachable());
        assert_eq!(outages.due(), Some(began + TELL_AFTER));
        pass(2_000).await;
        outages.tell_if_due(Instant::now());
        assert_eq!(heard.take().len(), 1);
        // A listener that is added later is told too.
        let late = Arc::new(Heard::default());
        let listener: Weak<dyn Listener> = Arc::<Heard>::downgrade(&late);
        outages.tell(listener);
        assert_eq!(late.take(), ["away: refused"]);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_others_do_not_end_what_still_fails() {
        let (outages, heard) = watched();
        let replica =
            RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "An error was signalled", "no".to_owned()));
        for _ in 0..8 {
            // Each has a new connection, and there is a reader as well.
            outages.dialed();
            outages.refused(&replica);
            pass(500).await;
            outages.answered();
        }
        assert_eq!(heard.take().len(), 1);
        outages.answered();
        pass(1_600).await;
        outages.answered();
        assert_eq!(heard.take(), ["back: 4s"]);
    }
}
