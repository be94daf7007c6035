//! The page of the connected workers.

use std::time::{Duration, SystemTime};

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Tab};
use super::queue::{progress, worker};
use super::trouble;
use crate::dashboard::background::survey::Overview;
use crate::dashboard::format::json::clip;
use crate::dashboard::format::moment::when;
use crate::dashboard::format::moment::{many, rough};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::engine::ClientInfo;
use crate::state::{JobState, Order};

/// How many workers are listed.
const MOST: usize = 500;

/// How many running jobs are listed per queue.
const RUNNING: i64 = 100;

pub(in crate::dashboard) async fn page(visit: Visit, Query(params): Query<Params>) -> Response {
    let page = build(&visit, &params).await;
    visit.answer(page)
}

async fn build(visit: &Visit, params: &Params) -> Result<Page, Problem> {
    let overview = visit.app.overview().await;
    let only = given(params, "queue");
    let now = visit.app.now();
    let running = match only {
        Some(name) => running(visit, name, now).await?,
        None => html! {},
    };
    let body = html! {
        div.head { h1 { "Workers" @if let Some(name) = only { " of " a href=(visit.links.queue(name)) { (name) } } } }
        div #workers data-swap {
            (trouble(&overview))
            @match overview.workers.as_ref() {
                _ if overview.trouble.is_some() => {}
                Err(problem) => (not_told(problem)),
                Ok(_) => (table(visit, &overview, only)),
            }
        }
        (running)
    };
    Ok(Page { title: "Workers".into(), tab: Tab::Workers, live: Some("of=queues".into()), body })
}

fn not_told(problem: &str) -> Markup {
    html! {
        div.empty {
            h2 { "Redis does not permit to list the clients" }
            p { "The user that this dashboard connects as needs the permission for " code { "CLIENT LIST" } "." }
            pre.raw { (problem) }
        }
    }
}

fn table(visit: &Visit, overview: &Overview, only: Option<&str>) -> Markup {
    let all = overview.workers.as_ref().iter().flatten();
    let mut shown: Vec<(&str, &ClientInfo)> = all
        .filter(|(queue, _)| visit.may_see(queue) && only.is_none_or(|only| only == *queue))
        .flat_map(|(queue, workers)| workers.iter().map(move |worker| (queue.as_str(), worker)))
        .collect();
    shown.sort_by_key(|(queue, worker)| (*queue, worker.get("rawname").unwrap_or_default()));
    html! {
        @if shown.is_empty() {
            div.empty {
                h2 { "No worker is connected" }
                p { "Jobs wait until one is. Workers of Node under a prefix with a space or another odd character are not found." }
            }
        } @else {
            p.faint { (many(shown.len() as u64, "worker")) " connected" }
            div.scroll {
                table.rows {
                    thead { tr {
                        th scope="col" { "Worker" } th scope="col" { "Queue" } th scope="col" { "Address" }
                        th.num scope="col" { "Connected for" } th.num scope="col" { "Idle for" } th scope="col" { "Last command" }
                        th scope="col" { "Client" }
                    } }
                    tbody { @for (queue, worker) in shown.iter().take(MOST) { (row(visit, queue, worker)) } }
                }
            }
        }
    }
}

fn row(visit: &Visit, queue: &str, worker: &ClientInfo) -> Markup {
    let raw = worker.get("rawname").unwrap_or_default();
    let name = raw.rsplit_once(":w:").map_or("unnamed", |(_, name)| name);
    let span = |field| {
        worker
            .get(field)
            .and_then(|text| text.parse().ok())
            .map_or_else(|| "–".to_owned(), |s| rough(Duration::from_secs(s)))
    };
    let library = [worker.get("lib-name"), worker.get("lib-ver")].into_iter().flatten().filter(|text| !text.is_empty());
    html! {
        tr {
            th scope="row" { (clip(name)) }
            td { a href=(visit.links.queue(queue)) { (queue) } }
            td { code { (worker.get("addr").unwrap_or("–")) } }
            td.num { (span("age")) }
            td.num { (span("idle")) }
            td { code { (worker.get("cmd").unwrap_or("–")) } }
            td { (library.collect::<Vec<_>>().join(" ")) }
        }
    }
}

/// Shows what the workers of a queue run.
async fn running(visit: &Visit, name: &str, now: SystemTime) -> Result<Markup, Problem> {
    let queue = visit.queue(name)?;
    let jobs = queue.get_jobs(&[JobState::Active], 0, RUNNING - 1, Order::Ascending).await?;
    Ok(html! {
        section aria-labelledby="running" {
            h2 #running { "What they run" }
            div #active data-swap {
                @if jobs.is_empty() { p.faint { "Nothing at the moment." } } @else {
                    div.scroll { table.rows {
                        thead { tr { th scope="col" { "Job" } th scope="col" { "Worker" } th scope="col" { "Progress" } th.num scope="col" { "Started" } } }
                        tbody { @for job in jobs.iter().flatten() { tr {
                            th scope="row" { a href=(visit.links.job(name, job.id())) { (clip(job.name())) } " " span.id { (clip(job.id())) } }
                            td { (clip(worker(visit, name, job).as_deref().unwrap_or("–"))) }
                            td { (progress(visit, job)) }
                            td.num { (when(job.processed_on(), now)) }
                        } } }
                    } }
                }
            }
        }
    })
}
