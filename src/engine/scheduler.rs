//! Creates, changes, reads and removes schedulers, and creates the next run before the current one is processed.

use std::time::Duration;

use super::{Engine, Until};
use crate::clock::millis;
use crate::error::{Error, Result};
use crate::script;
use crate::script::advance_scheduler::{Advance, Advanced, advance_scheduler};
use crate::script::list_schedulers::{StoredScheduler, get_scheduler, list_schedulers};
use crate::script::upsert_scheduler::{Upsert, Upserted, upsert_scheduler};

impl Engine {
    /// Creates the next run of a scheduler, if the job that was taken is its current one; repeated until the server has
    /// decided. Safe to repeat: a scheduler advances only from its current run.
    ///
    /// # Errors
    ///
    /// The server refuses the call as such; nothing was changed.
    pub(crate) async fn advance_scheduler(&self, now: u64, advance: &Advance, token: &str) -> Result<Advanced> {
        let (advanced, lacked_settings) =
            self.call_until(Until::Decided, advance_scheduler(now, advance, token)).await?;
        if lacked_settings {
            self.note_settings(false);
        }
        Ok(advanced)
    }

    /// Creates or changes a scheduler. `is_repeatable` says that doing so twice has the same result as doing it once.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where the ids of the next runs are taken; nothing was changed.
    pub(crate) async fn upsert_scheduler(&self, upsert: &Upsert, is_repeatable: bool) -> Result<Upserted> {
        let call = upsert_scheduler(upsert, is_repeatable);
        let op = call.op;
        let made = self.call(call).await?.map_err(|reason| Error::refused(op, upsert.scheduler.clone(), reason))?;
        if made.lacked_settings {
            self.note_settings(false);
        }
        Ok(made)
    }

    /// Removes a scheduler; returns whether there was one. After a lost reply it may return false although there was
    /// one.
    pub(crate) async fn remove_scheduler(&self, scheduler: &str) -> Result<bool> {
        self.call(script::remove_scheduler(scheduler)).await
    }

    pub(crate) async fn get_scheduler(&self, scheduler: &str) -> Result<Option<StoredScheduler>> {
        self.call(get_scheduler(scheduler)).await
    }

    /// Returns the schedulers at a range of positions, in calls of a few hundred.
    pub(crate) async fn list_schedulers(&self, start: i64, end: i64, ascending: bool) -> Result<Vec<StoredScheduler>> {
        let (mut all, mut first) = (Vec::new(), Some(start));
        while let Some(start) = first {
            let (next, found) = self.call(list_schedulers(ascending, start, end)).await?;
            all.extend(found);
            first = next;
        }
        Ok(all)
    }

    /// Returns the schedulers that have stopped, unless another call has looked for them within the interval.
    pub(crate) async fn find_stopped_schedulers(&self, now: u64, interval: Duration) -> Result<Vec<StoredScheduler>> {
        self.call(script::find_stopped_schedulers(now, millis(interval), fastrand::u32(..))).await
    }

    pub(crate) async fn count_schedulers(&self) -> Result<u64> {
        self.call(script::count_schedulers(&self.keys)).await
    }
}
