//! The page that finds a queue by part of its name, or a job by its id in any queue.

use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use futures::StreamExt;
use maud::html;

use super::badge;
use super::layout::{Page, Tab};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::state::JobState;

/// How many queues and jobs are listed.
const MOST: usize = 100;

/// How many queues are asked for the job at the same time.
const AT_ONCE: usize = 256;

/// How many queues are asked at all: one command each, which is fast however many jobs there are.
const MOST_ASKED: usize = 5_000;

pub(in crate::dashboard) async fn page(visit: Visit, Query(params): Query<Params>) -> Response {
    match find(&visit, given(&params, "q").unwrap_or_default()).await {
        Ok(Found::Only(link)) => Redirect::to(&link).into_response(),
        Ok(Found::Several(page)) => visit.answer(Ok(page)),
        Err(problem) => visit.answer(Err(problem)),
    }
}

enum Found {
    Only(String),
    Several(Page),
}

async fn find(visit: &Visit, wanted: &str) -> Result<Found, Problem> {
    let overview = visit.app.overview().await;
    let names: Vec<&str> =
        overview.queues.iter().map(|row| row.name.as_str()).filter(|name| visit.may_see(name)).collect();
    // `queue:id` and `prefix:queue:id` are how logs name a job.
    let (in_queue, id) = match wanted.rsplit_once(':') {
        Some((queue, id)) if names.iter().any(|name| queue == *name || queue.ends_with(&format!(":{name}"))) => {
            (queue.rsplit(':').next(), id)
        }
        _ => (None, wanted),
    };
    let lower = wanted.to_lowercase();
    let queues: Vec<&str> =
        names.iter().copied().filter(|name| !wanted.is_empty() && name.to_lowercase().contains(&lower)).collect();
    let asked: Vec<&str> = names.into_iter().filter(|name| in_queue.is_none_or(|queue| queue == *name)).collect();
    let not_asked = asked.len().saturating_sub(MOST_ASKED);
    let jobs = if id.is_empty() { Vec::new() } else { jobs_called(visit, asked, id).await };
    match (&queues[..], &jobs[..]) {
        ([only], []) => return Ok(Found::Only(visit.links.queue(only))),
        ([], [(queue, _)]) => return Ok(Found::Only(visit.links.job(queue, id))),
        _ => {}
    }
    let body = html! {
        div.head { h1 { @if wanted.is_empty() { "Search" } @else { "Found for “" (wanted) "”" } } }
        @if queues.is_empty() && jobs.is_empty() {
            div.empty {
                h2 { "Nothing is found" }
                p { "The search goes by a part of a queue's name, by the whole id of a job, or by " code { "queue:id" }
                    ". To find jobs by their name or their data, open the queue and filter there." }
                @if not_asked > 0 {
                    p { "Only " (MOST_ASKED) " queues were asked for this id, and " (not_asked) " were not: " code { "queue:id" } " asks the queue itself." }
                }
                @if overview.is_searching || overview.unread > 0 { p { "The search for queues is still running: try again in a moment." } }
            }
        }
        @if !jobs.is_empty() {
            h2 { "Jobs" }
            ul.found { @for (queue, state) in &jobs { li { a href=(visit.links.job(queue, id)) { (queue) " " span.id { (id) } } " " (badge(*state)) } } }
        }
        @if !queues.is_empty() {
            h2 { "Queues" }
            ul.found { @for name in queues.iter().take(MOST) { li { a href=(visit.links.queue(name)) { (name) } } } }
        }
    };
    Ok(Found::Several(Page { title: "Search".into(), tab: Tab::Search, live: None, body }))
}

/// Returns the queues that have a job with this id, and its state.
async fn jobs_called<'a>(visit: &Visit, queues: Vec<&'a str>, id: &str) -> Vec<(&'a str, JobState)> {
    let has = async |name: &'a str| {
        // A queue that cannot be asked does not hide the others.
        let has = visit.app.queue(name).ok()?.engine().has_job(id).await.ok()?;
        has.then_some(name)
    };
    let calls: Vec<_> = queues.into_iter().take(MOST_ASKED).map(has).collect();
    let found: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
    let state = async |name: &'a str| {
        let state = visit.app.queue(name).ok()?.engine().look_up_state(id).await.ok()?;
        Some((name, state))
    };
    let calls: Vec<_> = found.into_iter().flatten().take(MOST).map(state).collect();
    let found: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
    found.into_iter().flatten().collect()
}
