//! The page of all queues.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::grouping::{self, Delimiter, Group};
use super::layout::{Page, Tab};
use super::{asking, tile, trouble};
use crate::dashboard::access::Action;
use crate::dashboard::background::survey::{Concern, Overview, Row, concerns, oldest};
use crate::dashboard::format::chart::{self, Series, WINDOWS};
use crate::dashboard::format::moment::{count, many, span, when};
use crate::dashboard::request::links::query;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::overview::QueueOverview;

/// How many queues are on one page.
const PER_PAGE: usize = 100;

/// How many queues that need attention are named.
const CONCERNS: usize = 6;

/// Of how many queues the wait and run time is shown.
const SLOWEST: usize = 5;

pub(in crate::dashboard) async fn page(visit: Visit, Query(params): Query<Params>) -> Response {
    let page = build(&visit, &params).await;
    visit.answer(page)
}

async fn build(visit: &Visit, params: &Params) -> Result<Page, Problem> {
    let overview = visit.app.overview().await;
    let now = visit.app.now();
    let seen: Vec<&Row> = overview.queues.iter().map(AsRef::as_ref).filter(|row| visit.may_see(&row.name)).collect();
    let body = html! {
        h1.hidden { "Queues" }
        div #trouble data-swap { (trouble(&overview)) }
        div #figures data-swap {
            // Numbers that were not read yet must not look like zero.
            @if !seen.is_empty() || !(overview.is_searching || overview.unread > 0) { (figures(&seen, &overview)) }
        }
        div #concerns data-swap { (attention(visit, &seen, &overview, now)) }
        div #slowest data-swap { (slowest(visit, &seen)) }
        (table(visit, params, &seen, &overview, now))
        (all_queues(visit, params, &seen))
    };
    Ok(Page { title: "Queues".into(), tab: Tab::Queues, live: Some("of=queues".into()), body })
}

fn read(row: &Row) -> Option<&QueueOverview> {
    row.found.as_ref().ok()
}

fn figures(seen: &[&Row], overview: &Overview) -> Markup {
    let sum = |figure: fn(&QueueOverview) -> u64| seen.iter().filter_map(|row| read(row)).map(figure).sum::<u64>();
    let (mut completed, mut failed) = (Series::default(), Series::default());
    for survey in seen.iter().filter_map(|row| read(row)) {
        completed.add(&Series::of(&survey.completed));
        failed.add(&Series::of(&survey.failed));
    }
    let bad = sum(|survey| survey.counts.failed);
    html! {
        div.figures {
            div.tiles {
                (tile("queues", count(seen.len() as u64), ""))
                (tile("ready", count(sum(|survey| survey.waiting())), ""))
                (tile("active", count(sum(|survey| survey.counts.active)), "active"))
                (tile("delayed", count(sum(|survey| survey.counts.delayed)), ""))
                (tile("failed", count(bad), if bad > 0 { "failed" } else { "" }))
                (tile("completed, last minute", count(sum(|survey| survey.last_minute.completed)), "completed"))
                @if let Ok(workers) = overview.workers.as_ref() {
                    @let seen = seen.iter().filter_map(|row| workers.get(&row.name)).map(Vec::len).sum::<usize>();
                    (tile("workers", count(seen as u64), ""))
                }
            }
            (chart::throughput(&completed, &failed, WINDOWS[0], &html! {}))
        }
        @if completed.total() + failed.total() == 0 {
            p.hint { "Workers count jobs per minute if they have the option " code { "metrics" } " in oxmq and in BullMQ." }
        }
    }
}

/// Shows the queues whose last jobs waited and ran longest.
fn slowest(visit: &Visit, seen: &[&Row]) -> Markup {
    let ms = |time: Option<Duration>| time.map_or(0, crate::clock::millis);
    let mut times: Vec<(&str, u64, u64)> = seen
        .iter()
        .filter_map(|row| Some((row.name.as_str(), &read(row)?.times)))
        .map(|(name, times)| (name, ms(times.wait_median), ms(times.run_median)))
        .collect();
    times.sort_by_key(|(_, waited, ran)| Reverse(waited.saturating_add(*ran)));
    times.truncate(SLOWEST);
    times.retain(|(_, waited, ran)| waited + ran > 0);
    let most = times.first().map_or(0, |(_, waited, ran)| waited.saturating_add(*ran));
    let text = |ms: u64| span(Duration::from_millis(ms));
    html! {
        @if !times.is_empty() {
            details.slowest open {
                summary { "Wait and run time" }
                div.scroll {
                    table.times {
                        caption { "Medians of the jobs that finished last, of the slowest queues" }
                        thead { tr {
                            th scope="col" { "Queue" }
                            th { span.hidden { "Both" } }
                            th.num.key-waited scope="col" { "waited" }
                            th.num.key-ran scope="col" { "ran" }
                        } }
                        tbody {
                            @for (name, waited, ran) in &times {
                                tr {
                                    th scope="row" { a href=(visit.links.queue(name)) { (name) } }
                                    td { (chart::both_times(*waited, *ran, most)) }
                                    td.num { (text(*waited)) }
                                    td.num { (text(*ran)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn attention(visit: &Visit, seen: &[&Row], overview: &Overview, now: SystemTime) -> Markup {
    let mut worst: Vec<(&str, Vec<Concern>)> = seen
        .iter()
        .map(|row| (row.name.as_str(), concerns_of(row, overview, now)))
        .filter(|(_, found)| !found.is_empty())
        .collect();
    worst.sort_by_key(|(_, found)| Reverse(found[0].weight));
    let total = worst.len();
    html! {
        @if total > 0 {
            section.attention aria-labelledby="attention" {
                h2 #attention { "Needs attention" }
                ul {
                    @for (name, found) in worst.iter().take(CONCERNS) {
                        li {
                            a href=(visit.links.queue(name)) { (name) }
                            @for concern in found { span class=(weight(concern)) { (concern.text) } }
                        }
                    }
                }
                @if total > CONCERNS {
                    p { a href={ (visit.links.home()) "?sort=concern" } { (many((total - CONCERNS) as u64, "more queue")) } }
                }
            }
        }
    }
}

fn weight(concern: &Concern) -> &'static str {
    if concern.weight >= 80 { "concern bad" } else { "concern" }
}

fn concerns_of(row: &Row, overview: &Overview, now: SystemTime) -> Vec<Concern> {
    match &row.found {
        Ok(survey) => concerns(survey, overview.workers_of(&row.name), now),
        Err(problem) => vec![Concern { weight: 95, text: format!("cannot be read: {problem}") }],
    }
}

/// The sort keys of the list: the word in the address, and the head of the column.
const COLUMNS: [(&str, &str, &str); 9] = [
    ("name", "Queue", ""),
    ("ready", "Ready", "Jobs that a worker could take now: waiting, prioritized, and set aside by a pause"),
    ("active", "Active", "Jobs that a worker runs"),
    ("delayed", "Delayed", "Jobs that are not due yet"),
    ("children", "Parents", "Jobs that wait for their children"),
    ("failed", "Failed", "Jobs that failed for good"),
    ("completed", "Completed", "Completed jobs that are kept"),
    ("oldest", "Oldest ready", "When the next job was added"),
    ("rate", "Last minute", "Jobs that completed or failed within the last minute, as far as they are kept"),
];

fn table(visit: &Visit, params: &Params, seen: &[&Row], overview: &Overview, now: SystemTime) -> Markup {
    let sort = given(params, "sort").unwrap_or("name");
    let wanted = given(params, "q").map(str::to_lowercase);
    let mut rows: Vec<&Row> = seen.to_vec();
    rows.retain(|row| wanted.as_ref().is_none_or(|wanted| row.name.to_lowercase().contains(wanted)));
    sort_rows(&mut rows, sort, overview, now);
    let by = grouping::delimiter(given(params, "by"));
    grouping::gather(&mut rows, by, |row| &row.name);
    let pages = rows.len().div_ceil(PER_PAGE).max(1);
    let page = given(params, "page").and_then(|page| page.parse().ok()).unwrap_or(1_usize).clamp(1, pages);
    let shown = rows.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE);
    visit.app.sees(shown.clone().map(|row| row.name.as_str()));
    let q = given(params, "q").unwrap_or_default();
    let link = |sort: &str, page: usize| {
        format!(
            "{}?sort={}&q={}&by={}&page={page}",
            visit.links.home(),
            query(sort),
            query(q),
            query(by.map_or("", |by| by.text))
        )
    };
    html! {
        section aria-labelledby="all" {
            div.bar {
                h2 #all { "Queues" }
                (filter_form(visit, sort, q, by))
            }
            div #queues data-swap {
                @let there_may_be_more = overview.is_searching || overview.unread > 0;
                @if there_may_be_more && overview.trouble.is_none() {
                    p.hint role="status" { "Still looking for queues: there may be more." }
                }
                @if overview.is_forbidden {
                    p.warning role="alert" { "The user of Redis may not " code { "SCAN" } " for queues. Name them where this dashboard is made: "
                        code { "Dashboard::queues([\"mails\"])" } ", or " code { "oxmq serve mails" } "." }
                }
                @if rows.is_empty() && !overview.is_forbidden {
                    @if !there_may_be_more || !q.is_empty() { (none(visit, q)) }
                } @else if !rows.is_empty() {
                    div.scroll {
                        table.rows {
                            (columns(sort, |key| link(key, 1)))
                            tbody {
                                @for (n, row) in shown.enumerate() {
                                    @if let Some(group) = grouping::begins(&rows, (page - 1) * PER_PAGE + n, n == 0, by, |row| &row.name) {
                                        (group_row(visit, &group))
                                    }
                                    (queue_row(visit, row, overview, now))
                                }
                            }
                        }
                    }
                    @if pages > 1 {
                        nav.pages aria-label="Pages" {
                            @if page > 1 { a.button rel="prev" href=(link(sort, page - 1)) { "Previous" } }
                            span { "Page " (page) " of " (pages) ", " (many(rows.len() as u64, "queue")) }
                            @if page < pages { a.button rel="next" href=(link(sort, page + 1)) { "Next" } }
                        }
                    }
                }
            }
        }
    }
}

fn filter_form(visit: &Visit, sort: &str, q: &str, by: Option<Delimiter>) -> Markup {
    html! {
        form.filter action=(visit.links.home()) {
            input type="hidden" name="sort" value=(sort);
            label { span.hidden { "Only queues whose name contains" } input type="search" name="q" value=(q) placeholder="Filter by name"; }
            label { span.hidden { "Group by the part of the name before" }
                select name="by" {
                    option value="" { "not grouped" }
                    @for other in grouping::DELIMITERS {
                        option value=(other.text) selected[by == Some(other)] { "grouped by “" (other.text) "”" }
                    }
                }
            }
            button { "Filter" }
        }
    }
}

/// Shows the heads of the columns, each a link that sorts by it.
fn columns(sort: &str, link: impl Fn(&str) -> String) -> Markup {
    html! {
        thead { tr {
            @for (key, head, title) in COLUMNS {
                th scope="col" class=[(key != "name").then_some("num")] title=[(!title.is_empty()).then_some(title)]
                    aria-sort=[(sort == key).then_some(if key == "name" { "ascending" } else { "descending" })] {
                    a href=(link(key)) { (head) }
                }
            }
            th.num scope="col" { "Workers" }
            th scope="col" { "Last hour" }
        } }
    }
}

fn sort_rows(rows: &mut [&Row], sort: &str, overview: &Overview, now: SystemTime) {
    let by = |figure: fn(&QueueOverview) -> u64| move |row: &&Row| Reverse(read(row).map_or(0, figure));
    match sort {
        "ready" => rows.sort_by_key(by(|survey| survey.waiting())),
        "active" => rows.sort_by_key(by(|survey| survey.counts.active)),
        "delayed" => rows.sort_by_key(by(|survey| survey.counts.delayed)),
        "children" => rows.sort_by_key(by(|survey| survey.counts.waiting_children)),
        "failed" => rows.sort_by_key(by(|survey| survey.counts.failed)),
        "completed" => rows.sort_by_key(by(|survey| survey.counts.completed)),
        "rate" => rows.sort_by_key(by(|survey| survey.last_minute.completed + survey.last_minute.failed)),
        "oldest" => rows.sort_by_key(|row| {
            let since = read(row).filter(|survey| survey.waiting() > 0).and_then(oldest);
            (since.is_none(), since)
        }),
        "concern" => rows.sort_by_cached_key(|row| {
            Reverse(concerns_of(row, overview, now).first().map_or(0, |concern| concern.weight))
        }),
        _ => {}
    }
}

/// Shows what can be done to all queues at once.
fn all_queues(visit: &Visit, params: &Params, seen: &[&Row]) -> Markup {
    let q = given(params, "q").unwrap_or_default();
    let meant = q.to_lowercase();
    let meant: Vec<&Row> = seen.iter().copied().filter(|row| row.name.to_lowercase().contains(&meant)).collect();
    let permitted = |action| meant.iter().copied().filter(|row| visit.may(&row.name, action)).collect::<Vec<_>>();
    let which = if q.is_empty() { "all".to_owned() } else { format!("all with “{q}”") };
    let ask = |action: Action, label: &str, question: &str, what: &str| {
        let form = html! {
            form method="post" action=(visit.links.home()) {
                (visit.token.field())
                input type="hidden" name="confirm" value="all";
                input type="hidden" name="q" value=(q);
                button.danger name="do" value=(action) { (label) " " (what) }
            }
        };
        asking(&format!("{label} {which}…"), question, form)
    };
    let of = |action, label: &str, question: &str| {
        let queues = permitted(action).len() as u64;
        html! { @if queues > 0 { (ask(action, label, question, &many(queues, "queue"))) } }
    };
    html! {
        div.everything {
            (of(Action::Pause, "Pause", "Workers of these queues finish their running jobs and take no more."))
            (of(Action::Resume, "Resume", "Queues that somebody paused for a reason go on too."))
            div #retry-all data-swap {
                @let (jobs, queues) = failed_of(&permitted(Action::Retry));
                @if jobs > 0 {
                    @let what = format!("{} of {}", many(jobs, "failed job"), many(queues, "queue"));
                    (ask(Action::Retry, "Retry", "All failed jobs run again, in the background; you can watch and stop it.", &what))
                }
            }
        }
    }
}

/// Returns how many failed jobs these queues have, and how many queues those are.
fn failed_of(rows: &[&Row]) -> (u64, u64) {
    let failed =
        rows.iter().filter_map(|row| read(row)).map(|survey| survey.counts.failed).filter(|failed| *failed > 0);
    failed.fold((0, 0), |(jobs, queues), failed| (jobs + failed, queues + 1))
}

fn none(visit: &Visit, q: &str) -> Markup {
    html! {
        div.empty {
            @if q.is_empty() {
                h3 { "There is no queue yet" }
                p { "A queue shows here with its first job, from Rust or from Node, if it is below the prefix "
                    code { (visit.app.client.prefix()) } "." }
            } @else {
                h3 { "No queue has “" (q) "” in its name" }
                p { a.button href=(visit.links.home()) { "All queues" } }
            }
        }
    }
}

/// Shows the sums of a group of queues above them.
fn group_row(visit: &Visit, group: &Group<'_, &Row>) -> Markup {
    let sum = |figure: fn(&QueueOverview) -> u64| {
        let sum = group.members.iter().filter_map(|row| read(row)).map(figure).sum();
        html! { td.num { (count(sum)) } }
    };
    html! {
        tr.group {
            th scope="rowgroup" {
                a href={ (visit.links.home()) "?q=" (query(group.name)) } { (group.name) "…" }
                " " span.count { (many(group.members.len() as u64, "queue")) }
            }
            (sum(|survey| survey.waiting()))
            (sum(|survey| survey.counts.active))
            (sum(|survey| survey.counts.delayed))
            (sum(|survey| survey.counts.waiting_children))
            (sum(|survey| survey.counts.failed))
            (sum(|survey| survey.counts.completed))
            td {}
            (sum(|survey| survey.last_minute.completed + survey.last_minute.failed))
            td {}
            td {}
        }
    }
}

fn queue_row(visit: &Visit, row: &Row, overview: &Overview, now: SystemTime) -> Markup {
    let link = visit.links.queue(&row.name);
    let survey = match &row.found {
        Ok(survey) => survey,
        Err(problem) => {
            return html! { tr { th scope="row" { a href=(link) { (row.name) } } td.bad colspan="10" { (problem) } } };
        }
    };
    let counts = &survey.counts;
    let number = |number: u64, class: &str, state: &str| {
        html! {
            td class={ "num " @if number > 0 { (class) } @else { "none" } } {
                @if number > 0 { a href={ (link) "?state=" (state) } { (count(number)) } } @else { "0" }
            }
        }
    };
    let first = [(counts.waiting, "waiting"), (counts.prioritized, "prioritized"), (counts.paused, "paused")];
    let ready_state = first.into_iter().find(|(count, _)| *count > 0).map_or("waiting", |(_, state)| state);
    html! {
        tr {
            th scope="row" {
                a href=(link) { (row.name) }
                @if survey.is_paused { " " span.badge.paused { "paused" } }
            }
            (number(survey.waiting(), "", ready_state))
            (number(counts.active, "active", "active"))
            (number(counts.delayed, "", "delayed"))
            (number(counts.waiting_children, "", "waiting-children"))
            (number(counts.failed, "failed", "failed"))
            (number(counts.completed, "", "completed"))
            td.num { @if survey.waiting() > 0 { (when(oldest(survey), now)) } @else { span.none { "–" } } }
            td.num {
                @let done = survey.last_minute;
                span.none[done.completed == 0] { (count(done.completed)) }
                @if done.failed > 0 { " " span.failed { "+" (count(done.failed)) " failed" } }
            }
            td.num {
                @match overview.workers_of(&row.name) {
                    Some(0) => span.none { "0" },
                    Some(workers) => (workers),
                    None => span.none title="Redis does not permit to list the clients" { "?" },
                }
            }
            td { (chart::sparkline(&Series::of(&survey.completed), &Series::of(&survey.failed))) }
        }
    }
}
