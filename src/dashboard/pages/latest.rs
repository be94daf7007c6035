//! The page of the jobs of all states in which something has happened lately.

use std::time::SystemTime;

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Tab};
use super::queue::{moment_of, short, unreadable, what};
use super::{STATES, badge, crumbs};
use crate::dashboard::app::AnyJob;
use crate::dashboard::format::json::clip;
use crate::dashboard::format::moment::when;
use crate::dashboard::request::links::{query, unsegment};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;
use crate::error::Result as Answer;
use crate::state::{JobState, Order};

/// How many jobs are shown.
const JOBS: usize = 50;

/// The last place that is looked at in each state.
const LAST: i64 = 49;

pub(in crate::dashboard) async fn page(visit: Visit, Path(name): Path<String>) -> Response {
    let page = build(&visit, unsegment(&name)).await;
    visit.answer(page)
}

async fn build(visit: &Visit, name: &str) -> Result<Page, Problem> {
    let queue = visit.queue(name)?;
    let of = |state| {
        let queue = &queue;
        async move { (state, queue.get_jobs(&[state], 0, LAST, Order::Descending).await) }
    };
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for (state, jobs) in futures::future::join_all(STATES.map(of)).await {
        for job in jobs? {
            match job {
                Ok(job) => found.push((state, job)),
                Err(error) => broken.push((state, error)),
            }
        }
    }
    found.sort_by_key(|(_, job)| std::cmp::Reverse(last_moment(job)));
    // A job that has moved meanwhile is in the answers for two states.
    let mut met = std::collections::HashSet::new();
    found.retain(|(_, job)| met.insert(job.id().to_owned()));
    found.truncate(JOBS);
    let delayed: Vec<&str> =
        found.iter().filter(|(state, _)| *state == JobState::Delayed).map(|(_, job)| job.id()).collect();
    let due: Answer<std::collections::HashMap<String, Option<SystemTime>>> =
        queue.engine().get_due(&delayed).await.map(|due| delayed.iter().map(|id| (*id).to_owned()).zip(due).collect());
    let due = due?;
    let now = visit.app.now();
    let body = html! {
        (crumbs(&visit.links, name, &["latest"]))
        div.head { h1 { "Latest jobs" } }
        p.faint { "Of up to " (JOBS) " jobs in each state, those that ended, began or were added last." }
        div #jobs data-swap {
            @if found.is_empty() && broken.is_empty() {
                div.empty { h2 { "There is no job" } p { "Nothing has been added, or all of it has been removed." } }
            } @else {
                div.scroll {
                    table.rows.jobs {
                        thead { tr {
                            th scope="col" { "Job" }
                            th scope="col" { "State" }
                            th scope="col" { "Data, progress or reason" }
                            th.num scope="col" { "Attempts" }
                            th.num scope="col" { "Last" }
                            th.num scope="col" { "When" }
                        } }
                        tbody {
                            @for (state, error) in &broken {
                                tr { td.bad colspan="6" { "A " (state) " job cannot be read: " (unreadable(visit, name, error)) } }
                            }
                            @for (state, job) in &found { (row(visit, name, *state, job, due.get(job.id()).copied().flatten(), now)) }
                        }
                    }
                }
            }
        }
    };
    Ok(Page {
        title: format!("Latest jobs of {name}"),
        tab: Tab::Queues,
        live: Some(format!("of=queue&queue={}", query(name))),
        body,
    })
}

/// Returns when something happened to a job last, as far as it tells.
fn last_moment(job: &AnyJob) -> Option<SystemTime> {
    [job.timestamp(), job.processed_on(), job.finished_on()].into_iter().flatten().max()
}

fn row(visit: &Visit, name: &str, state: JobState, job: &AnyJob, due: Option<SystemTime>, now: SystemTime) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href=(visit.links.job(name, job.id())) { (short(job.name())) }
                " " span.id { (clip(job.id())) }
            }
            td { (badge(state)) }
            td.what { (what(visit, name, state, job)) }
            td.num { (job.attempts_made()) span.faint { " / " (job.attempts().max(1)) } }
            td.num { (when(last_moment(job), now)) }
            td.num { (moment_of(state, job, due, now)) }
        }
    }
}
