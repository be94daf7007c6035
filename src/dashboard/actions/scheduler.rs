//! Acts on one job scheduler.

use axum::extract::{Form, Path};
use axum::response::Response;

use super::reschedule;
use super::submitted::{Fields, answer, params, permitted, told};
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::request::links::unsegment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::state::JobState;

/// The actions of this form; it can do nothing else.
const ON_SCHEDULER: &[Action] = &[Action::RunScheduler, Action::ChangeScheduler, Action::RemoveScheduler];

/// Handles forms about a job scheduler.
pub(in crate::dashboard) async fn submit(
    visit: Visit,
    Path(name): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let name = unsegment(&name);
    let params = params(&fields);
    let done = async {
        let id = params.get("id").map_or("", String::as_str);
        let action = permitted(&visit, name, &params, id, ON_SCHEDULER)?;
        let queue = visit.queue(name)?;
        let done = on_scheduler(&queue, id, action, &params).await;
        told(&visit, name, action, id, done, &visit.links.part(name, "schedulers")).await
    };
    let done = done.await;
    answer(&visit, done)
}

async fn on_scheduler(queue: &AnyQueue, id: &str, action: Action, params: &Params) -> Result<String, Problem> {
    match action {
        Action::RunScheduler => {
            let next: u64 = given(params, "next")
                .and_then(|next| next.parse().ok())
                .ok_or_else(|| Problem::no_form("It does not say which run."))?;
            // The next run is a delayed job; the worker that takes it creates the run after it.
            let run = format!("repeat:{id}:{next}");
            if matches!(
                queue.engine().look_up_state(&run).await?,
                JobState::Waiting | JobState::Prioritized | JobState::Paused
            ) {
                return Ok(format!("The next run of {id} is due already, and waits for a worker."));
            }
            queue.job(run).promote().await?;
            Ok(format!("The next run of {id} starts now."))
        }
        Action::ChangeScheduler => reschedule::change(queue, id, params).await,
        Action::RemoveScheduler if queue.remove_job_scheduler(id).await? => {
            Ok(format!("The scheduler {id} is removed."))
        }
        Action::RemoveScheduler => Ok(format!("There was no scheduler {id} any more.")),
        _ => Err(Problem::no_form("This action does not exist for a scheduler.")),
    }
}
