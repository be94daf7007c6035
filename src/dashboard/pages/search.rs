//! Finding a queue by a part of its name, or a job by its id in whichever queue it is.

use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use futures::StreamExt;
use maud::html;

use super::super::problem::Problem;
use super::super::visit::{Page, Params, Tab, Visit, given};
use super::badge;
use crate::state::JobState;

/// So many queues and jobs are told.
const MOST: usize = 100;

/// So many queues are asked for the job at once.
const AT_ONCE: usize = 256;

pub(in super::super) async fn page(visit: Visit, Query(params): Query<Params>) -> Response {
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
    let calls: Vec<_> = asked.into_iter().filter(|_| !id.is_empty()).map(|name| state_in(visit, name, id)).collect();
    let found: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
    let jobs: Vec<(&str, JobState)> = found.into_iter().flatten().take(MOST).collect();
    match (&queues[..], &jobs[..]) {
        ([only], []) => return Ok(Found::Only(visit.links.queue(only))),
        ([], [(queue, _)]) => return Ok(Found::Only(visit.links.job(queue, id))),
        _ => {}
    }
    let body = html! {
        div.head { h1 { @if wanted.is_empty() { "Search" } @else { "Found for “" (wanted) "”" } } }
        @if queues.is_empty() && jobs.is_empty() {
            div.empty {
                h3 { "Nothing is found" }
                p { "The search goes by a part of a queue's name, by the whole id of a job, or by " code { "queue:id" }
                    ". To find jobs by their name or their data, open the queue and filter there." }
                @if overview.is_searching || overview.unread > 0 { p { "Queues are still looked for: try again in a moment." } }
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

/// The queue and the state of the job with this id in it, if there is one.
async fn state_in<'a>(visit: &Visit, name: &'a str, id: &str) -> Option<(&'a str, JobState)> {
    let state = visit.app.queue(name).ok()?.job(id).get_state().await.ok()?;
    (state != JobState::Unknown).then_some((name, state))
}
