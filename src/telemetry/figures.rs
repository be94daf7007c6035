//! Metrics through the `metrics` facade. Without the feature `metrics` all of this does nothing.

use std::time::Duration;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Completed,
    Failed,
    Retried,
    Moved,
    HandedBack,
    Lost,
}

#[cfg(feature = "metrics")]
mod real {
    use std::time::{Duration, Instant};

    use metrics::{
        Counter, Histogram, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
        histogram,
    };

    use super::Counted;

    /// The metrics of a worker. Handles are created once, so that counting a job needs no look-up.
    pub(crate) struct WorkerFigures {
        wait: Histogram,
        run: Histogram,
        settled: Histogram,
        taken: Histogram,
        renewal_lag: Histogram,
        loop_lag: Histogram,
        revived: Counter,
        skipped: Counter,
        expired: Counter,
        rolled_back: Counter,
        outcomes: [Counter; 6],
    }

    /// The histograms of workers with their units and descriptions, which exporters write as `# HELP` and `# UNIT`.
    const HISTOGRAMS: [(&str, Unit, &str); 6] = [
        ("oxmq_job_wait_seconds", Unit::Seconds, "From when a job could run, its delay included, to its first start"),
        ("oxmq_job_run_seconds", Unit::Seconds, "Duration of an attempt"),
        ("oxmq_settle_batch_jobs", Unit::Count, "Outcomes in one call"),
        ("oxmq_take_batch_jobs", Unit::Count, "Jobs fetched by one call"),
        ("oxmq_lock_renewal_lag_seconds", Unit::Seconds, "How much later than planned the oldest lock was renewed"),
        ("oxmq_worker_loop_lag_seconds", Unit::Seconds, "How long the loop of a worker waited to be polled"),
    ];

    const COUNTERS: [(&str, &str); 5] = [
        ("oxmq_jobs_total", "Ended attempts, by their outcome"),
        ("oxmq_schedulers_revived_total", "Job schedulers that had stopped and were revived"),
        ("oxmq_rollbacks_total", "How often a server came back without data that it had acknowledged"),
        ("oxmq_jobs_expired_total", "Jobs that no worker had started in time"),
        ("oxmq_scheduler_runs_skipped_total", "Runs of job schedulers skipped because an earlier one had not ended"),
    ];

    /// Tells the recorder what the figures of a worker mean. Exporters keep one text for each name, so it does no harm
    /// that each worker does it.
    fn describe() {
        for (name, unit, text) in HISTOGRAMS {
            describe_histogram!(name, unit, text);
        }
        for (name, text) in COUNTERS {
            describe_counter!(name, Unit::Count, text);
        }
    }

    impl WorkerFigures {
        pub(crate) fn new(queue: &str) -> Self {
            describe();
            let queue: SharedString = queue.to_owned().into();
            let outcomes = ["completed", "failed", "retried", "moved", "handed_back", "lost"];
            let of = |outcome| counter!("oxmq_jobs_total", "queue" => queue.clone(), "outcome" => outcome);
            Self {
                wait: histogram!("oxmq_job_wait_seconds", "queue" => queue.clone()),
                run: histogram!("oxmq_job_run_seconds", "queue" => queue.clone()),
                settled: histogram!("oxmq_settle_batch_jobs", "queue" => queue.clone()),
                taken: histogram!("oxmq_take_batch_jobs", "queue" => queue.clone()),
                renewal_lag: histogram!("oxmq_lock_renewal_lag_seconds", "queue" => queue.clone()),
                loop_lag: histogram!("oxmq_worker_loop_lag_seconds", "queue" => queue.clone()),
                revived: counter!("oxmq_schedulers_revived_total", "queue" => queue.clone()),
                rolled_back: counter!("oxmq_rollbacks_total", "queue" => queue.clone()),
                expired: counter!("oxmq_jobs_expired_total", "queue" => queue.clone()),
                skipped: counter!("oxmq_scheduler_runs_skipped_total", "queue" => queue.clone()),
                outcomes: outcomes.map(of),
            }
        }

        pub(crate) fn waited(&self, wait: Duration) {
            self.wait.record(wait);
        }

        pub(crate) fn ran(&self, since: &Stopwatch) {
            self.run.record(since.0.elapsed());
        }

        #[expect(clippy::cast_precision_loss, reason = "at most some hundred")]
        pub(crate) fn settled(&self, outcomes: usize, taken: usize) {
            if outcomes > 0 {
                self.settled.record(outcomes as f64);
            }
            if taken > 0 {
                self.taken.record(taken as f64);
            }
        }

        pub(crate) fn count(&self, outcome: Counted) {
            self.outcomes[outcome as usize].increment(1);
        }

        pub(crate) fn renewal_lag(&self, lag: Duration) {
            self.renewal_lag.record(lag);
        }

        pub(crate) fn loop_lag(&self, lag: Duration) {
            self.loop_lag.record(lag);
        }

        pub(crate) fn scheduler_revived(&self) {
            self.revived.increment(1);
        }

        pub(crate) fn run_skipped(&self) {
            self.skipped.increment(1);
        }

        pub(crate) fn job_expired(&self) {
            self.expired.increment(1);
        }

        pub(crate) fn rolled_back(&self) {
            self.rolled_back.increment(1);
        }
    }

    /// The metrics of a producer.
    pub(crate) struct AddFigures(Histogram);

    impl AddFigures {
        pub(crate) fn new(queue: &str) -> Self {
            describe_histogram!("oxmq_add_batch_jobs", Unit::Count, "Adds sent together in one call");
            Self(histogram!("oxmq_add_batch_jobs", "queue" => queue.to_owned()))
        }

        #[expect(clippy::cast_precision_loss, reason = "at most some hundred")]
        pub(crate) fn sent(&self, jobs: usize) {
            self.0.record(jobs as f64);
        }
    }

    /// Reports how many jobs there are in each state.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 jobs")]
    pub(crate) fn job_counts<'a>(queue: &str, counts: impl Iterator<Item = (&'a str, u64)>) {
        describe_gauge!("oxmq_queue_jobs", Unit::Count, "Jobs in each state");
        for (state, jobs) in counts {
            gauge!("oxmq_queue_jobs", "queue" => queue.to_owned(), "state" => state.to_owned()).set(jobs as f64);
        }
    }

    /// Measures how long an attempt runs.
    pub(crate) struct Stopwatch(Instant);

    impl Stopwatch {
        pub(crate) fn start() -> Self {
            Self(Instant::now())
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod nothing {
    use std::time::Duration;

    use super::Counted;

    /// Counts nothing, without the feature `metrics`.
    pub(crate) struct WorkerFigures;

    #[expect(clippy::unused_self, reason = "as if there were something to count")]
    impl WorkerFigures {
        pub(crate) fn new(_: &str) -> Self {
            Self
        }

        pub(crate) fn waited(&self, _: Duration) {}

        pub(crate) fn ran(&self, _: &Stopwatch) {}

        pub(crate) fn settled(&self, _: usize, _: usize) {}

        pub(crate) fn count(&self, _: Counted) {}

        pub(crate) fn renewal_lag(&self, _: Duration) {}

        pub(crate) fn scheduler_revived(&self) {}

        pub(crate) fn run_skipped(&self) {}

        pub(crate) fn job_expired(&self) {}

        pub(crate) fn rolled_back(&self) {}

        pub(crate) fn loop_lag(&self, _: Duration) {}
    }

    pub(crate) fn job_counts<'a>(_: &str, _: impl Iterator<Item = (&'a str, u64)>) {}

    /// Counts nothing, without the feature `metrics`.
    pub(crate) struct AddFigures;

    #[expect(clippy::unused_self, reason = "as if there were something to count")]
    impl AddFigures {
        pub(crate) fn new(_: &str) -> Self {
            Self
        }

        pub(crate) fn sent(&self, _: usize) {}
    }

    /// Measures nothing, without the feature `metrics`.
    pub(crate) struct Stopwatch;

    impl Stopwatch {
        pub(crate) fn start() -> Self {
            Self
        }
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) use nothing::{AddFigures, Stopwatch, WorkerFigures, job_counts};
#[cfg(feature = "metrics")]
pub(crate) use real::{AddFigures, Stopwatch, WorkerFigures, job_counts};

impl WorkerFigures {
    /// Records the time from when a job could run until its first start, both in ms.
    pub(crate) fn waited_from(&self, ready: Option<i64>, started: Option<i64>) {
        if let (Some(ready), Some(started)) = (ready, started) {
            self.waited(Duration::from_millis(u64::try_from(started.saturating_sub(ready)).unwrap_or(0)));
        }
    }
}
