//! Searches for jobs that were removed.

use tokio::sync::oneshot;

use super::{CHUNK, Ending};
use crate::engine::Engine;
use crate::error::Result;
use crate::events::look_back::{Existed, look_back};
use crate::sync::Lock;

/// Collects searches for removed jobs. One caller searches for all, so that many searches at once cost no more than
/// one.
#[derive(Default)]
pub(super) struct Searches {
    asked: Lock<Vec<Asked>>,
    turn: tokio::sync::Mutex<()>,
}

/// One search: for which job, and whom to tell.
struct Asked {
    job: (String, Existed),
    tell: oneshot::Sender<Option<Ending>>,
}

impl Searches {
    /// Returns how a removed job ended, as far as its events still exist.
    pub(super) async fn look_back(&self, engine: &Engine, id: &str, existed: Existed) -> Result<Option<Ending>> {
        let Self { asked, turn } = self;
        loop {
            let (tell, mut told) = oneshot::channel();
            asked.lock().push(Asked { job: (id.to_owned(), existed), tell });
            let _turn = tokio::select! {
                biased;
                outcome = &mut told => match outcome {
                    Ok(outcome) => return Ok(outcome),
                    // The caller that searched for us was cancelled, or had an error.
                    Err(_) => continue,
                },
                turn = turn.lock() => turn,
            };
            match told.try_recv() {
                Ok(outcome) => return Ok(outcome),
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let searches = {
                let mut asked = asked.lock();
                // Ours is among the last.
                let rest = asked.len().saturating_sub(CHUNK);
                asked.split_off(rest)
            };
            let (jobs, tell): (Vec<_>, Vec<_>) = searches.into_iter().map(|Asked { job, tell }| (job, tell)).unzip();
            let outcomes = look_back(engine, &jobs).await?;
            for (tell, outcome) in tell.into_iter().zip(outcomes) {
                // Nobody receives it if the caller has gone.
                let _ = tell.send(outcome);
            }
            if let Ok(outcome) = told.try_recv() {
                return Ok(outcome);
            }
        }
    }
}
