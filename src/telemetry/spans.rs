//! The spans. They are small, since a log line inside a job carries all that they hold; what traces want besides goes to
//! OpenTelemetry alone, see [`attributes`](super::attributes).

use tracing::Span;
use tracing::field::Empty;

use crate::wire::job::RawJob;

/// All spans have this target, so that one directive turns them on or off. `otel.kind` is the one field that
/// tracing-opentelemetry takes from no other place.
macro_rules! span {
    ($name:literal, $kind:literal, $($fields:tt)*) => {{
        #[cfg(feature = "otel")]
        let span = tracing::info_span!(target: "oxmq::trace", $name, $($fields)*, otel.kind = $kind);
        #[cfg(not(feature = "otel"))]
        let span = tracing::info_span!(target: "oxmq::trace", $name, $($fields)*);
        span
    }};
}

/// One add; the id is recorded when it is known, see [`added`].
pub(crate) fn add(queue: &str, job: &str) -> Span {
    let span = span!("add", "producer", queue, name = job, id = Empty);
    #[cfg(feature = "otel")]
    super::attributes::add(&span, queue, job);
    span
}

/// The add has made, or found, this job.
pub(crate) fn added(span: &Span, id: &str) {
    span.record("id", id);
    #[cfg(feature = "otel")]
    super::attributes::added(span, id);
}

/// An add of many jobs.
pub(crate) fn add_bulk(queue: &str, jobs: usize) -> Span {
    let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
    let span = span!("addBulk", "producer", queue, jobs);
    #[cfg(feature = "otel")]
    super::attributes::add_bulk(&span, queue, jobs);
    span
}

/// An add of a flow; the id of its root is recorded when it is known, see [`added`].
pub(crate) fn add_flow(queue: &str, root: &str) -> Span {
    let span = span!("addFlow", "producer", queue, name = root, id = Empty);
    #[cfg(feature = "otel")]
    super::attributes::add_flow(&span, queue, root);
    span
}

/// An add of many flows.
pub(crate) fn add_bulk_flows(flows: usize) -> Span {
    let flows = i64::try_from(flows).unwrap_or(i64::MAX);
    let span = span!("addBulkFlows", "producer", flows);
    #[cfg(feature = "otel")]
    super::attributes::add_bulk_flows(&span, flows);
    span
}

/// One attempt at a job, as a part of the trace that the job was added in.
#[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "traces alone name the worker"))]
pub(crate) fn job(queue: &str, worker: Option<&str>, worker_id: &str, job: &RawJob) -> Span {
    // OpenTelemetry knows no unsigned numbers; it would be told a text.
    let attempt = i64::from(job.attempts_made) + 1;
    let span = span!("job", "consumer", queue, id = job.id, name = job.name, attempt);
    #[cfg(feature = "otel")]
    super::attributes::job(&span, queue, worker, worker_id, job);
    span
}

/// How the attempt ended; with a reason if it failed.
#[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "for traces alone"))]
pub(crate) fn ended(span: &Span, outcome: &'static str, reason: Option<&str>) {
    #[cfg(feature = "otel")]
    super::attributes::ended(span, outcome, reason);
}
