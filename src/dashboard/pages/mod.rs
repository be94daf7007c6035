//! The pages, a file for each.

pub(super) mod add;
mod choices;
pub(super) mod doctor;
pub(super) mod events;
mod figures;
pub(super) mod flow;
mod grouping;
pub(super) mod job;
pub(super) mod latest;
mod layout;
mod log;
pub(super) mod overview;
pub(super) mod queue;
pub(super) mod repeats;
pub(super) mod schedulers;
pub(super) mod search;
pub(super) mod server;
mod stored;
mod timeline;
pub(super) mod work;
pub(super) mod workers;

use maud::{Markup, html};

use crate::dashboard::background::survey::Overview;
use crate::dashboard::request::links::Links;
use crate::state::JobState;

/// The states in the order in which a job goes through them.
pub(super) const STATES: [JobState; 8] = [
    JobState::Waiting,
    JobState::Prioritized,
    JobState::Paused,
    JobState::Active,
    JobState::Delayed,
    JobState::WaitingChildren,
    JobState::Failed,
    JobState::Completed,
];

/// Shows a state as a coloured word.
pub(super) fn badge(state: JobState) -> Markup {
    html! { span class={ "badge " (state) } { (state) } }
}

/// Shows the path from the list of queues to a page.
pub(super) fn crumbs(links: &Links, queue: &str, rest: &[&str]) -> Markup {
    html! {
        nav.crumbs aria-label="Where you are" {
            a href=(links.home()) { "Queues" }
            span aria-hidden="true" { "/" }
            @if rest.is_empty() {
                span aria-current="page" { (queue) }
            } @else {
                a href=(links.queue(queue)) { (queue) }
            }
            @for (n, part) in (1..).zip(rest) {
                span aria-hidden="true" { "/" }
                span aria-current=[(n == rest.len()).then_some("page")] { (part) }
            }
        }
    }
}

/// Shows a number with its name.
pub(super) fn tile(name: &str, figure: impl maud::Render, class: &str) -> Markup {
    html! { div class={ "tile " (class) } { span.figure { (figure) } span.name { (name) } } }
}

/// Tells that Redis does not answer, on a page that shows what was read before.
fn trouble(overview: &Overview) -> Markup {
    html! {
        @if let Some(why) = &overview.trouble {
            div.warning role="alert" {
                p { "Redis does not answer. What is shown was read before; the dashboard keeps trying to connect." }
                pre.raw { (why) }
            }
        }
    }
}

/// Shows a button that asks for confirmation: a second click, which works without scripts too.
pub(super) fn asking(label: &str, question: &str, form: Markup) -> Markup {
    html! {
        details.ask {
            summary.button { (label) }
            div.popup { p { (question) } (form) }
        }
    }
}
