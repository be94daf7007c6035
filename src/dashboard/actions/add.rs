//! Adds a job.

use axum::extract::{Form, Path};
use axum::response::Response;

use serde_json::value::RawValue;

use super::submitted::{Fields, answer, due, json, params, permitted, told};
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::request::links::unsegment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::options::JobOptions;
use crate::queue::Queue;

/// Handles the form that adds a job.
pub(in crate::dashboard) async fn submit(
    visit: Visit,
    Path(name): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let name = unsegment(&name);
    let params = params(&fields);
    let done = async {
        let what = given(&params, "name").unwrap_or_default();
        let action = permitted(&visit, name, &params, what, &[Action::Add])?;
        let mut id = String::new();
        let done = added(&visit, name, &params).await.map(|(found, text)| {
            id = found;
            text
        });
        told(&visit, name, action, what, done, &visit.links.job(name, &id)).await
    };
    let done = done.await;
    answer(&visit, done)
}

/// Returns the options of a job for a similar one: all except those that the form has itself, and those that belong to
/// that job alone.
async fn options_like(queue: &AnyQueue, id: &str) -> Result<JobOptions, Problem> {
    let fields = queue.engine().get_fields(id).await?;
    let stored = fields.iter().find(|(name, _)| name == "opts").map(|(_, opts)| opts.as_str());
    let stored =
        stored.ok_or_else(|| Problem::no_form(format!("Job {id} is gone: its options are not known any more.")))?;
    let options = JobOptions::from_json(stored)?;
    Ok(JobOptions { job_id: None, delay: None, priority: None, attempts: None, deduplication: None, ..options })
}

/// Returns the id of the job, and the outcome of the add.
async fn added(visit: &Visit, name: &str, params: &Params) -> Result<(String, String), Problem> {
    let queue: Queue<Box<RawValue>, ()> = visit.app.client.queue(name).open()?;
    let job = given(params, "name").ok_or_else(|| Problem::no_form("The job has no name."))?;
    let mut options = match params.get("like") {
        Some(like) => options_like(&visit.queue(name)?, like).await?,
        None => JobOptions::default(),
    };
    if let Some(more) = given(params, "options") {
        options = JobOptions::from_json(more)?.or_defaults(&options);
    }
    if let Some(id) = given(params, "id") {
        options = options.job_id(id);
    }
    if let Some(text) = given(params, "delay") {
        options = options.delay(due(text)?.delay(visit.app.now()));
    }
    for (field, set) in [("priority", JobOptions::priority as fn(_, _) -> _), ("attempts", JobOptions::attempts)] {
        if let Some(number) = given(params, field) {
            options = set(
                options,
                number.parse().map_err(|_| Problem::no_form(format!("The field {field} must be a number.")))?,
            );
        }
    }
    let added = queue.add(job, json(params.get("data"))?).options(options).await?;
    let id = added.id().to_owned();
    Ok((id.clone(), format!("Job {id} is added.")))
}
