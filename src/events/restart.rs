//! Keeps the readers of events alive: a reader that panics, by a fault of ours or of a log subscriber, is started again
//! where it was.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt;

use crate::keys::QueueKeys;

/// The pauses before a task is started again: they double up to the longest.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// Counts the panics of one task in a row.
pub(super) struct Restarts {
    task: &'static str,
    keys: QueueKeys,
    pause: Duration,
}

impl Restarts {
    pub(super) fn new(task: &'static str, keys: &QueueKeys) -> Self {
        Self { task, keys: keys.clone(), pause: FIRST }
    }

    /// Runs the task. If it panics, this logs it, waits a moment, and returns the message.
    pub(super) async fn run(&mut self, task: impl Future<Output = ()>) -> Result<(), String> {
        let Err(payload) = AssertUnwindSafe(task).catch_unwind().await else { return Ok(()) };
        let problem = text(&*payload);
        // Dropping the payload of a panic may panic, and so may logging: a log subscriber is not ours.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(payload))).map_err(std::mem::forget);
        let (name, queue) = (self.task, &self.keys);
        let told = catch_unwind(AssertUnwindSafe(|| {
            tracing::error!(task = name, ?queue, problem, "an inner task panicked, and is started again");
        }));
        let _ = told.map_err(std::mem::forget);
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST);
        Err(problem)
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
}
