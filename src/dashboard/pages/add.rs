//! The page that adds a job.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::html;

use super::crumbs;
use super::layout::{Page, Tab};
use crate::dashboard::access::Action;
use crate::dashboard::redaction::Field;
use crate::dashboard::request::links::unsegment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit};

pub(in crate::dashboard) async fn page(
    visit: Visit,
    Path(name): Path<String>,
    Query(params): Query<Params>,
) -> Response {
    let page = build(&visit, unsegment(&name), &params).await;
    visit.answer(page)
}

async fn build(visit: &Visit, name: &str, params: &Params) -> Result<Page, Problem> {
    let queue = visit.queue(name)?;
    if !visit.may(name, Action::Add) {
        return Err(Problem::forbidden("add jobs to this queue"));
    }
    let like = match params.get("like") {
        Some(id) => queue.get_job(id).await?,
        None => None,
    };
    let priority = like.as_ref().map(|job| job.priority()).filter(|priority| *priority > 0);
    let (job_name, data, attempts) = match &like {
        Some(job) => {
            (job.name().to_owned(), visit.json(name, job.name(), Field::Data, job.data_json()), job.attempts().max(1))
        }
        None => (String::new(), "{}".to_owned(), 1),
    };
    let body = html! {
        (crumbs(&visit.links, name, &["add a job"]))
        div.head { h1 { "Add a job to " (name) } }
        @if let Some(job) = &like {
            p.hint { "Filled in as in job " code { (job.id()) } ". Values that are covered stay covered: write them anew. Its other options go along, but for
                its deduplication and its parent." }
        }
        form.stacked.box method="post" action=(visit.links.part(name, "add")) {
            (visit.token.field())
            @if let Some(job) = &like { input type="hidden" name="like" value=(job.id()); }
            label { "Name" input name="name" value=(job_name) required autocomplete="off"; }
            label { "Data, as JSON" textarea name="data" rows="10" spellcheck="false" { (data) } }
            div.row {
                label { "Id" input name="id" placeholder="made by Redis" autocomplete="off"; }
                label { "Delay" input name="delay" placeholder="15 min, or 2030-12-31 18:00 UTC" autocomplete="off"; }
                label { "Priority" input.short type="number" name="priority" min="0" max="2097151" placeholder="none" value=[priority]; }
                label { "Attempts" input.short type="number" name="attempts" min="1" max="4294967295" value=(attempts); }
            }
            label { "Other options, as JSON with the names of Node" textarea name="options" rows="3" spellcheck="false"
                placeholder=r#"{ "removeOnComplete": 100, "backoff": { "type": "exponential", "delay": 1000 } }"# {} }
            button.primary name="do" value=(Action::Add) { "Add the job" }
        }
    };
    Ok(Page { title: format!("Add a job to {name}"), tab: Tab::Queues, live: None, body })
}
