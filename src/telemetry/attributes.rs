//! Attributes of spans for OpenTelemetry only, which a log line does not need.
//!
//! The names of spans and the `bullmq.…` attributes are those of bullmq-otel; numbers are numbers, as there.

use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{StringValue, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::wire::job::RawJob;

fn common(span: &Span, operation: &'static str, kind: &'static str, queue: &str) {
    let queue = StringValue::from(queue.to_owned());
    set(
        span,
        [
            ("messaging.system", "bullmq".into()),
            ("messaging.operation.name", operation.into()),
            ("messaging.operation.type", kind.into()),
            ("messaging.destination.name", queue.clone().into()),
            ("bullmq.queue.name", queue.into()),
            ("bullmq.queue.operation", operation.into()),
        ],
    );
}

fn set<const N: usize>(span: &Span, attributes: [(&'static str, Value); N]) {
    for (key, value) in attributes {
        span.set_attribute(key, value);
    }
}

fn text(text: &str) -> Value {
    text.to_owned().into()
}

/// Starts the span, which fixes its parent and what samplers see of it, and sets the name by which traces are found.
fn name(span: &Span, name: String) {
    span.context().span().update_name(name);
}

pub(super) fn add(span: &Span, queue: &str, job: &str) {
    if span.is_disabled() {
        return;
    }
    common(span, "add", "send", queue);
    set(span, [("bullmq.job.name", text(job))]);
    name(span, format!("add {queue}.{job}"));
}

pub(super) fn added(span: &Span, id: &str) {
    if !span.is_disabled() {
        set(span, [("messaging.message.id", text(id)), ("bullmq.job.id", text(id))]);
    }
}

pub(super) fn add_bulk(span: &Span, queue: &str, jobs: i64) {
    if span.is_disabled() {
        return;
    }
    common(span, "addBulk", "send", queue);
    set(span, [("messaging.batch.message_count", jobs.into()), ("bullmq.job.bulk.count", jobs.into())]);
    name(span, format!("addBulk {queue}"));
}

pub(super) fn add_flow(span: &Span, queue: &str, root: &str) {
    if span.is_disabled() {
        return;
    }
    common(span, "addFlow", "send", queue);
    set(span, [("bullmq.flow.name", text(root))]);
    name(span, format!("addFlow {queue}"));
}

pub(super) fn add_bulk_flows(span: &Span, flows: i64) {
    if span.is_disabled() {
        return;
    }
    set(
        span,
        [
            ("messaging.system", "bullmq".into()),
            ("messaging.operation.name", "addBulkFlows".into()),
            ("messaging.operation.type", "send".into()),
            ("messaging.batch.message_count", flows.into()),
            ("bullmq.job.bulk.count", flows.into()),
        ],
    );
    name(span, "addBulkFlows".to_owned());
}

pub(super) fn job(span: &Span, queue: &str, worker: Option<&str>, worker_id: &str, job: &RawJob) {
    if span.is_disabled() {
        return;
    }
    if let Some(metadata) = &job.options.telemetry {
        super::context::continue_from(span, metadata);
    }
    common(span, "process", "process", queue);
    set(
        span,
        [
            ("messaging.message.id", text(job.id())),
            ("messaging.client.id", text(worker_id)),
            ("bullmq.worker.id", text(worker_id)),
            ("bullmq.job.id", text(job.id())),
            ("bullmq.job.name", text(job.name())),
            ("bullmq.job.attempts.made", i64::from(job.attempts_made).into()),
        ],
    );
    if let Some(worker) = worker {
        set(span, [("bullmq.worker.name", text(worker))]);
    }
    if let Some(at) = job.processed_on {
        set(span, [("bullmq.job.processed.timestamp", at.into())]);
    }
    name(span, format!("process {queue}"));
}

pub(super) fn ended(span: &Span, outcome: &'static str, reason: Option<&str>) {
    set(span, [("oxmq.job.outcome", outcome.into())]);
    if let Some(reason) = reason {
        set(span, [("bullmq.job.failed.reason", text(reason))]);
        span.set_status(Status::error(reason.to_owned()));
    }
}
