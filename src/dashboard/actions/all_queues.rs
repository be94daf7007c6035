//! Pauses or resumes all queues on which the visitor may do so, or retries all their failed jobs.

use axum::extract::Form;
use axum::response::Response;
use futures::StreamExt;

use super::bulk;
use super::each::AT_ONCE;
use super::queue::on_queue;
use super::submitted::{Fields, answer, params, told};
use crate::dashboard::access::Action;
use crate::dashboard::format::moment::many;
use crate::dashboard::request::forms::{self, see};
use crate::dashboard::request::links::query;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};

/// Acts on all queues on which the visitor may do so.
pub(in crate::dashboard) async fn submit(visit: Visit, Form(fields): Form<Fields>) -> Response {
    let done = all_queues(&visit, &params(&fields)).await;
    answer(&visit, done)
}

async fn all_queues(visit: &Visit, params: &Params) -> Result<Response, Problem> {
    visit.token.check(visit.headers(), params.get(forms::FIELD).map(String::as_str))?;
    let action = given(params, "do").and_then(Action::parse);
    let action = action.filter(|action| matches!(action, Action::Pause | Action::Resume | Action::Retry));
    let action = action.ok_or_else(|| Problem::no_form("This action does not exist for all queues."))?;
    if given(params, "confirm") != Some("all") {
        return Err(Problem::no_form("It was not confirmed, so nothing was changed."));
    }
    let names = visit.app.catalog.list(&visit.app.client).await.names;
    let mut names: Vec<String> = names.into_iter().filter(|name| visit.may(name, action)).collect();
    if names.is_empty() {
        return Err(Problem::forbidden(&format!("{action} any queue")));
    }
    // Only what the list was filtered to.
    let q = given(params, "q").unwrap_or_default().to_lowercase();
    names.retain(|name| name.to_lowercase().contains(&q));
    if names.is_empty() {
        return Err(Problem::no_form(format!("No queue that you may {action} has this in its name.")));
    }
    if action == Action::Retry {
        return retry(visit, names).await;
    }
    let calls: Vec<_> = names.iter().map(|name| one_of_all(visit, name, action)).collect();
    let done: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
    let failed = done.iter().filter(|done| !**done).count();
    let mut text = format!("{}: {action}d.", many((done.len() - failed) as u64, "queue"));
    if failed > 0 {
        text += &format!(" {failed} could not be: their pages say more.");
    }
    let home = visit.links.home();
    let list = if q.is_empty() { home } else { format!("{home}?q={}", query(&q)) };
    Ok(see(&visit.links, &list, &text))
}

/// Begins to retry the failed jobs of these queues.
async fn retry(visit: &Visit, names: Vec<String>) -> Result<Response, Problem> {
    let known = visit.app.overview().await;
    let failed = known.queues.iter().filter(|row| names.binary_search(&row.name).is_ok());
    let expected = failed.filter_map(|row| row.found.as_ref().ok()).map(|survey| survey.counts.failed).sum();
    bulk::begin_in_all(visit.clone(), names, expected)
}

/// Acts on one of all queues; returns whether it was done. It is audited as if only this queue had been meant.
async fn one_of_all(visit: &Visit, name: &str, action: Action) -> bool {
    let done = match visit.queue(name) {
        Ok(queue) => on_queue(&queue, action, &Params::new()).await,
        Err(problem) => Err(problem),
    };
    told(visit, name, action, name, done, "/").await.is_ok()
}
