//! Draws numbers per minute as pictures. Sizes are attributes: a style in the page would violate the content security
//! policy.

use maud::{Markup, html};

use super::moment::count;
use crate::overview::MinuteCounts;

/// How many minutes are shown.
const MINUTES: u32 = 60;

/// Jobs per minute, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Series(Vec<u64>);

impl Default for Series {
    fn default() -> Self {
        Self(vec![0; MINUTES as usize])
    }
}

impl Series {
    pub(in crate::dashboard) fn of(counts: &MinuteCounts) -> Self {
        let mut series = Self::default();
        for (slot, jobs) in series.0.iter_mut().rev().zip(&counts.minutes) {
            *slot = *jobs;
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
    let (width, height) = (2 * u64::from(MINUTES), 24);
    let label = format!("{} completed and {} failed in the last hour", count(completed.total()), count(failed.total()));
    html! {
        svg.spark role="img" aria-label=(label) width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) {
            title { (label) }
            (bars(completed, failed, 2, height, completed.most_with(failed)))
        }
    }
}

/// Draws a picture with a scale.
pub(in crate::dashboard) fn throughput(completed: &Series, failed: &Series) -> Markup {
    let most = round_up(completed.most_with(failed).max(1));
    let (step, height) = (10, 120);
    let width = step * u64::from(MINUTES);
    let label = format!(
        "Jobs per minute over the last hour: {} completed, {} failed, at most {} in a minute",
        count(completed.total()),
        count(failed.total()),
        count(completed.most_with(failed))
    );
    html! {
        figure.chart {
            svg role="img" aria-label=(label) viewBox=(format!("-44 -8 {} {}", width + 52, height + 32)) {
                // Of one job there is no half.
                @for (y, value) in [(0, most), (height / 2, most / 2), (height, 0)].into_iter().filter(|(y, _)| *y != height / 2 || most > 1) {
                    line.grid x1="0" x2=(width) y1=(y) y2=(y) {}
                    text.axis x="-8" y=(y + 4) text-anchor="end" { (count(value)) }
                }
                (bars(completed, failed, step, height, most))
                @for (x, text) in [(0, "1 h ago"), (width / 2, "30 min"), (width, "now")] {
                    @let anchor = if x == 0 { "start" } else if x == width { "end" } else { "middle" };
                    text.axis x=(x) y=(height + 18) text-anchor=(anchor) { (text) }
                }
            }
            figcaption {
                span.key-completed { "completed " b { (count(completed.total())) } }
                span.key-failed { "failed " b { (count(failed.total())) } }
                span.faint { "per minute, last hour" }
            }
        }
    }
}

/// Draws a bar per minute: failures, and on them what was completed. A single failure is visible beside thousands.
fn bars(completed: &Series, failed: &Series, step: u64, height: u64, most: u64) -> Markup {
    let tall = |jobs: u64| if jobs == 0 { 0 } else { (jobs.saturating_mul(height) / most.max(1)).clamp(2, height) };
    let gap = step / 4;
    html! {
        @for ((at, done), bad) in (0..).zip(&completed.0).zip(&failed.0) {
            @if *done + *bad > 0 {
                g {
                    title { (minute(u64::from(MINUTES) - 1 - at)) ": " (count(*done)) " completed, " (count(*bad)) " failed" }
                    rect.done x=(at * step) y=(height.saturating_sub(tall(*done) + tall(*bad))) width=(step - gap) height=(tall(*done)) {}
                    rect.bad x=(at * step) y=(height - tall(*bad)) width=(step - gap) height=(tall(*bad)) {}
                }
            }
        }
    }
}

fn minute(age: u64) -> String {
    if age == 0 { "This minute".to_owned() } else { format!("{age} min ago") }
}

/// Rounds up to a number with one significant digit, or a half of it.
fn round_up(number: u64) -> u64 {
    let mut scale = 1_u64;
    while scale.saturating_mul(10) <= number {
        scale *= 10;
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

    #[test]
    fn one_failure_beside_thousands_shows() {
        let counts = |minutes| Series::of(&MinuteCounts { minutes, ..MinuteCounts::default() });
        let picture = throughput(&counts(vec![9_000]), &counts(vec![1])).into_string();
        assert!(picture.contains("<rect class=\"bad\"") && picture.contains("height=\"2\""), "{picture}");
        // As many failures do not hide what was completed, and of one job there is no half.
        let picture = throughput(&counts(vec![200]), &counts(vec![200])).into_string();
        assert!(picture.contains("y=\"0\" width=\"8\" height=\"60\"") && picture.contains("at most 400"), "{picture}");
        let picture = throughput(&counts(vec![1]), &counts(vec![])).into_string();
        assert_eq!(picture.matches("class=\"axis\" x=\"-8\"").count(), 2, "{picture}");
    }
}
