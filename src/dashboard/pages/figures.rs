//! What a queue does, in figures and pictures.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::tile;
use crate::clock::from_epoch_ms;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::background::survey::{concerns, oldest};
use crate::dashboard::format::chart::{self, Series, Took, WINDOWS, Window};
use crate::dashboard::format::moment::{count, many, relative, span};
use crate::dashboard::request::filter::Filter;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::error::Result;
use crate::overview::{JobTimes, MinuteCounts, QueueOverview};

/// How many completed and how many failed jobs are looked at for the times that they took.
const RECENT: u32 = 60;

/// What has finished lately.
pub(super) struct History {
    window: Window,
    completed: MinuteCounts,
    failed: MinuteCounts,
    /// The last jobs that have finished, in this order.
    took: Vec<Took>,
}

impl History {
    /// Reads the window that the address names. One round trip.
    pub(super) async fn read(visit: &Visit, queue: &AnyQueue, params: &Params) -> Result<Self> {
        let window = Window::of(given(params, "history"));
        let found = queue.engine().summarize(window.all_minutes(), RECENT).await?;
        let (now, most) = (visit.app.now(), window.all_minutes() as usize);
        let now_ms = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let took = found.recent.iter().filter_map(|job| {
            let (started, finished) = job.processed_on.zip(job.finished_on)?;
            // The time of earlier attempts counts as waiting: only the last attempt is stored.
            let ready = job.timestamp?.saturating_add(job.delay.unwrap_or(0));
            let (waited, ran) = (started.saturating_sub(ready), finished.saturating_sub(started));
            Some(Took { waited, ran, finished: from_epoch_ms(finished) })
        });
        let mut took: Vec<Took> = took.collect();
        took.sort_by_key(|job| job.finished);
        let [completed, failed] = [found.completed, found.failed].map(|stored| MinuteCounts::new(now_ms, most, stored));
        Ok(Self { window, completed, failed, took })
    }
}

pub(super) fn show(
    visit: &Visit,
    survey: &QueueOverview,
    workers: Option<usize>,
    limit: Option<(u64, Duration)>,
    history: &History,
    filter: &Filter,
    now: SystemTime,
) -> Markup {
    let window = history.window;
    let (completed, failed) = (Series::within(&history.completed, window), Series::within(&history.failed, window));
    let ready = survey.waiting();
    let (minute, hour) = (survey.last_minute, survey.last_hour);
    html! {
        @let found = concerns(survey, workers, now);
        @if !found.is_empty() {
            ul.concerns { @for concern in &found { li.bad[concern.weight >= 80] { (concern.text) } } }
        }
        div.figures {
            div.tiles {
                (tile("jobs in all", count(survey.counts.total()), ""))
                (tile("ready", count(ready), ""))
                (tile("oldest ready", oldest(survey).filter(|_| ready > 0).map_or_else(|| "–".to_owned(), |at| relative(at, now)), ""))
                (tile("workers", workers.map_or_else(|| "?".to_owned(), |workers| count(workers as u64)), ""))
                (tile("completed, last minute", count(minute.completed), "completed"))
                (tile("failed, last hour", count(hour.failed), if hour.failed > 0 { "failed" } else { "" }))
                (tile("last completed", survey.last_completed.map_or_else(|| "–".to_owned(), |at| relative(at, now)), ""))
                @if let Some(limit) = survey.global_concurrency { (tile("active at most", count(limit), "")) }
                @if let Some((max, window)) = limit { (tile("rate limit", format!("{} in {}", count(max), span(window)), "")) }
            }
            (chart::throughput(&completed, &failed, window, &windows(visit, &survey.name, history, filter)))
            (chart::times(&history.took, now))
            (times(&survey.times))
        }
    }
}

/// Offers longer histories beside the same jobs, and says how long the present one is if workers keep no more.
fn windows(visit: &Visit, queue: &str, history: &History, filter: &Filter) -> Markup {
    let jobs = Filter { history: None, ..filter.clone() }.query();
    let known = history.completed.minutes.len().max(history.failed.minutes.len()) as u64;
    html! {
        nav.windows aria-label="For how long" {
            @for window in WINDOWS {
                a href={ (visit.links.queue(queue)) "?history=" (window.key) "&" (jobs) } aria-current=[(window == history.window).then_some("true")] { (window.key) }
            }
        }
        @if known > 1 && known < u64::from(history.window.all_minutes()) {
            span.faint { "known for " (span(Duration::from_secs(60 * known))) }
        }
    }
}

/// Shows how long the last jobs waited and ran.
fn times(times: &JobTimes) -> Markup {
    let text = |time: Option<Duration>| time.map_or_else(|| "–".to_owned(), span);
    html! {
        @if times.jobs > 0 {
            table.times {
                caption { "Times of the last " (many(times.jobs, "finished job")) }
                thead { tr { th { span.hidden { "Phase" } } th.num scope="col" { "median" } th.num scope="col" { "longest" } } }
                tbody {
                    @for (name, median, longest) in [
                        ("waited", times.wait_median, times.wait_longest), ("ran", times.run_median, times.run_longest)
                    ] {
                        tr { th scope="row" { (name) } td.num { (text(median)) } td.num { (text(longest)) } }
                    }
                }
            }
        }
    }
}
