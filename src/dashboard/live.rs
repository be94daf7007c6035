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
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::app::App;
use super::links::unsegment;
use super::pages;
use super::problem::Problem;
use super::visit::{Params, Visit, given};
use crate::error::Result;
use crate::events::QueueEvents;

/// How often the data of a page is checked.
const TICK: Duration = Duration::from_secs(2);

/// After how many checks a page with relative times is refreshed even if nothing has happened.
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
    fn of(visit: &Visit, params: &Params) -> Result<Self, Problem> {
        let queue = || {
            let name = given(params, "queue").unwrap_or_default();
            visit.queue(name).map(|_| name.to_owned())
        };
        match given(params, "of") {
            Some("queues") => Ok(Self::Queues),
            Some("queue") => Ok(Self::Queue(queue()?)),
            Some("job") => Ok(Self::Job { queue: queue()?, id: given(params, "job").unwrap_or_default().to_owned() }),
            Some("doctor") => Ok(Self::Doctor),
            Some("work") => Ok(Self::Work(given(params, "work").unwrap_or_default().to_owned())),
            _ => Err(Problem::no_page()),
        }
    }

    /// Returns a number that changes with what the page shows.
    async fn print(&self, app: &App) -> Result<u64> {
        let mut print = DefaultHasher::new();
        match self {
            Self::Queues => {
                app.overview().await.print.hash(&mut print);
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
            Self::Doctor => app.checkups.print().hash(&mut print),
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
    app: Arc<App>,
    watched: Watched,
    ticks: Interval,
    last: Option<u64>,
    quiet: u32,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    /// Waits until the page has to be refreshed, and returns why.
    async fn next(&mut self) -> &'static str {
        loop {
            self.ticks.tick().await;
            // If something cannot be read, the page shows the error when it is refreshed.
            let print = self.watched.print(&self.app).await.ok();
            self.quiet += 1;
            // The first check counts too: something may have happened since the page was rendered.
            let is_changed = print != self.last;
            self.last = print;
            if is_changed || self.quiet >= OLD {
                self.quiet = 0;
                return "changed";
            }
        }
    }
}

pub(super) async fn changes(visit: Visit, Query(params): Query<Params>) -> Response {
    let watched = match Watched::of(&visit, &params) {
        Ok(watched) => watched,
        Err(problem) => return visit.answer(Err(problem)),
    };
    let Ok(permit) = Arc::clone(&visit.app.streams).try_acquire_owned() else {
        return visit.answer(Err(Problem::busy()));
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch { app: Arc::clone(&visit.app), watched, ticks, last: None, quiet: 0, _permit: permit };
    told(stream::unfold(watch, |mut watch| async move {
        let why = watch.next().await;
        Some((Ok(Event::default().event("changed").data(why)), watch))
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
    _permit: OwnedSemaphorePermit,
}

/// Sends the events of a queue, each as a line of its page.
pub(super) async fn events(visit: Visit, Path(name): Path<String>) -> Response {
    let name = unsegment(&name).to_owned();
    if let Err(problem) = visit.queue(&name) {
        return visit.answer(Err(problem));
    }
    let Ok(permit) = Arc::clone(&visit.app.listeners).try_acquire_owned() else {
        return visit.answer(Err(Problem::busy()));
    };
    let events = match visit.app.client.queue_events(&name).buffer(1_000).start() {
        Ok(events) => events,
        Err(error) => return visit.answer(Err(error.into())),
    };
    let listening = Listening { visit, queue: name, events, _permit: permit };
    told(stream::unfold((listening, false), |(mut listening, is_open)| async move {
        if !is_open {
            listening.events.ready().await.ok()?;
            return Some((Ok(Event::default().event("open").data("listening")), (listening, true)));
        }
        let delivery = listening.events.recv().await?;
        // A permission may have ended since the page was opened.
        if !listening.visit.may_see(&listening.queue) {
            return None;
        }
        let line = pages::events::line(&listening.visit, &listening.queue, &delivery).into_string();
        Some((Ok(Event::default().event("line").data(line)), (listening, true)))
    }))
}
