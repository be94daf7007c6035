//! Waits for work: one blocking read of the marker at a time, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::event::EventSink;
use super::look_wait::wait_looking;
use super::panics::catch;
use super::roster::Membership;
use super::shared_wait::{Own, SOON, Seat, SharedWaits, is_possible};
use super::supervise;
use crate::connection::{BlockingLink, Link, Pauses};
use crate::engine::marker::can_look;
pub(crate) use crate::engine::marker::{Woken, wait};
use crate::failpoint;
use crate::sync::spawn;

/// How long a waiter may take to close, twice; less than a closing worker has beyond its deadline.
const CLOSES_WITHIN: Duration = Duration::from_millis(400);

/// How often an idle connection is checked for being open. That sends nothing.
const LOOK: Duration = Duration::from_secs(2);

/// A task that waits on behalf of a worker. When the waiter is dropped the task ends, and its socket is closed at once.
pub(crate) struct Waiter {
    /// `None` once the waiter closes.
    requests: Option<mpsc::Sender<Duration>>,
    woken: mpsc::Receiver<Woken>,
    interrupt: Arc<Notify>,
    /// Whether a wait was requested and has not ended. Written and read by the worker's loop only.
    pub(crate) is_waiting: bool,
    task: tokio::task::JoinHandle<()>,
}

impl Waiter {
    /// Starts a waiter on `link`, or with others where the client has many workers. If no connection can be opened, a
    /// wait ends after the drain delay, provided that the server answers on the shared connection.
    pub(super) fn start(link: BlockingLink, seat: Seat, waits: &Arc<SharedWaits>, events: EventSink) -> Self {
        let (requests, asked) = mpsc::channel(1);
        let (answers, woken) = mpsc::channel(1);
        let interrupt = Arc::new(Notify::new());
        let server = WaitTask {
            link,
            seat: Arc::new(seat),
            waits: Arc::clone(waits),
            own: waits.own(),
            is_busy: false,
            asked,
            answers,
            interrupt: Arc::clone(&interrupt),
            is_waiting: false,
            entry: None,
        };
        let task = spawn(server.serve(events));
        Self { requests: Some(requests), woken, interrupt, is_waiting: false, task }
    }

    /// Begins a wait of at most this long.
    pub(crate) fn wait(&mut self, block: Duration) {
        // The channel has room for one wait, and there is never more than one.
        self.is_waiting = self.requests.as_ref().is_some_and(|requests| requests.try_send(block).is_ok());
    }

    /// Returns how the present wait ended.
    pub(crate) async fn woken(&mut self) -> Woken {
        let woken = self.woken.recv().await;
        self.is_waiting = false;
        woken.unwrap_or(Woken::Interrupted)
    }

    /// Ends the wait at once by closing its socket.
    pub(crate) fn interrupt(&self) {
        if self.is_waiting {
            self.interrupt.notify_one();
        }
    }

    /// Ends the wait, if there is one, and returns when the socket is closed: a marker written after that goes to
    /// another worker. Returns true if there was a wait, whose marker may be lost.
    pub(crate) async fn close(&mut self) -> bool {
        self.interrupt();
        self.requests = None;
        // The task only closes what it holds; the limit is for a runtime that does not poll it. If the machine was
        // suspended, the first limit passes without anything having run, so there is a second one.
        if tokio::time::timeout(CLOSES_WITHIN, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = tokio::time::timeout(CLOSES_WITHIN, &mut self.task).await;
        }
        self.is_waiting
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state of the task.
struct WaitTask {
    link: BlockingLink,
    seat: Arc<Seat>,
    waits: Arc<SharedWaits>,
    /// The right to wait on `link` even if there is little to do.
    own: Option<Own>,
    /// Whether it waits on `link` without that right, until a wait ends without a marker.
    is_busy: bool,
    asked: mpsc::Receiver<Duration>,
    answers: mpsc::Sender<Woken>,
    interrupt: Arc<Notify>,
    /// Whether the loop waits for an answer.
    is_waiting: bool,
    /// Lists the worker while it has no connection that `getWorkers` finds.
    entry: Option<Membership>,
}

impl WaitTask {
    async fn serve(mut self, events: EventSink) {
        let mut backoff = Pauses::default();
        while let Err(panic) = catch(self.answer_waits()).await {
            supervise::report(&events, "waiter", panic);
            backoff.pause().await;
            self.link.close().await;
            // A marker that the server sent may be lost, so the worker has to fetch.
            if std::mem::take(&mut self.is_waiting) && self.answers.send(Woken::Broken).await.is_err() {
                break;
            }
        }
        self.link.close().await;
    }

    async fn answer_waits(&mut self) {
        while let Some(block) = self.next().await {
            self.is_waiting = true;
            failpoint::hit("waiter", &self.seat.engine.keys);
            if self.own.is_none() {
                self.own = self.waits.own();
            }
            let woken = self.wait(block).await;
            self.is_waiting = false;
            if self.answers.send(woken).await.is_err() {
                break;
            }
        }
    }

    /// Receives the next wait. Until then a worker that may have a connection keeps it open, although it waits for
    /// nothing: it lists the worker for `get_workers`, also while the worker is busy from its start, or paused.
    async fn next(&mut self) -> Option<Duration> {
        loop {
            // A closing worker is not listed again.
            if !self.asked.is_closed() {
                self.be_listed();
            }
            let stays = async {
                if self.own.is_some() {
                    self.link.ready().await;
                }
                tokio::time::sleep(LOOK).await;
            };
            tokio::select! {
                biased;
                asked = self.asked.recv() => return asked,
                () = stays => {}
            }
        }
    }

    /// Has the worker be listed with others while it has no connection.
    fn be_listed(&mut self) {
        if self.own.is_some() || self.link.is_open() {
            self.entry = None;
        } else if self.entry.is_none() {
            self.entry = Some(self.waits.enter(&self.seat));
        }
    }

    async fn wait(&mut self, block: Duration) -> Woken {
        if let Some(epoch) = self.waits.looks_from().filter(|_| self.can_do_without()) {
            return self.wait_looking(epoch, block).await;
        }
        if !self.can_do_without() {
            return self.wait_alone(block).await;
        }
        let mut left = block;
        if self.is_busy {
            match self.wait_alone(block.min(SOON)).await {
                Woken::TimeOver if block > SOON => left = block - SOON,
                woken => return woken,
            }
        }
        self.wait_with_others(left).await
    }

    /// Returns whether the worker waits without a connection: with others, or by looking.
    fn can_do_without(&self) -> bool {
        let link = &self.seat.engine.link;
        let is_permitted = if self.waits.looks_from().is_some() { can_look(link) } else { is_possible(link) };
        self.own.is_none() && is_permitted
    }

    async fn wait_alone(&mut self, block: Duration) -> Woken {
        let Seat { engine, marker, drain_delay, .. } = &*self.seat;
        let woken = tokio::select! {
            woken = wait_or_look(&mut self.link, &engine.link, *drain_delay, marker, block) => woken,
            () = self.interrupt.notified() => Woken::Interrupted,
        };
        self.is_busy &= matches!(woken, Woken::Marker(_));
        let has_to_go = !self.is_busy && self.can_do_without();
        if woken == Woken::Interrupted || has_to_go {
            if self.own.is_none() && self.entry.is_none() {
                self.entry = Some(self.waits.enter(&self.seat));
            }
            self.link.close().await;
        }
        woken
    }

    async fn wait_looking(&mut self, epoch: tokio::time::Instant, block: Duration) -> Woken {
        let began = tokio::time::Instant::now();
        let woken = tokio::select! {
            woken = wait_looking(&self.seat, epoch, block, self.is_busy) => woken,
            // A marker that was popped just now may be lost.
            () = self.interrupt.notified() => Woken::Interrupted,
        };
        self.is_busy = matches!(woken, Woken::Marker(_)) && began.elapsed() < SOON;
        woken
    }

    async fn wait_with_others(&mut self, block: Duration) -> Woken {
        let began = tokio::time::Instant::now();
        let mut place = self.waits.join(&self.seat, block);
        let woken = tokio::select! {
            woken = place.woken() => woken,
            () = self.interrupt.notified() => {
                place.leave().await;
                return Woken::Interrupted;
            }
        };
        self.is_busy = matches!(woken, Woken::Marker(_)) && began.elapsed() < SOON;
        woken
    }
}

/// Waits for the marker. While there is no connection to wait on, for example because the server takes no more of them,
/// the wait ends after a while, so that the worker fetches; unless a fetch would fail too.
async fn wait_or_look(link: &mut BlockingLink, shared: &Link, limit: Duration, marker: &str, block: Duration) -> Woken {
    while tokio::time::timeout(limit.min(block), link.ready()).await.is_err() {
        if shared.ping().await.is_ok() {
            return Woken::TimeOver;
        }
    }
    wait(link, marker, block).await
}
