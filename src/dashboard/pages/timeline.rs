//! What has happened to a job, as its fields and the event stream of the queue tell.

use std::time::SystemTime;

use maud::{Markup, html};

use super::super::app::AnyQueue;
use super::super::moment::{exactly, span};
use super::job::Known;
use crate::clock::{epoch_ms, from_epoch_ms};
use crate::wire::QueueEvent;

/// So many events are looked at around each moment that the job tells: its history may be incomplete in a busy queue, but
/// what is asked of Redis is bounded.
const EVENTS: u32 = 500;

/// Events are stamped by the server's clock, the job by its clients'.
const SLACK: u64 = 2_000;

pub(super) struct Step {
    at: SystemTime,
    what: String,
    /// Until when, if what has happened lasts.
    until: Option<SystemTime>,
    class: &'static str,
}

/// All that is known, in order.
pub(super) async fn read(queue: &AnyQueue, known: &Known) -> Vec<Step> {
    let Ok(job) = &known.job else { return Vec::new() };
    let mut steps = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let moments = [job.timestamp(), job.processed_on(), job.finished_on()];
    for at in moments.into_iter().flatten() {
        let from = epoch_ms(at).saturating_sub(SLACK);
        // A history that cannot be read leaves the fields of the job.
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
                steps.push(Step { at: from_epoch_ms(id.ms()), what, until, class });
            }
        }
    }
    if steps.is_empty() {
        let mut tell = |at: Option<SystemTime>, what: &str, class| {
            steps.extend(at.map(|at| Step { at, what: what.to_owned(), until: None, class }));
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

/// An event as a sentence; none for what says nothing of its own.
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

pub(super) fn show(steps: &[Step], known: &Known, now: SystemTime) -> Markup {
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
