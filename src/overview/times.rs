//! Rates and times of a queue: jobs per minute, and how long they took.

use std::time::Duration;

use crate::script::summarize_queue::{Minutes, Recent};

/// How many jobs finished in each minute, as the metrics of BullMQ's workers count them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MinuteCounts {
    /// How many jobs were counted in all; 0 if no worker counts them.
    pub total: u64,
    /// How many jobs finished in each minute, newest first; the first minute is not over. Empty if none were counted.
    pub minutes: Vec<u64>,
}

impl MinuteCounts {
    /// Counts up to `now`. A minute is closed by the first job after it: jobs since then are counted, and belong to the
    /// minute of that job.
    pub(crate) fn new(now: u64, most: usize, stored: Minutes) -> Self {
        if stored.previous_at == 0 {
            return Self { total: stored.count, minutes: Vec::new() };
        }
        let gap = (now / 60_000).saturating_sub(stored.previous_at / 60_000);
        let idle = usize::try_from(gap).unwrap_or(most).min(most);
        let since = stored.count.saturating_sub(stored.previous_count);
        let mut minutes = vec![0; idle];
        minutes.push(since);
        minutes.extend(stored.data);
        minutes.truncate(most);
        Self { total: stored.count, minutes }
    }

    /// Returns the jobs per minute over the last `minutes` whole minutes, or over fewer if fewer are known; `None` if
    /// none were counted.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn per_minute(&self, minutes: usize) -> Option<f64> {
        let whole: Vec<u64> = self.minutes.iter().copied().skip(1).take(minutes.max(1)).collect();
        let known = if whole.is_empty() { &self.minutes } else { &whole };
        if known.is_empty() {
            return None;
        }
        Some(known.iter().sum::<u64>() as f64 / known.len() as f64)
    }
}

/// How long the last finished jobs took, from a small sample.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobTimes {
    /// How many jobs were looked at.
    pub jobs: u64,
    /// The median of the time from when a job could run until its last attempt started.
    #[serde(serialize_with = "crate::clock::as_millis")]
    pub wait_median: Option<Duration>,
    /// The longest such time.
    #[serde(serialize_with = "crate::clock::as_millis")]
    pub wait_longest: Option<Duration>,
    /// The median of the time from the start of the last attempt to its end.
    #[serde(serialize_with = "crate::clock::as_millis")]
    pub run_median: Option<Duration>,
    /// The longest such time.
    #[serde(serialize_with = "crate::clock::as_millis")]
    pub run_longest: Option<Duration>,
}

impl JobTimes {
    pub(super) fn of(recent: &[Recent]) -> Self {
        // The time of earlier attempts counts as waiting: only the last attempt is stored.
        let waits = recent.iter().filter_map(|job| {
            let ready = job.timestamp?.saturating_add(job.delay.unwrap_or(0));
            Some(job.processed_on?.saturating_sub(ready))
        });
        let runs = recent.iter().filter_map(|job| Some(job.finished_on?.saturating_sub(job.processed_on?)));
        let (waits, runs) = (sorted(waits), sorted(runs));
        let median = |times: &[u64]| times.get(times.len() / 2).copied().map(Duration::from_millis);
        let longest = |times: &[u64]| times.last().copied().map(Duration::from_millis);
        Self {
            jobs: recent.len() as u64,
            wait_median: median(&waits),
            wait_longest: longest(&waits),
            run_median: median(&runs),
            run_longest: longest(&runs),
        }
    }
}

fn sorted(times: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn stored(count: u64, previous_at: u64, previous_count: u64, data: &[u64]) -> Minutes {
        Minutes { count, previous_at, previous_count, data: data.to_vec() }
    }

    #[test]
    fn minutes_without_a_job_count_too() {
        let at = |now, stored| MinuteCounts::new(now, 5, stored).minutes;
        assert_eq!(at(100 * MINUTE, stored(9, 100 * MINUTE + 5, 7, &[3, 4])), [2, 3, 4]);
        assert_eq!(at(102 * MINUTE, stored(9, 100 * MINUTE + 5, 7, &[3, 4])), [0, 0, 2, 3, 4]);
        assert_eq!(at(900 * MINUTE, stored(9, 100 * MINUTE + 5, 7, &[3, 4])), [0, 0, 0, 0, 0]);
        assert!(at(900 * MINUTE, stored(3, 0, 0, &[])).is_empty());
    }

    #[test]
    fn a_rate_is_of_whole_minutes() {
        let counts = MinuteCounts { total: 9, minutes: vec![100, 2, 4, 9] };
        assert_eq!(counts.per_minute(2), Some(3.0));
        assert_eq!(counts.per_minute(10), Some(5.0));
        assert_eq!(MinuteCounts { total: 1, minutes: vec![1] }.per_minute(1), Some(1.0));
        assert_eq!(MinuteCounts::default().per_minute(1), None);
    }

    #[test]
    fn times_are_of_jobs_that_have_them() {
        let job = |timestamp, delay, processed_on, finished_on| Recent {
            timestamp: Some(timestamp),
            delay: Some(delay),
            processed_on,
            finished_on,
        };
        let times =
            JobTimes::of(&[job(0, 0, Some(10), Some(15)), job(0, 5, Some(25), Some(75)), job(0, 0, None, None)]);
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!((times.jobs, times.wait_median, times.wait_longest), (3, ms(20), ms(20)));
        assert_eq!((times.run_median, times.run_longest), (ms(50), ms(50)));
        assert_eq!(JobTimes::of(&[]), JobTimes::default());
    }
}
