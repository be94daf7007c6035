//! Checks for jobs that are active without a lock.

use std::sync::Arc;
use std::time::Duration;

use super::WorkerCore;
use super::event::WorkerEvent;
use super::shared_look::SharedLooks;
use crate::error::Error;
use crate::failpoint;

/// The pause after a check that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);

/// Checks at once, and then at each interval, unless nothing is active. The check is shared: per interval only one
/// worker makes it.
pub(crate) async fn check_for_ever(worker: &WorkerCore, looks: &Arc<SharedLooks>) {
    let interval = worker.host.options.stalled_interval;
    let lookout = looks.join(worker.queue.engine(), interval, interval);
    loop {
        failpoint::hit("stalled check", &worker.queue.engine().keys);
        let pause = match worker.queue.engine().recover_stalled(interval, worker.host.options.max_stalled_count).await {
            Ok(recovered) => {
                for job_id in recovered {
                    tracing::warn!(job_id, queue = ?worker.queue.engine().keys, "a stalled job was put back");
                    worker.events.emit(|| WorkerEvent::Stalled { job_id });
                }
                interval
            }
            Err(error) => {
                // A check that may not have happened is made up for by the next one.
                if !error.is_retryable() && !matches!(error, Error::OutcomeUnknown { .. }) {
                    worker.events.error(error);
                }
                PAUSE_AFTER_ERROR.min(interval)
            }
        };
        lookout.looked(pause);
        lookout.is_due(|| worker.locks.count() > 0).await;
    }
}
