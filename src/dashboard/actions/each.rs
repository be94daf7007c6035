//! What is done to one job, or to each of several.

use std::time::Duration;

use futures::StreamExt;

use super::deed::Deed;
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::moment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;
use crate::error::{Error, Reason};
use crate::job::{Cancellation, RetryOptions};
use crate::state::JobState;

/// How many jobs or queues are changed at the same time.
pub(super) const AT_ONCE: usize = 16;

/// Does the same with each of several jobs.
pub(super) async fn each(visit: &Visit, queue: &AnyQueue, ids: &[&str], deed: Deed) -> Vec<Result<String, Problem>> {
    let calls: Vec<_> = ids.iter().map(|id| on_chosen(visit, queue, id, deed)).collect();
    futures::stream::iter(calls).buffered(AT_ONCE).collect().await
}

async fn on_chosen(visit: &Visit, queue: &AnyQueue, id: &str, deed: Deed) -> Result<String, Problem> {
    let state = queue.engine().look_up_state(id).await?;
    on_one(visit, queue, id, state, deed).await
}

/// Does it to a job, which was seen in this state.
pub(super) async fn on_one(
    visit: &Visit,
    queue: &AnyQueue,
    id: &str,
    state: JobState,
    deed: Deed,
) -> Result<String, Problem> {
    match deed {
        Deed::Priority { priority, is_first } => change_priority(queue, id, state, priority, is_first).await,
        Deed::Delay(due) => change_delay(queue, id, due.delay(visit.app.now())).await,
        Deed::Plain(action) => simply(visit, queue, id, state, action).await,
    }
}

async fn change_priority(
    queue: &AnyQueue,
    id: &str,
    state: JobState,
    priority: u32,
    is_first: bool,
) -> Result<String, Problem> {
    // A finished job would only note it.
    if state.is_finished() {
        return Err(Error::refused("change_priority", id, Reason::NotInState).into());
    }
    queue.engine().change_priority(id, priority, is_first).await?;
    Ok(format!("Job {id} has the priority {priority}."))
}

async fn change_delay(queue: &AnyQueue, id: &str, delay: Duration) -> Result<String, Problem> {
    queue.job(id).change_delay(delay).await?;
    Ok(format!("Job {id} is due in {}.", moment::span(delay)))
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
