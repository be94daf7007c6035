//! Acts on chosen jobs, or on all that match a filter.

use axum::extract::{Form, Path};
use axum::response::Response;

use super::bulk;
use super::deed::Deed;
use super::each::each;
use super::submitted::{Fields, answer, list, params, permitted, told};
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::moment::many;
use crate::dashboard::request::filter::Filter;
use crate::dashboard::request::links::unsegment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::state::JobState;

/// How many chosen jobs are changed while the browser waits.
pub(super) const MOST_CHOSEN: usize = 1_000;

/// The actions of these forms; they can do nothing else.
const ON_CHOSEN: &[Action] =
    &[Action::Retry, Action::Promote, Action::Cancel, Action::Remove, Action::ChangePriority, Action::ChangeDelay];
const ON_ALL_OF_A_FILTER: &[Action] =
    &[Action::Retry, Action::Promote, Action::Cancel, Action::Clean, Action::ChangePriority, Action::ChangeDelay];

/// Acts on chosen jobs, or on all that match a filter.
pub(in crate::dashboard) async fn submit(
    visit: Visit,
    Path(name): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let done = many_jobs(&visit, unsegment(&name), &fields).await;
    answer(&visit, done)
}

async fn many_jobs(visit: &Visit, name: &str, fields: &Fields) -> Result<Response, Problem> {
    let params = params(fields);
    let state = given(&params, "state").and_then(|state| state.parse().ok()).unwrap_or(JobState::Unknown);
    let filter = Filter::of(&params, state);
    let ids: Vec<&str> = fields.iter().filter(|(field, _)| field == "id").map(|(_, id)| id.as_str()).collect();
    let is_all = given(&params, "all").is_some();
    let target = if is_all { filter.words() } else { ids.join(", ") };
    let these = if is_all { ON_ALL_OF_A_FILTER } else { ON_CHOSEN };
    let action = permitted(visit, name, &params, &target, these)?;
    let queue = visit.queue(name)?;
    if is_all {
        let deed = Deed::read(action, &params, visit.app.now())?;
        return bulk::begin(visit.clone(), &queue, action, deed, filter).await;
    }
    let done = chosen(visit, &queue, &ids, action, &params).await;
    told(visit, name, action, &target, done, &list(visit, name, &params, state)).await
}

async fn chosen(
    visit: &Visit,
    queue: &AnyQueue,
    ids: &[&str],
    action: Action,
    params: &Params,
) -> Result<String, Problem> {
    let deed = Deed::read(action, params, visit.app.now())?;
    if ids.is_empty() {
        return Err(Problem::no_form("No job was chosen: tick some in front of their names."));
    }
    if ids.len() > MOST_CHOSEN {
        return Err(Problem::no_form("Too many jobs were chosen: take all that match a filter."));
    }
    let mut answers = each(visit, queue, ids, deed).await;
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    if done == 0
        && let Some(Err(problem)) = answers.pop()
    {
        return Err(problem);
    }
    let mut text = format!("{}: {}.", many(done as u64, "job"), deed.outcome(visit.app.now()));
    if let Some(problem) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        text += &format!(" {} not: {}", answers.len() - done, visit.problem(queue.name(), problem.outcome()));
    }
    Ok(text)
}
