//! Searches for jobs that were removed.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::CHUNK;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::events::look_back::{Existed, look_back};
use crate::events::wait_end::WaitEnd;
use crate::sync::{Lock, spawn};

/// Collects searches for removed jobs. One task searches for all, so that many searches at once cost no more than one,
/// and nobody waits for a caller that keeps its future and does not poll it.
#[derive(Clone, Default)]
pub(super) struct Searches(Arc<Lock<Open>>);

/// How many tasks may end before they have searched for a caller: a task ends with its runtime, which may be another one
/// than the caller's, and with a panic.
const MOST_TASKS: usize = 8;

#[derive(Default)]
struct Open {
    asked: Vec<Asked>,
    has_task: bool,
}

/// One search: for which job, and whom to tell.
struct Asked {
    job: (String, Existed),
    tell: oneshot::Sender<Result<Option<WaitEnd>>>,
}

impl Searches {
    /// Returns how a removed job ended, as far as its events still exist.
    pub(super) async fn look_back(&self, engine: &Engine, id: &str, existed: Existed) -> Result<Option<WaitEnd>> {
        for _ in 0..MOST_TASKS {
            let (tell, told) = oneshot::channel();
            let needs_task = {
                let mut open = self.0.lock();
                open.asked.push(Asked { job: (id.to_owned(), existed), tell });
                !std::mem::replace(&mut open.has_task, true)
            };
            if needs_task {
                let searching = Searching { searches: self.clone(), is_over: false };
                spawn(search(engine.clone(), searching));
            }
            if let Ok(outcome) = told.await {
                return outcome;
            }
        }
        Err(Error::Closed)
    }

    #[cfg(test)]
    pub(super) fn is_searching(&self) -> bool {
        self.0.lock().has_task
    }

    /// Returns the searches of the next call; the task ends if there are none.
    fn take(&self) -> Vec<Asked> {
        let mut open = self.0.lock();
        open.asked.retain(|asked| !asked.tell.is_closed());
        let n = open.asked.len().min(CHUNK);
        open.has_task = n > 0;
        open.asked.drain(..n).collect()
    }
}

/// A task that searches. If it ends early, those who wait for it start another one.
struct Searching {
    searches: Searches,
    is_over: bool,
}

impl Drop for Searching {
    fn drop(&mut self) {
        if !self.is_over {
            let mut open = self.searches.0.lock();
            open.has_task = false;
            let orphans = std::mem::take(&mut open.asked);
            drop(open);
            drop(orphans);
        }
    }
}

/// Searches until nobody waits for it.
async fn search(engine: Engine, mut searching: Searching) {
    loop {
        let asked = searching.searches.take();
        if asked.is_empty() {
            searching.is_over = true;
            return;
        }
        let (jobs, tell): (Vec<_>, Vec<_>) = asked.into_iter().map(|Asked { job, tell }| (job, tell)).unzip();
        // Nobody receives an answer if the caller has gone.
        match look_back(&engine, &jobs).await {
            Ok(outcomes) => {
                for (tell, outcome) in tell.into_iter().zip(outcomes) {
                    let _ = tell.send(Ok(outcome));
                }
            }
            // One caller is told of the error; for the others the search begins again.
            Err(error) => {
                let mut rest = jobs.into_iter().zip(tell);
                if let Some((_, tell)) = rest.next() {
                    let _ = tell.send(Err(error));
                }
                let mut open = searching.searches.0.lock();
                open.asked.extend(rest.map(|(job, tell)| Asked { job, tell }));
            }
        }
    }
}
