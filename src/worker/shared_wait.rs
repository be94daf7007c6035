//! Shares the waiting of idle workers: where a client has many workers, they share a few connections.
//!
//! A room waits for the markers of many queues with one blocking read on one connection. When a worker joins or leaves,
//! the server is told to end the read (`CLIENT UNBLOCK`), and the next read is for the workers present then. So no
//! marker is lost, as may happen when a socket is closed. A marker for a queue whose workers have all left is written
//! again. The queues take turns in being first, since a read pops the marker of the first queue that has one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::{Handle, Id};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::health::LastFetch;
use super::panics::{Panic, catch};
use super::roster::{Membership, Rosters};
use crate::connection::{BlockingLink, Link};
use crate::engine::Engine;
use crate::engine::look::{WORK, which_have};
use crate::engine::marker::{Unblocked, Woken, WokenByAny, unblock, wait_any};
use crate::failpoint;
use crate::sync::spawn;

/// How many queues one connection waits for at most: whenever one joins or leaves, all their keys are sent again.
const MOST: usize = 256;

/// Workers that join or leave within this time of each other do so in one step.
const GATHER: Duration = Duration::from_millis(2);

/// A worker that is woken this soon after it began to wait is busy; next time it first waits this long on a connection
/// of its own.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// How long ending a read may take, before its connection is closed.
const PATIENCE: Duration = Duration::from_millis(300);

/// What ends a read.
const UNBLOCK: &str = "CLIENT UNBLOCK";

/// How many workers of a client wait on a connection of their own, by default; more of them where the others cannot share
/// one, and have to look.
const OWN_CONNECTIONS: usize = 32;
const OWN_CONNECTIONS_OVER_SLOTS: usize = 128;

/// What the workers of one client share for waiting.
pub(crate) struct SharedWaits {
    /// How many workers wait on a connection of their own at most.
    most: usize,
    own: AtomicUsize,
    /// Whether the queues of the client may have a slot of a cluster each. No read can wait for several slots, so workers
    /// without a connection of their own [look](super::look_wait) for the marker.
    over_slots: bool,
    /// When all of them look is counted from here.
    epoch: Instant,
    /// The rooms, by runtime, since a task ends with its runtime.
    rooms: Mutex<Vec<(Id, Arc<Room>)>>,
    /// Lists the workers that have no connection of their own at the moment.
    rosters: Rosters,
}

/// The right to a connection of one's own, given up by dropping it.
pub(super) struct Own(Arc<SharedWaits>);

impl Drop for Own {
    fn drop(&mut self) {
        self.0.own.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a room knows of a worker.
pub(super) struct Seat {
    pub(super) engine: Engine,
    pub(super) marker: String,
    /// What a connection of its own is called.
    pub(super) name: String,
    pub(super) drain_delay: Duration,
    pub(super) last_fetch: Arc<LastFetch>,
}

struct Waiting {
    number: u64,
    seat: Arc<Seat>,
    /// When the wait is over; `None` if only the drain delay would end it, which the room handles.
    until: Option<Instant>,
    answer: oneshot::Sender<Woken>,
}

#[derive(Default)]
struct Room {
    people: Mutex<People>,
    /// Notified when a worker joins or leaves.
    changed: Notify,
    /// Counts the reads that have ended.
    reads: watch::Sender<u64>,
}

#[derive(Default)]
struct People {
    waiting: Vec<Waiting>,
    next: u64,
    /// Whether a task serves the room. The task leaves under this lock, when no worker is present.
    is_served: bool,
}

/// A place in a room, given up by dropping it.
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    woken: oneshot::Receiver<Woken>,
}

impl SharedWaits {
    /// Creates what the workers of a client share; `most` is how many connections of their own they may have, unless the
    /// default applies.
    pub(crate) fn new(most: Option<usize>, over_slots: bool) -> Arc<Self> {
        let default = if over_slots { OWN_CONNECTIONS_OVER_SLOTS } else { OWN_CONNECTIONS };
        Arc::new(Self {
            most: most.unwrap_or(default),
            own: AtomicUsize::new(0),
            over_slots,
            epoch: Instant::now(),
            rooms: Mutex::default(),
            rosters: Rosters::default(),
        })
    }

    /// Returns from when looks are counted, if workers look instead of sharing a connection.
    pub(super) fn looks_from(&self) -> Option<Instant> {
        self.over_slots.then_some(self.epoch)
    }

    /// Takes the right to a connection of one's own, if one is left.
    pub(super) fn own(self: &Arc<Self>) -> Option<Own> {
        let take = |own: usize| (own < self.most).then_some(own + 1);
        self.own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok().then(|| Own(Arc::clone(self)))
    }

    /// Has a worker be listed that has no connection of its own, under the name that such a one would have.
    pub(super) fn enter(&self, seat: &Seat) -> Membership {
        self.rosters.enter(&seat.engine, &seat.name)
    }

    /// Takes a place; `block` is how long to wait at most.
    pub(super) fn join(self: &Arc<Self>, seat: &Arc<Seat>, block: Duration) -> Place {
        let until = (block < seat.drain_delay).then(|| Instant::now() + block);
        let (answer, woken) = oneshot::channel();
        let runtime = Handle::current().id();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.retain(|(_, room)| room.people().is_served);
        let has_place = |(at, room): &&(Id, Arc<Room>)| *at == runtime && room.people().waiting.len() < MOST;
        let room = rooms.iter().find(has_place).map(|(_, room)| Arc::clone(room)).unwrap_or_else(|| {
            let room = Arc::new(Room::default());
            rooms.push((runtime, Arc::clone(&room)));
            room
        });
        let mut people = room.people();
        let number = people.next;
        people.next += 1;
        people.waiting.push(Waiting { number, seat: Arc::clone(seat), until, answer });
        if !std::mem::replace(&mut people.is_served, true) {
            let serving = serve(Arc::clone(&room), Arc::clone(seat));
            spawn(async move {
                if let Err(Panic { text, place }) = catch(serving).await {
                    tracing::error!(
                        text,
                        place,
                        "the shared wait for jobs panicked; its workers fetch, and start another"
                    );
                }
            });
        }
        drop(people);
        room.changed.notify_one();
        Place { room, number, woken }
    }
}

/// Returns whether waiting can be shared, as far as is known: otherwise each worker has a connection of its own.
pub(super) fn is_possible(link: &Link) -> bool {
    !link.lacks(UNBLOCK)
}

/// Records that the server does not let us end a read.
fn refuse(link: &Link) {
    link.dialer().is_refused(UNBLOCK, "each worker waits on a connection of its own");
}

impl Place {
    /// Returns how the wait ended.
    pub(super) async fn woken(&mut self) -> Woken {
        (&mut self.woken).await.unwrap_or(Woken::Broken)
    }

    /// Gives the place up, and returns when no read is under way any more that may pop a marker for it.
    pub(super) async fn leave(self) {
        let mut reads = self.room.reads.subscribe();
        let (room, number) = (Arc::clone(&self.room), self.number);
        drop(self);
        let is_served = room.people().is_served;
        debug_assert!(room.people().waiting.iter().all(|waiting| waiting.number != number));
        if is_served {
            let _ = tokio::time::timeout(PATIENCE, reads.changed()).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.people().waiting.retain(|waiting| waiting.number != self.number);
        self.room.changed.notify_one();
    }
}

/// What one read waits for.
struct Read {
    seats: Vec<Arc<Seat>>,
    markers: Vec<String>,
    /// When it ends at the latest.
    until: Instant,
}

impl Room {
    fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next read, in which the queue after `last` comes first; `None` if no worker is present, and then the
    /// task has left.
    fn next_read(&self, last: Option<&str>, look: Instant) -> Option<Read> {
        let mut people = self.people();
        if people.waiting.is_empty() {
            people.is_served = false;
            return None;
        }
        let mut seen = HashSet::new();
        let mut seats: Vec<Arc<Seat>> = Vec::with_capacity(people.waiting.len());
        for waiting in &people.waiting {
            if seen.insert(waiting.seat.marker.as_str()) {
                seats.push(Arc::clone(&waiting.seat));
            }
        }
        // Sorted by name, so that joining and leaving does not change whose turn it is.
        seats.sort_unstable_by(|a, b| a.marker.cmp(&b.marker));
        let turn = last.map_or(0, |last| seats.partition_point(|seat| seat.marker.as_str() <= last));
        seats.rotate_left(turn);
        let until = people.waiting.iter().filter_map(|waiting| waiting.until).fold(look, Instant::min);
        let markers = seats.iter().map(|seat| seat.marker.clone()).collect();
        Some(Read { seats, markers, until })
    }

    /// Wakes the worker that has waited longest for this marker; returns false if there is none.
    fn wake(&self, marker: &str, woken: Woken) -> bool {
        let mut people = self.people();
        while let Some(at) = people.waiting.iter().position(|waiting| waiting.seat.marker == marker) {
            if people.waiting.remove(at).answer.send(woken).is_ok() {
                return true;
            }
        }
        false
    }

    /// Wakes all workers for which `whom` is true.
    fn wake_all(&self, woken: Woken, mut whom: impl FnMut(&Waiting) -> bool) {
        let woken_up: Vec<Waiting> = self.people().waiting.extract_if(.., |waiting| whom(waiting)).collect();
        for waiting in woken_up {
            let _ = waiting.answer.send(woken);
        }
    }
}

/// Wakes all workers that are present when the task ends, unless it has left already.
struct Leaves(Option<Arc<Room>>);

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(room) = self.0.take() {
            let mut people = room.people();
            people.is_served = false;
            people.waiting.clear();
        }
    }
}

/// Returns how long a room waits before it checks whether a marker was lost.
fn pause_before_look(seats: &[Arc<Seat>]) -> Duration {
    seats.iter().map(|seat| seat.drain_delay).min().unwrap_or(Duration::from_secs(5))
}

/// Waits on behalf of all workers in a room, until none is present.
async fn serve(room: Arc<Room>, first: Arc<Seat>) {
    let shared = first.engine.link.clone();
    let mut leaves = Leaves(Some(Arc::clone(&room)));
    let mut link = BlockingLink::new(shared.dialer(), Some("oxmq-shared-waits".to_owned()));
    let mut last: Option<String> = None;
    let mut looked = Instant::now();
    let mut look_after = Duration::ZERO;
    loop {
        // Workers that have joined until now are part of this read already.
        let _ = room.changed.notified().now_or_never();
        let Some(read) = room.next_read(last.as_deref(), looked + look_after) else {
            leaves.0 = None;
            room.reads.send_modify(|reads| *reads += 1);
            break;
        };
        if look_after.is_zero() {
            look_after = pause_before_look(&read.seats);
            continue;
        }
        failpoint::hit("shared wait", &first.engine.keys);
        let Some(woken) = read_once(&room, &shared, &mut link, &read).await else { break };
        room.reads.send_modify(|reads| *reads += 1);
        match woken {
            WokenByAny::Marker(marker, score) => {
                if !room.wake(&marker, Woken::Marker(score))
                    && let Some(seat) = read.seats.iter().find(|seat| seat.marker == marker)
                {
                    seat.engine.wake_workers(PATIENCE).await;
                }
                last = Some(marker);
            }
            WokenByAny::TimeOver => {}
            WokenByAny::Broken => {
                // A popped marker may be lost, for any of the queues.
                let asked: HashSet<&str> = read.markers.iter().map(String::as_str).collect();
                room.wake_all(Woken::Broken, |waiting| asked.contains(waiting.seat.marker.as_str()));
            }
        }
        let now = Instant::now();
        room.wake_all(Woken::TimeOver, |waiting| waiting.until.is_some_and(|until| until <= now));
        if looked + look_after <= now {
            look(&room, &read.seats).await;
            (looked, look_after) = (Instant::now(), pause_before_look(&read.seats));
        }
    }
    drop(leaves);
    link.close().await;
}

/// Makes one read; `None` if the server does not let us end one.
async fn read_once(room: &Room, shared: &Link, link: &mut BlockingLink, read: &Read) -> Option<WokenByAny> {
    let limit = pause_before_look(&read.seats);
    let Ok(server) = tokio::time::timeout(limit, link.ready()).await else {
        // The server may take no more connections: then all workers fetch, unless that would fail too.
        if shared.ping().await.is_ok() {
            room.wake_all(Woken::TimeOver, |_| true);
        }
        return Some(WokenByAny::TimeOver);
    };
    let Some(id) = server.id else {
        refuse(shared);
        return None;
    };
    let block = read.until.saturating_duration_since(Instant::now());
    let woken = {
        let wait = wait_any(link, &read.markers, block);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                biased;
                woken = &mut wait => return Some(woken),
                () = room.changed.notified() => {}
            }
            tokio::time::sleep(GATHER).await;
            match tokio::time::timeout(PATIENCE, unblock(shared, &read.seats[0].engine, id)).await {
                Ok(Unblocked::Yes) => break tokio::time::timeout(PATIENCE, wait).await.ok(),
                // The read has ended already, or the server has not received it yet.
                Ok(Unblocked::No) => room.changed.notify_one(),
                Ok(Unblocked::Refused) => {
                    refuse(shared);
                    return None;
                }
                Ok(Unblocked::Unknown) | Err(_) => break None,
            }
        }
    };
    if woken.is_none() {
        link.close().await;
    }
    Some(woken.unwrap_or(WokenByAny::Broken))
}

/// Wakes the workers of queues that have jobs although no marker came: it was lost with another worker. For the other
/// queues a fetch would have found nothing.
async fn look(room: &Room, seats: &[Arc<Seat>]) {
    let now = Instant::now();
    let engines: Vec<&Engine> = seats.iter().map(|seat| &seat.engine).collect();
    for (seat, has_work) in seats.iter().zip(which_have(&engines, WORK).await) {
        match has_work {
            Some(false) => seat.last_fetch.note(now),
            Some(true) => room.wake_all(Woken::TimeOver, |waiting| waiting.seat.marker == seat.marker),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;

    #[tokio::test]
    async fn a_panic_wakes_everybody_and_they_wait_again() {
        let engine = testing::queue().await;
        let waits = SharedWaits::new(Some(0), false);
        let (marker, drain_delay) = (engine.keys.marker(), Duration::from_secs(60));
        let seat = Arc::new(Seat {
            name: String::new(),
            engine: engine.clone(),
            marker,
            drain_delay,
            last_fetch: Arc::default(),
        });
        failpoint::arm("shared wait", &engine.keys);
        assert_eq!(waits.join(&seat, drain_delay).woken().await, Woken::Broken);
        let mut place = waits.join(&seat, drain_delay);
        engine.redis("ZADD @marker 0 0").await;
        assert_eq!(place.woken().await, Woken::Marker(0.0));
        // Joining and leaving at the same moment leaves nobody behind.
        for _ in 0..50 {
            waits.join(&seat, drain_delay).leave().await;
        }
        engine.redis("ZADD @marker 7 0").await;
        assert_eq!(waits.join(&seat, drain_delay).woken().await, Woken::Marker(7.0));
    }

    #[tokio::test]
    async fn the_queues_take_turns_in_being_the_first() {
        let engine = testing::queue().await;
        let room = Room::default();
        for (number, marker) in (0..).zip(["b", "c", "a", "b"]) {
            let (marker, drain_delay, last_fetch) = (marker.to_owned(), Duration::from_secs(5), Arc::default());
            let seat = Arc::new(Seat { name: String::new(), engine: engine.clone(), marker, drain_delay, last_fetch });
            let (answer, _) = oneshot::channel();
            room.people().waiting.push(Waiting { number, seat, until: None, answer });
        }
        let now = Instant::now();
        let order = |last| room.next_read(last, now).unwrap().markers.concat();
        assert_eq!((order(None), order(Some("a")), order(Some("b"))), ("abc".into(), "bca".into(), "cab".into()));
        // After a name that has left meanwhile, too, and after the last one.
        assert_eq!((order(Some("aa")), order(Some("c")), order(Some("z"))), ("bca".into(), "abc".into(), "abc".into()));
        room.people().waiting.clear();
        assert!(room.next_read(None, now).is_none() && !room.people().is_served);
    }
}
