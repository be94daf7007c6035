//! Job schedulers: how a job repeats, and when it runs next.
//!
//! A [`Repeat`] is an interval or a cron pattern. [`Queue::upsert_job_scheduler`](crate::Queue::upsert_job_scheduler) stores
//! it under an id, with the job to run; upserting it again at each start of the program changes it, and adds nothing
//! twice. Any worker of the queue makes the next run. [`Repeat::next_runs`] computes runs without a server, and
//! [`Overlap`] says what happens to one that is due while the last one still runs.

#[cfg(feature = "cron")]
pub(crate) mod cron;
mod next;
mod pattern;
mod repeat;
mod revive;
#[cfg(feature = "cron")]
mod search;
mod upsert;

pub use repeat::{Overlap, Repeat, Runs};
pub(crate) use revive::revive;
#[cfg(feature = "doctor")]
pub(crate) use revive::{Fate, fate_of, same_run};
pub(crate) use upsert::{Template, plan};
#[cfg(feature = "dashboard")]
pub(crate) use upsert::{replan, seed_of};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::script::advance_scheduler::Advanced;
use crate::wire::job::RawJob;

use next::NextRun;

/// What happens to a run that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Run,
    /// It was removed: an earlier run has not ended, and the scheduler's runs must not overlap.
    Skipped,
}

/// Creates the next run of the scheduler `key`, which has created this job, if the job is its current run. `token` is
/// the value of the job's lock.
///
/// # Errors
///
/// There will be no next run: what the job or the scheduler says about repetition cannot be read, or the server refuses
/// the call. Nothing was changed.
pub(crate) async fn advance(engine: &Engine, key: &str, job: &RawJob, token: &str) -> Result<Turn> {
    let fail = |problem: String| Error::Scheduler { scheduler: key.to_owned(), problem };
    let now = engine.clock.now_ms();
    let advance = match next::after(key, job, now).map_err(fail)? {
        NextRun::Run(advance) => advance,
        NextRun::Ended => return Ok(Turn::Run),
    };
    match engine.advance_scheduler(now, &advance, token).await? {
        Advanced::Created { .. } | Advanced::NotCurrent => Ok(Turn::Run),
        Advanced::Skipped => Ok(Turn::Skipped),
        Advanced::Taken { id } => {
            tracing::warn!(scheduler = key, id, "a job has the id of the next run, so the scheduler stops");
            Ok(Turn::Run)
        }
        Advanced::Legacy => Err(fail(format!(
            "'{key}' is a repeatable job of an old BullMQ, not a job scheduler; upsert a job scheduler in its place"
        ))),
        Advanced::NoInterval => Err(fail("it has neither an interval nor a pattern".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{NOW, queue};
    use crate::wire::options::StoredOptions;

    #[tokio::test]
    async fn a_run_that_was_skipped_is_not_run_when_the_reply_was_lost() {
        let engine = queue().await;
        let opts = r#"{"repeat":{"every":1000,"overlap":"skip"}}"#;
        let (earlier, id) = (format!("repeat:s:{}", NOW - 1_000), format!("repeat:s:{NOW}"));
        for command in [
            format!("ZADD @repeat {NOW} s"),
            "HSET @repeat:s ic 2 name n every 1000".to_owned(),
            format!("HSET @{id} name n data {{}} opts {opts}"),
            format!("SET @{id}:lock t"),
            format!("LPUSH @active {earlier} {id}"),
        ] {
            engine.redis(&command).await;
        }
        let options = StoredOptions::parse(opts).unwrap();
        let job = RawJob::added(id.clone(), "n".into(), "{}".into(), opts.to_owned().into(), options, NOW, 0, 0);
        // Without holding the lock, the run is not ours to remove.
        let foreign = advance(&engine, "s", &job, "other").await.unwrap();
        assert_eq!(foreign, Turn::Run);
        engine.redis(&format!("ZADD @repeat {NOW} s")).await;
        engine.redis(&format!("DEL @repeat:s:{}", NOW + 1_000)).await;
        for _ in 0..2 {
            assert_eq!(advance(&engine, "s", &job, "t").await.unwrap(), Turn::Skipped);
            assert_eq!(engine.says(&format!("EXISTS @{id} @{id}:lock")).await, "0");
        }
        assert_eq!(engine.says("HGET @repeat:s ic").await, "4");
    }
}
