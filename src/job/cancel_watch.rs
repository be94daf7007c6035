//! Tells attempts of their cancellation, whichever process asked for it.
//!
//! A worker's lock thread looks for the attempts of that worker. For jobs that were fetched by hand, a task per queue
//! looks while any of them is held.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Attempt, CancelReason};
use crate::engine::Engine;
use crate::error::WithCauses;
use crate::sync::{Lock, spawn};
use crate::worker::supervise_quietly;

/// How often to look, so that an attempt is told within a second.
pub(crate) const INTERVAL: Duration = Duration::from_millis(700);

/// Cancels those of the attempts for which there is a request, and returns them. One small command if the queue has no
/// requests, otherwise one more per 1,000 attempts.
///
/// The requests stay until the attempts end, so none is lost if this process dies.
pub(crate) async fn tell(engine: &Engine, attempts: &[Arc<Attempt>]) -> Vec<Arc<Attempt>> {
    let asked: Vec<_> = attempts.iter().map(|attempt| (attempt.id(), &**attempt.token())).collect();
    let mut told = Vec::new();
    match engine.find_cancelled(&asked).await {
        Ok(found) => {
            for (place, reason) in found {
                let attempt = &attempts[place];
                if attempt.cancel(CancelReason::Cancelled(reason)) {
                    tracing::debug!(job_id = attempt.id().to_string(), "cancelled");
                    told.push(Arc::clone(attempt));
                }
            }
        }
        Err(error) => tracing::debug!(error = %WithCauses(&error), "requests to cancel could not be read"),
    }
    told
}

/// The attempts of one queue that were fetched by hand.
///
/// Each fetch adds to them. While any is held, a task looks for cancellations, in the runtime of the fetch that found
/// no task. If that runtime ends, the next fetch starts another.
#[derive(Default)]
pub(crate) struct CancelWatch {
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    attempts: Vec<Weak<Attempt>>,
    task: Option<JoinHandle<()>>,
}

impl CancelWatch {
    /// Watches an attempt until it has ended or is dropped. Must be called in a runtime.
    pub(crate) fn add(self: &Arc<Self>, engine: &Engine, attempt: &Arc<Attempt>) {
        let mut state = self.state.lock();
        state.attempts.push(Arc::downgrade(attempt));
        if state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let (watch, engine) = (Arc::clone(self), engine.clone());
            state.task = Some(spawn(supervise_quietly("cancellations", move || {
                let (watch, engine) = (Arc::clone(&watch), engine.clone());
                async move { watch.look(&engine).await }
            })));
        }
    }

    async fn look(&self, engine: &Engine) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            crate::failpoint::hit("cancellations by hand", &engine.keys);
            let Some(attempts) = self.held() else { return };
            tell(engine, &attempts).await;
        }
    }

    /// Returns the attempts that are held and have not ended; `None` if there are none, and then the task ends.
    fn held(&self) -> Option<Vec<Arc<Attempt>>> {
        let mut state = self.state.lock();
        state.attempts.retain(|attempt| attempt.upgrade().is_some_and(|attempt| !attempt.has_ended()));
        if state.attempts.is_empty() {
            state.task = None;
            return None;
        }
        let waiting = state.attempts.iter().filter_map(Weak::upgrade);
        Some(waiting.filter(|attempt| attempt.cancel_reason().is_none()).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::engine::testing;
    use crate::{Client, failpoint};

    #[tokio::test]
    async fn the_look_is_started_again_after_a_panic() {
        let client = Client::builder(testing::options()).prefix("panic-by-hand").connect().await.unwrap();
        let queue = client.queue::<Value, Value>("q").open().unwrap();
        let worker = client.manual_worker::<Value, Value>("q").open().unwrap();
        queue.add("job", json!(1)).await.unwrap();
        let keys = crate::keys::QueueKeys::new("panic-by-hand", "q").unwrap();
        failpoint::arm("cancellations by hand", &keys);
        let job = worker.get_next_job("t").await.unwrap().unwrap();
        queue.job(job.id()).cancel("why").await.unwrap();
        let told = job.cancellation();
        tokio::time::timeout(std::time::Duration::from_secs(20), told.cancelled()).await.unwrap();
        assert!(!failpoint::is_armed("cancellations by hand", &keys));
    }
}
