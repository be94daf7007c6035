//! Shares the periodic checks of idle workers: one call asks for all queues of a client.
//!
//! If a queue has no key that a check could find something in, the check is skipped: one call asks about up to 256
//! queues. The first worker that is due also asks for those that will be due soon, and all of them are due again an
//! interval later; so the checks of a client fall together, whenever its workers began. A queue that has such keys is
//! checked on its own, and so is one whose worker is busy.
//!
//! No worker depends on another for longer than [`PATIENCE`]: if one does not finish in time, as in a blocked runtime,
//! the next one asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::engine::look::which_have;
use crate::sync::Lock;

/// How long others wait for a worker that has begun to ask.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the workers of one client share for one kind of check.
pub(crate) struct SharedLooks {
    /// The keys of a queue that exist if a check may find something.
    suffixes: &'static [&'static str],
    /// The queues, by base key.
    queues: Lock<HashMap<String, Watched>>,
    /// Counts the finished rounds.
    rounds: watch::Sender<u64>,
}

/// What is known of a queue that workers of this client check.
struct Watched {
    engine: Engine,
    workers: usize,
    /// The shortest interval of its workers.
    interval: Duration,
    due: Instant,
    /// When a worker began to ask about it.
    taken: Option<Instant>,
    /// Whether nothing was found when it was last asked about.
    is_idle: bool,
}

impl Watched {
    fn is_taken(&self, now: Instant) -> bool {
        self.taken.is_some_and(|at| now < at + PATIENCE)
    }

    fn is_finished(&mut self, due: Instant) {
        (self.due, self.taken) = (due, None);
    }
}

/// What a worker does next.
enum NextLook {
    /// Waits until then.
    Wait(Instant),
    /// Waits for another worker that is asking.
    Taken,
    /// Asks about these queues, its own first.
    Ask(Vec<Engine>),
}

impl SharedLooks {
    pub(crate) fn new(suffixes: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self { suffixes, queues: Lock::default(), rounds: watch::Sender::default() })
    }

    /// Adds one worker; its queue is due after `first`.
    pub(super) fn join(self: &Arc<Self>, engine: &Engine, interval: Duration, first: Duration) -> Lookout {
        let mut queues = self.queues.lock();
        let watched = queues.entry(engine.keys.base().to_owned()).or_insert_with(|| Watched {
            engine: engine.clone(),
            workers: 0,
            interval,
            due: Instant::now() + first,
            taken: None,
            is_idle: true,
        });
        watched.workers += 1;
        watched.interval = watched.interval.min(interval);
        watched.due = watched.due.min(Instant::now() + first);
        Lookout { looks: Arc::clone(self), base: engine.keys.base().to_owned() }
    }

    /// Returns what the worker of this queue does now; a busy one asks about no other queue.
    fn turn(&self, base: &str, is_busy: bool) -> NextLook {
        let now = Instant::now();
        let mut queues = self.queues.lock();
        let Some(own) = queues.get_mut(base) else { return NextLook::Wait(now + PATIENCE) };
        if own.is_taken(now) {
            return NextLook::Taken;
        }
        if now < own.due {
            return NextLook::Wait(own.due);
        }
        own.taken = Some(now);
        let mut engines = vec![own.engine.clone()];
        if own.is_idle && !is_busy {
            let soon = now + own.interval / 2;
            for (other, watched) in queues.iter_mut() {
                if watched.is_idle && watched.due <= soon && !watched.is_taken(now) && other != base {
                    watched.taken = Some(now);
                    engines.push(watched.engine.clone());
                }
            }
        }
        NextLook::Ask(engines)
    }

    /// Asks about these queues; returns whether the first one may have something. If so it stays taken.
    async fn ask(&self, engines: &[Engine]) -> bool {
        let began = Instant::now();
        // Queues in the same slot of a cluster are neighbours.
        let mut sorted: Vec<&Engine> = engines.iter().collect();
        sorted.sort_unstable_by_key(|engine| engine.keys.base());
        let found = which_have(&sorted, self.suffixes).await;
        let own = engines.first().map(|engine| engine.keys.base());
        let mut has_own = true;
        let mut queues = self.queues.lock();
        for (engine, has) in sorted.into_iter().zip(found) {
            let base = engine.keys.base();
            let Some(watched) = queues.get_mut(base) else { continue };
            if let Some(has) = has {
                watched.is_idle = !has;
            }
            if has == Some(false) {
                watched.is_finished(began + watched.interval);
                has_own &= own != Some(base);
            } else if own != Some(base) {
                watched.taken = None;
            }
        }
        drop(queues);
        self.rounds.send_modify(|rounds| *rounds += 1);
        has_own
    }
}

/// The membership of one worker, ended by dropping it.
pub(super) struct Lookout {
    looks: Arc<SharedLooks>,
    base: String,
}

impl Lookout {
    /// Returns when it is time for a check, unless there is nothing to find.
    pub(super) async fn is_due(&self, is_busy: impl Fn() -> bool) {
        let mut rounds = self.looks.rounds.subscribe();
        loop {
            rounds.mark_unchanged();
            let is_busy = is_busy();
            match self.looks.turn(&self.base, is_busy) {
                NextLook::Wait(until) => tokio::time::sleep_until(until).await,
                NextLook::Taken => drop(tokio::time::timeout(PATIENCE, rounds.changed()).await),
                NextLook::Ask(_) if is_busy => break,
                NextLook::Ask(engines) => {
                    if self.looks.ask(&engines).await {
                        break;
                    }
                }
            }
        }
    }

    /// Records that its queue was checked, so that it is due again after `pause`.
    pub(super) fn looked(&self, pause: Duration) {
        if let Some(watched) = self.looks.queues.lock().get_mut(&self.base) {
            watched.is_finished(Instant::now() + pause);
        }
        self.looks.rounds.send_modify(|rounds| *rounds += 1);
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        let mut queues = self.looks.queues.lock();
        if let Some(watched) = queues.get_mut(&self.base) {
            watched.workers -= 1;
            watched.taken = None;
            if watched.workers == 0 {
                queues.remove(&self.base);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{look, testing};

    const INTERVAL: Duration = Duration::from_secs(30);

    /// Returns the queues that this one would ask about.
    fn asked(looks: &SharedLooks, own: &Engine, is_busy: bool) -> Vec<String> {
        match looks.turn(own.keys.base(), is_busy) {
            NextLook::Ask(engines) => engines.iter().map(|engine| engine.keys.base().to_owned()).collect(),
            NextLook::Wait(_) => vec!["wait".to_owned()],
            NextLook::Taken => vec!["taken".to_owned()],
        }
    }

    #[tokio::test]
    async fn one_asks_for_all_and_keeps_nobody_from_it_for_long() {
        let (a, b) = (testing::queue().await, testing::queue().await);
        let looks = SharedLooks::new(look::ACTIVE);
        let first = looks.join(&a, INTERVAL, Duration::ZERO);
        let second = looks.join(&b, INTERVAL, INTERVAL / 3);
        tokio::time::pause();
        assert_eq!(asked(&looks, &b, false), ["wait"]);
        assert_eq!(asked(&looks, &a, false), [a.keys.base(), b.keys.base()]);
        // The first one never gets its reply.
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!((asked(&looks, &a, false), asked(&looks, &b, false)), (vec!["taken".into()], vec!["taken".into()]));
        tokio::time::advance(INTERVAL / 3).await;
        assert_eq!(asked(&looks, &b, true), [b.keys.base()], "a busy one asks for no other");
        assert_eq!(asked(&looks, &a, false), [a.keys.base()], "that one is taken");
        drop(second);
        first.looked(INTERVAL);
        assert_eq!((asked(&looks, &a, false), asked(&looks, &b, false)), (vec!["wait".into()], vec!["wait".into()]));
    }

    #[tokio::test]
    async fn who_has_nothing_is_due_after_the_interval_and_who_has_something_looks() {
        let (a, b) = (testing::queue().await, testing::queue().await);
        b.redis("RPUSH @active 1").await;
        let looks = SharedLooks::new(look::ACTIVE);
        let of = |engine| looks.join(engine, INTERVAL, Duration::ZERO);
        let (_first, second) = (of(&a), of(&b));
        let engines = |turn| if let NextLook::Ask(engines) = turn { engines } else { panic!("nothing to ask") };
        assert!(!looks.ask(&engines(looks.turn(a.keys.base(), false))).await);
        assert!(
            matches!(looks.turn(a.keys.base(), false), NextLook::Wait(until) if until > Instant::now() + INTERVAL / 2)
        );
        tokio::time::timeout(Duration::from_secs(20), second.is_due(|| false)).await.unwrap();
        assert_eq!(asked(&looks, &b, false), ["taken"]);
        second.looked(Duration::ZERO);
        assert_eq!(asked(&looks, &b, false), [b.keys.base()], "it goes its own way");
    }
}
