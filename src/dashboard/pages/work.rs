//! The page of an action in the background, with its progress.

use std::sync::atomic::Ordering;

use axum::extract::Path;
use axum::response::Response;
use maud::html;

use super::layout::{Page, Tab};
use crate::dashboard::background::works::Work;
use crate::dashboard::format::moment::count;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;

pub(in crate::dashboard) async fn page(visit: Visit, Path(id): Path<String>) -> Response {
    let page = match visit.app.works.find(&id) {
        Some(work) if visit.may_see_work(&work) => Ok(build(&visit, &id, &work)),
        _ => Err(Problem::no_page()),
    };
    visit.answer(page)
}

fn build(visit: &Visit, id: &str, work: &Work) -> Page {
    let [looked_at, done, left_out, unknown] =
        [&work.looked_at, &work.done, &work.left_out, &work.unknown].map(|figure| figure.load(Ordering::Relaxed));
    let end = work.end();
    let body = html! {
        div.head { h1 { (work.title) } }
        section #work.box data-swap {
            @match &end {
                None => p role="status" { @if work.is_stopping() { "Stopping …" } @else { "Running. You may close this page; the work goes on." } },
                Some(Ok(text)) => p.done role="status" { (text) },
                Some(Err(problem)) => {
                    p.bad role="alert" { "It failed. What is done stays done; run it again for the rest." }
                    pre.raw { (problem) }
                }
            }
            progress aria-label="Progress" max=(work.total.max(1)) value=(if end.as_ref().is_some_and(Result::is_ok) { work.total.max(1) } else { looked_at.min(work.total) }) {}
            dl.pairs {
                dt { "Done" } dd { (count(done)) }
                dt { "Left out" } dd { (count(left_out)) }
                @if unknown > 0 { dt { "Not known" } dd { (count(unknown)) } }
                dt { "Looked at" } dd { (count(looked_at)) " of about " (count(work.total)) }
            }
            @if end.is_none() {
                form method="post" action=(visit.links.to(&format!("/work/{id}"))) { (visit.token.field()) button { "Stop" } }
            } @else {
                a.button href=(work.back) { @if work.queues.len() == 1 { "Back to the queue" } @else { "Back to all queues" } }
            }
        }
    };
    let live = end.is_none().then(|| format!("of=work&work={id}"));
    Page { title: format!("{} in {}", work.action, work.place()), tab: Tab::Queues, live, body }
}
