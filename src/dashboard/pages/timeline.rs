//! The history of a job, from its fields and the queue's event stream.

use std::time::SystemTime;

use maud::{Markup, html};

use super::stored::StoredJob;
use crate::clock::{epoch_ms, from_epoch_ms};
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::moment::{exactly, span};
use crate::wire::QueueEvent;

/// How many events are looked at around each moment in the job's fields. In a busy queue the history may be incomplete,
/// but the cost for Redis is bounded.
const EVENTS: u32 = 500;

/// The server's clock stamps events, the clients' clocks stamp jobs; this much may lie between them, in ms.
const SLACK: u64 = 2_000;

pub(super) struct HistoryEntry {
    at: SystemTime,
    what: String,
    /// The end of the step, if it lasts for a time.
    until: Option<SystemTime>,
    class: &'static str,
}

/// Returns all known steps, in order.
pub(super) async fn read(queue: &AnyQueue, known: &StoredJob) -> Vec<HistoryEntry> {
    let Ok(job) = &known.job else { return Vec::new() };
    let mut steps = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let moments = [job.timestamp(), job.processed_on(), job.finished_on()];
    for at in moments.into_iter().flatten() {
        let from = epoch_ms(at).saturating_sub(SLACK);
        // If events cannot be read, the fields of the job remain.
        let Ok(events) = queue.engine().events_from(from, EVENTS).await else { continue };
        for (id, event) in events {
            if event.job_id() == Some(&known.id)
                && let Some((what, class)) = words(&event)
                && seen.insert(id)
            {
                let until = match event {
                    QueueEvent::Delayed { due, .. } => due,
                    _ => None,
                };
                steps.push(HistoryEntry { at: from_epoch_ms(id.ms()), what, until, class });
            }
        }
    }
    if steps.is_empty() {
        let mut tell = |at: Option<SystemTime>, what: &str, class| {
            steps.extend(at.map(|at| HistoryEntry { at, what: what.to_owned(), until: None, class }));
        };
        tell(job.timestamp(), "added", "");
        tell(job.processed_on(), "taken by a worker, the last time", "active");
        let failed = job.failed_reason().is_some();
        tell(
            job.finished_on(),
            if failed { "failed" } else { "completed" },
            if failed { "failed" } else { "completed" },
        );
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// Describes an event in a sentence; `None` if it adds nothing.
fn words(event: &QueueEvent) -> Option<(String, &'static str)> {
    Some(match event {
        QueueEvent::Added { .. } => ("added".into(), ""),
        QueueEvent::Waiting { prev, .. } => match prev {
            Some(prev) => (format!("waits, after it was {prev}"), ""),
            None => ("waits for a worker".into(), ""),
        },
        QueueEvent::Active { .. } => ("taken by a worker".into(), "active"),
        QueueEvent::Completed { .. } => ("completed".into(), "completed"),
        QueueEvent::Failed { .. } => ("failed for good".into(), "failed"),
        QueueEvent::RetriesExhausted { attempts_made, .. } => {
            (format!("no attempt is left after {}", attempts_made.unwrap_or(0)), "failed")
        }
        QueueEvent::Delayed { due: Some(_), .. } => ("delayed until".into(), ""),
        QueueEvent::Delayed { .. } => ("delayed".into(), ""),
        QueueEvent::WaitingChildren { .. } => ("waits for its children".into(), ""),
        QueueEvent::Stalled { .. } => ("stalled: its worker was gone".into(), "failed"),
        QueueEvent::Deduplicated { .. } => ("stayed, as an add was deduplicated".into(), ""),
        QueueEvent::Duplicated { .. } => ("stayed, as an add had its id".into(), ""),
        _ => return None,
    })
}

pub(super) fn show(steps: &[HistoryEntry], known: &StoredJob, now: SystemTime) -> Markup {
    let since = |n: usize| n.checked_sub(1).and_then(|before| steps[n].at.duration_since(steps[before].at).ok());
    html! {
        section #timeline.box aria-label="Timeline" data-swap {
            h2 { "Timeline" }
            ol.timeline {
                @for (n, step) in steps.iter().enumerate() {
                    li class=(step.class) {
                        b { (step.what) }
                        @if step.until.is_some() { " " (exactly(step.until, now)) }
                        @if let Some(after) = since(n) { span.faint { " after " (span(after)) } }
                        br;
                        (exactly(Some(step.at), now))
                    }
                }
                @if let Some(due) = known.due { li { b { "due" } br; (exactly(Some(due), now)) } }
            }
        }
    }
}
