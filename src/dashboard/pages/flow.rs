//! The page of a job's family: the tree that it belongs to, with states, and why a parent waits.

use std::collections::HashMap;

use maud::{Markup, html};

use super::badge;
use super::queue::short;
use super::stored::StoredJob;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::json::clip;
use crate::dashboard::format::moment::count;
use crate::dashboard::redaction::Field;
use crate::dashboard::redaction::unseen::UNSEEN;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::error::{Result as Answer, WithCauses};
use crate::flow::FlowTree;
use crate::job::Job;
use crate::keys::JobKey;
use crate::state::JobState;

/// How many levels are shown up to the root, and down from it.
const LEVELS: usize = 8;

/// About how many children of each kind are shown.
const CHILDREN: u32 = 25;

/// How many children of each kind are shown of one job, if they are asked for.
const MANY_CHILDREN: u32 = 250;

/// About how many jobs a tree shows.
const JOBS: usize = 300;

/// How many states of relatives are read at the same time.
const AT_ONCE: usize = 32;

/// Which part of a family is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The levels above and below the job, with some children of each.
    Tree,
    /// The children of the job, and nothing else.
    Children,
}

pub(super) async fn family(
    visit: &Visit,
    queue: &AnyQueue,
    known: &StoredJob,
    params: &Params,
) -> Result<Markup, Problem> {
    let Ok(job) = &known.job else { return Ok(html! {}) };
    let children = queue.job(&known.id).get_dependencies_count().await?;
    let kinds = [children.processed, children.unprocessed, children.failed, children.ignored];
    let has_children = kinds.iter().any(|n| *n > 0);
    if !has_children && job.parent_key().is_none() {
        return Ok(html! {});
    }
    let part = if given(params, "children").is_some() { Part::Children } else { Part::Tree };
    let mut above = ancestors(visit, queue.name(), known).await;
    let tree = match tree(visit, queue.name(), &known.id, part, &mut above).await {
        Ok(tree) => tree,
        Err(error) => {
            let why = visit.problem(queue.name(), &WithCauses(&error).to_string());
            return Ok(html! { p.warning { "The tree cannot be read: " (why) } });
        }
    };
    let why = if has_children { queue.job(&known.id).waits_for().await? } else { None };
    let states = match &tree {
        Some(tree) => states(visit, tree).await,
        None => HashMap::new(),
    };
    let has_more = part == Part::Tree && kinds.iter().any(|n| *n > u64::from(CHILDREN));
    Ok(html! {
        section #family.box aria-labelledby="family-title" data-swap {
            h2 #family-title { "Family" }
            @if let Some(why) = &why && why.state == JobState::WaitingChildren {
                p.why.bad[why.is_stuck()] {
                    @if why.is_stuck() { "Stuck: nothing will release it. Retry or remove the children that failed or are gone. " }
                    "It waits for " (why.pending) " of " (why.pending + why.processed + why.ignored + why.failed) " children"
                    @if why.failed > 0 { ", and " (why.failed) " failed so that it has to fail" }
                    "."
                }
            }
            @if has_children {
                p.faint {
                    "Children: "
                    @for (n, kind) in ["done", "unfinished", "failed", "failed and ignored"].iter().enumerate() {
                        @if n > 0 { ", " }
                        (count(kinds[n])) " " (kind)
                    }
                    "."
                    @if has_more { " " a href={ (visit.links.job(queue.name(), &known.id)) "?children=more#family" } { "Show more of them" } }
                }
            }
            @if !above.is_empty() {
                p { "Below " @for (n, (queue, id)) in above.iter().enumerate() {
                    @if n > 0 { span aria-hidden="true" { " / " } }
                    a href=(visit.links.job(queue, id)) { (clip(queue)) " " span.id { (clip(id)) } }
                } }
            }
            @if let Some(tree) = &tree {
                ul.tree { (branch(visit, tree, &states, queue.name(), &known.id)) }
                @if part == Part::Tree {
                    p.faint { "About " (CHILDREN) " children of each kind are shown of a job, " (LEVELS) " levels, and " (JOBS) " jobs." }
                } @else {
                    p.faint { "About " (MANY_CHILDREN) " children of each kind are shown. "
                        a href={ (visit.links.job(queue.name(), &known.id)) "#family" } { "Show the whole family" } }
                }
            }
        }
    })
}

/// Reads the tree from the root, and empties `above`; or from the job, if it is not among the children that are shown.
async fn tree(
    visit: &Visit,
    queue: &str,
    id: &str,
    part: Part,
    above: &mut Vec<(String, String)>,
) -> Answer<Option<FlowTree>> {
    let (levels, children, jobs) = match part {
        Part::Tree => (LEVELS, CHILDREN, JOBS),
        Part::Children => (2, MANY_CHILDREN, usize::MAX),
    };
    let from = async |queue: &str, id: &str| {
        let flows = visit.app.client.flow_producer();
        flows.get_flow(queue, id).depth(levels).max_children(children).max_jobs(jobs).await
    };
    if part == Part::Tree
        && let Some((root_queue, root)) = above.first()
        && let Some(tree) = from(root_queue, root).await?
        && holds(visit, &tree, queue, id)
    {
        above.clear();
        return Ok(Some(tree));
    }
    from(queue, id).await
}

fn holds(visit: &Visit, tree: &FlowTree, queue: &str, id: &str) -> bool {
    own(visit, &key(tree)).is_some_and(|(found, found_id)| found == queue && found_id == id)
        || tree.children.iter().any(|child| holds(visit, child, queue, id))
}

/// Returns the parent of a job, its parent, and so on, as far up as the visitor may see; the uppermost first.
async fn ancestors(visit: &Visit, queue: &str, known: &StoredJob) -> Vec<(String, String)> {
    let mut above = Vec::new();
    let (mut queue, mut id) = (queue.to_owned(), known.id.clone());
    for _ in 0..LEVELS {
        let Ok(handle) = visit.queue(&queue) else { break };
        let Ok(Some(job)) = handle.get_job(&id).await else { break };
        let Some((parent, parent_id)) = job.parent_key().and_then(|key| own(visit, key)) else { break };
        if !matches!(visit.app.queue(&parent).map(|_| visit.may_see(&parent)), Ok(true)) {
            break;
        }
        (queue, id) = (parent, parent_id);
        above.push((queue.clone(), id.clone()));
    }
    above.reverse();
    above
}

/// Returns the queue's name and the id of a job's key, if it has our prefix.
fn own(visit: &Visit, key: &str) -> Option<(String, String)> {
    let prefix = visit.app.client.prefix();
    let key = JobKey::near(key, prefix).filter(|key| key.prefix == prefix)?;
    Some((key.queue.to_owned(), key.id.to_owned()))
}

/// Shows a job by its key, as a link if there is a page for it. A job in a queue that may not be seen is not named.
pub(super) fn link(visit: &Visit, key: &str) -> Markup {
    match own(visit, key) {
        Some((queue, _)) if !visit.may_see(&queue) => html! { span.faint { (UNSEEN) } },
        Some((queue, id)) => {
            html! { a href=(visit.links.job(&queue, &id)) { (clip(&queue)) " " span.id { (clip(&id)) } } }
        }
        None => html! { code { (clip(key)) } },
    }
}

fn key(tree: &FlowTree) -> String {
    format!("{}:{}", tree.queue, tree.id)
}

/// Returns the present states of the jobs of a tree.
async fn states(visit: &Visit, tree: &FlowTree) -> HashMap<String, JobState> {
    use futures::StreamExt;
    let mut nodes = vec![tree];
    let mut at = 0;
    while at < nodes.len() {
        nodes.extend(&nodes[at].children);
        at += 1;
    }
    let seen = |node: &FlowTree| own(visit, &key(node)).filter(|(queue, _)| visit.may_see(queue));
    let wanted: Vec<(String, String, String)> =
        nodes.into_iter().filter_map(|node| seen(node).map(|(queue, id)| (key(node), queue, id))).collect();
    futures::stream::iter(wanted)
        .map(|(key, queue, id)| async move {
            let state = visit.app.queue(&queue).ok()?.engine().look_up_state(&id).await.ok()?;
            Some((key, state))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Shows why a job of a tree failed, or how far it has come.
fn how_far(visit: &Visit, queue: &str, job: &Job) -> Markup {
    let reason = job.failed_reason().map(|reason| visit.text(queue, job.name(), Field::FailedReason, reason));
    let percent = job.progress::<f64>().ok().flatten();
    html! {
        @if let Some(reason) = reason { " " span.reason { (short(&reason)) } }
        @else if let Some(percent) = percent { " " span.faint { (percent) " %" } }
    }
}

fn branch(visit: &Visit, tree: &FlowTree, states: &HashMap<String, JobState>, queue: &str, id: &str) -> Markup {
    let own = own(visit, &key(tree));
    let is_this = own.as_ref().is_some_and(|(found, found_id)| found == queue && found_id == id);
    // What a job of another prefix is called is in its hash, too, which is nothing of these pages.
    let is_seen = own.as_ref().is_some_and(|(queue, _)| visit.may_see(queue));
    if own.is_some() && !is_seen {
        // How large its family is would tell of it.
        return html! { li { span.node { (link(visit, &key(tree))) } } };
    }
    html! {
        li.this[is_this] aria-current=[is_this.then_some("true")] {
            span.node {
                @match states.get(&key(tree)) {
                    Some(JobState::Unknown) | None => span.badge.unknown { "removed" },
                    Some(state) => (badge(*state)),
                }
                " "
                @if let Ok(Some(job)) = &tree.job && is_seen { b { (short(job.name())) } " " }
                (link(visit, &key(tree)))
                @if let Ok(Some(job)) = &tree.job && is_seen { (how_far(visit, own.as_ref().map_or("", |(queue, _)| queue), job)) }
            }
            @if !tree.children.is_empty() {
                ul { @for child in &tree.children { (branch(visit, child, states, queue, id)) } }
            }
        }
    }
}
