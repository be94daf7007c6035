//! Checks for job schedulers that have stopped, and puts their next run back.

use std::sync::Arc;
use std::time::Duration;

use super::WorkerCore;
use super::event::WorkerEvent;
use super::shared_look::SharedLooks;
use crate::scheduler;

/// Checks soon after the start, since workers that were down may have left something, and then at each interval. The
/// check is shared: per interval only one worker calls the server, and none if there are no schedulers.
pub(crate) async fn look_for_ever(worker: &WorkerCore, looks: &Arc<SharedLooks>) {
    let interval = worker.host.options.scheduler_check_interval;
    let engine = worker.queue.engine();
    let lookout = looks.join(engine, interval, interval.min(Duration::from_secs(1)));
    loop {
        lookout.is_due(|| false).await;
        let revived = scheduler::revive(engine, interval).await;
        worker.queue.mend_settings().await;
        match revived {
            Ok(revived) => {
                for revived in revived {
                    match revived {
                        Ok((scheduler, job_id)) => {
                            tracing::warn!(scheduler, job_id, queue = ?engine.keys, "a job scheduler had stopped and was revived");
                            worker.figures.scheduler_revived();
                            worker.events.emit(|| WorkerEvent::SchedulerRevived { scheduler, job_id });
                        }
                        Err(error) => worker.events.error(error),
                    }
                }
            }
            // The next check is soon enough.
            Err(error) if error.is_retryable() => {}
            Err(error) => worker.events.error(error),
        }
        lookout.looked(interval);
    }
}
