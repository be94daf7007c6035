//! The spans. What they are made of is computed only if somebody listens.

use tracing::Span;
use tracing::field::Empty;

use crate::wire::job::RawJob;

/// All spans have this target, so that one directive turns them on or off.
macro_rules! span {
    ($name:literal, $kind:literal, $queue:expr, $($fields:tt)*) => {
        tracing::info_span!(
            target: "oxmq::trace",
            $name,
            otel.kind = $kind,
            messaging.system = "bullmq",
            messaging.operation.name = $name,
            messaging.destination.name = $queue,
            bullmq.queue.name = $queue,
            bullmq.queue.operation = $name,
            $($fields)*
        )
    };
}

/// One add; the id is recorded when it is known.
pub(crate) fn add(queue: &str, job: &str) -> Span {
    span!(
        "add",
        "producer",
        queue,
        otel.name = %format_args!("add {queue}.{job}"),
        messaging.operation.r#type = "send",
        messaging.message.id = Empty,
        bullmq.job.name = job,
        bullmq.job.id = Empty,
    )
}

/// An add of many jobs.
pub(crate) fn add_bulk(queue: &str, jobs: usize) -> Span {
    span!(
        "addBulk",
        "producer",
        queue,
        otel.name = %format_args!("addBulk {queue}"),
        messaging.operation.r#type = "send",
        messaging.batch.message_count = jobs,
        bullmq.job.bulk.count = jobs,
    )
}

/// One attempt at a job, as a part of the trace that the job was added in.
pub(crate) fn process(queue: &str, worker: Option<&str>, worker_id: &str, job: &RawJob) -> Span {
    let span = span!(
        "process",
        "consumer",
        queue,
        otel.name = %format_args!("process {queue}"),
        otel.status_code = Empty,
        otel.status_description = Empty,
        messaging.operation.r#type = "process",
        messaging.message.id = job.id,
        messaging.client.id = worker_id,
        bullmq.worker.id = worker_id,
        bullmq.worker.name = worker,
        bullmq.job.id = job.id,
        bullmq.job.name = job.name,
        bullmq.job.attempts.made = job.attempts_made,
        bullmq.job.processed.timestamp = job.processed_on,
        bullmq.job.failed.reason = Empty,
        oxmq.job.outcome = Empty,
    );
    #[cfg(feature = "otel")]
    if let Some(metadata) = &job.options.telemetry
        && !span.is_disabled()
    {
        super::context::continue_from(&span, metadata);
    }
    span
}
