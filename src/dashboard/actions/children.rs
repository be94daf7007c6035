//! Removes the children that a parent waits for.

use futures::StreamExt;

use super::each::{AT_ONCE, simply};
use super::jobs::MOST_CHOSEN;
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;
use crate::keys::JobKey;
use crate::state::JobState;

/// Removes the children that a parent waits for, each with its own children; those that run, or have failed, stay. The
/// sender must be permitted to remove jobs wherever they are.
pub(super) async fn remove_children(visit: &Visit, queue: &AnyQueue, id: &str) -> Result<String, Problem> {
    let children = queue.engine().get_unprocessed_children(id).await?;
    let calls: Vec<_> = children.iter().take(MOST_CHOSEN).map(|key| remove_child(visit, queue, key)).collect();
    let done: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
    let removed = done.iter().filter(|done| matches!(done, Ok(true))).count();
    let children_of = if removed == 1 { "child" } else { "children" };
    let mut text = format!("{removed} {children_of} of {id} removed.");
    if removed < children.len() {
        text +=
            &format!(" {} are left: they run, have failed, or may not be removed by you.", children.len() - removed);
    }
    Ok(text)
}

/// Returns whether the child was removed.
async fn remove_child(visit: &Visit, of: &AnyQueue, key: &str) -> Result<bool, Problem> {
    let Some(JobKey { prefix, queue, id }) = JobKey::near(key, of.engine().keys.prefix()) else { return Ok(false) };
    let base = format!("{prefix}:{queue}:");
    let Some(name) = visit.queue_of(&base) else { return Ok(false) };
    let Ok(queue) = visit.queue(name) else { return Ok(false) };
    if !visit.may(name, Action::RemoveChildren) {
        return Ok(false);
    }
    let state = queue.engine().look_up_state(id).await?;
    if matches!(state, JobState::Active | JobState::Failed) {
        return Ok(false);
    }
    let removed = simply(visit, &queue, id, state, Action::Remove).await?;
    if name != of.name() {
        visit.audit(name, Action::RemoveChildren, &format!("children of a job in {}", of.name()), &removed, true);
    }
    Ok(true)
}
