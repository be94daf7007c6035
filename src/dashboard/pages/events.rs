//! The page of a queue's events, live.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::crumbs;
use super::layout::{Page, Tab};
use crate::clock::from_epoch_ms;
use crate::dashboard::format::moment::iso;
use crate::dashboard::redaction::Field;
use crate::dashboard::redaction::secrets::read;
use crate::dashboard::request::links::unsegment;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;
use crate::events::Delivery;
use crate::wire::{EventId, QueueEvent};

/// The kinds of events to choose from.
const KINDS: [&str; 12] = [
    "added",
    "waiting",
    "active",
    "completed",
    "failed",
    "delayed",
    "progress",
    "stalled",
    "removed",
    "deduplicated",
    "waiting-children",
    "drained",
];

pub(in crate::dashboard) async fn page(visit: Visit, Path(name): Path<String>) -> Response {
    let page = build(&visit, unsegment(&name));
    visit.answer(page)
}

fn build(visit: &Visit, name: &str) -> Result<Page, Problem> {
    visit.queue(name)?;
    let body = html! {
        (crumbs(&visit.links, name, &["events"]))
        div.head { h1 { "Events of " (name) } }
        form #event-filter.filter.js {
            fieldset {
                legend { "Kinds" }
                @for kind in KINDS { label.check { input type="checkbox" name="kind" value=(kind) checked; (kind) } }
            }
            label { "Job id" input #event-job autocomplete="off"; }
            button #event-pause type="button" aria-pressed="false" { "Pause" }
            button #event-clear type="button" { "Clear" }
        }
        noscript { p.warning { "This page needs JavaScript to show events." } }
        p #event-state.faint role="status" { "Connecting …" }
        ol #events.events data-events=(visit.links.part(name, "events/live")) aria-label="Events, the newest first" {}
    };
    Ok(Page { title: format!("Events of {name}"), tab: Tab::Queues, live: None, body })
}

/// Renders a line of the list, which a script adds; with its kind and job, for filtering.
pub(in crate::dashboard) fn line(visit: &Visit, queue: &str, delivery: &Delivery) -> Markup {
    match delivery {
        Delivery::Event { id, event } => happened(visit, queue, *id, event),
        Delivery::Gap { .. } => html! { li.bad { "Some events were trimmed before they could be read." } },
        Delivery::Lagged { missed } => html! { li.bad { (missed) " events came too quickly to be shown." } },
        Delivery::Refused { problem } => {
            html! { li.bad { "The server does not permit to read the events: " (visit.problem(queue, &problem.to_string())) } }
        }
        Delivery::Restarted { .. } => html! { li.bad { "The reader of events was started again." } },
    }
}

/// Returns the fields of an event that BullMQ does not know as JSON, so that what sounds like a secret is redacted by
/// its name, also in JSON that one of them holds.
fn members(fields: &[(String, String)]) -> String {
    let value = |text: &String| read(text).unwrap_or_else(|| text.as_str().into());
    let members = fields.iter().map(|(name, text)| (name.clone(), value(text)));
    Value::Object(members.collect()).to_string()
}

fn happened(visit: &Visit, queue: &str, id: EventId, event: &QueueEvent) -> Markup {
    let at = iso(from_epoch_ms(id.ms()));
    let text = |field, text: &str| visit.text(queue, "", field, text);
    let more = match event {
        QueueEvent::Added { name: Some(name), .. } => name.clone(),
        QueueEvent::Completed { return_value, .. } => visit.json(queue, "", Field::ReturnValue, return_value.as_str()),
        QueueEvent::Failed { failed_reason: Some(reason), .. } => text(Field::FailedReason, reason),
        QueueEvent::Progress { data, .. } => visit.json(queue, "", Field::Progress, data.as_str()),
        QueueEvent::Waiting { prev: Some(prev), .. } => format!("was {prev}"),
        QueueEvent::Removed { prev: Some(prev), .. } => format!("was {prev}"),
        QueueEvent::Delayed { due: Some(_), .. } => "until ".to_owned(),
        QueueEvent::Deduplicated { deduplication_id: Some(id), .. } => format!("by {}", text(Field::Other, id)),
        QueueEvent::Cleaned { count: Some(count) } => format!("{count} jobs"),
        QueueEvent::Other { fields, .. } => visit.json(queue, "", Field::Other, &members(fields)),
        _ => String::new(),
    };
    let more: String = more.chars().take(300).collect();
    html! {
        li data-kind=(event.name()) data-job=[event.job_id()] {
            time data-clock datetime=(at) { (at) }
            span class={ "badge " (event.name()) } { (event.name()) }
            @if let Some(id) = event.job_id() { a href=(visit.links.job(queue, id)) { (id) } }
            span.more {
                (more)
                @if let QueueEvent::Delayed { due: Some(due), .. } = event { time data-exact datetime=(iso(*due)) { (iso(*due)) } }
            }
        }
    }
}
