//! The page of a job, with everything known about it.

use std::time::SystemTime;

use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{Page, Tab};
use super::stored::{StoredJob, read};
use super::{asking, badge, crumbs, flow, log, queue, timeline};
use crate::dashboard::access::Action;
use crate::dashboard::format::json::{clip, tree};
use crate::dashboard::format::moment::{count, exactly, many, when};
use crate::dashboard::format::words;
use crate::dashboard::redaction::Field;
use crate::dashboard::redaction::secrets::COVER;
use crate::dashboard::request::links::{query, unsegment};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::error::WithCauses;
use crate::state::JobState;

/// Longer fields of the hash are linked only.
const LONGEST: usize = 64 * 1024;

pub(in crate::dashboard) async fn page(
    visit: Visit,
    Path((name, id)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Response {
    let page = build(&visit, unsegment(&name), unsegment(&id), &params).await;
    visit.answer(page)
}

async fn build(visit: &Visit, name: &str, id: &str, params: &Params) -> Result<Page, Problem> {
    let queue = visit.queue(name)?;
    let known = read(&queue, id).await?;
    let family = flow::family(visit, &queue, &known, params).await?;
    let steps = timeline::read(&queue, &known).await;
    let logs = log::show(visit, &queue, &known, params).await?;
    let now = visit.app.now();
    let body = html! {
        (crumbs(&visit.links, name, &["job", id]))
        (head(visit, name, &known))
        @if let Err(error) = &known.job {
            p.warning role="alert" { "This job cannot be read: " (visit.problem(name, &WithCauses(error).to_string())) " Workers cannot read it either. Its stored fields are below." }
        }
        div.columns {
            div.wide {
                (failure(visit, name, &known))
                (json_box(visit, name, &known, "data", "Data", Field::Data))
                (edit_data(visit, name, &known))
                (json_box(visit, name, &known, "returnvalue", "Result", Field::ReturnValue))
                (family)
                (logs)
            }
            aside.narrow aria-label="About the job" {
                (facts(visit, name, &known, now))
                (timeline::show(&steps, &known, now))
                (options(visit, name, &known))
            }
        }
        (raw_hash(visit, name, &known))
    };
    let live = format!("of=job&queue={}&job={}", query(name), query(id));
    Ok(Page { title: format!("{} {id}", known.name()), tab: Tab::Queues, live: Some(live), body })
}

fn head(visit: &Visit, queue: &str, known: &StoredJob) -> Markup {
    html! {
        div.head {
            h1 { (clip(known.name())) " " span.id { (clip(&known.id)) } " " span #state data-swap { (badge(known.state)) } }
            div.actions { (actions(visit, queue, known)) }
        }
    }
}

fn actions(visit: &Visit, queue: &str, known: &StoredJob) -> Markup {
    let to = visit.links.job(queue, &known.id);
    let may = |action| visit.may(queue, action);
    let form = |action: Action, class: &str, inner: Markup| {
        html! {
            form method="post" action=(to) {
                (visit.token.field())
                (inner)
                button class=(class) name="do" value=(action) { (label(action)) }
            }
        }
    };
    html! {
        @if known.state.is_finished() && may(Action::Retry) {
            (form(Action::Retry, "primary", html! {}))
        }
        @if known.state == JobState::Delayed && may(Action::Promote) {
            (form(Action::Promote, "primary", html! {}))
        }
        @if known.state == JobState::Delayed && may(Action::ChangeDelay) {
            (asking("Delay…", "How long from now, or until when in UTC?", form(Action::ChangeDelay, "", html! {
                label { span.hidden { "Delay" } input name="delay" placeholder="15 min, or 2030-12-31 18:00" autocomplete="off" required; }
            })))
        }
        @if !known.state.is_finished() && known.state != JobState::Active && may(Action::ChangePriority) {
            (asking("Priority…", "1 goes first; 0 goes before all jobs with a priority.", form(Action::ChangePriority, "", html! {
                label { span.hidden { "Priority" }
                    input type="number" name="priority" min="0" max="2097151" value=(known.field("priority").unwrap_or("0")) required; }
                label.check { input type="checkbox" name="lifo" value="1"; "before others of this priority" }
            })))
        }
        @if !known.state.is_finished() && known.state != JobState::Unknown && may(Action::Cancel) {
            (asking("Cancel…", "If a worker runs the job, it is asked to stop it; otherwise the job fails without a run. There is no further attempt.",
                form(Action::Cancel, "danger", html! {
                    label { span.hidden { "Reason" } input name="reason" placeholder="reason" autocomplete="off"; }
                })))
        }
        @if known.state == JobState::WaitingChildren && may(Action::RemoveChildren) {
            (asking("Remove children…", "The children that it waits for are deleted, also those in other queues, but for those that run or have failed. If none is left, it runs.",
                form(Action::RemoveChildren, "danger", html! {})))
        }
        @if may(Action::Add) {
            a.button href={ (visit.links.part(queue, "add")) "?like=" (query(&known.id)) } { "Add one like it" }
        }
        @if may(Action::Remove) {
            (asking("Remove…", "The job, its log and its children, also those in other queues, are deleted.", form(Action::Remove, "danger", html! {})))
        }
    }
}

fn label(action: Action) -> &'static str {
    match action {
        Action::Retry => "Retry",
        Action::Promote => "Run now",
        Action::ChangeDelay => "Change the delay",
        Action::ChangePriority => "Change the priority",
        Action::Cancel => "Cancel it",
        Action::RemoveChildren => "Remove the children",
        _ => "Remove it",
    }
}

/// Shows why it failed: each error in full, the latest first.
fn failure(visit: &Visit, queue: &str, known: &StoredJob) -> Markup {
    let Ok(job) = &known.job else { return html! {} };
    let reason = job.failed_reason().map(|reason| visit.text(queue, job.name(), Field::FailedReason, reason));
    let traces: Vec<String> =
        job.stacktrace().iter().rev().map(|trace| visit.text(queue, job.name(), Field::Stacktrace, trace)).collect();
    let deferred = job.deferred_failure().map(|reason| visit.text(queue, job.name(), Field::FailedReason, reason));
    html! {
        div #failure data-swap {
            @if reason.is_some() || !traces.is_empty() || deferred.is_some() {
                section.box.error aria-labelledby="failure-title" {
                    h2 #failure-title { @if known.state == JobState::Failed { "Why it failed" } @else { "What failed so far" } }
                    @if let Some(reason) = reason { p.reason { (clip(&reason)) } }
                    @if let Some(deferred) = deferred { p.reason { "It will fail when a worker takes it: " (clip(&deferred)) } }
                    @for (number, trace) in traces.iter().enumerate() {
                        details open[number == 0] {
                            summary { "Error " (traces.len() - number) " of " (traces.len()) ": " (trace.lines().next().unwrap_or_default()) }
                            pre.raw { (clip(trace)) }
                        }
                    }
                }
            }
        }
    }
}

fn json_box(visit: &Visit, queue: &str, known: &StoredJob, name: &str, title: &str, field: Field) -> Markup {
    let text = known.field(name).map(|text| visit.json(queue, known.name(), field, text));
    let raw = format!("{}/raw?field={name}", visit.links.job(queue, &known.id));
    html! {
        div id=(name) data-swap {
            @if let Some(text) = text {
                section.box aria-label=(title) {
                    div.bar {
                        h2 { (title) }
                        span.tools {
                            button.quiet.js type="button" data-copy=(raw) { "Copy" }
                            a href=(raw) { "Raw" }
                        }
                    }
                    (tree(&text))
                }
            }
        }
    }
}

fn edit_data(visit: &Visit, queue: &str, known: &StoredJob) -> Markup {
    let stored = known.field("data").unwrap_or("null");
    // A visitor who does not see all of the data would overwrite what is redacted.
    let is_whole = || visit.json(queue, known.name(), Field::Data, stored) == stored;
    let may = stored.len() < 100_000 && visit.may(queue, Action::ChangeData) && is_whole();
    html! {
        // Also of a failed job: it is retried with the mended data.
        @if may && known.state != JobState::Completed {
            details.edit {
                summary { "Change the data" }
                form method="post" action=(visit.links.job(queue, &known.id)) {
                    (visit.token.field())
                    label { "Data, as JSON" textarea name="data" rows="8" spellcheck="false" { (stored) } }
                    button name="do" value=(Action::ChangeData) { "Store the data" }
                }
            }
        }
    }
}

fn facts(visit: &Visit, queue: &str, known: &StoredJob, now: SystemTime) -> Markup {
    let Ok(job) = &known.job else { return html! {} };
    let other = |text: &str| visit.text(queue, job.name(), Field::Other, text);
    html! {
        section #facts.box aria-label="Facts" data-swap {
            dl.pairs {
                dt { "State" } dd { (badge(known.state)) }
                dt { "Attempts" } dd { (job.attempts_made()) " of " (job.attempts().max(1)) " made, " (job.attempts_started()) " started" }
                @if job.stalled_counter() > 0 { dt { "Stalled" } dd { (many(job.stalled_counter().into(), "time")) } }
                dt { "Progress" } dd { (queue::progress(visit, job)) }
                @if job.priority() > 0 { dt { "Priority" } dd { (job.priority()) } }
                @if known.state == JobState::Delayed { dt { "Due" } dd { (exactly(known.due, now)) } }
                @if let Some(worker) = queue::worker(visit, queue, job) { dt { "Worker" } dd { (clip(&worker)) } }
                @if let Some(id) = job.deduplication_id() { dt { "Deduplication" } dd { code { (clip(&other(id))) } } }
                @if let Some(scheduler) = job.repeat_job_key() {
                    dt { "Scheduler" } dd { a href=(visit.links.part(queue, "schedulers")) { (clip(&other(scheduler))) } }
                }
                @if let Some(parent) = job.parent_key() { dt { "Parent" } dd { (flow::link(visit, parent)) } }
                dt { "Added" } dd { (when(job.timestamp(), now)) }
            }
        }
    }
}

fn options(visit: &Visit, queue: &str, known: &StoredJob) -> Markup {
    let text = visit.json(queue, known.name(), Field::Options, known.field("opts").unwrap_or("{}"));
    let said = words::options(&text);
    html! {
        section.box aria-label="Options" {
            h2 { "Options" }
            @if said.is_empty() { p.faint { "None; the defaults apply." } }
            dl.pairs { @for (name, sentence) in &said { dt { (name) } dd { (clip(sentence)) } } }
            details { summary { "As stored" } (tree(&text)) }
        }
    }
}

/// Returns which part of a job a field of its hash is.
fn part(field: &str) -> Field {
    match field {
        "data" => Field::Data,
        "opts" => Field::Options,
        "returnvalue" => Field::ReturnValue,
        "progress" => Field::Progress,
        "failedReason" | "defa" => Field::FailedReason,
        "stacktrace" => Field::Stacktrace,
        _ => Field::Other,
    }
}

/// Returns a field of the hash as it may be shown.
fn shown(visit: &Visit, queue: &str, known: &StoredJob, name: &str, value: &str) -> String {
    match part(name) {
        Field::Other if visit.app.hooks.redaction.covers(name) => COVER.to_owned(),
        Field::Stacktrace => {
            // An array of texts, each of which is redacted separately.
            let Ok(traces) = serde_json::from_str::<Vec<String>>(value) else {
                return visit.text(queue, known.name(), Field::Stacktrace, value);
            };
            let traces: Vec<String> =
                traces.iter().map(|trace| visit.text(queue, known.name(), Field::Stacktrace, trace)).collect();
            serde_json::json!(traces).to_string()
        }
        field @ (Field::FailedReason | Field::Other) => visit.text(queue, known.name(), field, value),
        field => visit.json(queue, known.name(), field, value),
    }
}

fn raw_hash(visit: &Visit, queue: &str, known: &StoredJob) -> Markup {
    html! {
        details #hash.box {
            summary { "As stored in Redis" }
            p.faint { code { (visit.app.client.prefix()) ":" (queue) ":" (known.id) } }
            div.scroll {
                table.rows.hash {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } } }
                    tbody {
                        @for (name, value) in &known.fields {
                            tr { th scope="row" { code { (name) } } td { pre {
                                // It is above, or in the raw text, and takes long to be redacted.
                                @if value.len() > LONGEST { a href={ (visit.links.job(queue, &known.id)) "/raw?field=" (query(name)) } { (count(value.len() as u64)) " bytes" } }
                                @else { (clip(&shown(visit, queue, known, name, value))) }
                            } } }
                        }
                    }
                }
            }
        }
    }
}

/// Returns a field as plain text, for copying and for texts that are too long for the page.
pub(in crate::dashboard) async fn raw(
    visit: Visit,
    Path((name, id)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Response {
    match raw_field(&visit, unsegment(&name), unsegment(&id), &params).await {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
            (headers, text).into_response()
        }
        Err(problem) => visit.answer(Err(problem)),
    }
}

async fn raw_field(visit: &Visit, name: &str, id: &str, params: &Params) -> Result<String, Problem> {
    let known = read(&visit.queue(name)?, id).await?;
    let field = given(params, "field").unwrap_or("data");
    let value = known.field(field).ok_or_else(Problem::no_page)?;
    Ok(shown(visit, name, &known, field, value))
}
