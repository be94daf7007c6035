//! The page of a queue: its numbers, and its jobs by state.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::choices::{self, Choices};
use super::figures::{self, History};
use super::layout::{Page, Tab};
use super::{STATES, crumbs};
use crate::dashboard::access::Action;
use crate::dashboard::actions::reschedule::spelled;
use crate::dashboard::app::{AnyJob, AnyQueue};
use crate::dashboard::format::json::clip;
use crate::dashboard::format::moment::{count, many, span, when};
use crate::dashboard::redaction::Field;
use crate::dashboard::request::filter::{Filter, Found, begin, look};
use crate::dashboard::request::links::{query, unsegment};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::error::{Error, Result as Answer, WithCauses};
use crate::options::MAX_SAFE;
use crate::overview::QueueOverview;
use crate::state::JobState;

/// How many jobs are on one page.
const PER_PAGE: u32 = 50;

/// Of longer data a list shows only how long it is.
const LONGEST_DATA: usize = 64 * 1024;

pub(in crate::dashboard) async fn page(
    visit: Visit,
    Path(name): Path<String>,
    Query(params): Query<Params>,
) -> Response {
    let page = build(&visit, unsegment(&name), &params).await;
    visit.answer(page)
}

async fn build(visit: &Visit, name: &str, params: &Params) -> Result<Page, Problem> {
    let queue = visit.queue(name)?;
    let (survey, workers, limit) = tokio::join!(
        visit.app.client.get_queue_overview(name),
        queue.engine().get_own_workers(),
        queue.get_global_rate_limit()
    );
    let (survey, limit) = (survey?, limit?);
    // Without a global limit, only a window that a worker has closed by hand counts as reached: it allows no job at all.
    let held = queue.get_rate_limit_ttl(if limit.is_some() { None } else { Some(MAX_SAFE) }).await?;
    let workers = workers.ok().map(|workers| workers.len());
    let history = History::read(visit, &queue, params).await?;
    let state = state_of(params, &survey);
    let filter = Filter::of(params, state);
    let from = begin(&filter, given(params, "from"), survey.counts.get(state), u64::from(PER_PAGE));
    let found = look(visit, &queue, &filter, from.as_deref(), PER_PAGE).await?;
    let due = due(&queue, &found).await?;
    let lost = lost(&queue, &filter, &found, survey.counts.get(state)).await?;
    let now = visit.app.now();
    let body = html! {
        (crumbs(&visit.links, name, &[]))
        (head(visit, name, &survey, limit))
        div #figures data-swap {
            @if let Some(held) = held { (rate_limited(visit, name, held)) }
            (figures::show(visit, &survey, workers, limit, &history, &filter, now))
        }
        (parts(visit, name, &survey))
        section.jobs aria-labelledby="jobs-title" {
            h2.hidden #jobs-title { "Jobs" }
            nav #states.tabs aria-label="States" data-swap {
                a href=(visit.links.part(name, "latest")) { "latest" }
                @for other in STATES {
                    @let number = survey.counts.get(other);
                    @if number > 0 || other == state || !matches!(other, JobState::Paused | JobState::Prioritized | JobState::WaitingChildren) {
                        a class=(other) href=(list(visit, name, &filter.all_of(other))) aria-current=[(other == state).then_some("page")] {
                            (other) " " span.count { (count(number)) }
                        }
                    }
                }
            }
            (filter_form(visit, name, &filter, params))
            div #lost data-swap { (without_job(visit, &lost)) }
            (jobs(visit, name, &filter, from.as_deref(), &found, &due, &survey, now))
        }
    };
    Ok(Page { title: name.to_owned(), tab: Tab::Queues, live: Some(format!("of=queue&queue={}", query(name))), body })
}

/// Returns the page of the matching jobs.
fn list(visit: &Visit, name: &str, filter: &Filter) -> String {
    format!("{}?{}", visit.links.queue(name), filter.query())
}

/// Returns when the jobs are due, one for each.
async fn due(queue: &AnyQueue, found: &Found) -> Answer<Vec<Option<SystemTime>>> {
    // An id that cannot be read is not a delayed job's.
    let ids: Vec<&str> = found.jobs.iter().map(|job| job.as_ref().map_or("", |job| job.id())).collect();
    queue.engine().get_due(&ids).await
}

/// How many ids without a job are named.
const LOST: usize = 5;

/// Returns ids on the last page that have no job, which is why fewer jobs are shown than counted.
async fn lost(queue: &AnyQueue, filter: &Filter, found: &Found, total: u64) -> Answer<Vec<String>> {
    if !filter.is_plain() || found.next.is_some() || found.looked_at >= total {
        return Ok(Vec::new());
    }
    let first = i64::try_from(found.first).unwrap_or(i64::MAX);
    let last = first.saturating_add(i64::from(PER_PAGE));
    let listed = async || queue.get_ranges(&[filter.state], first, last, filter.order()).await;
    let known: HashSet<&str> = found.jobs.iter().filter_map(id_of).collect();
    let mut lost = Vec::new();
    for id in listed().await?.into_iter().filter(|id| !known.contains(id.as_str())).take(LOST) {
        if matches!(queue.get_job(&id).await, Ok(None)) {
            lost.push(id);
        }
    }
    // One that was removed between these reads is no longer listed.
    if !lost.is_empty() {
        let listed: HashSet<String> = listed().await?.into_iter().collect();
        lost.retain(|id| listed.contains(id));
    }
    Ok(lost)
}

/// Returns the id of a job, whether it can be read or not.
fn id_of(job: &Answer<AnyJob>) -> Option<&str> {
    match job {
        Ok(job) => Some(job.id()),
        Err(Error::Undecodable { id, .. }) => Some(id),
        Err(_) => None,
    }
}

/// Tells of ids without a job.
fn without_job(visit: &Visit, lost: &[String]) -> Markup {
    html! {
        @if !lost.is_empty() {
            p.warning {
                "Ids without a job are counted here: "
                @for (n, id) in lost.iter().enumerate() { @if n > 0 { ", " } code { (clip(id)) } }
                @if lost.len() == LOST { " …" }
                ". The server has evicted what was stored of them, or somebody has deleted it. The "
                a href=(visit.links.to("/doctor")) { "doctor" } " finds and removes such ids."
            }
        }
    }
}

/// Returns the state that was asked for, or the most urgent state that has jobs.
fn state_of(params: &Params, survey: &QueueOverview) -> JobState {
    use JobState::{Active, Completed, Delayed, Failed, Paused, Prioritized, Waiting, WaitingChildren};
    let asked = given(params, "state").and_then(|state| state.parse().ok()).filter(|state| *state != JobState::Unknown);
    let urgent = [Failed, Active, Waiting, Prioritized, Paused, Delayed, WaitingChildren, Completed];
    asked.unwrap_or_else(|| urgent.into_iter().find(|state| survey.counts.get(*state) > 0).unwrap_or(Waiting))
}

fn head(visit: &Visit, name: &str, survey: &QueueOverview, limit: Option<(u64, Duration)>) -> Markup {
    let may = |action| visit.may(name, action);
    let to = visit.links.queue(name);
    let form = |action: Action, label: &str, class: &str| {
        html! {
            form method="post" action=(to) {
                (visit.token.field())
                button class=(class) name="do" value=(action) { (label) }
            }
        }
    };
    html! {
        div.head {
            h1 {
                (name) " "
                @if survey.is_paused { span.badge.paused { "paused" } } @else { span.badge.running { "running" } }
            }
            div.actions {
                @if survey.is_paused && may(Action::Resume) { (form(Action::Resume, "Resume", "")) }
                @if !survey.is_paused && may(Action::Pause) { (form(Action::Pause, "Pause", "")) }
                @if may(Action::Add) { a.button href=(visit.links.part(name, "add")) { "Add a job" } }
                (more(visit, name, survey, limit))
            }
        }
    }
}

/// Says that a rate limit holds back all jobs, and offers to end that.
fn rate_limited(visit: &Visit, name: &str, held: Duration) -> Markup {
    html! {
        div.warning.bar {
            span { "The rate limit is reached: workers fetch no job for another " (span(held)) "." }
            @if visit.may(name, Action::Limit) {
                form method="post" action=(visit.links.queue(name)) {
                    (visit.token.field())
                    input type="hidden" name="release" value="1";
                    button name="do" value=(Action::Limit) { "Fetch now" }
                }
            }
        }
    }
}

/// Shows what is rarely done, or cannot be undone.
fn more(visit: &Visit, name: &str, survey: &QueueOverview, limit: Option<(u64, Duration)>) -> Markup {
    let to = visit.links.queue(name);
    let offered = [Action::Limit, Action::Drain, Action::Obliterate].map(|action| visit.may(name, action));
    let [may_limit, may_drain, may_obliterate] = offered;
    html! {
        @if offered.contains(&true) {
            details.ask {
                summary.button { "More" }
                div.popup {
                    @if may_limit {
                        form method="post" action=(to) {
                            (visit.token.field())
                            label { "Maximum number of active jobs, over all workers"
                                input type="number" name="concurrency" min="1" max="4294967295" value=[survey.global_concurrency] placeholder="no limit"; }
                            button name="do" value=(Action::Limit) { "Set the limit" }
                        }
                    }
                    @if may_limit {
                        form method="post" action=(to) {
                            (visit.token.field())
                            label { "Maximum number of fetched jobs" input type="number" name="max" min="1" value=[limit.map(|(max, _)| max)] placeholder="no limit"; }
                            label { "in a time of" input name="window" value=[limit.map(|(_, window)| spelled(window))] placeholder="1 min"; }
                            button name="do" value=(Action::Limit) { "Set the rate limit" }
                        }
                    }
                    @if may_drain {
                        form method="post" action=(to) {
                            (visit.token.field())
                            p { "Removes all waiting jobs." }
                            label.check { input type="checkbox" name="delayed" value="1"; "delayed ones too" }
                            button.danger name="do" value=(Action::Drain) { "Drain the queue" }
                        }
                    }
                    @if may_obliterate {
                        form method="post" action=(to) {
                            (visit.token.field())
                            p { "Deletes the queue with everything in it. Type its name to confirm." }
                            label { span.hidden { "Name of the queue" } input name="confirm" autocomplete="off" placeholder=(name) required; }
                            label.check { input type="checkbox" name="force" value="1"; "also while jobs are active" }
                            button.danger name="do" value=(Action::Obliterate) { "Obliterate the queue" }
                        }
                    }
                }
            }
        }
    }
}

/// Shows links to the other pages of the queue.
fn parts(visit: &Visit, name: &str, survey: &QueueOverview) -> Markup {
    html! {
        nav.parts aria-label="Of this queue" {
            a href=(visit.links.part(name, "events")) { "Live events" }
            a href=(visit.links.part(name, "schedulers")) { "Schedulers " span.count { (count(survey.schedulers)) } }
            a href=(visit.links.to(&format!("/workers?queue={}", query(name)))) { "Workers" }
            @if let Some(version) = &survey.version { span.faint { "opened last by " (visit.problem(name, version)) } }
        }
    }
}

fn filter_form(visit: &Visit, name: &str, filter: &Filter, params: &Params) -> Markup {
    let value = |field| given(params, field).unwrap_or_default();
    html! {
        form.filter action=(visit.links.queue(name)) {
            input type="hidden" name="state" value=(filter.state);
            @if let Some(history) = &filter.history { input type="hidden" name="history" value=(history); }
            label { "Name" input name="name" value=(value("name")) placeholder="any, * for any text" autocomplete="off"; }
            label { "Data contains" input name="data" value=(value("data")) autocomplete="off"; }
            @if !matches!(filter.state, JobState::Completed | JobState::Active) {
                label { "Reason contains" input name="reason" value=(value("reason")) autocomplete="off"; }
            }
            label { "Id" input.short name="ids" value=(value("ids")) placeholder="any, * for any text" autocomplete="off"; }
            label { "Older than" input.short name="older" value=(value("older")) placeholder="15 min" autocomplete="off"; }
            label { "At most" input.short name="newer" value=(value("newer")) placeholder="1h old" autocomplete="off"; }
            button { "Filter" }
            @if !filter.is_plain() { a href=(list(visit, name, &filter.all_of(filter.state))) { "Clear" } }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "all of it is what was read for this table")]
fn jobs(
    visit: &Visit,
    name: &str,
    filter: &Filter,
    from: Option<&str>,
    found: &Found,
    due: &[Option<SystemTime>],
    survey: &QueueOverview,
    now: SystemTime,
) -> Markup {
    let state = filter.state;
    let choices = Choices::of(visit, name, state, Action::Remove);
    let total = survey.counts.get(state);
    html! {
        form #choice method="post" action=(visit.links.part(name, "jobs")) {
            (visit.token.field())
            input type="hidden" name="state" value=(state);
            // Where the browser comes back to, on the same page of the same jobs.
            input type="hidden" name="back" value={ (filter.query()) @if let Some(from) = from { "&from=" (query(from)) } };
            div #jobs data-swap {
                @if found.jobs.is_empty() {
                    (no_jobs(filter, found, total, survey))
                } @else {
                    @if !choices.is_empty() { (choices::chosen(&choices)) }
                    div.scroll {
                        table.rows.jobs {
                            thead { tr {
                                @if !choices.is_empty() { th.check { input.js #all type="checkbox" aria-label="Select all jobs on this page"; } }
                                th scope="col" { "Job" }
                                th scope="col" { (what_column(state)) }
                                th.num scope="col" { "Attempts" }
                                th.num scope="col" { (when_column(state)) }
                                @if !choices.actions.is_empty() { th scope="col" { span.hidden { "Actions" } } }
                            } }
                            tbody { @for (job, due) in found.jobs.iter().zip(due) { (job_row(visit, name, state, &choices, job, *due, now)) } }
                        }
                    }
                }
                (pager(visit, name, filter, found, total))
            }
        }
        // Without matching jobs there is nothing to do.
        @if total > 0 && !(found.jobs.is_empty() && found.next.is_none() && found.previous.is_none()) { (choices::all_of_them(visit, name, filter, total)) }
    }
}

fn what_column(state: JobState) -> &'static str {
    match state {
        JobState::Failed => "Reason",
        JobState::Active => "Progress",
        JobState::Prioritized => "Priority",
        _ => "Data",
    }
}

fn when_column(state: JobState) -> &'static str {
    match state {
        JobState::Failed => "Failed",
        JobState::Completed => "Completed",
        JobState::Active => "Started",
        JobState::Delayed => "Due",
        _ => "Added",
    }
}

/// Says why a job cannot be read, with a link to its page, which shows what is stored.
pub(super) fn unreadable(visit: &Visit, queue: &str, error: &Error) -> Markup {
    let why = visit.problem(queue, &WithCauses(error).to_string());
    html! {
        (why)
        @if let Error::Undecodable { id, .. } = error { " " a href=(visit.links.job(queue, id)) { "What is stored" } }
    }
}

fn job_row(
    visit: &Visit,
    queue: &str,
    state: JobState,
    choices: &Choices,
    job: &Answer<AnyJob>,
    due: Option<SystemTime>,
    now: SystemTime,
) -> Markup {
    let job = match job {
        Ok(job) => job,
        Err(error) => {
            return html! { tr { td.bad colspan="6" { "A job cannot be read: " (unreadable(visit, queue, error)) } } };
        }
    };
    let link = visit.links.job(queue, job.id());
    html! {
        tr {
            @if !choices.is_empty() {
                td.check { input type="checkbox" name="id" value=(job.id()) aria-label={ "Select job " (job.id()) }; }
            }
            th scope="row" {
                a href=(link) { (short(job.name())) }
                " " span.id { (clip(job.id())) }
            }
            td.what { (what(visit, queue, state, job)) }
            td.num { (job.attempts_made()) span.faint { " / " (job.attempts().max(1)) } }
            td.num { (moment_of(state, job, due, now)) }
            @if !choices.actions.is_empty() {
                td.buttons {
                    @for (action, label) in &choices.actions {
                        @if *action == Action::Remove {
                            button.quiet.danger name="do" value=(action) formaction=(link) data-confirm={ "Remove job " (job.id()) "?" } { (label) }
                        } @else {
                            button.quiet name="do" value=(action) formaction=(link) { (label) }
                        }
                    }
                }
            }
        }
    }
}

/// Shows what matters about a job in this state.
pub(super) fn what(visit: &Visit, queue: &str, state: JobState, job: &AnyJob) -> Markup {
    let data = || match job.data_json().len() {
        // To redact all of it for its first line would take long, for each of fifty jobs.
        long if long > LONGEST_DATA => format!("{} bytes of JSON", count(long as u64)),
        _ => short(&visit.json(queue, job.name(), Field::Data, job.data_json())),
    };
    match state {
        JobState::Failed => {
            let reason = visit.text(queue, job.name(), Field::FailedReason, job.failed_reason().unwrap_or_default());
            html! { span.reason { (short(&reason)) } }
        }
        JobState::Active => html! {
            (progress(visit, job))
            @if let Some(worker) = worker(visit, queue, job) { span.faint { " by " (clip(&worker)) } }
        },
        JobState::Prioritized => html! { b { (job.priority()) } " " code.faint { (data()) } },
        _ => html! { code { (data()) } },
    }
}

pub(super) fn progress(visit: &Visit, job: &AnyJob) -> Markup {
    let Ok(Some(stored)) = job.progress::<Box<serde_json::value::RawValue>>() else {
        return html! { span.none { "–" } };
    };
    let shown = visit.json(job.queue_name(), job.name(), Field::Progress, stored.get());
    match serde_json::from_str::<serde_json::Number>(&shown) {
        Ok(percent) => html! { progress aria-label="Progress" max="100" value=(percent) {} " " (percent) " %" },
        Err(_) => html! { code { (short(&shown)) } },
    }
}

/// Returns the worker that has taken a job.
pub(super) fn worker(visit: &Visit, queue: &str, job: &AnyJob) -> Option<String> {
    job.processed_by().map(|worker| visit.text(queue, job.name(), Field::Other, worker))
}

/// Returns the first line of a text, cut to fit into a table.
pub(super) fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(160) {
        None => line.to_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

pub(super) fn moment_of(state: JobState, job: &AnyJob, due: Option<SystemTime>, now: SystemTime) -> Markup {
    match state {
        JobState::Failed | JobState::Completed => {
            let ran = job.finished_on().zip(job.processed_on()).and_then(|(end, start)| end.duration_since(start).ok());
            html! { (when(job.finished_on(), now)) @if let Some(ran) = ran { br; span.faint { "ran " (span(ran)) } } }
        }
        JobState::Active => when(job.processed_on(), now),
        JobState::Delayed => when(due, now),
        _ => when(job.timestamp(), now),
    }
}

fn no_jobs(filter: &Filter, found: &Found, total: u64, survey: &QueueOverview) -> Markup {
    html! {
        div.empty {
            @if !filter.is_plain() && found.next.is_some() {
                h3 { "None of " (many(found.looked_at, "job")) " looked at so far matches" }
                p { "There are more to look at." }
            } @else if !filter.is_plain() {
                h3 { "No job matches" }
                p { "There are " (count(total)) " " (filter.state) " jobs without the filter." }
            } @else {
                h3 { "No job is " (filter.state) }
                @if survey.counts.total() == 0 && survey.version.is_none() && survey.schedulers == 0 {
                    p { "Hardly anything is stored of this queue: its name may be misspelt, or it was obliterated." }
                } @else if survey.counts.total() == 0 { p { "The whole queue is empty." } } @else { p { "Other states have jobs: see the tabs above." } }
            }
        }
    }
}

fn pager(visit: &Visit, name: &str, filter: &Filter, found: &Found, total: u64) -> Markup {
    let link = |from: &str| format!("{}&from={}", list(visit, name, filter), query(from));
    let shown = found.jobs.len() as u64;
    html! {
        @if found.previous.is_some() || found.next.is_some() {
            nav.pages aria-label="Pages" {
                @if let Some(previous) = &found.previous {
                    a.button href=(link("")) { "First" }
                    @if !previous.is_empty() { a.button rel="prev" href=(link(previous)) { "Previous" } }
                }
                span {
                    @if filter.is_plain() { "Jobs " (count(found.first + 1)) " to " (count(found.first + shown)) " of " (count(total)) }
                    @else { "Looked at " (count(found.looked_at)) " of " (count(total)) " jobs" }
                }
                @if let Some(next) = &found.next {
                    a.button rel="next" href=(link(next)) { @if filter.is_plain() { "Next" } @else { "Look further" } }
                }
            }
        }
    }
}
