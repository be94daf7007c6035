//! Jobs that are failed without being run.

use super::failure::Fault;
use super::verdict::{Verdict, failed};
use crate::engine::Engine;
use crate::error::FailureKind;
use crate::options::WorkerOptions;
use crate::wire::job::RawJob;
use crate::wire::json;

/// Returns the outcome of a job that is failed without being run, if there is a reason to; for workers and for fetching
/// by hand. Makes a round trip only for a job that should have started within a span and seems to be late.
pub(crate) async fn unrun(engine: &Engine, raw: &RawJob, worker: &WorkerOptions) -> Option<Verdict> {
    let started_too_often = worker.max_started_attempts.is_some_and(|most| most > 0 && most < raw.attempts_started);
    let fault = match raw.deferred_failure() {
        Some(reason) => deferred(reason),
        None if started_too_often => Fault::unrecoverable("job started more than allowable limit"),
        None => match lateness(raw) {
            Lateness::InTime => return None,
            Lateness::Expired => expired(),
            // Few jobs come to this: boxed, so that the task of every other one is smaller.
            Lateness::UnlessParent if Box::pin(may_be_parent(engine, raw)).await => return None,
            Lateness::UnlessParent => expired(),
        },
    };
    Some(failed(raw, fault, worker))
}

/// Returns the failure of a job whose failure was deferred. The queue itself defers it for a child that failed or a job that
/// stalled too often, and BullMQ stores both as these texts alone; everything else is the reason of a cancellation.
fn deferred(reason: &str) -> Fault {
    let is_stalled = reason == "job stalled more than allowable limit";
    if is_stalled || (reason.starts_with("child ") && reason.ends_with(" failed")) {
        Fault::unrecoverable(reason)
    } else {
        Fault::new(FailureKind::Cancelled, reason)
    }
}

fn expired() -> Fault {
    Fault::new(FailureKind::Expired, "the job expired: no worker had begun it in time")
}

/// Returns whether a job may have waited for children, nobody knows until when: BullMQ does not note when it releases a
/// parent. A job of which that cannot be found out may have.
async fn may_be_parent(engine: &Engine, raw: &RawJob) -> bool {
    match engine.get_dependencies_count(raw.id()).await {
        Ok(counts) => counts.unprocessed + counts.failed + counts.ignored + counts.processed > 0,
        Err(_) => true,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lateness {
    InTime,
    Expired,
    /// Late if it was ready from the beginning.
    UnlessParent,
}

/// Returns whether this is the first start of a job that should have started earlier.
fn lateness(raw: &RawJob) -> Lateness {
    let Some(begun) = raw.processed_on.filter(|_| raw.attempts_started <= 1) else { return Lateness::InTime };
    if raw.options.start_by.is_some_and(|latest| begun > json::integer(latest)) {
        return Lateness::Expired;
    }
    let Some(span) = raw.options.expires_in.map(json::integer) else { return Lateness::InTime };
    if begun <= raw.ready_at().unwrap_or(begun).saturating_add(span) {
        return Lateness::InTime;
    }
    if raw.ready_on().is_some() {
        return Lateness::Expired;
    }
    // Node forgets the starts of a job that is retried, and does not note when it was.
    let has_run = raw.attempts_made > 0 || raw.stacktrace_text().is_some() || raw.processed_by().is_some();
    if has_run { Lateness::InTime } else { Lateness::UnlessParent }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: &str = r#"{"delay":10,"expiresIn":100}"#;

    /// A job of these fields besides its own, added at 1,000 ms, with its first start at `begun`.
    fn late(opts: &str, begun: i64, more: &[(&str, &str)]) -> Lateness {
        let own = [("name", "n"), ("data", "{}"), ("opts", opts), ("timestamp", "1000"), ("delay", "0")];
        let bytes = |text: &str| text.as_bytes().to_vec();
        let pairs = own.iter().chain(more).map(|(field, value)| (bytes(field), bytes(value))).collect();
        let mut raw = RawJob::from_pairs(bytes("7"), pairs).unwrap();
        raw.attempts_started += 1;
        raw.processed_on = Some(begun);
        lateness(&raw)
    }

    #[test]
    fn a_span_counts_from_when_a_job_became_ready() {
        assert_eq!(late(SPAN, 1_110, &[]), Lateness::InTime);
        assert_eq!(late(SPAN, 1_111, &[]), Lateness::UnlessParent);
        let noted = [("oxmq:ready", "5000")];
        assert_eq!(late(SPAN, 5_100, &noted), Lateness::InTime);
        assert_eq!(late(SPAN, 5_101, &noted), Lateness::Expired);
        assert_eq!(late(SPAN, 9_000, &[("oxmq:ready", "500")]), Lateness::Expired);
        assert_eq!(late(SPAN, 9_000, &[("oxmq:ready", "x")]), Lateness::UnlessParent);
    }

    #[test]
    fn a_moment_counts_whatever_the_job_waited_for() {
        let opts = r#"{"startBy":2000,"expiresIn":100000}"#;
        assert_eq!(late(opts, 2_000, &[]), Lateness::InTime);
        assert_eq!(late(opts, 2_001, &[("oxmq:ready", "2000")]), Lateness::Expired);
    }

    #[test]
    fn a_job_that_was_begun_before_is_not_late() {
        assert_eq!(late(SPAN, 9_000, &[("ats", "1"), ("oxmq:ready", "1")]), Lateness::InTime);
        for trace in [("atm", "1"), ("stacktrace", "[]"), ("pb", "w")] {
            assert_eq!(late(SPAN, 9_000, &[trace]), Lateness::InTime, "{trace:?}");
        }
    }

    #[test]
    fn a_job_that_was_cancelled_before_it_ran_is_cancelled() {
        assert_eq!(deferred("not wanted").kind, FailureKind::Cancelled);
        assert_eq!(deferred("child bull:q:7 failed").kind, FailureKind::Unrecoverable);
        assert_eq!(deferred("job stalled more than allowable limit").kind, FailureKind::Unrecoverable);
    }
}
