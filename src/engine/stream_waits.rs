//! Waits for new entries of event streams, for readers that have no connection of their own.
//!
//! On one server a single blocking read waits for the streams of many readers. It only tells which streams have
//! something new; each of their readers then reads its own stream over the shared connection, so a broken wait loses
//! nothing. When a reader begins to wait, the server is told to end the read (`CLIENT UNBLOCK`), and the next one includes
//! it. Where that is not permitted, reads are short instead.
//!
//! On a cluster one read can wait only for keys of one slot. Where each queue has a slot of its own, these readers have
//! their stream watched, and are told when it changes. While it cannot be watched they look now and then, all at the
//! same moments, so that their commands to a node travel together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::{Handle, Id};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Engine;
use super::look::{BUSY_LOOK, LOOK, WATCH, next_look};
use super::marker::{Unblocked, unblock};
use crate::connection::{BlockingLink, CallFailure};
use crate::failpoint;
use crate::script::event_stream::streams_with_news;
use crate::sync::{Lock, spawn};
use crate::wire::EventId;

/// How many streams one connection waits for at most: with each wait all their keys are sent.
const MOST: usize = 256;

/// How long a read is delayed, so that readers that were just told are part of it again.
const GATHER: Duration = Duration::from_millis(5);

/// How long a shared connection stays open when nobody waits.
const LINGER: Duration = Duration::from_secs(1);

/// How long one shared read blocks.
const BLOCK: Duration = Duration::from_secs(10);

/// How long ending a read may take, before its connection is closed.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long opening the connection may take before the readers read without it.
const OPENS_WITHIN: Duration = Duration::from_secs(1);

/// How long after an entry more of them are expected.
const SOON: Duration = Duration::from_secs(1);

/// What ends a read.
const UNBLOCK: &str = "CLIENT UNBLOCK";

/// How many readers of a client have a connection of their own, by default; more of them where the others have to look.
const OWN_CONNECTIONS: usize = 32;
const OWN_CONNECTIONS_OVER_SLOTS: usize = 128;

/// What the readers of event streams of one client share.
pub(crate) struct StreamWaits {
    most: usize,
    own: AtomicUsize,
    /// Whether the queues of the client may have a slot of a cluster each.
    over_slots: bool,
    /// When all look is counted from here.
    epoch: Instant,
    /// The rooms, by runtime, since a task ends with its runtime.
    rooms: Lock<Vec<(Id, Arc<Room>)>>,
}

/// The right to a connection of one's own, given up by dropping it.
pub(super) struct Own(Arc<StreamWaits>);

impl Drop for Own {
    fn drop(&mut self) {
        self.0.own.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// There was an entry after the one that was named.
    News,
    TimeOver,
    /// The connection broke: the next reply may come from another server.
    Broken,
}

impl StreamWaits {
    /// Creates what the readers of a client share; `most` is how many connections of their own they may have, unless the
    /// default applies.
    pub(crate) fn new(most: Option<usize>, over_slots: bool) -> Arc<Self> {
        let default = if over_slots { OWN_CONNECTIONS_OVER_SLOTS } else { OWN_CONNECTIONS };
        Arc::new(Self {
            most: most.unwrap_or(default),
            own: AtomicUsize::new(0),
            over_slots,
            epoch: Instant::now(),
            rooms: Lock::default(),
        })
    }

    /// Creates the same for other readers of the client, none of which gets a connection of its own or takes one away.
    #[cfg(feature = "dashboard")]
    pub(crate) fn without_own(&self) -> Arc<Self> {
        Self::new(Some(0), self.over_slots)
    }

    /// Returns whether readers without a connection look, so that no connection tells them of a break.
    pub(super) fn are_looks(&self) -> bool {
        self.over_slots
    }

    /// Takes the right to a connection of one's own, if one is left.
    pub(super) fn own(self: &Arc<Self>) -> Option<Own> {
        let take = |own: usize| (own < self.most).then_some(own + 1);
        self.own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok().then(|| Own(Arc::clone(self)))
    }

    /// Waits at most `block` for an entry of this queue's event stream after `after`. `heard` is when the last one was
    /// read.
    pub(super) async fn wait(&self, engine: &Engine, after: EventId, block: Duration, heard: Option<Instant>) -> Told {
        if self.over_slots {
            return self.look(engine, after, block, heard).await;
        }
        let mut place = self.join(engine, after);
        match timeout(block, &mut place.told).await {
            Ok(told) => told.unwrap_or(Told::Broken),
            Err(_) => Told::TimeOver,
        }
    }

    async fn look(&self, engine: &Engine, after: EventId, block: Duration, heard: Option<Instant>) -> Told {
        let began = Instant::now();
        let until = began + block;
        let news = streams_with_news(&[(engine.keys.events(), after)], None);
        let mut is_due = heard.is_none_or(|heard| heard + SOON <= began);
        loop {
            // Where entries come one after the other, they are read together.
            let watched = if is_due { news.watching(&engine.link, vec![engine.keys.events()]).await } else { None };
            let found = match watched {
                Some((found, watch)) if found.is_empty() => {
                    if timeout(block.max(WATCH), watch.changed()).await.is_err() {
                        return Told::TimeOver;
                    }
                    news.send(&engine.link, &engine.keys).await
                }
                Some((found, _)) => Ok(found),
                None => {
                    let now = Instant::now();
                    let pace = if heard.is_some_and(|heard| now < heard + SOON) { BUSY_LOOK } else { LOOK };
                    sleep_until(next_look(self.epoch, now, pace).min(until)).await;
                    news.send(&engine.link, &engine.keys).await
                }
            };
            match found {
                Ok(found) if found.is_empty() => is_due = !is_due,
                Ok(_) => return Told::News,
                Err(_) => return Told::Broken,
            }
            if until <= Instant::now() {
                return Told::TimeOver;
            }
        }
    }

    fn join(&self, engine: &Engine, after: EventId) -> Place {
        let (answer, told) = oneshot::channel();
        let runtime = Handle::current().id();
        let mut rooms = self.rooms.lock();
        rooms.retain(|(_, room)| room.people.lock().is_served);
        let has_place = |(at, room): &&(Id, Arc<Room>)| *at == runtime && room.people.lock().waiting.len() < MOST;
        let room = rooms.iter().find(has_place).map(|(_, room)| Arc::clone(room)).unwrap_or_else(|| {
            let room = Arc::new(Room::default());
            rooms.push((runtime, Arc::clone(&room)));
            room
        });
        let mut people = room.people.lock();
        let number = people.next;
        people.next += 1;
        people.waiting.push(Waiting { number, stream: engine.keys.events(), after, answer });
        if !std::mem::replace(&mut people.is_served, true) {
            spawn(serve(Arc::clone(&room), engine.clone()));
        }
        drop(people);
        room.changed.notify_one();
        Place { room, number, told }
    }
}

struct Waiting {
    number: u64,
    stream: String,
    after: EventId,
    answer: oneshot::Sender<Told>,
}

/// The readers for which one connection waits.
#[derive(Default)]
struct Room {
    people: Lock<People>,
    /// Notified when a reader begins to wait.
    changed: Notify,
}

#[derive(Default)]
struct People {
    waiting: Vec<Waiting>,
    next: u64,
    /// Whether a task serves the room. The task leaves under this lock, when nobody waits.
    is_served: bool,
}

/// A place in a room, given up by dropping it.
struct Place {
    room: Arc<Room>,
    number: u64,
    told: oneshot::Receiver<Told>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut people = self.room.people.lock();
        let Some(at) = people.waiting.iter().position(|waiting| waiting.number == self.number) else { return };
        people.waiting.remove(at);
        // A read for others goes on: what it finds of this stream is told to nobody, and nothing is lost by that.
        if people.waiting.is_empty() {
            self.room.changed.notify_one();
        }
    }
}

impl Room {
    /// Returns the streams that are waited for, each from where the reader is that is furthest behind.
    fn streams(&self) -> Vec<(String, EventId)> {
        let people = self.people.lock();
        let mut streams: BTreeMap<&str, EventId> = BTreeMap::new();
        for Waiting { stream, after, .. } in &people.waiting {
            streams.entry(stream).and_modify(|first| *first = (*first).min(*after)).or_insert(*after);
        }
        streams.into_iter().map(|(stream, after)| (stream.to_owned(), after)).collect()
    }

    /// Tells those for which `whom` is true.
    fn tell(&self, told: Told, mut whom: impl FnMut(&Waiting) -> bool) {
        let gone: Vec<Waiting> = self.people.lock().waiting.extract_if(.., |waiting| whom(waiting)).collect();
        for waiting in gone {
            let _ = waiting.answer.send(told);
        }
    }

    /// Leaves the room without a task if nobody waits; returns whether it did.
    fn leave(&self) -> bool {
        let mut people = self.people.lock();
        people.is_served = !people.waiting.is_empty();
        !people.is_served
    }
}

/// Tells all that wait when the task ends, unless it has left already.
struct Leaves(Option<Arc<Room>>);

impl Drop for Leaves {
    fn drop(&mut self) {
        let Some(room) = self.0.take() else { return };
        if std::thread::panicking() {
            tracing::error!("the shared wait for events panicked; its readers read, and start another");
        }
        let mut people = room.people.lock();
        people.is_served = false;
        people.waiting.clear();
    }
}

/// Waits on behalf of all readers in a room, until none has come for a while.
async fn serve(room: Arc<Room>, engine: Engine) {
    let mut leaves = Leaves(Some(Arc::clone(&room)));
    let mut link = BlockingLink::new(engine.link.dialer(), Some("oxmq-shared-listeners".to_owned()));
    loop {
        sleep(GATHER).await;
        // Readers that have come until now are part of this read already.
        let _ = room.changed.notified().now_or_never();
        let streams = room.streams();
        if streams.is_empty() {
            if timeout(LINGER, room.changed.notified()).await.is_err() && room.leave() {
                leaves.0 = None;
                break;
            }
            continue;
        }
        failpoint::hit("shared listeners", &engine.keys);
        match read_once(&room, &engine, &mut link, &streams).await {
            Ok(found) => {
                let found: HashMap<String, Option<EventId>> = found.into_iter().collect();
                // Without an entry it was trimmed away as it was written.
                let is_news = |waiting: &Waiting| {
                    found.get(&waiting.stream).is_some_and(|first| first.is_none_or(|first| first > waiting.after))
                };
                room.tell(Told::News, is_news);
            }
            // One of the streams cannot be read; its reader is told so when it reads by itself.
            Err(CallFailure::Server(_)) => {
                room.tell(Told::TimeOver, |_| true);
                sleep(LOOK).await;
            }
            Err(_) => room.tell(Told::Broken, |_| true),
        }
    }
    link.close().await;
}

type Found = Vec<(String, Option<EventId>)>;

/// Makes one read, which ends early if a reader comes.
async fn read_once(
    room: &Room,
    engine: &Engine,
    link: &mut BlockingLink,
    streams: &[(String, EventId)],
) -> Result<Found, CallFailure> {
    let Ok(server) = timeout(OPENS_WITHIN, link.ready()).await else {
        // The server may take no more connections.
        room.tell(Told::TimeOver, |_| true);
        return Ok(Vec::new());
    };
    let id = server.id.filter(|_| !engine.link.lacks(UNBLOCK));
    let block = if id.is_some() { BLOCK } else { LOOK };
    let news = streams_with_news(streams, Some(block));
    let ended = {
        let read = news.block(link, block);
        tokio::pin!(read);
        let Some(id) = id else { return read.await };
        loop {
            tokio::select! {
                biased;
                found = &mut read => return found,
                () = room.changed.notified() => {}
            }
            sleep(GATHER).await;
            match timeout(PATIENCE, unblock(&engine.link, engine, id)).await {
                Ok(Unblocked::Yes) => break timeout(PATIENCE, read).await.ok(),
                // The read has ended already, or the server has not received it yet.
                Ok(Unblocked::No) => room.changed.notify_one(),
                Ok(Unblocked::Refused) => {
                    engine.link.dialer().is_refused(UNBLOCK, "workers and listeners share fewer connections");
                    break None;
                }
                Ok(Unblocked::Unknown) | Err(_) => break None,
            }
        }
    };
    if ended.is_none() {
        link.close().await;
    }
    // A read that was given up has lost nothing.
    ended.unwrap_or_else(|| Ok(Vec::new()))
}
