//! Actions that need only the job, on one job or on each of several.

use futures::StreamExt;

use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;
use crate::error::{Error, Reason};
use crate::job::{Cancellation, RetryOptions};
use crate::state::JobState;

/// How many jobs or queues are changed at the same time.
pub(super) const AT_ONCE: usize = 16;

/// Does the same with each of several jobs.
pub(super) async fn each(
    visit: &Visit,
    queue: &AnyQueue,
    ids: &[&str],
    action: Action,
) -> Vec<Result<String, Problem>> {
    let calls: Vec<_> = ids.iter().map(|id| on_chosen(visit, queue, id, action)).collect();
    futures::stream::iter(calls).buffered(AT_ONCE).collect().await
}

async fn on_chosen(visit: &Visit, queue: &AnyQueue, id: &str, action: Action) -> Result<String, Problem> {
    let state = queue.engine().look_up_state(id).await?;
    simply(visit, queue, id, state, action).await
}

/// Carries out actions that need only the job.
pub(super) async fn simply(
    visit: &Visit,
    queue: &AnyQueue,
    id: &str,
    state: JobState,
    action: Action,
) -> Result<String, Problem> {
    let job = queue.job(id);
    Ok(match action {
        Action::Retry if !state.is_finished() => {
            return Err(Error::refused("retry", id, Reason::NotInState).into());
        }
        Action::Retry => {
            job.retry(state, RetryOptions::default()).await?;
            format!("Job {id} runs again.")
        }
        Action::Promote => {
            job.promote().await?;
            format!("Job {id} runs now.")
        }
        Action::Cancel if state.is_finished() => {
            return Err(Error::refused("cancel", id, Reason::NotInState).into());
        }
        Action::Cancel => cancel(queue, id, "").await?,
        // Of many jobs at once the children stay, as where the server removes them by its own filter.
        Action::Clean if queue.engine().remove(id, false).await? => format!("Job {id} is removed."),
        Action::Clean => return Err(held()),
        _ => return remove(visit, queue, id).await,
    })
}

/// Cancels a job; without a reason it is the usual one.
pub(super) async fn cancel(queue: &AnyQueue, id: &str, reason: &str) -> Result<String, Problem> {
    Ok(match queue.job(id).cancel(reason).await? {
        Cancellation::Requested => format!("The worker of job {id} is asked to stop it."),
        Cancellation::Cancelled => {
            format!("Job {id} is cancelled: it fails without a run as soon as a worker fetches it.")
        }
        Cancellation::AlreadyFinished => format!("Job {id} had finished before."),
        _ => return Err(Problem::no_job(id)),
    })
}

fn held() -> Problem {
    Error::QueueState { op: "remove", problem: "a worker holds the job, or one of its children" }.into()
}

/// Removes a job with its children, in whichever queues they are: the sender must be permitted to remove jobs there
/// too.
async fn remove(visit: &Visit, queue: &AnyQueue, id: &str) -> Result<String, Problem> {
    let may = |base: &str| visit.queue_of(base).is_some_and(|queue| visit.may(queue, Action::Remove));
    match queue.engine().remove_permitted(id, may).await? {
        Ok((true, queues)) => {
            let done = format!("Job {id} is removed.");
            for other in queues.iter().filter_map(|base| visit.queue_of(base)).filter(|name| *name != queue.name()) {
                let children = format!("children of {id} in {}", queue.name());
                visit.audit(other, Action::Remove, &children, &done, true);
            }
            Ok(done)
        }
        Ok((false, _)) => Err(held()),
        Err(_) => Err(Problem::forbidden("remove jobs in a queue in which it has children")),
    }
}
