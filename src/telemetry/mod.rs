//! Spans, the trace context that travels in `opts.tm`, and figures. Every name is told in docs/telemetry.md.

#[cfg(feature = "otel")]
mod attributes;
#[cfg(feature = "otel")]
mod context;
mod figures;
mod spans;

pub(crate) use figures::{AddFigures, Counted, Stopwatch, WorkerFigures, job_counts};
pub(crate) use spans::{add, add_bulk, add_bulk_flows, add_flow, added, ended, job};

use tracing::Span;

/// The context of a span as `opts.tm` has it: JSON of W3C headers. None without the feature `otel`, and where there is
/// no trace.
#[cfg(not(feature = "otel"))]
pub(crate) fn inject(_: &Span) -> Option<String> {
    None
}

/// The context of a span as `opts.tm` has it: JSON of W3C headers; none where there is no trace.
#[cfg(feature = "otel")]
pub(crate) fn inject(span: &Span) -> Option<String> {
    context::inject(span)
}
