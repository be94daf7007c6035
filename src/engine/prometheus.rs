//! Writes a queue's metrics in the text format of Prometheus, as Node does.

use std::fmt::Write;

use crate::state::{JobCounts, JobState};

/// The states whose jobs are counted, in Node's order.
pub(crate) const REPORTED: [JobState; 7] = [
    JobState::Active,
    JobState::Completed,
    JobState::Delayed,
    JobState::Failed,
    JobState::Prioritized,
    JobState::Waiting,
    JobState::WaitingChildren,
];

pub(super) fn text(queue: &str, counts: &JobCounts, completed: u64, failed: u64, labels: &[(&str, &str)]) -> String {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let queue = escape(queue);
    let more: String = labels.iter().map(|(name, value)| format!(", {name}=\"{}\"", escape(value))).collect();
    let mut out =
        String::from("# HELP bullmq_job_count Number of jobs in the queue by state\n# TYPE bullmq_job_count gauge\n");
    for state in REPORTED {
        let count = counts.get(state);
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "bullmq_job_count{{queue=\"{queue}\", state=\"{state}\"{more}}} {count}");
    }
    for (kind, total) in [("completed", completed), ("failed", failed)] {
        let metric = format!("bullmq_job_{kind}_total");
        let _ = writeln!(out, "# HELP {metric} Total number of {kind} jobs\n# TYPE {metric} counter");
        let _ = writeln!(out, "{metric}{{queue=\"{queue}\"{more}}} {total}");
    }
    out.pop();
    out
}
