//! The log of a job: page by page, or those lines that contain a text.

use maud::{Markup, html};

use super::stored::StoredJob;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::json::clip;
use crate::dashboard::format::moment::{count, many};
use crate::dashboard::redaction::Field;
use crate::dashboard::request::links::query;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::state::Order;

/// How many lines are on one page.
const LINES: i64 = 100;

/// How many lines a search looks at for one page.
const SEARCHED: i64 = 10_000;

/// How many lines a search reads at once.
const STEP: i64 = 1_000;

/// Lines of the log, newest first.
struct Lines {
    /// Each with its number, beginning with 1.
    lines: Vec<(i64, String)>,
    total: i64,
    /// How many lines before the first one are newer.
    from: i64,
    /// How many lines from the newest one to go on at, if there are more.
    next: Option<i64>,
}

impl Lines {
    fn is_full(&self) -> bool {
        i64::try_from(self.lines.len()).is_ok_and(|lines| lines >= LINES)
    }
}

pub(super) async fn show(
    visit: &Visit,
    queue: &AnyQueue,
    known: &StoredJob,
    params: &Params,
) -> Result<Markup, Problem> {
    let from = given(params, "line").and_then(|line| line.parse().ok()).unwrap_or(0_i64).clamp(0, 1 << 40);
    let wanted = given(params, "find");
    let found = read(visit, queue, known, from, wanted).await?;
    let job = visit.links.job(queue.name(), &known.id);
    let find = wanted.map(|wanted| format!("&find={}", query(wanted))).unwrap_or_default();
    let link = |line: i64| format!("{job}?line={line}{find}#log");
    let total = found.total.unsigned_abs();
    Ok(html! {
        section #log.box aria-label="Log" data-swap {
            div.bar {
                h2 { "Log " span.count { (total) } }
                @if total > 0 {
                    form.filter action={ (job) "#log" } {
                        label { span.hidden { "Only lines that contain" } input type="search" name="find" value=[wanted] placeholder="Find in the log"; }
                        button.quiet { "Find" }
                    }
                }
            }
            @if total == 0 {
                p.faint { "The log is empty." }
            } @else {
                @if wanted.is_some() && found.lines.is_empty() {
                    p.faint { "No line of the " (count(found.next.unwrap_or(found.total).saturating_sub(from).unsigned_abs())) " looked at contains that." }
                }
                ol.log reversed {
                    @for (number, line) in &found.lines { li value=(number) { (clip(line)) } }
                }
                nav.pages aria-label="Lines" {
                    @if wanted.is_some() { a.button href={ (job) "#log" } { "All lines" } }
                    @if from > 0 {
                        @let newer = if wanted.is_some() { 0 } else { (found.from - LINES).max(0) };
                        a.button href=(link(newer)) { @if wanted.is_some() { "Newest" } @else { "Newer" } }
                    }
                    @if let Some(next) = found.next { a.button href=(link(next)) { "Older" } }
                    @if wanted.is_some() { span.faint { (many(found.lines.len() as u64, "line")) " shown" } }
                }
            }
        }
    })
}

/// Reads lines, newest first: those of a page, or up to as many that contain a text. What is redacted is not found.
async fn read(
    visit: &Visit,
    queue: &AnyQueue,
    known: &StoredJob,
    from: i64,
    wanted: Option<&str>,
) -> Result<Lines, Problem> {
    let wanted = wanted.map(str::to_lowercase);
    let (step, most) = if wanted.is_some() { (STEP, SEARCHED) } else { (LINES, LINES) };
    let job = queue.job(&known.id);
    let mut found = Lines { lines: Vec::new(), total: 0, from, next: None };
    let mut at = from;
    while at < from + most {
        let read = job.get_logs(at, at + step - 1, Order::Descending).await?;
        found.total = i64::try_from(read.count).unwrap_or(i64::MAX);
        for line in &read.logs {
            let number = found.total - at;
            at += 1;
            let line = visit.text(queue.name(), known.name(), Field::Log, line);
            if wanted.as_ref().is_none_or(|wanted| line.to_lowercase().contains(wanted)) {
                found.lines.push((number, line));
            }
            if found.is_full() {
                break;
            }
        }
        if found.is_full() || read.logs.is_empty() || at >= found.total {
            break;
        }
    }
    found.next = (at < found.total).then_some(at);
    Ok(found)
}
