//! Acts on a queue as a whole: pauses, resumes, limits, drains or obliterates it.

use axum::extract::{Form, Path};
use axum::response::Response;

use super::submitted::{Fields, answer, params, permitted, told};
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::moment::{self, many};
use crate::dashboard::request::filter::span;
use crate::dashboard::request::links::unsegment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};

/// The actions of this form; it can do nothing else.
const ON_QUEUE: &[Action] = &[Action::Pause, Action::Resume, Action::Limit, Action::Drain, Action::Obliterate];

/// Handles forms about a queue as a whole.
pub(in crate::dashboard) async fn submit(
    visit: Visit,
    Path(name): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let name = unsegment(&name);
    let params = params(&fields);
    let done = async {
        let action = permitted(&visit, name, &params, name, ON_QUEUE)?;
        let queue = visit.queue(name)?;
        let done = on_queue(&queue, action, &params).await;
        let to = if action == Action::Obliterate { visit.links.home() } else { visit.links.queue(name) };
        told(&visit, name, action, name, done, &to).await
    };
    let done = done.await;
    answer(&visit, done)
}

pub(super) async fn on_queue(queue: &AnyQueue, action: Action, params: &Params) -> Result<String, Problem> {
    let is_on = |field| given(params, field).is_some();
    match action {
        Action::Pause => queue
            .pause()
            .await
            .map(|()| "The queue is paused: workers finish their running jobs and take no more.".into()),
        Action::Resume => queue.resume().await.map(|()| "The queue goes on.".into()),
        Action::Limit if params.contains_key("release") => {
            queue.remove_rate_limit_key().await.map(|_| "Workers fetch jobs again, up to the limit.".into())
        }
        Action::Limit if params.contains_key("window") => return rate_limit(queue, params).await,
        Action::Limit => return limit(queue, given(params, "concurrency")).await,
        Action::Drain => {
            let removed = if is_on("delayed") { queue.drain_with_delayed().await } else { queue.drain().await };
            removed.map(|removed| format!("{} removed.", many(removed, "job")))
        }
        // A name may begin or end with spaces.
        Action::Obliterate if given(params, "confirm").is_none_or(|name| name != queue.name().trim()) => {
            return Err(Problem::no_form("The name of the queue was not typed, so nothing was deleted."));
        }
        Action::Obliterate => {
            let done = if is_on("force") { queue.obliterate_by_force().await } else { queue.obliterate().await };
            done.map(|()| format!("The queue {} is gone.", queue.name()))
        }
        _ => return Err(Problem::no_form("This action does not exist for a whole queue.")),
    }
    .map_err(Problem::from)
}

async fn limit(queue: &AnyQueue, jobs: Option<&str>) -> Result<String, Problem> {
    let Some(jobs) = jobs else {
        queue.remove_global_concurrency().await?;
        return Ok("Any number of jobs may be active at once.".into());
    };
    let jobs = jobs.parse().map_err(|_| Problem::no_form("The limit must be a number of jobs, 1 at least."))?;
    queue.set_global_concurrency(jobs).await?;
    Ok(format!("At most {} may be active at once.", many(jobs.into(), "job")))
}

/// Sets the rate limit. Without a number of jobs the limit is removed, and an open window is ended.
async fn rate_limit(queue: &AnyQueue, params: &Params) -> Result<String, Problem> {
    let Some(max) = given(params, "max") else {
        queue.remove_global_rate_limit().await?;
        queue.remove_rate_limit_key().await?;
        return Ok("There is no rate limit.".into());
    };
    let window = given(params, "window").and_then(span);
    let (Ok(max), Some(window)) = (max.parse(), window) else {
        return Err(Problem::no_form("Write the limit as a number of jobs, and the time as 90s, 15 min or 2h."));
    };
    queue.set_global_rate_limit(max, window).await?;
    Ok(format!("At most {} may be fetched in {}.", many(max, "job"), moment::span(window)))
}
