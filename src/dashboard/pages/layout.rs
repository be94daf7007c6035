//! The frame of all pages, and the response with it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::dashboard::assets;
use crate::dashboard::request::forms;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;

/// The contents of a page; the frame is the same for all.
pub(in crate::dashboard) struct Page {
    pub(in crate::dashboard) title: String,
    pub(in crate::dashboard) tab: Tab,
    /// What the page watches: the query of the stream that tells when to refresh.
    pub(in crate::dashboard) live: Option<String>,
    pub(in crate::dashboard) body: Markup,
}

/// The place of a page in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) enum Tab {
    Queues,
    Workers,
    Schedulers,
    Doctor,
    Server,
    Search,
}

impl Visit {
    /// Renders a page or a problem, in the frame of all pages.
    pub(in crate::dashboard) fn answer(&self, page: Result<Page, Problem>) -> Response {
        let (status, page) = match page {
            Ok(page) => (StatusCode::OK, page),
            Err(problem) => {
                let detail = problem.detail.as_ref().map(|detail| self.problem("", detail));
                let problem = Problem { detail, ..problem };
                let body = problem.body(&self.links.home(), self.back().as_deref());
                (problem.status, Page { title: problem.title, tab: Tab::Search, live: None, body })
            }
        };
        let mut response = (status, frame(self, &page).into_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.token.keep(headers, &self.links);
        if self.flash.is_some() {
            forms::clear_flash(headers, &self.links);
        }
        response
    }
}

fn frame(visit: &Visit, page: &Page) -> Markup {
    let links = &visit.links;
    let live = page.live.as_ref().map(|query| links.to(&format!("/live?{query}")));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (page.title) " · " (visit.app.title) }
                link rel="stylesheet" href=(links.to(&assets::path("app.css")));
                link rel="icon" type="image/svg+xml" href=(links.to(&assets::path("icon.svg")));
                script src=(links.to(&assets::path("app.js"))) defer {}
            }
            body data-live=[live] {
                a.skip href="#main" { "Skip to the content" }
                (top(visit, page))
                main #main tabindex="-1" {
                    @if let Some(told) = &visit.flash { p.flash role="status" { (told) } }
                    (page.body)
                }
                footer {
                    span { "prefix " code { (visit.app.client.prefix()) } }
                    span { "oxmq " (env!("CARGO_PKG_VERSION")) }
                    span.js { "Press " kbd { "?" } " for keys" }
                }
                (keys())
            }
        }
    }
}

fn top(visit: &Visit, page: &Page) -> Markup {
    let links = &visit.links;
    let tab = |tab: Tab, path: String, name: &str| {
        let current = (page.tab == tab).then_some("page");
        html! { a href=(path) aria-current=[current] { (name) } }
    };
    html! {
        header.top {
            a.brand href=(links.home()) {
                svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true" { (assets::mark()) }
                span { (visit.app.title) }
            }
            nav aria-label="Main" {
                (tab(Tab::Queues, links.home(), "Queues"))
                (tab(Tab::Workers, links.to("/workers"), "Workers"))
                (tab(Tab::Schedulers, links.to("/schedulers"), "Schedulers"))
                (tab(Tab::Doctor, links.to("/doctor"), "Doctor"))
                (tab(Tab::Server, links.to("/server"), "Server"))
            }
            form.search role="search" action=(links.to("/search")) {
                label.hidden for="search" { "Search for a queue or a job's id" }
                input #search type="search" name="q" placeholder="Queue or job id" autocomplete="off" spellcheck="false";
                kbd.js aria-hidden="true" { "/" }
            }
            @if page.live.is_some() {
                button.live.js #live type="button" aria-pressed="true" title="Follow what happens" {
                    span.dot aria-hidden="true" {} "Live"
                }
            }
        }
    }
}

fn keys() -> Markup {
    let keys = [
        ("/", "search"),
        ("j k", "next and previous row"),
        ("Enter", "open the row"),
        ("x", "select the row"),
        ("g q", "go to all queues"),
        ("g w", "go to the workers"),
        ("g s", "go to the schedulers of all queues"),
        ("g d", "go to the doctor"),
        ("l", "follow what happens, or stop"),
        ("Esc", "close what was opened"),
        ("?", "this list"),
    ];
    html! {
        dialog #keys aria-labelledby="keys-title" {
            h2 #keys-title { "Keys" }
            dl.pairs {
                @for (key, what) in keys { dt { @for key in key.split(' ') { kbd { (key) } " " } } dd { (what) } }
            }
            form method="dialog" { button { "Close" } }
        }
    }
}
