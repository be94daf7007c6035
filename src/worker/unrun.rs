//! Jobs that are failed without being run.

use super::failure::Fault;
use super::verdict::{Verdict, failed};
use crate::engine::Engine;
use crate::error::FailureKind;
use crate::options::WorkerOptions;
use crate::wire::job::RawJob;
use crate::wire::json;

/// Returns the outcome of a job that is failed without being run, if there is a reason to; for workers and for fetching
/// by hand. `begun` is when it begins, in ms. Makes a round trip or two only for a job that should have started within a
/// span and seems to be late.
pub(crate) async fn unrun(
    engine: &Engine,
    raw: &RawJob,
    begun: Option<i64>,
    worker: &WorkerOptions,
) -> Option<Verdict> {
    let started_too_often = worker.max_started_attempts.is_some_and(|most| most > 0 && most < raw.attempts_started);
    let fault = match raw.deferred_failure() {
        Some(reason) => deferred(reason),
        None if started_too_often => Fault::unrecoverable("job started more than allowable limit"),
        None => match lateness(raw, begun) {
            Lateness::InTime => return None,
            Lateness::Expired => expired(),
            // Few jobs come to this: boxed, so that the task of every other one is smaller.
            Lateness::Unclear(doubt) if Box::pin(is_expired(engine, raw, doubt)).await => expired(),
            Lateness::Unclear(_) => return None,
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

/// Returns whether a job has expired of which its hash does not tell when it became ready: BullMQ does not note it. Its
/// newest events tell, if they reach back far enough.
async fn is_expired(engine: &Engine, raw: &RawJob, doubt: Doubt) -> bool {
    match engine.find_ready(raw.id(), doubt.ready_since).await {
        Ok(Some(became_ready)) => !became_ready,
        _ => doubt.is_late_by_first_delay && !may_be_parent(engine, raw).await,
    }
}

/// Returns whether a job may have waited for children, nobody knows until when. A job of which that cannot be found out
/// may have.
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
    Unclear(Doubt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doubt {
    /// It is in time if it has become ready since this moment, in ms.
    ready_since: i64,
    /// Whether it is late if it has been ready since it was added and its first delay over.
    is_late_by_first_delay: bool,
}

/// Returns whether this is the first start of a job that should have started earlier.
fn lateness(raw: &RawJob, begun: Option<i64>) -> Lateness {
    let Some(begun) = begun.filter(|_| raw.attempts_started <= 1) else { return Lateness::InTime };
    if raw.options.start_by.is_some_and(|latest| begun > json::integer(latest)) {
        return Lateness::Expired;
    }
    let Some(span) = raw.options.expires_in.map(json::integer) else { return Lateness::InTime };
    let is_late = |ready: i64| begun > ready.saturating_add(span);
    // Node forgets the starts of a job that is retried; what made it ready before says nothing then.
    let has_run = raw.attempts_made > 0 || raw.stacktrace_text().is_some() || raw.processed_by().is_some();
    if let Some(ready) = raw.retried_on().or(raw.ready_on().filter(|_| !has_run)) {
        return if is_late(ready) { Lateness::Expired } else { Lateness::InTime };
    }
    // It was not ready before it was added.
    let Some(added) = raw.timestamp.filter(|added| is_late(*added)) else { return Lateness::InTime };
    let delay = raw.options.delay.map_or(0, json::integer).max(0);
    let due = added.saturating_add(delay);
    let was_promoted_early = begun < due;
    if !is_late(due) && !was_promoted_early && !has_run {
        return Lateness::InTime;
    }
    let is_late_by_first_delay = is_late(due) && !has_run;
    Lateness::Unclear(Doubt { ready_since: begun.saturating_sub(span), is_late_by_first_delay })
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
        lateness(&raw, Some(begun))
    }

    /// It depends on whether it became ready within the last 100 ms; where nothing tells, on its first delay.
    fn unclear(begun: i64, is_late_by_first_delay: bool) -> Lateness {
        Lateness::Unclear(Doubt { ready_since: begun - 100, is_late_by_first_delay })
    }

    #[test]
    fn a_span_counts_from_when_a_job_became_ready() {
        assert_eq!(late(SPAN, 1_110, &[]), Lateness::InTime);
        assert_eq!(late(SPAN, 1_111, &[]), unclear(1_111, true));
        let noted = [("oxmq:ready", "5000")];
        assert_eq!(late(SPAN, 5_100, &noted), Lateness::InTime);
        assert_eq!(late(SPAN, 5_101, &noted), Lateness::Expired);
        assert_eq!(late(SPAN, 9_000, &[("oxmq:ready", "500")]), Lateness::Expired);
        assert_eq!(late(SPAN, 9_000, &[("oxmq:ready", "x")]), unclear(9_000, true));
    }

    /// Node does not note that it has promoted a job. It has, where the job is begun before its delay is over.
    #[test]
    fn a_job_that_is_begun_before_its_delay_is_over_was_promoted() {
        let opts = r#"{"delay":1000,"expiresIn":100}"#;
        assert_eq!(late(opts, 1_100, &[]), Lateness::InTime);
        assert_eq!(late(opts, 1_101, &[]), unclear(1_101, false));
        assert_eq!(late(opts, 1_999, &[]), unclear(1_999, false));
        assert_eq!(late(opts, 2_000, &[]), Lateness::InTime);
        assert_eq!(late(opts, 2_100, &[]), Lateness::InTime);
        assert_eq!(late(opts, 2_101, &[]), unclear(2_101, true));
    }

    #[test]
    fn a_moment_counts_whatever_the_job_waited_for() {
        let opts = r#"{"startBy":2000,"expiresIn":100000}"#;
        assert_eq!(late(opts, 2_000, &[]), Lateness::InTime);
        assert_eq!(late(opts, 2_001, &[("oxmq:ready", "2000")]), Lateness::Expired);
    }

    #[test]
    fn a_job_that_has_run_counts_from_when_it_was_retried() {
        assert_eq!(late(SPAN, 9_000, &[("ats", "1"), ("oxmq:ready", "1")]), Lateness::InTime);
        for trace in [("atm", "1"), ("stacktrace", "[]"), ("pb", "w")] {
            // Whatever made it ready the first time says nothing.
            assert_eq!(late(SPAN, 9_000, &[trace, ("oxmq:ready", "500")]), unclear(9_000, false), "{trace:?}");
            assert_eq!(late(SPAN, 9_000, &[trace, ("oxmq:retried", "8900")]), Lateness::InTime, "{trace:?}");
            assert_eq!(late(SPAN, 9_000, &[trace, ("oxmq:retried", "8899")]), Lateness::Expired, "{trace:?}");
        }
    }
}
