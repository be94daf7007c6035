//! Acts on one job.

use axum::extract::{Form, Path};
use axum::response::Response;

use super::children::remove_children;
use super::deed::Deed;
use super::each::{cancel, on_one};
use super::submitted::{Fields, answer, json, list, params, permitted, told};
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::request::links::unsegment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::state::JobState;

/// The actions of this form; it can do nothing else.
const ON_JOB: &[Action] = &[
    Action::Retry,
    Action::Promote,
    Action::Remove,
    Action::Cancel,
    Action::ChangeDelay,
    Action::ChangePriority,
    Action::ChangeData,
    Action::RemoveChildren,
];

/// Handles forms about one job.
pub(in crate::dashboard) async fn submit(
    visit: Visit,
    Path((name, id)): Path<(String, String)>,
    Form(fields): Form<Fields>,
) -> Response {
    let (name, id) = (unsegment(&name), unsegment(&id));
    let params = params(&fields);
    let done = async {
        let action = permitted(&visit, name, &params, id, ON_JOB)?;
        let queue = visit.queue(name)?;
        let (done, to) = match on_job(&visit, &queue, id, action, &params).await {
            // Sent from a list, it comes back to the list.
            Ok((text, state)) if action == Action::Remove || given(&params, "back").is_some() => {
                (Ok(text), list(&visit, name, &params, state))
            }
            Ok((text, _)) => (Ok(text), visit.links.job(name, id)),
            Err(problem) => (Err(problem), String::new()),
        };
        told(&visit, name, action, id, done, &to).await
    };
    let done = done.await;
    answer(&visit, done)
}

/// Returns what was done, and the state of the job before.
async fn on_job(
    visit: &Visit,
    queue: &AnyQueue,
    id: &str,
    action: Action,
    params: &Params,
) -> Result<(String, JobState), Problem> {
    let state = queue.engine().look_up_state(id).await?;
    if state == JobState::Unknown && action != Action::Remove {
        return Err(Problem::no_job(id));
    }
    let text = match action {
        Action::Retry | Action::Promote | Action::Remove | Action::ChangeDelay | Action::ChangePriority => {
            let deed = Deed::read(action, params, visit.app.now())?;
            on_one(visit, queue, id, state, deed).await?
        }
        Action::Cancel => cancel(queue, id, given(params, "reason").unwrap_or_default()).await?,
        Action::ChangeData => {
            let data = json(params.get("data"))?;
            queue.engine().update_data(id, data.get()).await?;
            format!("The data of job {id} is stored.")
        }
        Action::RemoveChildren => remove_children(visit, queue, id).await?,
        _ => return Err(Problem::no_form("This action does not exist for a job.")),
    };
    Ok((text, state))
}
