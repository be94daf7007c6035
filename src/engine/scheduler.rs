//! Schedulers: making, changing, reading and removing them, and the next run, made before the current one is processed.

use super::Engine;
use crate::error::{Error, Result};
use crate::script::Repeat;
use crate::script::scheduler::{self, Advance, Advanced, Stored};
use crate::script::upsert_scheduler::{self, Upsert, Upserted};

impl Engine {
    /// Makes the next run of a scheduler, if the job that was taken is its current one; tries until the server has
    /// decided. To repeat it is safe: a scheduler moves on only from its current run.
    ///
    /// # Errors
    ///
    /// The server refuses the call as such; nothing was changed.
    pub(crate) async fn advance_scheduler(&self, now: u64, advance: &Advance) -> Result<Advanced> {
        let (value, _) = self.insist(&scheduler::ADVANCE, &scheduler::args(now, advance)).await?;
        scheduler::reply(value).ok_or(Error::OutcomeUnknown { op: scheduler::ADVANCE.name })
    }

    /// Makes a scheduler or changes one. `is_repeatable` says that doing it twice leads to what doing it once does.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where the ids of the next runs are taken; nothing was changed.
    pub(crate) async fn upsert_scheduler(&self, upsert: &Upsert, is_repeatable: bool) -> Result<Upserted> {
        let op = upsert_scheduler::SCRIPT.name;
        let repeat = if is_repeatable { Repeat::Safe } else { Repeat::Never };
        let value = self.run(&upsert_scheduler::SCRIPT, &upsert_scheduler::args(upsert), repeat).await?;
        let reply = upsert_scheduler::reply(value).ok_or(Error::Reply { op })?;
        reply.map_err(|reason| Error::refused(op, upsert.scheduler.clone(), reason))
    }

    /// Removes a scheduler; whether there was one. After a lost reply the answer may be no.
    pub(crate) async fn remove_scheduler(&self, scheduler: &str) -> Result<bool> {
        let mut args = crate::script::Args::default();
        args.text(scheduler);
        let value = self.run(&scheduler::REMOVE, &args, Repeat::Safe).await?;
        Ok(value == redis::Value::Int(1))
    }

    pub(crate) async fn get_scheduler(&self, scheduler: &str) -> Result<Option<Stored>> {
        let value = self.run(&scheduler::LIST, &scheduler::one_args(scheduler), Repeat::Reads).await?;
        let (_, mut found) = scheduler::listed(value).ok_or(Error::Reply { op: scheduler::LIST.name })?;
        Ok(found.pop())
    }

    /// The schedulers of a range of places, in calls of a few hundred.
    pub(crate) async fn list_schedulers(&self, start: i64, end: i64, ascending: bool) -> Result<Vec<Stored>> {
        let (mut all, mut first) = (Vec::new(), Some(start));
        while let Some(start) = first {
            let value =
                self.run(&scheduler::LIST, &scheduler::range_args(ascending, start, end), Repeat::Reads).await?;
            let (next, found) = scheduler::listed(value).ok_or(Error::Reply { op: scheduler::LIST.name })?;
            all.extend(found);
            first = next;
        }
        Ok(all)
    }

    /// Schedulers whose run is past and gone, if nobody has looked for them within the interval.
    pub(crate) async fn find_stopped_schedulers(&self, now: u64, interval: std::time::Duration) -> Result<Vec<Stored>> {
        let args = scheduler::find_args(now, crate::clock::millis(interval), fastrand::u32(..));
        let value = self.run(&scheduler::FIND_STOPPED, &args, Repeat::Safe).await?;
        scheduler::found(value).ok_or(Error::Reply { op: scheduler::FIND_STOPPED.name })
    }

    pub(crate) async fn count_schedulers(&self) -> Result<u64> {
        let key = format!("{}repeat", self.keys.base());
        let value = self.ask("get_job_schedulers_count", redis::cmd("ZCARD").arg(key)).await?;
        crate::script::reply::unsigned(&value).ok_or(Error::Reply { op: "get_job_schedulers_count" })
    }
}
