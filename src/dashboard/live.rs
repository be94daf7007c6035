//! Server-sent events: that a page has changed, and the events of a queue.

use std::collections::hash_map::DefaultHasher;
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::pages;
use super::request::links::unsegment;
use super::request::problem::Problem;
use super::request::visit::{Params, Visit, given};
use crate::error::Result as Answer;
use crate::events::{Delivery, EventsFrom, QueueEvents};

/// How often what a page shows is looked at, and whether it may still be seen.
const TICK: Duration = Duration::from_secs(2);

/// A stream ends after this time, and the browser opens it anew: the app's own middleware is asked only when a request begins,
/// and an app that shuts down waits for its open responses.
pub(super) const LIFE: Duration = Duration::from_secs(20);

/// How long a browser waits before it opens a stream anew.
const RETRY: Duration = Duration::from_millis(500);

/// A page of relative times is old after so many looks even if nothing has happened.
const OLD: u32 = 15;

/// What a page shows.
enum Watched {
    Queues,
    Queue(String),
    Job { queue: String, id: String },
    Work(String),
    Doctor,
}

impl Watched {
    fn of(params: &Params) -> Option<Self> {
        let field = |name| given(params, name).unwrap_or_default().to_owned();
        Some(match given(params, "of")? {
            "queues" => Self::Queues,
            "queue" => Self::Queue(field("queue")),
            "job" => Self::Job { queue: field("queue"), id: field("job") },
            "doctor" => Self::Doctor,
            "work" => Self::Work(field("work")),
            _ => return None,
        })
    }

    /// Checks that its visitor may see it, which may change while they watch.
    async fn check(&self, visit: &Visit) -> Result<(), Problem> {
        match self {
            // What it tells of is what may be seen at the time.
            Self::Queues => Ok(()),
            Self::Queue(queue) | Self::Job { queue, .. } => visit.queue(queue).map(drop),
            Self::Work(id) => match visit.app.works.find(id) {
                Some(work) if visit.may_see_work(&work) => Ok(()),
                _ => Err(Problem::no_page()),
            },
            Self::Doctor if visit.may_see_any().await => Ok(()),
            Self::Doctor => Err(Problem::nothing_seen()),
        }
    }

    /// Returns a number that changes with what the page shows.
    async fn print(&self, visit: &Visit) -> Answer<u64> {
        let (app, mut print) = (&visit.app, DefaultHasher::new());
        match self {
            Self::Queues => {
                let overview = app.overview().await;
                let seen = || overview.queues.iter().filter(|row| visit.may_see(&row.name));
                seen().for_each(|row| (row.print, overview.workers_of(&row.name)).hash(&mut print));
                (overview.is_searching, &overview.trouble).hash(&mut print);
            }
            Self::Queue(name) => {
                format!("{:?}", app.client.get_queue_overview(name).await?).hash(&mut print);
            }
            Self::Job { queue, id } => {
                let queue = app.queue(queue)?;
                let logs = queue.job(id).get_logs(-1, -1, crate::state::Order::Ascending).await?;
                let children = queue.job(id).get_dependencies_count().await?;
                let fields = queue.engine().get_fields(id).await?;
                (fields, logs.count, queue.engine().look_up_state(id).await?, format!("{children:?}")).hash(&mut print);
            }
            Self::Doctor => app.checkups.print(|queue| visit.may_see(queue)).hash(&mut print),
            Self::Work(id) => {
                if let Some(work) = app.works.find(id) {
                    (work.looked_at.load(Ordering::Relaxed), work.end().is_some()).hash(&mut print);
                }
            }
        }
        Ok(print.finish())
    }
}

struct Watch {
    visit: Visit,
    watched: Watched,
    ticks: Interval,
    until: Instant,
    last: Option<u64>,
    quiet: u32,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    /// Waits until the page is to be read anew; `None` once the stream is to end.
    async fn next(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                _ = self.ticks.tick() => {}
                () = sleep_until(self.until) => return None,
            }
            if Instant::now() >= self.until || self.watched.check(&self.visit).await.is_err() {
                return None;
            }
            // What cannot be read is told by the page, once it is read anew.
            let print = self.watched.print(&self.visit).await.ok();
            self.quiet += 1;
            // The first check counts too: something may have happened since the page was rendered.
            let is_changed = print != self.last;
            self.last = print;
            if is_changed || self.quiet >= OLD {
                self.quiet = 0;
                return Some(());
            }
        }
    }
}

/// Returns the moment at which a stream that begins now ends.
fn end_of(visit: &Visit) -> Instant {
    let now = Instant::now();
    now.checked_add(visit.app.stream_life).unwrap_or(now + LIFE)
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

pub(super) async fn changes(visit: Visit, Query(params): Query<Params>) -> Response {
    let watched = match Watched::of(&params) {
        Some(watched) => watched,
        None => return visit.answer(Err(Problem::no_page())),
    };
    if let Err(problem) = watched.check(&visit).await {
        return visit.answer(Err(problem));
    }
    let Ok(permit) = Arc::clone(&visit.app.streams).try_acquire_owned() else {
        return visit.answer(Err(Problem::busy()));
    };
    let until = end_of(&visit);
    let watch = Watch { visit, watched, ticks: ticks(), until, last: None, quiet: 0, _permit: permit };
    told(stream::unfold(watch, |mut watch| async move {
        watch.next().await?;
        Some((Ok(Event::default().event("changed").retry(RETRY).data("changed")), watch))
    }))
}

fn told(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    // Proxies that buffer responses would hold events back.
    response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    response
}

struct Listening {
    visit: Visit,
    queue: String,
    events: QueueEvents,
    ticks: Interval,
    until: Instant,
    is_open: bool,
    _permit: OwnedSemaphorePermit,
}

impl Listening {
    /// Returns what the browser is told next; `None` once the stream is to end.
    async fn next(&mut self) -> Option<Event> {
        if !self.is_open {
            tokio::time::timeout_at(self.until, self.events.ready()).await.ok()?.ok()?;
            self.is_open = true;
            return Some(Event::default().event("open").retry(RETRY).data("listening"));
        }
        let delivery = loop {
            // The right may end while nothing happens, and right before something does.
            tokio::select! {
                delivery = self.events.recv() => break delivery?,
                _ = self.ticks.tick() => {}
                () = sleep_until(self.until) => return None,
            }
            if Instant::now() >= self.until || !self.visit.may_see(&self.queue) {
                return None;
            }
        };
        if !self.visit.may_see(&self.queue) {
            return None;
        }
        let line = pages::events::line(&self.visit, &self.queue, &delivery).into_string();
        let event = Event::default().event("line").data(line);
        // By its id a browser that opens the stream anew says where it was.
        Some(match delivery {
            Delivery::Event { id, .. } => event.id(id.to_string()),
            _ => event,
        })
    }
}

/// Returns where a browser was that opens the stream anew.
fn place(visit: &Visit) -> EventsFrom {
    let last = visit.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    last.map_or(EventsFrom::Now, EventsFrom::After)
}

/// Streams the events of a queue, each as a line of its page.
pub(super) async fn events(visit: Visit, Path(name): Path<String>) -> Response {
    let queue = unsegment(&name).to_owned();
    if let Err(problem) = visit.queue(&queue) {
        return visit.answer(Err(problem));
    }
    let Ok(permit) = Arc::clone(&visit.app.listeners).try_acquire_owned() else {
        return visit.answer(Err(Problem::busy()));
    };
    let listener = visit.app.client.queue_events(&queue).together(&visit.app.listening);
    let events = match listener.from(place(&visit)).buffer(1_000).start() {
        Ok(events) => events,
        Err(error) => return visit.answer(Err(error.into())),
    };
    let until = end_of(&visit);
    let listening = Listening { visit, queue, events, ticks: ticks(), until, is_open: false, _permit: permit };
    told(stream::unfold(listening, |mut listening| async move {
        let event = listening.next().await?;
        Some((Ok(event), listening))
    }))
}
