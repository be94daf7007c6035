//! The page of all queues' job schedulers.

use axum::extract::Query;
use axum::response::Response;
use futures::StreamExt;
use maud::html;

use super::layout::{Page, Tab};
use super::schedulers::schedule;
use super::trouble;
use crate::dashboard::background::survey::Row;
use crate::dashboard::format::json::clip;
use crate::dashboard::format::moment::{count, exactly, many};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::error::Result as Answer;
use crate::queue::JobScheduler;
use crate::state::Order;

/// How many queues are asked for their schedulers, and for how many schedulers each: those that run next.
const QUEUES: usize = 200;
const OF_EACH: i64 = 50;

/// How many schedulers are shown.
const MOST: usize = 500;

/// How many queues are asked at the same time.
const AT_ONCE: usize = 16;

pub(in crate::dashboard) async fn page(visit: Visit, Query(params): Query<Params>) -> Response {
    let page = build(&visit, &params).await;
    visit.answer(page)
}

async fn build(visit: &Visit, params: &Params) -> Result<Page, Problem> {
    let overview = visit.app.overview().await;
    let wanted = given(params, "q").map(str::to_lowercase);
    let has_some = |row: &&Row| row.found.as_ref().is_ok_and(|found| found.schedulers > 0);
    let rows: Vec<&Row> =
        overview.queues.iter().map(AsRef::as_ref).filter(has_some).filter(|row| visit.may_see(&row.name)).collect();
    let total: u64 = rows.iter().filter_map(|row| row.found.as_ref().ok()).map(|found| found.schedulers).sum();
    visit.app.sees(rows.iter().map(|row| row.name.as_str()));
    let (mut found, problem) = all_of(visit, &rows).await;
    found.retain(|(queue, scheduler)| {
        let texts = [*queue, &scheduler.id, &scheduler.name];
        wanted.as_ref().is_none_or(|wanted| texts.iter().any(|text| text.to_lowercase().contains(wanted)))
    });
    found.sort_by_key(|(_, scheduler)| scheduler.next_run);
    let shown = found.len().min(MOST);
    let now = visit.app.now();
    let q = given(params, "q").unwrap_or_default();
    let body = html! {
        div.bar {
            h1 { "Schedulers" }
            form.filter action=(visit.links.to("/schedulers")) {
                label { span.hidden { "Only those whose queue, id or name contains" } input type="search" name="q" value=(q) placeholder="Queue, id or name"; }
                button { "Filter" }
            }
        }
        div #schedulers data-swap {
            (trouble(&overview))
            @if overview.trouble.is_none() && (overview.is_searching || overview.unread > 0) {
                p.hint role="status" { "Still looking for queues: there may be more." }
            }
            @if let Some(problem) = problem { p.bad role="alert" { (problem) } }
            @if shown == 0 && overview.trouble.is_none() {
                div.empty {
                    @if q.is_empty() { h2 { "No queue has a job scheduler" } } @else { h2 { "No scheduler has “" (q) "” in its id, its name or its queue" } }
                    p { "One is made by " code { "queue.upsert_job_scheduler" } " or Node's " code { "queue.upsertJobScheduler" } "." }
                }
            } @else if shown > 0 {
                p.faint {
                    (many(total, "scheduler")) " in " (many(rows.len() as u64, "queue"))
                    @if (shown as u64) < total && q.is_empty() { "; these are " (count(shown as u64)) " that run next, others are on the pages of their queues" }
                }
                div.scroll { table.rows {
                    thead { tr {
                        th scope="col" { "Scheduler" } th scope="col" { "Queue" } th scope="col" { "Schedule" }
                        th scope="col" { "Next run" } th.num scope="col" { "Runs so far" }
                    } }
                    tbody { @for (queue, scheduler) in found.iter().take(MOST) { tr {
                        th scope="row" { a href=(visit.links.part(queue, "schedulers")) { (clip(&scheduler.id)) } " " span.faint { (clip(&scheduler.name)) } }
                        td { a href=(visit.links.queue(queue)) { (queue) } }
                        td { (schedule(visit, queue, scheduler, now)) }
                        td {
                            (exactly(Some(scheduler.next_run), now))
                            @if now.duration_since(scheduler.next_run).is_ok_and(|late| late.as_secs() > 60) { " " span.bad { "overdue" } }
                        }
                        td.num { (scheduler.iteration_count.map_or_else(|| "–".to_owned(), count)) }
                    } } }
                } }
            }
        }
    };
    Ok(Page { title: "Schedulers".into(), tab: Tab::Schedulers, live: Some("of=queues".into()), body })
}

/// Returns the schedulers of these queues, each with its queue; and what went wrong, if anything did.
async fn all_of<'a>(visit: &Visit, rows: &[&'a Row]) -> (Vec<(&'a str, JobScheduler)>, Option<String>) {
    let calls: Vec<_> = rows.iter().take(QUEUES).map(|row| of_queue(visit, &row.name)).collect();
    let answers: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
    let (mut found, mut problem) = (Vec::new(), None);
    for (row, schedulers) in rows.iter().zip(answers) {
        match schedulers {
            Ok(schedulers) => found.extend(schedulers.into_iter().map(|scheduler| (row.name.as_str(), scheduler))),
            Err(error) => problem = Some(format!("{}: {error}", row.name)),
        }
    }
    (found, problem)
}

async fn of_queue(visit: &Visit, name: &str) -> Answer<Vec<JobScheduler>> {
    visit.app.queue(name)?.get_job_schedulers(0, OF_EACH - 1, Order::Ascending).await
}
