//! The page of the doctor's findings.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::asking;
use super::layout::{Page, Tab};
use crate::dashboard::access::Action;
use crate::dashboard::background::checkup::{Checkup, Running};
use crate::dashboard::format::json::clip;
use crate::dashboard::format::moment::{count, many, when};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::doctor::{Diagnosis, Finding, FindingKind, Stage};

/// How many rows the table of memory has.
const WEIGHTS: usize = 30;

/// How many things that were left out are listed.
const LEFT_OUT: usize = 100;

pub(in crate::dashboard) async fn page(visit: Visit, Query(params): Query<Params>) -> Response {
    let page = if visit.may_see_any().await { Ok(build(&visit, &params)) } else { Err(Problem::nothing_seen()) };
    visit.answer(page)
}

fn build(visit: &Visit, params: &Params) -> Page {
    let checkups = &visit.app.checkups;
    let body = html! {
        div.head { h1 { "Doctor" } }
        p.hint {
            "It looks for what no page shows by itself: ids without jobs, jobs in no list, active jobs that nobody holds, parents \
             that can never run, stopped schedulers, what is left of jobs that are gone. It looks twice, so that what is in motion \
             is not accused, and changes nothing. It goes in small steps: workers go on meanwhile."
        }
        div #checkup data-swap {
            @match checkups.running() {
                Some(running) => (under_way(visit, &running)),
                None => (form(visit, params)),
            }
            @if let Some(last) = checkups.last(|queue| visit.may_see(queue)) { (ended(visit, &last)) }
        }
    };
    Page { title: "Doctor".into(), tab: Tab::Doctor, live: Some("of=doctor".into()), body }
}

fn form(visit: &Visit, params: &Params) -> Markup {
    html! {
        form.filter.box method="post" action=(visit.links.to("/doctor")) {
            (visit.token.field())
            label { "Only the queue " input type="search" name="queue" value=(given(params, "queue").unwrap_or_default()) placeholder="All queues" spellcheck="false"; }
            label.check { input type="checkbox" name="memory" value="1"; " Weigh jobs, by state and name" }
            button name="do" value="examine" { "Examine" }
        }
    }
}

/// Returns how far it is in words, and in numbers: of the queues that the visitor sees.
fn progress(visit: &Visit, running: &Running) -> (String, u64, u64) {
    let seen: Vec<&String> = running.names.iter().filter(|name| visit.may_see(name)).collect();
    let of = seen.len() as u64;
    match running.stage() {
        None => ("The server".to_owned(), 0, 1),
        Some(Stage::Queue { name, .. }) => {
            let before = seen.iter().filter(|other| ***other < name).count() as u64;
            match seen.contains(&&name) {
                true => (format!("Queue {} of {}: {name}", count(before + 1), count(of)), before, of),
                false => ("Queues".to_owned(), before, of),
            }
        }
        Some(Stage::Keys { looked_at, of }) => {
            (format!("{} keys of the server, {} at most", count(looked_at), count(of)), looked_at, of)
        }
        Some(_) if seen.len() < running.names.len() => ("It takes a second look".to_owned(), 1, 1),
        Some(stage) => (format!("It takes {stage}"), 1, 1),
    }
}

fn under_way(visit: &Visit, running: &Running) -> Markup {
    let (text, done, of) = progress(visit, running);
    html! {
        section.box {
            p role="status" { "Running; you may close this page. " (clip(&text)) "." }
            progress aria-label="Progress" max=(of.max(1)) value=(done.min(of)) {}
            form method="post" action=(visit.links.to("/doctor")) { (visit.token.field()) button name="do" value="stop" { "Stop" } }
        }
    }
}

fn ended(visit: &Visit, last: &Checkup) -> Markup {
    let now = visit.app.now();
    let queues = last.names.iter().filter(|name| visit.may_see(name)).count();
    html! {
        section aria-labelledby="found" {
            h2 #found { "The last examination" }
            p.faint { (many(queues as u64, "queue")) " and the server, " (when(Some(last.ended), now)) }
            @match &last.outcome {
                Err(problem) => { p.bad role="alert" { "It broke off: try again." } pre.raw { (visit.problem("", problem)) } }
                Ok(report) => (report_of(visit, last, report)),
            }
        }
    }
}

fn report_of(visit: &Visit, last: &Checkup, report: &Diagnosis) -> Markup {
    let is_seen = |queue: &Option<String>| queue.as_deref().is_none_or(|queue| visit.may_see(queue));
    let findings: Vec<&Finding> = report.findings.iter().filter(|finding| is_seen(&finding.queue)).collect();
    let left_out = report.left_out.iter().filter(|left| is_seen(&left.queue));
    let left_out: Vec<String> = left_out.map(|left| visit.problem("", &left.to_string())).collect();
    html! {
        @if findings.is_empty() { p.done { "Nothing is wrong." } }
        @for finding in findings { (one(visit, last, finding)) }
        @if !left_out.is_empty() {
            details.box {
                summary { "Not looked at (" (count(left_out.len() as u64)) ")" }
                ul { @for text in left_out.iter().take(LEFT_OUT) { li { (clip(text)) } } }
            }
        }
        (weights(visit, report))
        (peers(visit, report))
    }
}

fn one(visit: &Visit, last: &Checkup, finding: &Finding) -> Markup {
    let queue = finding.queue.as_deref();
    // Its number among those of its queue: what others have is nothing of a form's.
    let mut its = (0_usize..).zip(last.of(queue)).filter(|(_, (_, found))| std::ptr::eq(*found, finding));
    let (number, place) = its.next().map_or((0, None), |(number, (place, _))| (number, Some(place)));
    let may_mend = finding.kind.can_be_mended() && queue.is_some_and(|queue| visit.may(queue, Action::Mend));
    let form = html! {
        form method="post" action=(visit.links.to("/doctor")) {
            (visit.token.field())
            input type="hidden" name="checkup" value=(last.id);
            input type="hidden" name="queue" value=[queue];
            input type="hidden" name="finding" value=(number);
            button name="do" value="mend" { "Mend it" }
        }
    };
    html! {
        section.box aria-label={ (finding.kind) " of " (queue.unwrap_or("the server")) } {
            div.bar {
                h3 {
                    @match queue { Some(queue) => a href=(visit.links.queue(queue)) { (queue) }, None => "The server" }
                    " " span.faint { (finding.kind) }
                }
                @match place.and_then(|place| last.mended(place)) {
                    Some(mended) => span.done { (count(mended)) " mended" },
                    None if may_mend => div.actions { (asking("Mend…", "Each finding is checked once more first. No job's data is deleted.", form)) },
                    None => {}
                }
            }
            p { (clip(&visit.problem(queue.unwrap_or_default(), &finding.detail))) }
            @if let Some(queue) = queue && !finding.examples.is_empty() { (examples(visit, queue, finding)) }
            p.hint { (finding.kind.advice()) }
        }
    }
}

fn examples(visit: &Visit, queue: &str, finding: &Finding) -> Markup {
    let are_jobs =
        matches!(finding.kind, FindingKind::LostJobs | FindingKind::ActiveWithoutLock | FindingKind::StuckParents);
    html! {
        p {
            @for (n, id) in finding.examples.iter().enumerate() {
                @if n > 0 { ", " }
                @if are_jobs { a href=(visit.links.job(queue, id)) { (clip(id)) } } @else { code { (clip(id)) } }
            }
            @if finding.count > finding.examples.len() as u64 { ", …" }
        }
    }
}

fn weights(visit: &Visit, report: &Diagnosis) -> Markup {
    let mut rows: Vec<_> = report.names.iter().filter(|weight| visit.may_see(&weight.queue)).collect();
    rows.sort_by_key(|weight| std::cmp::Reverse(weight.about.saturating_mul(weight.bytes_each)));
    let mib = |bytes: u64| count(bytes / (1024 * 1024));
    html! {
        @if !rows.is_empty() {
            h2 { "What jobs weigh" }
            p.hint { "Estimated from a sample of each state. The numbers of jobs are about right if the names are mixed." }
            div.scroll { table.rows {
                thead { tr {
                    th scope="col" { "Queue" } th scope="col" { "State" } th scope="col" { "Name" }
                    th.num scope="col" { "Jobs, about" } th.num scope="col" { "Bytes each" } th.num scope="col" { "MiB" }
                } }
                tbody { @for weight in rows.iter().take(WEIGHTS) { tr {
                    th scope="row" { a href=(visit.links.queue(&weight.queue)) { (weight.queue) } }
                    td { (weight.state) }
                    td { (clip(&weight.name)) }
                    td.num { (count(weight.about)) }
                    td.num { (count(weight.bytes_each)) }
                    td.num { (mib(weight.about.saturating_mul(weight.bytes_each))) }
                } } }
            } }
        }
    }
}

/// Shows which libraries use the queues.
fn peers(visit: &Visit, report: &Diagnosis) -> Markup {
    let mut libraries: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for (_, version) in report.versions.iter().filter(|(queue, _)| visit.may_see(queue)) {
        *libraries.entry(format!("settings of queues by {version}")).or_default() += 1;
    }
    for ((_, library), workers) in report.peers.iter().filter(|((queue, _), _)| visit.may_see(queue)) {
        *libraries.entry(format!("workers by {library}")).or_default() += workers;
    }
    html! {
        @if !libraries.is_empty() {
            h2 { "Who works on these queues" }
            dl.pairs { @for (what, number) in &libraries { dt { (clip(&visit.problem("", what))) } dd { (count(*number)) } } }
        }
    }
}
