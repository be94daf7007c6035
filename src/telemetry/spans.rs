//! The spans. They have few fields, since every log line inside a job shows all of them; further attributes of traces
//! are sent to OpenTelemetry only, see [`attributes`](super::attributes).

use tracing::Span;
use tracing::field::Empty;

use crate::wire::job::RawJob;

/// Creates a span with the target that all spans share, so that one directive turns them on or off. `otel.kind` is the
/// only field that tracing-opentelemetry cannot get in another way.
macro_rules! span {
    ($name:literal, $kind:literal, $($fields:tt)*) => {{
        #[cfg(feature = "otel")]
        let span = tracing::info_span!(target: "oxmq::trace", $name, $($fields)*, otel.kind = $kind);
        #[cfg(not(feature = "otel"))]
        let span = tracing::info_span!(target: "oxmq::trace", $name, $($fields)*);
        span
    }};
}

/// Creates the span of one add; the id is recorded when it is known, see [`added`].
pub(crate) fn add(queue: &str, job: &str) -> Span {
    let span = span!("add", "producer", queue, name = job, id = Empty);
    #[cfg(feature = "otel")]
    super::attributes::add(&span, queue, job);
    span
}

/// Records the job that an add has created or found.
pub(crate) fn added(span: &Span, id: &str) {
    span.record("id", id);
    #[cfg(feature = "otel")]
    super::attributes::added(span, id);
}

/// Creates the span of a bulk add.
pub(crate) fn add_bulk(queue: &str, jobs: usize) -> Span {
    let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
    let span = span!("addBulk", "producer", queue, jobs);
    #[cfg(feature = "otel")]
    super::attributes::add_bulk(&span, queue, jobs);
    span
}

/// Creates the span of adding a flow; the id of its root is recorded when it is known, see [`added`].
pub(crate) fn add_flow(queue: &str, root: &str) -> Span {
    let span = span!("addFlow", "producer", queue, name = root, id = Empty);
    #[cfg(feature = "otel")]
    super::attributes::add_flow(&span, queue, root);
    span
}

/// Creates the span of adding several flows.
pub(crate) fn add_bulk_flows(flows: usize) -> Span {
    let flows = i64::try_from(flows).unwrap_or(i64::MAX);
    let span = span!("addBulkFlows", "producer", flows);
    #[cfg(feature = "otel")]
    super::attributes::add_bulk_flows(&span, flows);
    span
}

/// Creates the span of one attempt at a job, as part of the trace in which the job was added.
#[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "traces alone name the worker"))]
pub(crate) fn job(queue: &str, worker: Option<&str>, worker_id: &str, job: &RawJob) -> Span {
    // OpenTelemetry has no unsigned numbers, and would get a text.
    let attempt = i64::from(job.attempts_made) + 1;
    let span = span!("job", "consumer", queue, id = job.id(), name = job.name(), attempt);
    #[cfg(feature = "otel")]
    super::attributes::job(&span, queue, worker, worker_id, job);
    span
}

/// Records how the attempt ended; with a reason if it failed.
#[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "for traces alone"))]
pub(crate) fn ended(span: &Span, outcome: &'static str, reason: Option<&str>) {
    #[cfg(feature = "otel")]
    super::attributes::ended(span, outcome, reason);
}
