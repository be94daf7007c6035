//! Spans, the trace context in `opts.tm`, and metrics. docs/telemetry.md lists every name.

#[cfg(feature = "otel")]
mod attributes;
#[cfg(feature = "otel")]
mod context;
mod figures;
mod spans;

pub(crate) use figures::{AddFigures, Counted, Stopwatch, WorkerFigures, job_counts};
pub(crate) use spans::{add, add_bulk, add_bulk_flows, add_flow, added, ended, job};

use tracing::Span;

/// Returns the trace context of a span for `opts.tm`: JSON of W3C headers. `None` without the feature `otel`, and
/// without a trace.
#[cfg(not(feature = "otel"))]
pub(crate) fn inject(_: &Span) -> Option<String> {
    None
}

/// Returns the trace context of a span for `opts.tm`: JSON of W3C headers; `None` without a trace.
#[cfg(feature = "otel")]
pub(crate) fn inject(span: &Span) -> Option<String> {
    context::inject(span)
}
