//! Job schedulers: what is stored of one, when its jobs run next, and the options they run with.

#[cfg(feature = "cron")]
pub(crate) mod cron;
mod next;
mod repeat;
mod revive;
#[cfg(feature = "cron")]
mod search;
mod upsert;

pub use repeat::{Repeat, Runs};
pub(crate) use revive::revive;
pub(crate) use upsert::{Template, plan};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::script::scheduler::Advanced;
use crate::wire::job::RawJob;

use next::Next;

/// Makes the next run of the scheduler `key`, which has made this job, if the job is its current run.
///
/// # Errors
///
/// There will be no next run: what the job or the scheduler says about it cannot be understood, or the server refuses
/// the call. Nothing was changed.
pub(crate) async fn advance(engine: &Engine, key: &str, job: &RawJob) -> Result<()> {
    let fail = |problem: String| Error::Scheduler { scheduler: key.to_owned(), problem };
    let now = engine.clock.now_ms();
    let advance = match next::after(key, job, now).map_err(fail)? {
        Next::Run(advance) => advance,
        Next::Ended => return Ok(()),
    };
    match engine.advance_scheduler(now, &advance).await? {
        Advanced::Created { .. } | Advanced::NotCurrent => Ok(()),
        Advanced::Taken { id } => {
            tracing::warn!(scheduler = key, %id, "a job has the id of the next run, so the scheduler stops");
            Ok(())
        }
        Advanced::Legacy => Err(fail(format!(
            "'{key}' is a repeatable job of an old BullMQ, not a job scheduler; upsert a job scheduler in its place"
        ))),
        Advanced::NoInterval => Err(fail("it has neither an interval nor a pattern".to_owned())),
    }
}
