//! Draws numbers per minute as pictures. Sizes are attributes: a style in the page would violate the content security
//! policy.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::moment::{count, relative, span};
use crate::overview::MinuteCounts;

/// How many bars a picture has.
const BARS: u32 = 60;

/// For how long back a picture shows what finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) struct Window {
    /// The word in the address.
    pub(in crate::dashboard) key: &'static str,
    /// How many minutes a bar stands for.
    minutes: u32,
    words: &'static str,
    begin: &'static str,
    middle: &'static str,
    per: &'static str,
}

/// The windows that can be chosen. Workers keep as many minutes as their option `metrics` says, usually a week or two.
pub(in crate::dashboard) const WINDOWS: [Window; 5] = [
    Window { key: "1h", minutes: 1, words: "last hour", begin: "1 h ago", middle: "30 min", per: "minute" },
    Window { key: "6h", minutes: 6, words: "last 6 hours", begin: "6 h ago", middle: "3 h", per: "6 minutes" },
    Window { key: "1d", minutes: 24, words: "last day", begin: "1 d ago", middle: "12 h", per: "24 minutes" },
    Window { key: "1w", minutes: 168, words: "last week", begin: "1 w ago", middle: "3.5 d", per: "168 minutes" },
    Window { key: "2w", minutes: 336, words: "last 2 weeks", begin: "2 w ago", middle: "1 w", per: "336 minutes" },
];

impl Window {
    /// Returns the window of this word, or the last hour.
    pub(in crate::dashboard) fn of(key: Option<&str>) -> Self {
        WINDOWS.into_iter().find(|window| Some(window.key) == key).unwrap_or(WINDOWS[0])
    }

    /// Returns how many minutes it has.
    pub(in crate::dashboard) fn all_minutes(self) -> u32 {
        self.minutes * BARS
    }

    /// Returns which time a bar stands for; the newest bar has the age 0.
    fn bar(self, age: u64) -> String {
        let at = |bars: u64| span(Duration::from_secs(60 * bars * u64::from(self.minutes)));
        match (self.minutes, age) {
            (1, 0) => "This minute".to_owned(),
            (1, age) => format!("{age} min ago"),
            (_, 0) => format!("Last {}", at(1)),
            (_, age) => format!("{} to {} ago", at(age), at(age + 1)),
        }
    }
}

/// Jobs per minute, or per some minutes, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Series(Vec<u64>);

impl Default for Series {
    fn default() -> Self {
        Self(vec![0; BARS as usize])
    }
}

impl Series {
    pub(in crate::dashboard) fn of(counts: &MinuteCounts) -> Self {
        Self::within(counts, WINDOWS[0])
    }

    pub(in crate::dashboard) fn within(counts: &MinuteCounts, window: Window) -> Self {
        let mut series = Self::default();
        for (slot, jobs) in series.0.iter_mut().rev().zip(counts.minutes.chunks(window.minutes as usize)) {
            *slot = jobs.iter().fold(0, |sum, jobs| sum.saturating_add(*jobs));
        }
        series
    }

    pub(in crate::dashboard) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    pub(in crate::dashboard) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the most jobs of both kinds in one minute.
    fn most_with(&self, other: &Self) -> u64 {
        self.0.iter().zip(&other.0).map(|(one, other)| one.saturating_add(*other)).max().unwrap_or(0)
    }
}

/// Draws a small picture for a table.
pub(in crate::dashboard) fn sparkline(completed: &Series, failed: &Series) -> Markup {
    if completed.total() + failed.total() == 0 {
        return html! { span.none { "–" } };
    }
    let (width, height) = (2 * u64::from(BARS), 24);
    let label = format!("{} completed and {} failed in the last hour", count(completed.total()), count(failed.total()));
    html! {
        svg.spark role="img" aria-label=(label) width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) {
            title { (label) }
            (bars(completed, failed, 2, height, completed.most_with(failed), WINDOWS[0]))
        }
    }
}

/// Draws a picture with a scale. `more` stands below it.
pub(in crate::dashboard) fn throughput(completed: &Series, failed: &Series, window: Window, more: &Markup) -> Markup {
    let most = round_up(completed.most_with(failed).max(1));
    let (step, height) = (10, 120);
    let width = step * u64::from(BARS);
    let label = format!(
        "Jobs per {} over the {}: {} completed, {} failed, at most {} in a {}",
        window.per,
        window.words,
        count(completed.total()),
        count(failed.total()),
        count(completed.most_with(failed)),
        if window.minutes == 1 { "minute" } else { "bar" }
    );
    html! {
        figure.chart {
            svg role="img" aria-label=(label) viewBox=(format!("-44 -8 {} {}", width + 52, height + 32)) {
                // Of one job there is no half.
                @for (y, value) in [(0, most), (height / 2, most / 2), (height, 0)].into_iter().filter(|(y, _)| *y != height / 2 || most > 1) {
                    line.grid x1="0" x2=(width) y1=(y) y2=(y) {}
                    text.axis x="-8" y=(y + 4) text-anchor="end" { (count(value)) }
                }
                (bars(completed, failed, step, height, most, window))
                (below(width, height, [window.begin, window.middle, "now"]))
            }
            figcaption {
                span.key-completed { "completed " b { (count(completed.total())) } }
                span.key-failed { "failed " b { (count(failed.total())) } }
                span.faint { "per " (window.per) ", " (window.words) }
                (more)
            }
        }
    }
}

/// Writes what the horizontal axis means at its begin, its middle and its end.
fn below(width: u64, height: u64, texts: [&str; 3]) -> Markup {
    html! {
        @for (x, text, anchor) in [(0, texts[0], "start"), (width / 2, texts[1], "middle"), (width, texts[2], "end")] {
            text.axis x=(x) y=(height + 18) text-anchor=(anchor) { (text) }
        }
    }
}

/// How long a job that has finished took, in ms, and when it finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) struct Took {
    pub(in crate::dashboard) waited: u64,
    pub(in crate::dashboard) ran: u64,
    pub(in crate::dashboard) finished: SystemTime,
}

/// Draws how long the last jobs waited and ran, a bar for each in the order in which they finished; at most as many as
/// there are bars.
pub(in crate::dashboard) fn times(jobs: &[Took], now: SystemTime) -> Markup {
    let jobs = &jobs[jobs.len().saturating_sub(BARS as usize)..];
    let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else { return html! {} };
    let longest = jobs.iter().map(|job| job.waited.saturating_add(job.ran)).max().unwrap_or(0);
    let most = round_up(longest.max(1));
    let (step, height) = (10, 120);
    let width = step * u64::from(BARS);
    let time = |ms: u64| span(Duration::from_millis(ms));
    let label = format!("How long the last {} jobs waited and ran: the longest took {}", jobs.len(), time(longest));
    let tall = |ms: u64| if ms == 0 { 0 } else { scaled(ms, height, most).clamp(1, height) };
    let from = u64::from(BARS) - jobs.len() as u64;
    let (begin, end) = (relative(first.finished, now), relative(last.finished, now));
    html! {
        figure.chart {
            svg role="img" aria-label=(label) viewBox=(format!("-60 -8 {} {}", width + 68, height + 32)) {
                @for (y, value) in [(0, most), (height / 2, most / 2), (height, 0)].into_iter().filter(|(y, _)| *y != height / 2 || most > 1) {
                    line.grid x1="0" x2=(width) y1=(y) y2=(y) {}
                    text.axis x="-8" y=(y + 4) text-anchor="end" { @if value == 0 { "0" } @else { (time(value)) } }
                }
                @for (at, job) in (from..).zip(jobs) {
                    @let (waited, ran) = (tall(job.waited), tall(job.ran));
                    g {
                        title { "Finished " (relative(job.finished, now)) ": waited " (time(job.waited)) ", ran " (time(job.ran)) }
                        rect.waited x=(at * step) y=(height - waited) width="8" height=(waited) {}
                        rect.ran x=(at * step) y=(height.saturating_sub(waited + ran)) width="8" height=(ran) {}
                    }
                }
                // Few jobs stand at the right.
                text.axis x=(from * step) y=(height + 18) text-anchor=(if from > 30 { "end" } else { "start" }) { (begin) }
                @if from <= 40 { text.axis x=(width) y=(height + 18) text-anchor="end" { (end) } }
            }
            figcaption {
                span.key-waited { "waited" }
                span.key-ran { "ran" }
                span.faint { "the last " (count(jobs.len() as u64)) " finished jobs that are kept" }
            }
        }
    }
}

/// Draws two times beside each other, for a table.
pub(in crate::dashboard) fn both_times(waited: u64, ran: u64, most: u64) -> Markup {
    let width = 160;
    let wide = |ms: u64| if ms == 0 { 0 } else { scaled(ms, width, most.max(1)).clamp(1, width) };
    let (waited, ran) = (wide(waited), wide(ran));
    html! {
        svg.spark aria-hidden="true" width=(width) height="12" viewBox=(format!("0 0 {width} 12")) {
            rect.waited x="0" y="1" width=(waited) height="10" {}
            rect.ran x=(waited) y="1" width=(ran.min(width - waited)) height="10" {}
        }
    }
}

/// Returns `value` on a scale of this length whose end is `most`.
fn scaled(value: u64, length: u64, most: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(length) / u128::from(most.max(1))).unwrap_or(length)
}

/// Draws a bar per minute: failures, and on them what was completed. A single failure is visible beside thousands.
fn bars(completed: &Series, failed: &Series, step: u64, height: u64, most: u64, window: Window) -> Markup {
    let tall = |jobs: u64| if jobs == 0 { 0 } else { (jobs.saturating_mul(height) / most.max(1)).clamp(2, height) };
    let gap = step / 4;
    html! {
        @for ((at, done), bad) in (0..).zip(&completed.0).zip(&failed.0) {
            @if *done + *bad > 0 {
                g {
                    title { (window.bar(u64::from(BARS) - 1 - at)) ": " (count(*done)) " completed, " (count(*bad)) " failed" }
                    rect.done x=(at * step) y=(height.saturating_sub(tall(*done) + tall(*bad))) width=(step - gap) height=(tall(*done)) {}
                    rect.bad x=(at * step) y=(height - tall(*bad)) width=(step - gap) height=(tall(*bad)) {}
                }
            }
        }
    }
}

/// Rounds up to a number with one significant digit, or a half of it.
fn round_up(number: u64) -> u64 {
    let mut scale = 1_u64;
    while let Some(next) = scale.checked_mul(10).filter(|next| *next <= number) {
        scale = next;
    }
    [1, 2, 4, 5, 6, 8, 10]
        .map(|times| scale.saturating_mul(times))
        .into_iter()
        .find(|bound| *bound >= number)
        .unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_at_their_minute() {
        let last = |minutes: &[u64]| {
            let counts = MinuteCounts { minutes: minutes.to_vec(), ..MinuteCounts::default() };
            let series = Series::of(&counts);
            (series.0.iter().rev().take(3).copied().collect::<Vec<_>>(), series.total())
        };
        assert_eq!(last(&[3, 2]), (vec![3, 2, 0], 5));
        assert_eq!(last(&[1; 100]), (vec![1, 1, 1], 60));
        assert_eq!([0, 1, 3, 7, 41, 99, 1_000].map(round_up), [1, 1, 4, 8, 50, 100, 1_000]);
    }

    fn hour(completed: &Series, failed: &Series) -> maud::PreEscaped<String> {
        throughput(completed, failed, WINDOWS[0], &html! {})
    }

    #[test]
    fn a_longer_window_has_as_many_bars_of_more_minutes() {
        let counts = MinuteCounts { minutes: (0..10_080).map(|n| u64::from(n < 168) + 1).collect(), total: 0 };
        let window = Window::of(Some("1w"));
        let series = Series::within(&counts, window);
        assert_eq!((series.0.len(), series.0[59], series.0[58], series.0[0]), (60, 336, 168, 168));
        assert_eq!(window.all_minutes(), 10_080);
        let picture = throughput(&series, &Series::default(), window, &html! {}).into_string();
        assert!(picture.contains("per 168 minutes, last week") && picture.contains("1 w ago"), "{picture}");
        assert_eq!((Window::of(Some("9y")), Window::of(None)), (WINDOWS[0], WINDOWS[0]));
    }

    #[test]
    fn times_of_jobs_stand_on_each_other_in_order() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let took = |waited, ran| Took { waited, ran, finished: now - Duration::from_secs(60) };
        let picture = times(&[took(0, 0), took(50, 50), took(1, u64::MAX)], now).into_string();
        assert!(picture.contains("the last 3 finished jobs") && picture.matches("<rect").count() == 6, "{picture}");
        // Of many only the last are shown, at most as tall as the picture.
        let picture = times(&[took(100, 300); 90], now).into_string();
        assert_eq!(picture.matches("class=\"ran\" x=").count(), 60);
        assert!(picture.contains("y=\"90\" width=\"8\" height=\"30\"") && picture.contains("400 ms"), "{picture}");
        assert_eq!(times(&[], now).into_string(), "");
    }

    #[test]
    fn one_failure_beside_thousands_shows() {
        let counts = |minutes| Series::of(&MinuteCounts { minutes, ..MinuteCounts::default() });
        let picture = hour(&counts(vec![9_000]), &counts(vec![1])).into_string();
        assert!(picture.contains("<rect class=\"bad\"") && picture.contains("height=\"2\""), "{picture}");
        // As many failures do not hide what was completed, and of one job there is no half.
        let picture = hour(&counts(vec![200]), &counts(vec![200])).into_string();
        assert!(picture.contains("y=\"0\" width=\"8\" height=\"60\"") && picture.contains("at most 400"), "{picture}");
        let picture = hour(&counts(vec![1]), &counts(vec![])).into_string();
        assert_eq!(picture.matches("class=\"axis\" x=\"-8\"").count(), 2, "{picture}");
    }
}
