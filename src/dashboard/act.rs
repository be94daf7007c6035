//! Handles forms: each is checked for its origin and permission, carried out, and audited.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::response::Response;
use futures::StreamExt;
use serde_json::value::RawValue;

use super::access::Action;
use super::app::{AnyQueue, App};
use super::bulk;
use super::each::{AT_ONCE, each, simply};
use super::filter::{Filter, span};
use super::forms::{self, see};
use super::links::unsegment;
use super::moment::many;
use super::problem::Problem;
use super::submitted::{Fields, answer, params, permitted, told};
use super::visit::{Params, Visit, given};
use crate::job::Cancellation;
use crate::options::JobOptions;
use crate::queue::Queue;
use crate::state::JobState;

/// How many chosen jobs are changed while the browser waits.
const MOST_CHOSEN: usize = 1_000;

/// The actions of each form; a form can do nothing else.
const ON_QUEUE: &[Action] = &[Action::Pause, Action::Resume, Action::Limit, Action::Drain, Action::Obliterate];
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
const ON_CHOSEN: &[Action] = &[Action::Retry, Action::Promote, Action::Remove];
const ON_ALL_OF_A_FILTER: &[Action] = &[Action::Retry, Action::Promote, Action::Clean];
const ON_SCHEDULER: &[Action] = &[Action::RunScheduler, Action::ChangeScheduler, Action::RemoveScheduler];

/// Acts on all queues on which the visitor may do so.
pub(super) async fn all(visit: Visit, Form(fields): Form<Fields>) -> Response {
    let done = all_queues(&visit, &params(&fields)).await;
    answer(&visit, done)
}

async fn all_queues(visit: &Visit, params: &Params) -> Result<Response, Problem> {
    visit.token.check(visit.headers(), params.get(forms::FIELD).map(String::as_str))?;
    let action = given(params, "do").and_then(Action::parse);
    let action = action.filter(|action| matches!(action, Action::Pause | Action::Resume));
    let action = action.ok_or_else(|| Problem::no_form("This action does not exist for all queues."))?;
    if given(params, "confirm") != Some("all") {
        return Err(Problem::no_form("It was not confirmed, so nothing was changed."));
    }
    let names = visit.app.catalog.list(&visit.app.client).await.names;
    let names: Vec<String> = names.into_iter().filter(|name| visit.may(name, action)).collect();
    if names.is_empty() {
        return Err(Problem::forbidden(&format!("{action} any queue")));
    }
    let calls: Vec<_> = names.iter().map(|name| one_of_all(visit, name, action)).collect();
    let done: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
    let failed = done.iter().filter(|done| !**done).count();
    let mut text = format!("{}: {action}d.", many((done.len() - failed) as u64, "queue"));
    if failed > 0 {
        text += &format!(" {failed} could not be: their pages say more.");
    }
    Ok(see(&visit.links, &visit.links.home(), &text))
}

/// Acts on one of all queues; returns whether it was done. It is audited as if only this queue had been meant.
async fn one_of_all(visit: &Visit, name: &str, action: Action) -> bool {
    let done = match visit.queue(name) {
        Ok(queue) => on_queue(&queue, action, &Params::new()).await,
        Err(problem) => Err(problem),
    };
    told(visit, name, action, name, done, "/").await.is_ok()
}

/// Handles forms about a queue as a whole.
pub(super) async fn queue(visit: Visit, Path(name): Path<String>, Form(fields): Form<Fields>) -> Response {
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

async fn on_queue(queue: &AnyQueue, action: Action, params: &Params) -> Result<String, Problem> {
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
        Action::Obliterate if given(params, "confirm") != Some(queue.name()) => {
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
    Ok(format!("At most {} may be fetched in {}.", many(max, "job"), super::moment::span(window)))
}

/// Handles forms about one job.
pub(super) async fn job(
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
            Ok((text, state)) if action == Action::Remove => (Ok(text), visit.links.state(name, state)),
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
    let job = queue.job(id);
    let state = queue.engine().look_up_state(id).await?;
    if state == JobState::Unknown && action != Action::Remove {
        return Err(Problem::no_job(id));
    }
    let text = match action {
        Action::Retry | Action::Promote | Action::Remove => simply(visit, queue, id, state, action).await?,
        Action::Cancel => cancel(queue, id, given(params, "reason").unwrap_or_default()).await?,
        Action::ChangeDelay => {
            let delay = given(params, "delay").and_then(span);
            let delay = delay.ok_or_else(|| Problem::no_form("Write the delay as 90s, 15 min, 2h or 3d."))?;
            job.change_delay(delay).await?;
            format!("Job {id} is due in {}.", super::moment::span(delay))
        }
        Action::ChangePriority => {
            let priority = given(params, "priority").and_then(|text| text.parse().ok());
            let priority: u32 = priority.ok_or_else(|| Problem::no_form("The priority must be a number."))?;
            if given(params, "lifo").is_some() {
                job.change_priority_lifo(priority).await?;
            } else {
                job.change_priority(priority).await?;
            }
            format!("Job {id} has the priority {priority}.")
        }
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

/// Removes the children that a parent waits for, each with its own children; those that run, or have failed, stay. The
/// sender must be permitted to remove jobs wherever they are.
async fn remove_children(visit: &Visit, queue: &AnyQueue, id: &str) -> Result<String, Problem> {
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
    let Some((base, id)) = key.rsplit_once(':') else { return Ok(false) };
    let base = format!("{base}:");
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

async fn cancel(queue: &AnyQueue, id: &str, reason: &str) -> Result<String, Problem> {
    Ok(match queue.job(id).cancel(reason).await? {
        Cancellation::Requested => format!("The worker of job {id} is asked to stop it."),
        Cancellation::Cancelled => {
            format!("Job {id} is cancelled: it fails without a run as soon as a worker fetches it.")
        }
        Cancellation::AlreadyFinished => format!("Job {id} had finished before."),
        _ => return Err(Problem::no_job(id)),
    })
}

fn json(text: Option<&String>) -> Result<Box<RawValue>, Problem> {
    let text = text.map(|text| text.trim()).unwrap_or_default();
    RawValue::from_string(text.to_owned()).map_err(|error| Problem::no_form(format!("The data is no JSON: {error}.")))
}

/// Handles the form that adds a job.
pub(super) async fn add(visit: Visit, Path(name): Path<String>, Form(fields): Form<Fields>) -> Response {
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
    let mut options = match given(params, "like") {
        Some(like) => options_like(&visit.queue(name)?, like).await?,
        None => JobOptions::default(),
    };
    if let Some(id) = given(params, "id") {
        options = options.job_id(id);
    }
    if let Some(delay) = given(params, "delay") {
        options =
            options.delay(span(delay).ok_or_else(|| Problem::no_form("Write the delay as 90s, 15 min, 2h or 3d."))?);
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

/// Handles forms about a job scheduler.
pub(super) async fn scheduler(visit: Visit, Path(name): Path<String>, Form(fields): Form<Fields>) -> Response {
    let name = unsegment(&name);
    let params = params(&fields);
    let done = async {
        let id = given(&params, "id").unwrap_or_default();
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
            queue.job(format!("repeat:{id}:{next}")).promote().await?;
            Ok(format!("The next run of {id} starts now."))
        }
        Action::ChangeScheduler => super::reschedule::change(queue, id, params).await,
        Action::RemoveScheduler if queue.remove_job_scheduler(id).await? => {
            Ok(format!("The scheduler {id} is removed."))
        }
        Action::RemoveScheduler => Ok(format!("There was no scheduler {id} any more.")),
        _ => Err(Problem::no_form("This action does not exist for a scheduler.")),
    }
}

/// Acts on chosen jobs, or on all that match a filter.
pub(super) async fn jobs(visit: Visit, Path(name): Path<String>, Form(fields): Form<Fields>) -> Response {
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
        return bulk::begin(visit.clone(), &queue, action, filter).await;
    }
    let done = chosen(visit, &queue, &ids, action).await;
    told(visit, name, action, &target, done, &visit.links.state(name, state)).await
}

async fn chosen(visit: &Visit, queue: &AnyQueue, ids: &[&str], action: Action) -> Result<String, Problem> {
    if ids.is_empty() {
        return Err(Problem::no_form("No job was chosen: tick some in front of their names."));
    }
    if ids.len() > MOST_CHOSEN {
        return Err(Problem::no_form("Too many jobs were chosen: take all that match a filter."));
    }
    let mut answers = each(visit, queue, ids, action).await;
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    if done == 0
        && let Some(Err(problem)) = answers.pop()
    {
        return Err(problem);
    }
    let verb = match action {
        Action::Retry => "run again",
        Action::Promote => "run now",
        _ => "removed",
    };
    let mut text = format!("{}: {verb}.", many(done as u64, "job"));
    if let Some(problem) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        text += &format!(" {} not: {}", answers.len() - done, visit.problem(queue.name(), problem.outcome()));
    }
    Ok(text)
}

/// Stops work in the background.
pub(super) async fn stop_work(
    visit: Visit,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let params = params(&fields);
    let done = async {
        visit.token.check(visit.headers(), params.get(forms::FIELD).map(String::as_str))?;
        let work = app.works.find(&id).ok_or_else(Problem::no_page)?;
        // Where it may not be seen, nobody is told that there is such a work.
        visit.queue(&work.queue).map_err(|_| Problem::no_page())?;
        let is_permitted = visit.may(&work.queue, work.action);
        let outcome = if is_permitted { "stopped" } else { "not permitted to stop it" };
        visit.audit(&work.queue, work.action, &work.target, outcome, is_permitted);
        if !is_permitted {
            return Err(Problem::forbidden("stop this"));
        }
        work.stop();
        Ok(see(&visit.links, &visit.links.to(&format!("/work/{id}")), "It stops after the step that it is at."))
    };
    let done = done.await;
    answer(&visit, done)
}
