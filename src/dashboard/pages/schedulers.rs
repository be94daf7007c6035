//! The page of a queue's job schedulers.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Tab};
use super::{asking, crumbs};
use crate::clock::epoch_ms;
use crate::dashboard::access::Action;
use crate::dashboard::actions::reschedule::spelled;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::json::{clip, tree};
use crate::dashboard::format::moment::{count, exactly, iso, span, when};
use crate::dashboard::format::words;
use crate::dashboard::redaction::Field;
use crate::dashboard::request::links::{query, unsegment};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::error::Result as Answer;
use crate::queue::JobScheduler;
use crate::scheduler::{Overlap, Repeat};
use crate::state::{JobState, Order};

const PER_PAGE: i64 = 50;

/// Among how many jobs that ended last, of each state, runs of schedulers are looked for.
const LOOKED_AT: i64 = 500;

/// How many future runs are shown, and how many past ones.
const RUNS: usize = 5;

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
    let from = given(params, "from").and_then(|from| from.parse().ok()).unwrap_or(0_i64).clamp(0, 1 << 40);
    let (schedulers, total) = tokio::try_join!(
        queue.get_job_schedulers(from, from + PER_PAGE - 1, Order::Ascending),
        queue.get_job_schedulers_count()
    )?;
    let last = last_runs(&queue).await?;
    let now = visit.app.now();
    let link = |from: i64| format!("{}?from={from}", visit.links.part(name, "schedulers"));
    let more = i64::try_from(total).unwrap_or(i64::MAX) > from + PER_PAGE;
    let body = html! {
        (crumbs(&visit.links, name, &["schedulers"]))
        div.head { h1 { "Schedulers of " (name) } }
        div #schedulers data-swap {
            @if schedulers.is_empty() {
                div.empty {
                    h2 { "This queue has no job scheduler" }
                    p { "One is made by " code { "queue.upsert_job_scheduler" } " or Node's " code { "queue.upsertJobScheduler" } "." }
                }
            }
            @for scheduler in &schedulers { (one(visit, name, scheduler, last.get(&scheduler.id).map_or(&[], Vec::as_slice), now)) }
        }
        nav.pages aria-label="Pages" {
            @if from > 0 { a.button href=(link((from - PER_PAGE).max(0))) { "Previous" } }
            span { (count(total)) " in all" }
            @if more { a.button href=(link(from + PER_PAGE)) { "Next" } }
        }
    };
    let live = format!("of=queue&queue={}", query(name));
    Ok(Page { title: format!("Schedulers of {name}"), tab: Tab::Queues, live: Some(live), body })
}

/// A run that has ended: its job, what it was, and the time for which it was planned.
struct LastRun {
    job: String,
    state: JobState,
    at: SystemTime,
}

/// Returns the last runs of each scheduler, newest first, as far as they are among the jobs that ended last.
async fn last_runs(queue: &AnyQueue) -> Answer<HashMap<String, Vec<LastRun>>> {
    let ended = async |state| queue.get_ranges(&[state], 0, LOOKED_AT - 1, Order::Descending).await;
    let (completed, failed) = tokio::try_join!(ended(JobState::Completed), ended(JobState::Failed))?;
    let with = |state| move |job: String| (job, state);
    let jobs =
        completed.into_iter().map(with(JobState::Completed)).chain(failed.into_iter().map(with(JobState::Failed)));
    let mut runs: HashMap<String, Vec<LastRun>> = HashMap::new();
    for (job, state) in jobs {
        let Some((id, slot)) = job.strip_prefix("repeat:").and_then(|rest| rest.rsplit_once(':')) else { continue };
        let Some(at) = slot.parse().ok().and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)))
        else {
            continue;
        };
        runs.entry(id.to_owned()).or_default().push(LastRun { job, state, at });
    }
    for runs in runs.values_mut() {
        runs.sort_by_key(|run| Reverse(run.at));
        runs.truncate(RUNS);
    }
    Ok(runs)
}

/// Shows the last runs, and links to all that are kept.
fn history(visit: &Visit, queue: &str, scheduler: &JobScheduler, last: &[LastRun], now: SystemTime) -> Markup {
    let all = |state: JobState| {
        let ids = format!("repeat:{}:*", scheduler.id);
        format!("{}&ids={}", visit.links.state(queue, state), query(&ids))
    };
    html! {
        @for run in last {
            a href=(visit.links.job(queue, &run.job)) { span class={ "badge " (run.state) } { (run.state) } " " (when(Some(run.at), now)) }
            " "
        }
        @if last.is_empty() { span.faint { "None is kept, or others have ended since. " } }
        span.faint { "All that are kept: " a href=(all(JobState::Completed)) { "completed" } ", " a href=(all(JobState::Failed)) { "failed" } }
    }
}

fn one(visit: &Visit, queue: &str, scheduler: &JobScheduler, last: &[LastRun], now: SystemTime) -> Markup {
    let next = format!("repeat:{}:{}", scheduler.id, epoch_ms(scheduler.next_run));
    let is_late = now.duration_since(scheduler.next_run).is_ok_and(|late| late.as_secs() > 60);
    let data = scheduler.data.as_ref().map(|data| visit.json(queue, &scheduler.name, Field::Data, data.as_str()));
    let options =
        scheduler.options.as_ref().map(|options| visit.json(queue, &scheduler.name, Field::Options, options.as_str()));
    html! {
        section.box aria-label={ "Scheduler " (scheduler.id) } {
            div.bar {
                h2 { (clip(&scheduler.id)) " " span.faint { (clip(&scheduler.name)) } }
                (actions(visit, queue, scheduler))
            }
            dl.pairs {
                dt { "Schedule" } dd { (schedule(visit, queue, scheduler, now)) }
                @if scheduler.overlap == Overlap::Skip { dt { "Overlap" } dd { "a run is skipped while the one before it runs" } }
                @if scheduler.catch_up > 0 { dt { "Missed runs" } dd { "up to " (scheduler.catch_up) " are made up" } }
                dt { "Next run" }
                dd {
                    (exactly(Some(scheduler.next_run), now)) " " a href=(visit.links.job(queue, &next)) { "its job" }
                    @if is_late { " " span.bad { "overdue: it waits for a worker" } }
                }
                @if let Some(runs) = scheduler.iteration_count { dt { "Runs so far" } dd { (count(runs)) } }
                dt { "Last runs" } dd { (history(visit, queue, scheduler, last, now)) }
                dt { "After that" } dd { (coming(visit, queue, scheduler, now)) }
                @for (name, sentence) in options.as_deref().map(words::options).unwrap_or_default() { dt { (name) } dd { (clip(&sentence)) } }
            }
            @if let Some(data) = data { details { summary { "Data of its jobs" } (tree(&data)) } }
        }
    }
}

pub(super) fn schedule(visit: &Visit, queue: &str, scheduler: &JobScheduler, now: SystemTime) -> Markup {
    let text = |text: &str| visit.text(queue, &scheduler.name, Field::Other, text);
    html! {
        @if let Some(pattern) = &scheduler.pattern { code { (text(pattern)) } @if let Some(zone) = &scheduler.tz { " in " (text(zone)) } }
        @else if let Some(every) = scheduler.every { "every " (span(every)) }
        @else { span.bad { "none that can be read" } }
        @if let Some(limit) = scheduler.limit { ", " (count(limit)) " times at most" }
        @if let Some(start) = scheduler.start_date.filter(|start| *start > now) { ", from " (exactly(Some(start), now)) }
        @if let Some(end) = scheduler.end_date { ", until " (exactly(Some(end), now)) }
    }
}

/// Shows the runs that follow the next one. If that is overdue, those that were missed are not made up.
fn coming(visit: &Visit, queue: &str, scheduler: &JobScheduler, now: SystemTime) -> Markup {
    let after = scheduler.next_run.max(now);
    let (repeat, from) = match (&scheduler.pattern, scheduler.every) {
        (Some(pattern), _) => (Repeat::cron(pattern.clone()), after),
        (None, Some(every)) => {
            let from = last_slot(scheduler.next_run, every, after);
            (Repeat::every(every).start_date(from), from)
        }
        (None, None) => return html! { span.none { "–" } },
    };
    // With an interval, the first is the slot that is over or about to run.
    let runs = match planned(repeat, scheduler).next_runs(RUNS + 1, from) {
        Ok(runs) => runs,
        Err(error) => return html! { span.bad { (visit.problem(queue, &error.to_string())) } },
    };
    let left = scheduler.limit.map_or(u64::MAX, |limit| limit.saturating_sub(scheduler.iteration_count.unwrap_or(0)));
    let left = usize::try_from(left).unwrap_or(usize::MAX).min(RUNS);
    let runs: Vec<SystemTime> = runs.into_iter().filter(|run| *run > after).take(left).collect();
    html! {
        @if runs.is_empty() { span.none { "none: it ends" } }
        @for (n, run) in runs.into_iter().enumerate() {
            @if n > 0 { ", " }
            (when(Some(run), now))
        }
    }
}

/// Returns the last slot of an interval that is not after a moment.
fn last_slot(first: SystemTime, every: Duration, moment: SystemTime) -> SystemTime {
    let (since, every) = (moment.duration_since(first).unwrap_or_default().as_millis(), every.as_millis().max(1));
    let slots = u64::try_from(since / every * every).unwrap_or(u64::MAX);
    first.checked_add(Duration::from_millis(slots)).unwrap_or(first)
}

/// Returns a schedule with the zone, the seed and the end of a scheduler.
fn planned(mut repeat: Repeat, scheduler: &JobScheduler) -> Repeat {
    if scheduler.pattern.is_some() {
        if let Some(zone) = &scheduler.tz {
            repeat = repeat.tz(zone.clone());
        }
        if let Some(seed) = &scheduler.hash_seed {
            repeat = repeat.hash_seed(seed.clone());
        }
    }
    match scheduler.end_date {
        Some(end) => repeat.end_date(end),
        None => repeat,
    }
}

fn actions(visit: &Visit, queue: &str, scheduler: &JobScheduler) -> Markup {
    let to = visit.links.part(queue, "schedulers");
    let form = |action: Action, label: &str, class: &str| {
        html! {
            form method="post" action=(to) {
                (visit.token.field())
                input type="hidden" name="id" value=(scheduler.id);
                input type="hidden" name="next" value=(epoch_ms(scheduler.next_run));
                button class=(class) name="do" value=(action) { (label) }
            }
        }
    };
    html! {
        div.actions {
            @if visit.may(queue, Action::RunScheduler) { (form(Action::RunScheduler, "Run now", "")) }
            @if visit.may(queue, Action::ChangeScheduler) { (change(visit, queue, &to, scheduler)) }
            @if visit.may(queue, Action::RemoveScheduler) {
                (asking("Remove…", "There will be no further runs, and the next one is removed.", form(Action::RemoveScheduler, "Remove it", "danger")))
            }
        }
    }
}

/// Shows a form with the present values.
fn change(visit: &Visit, queue: &str, to: &str, scheduler: &JobScheduler) -> Markup {
    let every = scheduler.every.filter(|_| scheduler.pattern.is_none()).map(spelled);
    let field = |name: &str, label: &str, value: &str, placeholder: &str| {
        html! { label { (label) " " input name=(name) value=(value) placeholder=(placeholder) autocomplete="off" spellcheck="false"; } }
    };
    let text = |text: Option<&str>| visit.problem(queue, text.unwrap_or_default());
    let limit = scheduler.limit.map(|limit| limit.to_string());
    let end = scheduler.end_date.map(iso);
    html! {
        details.ask {
            summary.button { "Change…" }
            div.popup {
                p { "Name, data and options of its jobs stay as they are. By another interval it runs at once, and then as it says. A program that \
                    upserts this scheduler when it starts sets its own schedule again." }
                form method="post" action=(to) {
                    (visit.token.field())
                    input type="hidden" name="id" value=(scheduler.id);
                    (field("every", "Interval", every.as_deref().unwrap_or_default(), "15 min"))
                    (field("pattern", "or cron pattern", &text(scheduler.pattern.as_deref()), "0 3 * * *"))
                    (field("tz", "Time zone of the pattern", &text(scheduler.tz.as_deref()), "Europe/Berlin"))
                    (field("limit", "Maximum number of runs from now on", limit.as_deref().unwrap_or_default(), "no limit"))
                    (field("end", "No run after, in UTC", end.as_deref().unwrap_or_default(), "2030-12-31 18:00"))
                    button name="do" value=(Action::ChangeScheduler) { "Change it" }
                }
            }
        }
    }
}
